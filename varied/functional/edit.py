"""An attribute of data as a direction among codes, and codes moved along it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from varied.errors import VariedError, lookup
from varied.functional.decode import decode
from varied.models import LatentModel
from varied.runtime import eval_float32

__all__ = [
    "DIRECTIONS",
    "Effect",
    "balance_weights",
    "direction",
    "edit",
    "effects",
    "reencode",
    "shift_codes",
]

#: The strength of a logistic regression (`C` of scikit-learn): a stiff one.
STIFF = 0.1
#: More iterations than it ever takes.
ITERATIONS = 10_000
#: Codes that are decoded at once.
CHUNK = 200


def means(codes: Tensor, wanted: Tensor, weight: Tensor) -> Tensor:
    """Return the mean of the rows that have an attribute less that of those that have not."""
    share = torch.stack([weight * wanted, weight * ~wanted])
    middle = share / share.sum(1, keepdim=True) @ codes
    return middle[0] - middle[1]


def logistic(codes: Tensor, wanted: Tensor, weight: Tensor) -> Tensor:
    """Return the normal of a logistic regression, as long as the means lie apart along it."""
    from sklearn.linear_model import LogisticRegression

    told = LogisticRegression(C=STIFF, max_iter=ITERATIONS)
    told.fit(codes.numpy(), wanted.numpy(), weight.numpy() * len(weight) / float(weight.sum()))
    normal = torch.nn.functional.normalize(torch.from_numpy(told.coef_[0]).to(codes), dim=0)
    return normal * (normal @ means(codes, wanted, weight))


DIRECTIONS = {"means": means, "logistic": logistic}


def direction(
    codes: Tensor, wanted: Tensor, weight: Tensor | None = None, *, method: str = "means"
) -> Tensor:
    r"""Return the step in the codes that takes data without an attribute to data with it.

    .. math:: v = \frac{\sum_{i: y_i = 1} w_i z_i}{\sum_{i: y_i = 1} w_i}
        - \frac{\sum_{i: y_i = 0} w_i z_i}{\sum_{i: y_i = 0} w_i}

    Strength 1 is this step: as far as the means of the two groups lie apart.

    The difference of means is what a discriminant analysis becomes where the covariance is shrunk
    to the unit matrix altogether. One that is shrunk less turns towards units in which the data
    hardly differ, since there the groups are told apart best; a step that way leaves the data and
    changes little that can be seen. So does, less so, a logistic regression.

    References:
        Sampling Generative Networks (White, 2016), https://arxiv.org/abs/1609.04468; on why the
        normal of a classifier is no step in the data: On the Interpretation of Weight Vectors of
        Linear Models in Multivariate Neuroimaging (Haufe et al., 2014),
        https://doi.org/10.1016/j.neuroimage.2013.10.067

    Warning:
        What goes with the attribute in the rows moves with it: give weights by `balanced`.

    Arguments:
        codes: With shape (N, D).
        wanted: Which rows have the attribute, as bool with shape (N).
        weight: What each row counts, with shape (N); None counts all the same.
        method: "means" or "logistic".

    Returns:
        A vector with shape (D).

    Raises:
        VariedError: If one of the groups has fewer than two rows.

    Example:
        >>> codes = torch.tensor([[0.0, 1.0], [0.0, 3.0], [4.0, 1.0], [4.0, 3.0]])
        >>> direction(codes, torch.tensor([False, False, True, True]))
        tensor([4., 0.])
    """
    way = lookup(DIRECTIONS, method, "direction")
    weight = torch.ones(len(codes)) if weight is None else weight
    counted = wanted[weight > 0]
    few = min(int(counted.sum()), int((~counted).sum()))
    if few < 2:
        raise VariedError(
            f"One of the two groups has {few} rows that count: give two of each at least, and "
            "better twenty."
        )
    return way(codes, wanted, weight.to(codes))


def balance_weights(wanted: Tensor, others: Tensor) -> Tensor:
    r"""Return weights by which an attribute no longer goes with others, with shape (N).

    .. math:: w_i = \frac{1}{n_{y_i s_i}} \, \frac{n_{1 s} n_{0 s}}{n_{1 s} + n_{0 s}}

    Rows of equal values of the others make a stratum s, and in each the rows with and without the
    attribute weigh the same, as if the fewer had been repeated. A stratum weighs by what it tells;
    one that has but rows with, or but rows without, tells nothing and weighs 0.

    References:
        Sampling Generative Networks (White, 2016), https://arxiv.org/abs/1609.04468

    Arguments:
        wanted: Which rows have the attribute, as bool with shape (N).
        others: The values of the other attributes, as integers with shape (N, K).

    Raises:
        VariedError: If no stratum has rows of both kinds.

    Example:
        >>> balance_weights(torch.tensor([True, True, False]), torch.zeros(3, 1, dtype=torch.int64))
        tensor([0.3333, 0.3333, 0.6667])
    """
    _, stratum = torch.unique(others, dim=0, return_inverse=True)
    count = int(stratum.max()) + 1
    both = torch.stack(
        [torch.bincount(stratum[wanted == kind], minlength=count) for kind in (0, 1)]
    )
    if not (both > 0).all(0).any():
        raise VariedError(
            "Rows with the attribute and rows without it have no value of the others in common; "
            "balance fewer of them."
        )
    worth = both.prod(0) / both.sum(0)
    return (worth / both.clamp_min(1))[wanted.long(), stratum]


def shift_codes(z: Tensor, step: Tensor, strengths: Sequence[float]) -> Tensor:
    """Return codes with shape (N, D) moved by each strength, with shape (N, S, D)."""
    return z[:, None] + torch.tensor(strengths).to(z)[:, None] * step.to(z)


def edit(
    model: LatentModel,
    x: Tensor,
    step: Tensor,
    c: Tensor | None = None,
    *,
    strengths: Sequence[float] = (-1.0, 0.0, 1.0),
) -> Tensor:
    r"""Return data with an attribute taken away or added: :math:`p(x \mid z + s v)`.

    Arguments:
        model: The model; neither it nor torch's random state is changed.
        x: Data, with shape (N, *event).
        step: The direction, with shape (D); see `direction`.
        c: The context, with shape (N, F), or None; it is kept.
        strengths: How far to go; 0 is the reconstruction.

    Returns:
        Data with shape (N, S, *event).
    """
    with eval_float32(model):
        z = model.encode(x, c).mean
        went = shift_codes(z.flatten(1), step, strengths)
        held = None if c is None else c.repeat_interleave(len(strengths), 0)
        made = decode(model, went.reshape(-1, *z.shape[1:]), held)
    return made.reshape(len(x), len(strengths), *made.shape[1:])


def reencode(model: LatentModel, z: Tensor, c: Tensor | None = None) -> Tensor:
    """Return the codes of what codes decode to, with shape (N, D).

    A code that comes back to where it was is one that the model knows; one that does not says more
    than the data show.

    Arguments:
        model: The model; neither it nor torch's random state is changed.
        z: Codes, with shape (N, D).
        c: The context, with shape (N, F), or None.
    """
    found = []
    with eval_float32(model):
        for start in range(0, len(z), CHUNK):
            rows = slice(start, start + CHUNK)
            told = None if c is None else c[rows]
            x = decode(model, z[rows].reshape(-1, *model.latent_shape), told)
            found.append(model.encode(x, told).mean.flatten(1))
    return torch.cat(found)


@dataclass(frozen=True)
class Effect:
    """What a step does to one attribute.

    Arguments:
        name: The attribute.
        cosine: Between the step and the attribute's own, from -1 to 1; 0 moves it not at all.
        before: Its probability before the step, by a linear probe on codes; a mean over data.
        after: Its probability after a step of strength 1.
    """

    name: str
    cosine: float
    before: float
    after: float


def effects(
    step: Tensor,
    codes: Tensor,
    attributes: Mapping[str, tuple[Tensor, Tensor]],
    before: Tensor,
    after: Tensor,
) -> list[Effect]:
    """Return what a step does to attributes, those that it moves most first.

    Arguments:
        step: The direction, with shape (D).
        codes: Codes of rows of which something is known, with shape (N, D).
        attributes: Which of them have each attribute, and of which that is known, as bool with
            shape (N).
        before: Codes of other data, with shape (M, D).
        after: Codes of the same, edited: encoded `again`, since a probe believes any code.
    """
    found = []
    for name, (wanted, known) in attributes.items():
        rows, has = codes[known], wanted[known]
        own, says = direction(rows, has), _probe(rows, has)
        cosine = float(torch.nn.functional.cosine_similarity(own, step.to(own), dim=0))
        found.append(Effect(name, cosine, says(before), says(after)))
    return sorted(found, key=lambda effect: -abs(effect.after - effect.before))


def _probe(codes: Tensor, wanted: Tensor) -> Any:
    """Return a function from codes to the mean probability of an attribute."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    told = make_pipeline(StandardScaler(), LogisticRegression(C=STIFF, max_iter=ITERATIONS))
    told.fit(codes.numpy(), wanted.numpy())
    return lambda z: float(told.predict_proba(z.numpy())[:, 1].mean())
