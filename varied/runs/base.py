"""An opened run: its parts, its data, and conversions between data and model inputs."""

from __future__ import annotations

import dataclasses
import itertools
import os
import warnings
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from varied.atomic_io import copy_folder
from varied.composition import compose, compose_prior
from varied.data import Batch, RawData, describe_problems, iter_batches, mask_missing, read
from varied.data.codecs.invalid_cells import describe_invalid_cells
from varied.data.name_labels import is_pattern
from varied.errors import DataWarning, OptionError, VariedError, lookup, suggest
from varied.functional import classify
from varied.models import LatentModel
from varied.prior_fitting import require_vae
from varied.runs.old_names import old_kind
from varied.runs.result import Draw, Result
from varied.runs.store import Store
from varied.seeding import seeded
from varied.spec import TABLES, Spec
from varied.training_step import Step

#: The number of rows in a batch that is passed through the model.
BATCH_ROWS = 500
#: The number of rows that are read at once if the data are on disk.
_DISK_ROWS = 20 * BATCH_ROWS
#: The maximum number of elements that are created to build a model, for each stored weight.
_MAX_ELEMENTS_PER_WEIGHT = 16


class RunBase:
    """An opened run, without the operations that `varied.Run` adds.

    Arguments:
        folder: The run folder.
        data: The data that the run was trained on, in a form that `varied.read` accepts; if None,
            they are reloaded when needed.
        parts: The classes, functions or modules of external parts by axis, such as
            ``encoder=MyEncoder``.

    Raises:
        VariedError: If the folder does not contain a run, the run has not been trained, or a part
            is not available.
    """

    def __init__(self, folder: Path | str, data: Any = None, **parts: Any) -> None:
        self.store = Store(folder)
        self.spec = _with_sources(self.store.read_spec(parts), parts)
        self.codec, self.context = self.store.read_codecs()
        self.metadata = self.store.read_metadata()
        if self.spec.context != (0 if self.context is None else self.context.size):
            raise VariedError(
                f"{self.store / 'codec.json'} does not match its spec.toml; restore one of the two "
                "files."
            )
        self._data = data
        self.load_model()

    def load_model(self) -> None:
        """Load the weights and, if there is one, the prior that was fitted after training.

        If training is not complete, the weights are those of the last checkpoint.

        Raises:
            VariedError: If the run has not been trained.
        """
        limit = _MAX_ELEMENTS_PER_WEIGHT * self.store.num_bytes / 4  # weights are float32
        self.model, self.objective = compose(
            self.spec, self.codec.shape, self.codec.domain, max_weights=limit
        )
        if self.store.is_trained:
            self.store.read_weights("model.safetensors", self.model)
        elif self.store.read_checkpoint(Step(self.model, self.objective))[0] is None:
            raise VariedError(
                f"{self.folder} has not been trained yet; train it with `varied train`."
            )
        part = self.store.read_prior()
        if part is not None:
            model = require_vae(self.model)
            model.prior = compose_prior(self.spec, part, model.encoder, max_weights=limit)
            self.store.read_weights("prior.safetensors", model.prior)

    def original_model(self) -> LatentModel:
        """Return the model with the prior with which it was trained."""
        if self.store.read_prior() is None or self.spec.prior.builder("prior").fitted_later:
            return self.model
        model, _ = compose(self.spec, self.codec.shape, self.codec.domain)
        self.store.read_weights("model.safetensors", model)
        return model

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.store.folder

    def __repr__(self) -> str:
        parts = f"{self.spec.net.name}, {self.spec.likelihood.name}, latent {self.spec.latent}"
        return f"Run({self.folder.name}: {parts})"

    def save(self, folder: str | Path) -> Path:
        """Copy the run to another folder.

        Raises:
            VariedError: If the folder already exists.
        """
        return copy_folder(self.folder, Path(folder))

    @property
    def has_density(self) -> bool:
        """Whether the model has a density p(x), unlike an autoencoder."""
        return "density" in self.model.provides

    @property
    def has_euclidean_latent(self) -> bool:
        """Whether the latent variables are real vectors, rather than on a sphere or discrete."""
        return self.model.prior is None or self.model.prior.space == "real"

    @property
    def calibration_temperature(self) -> float:
        """The temperature of the class probabilities, fitted to validation rows; 1 by default."""
        return self.store.read_calibration("temperature")[0]

    def require_euclidean_latent(self, use: str) -> None:
        """Check that the latent variables are real vectors.

        Raises:
            VariedError: If the latent variables are on a sphere or discrete.
        """
        if not self.has_euclidean_latent:
            raise VariedError(
                f"{use} requires real-valued latent variables, but the latent variables of this "
                "run are on a sphere or discrete; use interpolate with path='linear', or train "
                "with --model vae."
            )

    # Data

    @cached_property
    def data(self) -> RawData:
        """The data that the run was trained on, reloaded from their source.

        Raises:
            VariedError: If the data are not available, or have changed since training.
        """
        if isinstance(self._data, RawData):
            return self._data
        source = self.metadata["source"] if self._data is None else self._data
        if source is None:
            raise VariedError(
                "This run was trained on arrays in memory; pass them again, as in "
                "Run(folder, data=...)."
            )
        data = read(source, **{"kind": self.codec.kind} | self.metadata["options"])
        kind = old_kind(data.kind) if self.store.is_format_1 else None
        if data.digest(kind) != self.metadata["digest"]:
            name = source if isinstance(source, str | os.PathLike) else "The table or array"
            raise VariedError(
                f"{name} has changed since the run was trained, so its test rows are unknown; "
                "restore it, or pass other data."
            )
        return data

    def split(self, name: str = "test") -> RawData:
        """Return the "train", "validation" or "test" rows.

        Raises:
            VariedError: If there is no such split, or the data are not available.
        """
        names = ("train", "validation", "test")
        if name not in names:
            raise VariedError(f"There is no split '{name}': {suggest(name, names)}")
        return self.data.take(getattr(self.store.read_split(self.data), name))

    def read(self, source: Any = None) -> RawData:
        """Read other data and convert them to the types of the training data.

        Cells of a table that cannot be read become missing, with a `DataWarning` for each column.

        Arguments:
            source: The data; None returns the test rows.
        """
        if source is None:
            return self.split("test")
        data = self.read_source(source)
        converted = self.codec.convert(data)
        for sentence in describe_invalid_cells(self.codec.invalid_cells(data)):
            warnings.warn(sentence, DataWarning, stacklevel=3)
        return converted

    def read_source(self, source: Any) -> RawData:
        """Read other data in the format of the training data, without conversion of cells.

        For a table, labels are read from the columns that contained the labels in training, if the
        table has these columns. For files, labels are read with the pattern of the training files.
        """
        source = self.codec.parse_source(source) if isinstance(source, str) else source
        options = self._reading_options(source)
        if self.context is not None and (pattern := self.label_pattern(source)):
            options = {**options, "labels": pattern}
        try:
            data = read(source, min_rows=1, **options)
        except OptionError:  # data of another kind, which the codec converts or rejects
            data = read(source, min_rows=1)
        if data.problems and not isinstance(source, RawData):
            warnings.warn(describe_problems(data.problems), DataWarning, stacklevel=4)
        names = self.label_columns
        if self.context is None or data.labels is not None or not names:
            return data
        if any(name not in data.columns for name in names):
            return data
        # A model that infers classes receives no labels, so an unknown class is not an error.
        strict = not self.model.num_classes
        columns = zip(names, self.context.covariates, strict=True)
        return data.with_labels({n: c.column(data.x[n], strict=strict) for n, c in columns})

    @property
    def label_columns(self) -> tuple[str, ...]:
        """The columns of the training table that contained the labels."""
        name = self.metadata.get("label_column")  # in runs of earlier versions
        return tuple(self.metadata.get("label_columns", [name] if name else []))

    def label_pattern(self, source: Any) -> str | None:
        """Return the file name pattern of the labels if the source is a path, otherwise None."""
        labels = self.metadata["options"].get("labels")
        return labels if is_pattern(labels) and isinstance(source, str | Path) else None

    def _reading_options(self, source: Any) -> dict[str, Any]:
        """Return the options for reading data in the format of the training data."""
        is_other_kind = isinstance(source, RawData) and source.kind != self.codec.kind
        return {} if is_other_kind else self.codec.reading_options

    # Model input

    def encode_data(self, data: RawData) -> Batch:
        """Encode data as stored rows with their context, and a mask if values are missing.

        A model that infers classes does not receive a context.

        Raises:
            VariedError: If the run is conditional and the data have no labels, or the data cannot
                be encoded.
        """
        if self.context is None or self.model.num_classes:
            return mask_missing(self.codec.encode(data))
        if data.labels is None:
            columns = [f"'{name}'" for name in self.label_columns]
            noun = "a column" if len(columns) == 1 else "the columns"
            where = f" in {noun} {', '.join(columns)}" if columns else ""
            raise VariedError(f"This run is conditional; provide data with labels{where}.")
        return mask_missing(self.codec.encode(data), self._encode_labels(data))

    def batches(self, data: RawData) -> Iterator[Batch]:
        """Encode data as batches of stored rows with their context."""
        if data.is_on_disk and len(data) > _DISK_ROWS:
            starts = range(0, len(data), _DISK_ROWS)
            parts = (data.take(range(i, min(i + _DISK_ROWS, len(data)))) for i in starts)
            return itertools.chain.from_iterable(map(self.batches, parts))
        batch = self.encode_data(data)
        return iter_batches(batch.x, batch.c, batch.mask, size=BATCH_ROWS)

    def model_input(self, data: RawData) -> tuple[Tensor, Tensor | None]:
        """Return data as model inputs with their context; binarization uses a fixed seed.

        Missing values of arrays are 0, as for the encoder.
        """
        batch = self.encode_data(data)
        with seeded(self.spec.plan.seed, "look"):
            return self.codec.load(batch.x), batch.c

    def with_missing(self, data: RawData, x: Tensor) -> Tensor:
        """Return ``x``, with shape (N, *event), with NaN where values of ``data`` are missing."""
        mask = mask_missing(self.codec.encode(data)).mask
        return x if mask is None else x.masked_fill(mask == 0, torch.nan)

    def contexts(self, n: int, label: object = None, data: RawData | None = None) -> Tensor | None:
        """Return contexts for n samples, with shape (n, F); None if the run is not conditional.

        Arguments:
            n: The number of samples.
            label: A class, a number, or a sequence of either, which is repeated; with several
                covariates, a mapping such as ``{"batch": "2"}``. Covariates that are not in the
                mapping are drawn from the training rows. None draws labels from the training rows
                if the data are a table or counts, or the labels are not a single class; otherwise,
                it cycles through the classes.
            data: The n examples to which the contexts belong, or None; the examples keep their own
                labels of the covariates that are not in the mapping.

        Raises:
            VariedError: If a label is passed to a run that is not conditional, or a covariate or a
                class is unknown.
        """
        if self.context is None:
            if label is not None:
                raise VariedError(
                    "This run is not conditional; omit the label, or train a model with "
                    "model='conditional-vae'."
                )
            return None
        draws_classes = self.codec.decodes_by_sampling and self.context.counts
        if label is None and self.context.classes and not draws_classes:
            label = torch.arange(self.context.size)
        c = self.context.draw(n, label)
        if isinstance(label, Mapping) and data is not None and data.labels is not None:
            c = self.context.complete(c, self._encode_labels(data), label)
        return c

    def _encode_labels(self, data: RawData) -> Tensor:
        """Encode the labels of data as contexts, with shape (N, F).

        For a model that infers classes, an unknown class becomes a missing label.
        """
        assert self.context is not None
        return self.context.encode_labels(data.covariates, strict=not self.model.num_classes)

    # Results

    def result(
        self,
        x: Tensor,
        draw: Draw,
        axes: dict[str, Any] | None = None,
        shape: tuple[int, ...] = (),
        c: Tensor | None = None,
        names: tuple[str, ...] = (),
    ) -> Result:
        """Convert rows in model space to a result.

        Arguments:
            x: The rows, with shape (N, *event).
            draw: The function that plots the rows.
            axes: The leading axes of the result by name, each with the names of its entries, or
                None to number the entries.
            shape: The leading shape of the result; (N) if empty.
            c: The context of each row, which must broadcast to (*shape, F). Data that contain
                their labels are decoded with this context; without one, a model that infers classes
                provides the most probable class.
            names: The names of the original files.
        """
        shape = shape or (len(x),)
        array = self.codec.arrange(self.decode(x, shape, c), shape, axes or {})
        images = self.codec.to_images(x)
        images = images.reshape(*shape, *images.shape[1:])
        return Result(self.codec, array, images, draw, shape, names)

    def decode(self, x: Tensor, shape: tuple[int, ...], c: Tensor | None = None) -> Any:
        """Convert rows in model space to the form of the original data; see `result`."""
        labels = self._label_names(x, shape, c) if self.codec.decodes_labels else None
        return self.codec.decode(x, labels)

    def paired_result(
        self, data: RawData, batch: Batch, generated: Tensor, draw: Draw, axes: dict[str, Any]
    ) -> Result:
        """Return a result with examples, each followed by the samples generated from it.

        Arguments:
            data: The examples, which keep their own labels.
            batch: The examples as model inputs, with the context of the samples.
            generated: The samples for each example, with shape (N, n, *event).
            draw: The function that plots the rows.
            axes: See `result`.

        Returns:
            A result with shape (N, 1 + n).
        """
        examples = self.with_missing(data, batch.x)
        x = torch.cat([examples[:, None], generated], 1)
        c = self.paired_contexts(data, batch, generated)
        return self.result(x.flatten(0, 1), draw, axes, tuple(x.shape[:2]), c)

    def paired_contexts(self, data: RawData, batch: Batch, generated: Tensor) -> Tensor | None:
        """Return the contexts of examples and of the samples generated from them.

        The arguments are described in `paired_result`.

        Returns:
            Contexts with shape (N, 1 + n, F), or None if the data are decoded without labels.
        """
        if not self.codec.decodes_labels:
            return None
        shape = generated.shape[:2]
        if batch.c is None:
            c = self._most_probable(generated.flatten(0, 1), tuple(shape))
        else:
            c = batch.c[:, None]
        if c is None:
            return None
        c = c.expand(*shape, -1)
        own = torch.zeros_like(c[:, 0]) if data.labels is None else self._encode_labels(data)
        return torch.cat([own[:, None], c], 1)

    def _label_names(
        self, x: Tensor, shape: tuple[int, ...], c: Tensor | None
    ) -> list[str | None] | None:
        c = self._most_probable(x, shape) if c is None else c
        if c is None or self.context is None:
            return None
        return list(self.context.decode(c.expand(*shape, -1).flatten(0, -2)))

    def _most_probable(self, x: Tensor, shape: tuple[int, ...]) -> Tensor | None:
        """Return the most probable classes, one-hot with shape (*shape, C).

        If the model does not infer classes, return None.
        """
        if not self.model.num_classes:
            return None
        probabilities = classify(self.model, lambda x: x, iter_batches(x, size=BATCH_ROWS))
        one_hot = torch.eye(probabilities.shape[1])[probabilities.argmax(1)]
        labels: Tensor = one_hot.unflatten(0, shape)
        return labels


def _with_sources(spec: Spec, sources: dict[str, Any]) -> Spec:
    """Return a spec whose parts are built from the objects that the user passed."""
    parts: dict[str, Any] = {}
    for axis, source in sources.items():
        lookup(TABLES, axis, "axis")
        if axis not in spec.parts:
            raise VariedError(f"This run has no {axis}; omit the argument `{axis}`.")
        parts[axis] = dataclasses.replace(spec.parts[axis], source=source)
    return dataclasses.replace(spec, **parts) if parts else spec
