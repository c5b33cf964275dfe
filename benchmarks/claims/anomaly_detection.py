"""The claim that a high loss indicates an anomaly."""

from __future__ import annotations

import math
import zlib

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from benchmarks.claims.base import PLAN, Budget, Claim, Image, MeanStd, Outcome, Table, verdict
from benchmarks.claims.latent_space import to_uint8
from benchmarks.training import Dataset, load_dataset, train_model
from varied.data import Batch, iter_batches
from varied.evaluate import forward_pass
from varied.models import LatentModel
from varied.plots import side_by_side
from varied.seeding import seeded
from varied.spec import Plan

SCORES = ("reconstruction loss", "-ELBO", "-ELBO minus complexity")


def anomaly_detection(budget: Budget) -> Outcome:
    """Ten VAEs are trained for 8 epochs, each on the digits of nine classes; among the test
    digits, those of the tenth class are the anomalies. Then the VAE trained without ones scores
    other anomalies: blank images, noise, upside-down digits, and inverted digits. The score is the
    reconstruction loss, -ELBO, or -ELBO minus the complexity of the image, which is its size in
    nats after compression, here with deflate (Input Complexity and Out-of-Distribution Detection,
    Serra et al., 2019, https://arxiv.org/abs/1909.11480). An AUROC of 0.5 is chance level, and 1 is
    perfect; below 0.5, anomalies are scored as more normal than the other digits.
    """
    n = budget.rows(10_000)
    digits = load_dataset("mnist")
    x, y = digits.model_input("test", n), digits.labels("test", n)
    rows: list[tuple[str, ...]] = []
    auroc: dict[str, list[float]] = {name: [] for name in SCORES}
    for digit in range(10):
        scores = anomaly_scores(train_without(digit, budget), x)
        for name in SCORES:
            auroc[name].append(roc_auc_score(y == digit, scores[name]))
        rows.append((f"digit {digit}", *(f"{auroc[name][-1]:.3f}" for name in SCORES)))
    means = {name: MeanStd.of(values) for name, values in auroc.items()}
    rows.append(("all ten", *(f"{value:.2f}" for value in means.values())))
    others, strips = _other_anomalies(x[y != 1], budget)
    side_by_side(strips, budget.folder / "anomalies.png")
    loss, _, corrected = auroc.values()
    mean_loss, _, mean_corrected = means.values()
    return Outcome(
        verdict(min(loss) > 0.7, min(corrected) > 0.7),
        f"The reconstruction loss detects the held-out class with a mean AUROC of {mean_loss:.2f} "
        f"over the ten classes. The lowest AUROC, {min(loss):.2f}, is that of the digit "
        f"{int(np.argmin(loss))}, which is simpler than the training data; the highest is "
        f"{max(loss):.2f}. With -ELBO minus complexity, the mean AUROC is {mean_corrected:.2f}, "
        f"and the AUROC of the digit 1 is {corrected[1]:.2f}.",
        [
            Table(
                ("held-out class", *SCORES),
                rows,
                "AUROC with one seed each; ± is the standard deviation over classes.",
            ),
            Table(("anomalies", *SCORES), others, "AUROC of the VAE trained without ones."),
        ],
        [Image("anomalies.png", "Normal digits, and each kind of anomaly, one row each.")],
    )


def train_without(digit: int, budget: Budget) -> LatentModel:
    """Return a VAE trained without one class."""
    digits = load_dataset("mnist")
    rows = torch.from_numpy(digits.labels("train", 60_000) != digit)
    others = Dataset(digits.data, digits.codec, {"train": Batch(digits.splits["train"].x[rows])})
    plan = Plan(**PLAN | {"epochs": budget.epochs(8)})
    return train_model(others, plan, {"latent": 16}).model


def anomaly_scores(model: LatentModel, x: Tensor) -> dict[str, np.ndarray]:
    result = forward_pass(model, lambda rows: rows, iter_batches(x, size=500))
    assert result.kl is not None
    nelbo = (result.reconstruction + result.kl).numpy()
    values = (result.reconstruction.numpy(), nelbo, nelbo - complexity(x))
    return dict(zip(SCORES, values, strict=True))


def complexity(x: Tensor) -> np.ndarray:
    """Return the size in nats of each binary image after compression with deflate."""
    bits = [8 * len(zlib.compress(np.packbits(row.bool().numpy()).tobytes(), 9)) for row in x]
    return math.log(2) * np.array(bits, dtype=np.float64)


def _other_anomalies(
    normal: Tensor, budget: Budget
) -> tuple[list[tuple[str, ...]], list[tuple[str, np.ndarray]]]:
    model, n = train_without(1, budget), min(1000, len(normal))
    with seeded(0, "anomalies"):
        noise = torch.bernoulli(torch.full_like(normal[:n], float(normal.mean())))
    digits = load_dataset("mnist")
    is_one = torch.from_numpy(digits.labels("test", 10_000) == 1)
    anomalies = {
        "ones": digits.model_input("test", 10_000)[is_one],
        "blank images": torch.zeros_like(normal[:n]),
        "noise": noise,
        "upside down": normal[:n].flip(-2),
        "inverted": 1 - normal[:n],
    }
    normal_scores, rows = anomaly_scores(model, normal), list[tuple[str, ...]]()
    for kind, x in anomalies.items():
        scores = anomaly_scores(model, x)
        labels = np.r_[np.zeros(len(normal)), np.ones(len(x))]
        auroc = [roc_auc_score(labels, np.r_[normal_scores[s], scores[s]]) for s in SCORES]
        rows.append((kind, *(f"{value:.3f}" for value in auroc)))
    images = {"normal": normal} | anomalies
    return rows, [(name, to_uint8(x)) for name, x in images.items()]


CLAIMS = (Claim(9, "A high reconstruction loss means an anomaly.", anomaly_detection),)
