"""The folder of a run, opened: its parts, its data, and data in and out of the model's form."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from varied.data import Batch, RawData, iter_batches, read
from varied.data.codecs import ImageCodec, TableCodec
from varied.errors import VariedError, suggest
from varied.functional import classify
from varied.prior_fitting import require_vae
from varied.runs.old_names import old_kind
from varied.runs.result import Draw, Result
from varied.runs.store import Store
from varied.runs.table_result import table_result
from varied.seeding import seeded
from varied.spec import compose, compose_prior
from varied.training_loop import Step

__all__ = ["OpenRun"]

#: Rows that pass through a model at once.
ROWS = 500


class OpenRun:
    """The folder of a run, opened.

    Arguments:
        folder: Where the run is.
        items: The data, where they are at hand already; else they are read again when needed.

    Raises:
        VariedError: If the folder holds no run.
    """

    def __init__(self, folder: Path | str, items: RawData | None = None) -> None:
        self.store = Store(folder)
        self.spec = self.store.read_spec()
        self.codec, self.context = self.store.read_codecs()
        self.data = self.store.read_data()
        self.model, self.objective = compose(self.spec, self.codec.shape, self.codec.domain)
        self._items = items
        if self.store.trained:
            self.store.read_weights("model.safetensors", self.model)
        elif self.store.read_checkpoint(Step(self.model, self.objective))[0] is None:
            raise VariedError(f"{folder} has not been trained yet; train it with `varied train`.")

        self._take_prior()

    def _take_prior(self) -> None:
        """Sample from the prior that was fitted afterwards, where one was."""
        part = self.store.read_prior()
        if part is not None:
            model = require_vae(self.model)
            model.prior = compose_prior(self.spec, part, model.encoder)
            self.store.read_weights("prior.safetensors", model.prior)

    @property
    def folder(self) -> Path:
        """Where the run is."""
        return self.store.folder

    def __repr__(self) -> str:
        parts = f"{self.spec.net.name}, {self.spec.likelihood.name}, latent {self.spec.latent}"
        return f"Run({self.folder.name}: {parts})"

    def save(self, folder: str | Path) -> Path:
        """Copy the run to another folder.

        Raises:
            VariedError: If the folder is there already.
        """
        if Path(folder).exists():
            raise VariedError(f"{folder} is there already; choose a new name.")
        return Path(shutil.copytree(self.folder, folder))

    # Data

    @cached_property
    def items(self) -> RawData:
        """The data that the run was trained on, read again from where they came.

        Raises:
            VariedError: If they are gone, or have changed since.
        """
        if self._items is not None:
            return self._items
        source = self.data["source"]
        if source is None:
            raise VariedError("This run was trained on arrays in memory; pass the data again.")
        items = read(source, **self.data["options"])
        kind = old_kind(items.kind) if self.store.is_format_1 else None
        if items.digest(kind) != self.data["digest"]:
            raise VariedError(
                f"{source} has changed since the run was trained, so its test rows are not known; "
                "restore it, or name other data."
            )
        return items

    def split(self, name: str = "test") -> RawData:
        """Return the "train", "validation" or "test" rows."""
        parts = ("train", "validation", "test")
        if name not in parts:
            raise VariedError(f"There is no part '{name}': {suggest(name, parts)}")
        return self.items.take(getattr(self.store.read_split(), name))

    def read(self, source: Any = None) -> RawData:
        """Read other data as this run takes them; None gives its own test rows.

        Rows of a table have the labels of the column that the run was told of, where they have it.
        """
        if source is None:
            return self.split("test")
        size = self.codec.size if isinstance(self.codec, ImageCodec) else None
        items = read(source, image_size=size, min_rows=1)
        column = self.data.get("label_column")
        if self.context is None or items.kind != "table" or items.labels is not None:
            return items
        if column not in items.x.columns:
            return items
        # A model that learned classes is not told them: one that it does not know is no fault.
        labels = self.context.column(items.x[column], strict=not self.model.num_classes)
        return dataclasses.replace(items, labels=labels, classes=self.context.classes)

    def encode_items(self, items: RawData) -> Batch:
        """Return items as the model's stored rows, with their context.

        A model that learned classes is not told them: what it says must not hang on labels.
        """
        if self.context is None or self.model.num_classes:
            return Batch(self.codec.encode(items))
        if items.labels is None:
            column = self.data.get("label_column")
            where = f", in a column called '{column}'" if column else ""
            raise VariedError(f"This run is conditional, so data need their labels{where}.")
        return Batch(self.codec.encode(items), self._labels(items))

    def batches(self, items: RawData) -> Iterator[Batch]:
        """Return items as batches of stored rows, with their context."""
        batch = self.encode_items(items)
        return iter_batches(batch.x, batch.c, size=ROWS)

    def as_model_input(self, items: RawData) -> tuple[Tensor, Tensor | None]:
        """Return items as the model sees them, binarized where it is, and their context."""
        batch = self.encode_items(items)
        with seeded(self.spec.plan.seed, "look"):
            return self.codec.load(batch.x), batch.c

    def contexts(self, n: int, of: object = None) -> Tensor | None:
        """Return contexts for n data, with shape (n, F); None for a run without.

        Arguments:
            n: How many.
            of: A class name or number, or several; None takes the classes in turn, and for rows of
                a table as often as they were in training.

        Raises:
            VariedError: If the run is not conditional, or there is no such class.
        """
        if self.context is None:
            if of is not None:
                raise VariedError(
                    "This run is not conditional: train it with model='conditional-vae'."
                )
            return None
        if of is None:
            if self.codec.decodes_by_sampling and self.context.counts:
                return self.context.usual(n)
            size = self.context.size
            return (
                torch.eye(size)[torch.arange(n) % size]
                if self.context.classes
                else torch.zeros(n, size)
            )
        c = self.context.encode(of)
        return c.repeat(-(-n // len(c)), 1)[:n]

    def result(
        self,
        x: Tensor,
        draw: Draw,
        lead: Sequence[int] = (),
        names: Mapping[str, Sequence[str] | None] | None = None,
        c: Tensor | None = None,
    ) -> Result:
        """Return what a model made in the person's own form.

        Arguments:
            x: The data, with shape (N, *event).
            draw: Draws them as one picture.
            lead: The shape in which they belong together, such as (paths, steps).
            names: What each dimension of it is called, for rows of a table; see `rows_of`.
            c: Their context, with a shape that broadcasts to (*lead, F), for the column of a label
                that the model does not read; where it is None, a model of classes fills the column
                with the most probable class of each.
        """
        if isinstance(self.codec, TableCodec):
            c = self._likely(x, lead) if c is None else c
            told: Any = None
            if c is not None and self.context is not None:
                told = self.context.decode(c.expand(*(lead or [len(x)]), -1).flatten(0, -2))
            return table_result(self.codec.decode(x, told), self.codec.form, lead, names)
        array, shown = self.codec.decode(x), self.codec.to_images(x)
        lead = lead or array.shape[:1]
        return Result(
            array.reshape(*lead, *array.shape[1:]), shown.reshape(*lead, *shown.shape[1:]), draw
        )

    def paired_result(
        self,
        items: RawData,
        batch: Batch,
        made: Tensor,
        draw: Draw,
        names: Mapping[str, Sequence[str] | None],
    ) -> Result:
        """Return items, each followed by what was made of it, in the person's own form.

        Arguments:
            items: The items, whose own class stands in a label's column.
            batch: The items as the model sees them, with the context of what was made.
            made: What was made of each, with shape (N, n, *event).
            draw: Draws them as one picture.
            names: What each of both dimensions is called, for rows of a table; see `rows_of`.
        """
        both, lead, c = torch.cat([batch.x[:, None], made], 1), made.shape[:2], None
        if isinstance(self.codec, TableCodec):
            c = self._likely(made.flatten(0, 1), lead) if batch.c is None else batch.c[:, None]
        if c is not None:
            c = c.expand(*lead, -1)
            own = torch.zeros_like(c[:, 0]) if items.labels is None else self._labels(items)
            c = torch.cat([own[:, None], c], 1)
        return self.result(both.flatten(0, 1), draw, both.shape[:2], names, c)

    def _labels(self, items: RawData) -> Tensor:
        """Return the labels of items as contexts of this run, with shape (N, F).

        What a model that learned classes does not know is no class; it is not told them anyway.
        """
        assert self.context is not None
        labels: Any = items.labels
        known = self.context.classes
        if items.classes and items.classes != known:
            labels = [items.classes[i] if i >= 0 else None for i in labels]
            if self.model.num_classes:
                labels = [name if name in known else None for name in labels]
        return self.context.encode(labels)

    def _likely(self, x: Tensor, lead: Sequence[int]) -> Tensor | None:
        """Return the most probable class of each row, with shape (*lead, C); None without any."""
        if not self.model.num_classes:
            return None
        found = classify(self.model, lambda x: x, iter_batches(x, size=ROWS))
        likely = torch.eye(found.shape[1])[found.argmax(1)]
        return likely.unflatten(0, lead) if lead else likely
