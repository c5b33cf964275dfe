"""Search near the code of an example for codes that decode to a higher value of a property."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from varied.data import RawData
from varied.evaluate.active_units import is_active
from varied.functional.latent_density import LatentDensity
from varied.functional.property_prediction import PropertyPredictor
from varied.seeding import generator

#: The number of codes that are decoded for each evaluation, from which the predictor selects, and
#: the factor by which the number of rounds may increase if few examples satisfy the constraints.
_OVERSAMPLING, _MAX_ATTEMPTS = 8, 4
#: The number of rounds if many candidates satisfy the constraints, and the maximum number of best
#: examples around which the next round searches.
_ROUNDS, _PARENTS = 8, 10
#: The maximum lengths of the noise and of the gradient ascent path, as fractions of the radius.
_MAX_NOISE, _MAX_ASCENT = 0.6, 0.4
#: The number of gradient steps.
_STEPS = 8
#: The weight w of the log-density, relative to the property in standard deviations.
_DENSITY_WEIGHT = 1.0


class Candidates(NamedTuple):
    """Decoded examples that satisfy all constraints.

    Arguments:
        data: The examples.
        codes: The codes of the examples, obtained by encoding them, with shape (N, D).
    """

    data: RawData
    codes: Tensor

    def take(self, rows: Tensor) -> Candidates:
        """Return the candidates at the given rows."""
        return Candidates(self.data.take(rows.numpy()), self.codes[rows])


@dataclass(frozen=True)
class TrustRegion:
    r"""A ball around a code, with distances scaled to the typical distance of training codes.

    .. math:: d(z, z_0) = \sqrt{\frac{1}{2 A} \sum_{j \text{ active}}
              \frac{(z_j - z_{0j})^2}{\sigma_j^2}}

    where A is the number of active units, so that the root mean square distance between two
    training codes is 1. Inactive units do not change.

    Arguments:
        scale: The standard deviation of each unit times :math:`\sqrt{2 A}`, and 0 for inactive
            units, with shape (D).
        radius: The maximum distance.
    """

    scale: Tensor
    radius: float

    @classmethod
    def fit(cls, codes: Tensor, radius: float) -> TrustRegion:
        """Return a trust region that measures distances in standard deviations of codes (N, D)."""
        active = is_active(codes)
        return cls(codes.std(0) * active * math.sqrt(2 * max(1, int(active.sum()))), radius)

    def distance(self, z: Tensor, center: Tensor) -> Tensor:
        """Return the distance, with shape (N), from each code (N, D) to a center (D) or (N, D)."""
        distance: Tensor = self.offset(z, center).norm(dim=1)
        return distance

    def offset(self, z: Tensor, center: Tensor) -> Tensor:
        """Return the offset, with shape (N, D), of codes from a center, in units of the scale."""
        return torch.where(self.scale > 0, (z - center) / self.scale.clamp_min(1e-9), 0.0)

    def project(self, offset: Tensor) -> Tensor:
        """Shorten offsets, in units of the scale, to at most the radius."""
        return offset.renorm(2, 0, self.radius)


class Optimum(NamedTuple):
    """The best example of a search.

    Arguments:
        best: The example, as the only candidate; None if none is better than the starting example.
        value: The value of the best example, or of the starting example if none is better.
        n_evaluations: The number of evaluated examples.
    """

    best: Candidates | None
    value: float
    n_evaluations: int


def ascend(
    score: Callable[[Tensor], Tensor],
    z: Tensor,
    center: Tensor,
    region: TrustRegion,
    length: Tensor,
    steps: int = _STEPS,
) -> Tensor:
    """Return codes after steps of normalized gradient ascent, projected onto the trust region.

    Arguments:
        score: Maps codes to the values to increase, with shape (N).
        z: The initial codes, with shape (N, D).
        center: The center of the region, with shape (D).
        region: The trust region.
        length: The length of the path of each code, as a distance in the region, with shape (N).
        steps: The number of steps.
    """
    scale = region.scale
    offset = region.offset(z, center)
    for _ in range(steps):
        with torch.enable_grad():
            offset = offset.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(score(center + scale * offset).sum(), offset)
        offset = region.project(offset + length[:, None] / steps * normalize(gradient, dim=1))
    return center + scale * offset.detach()


def search(
    start: Tensor,
    value: float,
    decode: Callable[[Tensor], Candidates],
    evaluate: Callable[[Candidates], Tensor],
    predictor: PropertyPredictor | None,
    region: TrustRegion,
    density: LatentDensity | None = None,
    *,
    sign: float = 1.0,
    n_evaluations: int = 100,
    seed: int = 0,
) -> Optimum:
    r"""Search a trust region around the code of an example for an example with a higher value.

    In each round, noise is added to the codes of the best examples so far, and half of the
    resulting codes follow the gradient of

    .. math:: \frac{\hat y(z)}{\sigma_y} + \frac{w}{A} \min(\log p(z) - t, 0)

    where :math:`\hat y` is the predicted property, :math:`\sigma_y` is its standard deviation over
    the training data, p is the density of the training codes, t is the threshold for its logarithm,
    A is the number of active units, and w = 1. If the value is minimized, the sign of the first
    term is reversed. The codes are decoded. Of the examples that satisfy the constraints and have
    not been evaluated, those with the highest prediction at the code *to which they are encoded*
    are evaluated.

    References:
        Automatic Chemical Design Using a Data-Driven Continuous Representation of Molecules
        (Gómez-Bombarelli et al., 2018), https://doi.org/10.1021/acscentsci.7b00572; on searches
        that leave the data distribution: Constrained Bayesian Optimization for Automatic Chemical
        Design (Griffiths & Hernández-Lobato, 2020), https://arxiv.org/abs/1709.05501

    Arguments:
        start: The code of the starting example, with shape (D).
        value: The value of the starting example.
        decode: Maps codes with shape (N, D) to candidates.
        evaluate: Maps candidates to their values, with shape (N).
        predictor: The predictor; None searches at random around the starting example.
        region: The trust region.
        density: The density of the training codes; None ignores it.
        sign: 1 to maximize the value, or -1 to minimize it.
        n_evaluations: The maximum number of evaluated examples.
        seed: The random seed.

    Returns:
        The best example, its value and the number of evaluated examples.
    """
    random = generator(seed, "optimize")
    score = None if predictor is None else _score(predictor, density, sign)
    parents, values = start[None], torch.tensor([sign * value], dtype=torch.float64)
    best, n, batch = None, 0, math.ceil(n_evaluations / _ROUNDS)
    for _ in range(_ROUNDS * _MAX_ATTEMPTS):
        candidates = decode(_propose(parents, start, region, _OVERSAMPLING * batch, score, random))
        if predictor is not None:
            order = (sign * predictor(candidates.codes)).argsort(descending=True)
            candidates = candidates.take(order)
        candidates = candidates.take(
            torch.arange(len(candidates.codes))[: min(batch, n_evaluations - n)]
        )
        if not len(candidates.codes):
            continue
        n += len(candidates.codes)
        new_values = (sign * evaluate(candidates)).nan_to_num(nan=-math.inf)
        if new_values.max() > values.max():
            best = candidates.take(new_values.argmax()[None])
        values, order = torch.cat([values, new_values]).sort(descending=True)
        values = values[:_PARENTS]
        if predictor is not None:
            parents = torch.cat([parents, candidates.codes])[order[:_PARENTS]]
        if n == n_evaluations:
            break
    return Optimum(best, sign * float(values[0]), n)


def _score(
    predictor: PropertyPredictor, density: LatentDensity | None, sign: float
) -> Callable[[Tensor], Tensor]:
    def score(z: Tensor) -> Tensor:
        prediction = sign * predictor.standard_score(z)
        if density is None:
            return prediction
        excess = (density.log_density(z) - density.threshold).clamp_max(0) / density.active_units
        return prediction + _DENSITY_WEIGHT * excess

    return score


def _propose(
    parents: Tensor,
    start: Tensor,
    region: TrustRegion,
    n: int,
    score: Callable[[Tensor], Tensor] | None,
    random: torch.Generator,
) -> Tensor:
    """Return codes with shape (n, D) near parents; half of the codes follow the gradient."""
    parent = parents[torch.randint(len(parents), (n,), generator=random)]
    noise = torch.randn(n, len(start), generator=random) * (region.scale > 0)
    length = region.radius * torch.rand(n, 2, generator=random)
    length *= torch.tensor([_MAX_NOISE, _MAX_ASCENT])
    offset = region.offset(parent, start) + length[:, :1] * normalize(noise, dim=1)
    z = start + region.scale * region.project(offset)
    if score is None:
        return z
    half = n // 2
    return torch.cat([ascend(score, z[:half], start, region, length[:half, 1]), z[half:]])
