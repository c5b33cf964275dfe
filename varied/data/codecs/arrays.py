"""The codec for arrays of numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from varied import atomic_io
from varied.data.codecs.array_imputer import ArrayImputer
from varied.data.codecs.base import Array, Codec
from varied.data.codecs.field_checks import check_fields
from varied.data.image_files import as_size
from varied.data.raw_data import RawData
from varied.errors import VariedError, lookup

_DOMAINS = dict.fromkeys(("real", "unit-interval", "binary", "count"))
_AUTO = frozenset(_DOMAINS)
#: The minimum numbers of columns and of distinct values of a matrix that is recognized as counts.
_MIN_COUNT_COLUMNS, _MIN_COUNT_VALUES = 5, 10


@dataclass(frozen=True)
class ArrayCodec(Codec):
    """Arrays of numbers; real values are standardized with the statistics of the training rows.

    Vectors are standardized per feature; arrays with more axes are standardized per channel (the
    first axis of a row). Constant features are only centered, and counts are not changed. NaN marks
    missing values, which are ignored in the statistics and stay NaN in encoded rows.

    Arguments:
        shape: The shape of a row.
        domain: "real", "unit-interval", "binary" or "count".
        mean: The training mean of each feature or channel; empty unless the domain is "real".
        scale: The training standard deviation of each feature or channel; 1 if constant.
        has_missing_values: Whether values are missing in the training rows.

    Example:
        >>> data = RawData(np.arange(24, dtype=np.float32).reshape(12, 2), "array")
        >>> codec = ArrayCodec.fit(data)
        >>> codec.domain, codec.mean, float(codec.encode(data).std())
        ('real', (11.0, 12.0), 1.0...)
    """

    kind: ClassVar[str] = "array"
    noun: ClassVar[str] = "arrays"

    shape: tuple[int, ...]
    domain: str
    mean: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    notes: tuple[str, ...] = ()
    has_missing_values: bool = False

    def __post_init__(self) -> None:
        lookup(_DOMAINS, self.domain, "domain")
        n_features = self.shape[0] if self.domain == "real" and self.shape else 0
        is_consistent = len(self.mean) == len(self.scale) == n_features
        check_fields(self.shape, is_consistent, self.scale)

    @classmethod
    def apply_options(cls, data: RawData, **options: Any) -> RawData:
        """Accept ``image_size`` for arrays of images that already have this size."""
        if list(options) == ["image_size"] and as_size(options["image_size"]) == data.x.shape[2:]:
            return data
        return super().apply_options(data, **options)

    @classmethod
    def summarize(cls, data: RawData) -> str:
        """Return a phrase with the number and the shape of the rows."""
        shape = "x".join(map(str, data.x.shape[1:]))
        return f"{len(data):,} rows of {shape} numbers"

    @classmethod
    def fit_options(cls, accepted_domains: frozenset[str]) -> dict[str, Any]:
        """Let `fit` choose from the domains that the likelihood accepts."""
        return {"domain": accepted_domains}

    @classmethod
    def fit(cls, data: RawData, *, domain: str | frozenset[str] = "auto") -> Self:
        """Fit the codec to the training rows.

        Arguments:
            data: The rows.
            domain: "real", "unit-interval", "binary" or "count"; "auto" infers it from the values.
                A matrix of whole numbers is recognized as counts if it has at least 5 columns and
                10 distinct values, 0 and 1 are the most frequent values, every column contains 0,
                and the variance exceeds the mean. If a set of accepted domains is passed, values
                are always counts if the set contains only "count", and never if it lacks "count".

        Raises:
            VariedError: If the values are outside the domain or infinite, or all values of a
                feature or channel are missing.
        """
        x = _as_numbers(data)
        shape = tuple(x.shape[1:])
        if not isinstance(domain, str) or domain == "auto":
            domain = _infer_domain(x, _AUTO if isinstance(domain, str) else domain)
        lookup(_DOMAINS, domain, "domain")
        axes = tuple(i for i in range(x.ndim) if i != 1)
        has_missing = bool(np.isnan(x).any())
        low, high = np.fmin.reduce(x, axes), np.fmax.reduce(x, axes)  # these ignore NaN
        if np.isnan(low).any():
            what = "Feature" if x.ndim == 2 else "Channel"
            raise VariedError(
                f"{what} {np.isnan(low).argmax()} has no observed value in the training rows; "
                "drop it."
            )
        if domain != "real":
            _check_domain(x, domain)
            notes = ("The values are counts.",) if domain == "count" else ()
            return cls(shape, domain, notes=notes, has_missing_values=has_missing)
        constant = np.flatnonzero(low == high)
        if has_missing:  # with float32, `nanstd` would square differences in float32
            values = x.astype(np.float64)
            mean, scale = np.nanmean(values, axes), np.nanstd(values, axes)
        else:
            mean, scale = x.mean(axes, dtype=np.float64), x.std(axes, dtype=np.float64)
        mean[constant], scale[constant] = low[constant], 1.0
        notes = (_constant_features(constant),) if len(constant) else ()
        return cls(shape, domain, tuple(mean.tolist()), tuple(scale.tolist()), notes, has_missing)

    def encode(self, data: RawData | Array) -> Tensor:
        """Return the rows as float32 with shape ``(N, *shape)``; real values are standardized.

        Missing values stay NaN.

        Raises:
            VariedError: If the shape or domain of the rows differs from that of the training data,
                or a value is infinite.
        """
        x = self._check(data)
        if self.domain != "real":
            _check_domain(x, self.domain)
            return torch.from_numpy(np.array(x, dtype=np.float32))
        standardized = (x - self._broadcast(self.mean)) / self._broadcast(self.scale)
        return torch.from_numpy(standardized.astype(np.float32))

    def decode(self, x: Tensor, labels: Sequence[str | None] | None = None) -> Array:
        """Return rows as float32 with shape ``(N, *shape)``, in the units of the training data."""
        rows: Array = x.detach().float().cpu().numpy()
        if self.domain != "real":
            return rows
        restored = rows * self._broadcast(self.scale) + self._broadcast(self.mean)
        return restored.astype(np.float32)

    def describe_conversion(self) -> dict[str, Any]:
        """Return the mean and the scale of real values; other values are not changed."""
        missing = " Replace missing values by 0."
        if self.domain != "real":
            unchanged = "The values are not changed."
            return {"to_input": unchanged + missing, "from_mean": unchanged}
        where = "feature" if len(self.shape) == 1 else "channel (the first axis)"
        return {
            "to_input": f"Subtract the mean of each {where} and divide by its scale.{missing}",
            "from_mean": f"Multiply by the scale of each {where} and add its mean.",
            "mean": list(self.mean),
            "scale": list(self.scale),
        }

    @property
    def decodes_by_sampling(self) -> bool:  # type: ignore[override]
        """Whether x is sampled by default: true for counts, since a mean is not a whole number."""
        return self.domain == "count"

    def to_features(self, x: Tensor, without: Sequence[str] = ()) -> Tensor:
        """Return flattened rows, with 0 for missing values, and log(1 + x) for counts."""
        features = super().to_features(x, without).nan_to_num(0.0)
        return features.log1p() if self.domain == "count" else features

    def to_distances(self, data: RawData | Array) -> Tensor:
        """Return real values standardized, counts as log(1 + x), and all other values unchanged."""
        if self.domain == "real":
            return self.encode(data)
        x = torch.from_numpy(self._check(data).astype(np.float32))
        return x.log1p() if self.domain == "count" else x

    def save(self, examples: Any, path: Path, names: Sequence[str] = ()) -> Path:
        """Write arrays to an ``.npy`` file, or to a ``.csv`` file with one line per example.

        Raises:
            VariedError: If the file has another extension.
        """
        if path.suffix.lower() != ".csv":
            return super().save(examples, path, names)
        rows = examples.reshape(-1, math.prod(self.shape)).tolist()
        text = "".join(",".join(map(repr, row)) + "\n" for row in rows)
        return atomic_io.atomic_write(path, text)

    def imputer(self) -> ArrayImputer:
        """Return the imputer that fills the missing values."""
        return ArrayImputer(self)

    def _check(self, data: RawData | Array) -> Array:
        x = _as_numbers(data)
        if x.shape[1:] != self.shape:
            raise VariedError(
                f"These rows have shape {tuple(x.shape[1:])}, but the run was trained on rows of "
                f"shape {self.shape}; pass rows of that shape."
            )
        return x

    def _broadcast(self, values: tuple[float, ...]) -> Array:
        return np.reshape(np.asarray(values), (-1, *[1] * (len(self.shape) - 1)))


def _as_numbers(data: RawData | Array) -> Array:
    x = data.x if isinstance(data, RawData) else np.asarray(data)
    if isinstance(data, RawData) and data.is_image:
        x = np.moveaxis(x if x.ndim == 4 else x[..., None], -1, 1).astype(np.float32) / 255
    if x.ndim < 2 or x.dtype.kind not in "fiub":
        raise VariedError(
            "Arrays must be numeric and have at least two dimensions, (N, features, ...), got "
            f"{x.dtype} of shape {x.shape}."
        )
    numbers: Array = x.astype(np.float32, copy=False)
    if np.isinf(numbers).any():
        row = int(np.argwhere(np.isinf(numbers))[0, 0])
        raise VariedError(
            f"Row {row} contains infinity; replace it with NaN if the value is missing, or drop "
            "the row."
        )
    return numbers


def _infer_domain(x: Array, accepted: frozenset[str]) -> str:
    if accepted == {"count"}:
        return "count"
    if _is_in_domain(x[:100], "binary").all() and _is_in_domain(x, "binary").all():
        return "binary"
    is_image_batch = x.ndim == 4 and x.shape[1] in (1, 3, 4)
    is_unit = is_image_batch and _is_in_domain(x, "unit-interval").all()
    if is_unit:
        return "unit-interval"
    return "count" if "count" in accepted and _looks_like_counts(x) else "real"


def _looks_like_counts(x: Array) -> bool:
    """Return whether a matrix contains counts, not gray levels, grades or ages.

    Gray levels often have a frequent maximum, and grades and ages have columns without 0.
    """
    is_matrix = x.ndim == 2 and x.shape[1] >= _MIN_COUNT_COLUMNS
    if not is_matrix or not all(_is_in_domain(part, "count").all() for part in (x[:100], x)):
        return False
    values, frequencies = np.unique(x[~np.isnan(x)], return_counts=True)
    most_frequent = values[np.argsort(-frequencies, kind="stable")[:2]]
    return bool(
        len(values) >= _MIN_COUNT_VALUES
        and most_frequent.tolist() == [0, 1]
        and not np.fmin.reduce(x, 0).any()
        and np.nanvar(x, 0, dtype=np.float64).sum() > np.nanmean(x, 0, dtype=np.float64).sum()
    )


def _is_in_domain(x: Array, domain: str) -> Array:
    """Return which values are in a domain; NaN, which marks missing values, is in all domains."""
    if domain == "binary":
        is_valid: Array = (x == 0) | (x == 1) | np.isnan(x)
    elif domain == "count":
        is_valid = ((x >= 0) & (x == np.round(x))) | np.isnan(x)
    else:
        is_valid = ~((x < 0) | (x > 1))
    return is_valid


def _check_domain(x: Array, domain: str) -> None:
    valid = _is_in_domain(x, domain)
    if valid.all():
        return
    first = tuple(int(i) for i in np.argwhere(~valid)[0])
    what, remedy = {
        "binary": ("neither 0 nor 1", "convert the values to 0 and 1"),
        "count": ("not a count", "pass unscaled counts"),
    }.get(domain, ("outside [0, 1]", "scale the data"))
    raise VariedError(
        f"Row {first[0]} has the value {x[first]:g}, which is {what}, but the run expects {domain} "
        f"values; {remedy}, drop the row, or train with domain='real'."
    )


def _constant_features(columns: npt.NDArray[np.intp]) -> str:
    more = f" and {len(columns) - 5:,} more" if len(columns) > 5 else ""
    return f"Constant features in the training rows: {', '.join(map(str, columns[:5]))}{more}."
