"""The codes of all data together: how much they tell, and how far they are from the prior."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.distributions import Distribution

from varied.distributions import base_distribution
from varied.errors import VariedError
from varied.evaluate.estimate import Estimate
from varied.seeding import generator, permutation

__all__ = ["AggregatePosterior", "aggregate_posterior", "c2st"]

Array = npt.NDArray[Any]
LogPrior = Callable[[Tensor], Tensor] | Distribution

#: Pairs of a draw and a row that are held at once: 1 MB, which stays in the cache.
PAIRS = 2**17
#: Draws whose prior density is asked for at once.
CHUNK = 1000
#: Rows of each side that a classifier is shown.
SHOWN = 5000
#: Most units whose products a classifier is shown.
PRODUCTS = 64
FOLDS = 5
ROOT_TWO_PI = 0.5 * math.log(2 * math.pi)


@dataclass(frozen=True)
class AggregatePosterior:
    r"""What the codes of all data together are like; all in nats.

    Of the same draws ``rate = information + marginal`` holds to the last digits, and ``marginal =
    total_correlation + by_dimension`` where the prior takes the units to be independent.

    Arguments:
        n: The number N of rows that the mixture is made of.
        rate: :math:`KL(q(z \mid x), p(z))`, from the draws: the mean of it in closed form, where
            there is one, lies within its error.
        information: :math:`I(x; z)`, at most log N.
        information_above: The same, with each row left out of the mixture that its own draw is
            held against.
        marginal: :math:`KL(q(z), p(z))`.
        total_correlation: :math:`KL(q(z), \prod_j q(z_j))`, 0 where the units are independent.
        by_dimension: :math:`\sum_j KL(q(z_j), p(z_j))`; None where the prior gives no density to
            single units.
        by_unit: Its summands, D of them.
    """

    n: int
    rate: Estimate
    information: Estimate
    information_above: Estimate
    marginal: Estimate
    total_correlation: Estimate
    by_dimension: Estimate | None
    by_unit: tuple[float, ...] | None

    @property
    def ceiling(self) -> float:
        """The most nats that codes can tell of which of N rows it is: log N."""
        return math.log(self.n)

    @property
    def warnings(self) -> list[str]:
        """What a person should know before trusting the figures, a sentence each."""
        if self.information.value < 0.9 * self.ceiling:
            return []
        return [
            f"The information of {self.information.value:.2f} nats is at its ceiling, log "
            f"{self.n:,} = {self.ceiling:.2f}: the codes tell the rows apart, and what is cut off "
            "counts in the marginal KL and the total correlation instead; give more rows, or read "
            "the rate."
        ]


def aggregate_posterior(
    mean: Tensor | Array,
    spread: Tensor | Array,
    *,
    log_prior: LogPrior | None = None,
    draws: int | None = None,
    seed: int = 0,
) -> AggregatePosterior:
    r"""Return what the codes of all data together hold, and how far they are from the prior.

    .. math:: q(z) = \frac1N \sum_n q(z \mid x_n), \qquad
        \overline{KL(q(z \mid x), p)} =
        \underbrace{\mathbb E \log \frac{q(z \mid x)}{q(z)}}_{I(x; z)}
        + \underbrace{\mathbb E \log \frac{q(z)}{\prod_j q(z_j)}}_{\text{total correlation}}
        + \underbrace{\mathbb E \log \frac{\prod_j q(z_j)}{p(z)}}_{\text{by dimension}}

    The mixture is over all N rows, in float64; nothing is estimated from a batch. The mean is over
    one draw z from the posterior of each row, the row itself among the N: q is the mixture of the
    rows at hand, as Hoffman & Johnson define it.

    References:
        ELBO surgery: yet another way to carve up the variational evidence lower bound (Hoffman &
        Johnson, 2016), http://approximateinference.org/accepted/HoffmanJohnson2016.pdf: the first
        part. Isolating Sources of Disentanglement in Variational Autoencoders (Chen et al., 2018),
        https://arxiv.org/abs/1802.04942: the other two. On Variational Bounds of Mutual
        Information (Poole et al., 2019), https://arxiv.org/abs/1905.06922: what rows left out say.

    Warning:
        The information is about which of the N rows a code came from, so it is at most log N: 9.2
        nats for 10,000 rows, however many the code carries. For the data that the rows stand for,
        `information` is on average too low and `information_above` too high; where the two are far
        apart, N rows are too few to tell. Errors are over rows and their draws, the mixture held
        fixed. Each posterior is taken for a Gaussian of independent units: of any other, these are
        figures of its mean and spread alone.

    Arguments:
        mean: The mean of each posterior, with shape (N, D).
        spread: Its standard deviation, with shape (N, D).
        log_prior: log p(z) of z, float64 with shape (M, D): a function or a distribution. What it
            returns has shape (M), or (M, D) where the units are independent. Standard normal by
            default.
        draws: From how many rows, chosen at random, a code is drawn; from all of them by default.
            The time grows by draws * N * D: 10,000 rows of 32 units take some ten seconds.
        seed: Which draws.

    Raises:
        VariedError: If the shapes do not fit, a number is not finite, or a spread is 0.

    Example:
        >>> found = aggregate_posterior(torch.zeros(100, 3), torch.ones(100, 3))
        >>> abs(found.information.value) + abs(found.marginal.value) < 1e-9
        True
    """
    mean, spread = _posteriors(mean, spread)
    n = len(mean)
    if draws is not None and not 2 <= draws <= n:
        raise VariedError(f"draws={draws} must lie between 2 and the number of rows, {n:,}.")
    rows = torch.arange(n) if draws is None else permutation(n, seed, "rows drawn")[:draws]
    noise = torch.randn(mean.shape, dtype=torch.float64, generator=generator(seed, "codes"))
    z = mean[rows] + spread[rows] * noise[rows]
    own, others, whole, alone = _densities(z, rows, mean, spread)
    prior, units = _prior(log_prior, z)
    return AggregatePosterior(
        n=n,
        rate=Estimate.of(own - prior),
        information=Estimate.of(own - whole),
        information_above=Estimate.of(own - others),
        marginal=Estimate.of(whole - prior),
        total_correlation=Estimate.of(whole - alone.sum(1)),
        by_dimension=None if units is None else Estimate.of((alone - units).sum(1)),
        by_unit=None if units is None else tuple((alone - units).mean(0).tolist()),
    )


def _densities(
    z: Tensor, rows: Tensor, mean: Tensor, spread: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return log densities of draws: of their own posteriors, of the others, of all, of each unit.

    The first three have shape (M), the last (M, D).
    """
    n, units = mean.shape
    heights = spread.reciprocal().T.contiguous()
    middles, steep = mean.T.contiguous(), heights / math.sqrt(2)
    top = heights.log().sum(0)
    found = []
    at_once = max(1, PAIRS // n)
    for some, own in zip(z.split(at_once), rows.split(at_once), strict=True):
        pairs, alone = top.repeat(len(some), 1), torch.empty_like(some)
        for j in range(units):
            bell = (some[:, j, None] - middles[j]).mul_(steep[j]).square_().neg_()
            pairs += bell
            # A draw's own posterior is in the sum, so it cannot be 0.
            alone[:, j] = (bell.exp_() @ heights[j]).log()
        whole = pairs.logsumexp(1)
        at = torch.arange(len(some)), own
        itself = pairs[at]
        pairs[at] = -math.inf
        found.append((itself, pairs.logsumexp(1), whole, alone))
    itself, others, whole, alone = (torch.cat(parts) for parts in zip(*found, strict=True))
    constant = units * ROOT_TWO_PI
    return (
        itself - constant,
        others - constant - math.log(n - 1),
        whole - constant - math.log(n),
        alone - ROOT_TWO_PI - math.log(n),
    )


def _prior(log_prior: LogPrior | None, z: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return log p(z) with shape (M), and log p(z_j) with shape (M, D) where there is one."""
    if log_prior is None:
        units = -0.5 * z.square() - ROOT_TWO_PI
        return units.sum(1), units
    ask = (
        base_distribution(log_prior).log_prob if isinstance(log_prior, Distribution) else log_prior
    )
    with torch.no_grad():
        told = torch.cat([ask(some).double().cpu() for some in z.split(CHUNK)])
    if told.shape not in (z.shape, z.shape[:1]):
        raise VariedError(
            f"The prior gives {tuple(told.shape)} log densities for codes of shape "
            f"{tuple(z.shape)}: let it return one for each row, or one for each unit of it."
        )
    if not told.isfinite().all():
        raise VariedError(
            "The prior gives a log density that is not finite: give one that is above 0 wherever "
            "a code can lie."
        )
    return (told, None) if told.ndim == 1 else (told.sum(1), told)


def _posteriors(mean: Tensor | Array, spread: Tensor | Array) -> tuple[Tensor, Tensor]:
    mean, spread = _table(mean, "means"), _table(spread, "spreads")
    if mean.shape != spread.shape:
        raise VariedError(
            f"The means have shape {tuple(mean.shape)} and the spreads {tuple(spread.shape)}: "
            "give one spread for each mean."
        )
    if not (spread > 0).all():
        raise VariedError(
            "A spread is not above 0: a posterior that is a point has no density; "
            "give those of a model whose posterior has one."
        )
    return mean, spread


def _table(given: Tensor | Array, what: str) -> Tensor:
    rows = given.detach().cpu() if isinstance(given, Tensor) else torch.from_numpy(np.array(given))
    if rows.ndim != 2 or len(rows) < 2 or not rows.numel():
        raise VariedError(
            f"The {what} have shape {tuple(rows.shape)}: give a table, a row for each datum, "
            "of 2 rows at least."
        )
    if not rows.isfinite().all():
        raise VariedError(f"The {what} hold NaN or infinity: leave those rows out.")
    return rows.double()


def c2st(
    a: Tensor | Array, b: Tensor | Array, *, kind: str = "quadratic", seed: int = 0
) -> Estimate:
    """Return how often a classifier tells, of a row not trained on, which of two sets it is from.

    0.5 says that it cannot, 1 that the sets do not touch. For the aggregate posterior against the
    prior give draws of both: ``mean + spread * noise``, and of `p(z)` as many. Of each set 5,000
    rows are used at most, the same number of both, in five folds.

    References:
        Revisiting Classifier Two-Sample Tests (Lopez-Paz & Oquab, 2017),
        https://arxiv.org/abs/1610.06545

    Warning:
        0.5 says that this classifier sees no difference, not that there is none. "linear" sees
        means alone; "quadratic" spreads and correlations too; "neighbors" any shape, in few
        dimensions. The neighbors of all rows are rows of the tighter set, where one is: a figure
        of 0.5, or below it, can be of sets that are far from alike.

    Arguments:
        a: One set, with shape (N, D).
        b: The other, with shape (M, D).
        kind: "quadratic" or "linear", a logistic regression; or "neighbors", as many as the root
            of the number of rows trained on.
        seed: Which rows, and which folds.

    Returns:
        The accuracy; its error is over rows.

    Raises:
        VariedError: If the sets do not fit, or are too small, or there is no such kind.

    Example:
        >>> codes = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
        >>> c2st(codes, codes + 100).value
        1.0
    """
    first, second = _table(a, "first codes"), _table(b, "second codes")
    if first.shape[1] != second.shape[1]:
        raise VariedError(
            f"One set has {first.shape[1]} units and the other {second.shape[1]}: give draws of "
            "the same space."
        )
    n = min(len(first), len(second), SHOWN)
    if n < 2 * FOLDS:
        raise VariedError(f"{n} rows of each set are too few to learn from: give 10 or more.")
    order = [permutation(len(s), seed, "shown", i)[:n] for i, s in enumerate((first, second))]
    x = torch.cat([first[order[0]], second[order[1]]]).numpy()
    side, fold = np.repeat([0, 1], n), np.tile(np.arange(n) % FOLDS, 2)
    right = np.empty(2 * n)
    for held in range(FOLDS):
        learn, test = fold != held, fold == held
        model = _classifier(kind, int(learn.sum()), x.shape[1]).fit(x[learn], side[learn])
        right[test] = model.predict(x[test]) == side[test]
    return Estimate.of(torch.from_numpy(right))


def _classifier(kind: str, rows: int, units: int) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PolynomialFeatures, StandardScaler

    # More iterations than it ever takes: some dozens do.
    weigh = LogisticRegression(C=0.1, max_iter=10_000)
    if kind == "linear":
        return make_pipeline(StandardScaler(), weigh)
    if kind == "neighbors":
        return make_pipeline(StandardScaler(), KNeighborsClassifier(math.isqrt(rows) | 1))
    if kind != "quadratic":
        raise VariedError(f"kind='{kind}': choose from linear, quadratic, neighbors.")
    if units > PRODUCTS:
        raise VariedError(
            f"{units} units have too many products: give {PRODUCTS} units at most, or take "
            "kind='linear' or kind='neighbors'."
        )
    products = PolynomialFeatures(2, include_bias=False)
    return make_pipeline(StandardScaler(), products, StandardScaler(), weigh)
