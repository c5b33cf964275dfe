"""The claim about anomalies: when a high loss means one, and when it does not."""

from __future__ import annotations

import zlib

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from benchmarks.claims.base import PLAN, Budget, Claim, Outcome, Picture, Spread, Table, verdict
from benchmarks.claims.spaces import classes, looks
from benchmarks.trained import ELBO, data
from varied.data import Batch, iter_batches
from varied.data.batches import Batches
from varied.evaluate import forward_pass
from varied.plots import side_by_side
from varied.seeding import seeded
from varied.spec import Plan, Spec, compose
from varied.training_loop import Step, train

SCORES = {
    "reconstruction": "reconstruction loss",
    "cost": "-ELBO",
    "repaired": "-ELBO less complexity",
}


def missed(budget: Budget) -> Outcome:
    """Ten VAEs, each trained for 8 epochs on the digits of nine classes; the tenth is the anomaly,
    among test digits of all classes. Then the VAE without the ones meets other strangers: empty
    pictures, noise, test digits upside down, and their negatives. The score is the reconstruction
    loss, the -ELBO, or the -ELBO less the complexity of the picture (Input Complexity and
    Out-of-Distribution Detection, Serra et al., 2019, https://arxiv.org/abs/1909.11480): the nats
    that a plain compressor, here deflate, needs for it. AUROC: 0.5 is chance, 1 is perfect, below
    0.5 the anomalies seem more normal than the rest.
    """
    n = budget.rows(10_000)
    x, y = data("mnist").as_model_input("test", n), classes("test", n)
    rows, by = [], {key: [] for key in SCORES}
    for out in range(10):
        found = scores(without(out, budget), x)
        line = []
        for key in SCORES:
            by[key].append(roc_auc_score(y == out, found[key]))
            line.append(f"{by[key][-1]:.3f}")
        rows.append((f"digit {out}", *line))
    spreads = {key: Spread(tuple(values)) for key, values in by.items()}
    rows.append(("all ten", *(f"{one:.2f}" for one in spreads.values())))
    others, shown = _strangers(x[y != 1], budget)
    side_by_side(shown, budget.folder / "strangers.png")
    tables = [
        Table(("left out", *SCORES.values()), rows, "AUROC, one seed each; ± from class to class."),
        Table(("strangers", *SCORES.values()), others, "AUROC, by the VAE that never saw a one."),
    ]
    loss, repaired = by["reconstruction"], by["repaired"]
    return Outcome(
        verdict(min(loss) > 0.7, min(repaired) > 0.7),
        f"A high loss finds the class that was left out with an AUROC of "
        f"{spreads['reconstruction']:.2f}, from {max(loss):.2f} down to {min(loss):.2f} for the digit "
        f"{int(np.argmin(loss))}, which is simpler than what the model knows. Less complexity, it "
        f"is {spreads['repaired']:.2f}, and {repaired[1]:.2f} for the ones.",
        tables,
        [Picture("strangers.png", "Rows of what is normal, and of each kind of stranger.")],
    )


def without(out: int, budget: Budget) -> tuple[torch.nn.Module, object]:
    """Return a VAE that never saw a class, and its loader."""
    here, rows = data("mnist"), classes("train", 60_000) != out
    plan = Plan(**(PLAN | {"epochs": budget.epochs(8)}))
    model, objective = compose(
        Spec.parse(latent=16, objective=ELBO, plan=plan), here.codec.shape, here.codec.domain
    )
    stream = Batches(
        here.parts["train"].x[torch.from_numpy(rows)], None, size=plan.batch_size, seed=0
    )
    for _ in train(Step(model, objective, here.codec.load), stream, plan):
        pass
    return model, here.codec


def scores(known: tuple[torch.nn.Module, object], x: Tensor) -> dict[str, np.ndarray]:
    """Return each score of data that a model sees as they are."""
    seen = forward_pass(known[0], lambda rows: rows, iter_batches(Batch(x).x, size=500))  # type: ignore[arg-type]
    assert seen.rate is not None
    cost = (seen.reconstruction + seen.kl).numpy()
    return {
        "reconstruction": seen.reconstruction.numpy(),
        "cost": cost,
        "repaired": cost - complexity(x),
    }


def complexity(x: Tensor) -> np.ndarray:
    """Return the nats that deflate needs for each picture of black and white."""
    bits = [8 * len(zlib.compress(np.packbits(row.bool().numpy()).tobytes(), 9)) for row in x]
    return np.log(2) * np.array(bits, dtype=np.float64)


def _strangers(normal: Tensor, budget: Budget) -> tuple[list[tuple[str, ...]], list]:
    known, n = without(1, budget), min(1000, len(normal))
    with seeded(0, "strangers"):
        grain = torch.bernoulli(torch.full_like(normal[:n], float(normal.mean())))
    strangers = {
        "ones": data("mnist").as_model_input("test", 10_000)[
            torch.from_numpy(classes("test", 10_000) == 1)
        ],
        "empty pictures": torch.zeros_like(normal[:n]),
        "noise": grain,
        "upside down": normal[:n].flip(-2),
        "negatives": 1 - normal[:n],
    }
    base, rows = scores(known, normal), []
    shown = [("normal", looks(normal))]
    for name, some in strangers.items():
        found = scores(known, some)
        truth = np.r_[np.zeros(len(normal)), np.ones(len(some))]
        line = [f"{roc_auc_score(truth, np.r_[base[key], found[key]]):.3f}" for key in SCORES]
        rows.append((name, *line))
        shown.append((name, looks(some)))
    return rows, shown


CLAIMS = (Claim(9, "A high reconstruction loss means an anomaly.", missed),)
