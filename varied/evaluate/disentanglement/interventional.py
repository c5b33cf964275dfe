"""Scores by intervention: what rows that share one factor have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import count

import numpy as np
import torch
from torch import Tensor

from varied.errors import VariedError
from varied.evaluate.disentanglement._checks import (
    Array,
    CodesAndFactors,
    Floats,
    Whole,
    check_two_factors,
    pair,
    resampling_std,
    split,
)
from varied.evaluate.estimate import Estimate
from varied.seeding import generator

__all__ = ["SILENT", "beta_vae", "factor_vae"]

#: A unit whose variance is below this is left out of the vote.
SILENT = 0.05

#: Rows, or pairs of rows, behind one vote; how many votes to learn from; half as many to test on.
SIZE, VOTES = 64, 10_000

#: Values that fewer rows than this share are not held fixed.
SHARED = 5

Score = Callable[[CodesAndFactors, CodesAndFactors, int], float]


def factor_vae(
    codes: Tensor | Array,
    factors: Tensor | Array,
    *,
    silent: float = SILENT,
    size: int = SIZE,
    votes: int = VOTES,
    resamples: int = 10,
    seed: int = 0,
) -> Estimate:
    r"""Return the FactorVAE score: how often the unit that varies least names the fixed factor.

    A vote: take each factor in turn, choose a row, and 64 rows that share the factor's value with
    it. The unit

    .. math:: j^* = \arg\min_j \frac{\mathrm{Var}_{\text{those}}(z_j)}{\mathrm{Var}(z_j)}

    votes for the factor. Each unit stands for the factor that it voted for most often; the score
    is the share of further votes, on other rows, that name the factor rightly.

    References:
        Disentangling by Factorizing (Kim and Mnih, 2018), https://arxiv.org/abs/1802.05983.
        Challenging Common Assumptions in the Unsupervised Learning of Disentangled
        Representations (Locatello et al., 2019), https://arxiv.org/abs/1811.12359: the sizes.

    Warning:
        Units with a variance below 0.05, which is measured against a prior of variance 1, are
        silent and have no vote, as in the papers (the published code of Locatello et al. compares
        the standard deviation with 0.05). Codes on another scale need another `silent`; 0 leaves
        out only units that never move. Random codes have 1/F, which is not subtracted; where all
        units are silent the score is 0. The authors draw new data for each vote; here they are
        rows of the table, drawn with replacement, and a value is held as often as rows have it.

    Arguments:
        codes: The mean of each posterior, with shape (N, D).
        factors: The true factors, classes or numbers with few values, with shape (N, F).
        silent: The least variance of a unit that votes.
        size: Rows behind one vote.
        votes: Votes to learn from, on one half of the rows; half as many test on the other.
        resamples: Bootstrap resamples of the rows for the standard error.
        seed: Which rows.

    Raises:
        VariedError: As `mig`; or if there is one factor alone, fewer than 2 rows behind a vote,
            2 votes for each factor, or no value of a factor that 5 rows of each half share.

    Example:
        >>> factors = np.indices((4, 4)).reshape(2, -1).T.repeat(8, axis=0)
        >>> factor_vae(factors, factors, votes=200).value
        1.0
    """
    table = _asked(codes, factors, size, votes)
    variance = table.codes.var(0, ddof=1)
    heard = (variance >= silent) & (variance > 0)
    n = len(table.codes)
    if not heard.any():
        return Estimate(0.0, 0.0, n)
    table = table._replace(codes=table.codes[:, heard] / np.sqrt(variance[heard]))

    def score(learn: CodesAndFactors, test: CodesAndFactors, index: int) -> float:
        counts = [
            _votes(_Groups(part), size, many, generator(seed, f"factor {name}", index))
            for part, many, name in ((learn, votes, "learn"), (test, votes // 2, "test"))
        ]
        stands_for = counts[0].argmax(0)
        return float(counts[1][stands_for, np.arange(len(stands_for))].sum() / counts[1].sum())

    return _estimate(score, table, resamples, seed)


def beta_vae(
    codes: Tensor | Array,
    factors: Tensor | Array,
    *,
    size: int = SIZE,
    votes: int = VOTES,
    resamples: int = 10,
    seed: int = 0,
) -> Estimate:
    r"""Return the beta-VAE score: how often a linear classifier names the factor that pairs share.

    A point: take each factor in turn, and 64 pairs of rows that share its value, and take

    .. math:: \frac1{64} \sum_{\text{pairs}} |z_j - z_j'|

    of each unit j. A logistic regression learns from such points which factor was shared; the
    score is its accuracy on further points, of other rows.

    References:
        beta-VAE: Learning Basic Visual Concepts with a Constrained Variational Framework (Higgins
        et al., 2017), https://openreview.net/forum?id=Sy2fzU9gl. Challenging Common Assumptions in
        the Unsupervised Learning of Disentangled Representations (Locatello et al., 2019),
        https://arxiv.org/abs/1811.12359: the sizes, and the regression.

    Warning:
        It is easy: a classifier of all units reaches 1 on codes that mix factors, as long as each
        factor has its own mixture. Random codes have 1/F, which is not subtracted. Units are
        brought to one scale first, so no scale can matter; the papers do not. Pairs are of
        different rows, and a value is held as often as rows have it.

    Arguments:
        codes: The mean of each posterior, with shape (N, D).
        factors: The true factors, classes or numbers with few values, with shape (N, F).
        size: Pairs behind one point.
        votes: Points to learn from, on one half of the rows; half as many test on the other.
        resamples: Bootstrap resamples of the rows for the standard error.
        seed: Which rows.

    Raises:
        VariedError: As `factor_vae`.

    Example:
        >>> factors = np.indices((4, 4)).reshape(2, -1).T.repeat(8, axis=0)
        >>> beta_vae(factors, factors, votes=200).value
        1.0
    """
    from sklearn.linear_model import LogisticRegression  # a second that others need not wait

    table = _asked(codes, factors, size, votes)
    scale = table.codes.std(0)
    table = table._replace(codes=table.codes / np.where(scale > 0, scale, 1.0))

    def score(learn: CodesAndFactors, test: CodesAndFactors, index: int) -> float:
        x, y = _points(_Groups(learn), size, votes, generator(seed, "beta learn", index))
        classifier = LogisticRegression(max_iter=1000).fit(x, y)
        x, y = _points(_Groups(test), size, votes // 2, generator(seed, "beta test", index))
        return float(np.mean(classifier.predict(x) == y))

    return _estimate(score, table, resamples, seed)


@dataclass(frozen=True)
class _Groups:
    """Rows by the value of each factor, so that those which share one can be drawn."""

    table: CodesAndFactors

    @cached_property
    def sorted(self) -> list[tuple[Whole, Whole, Whole, Whole]]:
        """For each factor: rows in order of values, where each begins, how many, rows to choose."""
        found = []
        for factor, values in enumerate(self.table.values):
            known = self.table.known[:, factor]
            often = np.bincount(known, minlength=values)
            # A resample may have no value that enough rows share: then the commonest is held.
            choice = np.flatnonzero(often[known] >= min(SHARED, often.max()))
            order = np.argsort(known, kind="stable")
            found.append((order, np.cumsum(often) - often, often, choice))
        return found

    def draw(
        self, factor: int, many: int, size: int, noise: torch.Generator, *, pairs: bool
    ) -> tuple[Whole, Whole]:
        """Return rows of one value a line, twice, with shape (many, size) each.

        With pairs, row and row beside each other differ.
        """
        order, begins, often, choice = self.sorted[factor]
        u, first, second = (
            torch.rand(shape, generator=noise, dtype=torch.float64).numpy()
            for shape in ((many,), (many, size), (many, size))
        )
        value = self.table.known[choice[(u * len(choice)).astype(np.int64)], factor]
        begin, alike = begins[value][:, None], often[value][:, None]
        place = (first * alike).astype(np.int64)
        step = 1 + (second * (alike - 1)).astype(np.int64) if pairs else 0
        return order[begin + place], order[begin + (place + step) % alike]


def _votes(groups: _Groups, size: int, many: int, noise: torch.Generator) -> Whole:
    """Return how often each unit voted while each factor was fixed, with shape (F, D)."""
    units, counts = groups.table.codes.shape[1], []
    for factor, share in enumerate(_turns(groups, many)):
        rows, _ = groups.draw(factor, share, size, noise, pairs=False)
        least = groups.table.codes[rows].var(1).argmin(1)
        counts.append(np.bincount(least, minlength=units))
    return np.stack(counts)


def _points(groups: _Groups, size: int, many: int, noise: torch.Generator) -> tuple[Floats, Whole]:
    """Return mean differences with shape (many, D), and which factor each point's pairs share."""
    points, shared, z = [], [], groups.table.codes
    for factor, share in enumerate(_turns(groups, many)):
        a, b = groups.draw(factor, share, size, noise, pairs=True)
        points.append(np.abs(z[a] - z[b]).mean(1))
        shared.append(np.full(share, factor))
    return np.concatenate(points), np.concatenate(shared)


def _turns(groups: _Groups, many: int) -> list[int]:
    """Return how many of so many votes each factor gets: as even as can be."""
    factors = len(groups.table.values)
    return [many // factors + (factor < many % factors) for factor in range(factors)]


def _asked(
    codes: Tensor | Array, factors: Tensor | Array, size: int, votes: int
) -> CodesAndFactors:
    table = pair(codes, factors)
    check_two_factors(table, "vote")
    least = 2 * len(table.values)
    if size < 2 or votes < least:
        raise VariedError(
            f"size={size} and votes={votes} decide nothing: give 2 and {least} at least."
        )
    return table


def _shared(part: CodesAndFactors) -> None:
    for factor, known in enumerate(part.known.T):
        if np.bincount(known).max() < SHARED:
            raise VariedError(
                f"Factor {factor} has no value that {SHARED} rows of each half share: "
                "give more rows, or round it to fewer values."
            )


def _estimate(score: Score, table: CodesAndFactors, resamples: int, seed: int) -> Estimate:
    """Return a score of two halves of the rows, with its spread over resamples of both."""
    n, turn = len(table.codes), count(1)
    learn, test = (table.take(rows) for rows in split(n, (1, 1), seed, "halves", n))

    _shared(learn)
    _shared(test)

    def again(rows: Whole) -> float:
        # Each half is resampled by itself, so that no row is both learnt from and tested on.
        half = len(learn.codes)
        first, second = rows[:half] * half // n, rows[half:] * (n - half) // n
        return score(learn.take(first), test.take(second), next(turn))

    error = resampling_std(again, n, resamples=resamples, seed=seed, purpose="votes", most=n)
    return Estimate(score(learn, test, 0), error, n)
