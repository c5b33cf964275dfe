"""The base class of codecs."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import IO, TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from varied import atomic_io
from varied.data.archive import Member, attempt, read_members
from varied.data.arrays import to_gray_levels
from varied.data.codecs.options import check_options
from varied.data.codecs.plain_formats import PlainArrays, PlainFormat
from varied.data.defaults import Default, default_parts
from varied.data.numpy_files import KIND_NAME
from varied.data.raw_data import Problem, RawData
from varied.errors import VariedError

if TYPE_CHECKING:
    from varied.data.codecs.imputer import Imputer
    from varied.data.codecs.invalid_cells import InvalidCells

Array = npt.NDArray[Any]
Axes = Mapping[str, Sequence[str] | None]


class Examples(NamedTuple):
    """The examples in a folder or zip file.

    Arguments:
        x: The examples.
        problems: The unreadable files, keyed by index.
        notes: Sentences that describe what was inferred or changed.
        dialect: The format of the examples, as in `RawData.dialect`.
    """

    x: Array
    problems: dict[int, Problem]
    notes: tuple[str, ...] = ()
    dialect: Mapping[str, Any] = MappingProxyType({})


class Codec(ABC):
    """The base class of codecs, which read, encode, decode, save and compare one kind of data.

    Subclasses are frozen dataclasses; a run stores their fields, which describe its training data,
    in ``codec.json``. A new kind of data requires `fit`, `encode` and `decode`, and `read_example`
    if each example is a file; everything else has a default. Register the codec with
    ``varied.register("data", kind, codec)``.

    Attributes:
        kind: The name of the kind of data, as in `RawData.kind`.
        noun: The plural noun for examples in messages.
        endings: The extensions of the files that `read_file` and `read_members` can read.
        reads_folders: Whether a folder or zip file of such files can be read as a dataset.
        has_labels_in_names: Whether labels are inferred from the names of the files, unless there
            are inner folders.
        default_ending: The extension of the default output file for results; ".png" means a plot.
        data_ending: The extension of the default output file for decoded data; "" means a folder.
        labeled_ending: The extension of the default output file for labeled data.
        audio_ending: The extension of the recordings in the report; "" if the data are not sound.
        decodes_by_sampling: Whether, by default, x is a sample from p(x | z) instead of its mean.
        max_rows_by_epochs: The maximum number of rows for which the default training length is a
            number of epochs; for larger datasets, it is ten minutes, with a maximum number of
            epochs.
        small_batches_below: The number of rows below which networks other than ``mlp`` are trained
            with batches of 32 by default.
        classifier_defaults: Default settings of the classifier in the architecture ``m2``.
        plain_format: Converts examples to plain values, as in JSON, and back.
        is_compressible: Whether `varied.compression` can compress the data.
        reading_option_names: The names of the options that `apply_options` accepts.
        shape: The shape of one example in the model, channels first, such as ``(1, 28, 28)`` or
            ``(140,)``.
        domain: The domain of the values: "binary", "uint8" (k / 255), "unit-interval", "real",
            "count", "table" or "one-hot".
        notes: Sentences that describe what was inferred from the data.
        has_missing_values: Whether values may be missing in the training rows; `imputer` fills
            them.
    """

    kind: ClassVar[str]
    noun: ClassVar[str] = "rows"
    endings: ClassVar[tuple[str, ...]] = ()
    reads_folders: ClassVar[bool] = False
    has_labels_in_names: ClassVar[bool] = False
    default_ending: ClassVar[str] = ".png"
    data_ending: ClassVar[str] = ".npy"
    labeled_ending: ClassVar[str] = ".npz"
    audio_ending: ClassVar[str] = ""
    decodes_by_sampling: ClassVar[bool] = False
    max_rows_by_epochs: ClassVar[int] = 500_000
    small_batches_below: ClassVar[int] = 0
    classifier_defaults: ClassVar[Mapping[str, Any]] = {}
    plain_format: ClassVar[PlainFormat] = PlainArrays()
    is_compressible: ClassVar[bool] = True
    reading_option_names: ClassVar[tuple[str, ...]] = ()

    shape: tuple[int, ...]
    domain: str
    notes: tuple[str, ...]
    has_missing_values: bool = False

    # Reading

    @classmethod
    def read_file(cls, path: Path) -> RawData:
        """Read a file that contains a whole dataset, such as a table.

        Raises:
            VariedError: If the file cannot be read.
        """
        raise VariedError(f"{path.name} cannot be read as {cls.noun}; use a folder or an array.")

    @classmethod
    def read_example(cls, file: IO[bytes]) -> Array:
        """Read one example from a file in a folder or zip file.

        If this raises an error, the file is added to the `problems` of the dataset.
        """
        raise VariedError(f"{cls.__name__} does not implement `read_example`")

    @classmethod
    def read_members(cls, members: Sequence[Member], **options: Any) -> Examples:
        """Read the files of a folder or zip file as examples with a common shape.

        Arguments:
            members: The files.
            options: Reading options. This method may ignore them, since `apply_options` is called
                afterwards.

        Raises:
            VariedError: If the shapes differ, or the examples do not fit in memory.
        """
        results = read_members(members, lambda member: attempt(member, cls.read_example))
        problems = {i: r for i, r in enumerate(results) if isinstance(r, Problem)}
        examples = [r for r in results if not isinstance(r, Problem)]
        shapes = {example.shape for example in examples}
        if len(shapes) > 1:
            first, second = sorted(shapes)[:2]
            raise VariedError(
                f"The {cls.noun} have different shapes, such as {first} and {second}; "
                "convert them to a common shape."
            )
        return Examples(np.stack(examples) if examples else np.empty(0), problems)

    @classmethod
    def from_memory(cls, examples: Any, **options: Any) -> RawData | None:
        """Return a list of arrays as data of this kind, or None to read the list as an array."""
        return None

    @classmethod
    def from_table(cls, data: RawData, *, is_chosen: bool = False) -> RawData | None:
        """Return the examples of this kind that a table contains, or None if it contains none.

        Arguments:
            data: A table.
            is_chosen: Whether the user chose this kind of data; otherwise, the table must clearly
                contain such examples.
        """
        return data if is_chosen and data.kind == cls.kind else None

    @classmethod
    def apply_options(cls, data: RawData, **options: Any) -> RawData:
        """Apply reading options, such as ``image_size``, to data in memory.

        The options are keyword arguments of `varied.read` and `varied.train`, and options of
        ``varied train``. `reading_option_names` must list their names.

        Raises:
            VariedError: If this kind of data has no such option.
        """
        check_options(options, (), f"{cls.kind} data")
        return data

    @classmethod
    def parse_source(cls, text: str) -> Any:
        """Return the source that a text stands for: a path, a name, or data written as text."""
        return text

    @property
    def reading_options(self) -> dict[str, Any]:
        """Options of `varied.read` that convert other data to the shape of the training data."""
        return {}

    @classmethod
    def summarize(cls, data: RawData) -> str:
        """Return a phrase with the number and the shape of the examples."""
        shape = "x".join(map(str, data.x.shape[1:]))
        return f"{len(data):,} {cls.noun} of {shape} numbers"

    # To tensors and back

    @classmethod
    @abstractmethod
    def fit(cls, data: RawData) -> Self:
        """Fit the codec to the training rows."""

    @classmethod
    def fit_options(cls, accepted_domains: frozenset[str]) -> dict[str, Any]:
        """Return the options of `fit` that suit a likelihood chosen by the user.

        Arguments:
            accepted_domains: The domains that the likelihood accepts.
        """
        return {}

    @abstractmethod
    def encode(self, data: RawData | Array) -> Tensor:
        """Convert examples to the tensor that is stored in memory, with shape ``(N, ...)``.

        NaN marks missing values, which `varied.data.mask_missing` replaces by 0 and a mask.
        """

    def load(self, stored: Tensor) -> Tensor:
        """Convert stored rows to model input, float32 with shape ``(B, *shape)``.

        This method is called in every training step, on the device, and may be random.
        """
        return stored.to(torch.float32)

    def to_values(self, stored: Tensor) -> Tensor:
        """Convert stored rows to numbers, like `load` but without randomness."""
        return self.load(stored)

    @abstractmethod
    def decode(self, x: Tensor, labels: Sequence[str | None] | None = None) -> Any:
        """Convert rows in model space to the form of the original data.

        Arguments:
            x: The rows, with shape ``(N, *shape)``.
            labels: The class name of each row, for data that contain their labels.
        """

    @property
    def is_lossy(self) -> bool:
        """Whether `encode` and `load` lose information, as in binarization."""
        return False

    @property
    def decodes_labels(self) -> bool:
        """Whether `decode` requires labels, since the data contain them."""
        return False

    # Results

    def arrange(self, examples: Any, shape: Sequence[int], axes: Axes) -> Any:
        """Arrange decoded examples in the shape of a result.

        Arguments:
            examples: The examples in a single sequence.
            shape: The leading shape, such as (paths, steps).
            axes: A mapping from the name of each axis to the names of its entries, or to None if
                the entries are numbered.
        """
        return examples.reshape(*shape, *examples.shape[1:])

    def to_images(self, x: Tensor) -> Array:
        """Convert rows in model space to a form that can be plotted.

        Returns:
            Images, uint8 with shape ``(N, H, W)`` or ``(N, H, W, 3)``, in which missing pixels
            (NaN) are gray, or numbers, which are plotted as curves.
        """
        rows = self.decode(x)
        if rows.dtype == np.uint8 or not (rows.ndim == 4 and rows.shape[1] in (1, 3)):
            return np.asarray(rows)
        return to_gray_levels(rows, is_scaled=self.domain in ("real", "count"))

    def describe_axes(self, examples: Any) -> list[str]:
        """Return a note if axes are renamed in the written table of a result; empty otherwise."""
        return []

    def plot(
        self, examples: Any, images: Array, draw: Callable[[Array, Path], Path], path: Path
    ) -> Path:
        """Plot the examples of a result to a .png file.

        Arguments:
            examples: The decoded examples.
            images: The examples in the form that `to_images` returns.
            draw: The function that plots images or curves.
            path: The file.
        """
        return draw(images, path)

    def to_frame(self, examples: Any) -> Any:
        """Return examples as a DataFrame of the library that the original table came from.

        Raises:
            VariedError: If the data are not a table.
        """
        raise VariedError(
            f"{self.noun.capitalize()} cannot be converted to a DataFrame; use the array."
        )

    def save(self, examples: Any, path: Path, names: Sequence[str] = ()) -> Path:
        """Write decoded examples to a file, in the format of its extension.

        Arguments:
            examples: The examples, with any leading shape.
            path: The file, or a folder.
            names: The names of the original files, used if ``path`` is a folder.

        Raises:
            VariedError: If this kind of data cannot be written in this format.
        """
        if path.suffix.lower() != ".npy":
            raise VariedError(
                f"'{path.name}' does not have a supported file extension; use .npy or .png."
            )
        return atomic_io.atomic_write(path, lambda file: np.save(file, examples))

    def save_labeled(self, data: RawData, path: Path) -> Path:
        """Write examples with their labels, in a form that `varied.read` can read.

        Raises:
            VariedError: If this kind of data cannot be written in this format, or the folder
                exists.
        """
        if path.suffix.lower() != ".npz":
            raise VariedError(f"'{path.name}' does not have a supported file extension; use .npz.")
        arrays: dict[str, Any] = {"x": data.x, "y": data.labels, "classes": np.array(data.classes)}
        arrays[KIND_NAME] = np.array(self.kind)
        return atomic_io.atomic_write(path, lambda file: np.savez_compressed(file, **arrays))

    def write_table(self, frame: Any, path: Path, *, has_columns: bool = True) -> Path:
        """Write a table of results to .csv, .tsv, .parquet or .feather.

        Arguments:
            frame: The table.
            path: The file.
            has_columns: Whether the table has columns of the training table, which are written in
                the same types and formats.
        """
        from varied.data.tables import TableDialect, write_table

        return write_table(frame, path, TableDialect())

    # Comparison

    def to_features(self, x: Tensor, without: Sequence[str] = ()) -> Tensor:
        """Convert rows to inputs for a classifier.

        Arguments:
            x: Stored rows, or rows in model space.
            without: The names of columns to exclude.
        """
        return x.flatten(1)

    def to_distances(self, data: RawData | Array) -> Tensor:
        """Convert examples to vectors whose Euclidean distances are meaningful."""
        return self.to_values(self.encode(data))

    def properties(self, examples: Any) -> dict[str, Array]:
        """Return numeric properties of decoded examples by name, such as those of molecules."""
        return {}

    def similarities(self, example: Any, others: Any) -> Array | None:
        """Return the similarity in [0, 1] of an example to others, or None if it is not defined."""
        return None

    # Columns, for data that have them

    @property
    def source_columns(self) -> tuple[str, ...]:
        """The names of all columns of the training table; empty if there are no columns."""
        return ()

    @property
    def column_names(self) -> tuple[str, ...]:
        """The names of the columns that the model is trained on; empty if there are no columns."""
        return ()

    def by_column(self, elementwise: Tensor) -> Tensor:
        """Sum elementwise values over each column; without columns, return them unchanged."""
        return elementwise

    def convert(self, data: RawData) -> RawData:
        """Convert new rows to the types of the training rows; unreadable cells become missing.

        Raises:
            VariedError: If a column is missing, or most of its cells cannot be read.
        """
        return data

    def invalid_cells(self, data: RawData) -> list[InvalidCells]:
        """Return the invalid cells of new rows by column; see `InvalidCells`."""
        return []

    def attributes(self, data: RawData) -> dict[str, Any]:
        """Return values that describe each example, such as its columns, as numbers or names."""
        return {}

    # Missing values

    def imputer(self) -> Imputer:
        """Return the imputer that fills missing values.

        Raises:
            VariedError: If this kind of data cannot have missing values.
        """
        raise VariedError(
            "Only the values of tables and arrays can be imputed, but this run was trained on "
            f"{self.noun}; to fill a masked part of an image, use Run.inpaint (--mask)."
        )

    def parse_mask(self, mask: Any) -> Array:
        """Return which pixels to inpaint, as bool with shape (H, W).

        Raises:
            VariedError: If the data are not images, or the mask is not valid.
        """
        raise VariedError(
            f"Only images can be masked, but this run was trained on {self.noun}. The missing "
            "values of tables and arrays do not require a mask."
        )

    # Export

    def describe_conversion(self) -> dict[str, Any]:
        """Return how other programs convert examples to model inputs and means to examples.

        The values "to_input" and "from_mean" are sentences; the others are their parameters.
        """
        return {"to_input": f"Use `{type(self).__name__}`.", "from_mean": "See `to_input`."}

    # Defaults

    def defaults(self, n: int) -> dict[str, Default]:
        """Return the default parts, such as ``net``, for ``n`` training rows."""
        return default_parts(self.shape, self.domain, n)

    # Storage

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-serializable description of the codec, to be read by `open_codec`."""
        fields = ((f.name, getattr(self, f.name)) for f in dataclasses.fields(self))  # type: ignore[arg-type]
        plain = {name: list(v) if isinstance(v, tuple) else v for name, v in fields}
        return {"codec": self.kind, **plain}
