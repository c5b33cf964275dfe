"""What normal data are like, so that others can be judged beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from varied.data.batches import Batch
from varied.errors import VariedError, suggest
from varied.evaluate.distances import nearest_rows, squared_distances
from varied.functional.nll import load_seeded, negative_log_likelihood
from varied.functional.reconstruct import reconstruct
from varied.models import LatentModel
from varied.models.vae import zero_missing
from varied.runtime import eval_float32

__all__ = ["WAYS", "AnomalyScorer", "AnomalyScores"]

#: What lies closer, in parts of its length, is the same: sums in other batches round otherwise.
SAME = 1e-6
#: Normal data whose scores say what is usual.
USUAL = 1000
WAYS = ("both", "density", "distance")


@dataclass(frozen=True)
class AnomalyScores:
    """How strange each datum is, in three ways.

    Arguments:
        score: What was asked for, with shape (N); higher is stranger.
        nats: -log p(x), by importance samples, with shape (N).
        distance: From the nearest normal datum, with shape (N).
        cost: What each element costs given the code, with shape (N, *event), in nats.
    """

    score: Tensor
    nats: Tensor
    distance: Tensor
    cost: Tensor


class AnomalyScorer:
    r"""Normal data, as a model sees them.

    A density misses what is simpler than normal data; a distance from them misses what lies in the
    gaps between. Their sum misses less than either:

    .. math::
        s(x) = \sum_{v \in \{-\log p(x), \, d(x)\}} \psi\Big(\frac{v - m_v}{q_v - m_v}\Big), \qquad
        \psi(u) = \mathrm{sign}(u) \log(1 + |u|), \qquad
        d(x) = \min_n \big| (x, x - \hat x) - (x_n, x_n - \hat x_n) \big|

    with the median m and the 90 % quantile q of the normal data, and reconstructions
    :math:`\hat x`. No label is needed for it, and nothing is tuned to anomalies.

    References:
        Do Deep Generative Models Know What They Don't Know? (Nalisnick et al., 2019),
        https://arxiv.org/abs/1810.09136: why a density alone does not do.

    Warning:
        Normal data are no neighbors of their own: where a datum is a copy of one of them, the
        distance is that of the next.

    Arguments:
        model: The model; neither it nor torch's random state is changed.
        load: From stored rows to data; what it draws follows from the seed.
        rows: Normal data in batches: those of the training, 10,000 are enough.
        method: "both", "density" or "distance".
        samples: Importance samples for each datum.
        seed: Which draws.

    Raises:
        VariedError: If there is no such way, or the normal data are fewer than two.
    """

    def __init__(
        self,
        model: LatentModel,
        load: Callable[[Tensor], Tensor],
        rows: Iterable[Batch],
        *,
        method: str = "both",
        samples: int = 100,
        seed: int = 0,
    ) -> None:
        if method not in WAYS:
            raise VariedError(f"Data are not judged by '{method}': {suggest(method, WAYS)}")
        self.model, self.load, self.method = model, load, method
        self.samples, self.seed = samples, seed
        batches = list(rows)
        self.places = self._places(batches)
        if len(self.places) < 2:
            raise VariedError("Two normal data are needed at least, to judge others beside them.")
        nats, distance, _ = self._values(_first(batches, USUAL))
        self.usual = _usual(nats), _usual(distance)

    def judge(self, rows: Iterable[Batch]) -> AnomalyScores:
        """Return how strange data are; the same datum always is as strange."""
        nats, distance, cost = self._values(list(rows))
        return AnomalyScores(self.score(nats, distance), nats, distance, cost)

    def score(self, nats: Tensor, distance: Tensor) -> Tensor:
        """Return the score that -log p(x) and the distance come to, with shape (N)."""
        if self.method != "both":
            return nats if self.method == "density" else distance
        of_nats, of_distance = self.usual
        return _bent(nats, *of_nats) + _bent(distance, *of_distance)

    def _values(self, rows: list[Batch]) -> tuple[Tensor, Tensor, Tensor]:
        found = negative_log_likelihood(
            self.model, self.load, rows, samples=self.samples, seed=self.seed
        )
        return found.score.double(), _nearest_other(self._places(rows), self.places), found.cost

    def _places(self, rows: list[Batch]) -> Tensor:
        """Return where data lie: what they are, and what the model leaves of it; (N, 2 D)."""
        found, device = [], next(self.model.parameters()).device
        with eval_float32(self.model):
            for batch in rows:
                moved = batch.to(device)
                x = load_seeded(self.load, moved.x, self.seed)
                made = reconstruct(self.model, zero_missing(x, moved.mask), moved.c)
                x = x if moved.mask is None else torch.where(moved.mask > 0, x, made)
                found.append(torch.cat([x.flatten(1), (x - made).flatten(1)], 1).cpu())
        return torch.cat(found).double()


def _nearest_other(rows: Tensor, among: Tensor) -> Tensor:
    """Return the distance of each row from the nearest that is not the same; shape (N)."""
    index, distance = nearest_rows(rows, among)
    same = torch.nonzero(distance <= SAME * (1 + rows.norm(dim=1)))[:, 0]
    for start, chunk in squared_distances(rows[same], among) if len(same) else ():
        at = torch.arange(len(chunk))
        these = same[start + at]
        chunk[at, index[these]] = torch.inf
        # Squares of differences, unlike the differences of squares in a chunk, lose no digits.
        distance[these] = (rows[these] - among[chunk.argmin(1)]).norm(dim=1)
    return distance


def _usual(values: Tensor) -> tuple[float, float]:
    """Return the median, and how far above it the 90 % quantile lies."""
    middle, high = values.quantile(torch.tensor([0.5, 0.9], dtype=torch.float64)).tolist()
    return middle, max(high - middle, 1e-9)


def _first(rows: list[Batch], least: int) -> list[Batch]:
    """Return batches that hold so many rows at least, where there are as many."""
    found: list[Batch] = []
    for batch in rows:
        if sum(map(len, found)) < least:
            found.append(batch)
    return found


def _bent(values: Tensor, middle: float, width: float) -> Tensor:
    """Return values in units of their usual width above the middle, the far ones drawn in."""
    u = (values - middle) / width
    bent: Tensor = u.sign() * u.abs().log1p()
    return bent
