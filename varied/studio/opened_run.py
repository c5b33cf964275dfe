"""A run that is kept open, with everything that several operations need computed once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from varied import functional
from varied.data import Batch, RawData, iter_batches
from varied.errors import VariedError
from varied.evaluate import PassResult, forward_pass
from varied.functional import LatentDensity
from varied.runs import Run
from varied.runs.base import BATCH_ROWS
from varied.runs.editing import HeldOutCodes
from varied.runs.latent_support import MAX_HELD_OUT
from varied.runs.store import Store
from varied.runs.traversal import rank_units
from varied.studio.map_rows import MapRows, choose_rows
from varied.studio.stored_results import (
    read_density,
    read_result,
    result_key,
    write_density,
    write_result,
)

Array = npt.NDArray[Any]

#: The maximum number of test rows from which the KL of the units is computed during training.
_MAX_RANKED = 2000
#: The maximum number of codes to which the density is fitted, since more take many seconds.
_MAX_TRAINING = 4000
#: The files with the codes of the points of the map, and with their density.
_CODES, _DENSITY = "codes.safetensors", "density.safetensors"
SPLITS: tuple[Literal["train", "validation", "test"], ...] = ("train", "validation", "test")


def _no_upload(upload: str) -> Any:
    raise VariedError("There is no upload with this id; upload the data again.")


def _no_run(name: str) -> OpenedRun:
    raise VariedError("There is no other run with this id; choose one from the list of runs.")


def _no_download(name: str, write: Callable[[Path], Path]) -> None:
    return None


@dataclass(frozen=True)
class Services:
    """What operations need from the program that runs them.

    Arguments:
        read_upload: Returns the data with an upload id, in a form that `varied.read` accepts.
        open_run: Returns another run by its id.
        add_download: Offers a file with a given name for download, and returns its id. The file is
            written by a function that receives its path. None means that nothing is offered.
    """

    read_upload: Callable[[str], Any] = _no_upload
    open_run: Callable[[str], OpenedRun] = _no_run
    add_download: Callable[[str, Callable[[Path], Path]], str | None] = _no_download


class OpenedRun:
    """A run that is kept open for many requests.

    A run that is still being trained is opened at its last checkpoint. Nothing is read or computed
    before it is needed. An instance must not be used by two threads at once.

    Arguments:
        folder: The run folder.
        data: The data that the run was trained on; if None, they are reloaded when needed.
        services: What operations need from the program that runs them.
        parts: External parts by axis; see `varied.Run`.

    Raises:
        VariedError: If the folder does not contain a trained run, or a part is not available.
    """

    #: The properties that the first requests need, in this order.
    PREPARED: ClassVar[tuple[str, ...]] = ("map_rows", "codes", "units", "density", "unit_scale")

    def __init__(
        self,
        folder: Path | str,
        data: Any = None,
        services: Services | None = None,
        **parts: Any,
    ) -> None:
        self.version = version(folder)
        self.run = Run(folder, data, **parts)
        self.services = services or Services()
        self._parts = parts
        #: Results that operations keep, by a key of their own.
        self.cache: dict[Any, Any] = {}

    def __repr__(self) -> str:
        return f"OpenedRun({self.run.folder.name})"

    @property
    def is_current(self) -> bool:
        """Whether the files of the weights have not changed since the run was opened."""
        return version(self.run.folder) == self.version

    def reopen(self) -> OpenedRun:
        """Open the run again, with its newest weights, without reading the data again."""
        data = self.run.__dict__.get("data", self.run._data)
        return OpenedRun(self.run.folder, data, self.services, **self._parts)

    def prepare(self, name: str) -> None:
        """Compute one of the properties in `PREPARED`, if this run supports it."""
        with suppress(VariedError):
            getattr(self, name)

    # The model

    @property
    def latent_dim(self) -> int:
        """The number of elements of a code."""
        return int(np.prod(self.run.model.latent_shape))

    def context(self, label: object) -> Tensor | None:
        """Return the context of a label, with shape (1, F); None if the run is not conditional.

        Raises:
            VariedError: If the run is not conditional but there is a label, or it is unknown.
        """
        return self.run.contexts(1, label)

    def encode(self, batch: Batch) -> Tensor:
        """Return the codes of stored rows, with shape (N, D); images are not binarized."""
        batches = iter_batches(batch.x, batch.c, batch.mask, size=BATCH_ROWS)
        return functional.embed(self.run.model, self.run.codec.to_values, batches)

    def decode(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        """Decode codes with shape (N, D), with the mean of p(x | z), in batches."""
        shape = self.run.model.latent_shape
        batches = iter_batches(z, None if c is None else c.expand(len(z), -1), size=BATCH_ROWS)
        return torch.cat(
            [functional.decode(self.run.model, b.x.reshape(-1, *shape), b.c) for b in batches]
        )

    @cached_property
    def units(self) -> tuple[list[int], Array]:
        """The latent units in order of decreasing KL, and their KL (NaN if undefined).

        Raises:
            VariedError: If the latent variables are not real vectors, or there are no data.
        """
        self.run.require_euclidean_latent("A latent unit")
        return rank_units(self.run, self.run.split("test").head(_MAX_RANKED))

    # The data

    @cached_property
    def splits(self) -> npt.NDArray[np.uint8]:
        """The index in `SPLITS` of the split of each row of the data."""
        split = self.run.store.read_split(self.run.data)
        index = np.zeros(len(self.run.data), np.uint8)
        index[split.validation], index[split.test] = 1, 2
        return index

    @cached_property
    def map_rows(self) -> MapRows:
        """The rows of the data that are points of the map."""
        return choose_rows(self.run.data, self.latent_dim)

    @cached_property
    def map_data(self) -> RawData:
        """The data of `map_rows`."""
        rows, data = self.map_rows.rows, self.run.data
        return data if len(rows) == len(data) else data.take(rows)

    @cached_property
    def codes(self) -> Tensor:
        """The codes of `map_rows`, with shape (N, D), which a finished run stores in its folder."""
        stored = read_result(self.run, _CODES, self._key)
        shape = (len(self.map_rows), self.latent_dim)
        codes = torch.empty(0) if stored is None else stored[0]["codes"]
        if codes.shape == shape and codes.dtype == torch.float32:
            return codes
        batches = self.run.batches(self.map_data)
        codes = functional.embed(self.run.model, self.run.codec.to_values, batches)
        write_result(self.run, _CODES, self._key, {"codes": codes})
        return codes

    @cached_property
    def _key(self) -> dict[str, Any]:
        return result_key(self.run, torch.from_numpy(self.map_rows.rows))

    @cached_property
    def scores(self) -> PassResult:
        """The reconstruction loss and the KL of `map_rows`."""
        return forward_pass(self.run.model, self.run.codec.load, self.run.batches(self.map_data))

    # Comparison with the data

    @cached_property
    def density(self) -> LatentDensity | None:
        """The density of the codes of training rows; None if it cannot be estimated."""
        if not self.run.has_euclidean_latent:
            return None
        try:
            density = read_density(self.run, _DENSITY, self._key, self.latent_dim)
            if density is None:
                training = self.codes[self._points("train")[:_MAX_TRAINING]]
                held_out = self.codes[self._points("validation")[:MAX_HELD_OUT]]
                density = functional.fit_latent_density(training, held_out)
                write_density(self.run, _DENSITY, self._key, density)
        except VariedError:  # too few rows or too many dimensions, or the data are not available
            return None
        return density

    def _points(self, split: str) -> Tensor:
        """Return the indices of the points of the map that belong to a split."""
        is_member = self.splits[self.map_rows.rows] == SPLITS.index(split)
        return torch.from_numpy(np.flatnonzero(is_member))

    def is_outside(self, z: Tensor) -> Tensor | None:
        """Return whether codes with shape (N, D) are outside the support of the data, or None."""
        return None if self.density is None else self.density.is_out_of_support(z)

    @cached_property
    def unit_scale(self) -> Tensor:
        """The standard deviations by which codes are divided in distances, with shape (D)."""
        run = self.run
        reads_context = run.context is not None and not run.model.num_classes
        c = run.encode_data(self.map_data).c if reads_context else None
        return functional.distance_scale(run.model, self.codes, c)

    @cached_property
    def held_out(self) -> HeldOutCodes:
        """The codes of validation rows, before and after they are decoded and encoded again."""
        return HeldOutCodes(self.run, self.run.split("validation").head(MAX_HELD_OUT))


def version(folder: Path | str) -> tuple[Any, ...]:
    """Return values that change whenever the weights in a run folder change."""
    store = Store(folder)
    files = [store / "model.safetensors", store / "prior.safetensors"]
    if not store.is_trained:
        files += sorted((store / "checkpoints").glob("*.safetensors"))[-1:]
    versions = []
    for file in files:
        with suppress(OSError):
            status = file.stat()
            versions.append((file.name, status.st_mtime_ns, status.st_size))
    return tuple(versions)
