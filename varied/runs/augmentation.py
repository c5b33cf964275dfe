"""New labeled data from a run: in folders by class, in a table with its label, or as arrays."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from varied import atomic_io, functional
from varied.data import RawData
from varied.data.codecs import Codec, ImageCodec, TableCodec
from varied.data.labels import subsample_labels
from varied.data.tables import SUFFIXES, TableDialect
from varied.errors import VariedError
from varied.functional import Gain
from varied.runs.opening import OpenRun
from varied.seeding import derive_seed, permutation

__all__ = ["AugmentedData", "augment", "learned", "learner_features"]

Array = npt.NDArray[Any]

#: Test items on which classifiers are tried, at most.
TESTED = 5000
#: How often rows that came out as another class are made anew.
ROUNDS = 20


@dataclass(frozen=True)
class AugmentedData:
    """Labeled data that a run made.

    Arguments:
        items: The data with their labels and classes: what `varied.data.read` gives of a source.
        x: The same as the model made them, with shape (N, *event).
        real: The items that the run was trained on, with the labels that it saw.
        test: Items that it never saw.
        codec: What it knows of its data.
    """

    items: RawData
    x: Tensor
    real: RawData
    test: RawData
    codec: Codec

    def __len__(self) -> int:
        return len(self.items)

    def __repr__(self) -> str:
        return f"Augmented({len(self):,} {self.items.kind}s of {len(self.items.classes)} classes)"

    @property
    def names(self) -> list[str]:
        """The class of each datum by its name."""
        return [self.items.classes[label] for label in labels_of(self.items)]

    def gains(self, *, seeds: int = 3) -> list[Gain]:
        """Return what the data teach a classifier, beside real items and plain augmentation.

        Arguments:
            seeds: How often each classifier is trained.

        Raises:
            VariedError: If no test item has a label.
        """
        columns = self.real.label_columns
        (x, y), (test_x, test_y) = (
            self._labeled(items, columns) for items in (self.real, self.test)
        )
        known = torch.isin(test_y, y)
        if not known.any():
            raise VariedError("No test item has a class that was trained on, so no gain is known.")
        rows = torch.nonzero(known)[:, 0]
        rows = rows[permutation(len(rows), 0, "gains")[:TESTED]]
        made = (
            learner_features(self.codec, self.x, columns),
            torch.from_numpy(labels_of(self.items)),
        )
        return functional.gains((x, y), {"made": made}, (test_x[rows], test_y[rows]), seeds=seeds)

    def _labeled(self, items: RawData, columns: Sequence[str]) -> tuple[Tensor, Tensor]:
        labels = labels_of(items)
        rows = np.flatnonzero(labels >= 0)
        stored = self.codec.encode(items.take(rows))
        return learner_features(self.codec, stored, columns), torch.from_numpy(labels[rows])

    def save(self, path: str | Path) -> Path:
        """Write the data with their labels by the ending of the name.

        Arguments:
            path: A name without an ending is a folder of pictures, with a folder for each class;
                ``.npz`` has x, y and classes; ``.csv`` and its kin are tables with their label.
                What is written so is read again by `varied.data.read`.

        Raises:
            VariedError: If the ending is not known or does not suit the data, or the folder is
                there already.
        """
        path, ending = Path(path), Path(path).suffix.lower()
        if self.items.kind == "table":
            if not path.name.lower().endswith(SUFFIXES):
                raise VariedError(f"'{path.name}': save rows as .csv, .tsv, .parquet or .feather.")
            from varied.data.tables import write_table

            path.parent.mkdir(parents=True, exist_ok=True)
            return write_table(self.items.x, path, TableDialect.from_json(self.items.form))
        if ending == ".npz":
            plain = {"x": self.items.x, "y": self.items.labels}
            arrays: dict[str, Any] = plain | {"classes": np.array(self.items.classes)}
            return atomic_io.atomic_write(path, lambda file: np.savez_compressed(file, **arrays))
        if self.items.kind == "image" and not ending:
            return self._folders(path)
        raise VariedError(f"'{path.name}': save {self.items.kind}s as .npz, pictures in a folder.")

    def _folders(self, path: Path) -> Path:
        names = [re.sub(r"[^\w .+-]", "_", one).strip(". ") or "_" for one in self.items.classes]
        if len({name.lower() for name in names}) < len(names):
            raise VariedError("Some classes have the same name as folders; save them as .npz.")
        if path.exists():
            raise VariedError(f"{path} is there already; choose a new name.")
        assert self.items.labels is not None
        for number, (picture, label) in enumerate(
            zip(self.items.x, self.items.labels, strict=True)
        ):
            folder = path / names[int(label)]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(folder / f"made-{number:06d}.png")
        return path


def augment(
    run: OpenRun,
    per_class: int | None = None,
    *,
    balance: bool = False,
    temperature: float = 1.0,
    sample_x: bool | None = None,
    seed: int = 0,
) -> AugmentedData:
    """Return new labeled data from a run.

    The label's column of a table is made with the rest of the row: a row whose column says another
    class is thrown away and made anew, so that label and row agree.

    Arguments:
        run: The run; its training items alone say how many there are of each class.
        per_class: How many to make; see `varied.functional.class_counts`.
        balance: Whether classes are filled up.
        temperature: Below 1 is more typical.
        sample_x: Whether to draw from p(x given z); None does so for rows of a table.
        seed: Which draws.

    Raises:
        VariedError: If the run makes no classes, or the rows it makes are of others.
    """
    real = learned(run)
    seen = labels_of(real)
    counts = np.bincount(seen[seen >= 0], minlength=len(real.classes))
    wanted = functional.class_counts(counts.tolist(), per_class, balance=balance)
    labels = torch.repeat_interleave(torch.arange(len(wanted)), torch.tensor(wanted))
    names = np.array(real.classes, dtype=object)[labels.numpy()]
    whole, codec = run.split("train"), run.codec
    known = [one.name for one in codec.learned] if isinstance(codec, TableCodec) else []
    columns = [name for name in whole.label_columns if name in known]
    sample_x = codec.decodes_by_sampling if sample_x is None else sample_x
    more: dict[str, Any] = {"temperature": temperature, "sample_x": sample_x}
    x = functional.sample_classes(
        run.model, labels, len(wanted), seed=derive_seed(seed, "augment"), **more
    )
    made: Any = codec.decode(x)
    for number in range(1, ROUNDS):
        rows = torch.from_numpy(_other(made, columns, names))
        if not rows.any():
            break
        again = derive_seed(seed, "augment", number)
        x[rows] = functional.sample_classes(
            run.model, labels[rows], len(wanted), seed=again, **more
        )
        made = codec.decode(x)
    if (other := _other(made, columns, names)).any():
        raise VariedError(
            f"{other.sum():,} rows come out as another class than '{names[other][0]}', which the "
            "run has hardly learned; train for longer, or give fewer classes."
        )
    if isinstance(codec, TableCodec):
        made = codec.decode(x, names.tolist())
        if not whole.label_columns:
            made[_free("label", made.columns)] = names
    form = dict(codec.form) if isinstance(codec, TableCodec) else {}
    items = RawData(made, codec.kind, labels.numpy(), real.classes, form=form)
    return AugmentedData(items, x, real, run.split("test"), codec)


def learned(run: OpenRun) -> RawData:
    """Return the training items of a run with the labels that it saw.

    Raises:
        VariedError: If it knows no classes.
    """
    if run.context is None or not run.context.classes:
        raise VariedError(
            "This run makes no data of a class; train one with model='conditional-vae' where all "
            "items have a label, or with model='m2' where some have."
        )
    items, few = run.split("train"), int(run.data.get("n_labels") or 0)
    if not few or items.labels is None:
        return items
    return dataclasses.replace(
        items, labels=subsample_labels(items.labels, few, run.spec.plan.seed)
    )


def labels_of(items: RawData) -> npt.NDArray[np.int64]:
    """Return the classes of items by their numbers, -1 where they have none."""
    if items.labels is None:
        return np.full(len(items), -1, dtype=np.int64)
    return items.labels.astype(np.int64)


def learner_features(codec: Codec, x: Tensor, columns: Sequence[str] = ()) -> Tensor:
    """Return rows as learners read them: uint8 pictures, or numbers without those of the label.

    Arguments:
        codec: What the run knows of its data.
        x: Stored rows, or rows as the model makes them.
        columns: The columns of a table that are the label.
    """
    if isinstance(codec, ImageCodec):
        return x if x.dtype == torch.uint8 else (255 * x.clamp(0, 1)).round().to(torch.uint8)
    if isinstance(codec, TableCodec):
        label = [i for i, one in enumerate(codec.learned) if one.name in columns]
        return x[
            :, ~torch.isin(codec.layout.element_columns, torch.tensor(label, dtype=torch.int64))
        ]
    return x.flatten(1)


def _other(made: Any, columns: Sequence[str], names: Array) -> Array:
    """Return which rows of a table say that they are of another class, as bool with shape (N)."""
    wrong = [np.array(_words(made[name]), dtype=object) != names for name in columns]
    return np.any(wrong, axis=0) if wrong else np.zeros(len(names), bool)


def _words(cells: Any) -> list[str | None]:
    gaps = cells.isna()
    return [None if gap else str(cell) for cell, gap in zip(cells, gaps, strict=True)]


def _free(name: str, taken: Sequence[str]) -> str:
    return _free(f"{name}_", taken) if name in taken else name
