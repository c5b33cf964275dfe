"""What generated data are worth to those who train on them, and whether they can be told apart.

Nothing here is fitted on test rows, neither a scale nor a threshold: learners see them once, whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import StratifiedKFold
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from varied.errors import VariedError, lookup
from varied.evaluate.detection import auroc_from_ranks, ranked, resampled
from varied.evaluate.estimate import Estimate
from varied.seeding import derive_seed, permutation

__all__ = ["CLASSIFIERS", "REGRESSORS", "TSTRResult", "TSTRScore", "c2st_auroc", "tstr"]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]
Figure = Callable[[Whole], float]
Told = list[list[dict[str, Figure]]]

#: Makes a fresh learner from a seed, with `fit`, `predict` and, for an area, `predict_proba`.
Makes = Callable[[int], Any]

#: The learners of classes, and of numbers, with columns on the scale of their training rows.
CLASSIFIERS: Mapping[str, Makes] = {
    "logistic": lambda _: make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
    "forest": lambda seed: RandomForestClassifier(random_state=seed),
    "neighbors": lambda _: make_pipeline(StandardScaler(), KNeighborsClassifier()),
}
REGRESSORS: Mapping[str, Makes] = {
    "ridge": lambda _: make_pipeline(StandardScaler(), Ridge()),
    "forest": lambda seed: RandomForestRegressor(random_state=seed),
    "neighbors": lambda _: make_pipeline(StandardScaler(), KNeighborsRegressor()),
}

FEWEST = 10  # rows of one kind
NAMES = ("real", "made", "test")


@dataclass(frozen=True)
class TSTRScore:
    """One figure of one learner by what it was trained on; all on the same real test rows.

    Arguments:
        learner: Its name.
        figure: "balanced accuracy", "macro F1", "AUROC" or "R^2"; higher is better.
        chance: The figure of a learner that knows the shares of the classes, or the mean, alone.
        real: Trained on the real rows.
        made: Trained on as many made rows.
        both: Trained on the real rows and as many made ones.
        gap: Made less real: below 0, made rows teach less.
        gain: Both less real: above 0, made rows add something.
    """

    learner: str
    figure: str
    chance: float
    real: Estimate
    made: Estimate
    both: Estimate
    gap: Estimate
    gain: Estimate

    def __str__(self) -> str:
        real = f"{self.learner}, {self.figure} (chance {self.chance:.2f}): real {self.real}"
        return f"{real}, made {self.made} ({self.gap}), both {self.both} ({self.gain})"


@dataclass(frozen=True)
class TSTRResult:
    """What made rows are worth, by each learner and figure.

    Arguments:
        compared: One for each learner and figure.
        trained: How many real rows, and as many made ones, the learners were given.
        tested: How many real rows they were tested on.
        repeats: How often each learner was trained.
        warnings: What should keep a person from relying on the figures.
    """

    compared: tuple[TSTRScore, ...]
    trained: int
    tested: int
    repeats: int
    warnings: tuple[str, ...] = ()

    def of(self, learner: str, figure: str) -> TSTRScore:
        """Return one figure of one learner."""
        table = {f"{one.figure} of {one.learner}": one for one in self.compared}
        return lookup(table, f"{figure} of {learner}", "figure")

    def __str__(self) -> str:
        return "\n".join([*map(str, self.compared), *self.warnings])


def tstr(
    real_x: Tensor | Array,
    real_y: Tensor | Array,
    made_x: Tensor | Array,
    made_y: Tensor | Array,
    test_x: Tensor | Array,
    test_y: Tensor | Array,
    *,
    learners: Mapping[str, Makes] | None = None,
    repeats: int = 3,
    resamples: int = 200,
    seed: int = 0,
) -> TSTRResult:
    r"""Train on synthetic rows and test on real ones, beside real rows alone and both together.

    Each learner is trained `repeats` times, with seeds of its own and other made rows where there
    are more than real ones. The standard errors are paired: all three are judged on the same
    bootstrap resamples of the test rows (within classes), so what makes a resample easy drops out
    of the differences. To their variance that of the mean over the repeats is added:

    .. math:: \sqrt{\mathrm{Var}_\text{test rows} + \mathrm{Var}_\text{repeats} / R}

    References:
        Real-valued (Medical) Time Series Generation with Recurrent Conditional GANs (Esteban et
        al., 2017), https://arxiv.org/abs/1706.02633: the test

    Warning:
        The errors do not hold the luck of the real rows and of the generator trained on them: for
        these repeat the whole with other splits. The generator must not have seen the test rows.
        Made rows that copy real ones do well here, so look at copies too. A gain over real rows
        alone is not one over a plain augmentation, such as small shifts of pictures.

    Arguments:
        real_x: Real rows that the generator was trained on, (N, D) or pictures, which are laid out.
        real_y: Their targets, with shape (N): floats are numbers, all else are classes.
        made_x: Made rows, N or more.
        made_y: Their targets.
        test_x: Real rows that neither the generator nor anything else has seen.
        test_y: Their targets.
        learners: Makers of scikit-learn's learners, by name; None for linear, forest, neighbors.
        repeats: How often each learner is trained.
        resamples: Bootstrap resamples of the test rows.
        seed: Which seeds, rows and resamples.

    Raises:
        VariedError: If shapes do not fit, a number is not finite, rows are too few, or a class is
            not among the real rows.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> x, y = rng.normal(size=(900, 2)), np.arange(900) % 2
        >>> x[:, 0] += 9 * y
        >>> found = tstr(x[:300], y[:300], x[300:600], y[300:600], x[600:], y[600:], repeats=1)
        >>> found.of("logistic", "balanced accuracy").made.value
        1.0
    """
    if repeats < 1:
        raise VariedError(f"repeats={repeats} trains nothing: give 1 or more; 3 is usual.")
    x = [_flat(rows, name) for rows, name in zip((real_x, made_x, test_x), NAMES, strict=True)]
    y = [_targets(some, name) for some, name in zip((real_y, made_y, test_y), NAMES, strict=True)]
    _fits(x, y)
    task = _task(x, y)
    compared: list[TSTRScore] = []
    for name, make in (learners or (CLASSIFIERS if task.classes else REGRESSORS)).items():
        told = [task.trained(make, name, index, seed) for index in range(repeats)]
        compared += task.compared(name, told, resamples, seed)
    return TSTRResult(tuple(compared), len(x[0]), len(x[2]), repeats, _warnings(task))


def c2st_auroc(
    real: Tensor | Array,
    made: Tensor | Array,
    *,
    learner: Makes | None = None,
    folds: int = 5,
    resamples: int = 200,
    seed: int = 0,
) -> Estimate:
    """Return how well a classifier tells made rows from real ones: an AUROC, 0.5 where it cannot.

    It is the mean over folds of the area on rows that the classifier did not see, of as many real
    rows as made ones. The standard error is over bootstrap resamples of those rows, with the
    classifiers as they are.

    References:
        Revisiting Classifier Two-Sample Tests (Lopez-Paz and Oquab, 2017),
        https://arxiv.org/abs/1610.06545

    Warning:
        0.5 says that this learner, on this many rows, saw no difference. An area well below 0.5
        says that made rows copy real ones: the classifier has seen the original under the other
        name. Rounding tells apart too: round made rows as the real ones are.

    Arguments:
        real: Real rows that the generator has not seen, (N, D) or pictures, which are laid out.
        made: Made rows, (M, D) or pictures.
        learner: Makes a classifier with `predict_proba` from a seed; None for a random forest.
        folds: How many folds.
        resamples: Bootstrap resamples for the standard error.
        seed: Which seed of the learner, rows, folds and resamples.

    Raises:
        VariedError: If the columns differ, a number is not finite, or there are too few rows.
    """
    a, b = _flat(real, "real"), _flat(made, "made")
    if a.shape[1] != b.shape[1]:
        raise VariedError(f"{a.shape[1]:,} and {b.shape[1]:,} columns differ: give one kind.")
    if (n := min(len(a), len(b))) < FEWEST * folds or folds < 2:
        raise VariedError(f"{n:,} rows of each kind are no {folds} folds: give {FEWEST} a fold.")
    x = np.concatenate([a[_some(len(a), n, seed, "real")], b[_some(len(b), n, seed, "made")]])
    y = np.arange(2 * n) // n
    split, by = StratifiedKFold(folds, shuffle=True, random_state=_seed(seed, "folds", 0)), []
    for index, (seen, held) in enumerate(split.split(x, y)):
        one = (learner or CLASSIFIERS["forest"])(_seed(seed, "distinguish", index))
        one.fit(x[seen], y[seen])
        if (chances := _chances(one, x[held])) is None:
            raise VariedError("The learner has no `predict_proba`: give one that ranks rows.")
        order = ranked(chances, y[held])
        draws = [np.arange(len(held)), *resampled(y[held], resamples, seed, f"fold {index}")]
        by.append([auroc_from_ranks(*order.counts(rows)) for rows in draws])
    whole, *drawn = np.mean(by, axis=0)
    return Estimate(float(whole), _spread(drawn), 2 * n)


@dataclass(frozen=True)
class _Task:
    """Real, made and test rows with their targets; classes are numbered from 0 up."""

    x: list[Floats]
    y: list[Array]
    classes: int

    def trained(self, make: Makes, name: str, index: int, seed: int) -> list[dict[str, Figure]]:
        """Train on real rows, on made ones and on both, and return the figures of each."""
        (real, made, test), (y, z, _) = self.x, self.y
        some = _some(len(made), len(real), seed, "made rows", index)
        both = np.concatenate([real, made[some]]), np.concatenate([y, z[some]])
        found = []
        for rows, targets in ((real, y), (made[some], z[some]), both):
            # Of one class alone most classifiers learn nothing, not even to say that class.
            alone = self.classes and len(np.unique(targets)) == 1
            one = DummyClassifier() if alone else make(_seed(seed, name, index))
            one.fit(rows, targets)
            chances = _chances(one, test) if self.classes == 2 else None
            found.append(self.figures(np.asarray(one.predict(test)), chances))
        return found

    def figures(self, said: Array, chances: Floats | None) -> dict[str, Figure]:
        """Return the figures, from test rows to a number, of what was said of all of them."""
        truth, classes = self.y[2], self.classes
        if not classes:
            return {"R^2": lambda rows: _r2(truth[rows], said[rows])}
        cells = truth * classes + said

        def table(rows: Whole) -> Whole:
            return np.bincount(cells[rows], minlength=classes**2).reshape(classes, classes)

        found: dict[str, Figure] = {
            "balanced accuracy": lambda rows: _recall(table(rows)),
            "macro F1": lambda rows: _f1(table(rows)),
        }
        if chances is not None:
            order = ranked(chances, truth)
            found["AUROC"] = lambda rows: auroc_from_ranks(*order.counts(rows))
        return found

    def compared(self, name: str, told: Told, resamples: int, seed: int) -> list[TSTRScore]:
        """Return each figure that all R repeats of three trainings have."""
        truth = self.y[2]
        strata = truth if self.classes else 0 * truth
        draws = [np.arange(len(truth)), *resampled(strata, resamples, seed, "downstream")]
        # Two classes have the chance of an area, and no guess explains a variance.
        chance, found = 1 / len(np.unique(truth)) if self.classes else 0.0, []
        for figure in told[0][0]:
            if all(figure in one for row in told for one in row):
                by = [[[one[figure](rows) for one in row] for row in told] for rows in draws]
                found.append(_compared(name, figure, chance, np.array(by), len(truth)))
        return found


def _compared(name: str, figure: str, chance: float, by: Floats, n: int) -> TSTRScore:
    """Return one figure from (1 + resamples, R, 3) numbers; all test rows gave the first."""
    five = []
    for taken in ((1, 0, 0), (0, 1, 0), (0, 0, 1), (-1, 1, 0), (-1, 0, 1)):
        whole, *drawn = by @ np.array(taken, dtype=np.float64)
        luck = _spread(whole) / math.sqrt(len(whole)) if len(whole) > 1 else 0.0
        error = math.hypot(_spread([one.mean() for one in drawn]), luck)
        five.append(Estimate(float(whole.mean()), error, n))
    return TSTRScore(name, figure, chance, *five)


def _recall(table: Whole) -> float:
    """Return the mean recall over the classes that there are."""
    there = table.any(1)
    return float((table.diagonal()[there] / table.sum(1)[there]).mean())


def _f1(table: Whole) -> float:
    """Return the mean F1 over the classes that there are or that were said."""
    both = table.sum(0) + table.sum(1)
    return float((2 * table.diagonal()[both > 0] / both[both > 0]).mean())


def _r2(truth: Floats, said: Floats) -> float:
    return float(1 - ((truth - said) ** 2).sum() / ((truth - truth.mean()) ** 2).sum())


def _chances(one: Any, rows: Floats) -> Floats | None:
    """Return how likely each row is of class 1, where the learner says so."""
    if not hasattr(one, "predict_proba"):
        return None
    # A class that was not learned has no column.
    return np.asarray(one.predict_proba(rows)[:, one.classes_ == 1].sum(1), dtype=np.float64)


def _spread(drawn: Any) -> float:
    return float(np.std(drawn, ddof=1)) if len(drawn) > 1 else math.nan


def _some(n: int, taken: int, seed: int, purpose: str, index: int = 0) -> Whole:
    return np.asarray(permutation(n, seed, purpose, index)[:taken].numpy())


def _seed(seed: int, purpose: str, index: int) -> int:
    return derive_seed(seed, purpose, index) % 2**32


def _task(x: list[Floats], y: list[Array]) -> _Task:
    """Number the classes, where the targets are classes."""
    if y[0].dtype.kind == "f":
        return _Task(x, y, 0)
    classes = np.unique(y[0])
    for some, name in zip(y[1:], NAMES[1:], strict=True):
        strange = np.setdiff1d(some, classes)
        if len(strange):
            raise VariedError(f"Class {strange[0]} has {name} rows, no real ones: leave them out.")
    return _Task(x, [np.searchsorted(classes, some) for some in y], len(classes))


def _warnings(task: _Task) -> tuple[str, ...]:
    said, (real, made, test) = [], task.x
    for rows, name in ((real, "real training"), (made, "made")):
        seen = {row.tobytes() for row in rows}
        if copies := sum(row.tobytes() in seen for row in test):
            said.append(f"{copies:,} test rows are {name} rows too: were they seen in training?")
    if missing := task.classes - len(np.unique(task.y[1])) if task.classes else 0:
        said.append(f"Of {missing} of the {task.classes} classes there is no made row.")
    if not task.classes and (values := len(np.unique(task.y[0]))) < FEWEST:
        said.append(f"The targets are {values} numbers: give whole numbers if they are classes.")
    return tuple(said)


def _fits(x: list[Floats], y: list[Array]) -> None:
    for rows, targets, name in zip(x, y, NAMES, strict=True):
        if len(rows) != len(targets):
            raise VariedError(f"{len(rows):,} {name} rows, {len(targets):,} targets: give as many.")
        if rows.shape[1] != x[0].shape[1]:
            both = f"{rows.shape[1]:,} columns and real ones {x[0].shape[1]:,}"
            raise VariedError(f"The {name} rows have {both}: give all the same way.")
        if (targets.dtype.kind == "f") != (y[0].dtype.kind == "f"):
            raise VariedError(f"The real or the {name} targets alone are floats: give one kind.")
    if min(len(x[0]), len(x[2])) < FEWEST or len(x[1]) < len(x[0]):
        sizes = ", ".join(f"{len(rows):,} {name}" for rows, name in zip(x, NAMES, strict=True))
        raise VariedError(f"{sizes} rows are too few: {FEWEST} each, and as many made as real.")
    if min(len(np.unique(some)) for some in (y[0], y[2])) < 2:
        raise VariedError(
            "All real, or all test rows have one target: give rows that differ in it."
        )


def _flat(given: Tensor | Array, name: str) -> Floats:
    rows = given.detach().cpu().double() if isinstance(given, Tensor) else given
    table = np.asarray(rows, dtype=np.float64)
    if table.ndim < 2 or not table.size:
        raise VariedError(f"The {name} rows have shape {table.shape}: give (N, D) or pictures.")
    table = table.reshape(len(table), -1)
    bad = np.flatnonzero(~np.isfinite(table).all(1))
    if len(bad):
        raise VariedError(f"Row {bad[0]} of the {name} rows is not finite: leave such rows out.")
    return table


def _targets(given: Tensor | Array, name: str) -> Array:
    some = np.asarray(given.detach().cpu() if isinstance(given, Tensor) else given)
    if some.ndim != 1:
        raise VariedError(f"The {name} targets have shape {some.shape}: give one for each row.")
    if some.dtype.kind == "f" and not np.isfinite(some).all():
        raise VariedError(f"The {name} targets hold NaN or infinity: leave those rows out.")
    return some.astype(np.float64) if some.dtype.kind == "f" else some
