"""Anomaly scores, based on a low density or a large distance from normal data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from varied.data.batches import Batch
from varied.errors import VariedError, suggest
from varied.evaluate.distances import nearest_rows, squared_distances
from varied.functional.generate import reconstruct, reconstruct_missing
from varied.functional.importance_sampling import NLL, load_seeded, negative_log_likelihood
from varied.models import LatentModel
from varied.runtime import eval_float32

ANOMALY_METHODS = ("both", "density", "distance")
#: The relative distance below which two rows count as equal, since rounding differs between
#: batches.
EQUAL = 1e-6
#: The minimum number of normal rows from which the scales of the two scores are estimated.
SCALE_ROWS = 1000
#: The number of normal rows with which a row with missing values is compared, and the maximum
#: number of importance samples for this comparison.
REFERENCE_ROWS, REFERENCE_SAMPLES = 100, 10
#: The number of times that missing values in the input of the encoder are reconstructed.
SWEEPS = 3


@dataclass(frozen=True)
class AnomalyScores:
    """Anomaly scores of N examples.

    Arguments:
        score: The score of the requested method, which is higher for anomalies, with shape (N).
        nll: The negative log-likelihood -log p(x), estimated by importance sampling, in nats, with
            shape (N).
        distance: The distance to the nearest normal example, with shape (N).
        element_nll: The value of -log p(x_j | z) for each element, in nats, with shape (N, *event).
        scaled_nll: ``nll`` on the scale of complete examples, with shape (N).
        scaled_distance: ``distance`` on the scale of complete examples, with shape (N).
    """

    score: Tensor
    nll: Tensor
    distance: Tensor
    element_nll: Tensor
    scaled_nll: Tensor
    scaled_distance: Tensor


class AnomalyScorer:
    r"""Scores examples by their density and by their distance from normal data.

    A density score misses anomalies that are simpler than normal data; a distance score misses
    anomalies in sparse regions between normal data. The sum of both scores misses fewer anomalies
    than either score alone:

    .. math::
        s(x) = \sum_{v \in \{-\log p(x), \, d(x)\}} \psi\Big(\frac{v - m_v}{q_v - m_v}\Big), \qquad
        \psi(u) = \mathrm{sign}(u) \log(1 + |u|), \qquad
        d(x) = \min_n \big| (x, x - \hat x) - (x_n, x_n - \hat x_n) \big|

    where m is the median and q the 90% quantile over normal data, and :math:`\hat x` is the
    reconstruction. No labels are used, and no parameter is tuned on anomalies.

    If values are missing, p(x) is the density of the observed values, and both scores depend on
    which values are missing. They are mapped linearly to the scale of complete examples, such that
    m and q of 100 normal examples in which the same values are hidden are mapped to m and q of
    complete examples. Each distinct set of missing values therefore costs as much as a hundred
    examples.

    References:
        Do Deep Generative Models Know What They Don't Know? (Nalisnick et al., 2019),
        https://arxiv.org/abs/1810.09136, on why a density alone does not suffice.

    Warning:
        Equal examples are not counted as neighbors: for an exact copy of a normal example, the
        distance is measured to the nearest normal example that differs from it.

    Arguments:
        model: The model, which is left unchanged, as is torch's random state.
        load: Converts stored rows to model input; its randomness depends only on the seed.
        batches: Normal data, usually training data; 10,000 rows suffice.
        method: The score to use: "both", "density" or "distance".
        samples: The number of importance samples.
        seed: The random seed.

    Raises:
        VariedError: If the method is unknown, or there are fewer than two normal examples.
    """

    def __init__(
        self,
        model: LatentModel,
        load: Callable[[Tensor], Tensor],
        batches: Iterable[Batch],
        *,
        method: str = "both",
        samples: int = 100,
        seed: int = 0,
    ) -> None:
        self._set_options(model, load, method, samples, seed)
        normal = list(batches)
        self.normal_features = self._features(normal)
        if len(self.normal_features) < 2:
            raise VariedError("An anomaly score requires at least two normal examples.")
        self.reference_index, self.reference = _most_complete(normal, REFERENCE_ROWS)
        is_complete = self.reference.mask is None
        nll, distance, _ = self._scores(
            _first_rows(normal, SCALE_ROWS) if is_complete else [self.reference]
        )
        self.nll_scale, self.distance_scale = _median_and_scale(nll), _median_and_scale(distance)

    def _set_options(
        self,
        model: LatentModel,
        load: Callable[[Tensor], Tensor],
        method: str,
        samples: int,
        seed: int,
    ) -> None:
        if method not in ANOMALY_METHODS:
            raise VariedError(f"Unknown method '{method}': {suggest(method, ANOMALY_METHODS)}")
        self.model, self.load, self.method = model, load, method
        self.samples, self.seed = samples, seed

    def state(self) -> dict[str, Tensor]:
        """Return the values that `restore` requires; they do not depend on the method."""
        scales = torch.tensor([self.nll_scale, self.distance_scale], dtype=torch.float64)
        reference = {f"reference_{name}": value for name, value in vars(self.reference).items()}
        return {
            # The features are computed in float32, so that this conversion is exact.
            "features": self.normal_features.float(),
            "scales": scales,
            "reference_index": self.reference_index,
        } | {name: value for name, value in reference.items() if value is not None}

    @classmethod
    def restore(
        cls,
        model: LatentModel,
        load: Callable[[Tensor], Tensor],
        state: Mapping[str, Tensor],
        *,
        method: str = "both",
        samples: int = 100,
        seed: int = 0,
    ) -> Self:
        """Return a scorer restored from its `state`, so that the normal data are not needed.

        Arguments:
            model: The model with which the state was computed.
            load: Converts stored rows to model input.
            state: The dictionary returned by the method `state`.
            method: The score to use: "both", "density" or "distance".
            samples: The number of importance samples with which the state was computed.
            seed: The random seed with which the state was computed.

        Raises:
            VariedError: If the method is unknown.
        """
        scorer = cls.__new__(cls)
        scorer._set_options(model, load, method, samples, seed)
        scorer.normal_features = state["features"].double()
        scorer.reference_index = state["reference_index"]
        c, mask = state.get("reference_c"), state.get("reference_mask")
        scorer.reference = Batch(state["reference_x"], c, mask)
        scorer.nll_scale, scorer.distance_scale = map(tuple, state["scales"].tolist())
        return scorer

    def score(self, batches: Iterable[Batch]) -> AnomalyScores:
        """Return scores that are independent of the order and the batching of the examples."""
        rows = list(batches)
        nll, distance, element_nll = self._scores(rows)
        scaled = self._to_complete_scale(rows, nll, distance)
        return AnomalyScores(self.combine(*scaled), nll, distance, element_nll, *scaled)

    def combine(self, nll: Tensor, distance: Tensor) -> Tensor:
        """Combine -log p(x) and the distance, on the scale of complete examples, into the score."""
        if self.method == "both":
            return _squash(nll, *self.nll_scale) + _squash(distance, *self.distance_scale)
        return nll if self.method == "density" else distance

    def _scores(self, batches: list[Batch]) -> tuple[Tensor, Tensor, Tensor]:
        result = self._nll(batches, self.samples)
        distance = _distance_to_other(self._features(batches), self.normal_features)
        return result.nll.double(), distance, result.element_nll

    def _nll(self, batches: list[Batch], samples: int) -> NLL:
        return negative_log_likelihood(
            self.model, self.load, batches, samples=samples, sweeps=SWEEPS, seed=self.seed
        )

    def _to_complete_scale(
        self, batches: list[Batch], nll: Tensor, distance: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return -log p(x) and the distance on the scale of complete rows."""
        rows = _concatenate(batches)
        if rows.mask is None or rows.mask.all():
            return nll, distance
        incomplete = torch.nonzero((rows.mask == 0).flatten(1).any(1))[:, 0]
        rows = rows.take(incomplete)
        assert rows.mask is not None
        masks, index = rows.mask.unique(dim=0, return_inverse=True)
        scales = torch.tensor([self._masked_scales(mask) for mask in masks], dtype=torch.float64)
        comparable = self._nll([rows], min(self.samples, REFERENCE_SAMPLES)).nll.double()
        scaled = []
        for values, row_values, own, complete in (
            (nll, comparable, scales[:, 0], self.nll_scale),
            (distance, distance[incomplete], scales[:, 1], self.distance_scale),
        ):
            median, scale = own[index].unbind(1)
            mapped = complete[0] + (row_values - median) / scale * complete[1]
            scaled.append(values.index_copy(0, incomplete, mapped))
        return scaled[0], scaled[1]

    def _masked_scales(self, mask: Tensor) -> list[tuple[float, float]]:
        """Return the median and scale of both scores of the reference rows, with a mask applied."""
        x, c, own = self.reference.x, self.reference.c, self.reference.mask
        rows = Batch(x, c, mask.expand_as(x) * (1 if own is None else own))
        nll = self._nll([rows], min(self.samples, REFERENCE_SAMPLES)).nll.double()
        distances = torch.cdist(self._features([rows]), self.normal_features)
        distances[torch.arange(len(x)), self.reference_index] = torch.inf
        return [_median_and_scale(nll), _median_and_scale(distances.min(1).values)]

    def _features(self, batches: list[Batch]) -> Tensor:
        """Return each example and its residual, with shape (N, 2 D); missing values are imputed."""
        features, device = [], next(self.model.parameters()).device
        with eval_float32(self.model):
            for batch in batches:
                rows = batch.to(device)
                x, mask = load_seeded(self.load, rows.x, self.seed), rows.mask
                completed = reconstruct_missing(self.model, x, rows.c, mask, sweeps=SWEEPS)
                reconstruction = reconstruct(self.model, completed, rows.c)
                x = x if mask is None else torch.where(mask > 0, x, reconstruction)
                features.append(torch.cat([x.flatten(1), (x - reconstruction).flatten(1)], 1).cpu())
        return torch.cat(features).double()


def _distance_to_other(rows: Tensor, reference: Tensor) -> Tensor:
    """Return the distance from each row to the nearest reference row that is not equal to it."""
    index, distance = nearest_rows(rows, reference)
    equal = torch.nonzero(distance <= EQUAL * (1 + rows.norm(dim=1)))[:, 0]
    for start, chunk in squared_distances(rows[equal], reference) if len(equal) else ():
        chunk_rows = equal[start : start + len(chunk)]
        chunk[torch.arange(len(chunk)), index[chunk_rows]] = torch.inf
        # Unlike the expanded squared distance, the norm of a difference does not suffer from
        # cancellation.
        distance[chunk_rows] = (rows[chunk_rows] - reference[chunk.argmin(1)]).norm(dim=1)
    return distance


def _median_and_scale(values: Tensor) -> tuple[float, float]:
    """Return the median and the distance between the median and the 90% quantile."""
    median, high = values.quantile(torch.tensor([0.5, 0.9], dtype=torch.float64)).tolist()
    return median, max(high - median, 1e-9)


def _first_rows(batches: list[Batch], n: int) -> list[Batch]:
    """Return the first batches that together contain at least n rows, or all batches."""
    selected: list[Batch] = []
    for batch in batches:
        if sum(map(len, selected)) < n:
            selected.append(batch)
    return selected


def _most_complete(batches: list[Batch], n: int) -> tuple[Tensor, Batch]:
    """Return the indices and the data of the n rows with the fewest missing values."""
    rows = _concatenate(batches)
    index = torch.arange(len(rows))
    if rows.mask is not None:
        index = rows.mask.flatten(1).sum(1).argsort(descending=True, stable=True)
    return index[:n], rows.take(index[:n])


def _concatenate(batches: list[Batch]) -> Batch:
    """Return all rows as one batch, with a mask if any batch has one."""
    x = torch.cat([batch.x for batch in batches])
    c = None if batches[0].c is None else torch.cat([b.c for b in batches if b.c is not None])
    if all(batch.mask is None for batch in batches):
        return Batch(x, c)
    masks = [torch.ones_like(b.x) if b.mask is None else b.mask for b in batches]
    return Batch(x, c, torch.cat(masks))


def _squash(values: Tensor, median: float, scale: float) -> Tensor:
    """Standardize values and compress them with a signed logarithm."""
    u = (values - median) / scale
    return u.sign() * u.abs().log1p()
