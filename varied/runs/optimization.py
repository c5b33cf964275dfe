"""Optimization: raise or lower a numeric property of examples, and measure what else changes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from varied import functional, plots
from varied.data import RawData, iter_batches
from varied.data.tables import SUFFIXES
from varied.errors import VariedError, check_above, check_at_least
from varied.evaluate import Estimate
from varied.functional import Candidates, LatentDensity, PropertyPredictor, TrustRegion
from varied.functional.edit import CHUNK
from varied.functional.latent_density import TAIL, fit_latent_density
from varied.priors.gmm import MAX_DIMS
from varied.runs.attributes import further_labels, select_numeric
from varied.runs.base import RunBase
from varied.runs.editing import read_examples
from varied.runs.latent_support import MAX_HELD_OUT, MAX_TRAINING, embed
from varied.runs.result import Result, draw_pairs
from varied.seeding import permutation, seeded

Array = npt.NDArray[Any]

#: The maximum number of held-out codes that are decoded and encoded again, to measure how far
#: codes usually move.
_MAX_REENCODED = 1_000


@dataclass(frozen=True)
class Change:
    """The mean of a numeric attribute over the examples, before and after an optimization.

    Arguments:
        name: The name of the attribute.
        before: The mean over the original examples.
        after: The mean over the optimized examples.
        is_predicted: Whether values are predicted from codes rather than computed from examples.
    """

    name: str
    before: float
    after: float
    is_predicted: bool


@dataclass(frozen=True, repr=False, kw_only=True)
class OptimizationResult(Result):
    """Examples, each with the best example that was found by a search near its code.

    If no better example was found, the best one is the original.

    Arguments:
        name: The name of the property.
        r2: The R2 of the property predictor on held-out rows.
        is_predicted: Whether ``before`` and ``after`` are predicted from the codes of the examples,
            because the property cannot be computed from an example.
        before: The property of each original example, with shape (n).
        after: The property of each optimized example.
        predicted: The property of each optimized example according to the predictor.
        similarity: The similarity of each optimized example to the original one; NaN if the kind of
            data has no measure of similarity.
        distance: The distance between the codes of each original example and the optimized one; 1
            is the root mean square distance between two training codes.
        n_evaluations: The number of evaluations of the property for each original example.
        changes: The changes in all other numeric attributes, in descending order of the absolute
            change in standard deviations.
    """

    name: str
    r2: Estimate
    is_predicted: bool
    before: Array
    after: Array
    predicted: Array
    similarity: Array
    distance: Array
    n_evaluations: Array
    changes: tuple[Change, ...]

    def __repr__(self) -> str:
        before, after = np.nanmean(self.before), np.nanmean(self.after)
        return (
            f"OptimizationResult({len(self.before)} examples, mean {self.name} {before:.3g} -> "
            f"{after:.3g})"
        )

    @property
    def summary(self) -> Any:
        """A `pandas.DataFrame` with one row per original example."""
        import pandas as pd

        examples = {}
        if isinstance(self.array, np.ndarray) and self.array.dtype.kind == "U":
            examples = {"start": self.array[:, 0], "best": self.array[:, 1]}
        columns = {
            f"{self.name} before": self.before,
            f"{self.name} after": self.after,
            f"{self.name} predicted": self.predicted,
            "similarity": self.similarity,
            "distance": self.distance,
            "evaluations": self.n_evaluations,
        }
        rounded = {name: np.round(values, 4) for name, values in columns.items()}
        return pd.DataFrame(examples | rounded).dropna(axis="columns", how="all")

    def save(self, path: str | Path) -> Path:
        """Write the examples, or `summary` if the file is a table but the data are not."""
        path = Path(path)
        if path.name.lower().endswith(SUFFIXES) and not self.codec.column_names:
            return self.codec.write_table(self.summary, path)
        return super().save(path)


def optimize(
    run: RunBase,
    source: Any = None,
    *,
    property: str,
    minimize: bool = False,
    radius: float = 0.8,
    min_similarity: float = 0.4,
    n_evaluations: int = 200,
    attributes: Any = None,
    n: int = 6,
    seed: int = 0,
) -> OptimizationResult:
    """Search near the code of each example for an example with a higher value of a property.

    A predictor of the property is fitted to the codes of training rows. Within a ball around the
    code of each example, the search follows the gradient of the prediction and of the density of
    the training codes. The resulting codes are decoded, and the decoded examples are encoded again.
    An example is discarded if its new code is far from the code that was decoded, is outside the
    ball, or has a low density. See `varied.functional.search`.

    Warning:
        A predicted property may be wrong, especially for examples that differ from the training
        rows, and a search favors examples whose property is overestimated.

    Arguments:
        run: The run.
        source: The data, or a list of rows of the run's data by index (from 0); None uses the test
            rows.
        property: The name of a numeric column, label or property, such as "QED".
        minimize: Whether to lower the property instead of raising it.
        radius: The radius of the ball; 1 is the root mean square distance between two training
            codes.
        min_similarity: The minimum similarity to the original example, for kinds of data with a
            measure of similarity: for molecules, the Tanimoto similarity of Morgan fingerprints.
        n_evaluations: The maximum number of evaluations of the property for each example.
        attributes: A table or a dict with additional labels for each row of the run's data.
        n: The number of examples; if the source is a list, all of its examples are used.
        seed: The random seed.

    Returns:
        A result with shape (n, 2): each original example, and the best one.

    Raises:
        VariedError: If the property is unknown, constant or not numeric, or the latent variables
            are not real vectors.
    """
    run.require_euclidean_latent("An optimization")
    check_above(0, radius=radius)
    check_at_least(1, n_evaluations=n_evaluations)
    check_at_least(0, min_similarity=min_similarity)
    is_list = isinstance(source, list) and len(source) > 0
    is_rows = is_list and all(isinstance(row, int) for row in source)
    data = read_examples(run, source) if is_rows else run.read(source)
    data = data if is_list else data.head(n)
    search = Search(run, property, minimize, radius, min_similarity, attributes)
    return search.run_all(data, n_evaluations, seed)


class Search:
    """The parts of a search that do not depend on the example."""

    def __init__(
        self,
        run: RunBase,
        name: str,
        minimize: bool,
        radius: float,
        min_similarity: float,
        more: Any,
    ) -> None:
        self.run, self.sign, self.min_similarity = run, -1.0 if minimize else 1.0, min_similarity
        split = run.store.read_split(run.data)
        # A random subset, since the rows may be sorted by size.
        training_rows = _subset(split.train, MAX_TRAINING)
        rows = np.concatenate([training_rows, _subset(split.validation, MAX_HELD_OUT)])
        self.n_training = len(training_rows)
        data = run.data.take(rows)
        further = further_labels(len(run.data), more, rows)
        self.name, self.known = select_numeric(data, run.codec, further, name)
        self._check_context()
        self.codes = embed(run, data)
        training, held_out = self.codes[: self.n_training], self.codes[self.n_training :]
        self.predictor = self.fit(self.name)
        self.region = TrustRegion.fit(training, radius)
        self.density: LatentDensity | None = None
        if training.shape[1] <= MAX_DIMS:
            self.density = fit_latent_density(training, held_out)
        z = held_out[:_MAX_REENCODED]
        c = run.encode_data(data.take(range(self.n_training, self.n_training + len(z)))).c
        distance = self.region.distance(self.encode(self.decode(z, c), c), z)
        self.max_cycle = float(distance.quantile(1 - TAIL))

    def fit(self, name: str, kind: str | None = None) -> PropertyPredictor:
        """Fit a predictor of an attribute."""
        n, values = self.n_training, torch.from_numpy(self.known[name])
        return functional.fit_property(
            self.codes[:n], values[:n], self.codes[n:], values[n:], kind=kind
        )

    def _check_context(self) -> None:
        context = self.run.context
        if context is not None and not self.run.model.num_classes and self.name in context.by_name:
            raise VariedError(
                f"The decoder of this run is conditioned on '{self.name}', so its codes do not "
                "contain it; use `varied sample --label`."
            )

    def decode(self, z: Tensor, c: Tensor | None, seed: int | None = None) -> RawData:
        """Decode codes; with a seed, tokens are sampled, which gives more distinct molecules."""
        model = self.run.model
        sample_x = seed is not None and self.run.codec.domain == "one-hot"
        c = None if c is None else c.expand(len(z), -1)
        batches = iter_batches(z.reshape(-1, *model.latent_shape), c, size=CHUNK)
        with seeded(seed or 0, "decode"):
            x = torch.cat([functional.decode(model, b.x, b.c, sample_x=sample_x) for b in batches])
        return RawData(self.run.decode(x, (len(x),), c), self.run.codec.kind)

    def encode(self, data: RawData, c: Tensor | None) -> Tensor:
        """Return the codes of decoded examples."""
        stored = self.run.codec.encode(data)
        batches = iter_batches(stored, None if c is None else c.expand(len(stored), -1), size=CHUNK)
        return functional.embed(self.run.model, self.run.codec.load, batches)

    def values(self, data: RawData, codes: Tensor, name: str, predictor: Any) -> Tensor:
        """Return an attribute of examples, computed by the codec if possible or else predicted."""
        computed = self.run.codec.attributes(data).get(name)
        return predictor(codes).double() if computed is None else torch.from_numpy(computed)

    def run_all(self, data: RawData, n_evaluations: int, seed: int) -> OptimizationResult:
        """Search near each example."""
        c = self.run.encode_data(data).c
        starts = embed(self.run, data)
        before = self.values(data, starts, self.name, self.predictor).numpy().copy()
        best, codes, similarity, used = [], starts.clone(), np.full(len(data), np.nan), []
        for i, start in enumerate(starts):
            example = data.take([i])
            optimum = functional.search(
                start,
                float(before[i]) if np.isfinite(before[i]) else float(self.predictor(start[None])),
                Decoder(self, example, start, None if c is None else c[i]),
                lambda candidates: self.values(
                    candidates.data, candidates.codes, self.name, self.predictor
                ),
                self.predictor,
                self.region,
                self.density,
                sign=self.sign,
                n_evaluations=n_evaluations,
                seed=seed,
            )
            used.append(optimum.n_evaluations)
            if optimum.best is not None:
                codes[i], example = optimum.best.codes[0], optimum.best.data
            best.append(example)
            if (s := self.run.codec.similarities(_first(data.take([i])), example.x)) is not None:
                similarity[i] = s[0]
        return self.result(data, best, (starts, codes), similarity, used)

    def result(
        self,
        data: RawData,
        best: list[RawData],
        codes: tuple[Tensor, Tensor],
        similarity: Array,
        n_evaluations: list[int],
    ) -> OptimizationResult:
        """Return the result for original examples, optimized ones, and the codes of both."""
        run, optimized = self.run, RawData(_concatenate([b.x for b in best]), data.kind)
        pairs = RawData(_interleave(data.x, optimized.x), data.kind)
        shape, axes = (len(data), 2), {"example": None, "which": ("start", "best")}
        images = run.codec.to_images(run.codec.to_values(run.codec.encode(pairs)))
        before, after = (
            self.values(rows, z, self.name, self.predictor).numpy()
            for rows, z in zip((data, optimized), codes, strict=True)
        )
        return OptimizationResult(
            codec=run.codec,
            array=run.codec.arrange(pairs.x, shape, axes),
            images=images.reshape(*shape, *images.shape[1:]),
            draw=partial(_draw, before=before, after=after),
            shape=shape,
            name=self.name,
            r2=self.predictor.r2,
            is_predicted=self.name not in run.codec.attributes(data.head(1)),
            before=before,
            after=after,
            predicted=self.predictor(codes[1]).numpy(),
            similarity=similarity,
            distance=self.region.distance(codes[1], codes[0]).numpy(),
            n_evaluations=np.array(n_evaluations),
            changes=self.changes(data, optimized, codes),
        )

    def changes(
        self, data: RawData, optimized: RawData, codes: tuple[Tensor, Tensor]
    ) -> tuple[Change, ...]:
        """Return the changes in the other attributes, in descending order of size.

        They are sorted by the absolute change in standard deviations.
        """
        computed = self.run.codec.attributes(data.head(1))
        changes = {}
        for name, values in self.known.items():
            std = float(np.nanstd(values)) if np.isfinite(values).any() else 0.0
            if name == self.name or std == 0:
                continue
            predictor = None if name in computed else self.fit(name, "ridge")
            before, after = (
                float(self.values(rows, z, name, predictor).nanmean())
                for rows, z in zip((data, optimized), codes, strict=True)
            )
            changes[Change(name, before, after, predictor is not None)] = abs(after - before) / std
        return tuple(sorted(changes, key=lambda change: -changes[change]))


class Decoder:
    """Decodes codes near the code of an example; passed to `varied.functional.search`.

    Arguments:
        search: The parts of the search that do not depend on the example.
        example: The example.
        start: The code of the example, with shape (D).
        c: The context of the example, with shape (F), or None.
    """

    def __init__(self, search: Search, example: RawData, start: Tensor, c: Tensor | None) -> None:
        self.search, self.example, self.start, self.c = search, example, start, c
        self.decoded = set(self._keys(example))

    def __call__(self, z: Tensor) -> Candidates:
        """Return the new decoded examples that satisfy all constraints, and their codes.

        The examples are similar to the original. Encoding them again results in codes near ``z``,
        within the trust region, and in the support of the training codes.
        """
        search = self.search
        data = search.decode(z, self.c, seed=len(self.decoded))
        rows = self._new_rows(data)
        data = data.take(rows)
        codes = search.encode(data, self.c) if len(data) else z[:0]
        is_allowed = search.region.distance(codes, z[rows]) <= search.max_cycle
        is_allowed &= search.region.distance(codes, self.start) <= search.region.radius
        if search.density is not None:
            is_allowed &= ~search.density.is_out_of_support(codes)
        return Candidates(data, codes).take(is_allowed.nonzero()[:, 0])

    def _new_rows(self, data: RawData) -> Array:
        """Return the rows of similar examples that were not decoded before."""
        is_new = np.ones(len(data), bool)
        for i, key in enumerate(self._keys(data)):
            is_new[i] = key not in self.decoded
            self.decoded.add(key)
        rows = np.flatnonzero(is_new)
        similarity = self.search.run.codec.similarities(_first(self.example), data.take(rows).x)
        return rows if similarity is None else rows[similarity >= self.search.min_similarity]

    @staticmethod
    def _keys(data: RawData) -> list[Any]:
        """Return a key for each example, or no keys for data whose examples are all distinct."""
        return data.x.tolist() if not data.is_frame and data.x.dtype.kind == "U" else []


def _subset(rows: npt.NDArray[np.int64], size: int) -> npt.NDArray[np.int64]:
    """Return ``size`` random rows, or all rows if there are fewer."""
    order: npt.NDArray[np.int64] = permutation(len(rows), 0, "optimize")[:size].numpy()
    return np.take(rows, order)


def _first(data: RawData) -> Any:
    return data.x.iloc[0] if data.is_frame else data.x[0]


def _concatenate(rows: list[Any]) -> Any:
    """Concatenate arrays or tables; a table gets the columns of the last one."""
    if isinstance(rows[0], np.ndarray):
        return np.concatenate(rows)
    import pandas as pd

    return pd.concat(rows, ignore_index=True)[list(rows[-1].columns)]


def _interleave(first: Any, second: Any) -> Any:
    """Return the rows of two arrays or tables in alternating order."""
    order = np.arange(2 * len(first)).reshape(2, -1).T.ravel()
    both = _concatenate([first, second])
    return both[order] if isinstance(both, np.ndarray) else both.iloc[order].reset_index(drop=True)


def _draw(images: Array, path: Path, *, before: Array, after: Array) -> Path:
    """Plot the original examples above the optimized ones."""
    if images.dtype == np.uint8:
        captions = [f"{a:.3g} to {b:.3g}" for a, b in zip(before, after, strict=True)]
        titles = ("start", "best")
        return plots.pairs(images[:, 0], images[:, 1], path, captions=captions, titles=titles)
    return draw_pairs(images.swapaxes(0, 1), path)
