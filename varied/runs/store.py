"""The files of a run: tensors are stored as safetensors, everything else as TOML and JSON."""

from __future__ import annotations

import dataclasses
import json
import math
import tomllib
import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import tomlkit
import torch
from torch import Tensor, nn

from varied import atomic_io, registry
from varied.data import Codec, ContextCodec, RawData, Split, open_codec, open_context, split
from varied.errors import DataWarning, VariedError
from varied.runs.checkpoint import checkpoint_content, load_checkpoint, load_weights
from varied.runs.frame import Frame
from varied.runs.manifest import Manifest
from varied.runs.metadata import Metadata
from varied.runs.old_names import (
    FORMAT,
    OLD_CALIBRATION,
    upgrade_codec,
    upgrade_metadata,
    upgrade_part,
    upgrade_spec,
    upgrade_weights,
)
from varied.spec import Part, Spec, missing_part, registered_kind
from varied.stored_values import InvalidValue, read_value, stored_in
from varied.tensor_io import read_tensors, to_bytes, write_tensors
from varied.training_state import TrainingState
from varied.training_step import Step

#: The number of checkpoints that are kept.
_CHECKPOINTS = 2
#: The files that are written before spec.toml, and the lock file.
_FIRST_FILES = {".lock", "codec.json", "data.json", "manifest.json", "split.safetensors"}


class Store:
    """The files of one run.

    Arguments:
        folder: The run folder, which is created when the first file is written.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self.manifest = Manifest(self.folder)

    def __truediv__(self, name: str) -> Path:
        return self.folder / name

    @property
    def exists(self) -> bool:
        """Whether the folder contains a run."""
        return (self / "spec.toml").is_file()

    @property
    def is_trained(self) -> bool:
        """Whether training is complete."""
        return (self / "model.safetensors").is_file()

    @property
    def is_finished(self) -> bool:
        """Whether all files of the run have been written; the report is the last one."""
        return self.is_trained and (self / "report.html").is_file()

    @property
    def is_unused(self) -> bool:
        """Whether the folder is absent or empty, or its run was killed before spec.toml existed."""
        names = {path.name for path in self.folder.iterdir()} if self.folder.is_dir() else set()
        others = (name for name in names - _FIRST_FILES if not name.endswith(atomic_io.TEMPORARY))
        return not names or (".lock" in names and not any(others))

    @property
    def num_bytes(self) -> int:
        """The size of all files with tensors."""
        return sum(path.stat().st_size for path in self.folder.rglob("*.safetensors"))

    def create(
        self,
        spec: Spec,
        codec: Codec,
        context: ContextCodec | None,
        metadata: Mapping[str, Any],
        split_rows: Split,
    ) -> None:
        """Write the files of a new run, ending with spec.toml, which marks the folder as a run.

        If this fails, the files are removed.

        Raises:
            VariedError: If a file cannot be written, or another process uses the folder.
        """
        context_values = None if context is None else context.to_json()
        text = _spec_text(spec, codec)
        with self.lock():
            if self.exists:
                raise VariedError(
                    f"Another process has created a run in {self.folder}; choose another folder "
                    "with --out."
                )
            try:
                write_tensors(self / "split.safetensors", **_split_content(split_rows))
                atomic_io.write_json(
                    self / "codec.json", {"x": codec.to_json(), "c": context_values}
                )
                atomic_io.write_json(self / "data.json", metadata)
                names = ("split.safetensors", "codec.json", "data.json")
                self.manifest.add(*names, contents={"spec.toml": text.encode()})
                atomic_io.atomic_write(self / "spec.toml", text)
            except BaseException:
                with suppress(VariedError):
                    for name in ("spec.toml", *_FIRST_FILES - {".lock"}):
                        atomic_io.remove(self / name)
                raise

    def read_spec(self, passed: Collection[str] = ()) -> Spec:
        """Read the spec, without the settings that equal the defaults of this version.

        Arguments:
            passed: The axes whose parts the user passes as objects.

        Raises:
            VariedError: If the folder does not contain a run, or a part is not available.
        """
        values = self._spec_values()
        values.pop("origins", None)
        version = values.pop("format", 1)
        if not isinstance(version, int):
            raise InvalidValue(".format", f"{version!r} is not an integer", self / "spec.toml")
        if version > FORMAT:
            raise VariedError(
                f"{self.folder} was written by a newer version of Varied (format {version}, but "
                f"this version supports formats up to {FORMAT}); run `pip install --upgrade "
                "varied`."
            )
        for axis, origin in self._origins().items():
            if axis in values and axis not in passed:
                _check_available(axis, Part.parse(values[axis]).name, origin)
        with stored_in(self / "spec.toml"):
            if version < FORMAT:
                values = upgrade_spec(values)
            return Spec.parse(**values).without_defaults()

    def _spec_values(self) -> dict[str, Any]:
        if not self.exists:
            raise VariedError(
                f"{self.folder} does not contain a run; list all runs with `varied runs`."
            )
        self.manifest.check("spec.toml")
        text = atomic_io.read_text(self / "spec.toml")
        try:
            return tomllib.loads(text)
        except (ValueError, RecursionError) as error:
            raise VariedError(
                f"{self / 'spec.toml'} is not valid TOML ({error}); restore the file."
            ) from None

    def _origins(self) -> dict[str, registry.Origin]:
        """Read the origins of external parts, by axis."""
        with stored_in(self / "spec.toml", ".origins"):
            origins = self._spec_values().get("origins", {})
            return dict(read_value(origins, dict[str, registry.Origin]))

    @cached_property
    def is_format_1(self) -> bool:
        """Whether the files use the names of format 1."""
        return bool(self._spec_values().get("format", 1) == 1)

    def read_codecs(self) -> tuple[Codec, ContextCodec | None]:
        """Read the codecs of the data and of the context.

        Raises:
            VariedError: If the codec for this kind of data is not available.
        """
        path = self / "codec.json"
        values = self._read_json(path.name)
        with stored_in(path, ".x"):
            codec = read_value(values.get("x"), dict[str, Any])
            if self.is_format_1:
                codec = upgrade_codec(codec)
            if origin := self._origins().get("data"):
                _check_available("data", str(codec.get("codec", "")), origin)
            opened = open_codec(codec)
        with stored_in(path, ".c"):
            return opened, open_context(values.get("c"))

    def read_metadata(self) -> dict[str, Any]:
        """Read the metadata, such as the source of the data, their digest and the split sizes."""
        metadata = self._read_json("data.json")
        with stored_in(self / "data.json"):
            metadata = upgrade_metadata(metadata) if self.is_format_1 else metadata
            return dict(read_value(metadata, Metadata))

    def _read_json(self, name: str) -> dict[str, Any]:
        self.manifest.check(name)
        return atomic_io.read_json(self / name)

    def _read_tensors(self, name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
        self.manifest.check(name)
        return read_tensors(self / name)

    def read_split(self, data: RawData | None = None) -> Split:
        """Read the row indices of the training, validation and test splits.

        Arguments:
            data: The data, from which the same split is computed again if the file is missing or
                corrupted.

        Raises:
            VariedError: If the file cannot be read, and the same split cannot be computed.
        """
        try:
            parts, notes = self._read_tensors("split.safetensors")
        except VariedError:
            restored = None if data is None else self._restore_split(data)
            if restored is None:
                raise
            return restored
        return Split(**{k: v.numpy() for k, v in parts.items()}, seed=int(notes["seed"]))

    def _restore_split(self, data: RawData) -> Split | None:
        """Compute the split again, and write it if the result has the digest in the manifest."""
        split_rows = split(data, seed=int(self.read_metadata()["split_seed"]))
        content, path = to_bytes(**_split_content(split_rows)), self / "split.safetensors"
        if not self.manifest.matches(path.name, content):
            return None
        atomic_io.atomic_write(path, content)
        warnings.warn(f"{path} was corrupted; it was computed again.", DataWarning, stacklevel=2)
        return split_rows

    def write_calibration(self, values: Mapping[str, float | list[float]]) -> None:
        """Write factors that were calibrated on the validation rows."""
        if values:
            self.manifest.replace(
                "calibration.json", lambda path: atomic_io.write_json(path, values)
            )

    def read_calibration(self, name: str, n: int = 1) -> list[float]:
        """Read factors that were calibrated on the validation rows; [1] if there are none.

        Raises:
            VariedError: If there are neither one nor n factors, or one of them is negative.
        """
        old_file, old_name = OLD_CALIBRATION[name]
        for path, key in ((self / "calibration.json", name), (self / old_file, old_name)):
            if path.is_file():
                values = self._read_json(path.name).get(key, 1.0)
                values = values if isinstance(values, list) else [values]
                with stored_in(path, f".{key}"):
                    factors = read_value(values, tuple[float, ...])
                if len(factors) not in (1, n) or min(factors, default=0) < 0:
                    raise InvalidValue(
                        f".{key}", f"{n} non-negative numbers, or one, are required", path
                    )
                return list(factors)
        return [1.0]

    def write_weights(self, name: str, model: nn.Module, **notes: object) -> None:
        """Write the weights of a model, with metadata."""
        self.manifest.replace(name, lambda path: write_tensors(path, model.state_dict(), **notes))

    def read_weights(self, name: str, model: nn.Module) -> dict[str, Any]:
        """Load weights into a model, and return the metadata of the file.

        Raises:
            VariedError: If the file does not match the model.
        """
        tensors, notes = self._read_tensors(name)
        tensors = upgrade_weights(tensors) if self.is_format_1 else tensors
        load_weights(model, tensors, self / name)
        return notes

    # A prior that was fitted after training

    def write_prior(self, part: Part, prior: nn.Module) -> None:
        """Write a fitted prior and its weights to a file."""
        self.write_weights("prior.safetensors", prior, prior=part.to_dict("prior"))

    def read_prior(self) -> Part | None:
        """Read the prior that was fitted after training, or None."""
        if not (self / "prior.safetensors").is_file():
            return None
        path = self / "prior.safetensors"
        notes = self._read_tensors(path.name)[1]
        with stored_in(path):
            part = notes["prior"]
            if self.is_format_1:
                part = upgrade_part("prior", part)
            return Part.parse(part).without_defaults("prior")

    def remove_prior(self) -> None:
        """Remove the fitted prior, so that the run uses the prior from training again."""
        atomic_io.remove(self / "prior.safetensors")

    # Checkpoints

    def write_checkpoint(self, step: Step, state: TrainingState) -> Path:
        """Write a checkpoint, and then remove all but the latest two.

        The metrics log is synced first, so that it never ends before the checkpoint.
        """
        atomic_io.sync_file(self / "metrics.jsonl")
        path = self / "checkpoints" / f"{state.step:09d}.safetensors"
        write_tensors(path, **checkpoint_content(step, state))
        for old in self._checkpoints()[:-_CHECKPOINTS]:
            atomic_io.remove(old)
        return path

    def read_checkpoint(
        self, step: Step, max_step: float = math.inf
    ) -> tuple[TrainingState | None, list[str]]:
        """Load the latest readable checkpoint into a model and its objective.

        Arguments:
            step: The training step.
            max_step: Checkpoints after this step are ignored.

        Returns:
            The state, or None if there is no checkpoint; and a message about each corrupted
            checkpoint.
        """
        notices = []
        for path in reversed(self._checkpoints(max_step)):
            try:
                tensors, notes = read_tensors(path)
            except VariedError as error:
                notices.append(f"{error} An earlier checkpoint is used, if there is one.")
                continue
            return load_checkpoint(step, tensors, notes, path), notices
        return None, notices

    def remove_checkpoints_after(self, step: int) -> None:
        """Remove the checkpoints of later steps."""
        for path in set(self._checkpoints()) - set(self._checkpoints(step)):
            atomic_io.remove(path)

    def _checkpoints(self, max_step: float = math.inf) -> list[Path]:
        paths = (self / "checkpoints").glob("*.safetensors")
        return sorted(path for path in paths if path.stem.isdigit() and int(path.stem) <= max_step)

    def remove_old_checkpoints(self) -> None:
        """Remove the best weights and all checkpoints but the last one from a finished run."""
        for path in (*self._checkpoints()[:-1], self / "best.safetensors"):
            atomic_io.remove(path)

    # History

    def log(self, row: dict[str, object]) -> None:
        """Append a row to the metrics log."""
        atomic_io.append_jsonl(self / "metrics.jsonl", row)

    def history(self) -> list[dict[str, Any]]:
        """Read the rows of the metrics log."""
        return atomic_io.read_jsonl(self / "metrics.jsonl")

    def remove_after(self, step: int) -> None:
        """Remove the metrics, frames and best weights of steps that a resumed run will repeat."""
        rows = (json.dumps(row) + "\n" for row in self.history() if row.get("step", -1) <= step)
        atomic_io.atomic_write(self / "metrics.jsonl", "".join(rows))
        for path in (self / "frames").glob("*.safetensors"):
            if int(path.stem) > step:
                atomic_io.remove(path)
        if (best := self.read_best()) is not None and best["step"] > step:
            atomic_io.remove(self / "best.safetensors")

    def read_best(self) -> dict[str, Any] | None:
        """Read the metadata of the best weights.

        Returns:
            The metadata, or None if there are no such weights or, with a warning, if they are
            corrupted.
        """
        path = self / "best.safetensors"
        if not path.exists():
            return None
        try:
            return read_tensors(path)[1]
        except VariedError as error:
            warnings.warn(f"{error} The file is ignored.", DataWarning, stacklevel=2)
            return None

    def write_frame(self, frame: Frame) -> None:
        """Write a frame to a file."""
        path = self / "frames" / f"{frame.step:09d}.safetensors"
        tensors = {"codes": frame.codes, "samples": frame.samples}
        write_tensors(path, tensors, epoch=frame.epoch, step=frame.step)

    def frames(self) -> list[Frame]:
        """Read all frames that are not corrupted, in order."""
        frames = []
        for path in sorted((self / "frames").glob("*.safetensors")):
            try:
                tensors, notes = read_tensors(path)
            except VariedError as error:
                warnings.warn(f"{error} The frame is ignored.", DataWarning, stacklevel=2)
                continue
            frames.append(Frame(**tensors, epoch=float(notes["epoch"]), step=int(notes["step"])))
        return frames

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the folder, so that only one process trains in it; unlock it on exit.

        Unfinished files that other processes left in the folder are removed.

        Raises:
            VariedError: If another process has locked it.
        """
        what = f"{self.folder} is being trained by another process"
        with atomic_io.lock_file(self / ".lock", what):
            atomic_io.remove_temporary_files(self.folder)
            yield


def _split_content(split_rows: Split) -> dict[str, Any]:
    """Return the arguments with which `tensor_io` writes a split."""
    names = ("train", "validation", "test")
    tensors = {name: torch.from_numpy(getattr(split_rows, name)) for name in names}
    return {"tensors": tensors, "seed": split_rows.seed}


def _spec_text(spec: Spec, codec: Codec) -> str:
    """Return the contents of spec.toml."""
    origins = dict(spec.origins)
    if (origin := registry.origin("data", codec.kind)) is not None:
        origins["data"] = origin
    text = f"format = {FORMAT}\n{spec.to_toml(defaults=True)}"
    if not origins:
        return text
    tables = {axis: dataclasses.asdict(origin) for axis, origin in origins.items()}
    return f"{text}\n{tomlkit.dumps({'origins': tables})}"


def _check_available(axis: str, name: str, origin: registry.Origin) -> None:
    """Raise an error for a registered part whose module is not loaded."""
    if ":" not in name and not registry.is_registered(registered_kind(axis), name):
        raise VariedError(missing_part(axis, name, origin.module))
