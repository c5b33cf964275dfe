"""Conversion between the examples of requests and responses, and the data of a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import torch
from pydantic import TypeAdapter
from torch import Tensor

from varied.data import Batch, RawData, fit_codec
from varied.errors import VariedError
from varied.studio import schemas
from varied.studio.opened_run import OpenedRun
from varied.studio.schemas import MAX_EXAMPLES, Decoded, Example, Source

T = TypeVar("T")

#: The number of rows to which the codec of a preview is fitted.
_FITTED = 200

_EMPTY = Batch(torch.empty(0, 1))
_EXAMPLES: TypeAdapter[list[Example]] = TypeAdapter(list[Example])


@dataclass(frozen=True)
class Selection:
    """The examples that a request refers to.

    Arguments:
        data: The examples that can be read, in order.
        original: The same examples before they were converted to the types of the training data.
        batch: The same examples as stored rows.
        index: The position of each of them in the request.
        rows: The row of the run's data of each of them; None if they are other data.
        errors: The reason why each of the other examples cannot be read, by position.
    """

    data: RawData
    original: RawData
    batch: Batch
    index: list[int]
    rows: list[int] | None
    errors: dict[int, str]

    def __len__(self) -> int:
        return len(self.index)

    @property
    def n(self) -> int:
        """The number of examples in the request."""
        return len(self.index) + len(self.errors)

    def name(self, i: int) -> str:
        """Return the name of an example that can be read."""
        if self.data.names is not None:
            return self.data.names[i]
        return str(self.index[i] if self.rows is None else self.rows[i])

    @property
    def item_errors(self) -> list[schemas.ItemError]:
        """The errors in order."""
        return [schemas.ItemError(index=i, error=e) for i, e in sorted(self.errors.items())]

    def require_all(self) -> None:
        """Check that all examples can be read, for operations on all of them together.

        Raises:
            VariedError: If one cannot be read.
        """
        for i, error in sorted(self.errors.items()):
            raise VariedError(f"Example {i + 1} cannot be used: {error}")

    def spread_over(self, values: Sequence[T], failure: Callable[[str], T]) -> list[T]:
        """Return the values of the readable examples, and failures, in the order of the request."""
        by_position = dict(zip(self.index, values, strict=True))
        return [
            by_position[i] if i in by_position else failure(self.errors[i]) for i in range(self.n)
        ]


def select(opened: OpenedRun, source: Source) -> Selection:
    """Return the examples that a source refers to; each that cannot be read has an error.

    Raises:
        VariedError: If none can be read, the data are not available, or the run is conditional and
            the examples have no labels.
    """
    run = opened.run
    if source.rows is not None:
        rows, errors = source.rows, _row_errors(source.rows, len(run.data))
        index = [i for i in range(len(rows)) if i not in errors]
        chosen = [rows[i] for i in index]
        data = run.data.take(chosen)
        return _encode_each(opened, Selection(data, data, _EMPTY, index, chosen, errors))
    if source.upload is not None:
        original = run.read_source(opened.services.read_upload(source.upload)).head(MAX_EXAMPLES)
        index, errors = list(range(len(original))), {}
    else:
        plain = [example.model_dump() for example in source.examples or ()]
        original, errors = run.codec.plain_format.read(run.codec, plain)
        index = [i for i in range(len(plain)) if i not in errors]
        original = run.read_source(original) if index else original
    if source.label is not None:
        original = _with_label(opened, original, source.label)
    data = run.codec.convert(original) if index else original
    return _encode_each(opened, Selection(data, original, _EMPTY, index, None, errors))


def _row_errors(rows: list[int], n: int) -> dict[int, str]:
    message = f"rows must be between 0 and {n - 1:,}."
    return {i: f"There is no row {row}; {message}" for i, row in enumerate(rows) if row >= n}


def _encode_each(opened: OpenedRun, chosen: Selection) -> Selection:
    """Encode examples; if this fails, encode each by itself, and omit those that fail.

    Raises:
        VariedError: If there are no examples, or they fail for a common reason.
    """
    if not chosen.index:
        if not chosen.errors:
            raise VariedError("The request contains no examples; pass at least one.")
        return chosen
    try:
        return replace(chosen, batch=opened.run.encode_data(chosen.data))
    except VariedError:
        if len(chosen) == 1:
            raise
    valid, errors = list[int](), dict(chosen.errors)
    for i, position in enumerate(chosen.index):
        try:
            opened.run.encode_data(chosen.data.take([i]))
            valid.append(i)
        except VariedError as error:
            errors[position] = str(error)
    data, original = chosen.data.take(valid), chosen.original.take(valid)
    index = [chosen.index[i] for i in valid]
    rows = None if chosen.rows is None else [chosen.rows[i] for i in valid]
    # This raises an error if no example is valid.
    batch = opened.run.encode_data(data if valid else chosen.data)
    return Selection(data, original, batch, index, rows, errors)


def _with_label(opened: OpenedRun, data: RawData, label: schemas.Label) -> RawData:
    """Return data in which every example has the given label."""
    context = opened.run.context
    opened.context(label)  # checks the label
    assert context is not None
    values = label if isinstance(label, dict) else {next(iter(context.by_name)): label}
    absent = [name for name in context.by_name if name not in values]
    if absent:
        raise VariedError(f"The label must contain {', '.join(absent)}; pass a value for each.")
    n, covariates = len(data), dict[str, Any]()
    for name, covariate in context.by_name.items():
        value = values[name]
        if covariate.classes:
            text = str(value) if str(value) in covariate.classes else f"{value:g}"
            covariates[name] = (np.zeros(n, np.int64), (text,))
        else:
            covariates[name] = (np.full(n, float(value or 0), np.float32), ())
    return data.with_labels(covariates)


def to_examples(opened: OpenedRun, decoded: Any) -> list[Example]:
    """Return decoded examples, in the form that `Codec.decode` returns, for a response."""
    codec = opened.run.codec
    return _EXAMPLES.validate_python(codec.plain_format.to_plain(codec, decoded))


def originals(opened: OpenedRun, data: RawData, batch: Batch) -> list[Example]:
    """Return the examples of a selection in their original form."""
    codec = opened.run.codec
    if data.kind == codec.kind:
        return to_examples(opened, data.x)
    return to_examples(
        opened, codec.decode(opened.run.with_missing(data, codec.to_values(batch.x)))
    )


def decoded_examples(opened: OpenedRun, x: Tensor, c: Tensor | None = None) -> list[Decoded]:
    """Return rows in model space as the examples of a response.

    Arguments:
        opened: The run.
        x: The rows, with shape (N, *event).
        c: Their contexts, with shape (N, F), or None.
    """
    examples = to_examples(opened, opened.run.decode(x, (len(x),), c))
    labels = label_texts(opened, c) or [None] * len(x)
    return [
        Decoded(example=example, label=label)
        for example, label in zip(examples, labels, strict=True)
    ]


def label_texts(opened: OpenedRun, c: Tensor | None) -> list[str | None] | None:
    """Return the labels that contexts encode as texts, or None without contexts."""
    if c is None or opened.run.context is None:
        return None
    return [label_text(label) for label in opened.run.context.decode(c)]


def label_text(label: Any) -> str | None:
    """Return a label as text: a class, a number, or covariates such as ``batch=2, age=40``."""
    if isinstance(label, dict):
        return ", ".join(f"{name}={label_text(value) or '?'}" for name, value in label.items())
    if label is None or label != label:
        return None
    return f"{label:g}" if isinstance(label, float) else str(label)


def preview_examples(data: RawData, n: int) -> list[Example]:
    """Return the first examples of data that no run was trained on.

    Arguments:
        data: The data.
        n: The maximum number of examples.
    """
    codec = fit_codec(data.head(max(n, _FITTED)))
    return _EXAMPLES.validate_python(codec.plain_format.to_plain(codec, data.head(n).x))


def row_labels(data: RawData) -> list[str | None]:
    """Return the labels of data as texts."""
    columns: dict[str, list[Any]] = {}
    for name, (values, names) in data.covariates.items():
        if names:
            columns[name] = [names[i] if i >= 0 else None for i in values.tolist()]
        else:
            columns[name] = values.tolist()
    if not columns:
        return [None] * len(data)
    if len(columns) == 1:
        return [label_text(label) for label in next(iter(columns.values()))]
    rows = zip(*columns.values(), strict=True)
    return [label_text(dict(zip(columns, row, strict=True))) for row in rows]
