"""The claim about the weight of the KL, and what it trades."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from benchmarks.claims.base import Budget, Claim, Outcome, Picture, Spread, Table, model, verdict
from benchmarks.claims.spaces import looks, spread
from benchmarks.trained import Trained, data
from varied import functional
from varied.data import split
from varied.evaluate import mig, sharpness
from varied.plots import rate_distortion, side_by_side

BETAS = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
SPRITES = {"net": {"name": "conv", "width": 8}, "latent": 10}
SPRITE_PLAN = {"batch_size": 64, "lr": 1e-3}


def weighed(of: str, beta: float, seed: int, budget: Budget) -> Trained:
    """Return a model whose KL has a weight."""
    objective = {"name": "elbo", "beta": beta}
    if of == "mnist":
        return model(of, budget.epochs(6), seed, {"latent": 16, "objective": objective})
    parts = SPRITES | {"objective": objective}
    return model(of, budget.epochs(3), seed, parts, **SPRITE_PLAN)


def traded(budget: Budget) -> Outcome:
    """Seven weights of the KL, constant from the first step, on digits (6 epochs, two seeds) and
    on sprites whose five factors are known (3 epochs, two seeds). Rate and distortion of the test
    rows; the sharpness of the mean reconstructions as a share of that of the data; and, on
    sprites, the mutual information gap of 10,000 training rows.
    """
    tables, pictures, told = [], [], {}
    for of, seeds in (("mnist", budget.seeds(2)), ("sprites", budget.seeds(2))):
        rows, points, shown = [], [], []
        for beta in BETAS:
            some = [weighed(of, beta, seed, budget) for seed in seeds]
            found = figures(of, some, budget)
            told[of, beta] = found
            points.append((f"{beta:g}", found["rate"].mean, found["reconstruction"].mean))
            rows.append((f"{beta:g}", *(f"{one:.3g}" for one in found.values())))
            shown.append((f"beta {beta:g}", looks(rebuilt(some[0], 12))))
        title = "digits" if of == "mnist" else "sprites"
        names = [f"beta, {title}", *(NAMES[key] for key in found)]
        tables.append(Table(names, rows, spread(seeds)))
        rate_distortion(points, budget.folder / f"traded-{title}.png")
        real = data(of).as_model_input("test", 12)
        side_by_side(
            [("test data", looks(real)), *shown], budget.folder / f"traded-{title}-rebuilt.png"
        )
        pictures += [
            Picture(f"traded-{title}.png", f"Rate and distortion of {title} at each weight."),
            Picture(f"traded-{title}-rebuilt.png", f"{title.capitalize()} as rebuilt at each."),
        ]
    low, plain, high = (told["sprites", beta] for beta in (0.1, 1.0, 4.0))
    checks = [told[of, 8.0]["sharp"].below(told[of, 0.1]["sharp"]) for of in ("mnist", "sprites")]
    ordered = [plain["mig"].below(high["mig"]), low["mig"].below(high["mig"])]
    return Outcome(
        verdict(*checks, *ordered),
        f"From beta 0.1 to 8 the reconstructions of digits go from "
        f"{told['mnist', 0.1]['sharp']:.2f} to {told['mnist', 8.0]['sharp']:.2f} of the sharpness "
        f"of the data, those of sprites from {low['sharp']:.2f} to "
        f"{told['sprites', 8.0]['sharp']:.2f}. The mutual information gap is {low['mig']:.2f} at "
        f"0.1, {plain['mig']:.2f} at 1 and {high['mig']:.2f} at 4.",
        tables,
        pictures,
    )


NAMES = {
    "rate": "rate, nats",
    "reconstruction": "distortion, nats",
    "cost": "-ELBO, nats",
    "sharp": "sharpness, of the data's",
    "mig": "MIG",
}


def figures(of: str, some: Sequence[Trained], budget: Budget) -> dict[str, Spread]:
    """Return the figures of one weight, over seeds."""
    n = budget.rows(5000)
    seen = [one.evaluation(most=n) for one in some]
    real = sharpness(data(of).as_model_input("test", 1000)).value
    rows: dict[str, list[float]] = {
        "rate": [one.kl.value for one in seen if one.kl],
        "reconstruction": [one.reconstruction.value for one in seen],
        "cost": [-one.elbo.value for one in seen if one.elbo],
        "sharp": [sharpness(rebuilt(one, 1000)).value / real for one in some],
    }
    if of == "sprites":
        items = data(of).items
        factors = items.labels[split(items, seed=0).train[:10_000]]
        rows["mig"] = [mig(codes, factors).value for codes in map(embedded, some)]
    return {key: Spread(tuple(values)) for key, values in rows.items()}


def embedded(one: Trained) -> Tensor:
    return functional.embed(one.model, one.data.codec.load, one.data.rows("train", 10_000)())


def rebuilt(one: Trained, n: int) -> Tensor:
    return functional.reconstruct(one.model, one.data.as_model_input("test", n))


CLAIMS = (
    Claim(
        3,
        "beta < 1 makes reconstructions sharper and the code less ordered; beta > 1 makes them "
        "blurrier and the code more disentangled.",
        traded,
    ),
)
