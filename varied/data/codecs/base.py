"""The base class of codecs."""

from __future__ import annotations

import dataclasses
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from varied import atomic_io
from varied.data.archive import Member, attempt, read_members
from varied.data.defaults import Default, default_parts
from varied.data.numpy_files import KIND_NAME
from varied.data.raw_data import Problem, RawData
from varied.errors import OptionError, VariedError, suggest

if TYPE_CHECKING:
    from varied.data.codecs.table_imputer import TableImputer

Array = npt.NDArray[Any]
Axes = Mapping[str, Sequence[str] | None]


class Codec(ABC):
    """How one kind of data is read, encoded for a model, decoded, saved and compared.

    Subclasses are frozen dataclasses; their fields are what a run stores of its training data, in
    ``codec.json``. A new kind of data needs `fit`, `encode` and `decode`, and `read_example` if it
    comes in files; everything else has a default. Register it with
    ``varied.register("data", kind, codec)``.

    Attributes:
        kind: The name of the kind of data, as in `RawData.kind`.
        noun: The plural of one example, for messages.
        endings: Endings of the files that `read_file` and `read_members` read.
        reads_folders: Whether folders and zip files of such files are a dataset.
        default_ending: Ending of the default file of results; ".png" is a plot.
        data_ending: Ending of the default file of restored data; "" is a folder.
        labeled_ending: Ending of the default file of labeled data.
        decodes_by_sampling: Whether x is sampled from p(x | z) by default, rather than its mean.
        max_rows_by_epochs: Larger datasets train for ten minutes by default, smaller ones for a
            number of epochs.
        small_batches_below: Below this number of rows, networks other than ``mlp`` are trained
            with batches of 32 by default.
        classifier_defaults: Default settings of the classifier of architecture ``m2``.
        is_compressible: Whether `varied.compression` can compress the data.
        reading_option_names: The names of the options of `apply_options`.
        has_missing_values: Whether examples may have missing values, which `imputer` fills.
        shape: The shape of one example in the model, channels first: ``(1, 28, 28)``, ``(140,)``.
        domain: The values of the data: "binary", "uint8" (k / 255), "unit-interval", "real" or
            "table".
        notes: Sentences about what was inferred from the data.
    """

    kind: ClassVar[str]
    noun: ClassVar[str] = "rows"
    endings: ClassVar[tuple[str, ...]] = ()
    reads_folders: ClassVar[bool] = False
    default_ending: ClassVar[str] = ".png"
    data_ending: ClassVar[str] = ".npy"
    labeled_ending: ClassVar[str] = ".npz"
    decodes_by_sampling: ClassVar[bool] = False
    max_rows_by_epochs: ClassVar[int] = 500_000
    small_batches_below: ClassVar[int] = 0
    classifier_defaults: ClassVar[Mapping[str, Any]] = {}
    is_compressible: ClassVar[bool] = True
    reading_option_names: ClassVar[tuple[str, ...]] = ()
    has_missing_values: ClassVar[bool] = False

    shape: tuple[int, ...]
    domain: str
    notes: tuple[str, ...]

    # Reading

    @classmethod
    def read_file(cls, path: Path) -> RawData:
        """Read a file that holds a whole dataset, such as a table.

        Raises:
            VariedError: If it cannot be read.
        """
        raise VariedError(f"{path.name} cannot be read as {cls.noun}: give a folder or an array.")

    @classmethod
    def read_example(cls, file: IO[bytes]) -> Array:
        """Read one example of a folder or zip file.

        Any error makes the file one of the `problems` of the dataset.
        """
        raise VariedError(f"{cls.noun} are not read from folders")

    @classmethod
    def read_members(
        cls, members: Sequence[Member], **options: Any
    ) -> tuple[Array, dict[int, Problem], tuple[str, ...]]:
        """Read the files of a folder or zip file as examples of one shape.

        Arguments:
            members: The files.
            options: Reading options. They may be ignored here, since `apply_options` follows.

        Returns:
            The examples, the unreadable files by their index, and notes.

        Raises:
            VariedError: If the shapes differ, or the examples do not fit in memory.
        """
        check_options(options, cls.reading_option_names, f"{cls.kind} data")
        results = read_members(members, lambda member: attempt(member, cls.read_example))
        problems = {i: r for i, r in enumerate(results) if isinstance(r, Problem)}
        examples = [r for r in results if not isinstance(r, Problem)]
        shapes = {example.shape for example in examples}
        if len(shapes) > 1:
            first, second = sorted(shapes)[:2]
            raise VariedError(
                f"The {cls.noun} have different shapes, such as {first} and {second}: bring them "
                "to one shape."
            )
        return np.stack(examples) if examples else np.empty(0), problems, ()

    @classmethod
    def apply_options(cls, data: RawData, **options: Any) -> RawData:
        """Apply reading options, such as ``image_size``, to data in memory.

        They are keyword arguments of `varied.read` and `varied.train`, and options of ``varied
        train``; `reading_option_names` must list them.

        Raises:
            VariedError: If this kind of data has no such option.
        """
        check_options(options, (), f"{cls.kind} data")
        return data

    @property
    def reading_options(self) -> dict[str, Any]:
        """Options of `varied.read` that bring other data to the shape of the training data."""
        return {}

    @classmethod
    def summarize(cls, data: RawData) -> str:
        """Return the number and the shape of the examples as a phrase."""
        shape = "x".join(map(str, data.x.shape[1:]))
        return f"{len(data):,} {cls.noun} of {shape} numbers"

    # To tensors and back

    @classmethod
    @abstractmethod
    def fit(cls, data: RawData) -> Self:
        """Fit the codec to the training rows."""

    @classmethod
    def fit_options(cls, accepted_domains: frozenset[str]) -> dict[str, Any]:
        """Return options of `fit` that suit a likelihood that the user chose.

        Arguments:
            accepted_domains: The domains that the likelihood accepts.
        """
        return {}

    @abstractmethod
    def encode(self, data: RawData | Array) -> Tensor:
        """Return examples as stored in memory during training, with shape ``(N, ...)``."""

    def load(self, stored: Tensor) -> Tensor:
        """Return stored rows as model input: float32, with shape ``(B, *shape)``.

        It runs in every training step, on the device, and may be random.
        """
        return stored.to(torch.float32)

    def to_values(self, stored: Tensor) -> Tensor:
        """Return stored rows as numbers, without the randomness of `load`."""
        return self.load(stored)

    @abstractmethod
    def decode(self, x: Tensor, labels: Sequence[str | None] | None = None) -> Any:
        """Return rows of model space in the form of the original data.

        Arguments:
            x: The rows, with shape ``(N, *shape)``.
            labels: The name of the class of each row, for data that contain their labels.
        """

    @property
    def is_lossy(self) -> bool:
        """Whether `encode` and `load` change the data, as binarization does."""
        return False

    @property
    def decodes_labels(self) -> bool:
        """Whether `decode` needs labels, since the data contain them."""
        return False

    # Results

    def arrange(self, examples: Any, shape: Sequence[int], axes: Axes) -> Any:
        """Return decoded examples in the shape of a result.

        Arguments:
            examples: The examples, one after the other.
            shape: The leading shape, such as (paths, steps).
            axes: A name for each axis, and a name for each of its entries, or None to number them.
        """
        return examples.reshape(*shape, *examples.shape[1:])

    def to_images(self, x: Tensor) -> Array:
        """Return rows of model space as plots show them.

        Returns:
            Images as uint8 with shape ``(N, H, W)`` or ``(N, H, W, 3)``, or numbers, which are
            plotted as curves.
        """
        rows = self.decode(x)
        if rows.dtype == np.uint8 or not (rows.ndim == 4 and rows.shape[1] in (1, 3)):
            return np.asarray(rows)
        low, high = (0.0, 1.0) if self.domain != "real" else (rows.min(), rows.max())
        gray = np.clip((rows - low) / max(high - low, 1e-12), 0, 1) * 255
        images: Array = np.moveaxis(gray.round().astype(np.uint8), 1, -1)
        return images[..., 0] if rows.shape[1] == 1 else images

    def plot(
        self, examples: Any, images: Array, draw: Callable[[Array, Path], Path], path: Path
    ) -> Path:
        """Plot the examples of a result to a .png file.

        Arguments:
            examples: The decoded examples.
            images: The examples as `to_images` returns them.
            draw: The function that plots images or curves.
            path: The file.
        """
        return draw(images, path)

    def to_frame(self, examples: Any) -> Any:
        """Return a table in the library of the original table.

        Raises:
            VariedError: If the data are not a table.
        """
        raise VariedError(f"A result of {self.noun} has no frame; use its array.")

    def save(self, examples: Any, path: Path, names: Sequence[str] = ()) -> Path:
        """Write decoded examples to a file, by its ending.

        Arguments:
            examples: The examples, with any leading shape.
            path: The file, or a folder.
            names: The names of the original files, for a folder.

        Raises:
            VariedError: If this kind of data cannot be written so.
        """
        if path.suffix.lower() != ".npy":
            raise VariedError(f"'{path.name}': save {self.noun} as .npy or .png.")
        return atomic_io.atomic_write(path, lambda file: np.save(file, examples))

    def save_labeled(self, data: RawData, path: Path) -> Path:
        """Write examples with their labels, in a form that `varied.read` reads.

        Raises:
            VariedError: If this kind of data cannot be written so, or the folder exists.
        """
        if path.suffix.lower() != ".npz":
            raise VariedError(f"'{path.name}': save labeled {self.noun} as .npz.")
        arrays: dict[str, Any] = {"x": data.x, "y": data.labels, "classes": np.array(data.classes)}
        arrays[KIND_NAME] = np.array(self.kind)
        return atomic_io.atomic_write(path, lambda file: np.savez_compressed(file, **arrays))

    def write_table(self, frame: Any, path: Path) -> Path:
        """Write a table of results to .csv, .tsv, .parquet or .feather."""
        from varied.data.tables import TableDialect, write_table

        return write_table(frame, path, TableDialect())

    # Comparison

    def to_features(self, x: Tensor, without: Sequence[str] = ()) -> Tensor:
        """Return rows as input of a classifier.

        Arguments:
            x: Stored rows, or rows of model space.
            without: Names of columns to leave out.
        """
        return x.flatten(1)

    def to_distances(self, data: RawData | Array) -> Tensor:
        """Return examples as numbers whose Euclidean distances are meaningful."""
        return self.to_values(self.encode(data))

    # Columns, for data that have them

    @property
    def column_names(self) -> tuple[str, ...]:
        """The names of the learned columns; empty if the data have no columns."""
        return ()

    def by_column(self, elementwise: Tensor) -> Tensor:
        """Return the sum of elementwise values over each column, or the values themselves."""
        return elementwise

    def unseen(self, data: RawData) -> Array | None:
        """Return which cells have a level that is not in the training rows, or None."""
        return None

    def describe_unseen(self, data: RawData) -> list[str]:
        """Return a sentence for each column with levels that are not in the training rows."""
        return []

    def attributes(self, data: RawData) -> dict[str, Any]:
        """Return the values of each learned column: an array of numbers, or a list of names."""
        return {}

    # Missing values

    def imputer(self) -> TableImputer:
        """Return the imputer of the missing cells of a table.

        Raises:
            VariedError: If the data are not a table.
        """
        raise VariedError(
            f"Cells are imputed in tables, and this run is of {self.noun}; a masked part of an "
            "image is filled by Run.inpaint (--mask)."
        )

    def parse_mask(self, mask: Any) -> Array:
        """Return the pixels to inpaint, as bool with the shape (H, W).

        Raises:
            VariedError: If the data are not images, or the mask is not valid.
        """
        raise VariedError(
            f"A mask is for images, and this run is of {self.noun}; missing cells of a table need "
            "none."
        )

    # Defaults

    def defaults(self, n: int) -> dict[str, Default]:
        """Return defaults of ``net``, ``likelihood`` and ``latent`` for ``n`` training rows."""
        return default_parts(self.shape, self.domain, n)

    # Storage

    def to_json(self) -> dict[str, Any]:
        """Return plain values that `open_codec` reads."""
        fields = ((f.name, getattr(self, f.name)) for f in dataclasses.fields(self))  # type: ignore[arg-type]
        plain = {name: list(v) if isinstance(v, tuple) else v for name, v in fields}
        return {"codec": self.kind, **plain}


def check_options(options: Mapping[str, Any], names: Sequence[str], owner: str) -> None:
    """Check the names of options.

    Raises:
        OptionError: If one is unknown; the message suggests the nearest.
    """
    for name in options:
        if name not in names:
            hint = suggest(name, list(names)) if names else "leave it out."
            raise OptionError(f"{name}= is not an option of {owner}: {hint}")


def option_names(function: Callable[..., Any], skip: int = 1) -> list[str]:
    """Return the names of the arguments of a function, without the first ``skip``."""
    return list(inspect.signature(function).parameters)[skip:]


def check_fields(shape: tuple[int, ...], is_consistent: bool) -> None:
    """Check the stored fields of a codec.

    Raises:
        VariedError: If the shape is invalid, or the other fields do not match it.
    """
    if not (shape and all(isinstance(s, int) and s > 0 for s in shape) and is_consistent):
        raise VariedError(f"The stored codec of shape {shape} is damaged: train again.")


def within_unit(x: Array) -> bool:
    """Return whether all values are in [0, 1]."""
    return bool(x.min() >= 0 and x.max() <= 1)
