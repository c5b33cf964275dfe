"""Attribute editing: directions of attributes in the latent space, and shifts along them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from varied.data.batches import iter_batches
from varied.errors import VariedError, lookup
from varied.functional.generate import decode
from varied.models import LatentModel
from varied.runtime import eval_float32

#: The number of codes that are decoded and encoded together.
CHUNK = 200


def mean_difference(codes: Tensor, has: Tensor, weights: Tensor) -> Tensor:
    """Return the difference between the mean codes with and without an attribute."""
    group_weights = torch.stack([weights * has, weights * ~has])
    means = group_weights / group_weights.sum(1, keepdim=True) @ codes
    return means[0] - means[1]


def logistic(codes: Tensor, has: Tensor, weights: Tensor) -> Tensor:
    """Return the projection of the mean difference onto the weights of a logistic regression."""
    regression = _regression()
    sample_weight = weights.numpy() * len(weights) / float(weights.sum())
    regression.fit(codes.numpy(), has.numpy(), sample_weight)
    normal = normalize(torch.from_numpy(regression.coef_[0]).to(codes), dim=0)
    return normal * (normal @ mean_difference(codes, has, weights))


def _regression() -> Any:
    """Return a strongly regularized logistic regression with a high iteration limit."""
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=0.1, max_iter=10_000)


DIRECTIONS = {"means": mean_difference, "logistic": logistic}


def direction(
    codes: Tensor, has: Tensor, weights: Tensor | None = None, *, method: str = "means"
) -> Tensor:
    r"""Return the shift of the code that adds an attribute to an example.

    .. math:: v = \frac{\sum_{i: y_i = 1} w_i z_i}{\sum_{i: y_i = 1} w_i}
        - \frac{\sum_{i: y_i = 0} w_i z_i}{\sum_{i: y_i = 0} w_i}

    The difference between the means is the limit of linear discriminant analysis as the covariance
    is shrunk to the identity. With less shrinkage, the direction favors units with a small
    variance, which separate the groups best but hardly affect the decoded data. Logistic regression
    has the same problem to a lesser degree.

    References:
        Sampling Generative Networks (White, 2016), https://arxiv.org/abs/1609.04468; on why the
        weights of a classifier are not a direction in the data: On the Interpretation of Weight
        Vectors of Linear Models in Multivariate Neuroimaging (Haufe et al., 2014),
        https://doi.org/10.1016/j.neuroimage.2013.10.067

    Warning:
        Attributes that are correlated with this one also change; `balance_weights` prevents that.

    Arguments:
        codes: The codes, with shape (N, D).
        has: Whether each example has the attribute, bool with shape (N).
        weights: The weight of each example, with shape (N); None weights all examples equally.
        method: The method: "means" or "logistic".

    Returns:
        A vector with shape (D), whose length is the distance between the group means in its
        direction.

    Raises:
        VariedError: If one of the groups has fewer than two examples, or the method is unknown.

    Example:
        >>> codes = torch.tensor([[0.0, 1.0], [0.0, 3.0], [4.0, 1.0], [4.0, 3.0]])
        >>> direction(codes, torch.tensor([False, False, True, True]))
        tensor([4., 0.])
    """
    estimate = lookup(DIRECTIONS, method, "direction")
    weights = torch.ones(len(codes)) if weights is None else weights
    counted = has[weights > 0]
    smallest = min(int(counted.sum()), int((~counted).sum()))
    if smallest < 2:
        raise VariedError(
            "A direction requires at least two examples with the attribute and two without it "
            f"(twenty are better), got {smallest} in the smaller group."
        )
    return estimate(codes, has, weights.to(codes))


def balance_weights(has: Tensor, others: Tensor) -> Tensor:
    r"""Return weights with shape (N) under which an attribute is independent of the others.

    .. math:: w_i = \frac{1}{n_{y_i s_i}} \, \frac{n_{1 s} n_{0 s}}{n_{1 s} + n_{0 s}}

    Examples with equal values of the other attributes form a stratum s. Within a stratum, examples
    with and without the attribute have the same total weight, which is the effective size of the
    stratum; strata that contain only one of these two kinds have weight 0.

    References:
        Sampling Generative Networks (White, 2016), https://arxiv.org/abs/1609.04468

    Arguments:
        has: Whether each example has the attribute, bool with shape (N).
        others: The values of the other attributes, integers with shape (N, K).

    Raises:
        VariedError: If no stratum has examples of both kinds.

    Example:
        >>> balance_weights(torch.tensor([True, True, False]), torch.zeros(3, 1, dtype=torch.int64))
        tensor([0.3333, 0.3333, 0.6667])
    """
    _, stratum = torch.unique(others, dim=0, return_inverse=True)
    n_strata = int(stratum.max()) + 1
    counts = torch.stack(
        [torch.bincount(stratum[has == kind], minlength=n_strata) for kind in (0, 1)]
    )
    if not (counts > 0).all(0).any():
        raise VariedError(
            "No combination of the other attributes occurs both with and without the attribute; "
            "control for fewer attributes."
        )
    effective_size = counts.prod(0) / counts.sum(0)
    return (effective_size / counts.clamp_min(1))[has.long(), stratum]


def shift_codes(z: Tensor, step: Tensor, strengths: Sequence[float]) -> Tensor:
    """Return codes (N, D) plus each strength times a step (D), as a tensor (N, S, D)."""
    return z[:, None] + torch.tensor(strengths).to(z)[:, None] * step.to(z)


def edit(
    model: LatentModel,
    x: Tensor,
    step: Tensor,
    c: Tensor | None = None,
    *,
    strengths: Sequence[float] = (-1.0, 0.0, 1.0),
) -> Tensor:
    r"""Add an attribute to each example, or remove it, by decoding :math:`p(x \mid z + s v)`.

    Arguments:
        model: The model, which is left unchanged, as is torch's random state.
        x: The data, with shape (N, *event).
        step: The direction v, with shape (D); see `direction`.
        c: The context, with shape (N, F), or None; it is not changed by the edit.
        strengths: The factors s; 0 corresponds to the reconstruction.

    Returns:
        Data with shape (N, S, *event).
    """
    with eval_float32(model):
        z = model.encode(x, c).mean
        shifted = shift_codes(z.flatten(1), step, strengths).reshape(-1, *z.shape[1:])
        fixed_c = None if c is None else c.repeat_interleave(len(strengths), 0)
        decoded = decode(model, shifted, fixed_c)
    return decoded.reshape(len(x), len(strengths), *decoded.shape[1:])


def reencode(model: LatentModel, z: Tensor, c: Tensor | None = None) -> Tensor:
    """Decode codes, encode the result, and return the new codes, with shape (N, D).

    The distance between the old and the new codes is the cycle error, which is large for codes
    outside the range of the training data.

    Arguments:
        model: The model, which is left unchanged, as is torch's random state.
        z: The codes, with shape (N, D).
        c: The context, with shape (N, F), or None.
    """
    codes = []
    with eval_float32(model):
        for rows in iter_batches(z, c, size=CHUNK):
            x = decode(model, rows.x.reshape(-1, *model.latent_shape), rows.c)
            codes.append(model.encode(x, rows.c).mean.flatten(1))
    return torch.cat(codes)


@dataclass(frozen=True)
class Effect:
    """The effect of an edit on one attribute.

    Arguments:
        name: The name of the attribute.
        cosine: The cosine similarity between the step and the direction of the attribute.
        before: The mean probability of the attribute before the edit, according to a linear probe
            on the codes.
        after: The mean probability after a step of strength 1.
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
    """Return the effect of a step on each attribute, in descending order of the absolute change.

    Arguments:
        step: The direction, with shape (D).
        codes: The codes of labeled examples, with shape (N, D).
        attributes: Maps the name of each attribute to two bool tensors with shape (N): whether each
            of the labeled examples has the attribute, and whether this is known.
        before: The codes of other examples, with shape (M, D).
        after: The codes of the same examples after the edit, computed with `reencode`, since a
            linear probe would have to extrapolate to shifted codes that do not correspond to any
            data.
    """
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    results = []
    for name, (has, known) in attributes.items():
        rows, labels = codes[known], has[known]
        probe = make_pipeline(StandardScaler(), _regression()).fit(rows.numpy(), labels.numpy())
        was, now = (float(probe.predict_proba(z.numpy())[:, 1].mean()) for z in (before, after))
        own_direction = direction(rows, labels)
        cosine = float(cosine_similarity(own_direction, step.to(own_direction), dim=0))
        results.append(Effect(name, cosine, was, now))
    return sorted(results, key=lambda effect: -abs(effect.after - effect.before))
