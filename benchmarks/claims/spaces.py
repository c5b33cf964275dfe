"""Claims about the latent space: that it can be sampled, walked through, and read."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import normalized_mutual_info_score
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

from benchmarks.claims.base import (
    Budget,
    Claim,
    Outcome,
    Picture,
    Spread,
    Table,
    model,
    over,
    verdict,
)
from benchmarks.trained import Trained, data, digit_features, distance
from varied import functional
from varied.data import split
from varied.evaluate.active_units import is_active
from varied.functional.interpolate import linear
from varied.plots import side_by_side

LATENT, EPOCHS = 16, 16
VAE = {"latent": LATENT}
POINT = {"latent": LATENT, "posterior": "deterministic", "objective": "reconstruction"}
KINDS = {"VAE": VAE, "autoencoder": POINT}


def known(kind: str, seed: int, budget: Budget) -> Trained:
    return model("mnist", budget.epochs(EPOCHS), seed, KINDS[kind])


def gray(part: str, n: int) -> Tensor:
    """Return digits as they are, in [0, 1]; the models see them binarized by chance."""
    return data("mnist").parts[part].x[:n].float() / 255


def classes(part: str, n: int) -> np.ndarray:
    items = data("mnist").items
    labels: np.ndarray = items.labels[getattr(split(items, seed=0), part)[:n]]
    return labels


def sure(pictures: Tensor, least: float = 0.95) -> float:
    """Return the share of pictures of whose class the classifier is sure."""
    net = digit_features()
    with torch.no_grad():
        chance = torch.cat([net(some).softmax(-1).amax(-1) for some in pictures.split(500)])
    return float((chance > least).float().mean())


def codes(one: Trained, part: str, n: int) -> Tensor:
    return functional.embed(one.model, one.data.codec.load, one.data.rows(part, n))


def decoded(one: Trained, z: Tensor) -> Tensor:
    return torch.cat([functional.decode(one.model, some) for some in z.split(500)])


def normal(n: int, seed: int) -> Tensor:
    return torch.randn(n, LATENT, generator=torch.Generator().manual_seed(seed))


def sampled(budget: Budget) -> Outcome:
    """A VAE and an autoencoder of one network (two layers of 512, 16 latents) are trained on the
    same digits for the same 16 epochs. Codes are drawn from a standard normal and decoded. So
    that the autoencoder has a fair chance, its codes are also drawn from a normal with the mean
    and covariance of its own codes. Fréchet distance to the test digits, in the features of a
    classifier, by as many pictures; and the share of pictures of whose class it is more than 95 %
    sure.
    """
    n, seeds = budget.rows(10_000), budget.seeds()
    real = gray("test", n)

    def made(kind: str, seed: int, fitted: bool = False) -> Tensor:
        one, z = known(kind, seed, budget), normal(n, seed)
        if fitted:
            seen = codes(one, "train", 10_000).double()
            root = torch.linalg.cholesky(seen.T.cov() + 1e-6 * torch.eye(LATENT))
            z = (seen.mean(0) + z.double() @ root.T).float()
        return decoded(one, z)

    ways = {
        "VAE, from its prior": ("VAE", False),
        "autoencoder, from a standard normal": ("autoencoder", False),
        "autoencoder, from a normal fitted to its codes": ("autoencoder", True),
    }
    short = dict(zip(ways, ("VAE", "autoencoder", "its codes fitted"), strict=True))
    rows, shown, far, certain = [], [("test digits", looks(real))], {}, {}
    for name, (kind, fitted) in ways.items():
        pictures = [made(kind, seed, fitted) for seed in seeds]
        far[name] = Spread(tuple(distance(some, real) for some in pictures))
        certain[name] = Spread(tuple(100 * sure(some) for some in pictures))
        rows.append((name, f"{far[name]:.1f}", f"{certain[name]:.1f} %"))
        shown.append((short[name], looks(pictures[0])))
    floor = distance(gray("train", n), real)
    rows.append(("training digits", f"{floor:.1f}", f"{100 * sure(gray('train', n)):.1f} %"))
    side_by_side(shown, budget.folder / "sampled.png")
    vae, plain, fitted = far.values()
    return Outcome(
        verdict(vae.below(plain), vae.below(fitted)),
        f"Fréchet distance {vae:.0f} for the VAE, {plain:.0f} for the autoencoder, and "
        f"{fitted:.0f} where its codes are drawn from a normal that was fitted to them.",
        [Table(("codes", "Fréchet distance", "sure of the class"), rows, spread(seeds))],
        [Picture("sampled.png", "Rows of test digits, and of what was sampled by each.")],
    )


def looks(pictures: Tensor, n: int = 12) -> np.ndarray:
    """Return pictures for a sheet."""
    shown: np.ndarray = (255 * pictures[:n, 0]).round().to(torch.uint8).numpy()
    return shown


def spread(seeds: range) -> str:
    return f"Mean and standard deviation over {len(seeds)} seeds."


def continuous(budget: Budget) -> Outcome:
    """Between pairs of test digits of different classes, halfway: the decoded middle of their two
    codes, for the VAE and the autoencoder, and the mean of their pixels. Fréchet distance of the
    middles to test digits, and the share of middles of whose class a classifier is more than 95 %
    sure. A path that leaves the data has middles that are no digit.
    """
    n, seeds = budget.rows(5_000), budget.seeds()
    a, b = pairs(n)
    x = gray("test", 10_000)
    real, ways = x[:n], {}
    for kind in KINDS:
        middles = []
        for seed in seeds:
            one = known(kind, seed, budget)
            z = codes(one, "test", 10_000)
            middles.append(decoded(one, (z[a] + z[b]) / 2))
        ways[kind] = middles
    ways["mixed pixels"] = [(x[a] + x[b]) / 2]
    rows, far, certain = [], {}, {}
    for name, middles in ways.items():
        far[name] = Spread(tuple(distance(some, real) for some in middles))
        certain[name] = Spread(tuple(100 * sure(some) for some in middles))
        told = (far[name], certain[name])
        rows.append((name, *(f"{t:.1f}" if len(middles) > 1 else f"{t.mean:.1f}" for t in told)))
    _walks(budget, a, b, x)
    vae, auto, pixels = far.values()
    return Outcome(
        verdict(vae.below(auto), vae.mean < pixels.mean),
        f"Halfway, the Fréchet distance is {vae:.0f} for the VAE, {auto:.0f} for the autoencoder "
        f"and {pixels.mean:.0f} for mixed pixels; the classifier is sure of "
        f"{certain['VAE']:.0f} %, {certain['autoencoder']:.0f} % and "
        f"{certain['mixed pixels'].mean:.0f} % of them.",
        [
            Table(
                ("middles by", "Fréchet distance", "sure of the class, %"),
                rows,
                f"{spread(seeds)} {n:,} pairs.",
            )
        ],
        [Picture("continuous.png", "Paths between digits of different classes, by each way.")],
    )


def pairs(n: int) -> tuple[Tensor, Tensor]:
    """Return which test digits are paired: n pairs of different classes."""
    y, dice = torch.from_numpy(classes("test", 10_000)), torch.Generator().manual_seed(0)
    a, b = torch.randint(len(y), (2, 2 * n), generator=dice).unbind()
    differ = y[a] != y[b]
    return a[differ][:n], b[differ][:n]


def _walks(budget: Budget, a: Tensor, b: Tensor, x: Tensor, steps: int = 11) -> None:
    t, shown = torch.linspace(0, 1, steps), []
    for pair in range(2):
        ends = [x[a[pair]], x[b[pair]]]
        for kind in KINDS:
            one = known(kind, 0, budget)
            z = codes(one, "test", 10_000)
            path = linear(z[a[pair]][None], z[b[pair]][None], t)[0]
            shown.append((kind, looks(decoded(one, path), steps)))
        mixed = (1 - t)[:, None, None, None] * ends[0] + t[:, None, None, None] * ends[1]
        shown.append(("mixed pixels", looks(mixed, steps)))
    side_by_side(shown, budget.folder / "continuous.png")


def without_kl(budget: Budget) -> Outcome:
    """The VAE with weights of the KL from 1 down to 0, for the same 16 epochs: the standard
    deviation of the posterior, in units of that of the codes of all digits (the median over active
    units), the reconstruction, and the Fréchet distance of samples from the prior.
    """
    n, seeds = budget.rows(5_000), budget.seeds()
    real, rows, widths, far = gray("test", n), [], {}, {}
    for beta in (1.0, 0.1, 0.01, 0.0):
        parts = VAE | {"objective": {"name": "elbo", "beta": beta}}
        some = [model("mnist", budget.epochs(EPOCHS), seed, parts) for seed in seeds]
        widths[beta] = Spread(tuple(width(one, n) for one in some))
        far[beta] = Spread(
            tuple(
                distance(decoded(one, normal(n, seed)), real)
                for one, seed in zip(some, seeds, strict=True)
            )
        )
        lost = Spread(tuple(one.evaluation(most=n).reconstruction.value for one in some))
        rows.append((f"{beta:g}", f"{widths[beta]:.4f}", f"{lost:.1f}", f"{far[beta]:.0f}"))
    auto = known("autoencoder", 0, budget)
    lost = auto.evaluation(most=n).reconstruction.value
    plain = distance(decoded(auto, normal(n, 0)), real)
    rows.append(("autoencoder", "0", f"{lost:.1f}", f"{plain:.0f}"))
    return Outcome(
        verdict(widths[0.0].mean < 0.05 * widths[1.0].mean, far[1.0].below(far[0.0])),
        f"The posterior's width falls from {widths[1.0]:.3f} to {widths[0.0]:.4f} of that of all "
        f"codes, and the Fréchet distance of samples rises from {far[1.0]:.0f} to "
        f"{far[0.0]:.0f}; an autoencoder's is {plain:.0f}.",
        [
            Table(
                ("beta", "width of the posterior", "reconstruction, nats", "Fréchet distance"),
                rows,
                spread(seeds),
            )
        ],
    )


def width(one: Trained, n: int) -> float:
    """Return the median width of the posteriors, in units of the deviation of all codes.

    Of active units alone: one that is not says nothing, and is as wide as the prior.
    """
    found = functional.encode(one.model, one.data.codec.load, one.data.rows("test", n))
    active = is_active(found.mean)
    return float((found.std / found.mean.std(0))[:, active].median())


def clusters(budget: Budget) -> Outcome:
    """The codes of the VAE, which saw no label. K-means with ten means finds clusters in codes and
    in pixels; how much they tell of the class is the normalized mutual information. Then a linear
    classifier and the nearest neighbors learn from few labels, on codes and on pixels; error on
    10,000 test digits. The few are drawn anew for each seed, as many of each class.
    """
    n, seeds = budget.rows(10_000), budget.seeds()
    x, y = gray("train", 50_000).flatten(1).numpy(), classes("train", 50_000)
    test, truth = gray("test", n).flatten(1).numpy(), classes("test", n)
    spaces = {}
    for seed in seeds:
        one = known("VAE", seed, budget)
        spaces[seed] = (codes(one, "train", 50_000).numpy(), codes(one, "test", n).numpy())

    def told(z: np.ndarray, seed: int) -> float:
        groups = KMeans(10, n_init=3, random_state=seed).fit_predict(z[:10_000])
        return float(normalized_mutual_info_score(y[:10_000], groups))

    by_codes = over(seeds, lambda seed: told(spaces[seed][0], seed))
    by_pixels = over(seeds, lambda seed: told(x, seed))
    rows, errors = [], {}
    for few in (10, 100, 1000):
        line = [f"{few:,}"]
        for name in ("codes", "pixels"):
            for kind in ("linear", "neighbors"):
                found = []
                for seed in seeds:
                    z, held = spaces[seed] if name == "codes" else (x, test)
                    some = each_class(y, few, seed)
                    learner = learned(kind, few).fit(z[some], y[some])
                    found.append(100 * float((learner.predict(held) != truth).mean()))
                errors[few, name, kind] = Spread(tuple(found))
                line.append(f"{errors[few, name, kind]:.1f}")
        rows.append(tuple(line))
    best = {
        name: min((errors[100, name, kind] for kind in ("linear", "neighbors")), key=mean_of)
        for name in ("codes", "pixels")
    }
    return Outcome(
        verdict(by_pixels.below(by_codes), best["codes"].below(best["pixels"])),
        f"K-means on codes tells {by_codes:.2f} of the class, on pixels {by_pixels:.2f} (1 is all "
        f"of it). With 100 labels the error is {best['codes']:.1f} % on codes and "
        f"{best['pixels']:.1f} % on pixels.",
        [
            Table(
                (
                    "labels",
                    "codes, linear",
                    "codes, neighbors",
                    "pixels, linear",
                    "pixels, neighbors",
                ),
                rows,
                f"Error in per cent. {spread(seeds)}",
            )
        ],
    )


def mean_of(found: Spread) -> float:
    return found.mean


def each_class(y: np.ndarray, few: int, seed: int) -> np.ndarray:
    """Return rows, as many of each class."""
    dice = np.random.default_rng(seed)
    rows = [dice.choice(np.flatnonzero(y == kind), few // 10, replace=False) for kind in range(10)]
    found: np.ndarray = np.concatenate(rows)
    return found


def learned(kind: str, few: int) -> LogisticRegression | KNeighborsClassifier:
    if kind == "linear":
        return LogisticRegression(max_iter=2000)
    return KNeighborsClassifier(1 if few < 100 else 5, weights="distance")


CLAIMS = (
    Claim(1, "An autoencoder's latent space cannot be sampled; a VAE's can.", sampled),
    Claim(2, "A VAE's latent space is continuous: interpolations stay on the data.", continuous),
    Claim(4, "Without the KL term the model becomes an autoencoder.", without_kl),
    Claim(10, "Classes form clusters in the code without labels; few labels suffice.", clusters),
)
