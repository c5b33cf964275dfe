"""The files of a run: tensors are stored as safetensors, everything else as TOML and JSON."""

from __future__ import annotations

import dataclasses
import json
import os
import time
import tomllib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, TypedDict

import tomlkit
import torch
from torch import Tensor, nn

from varied import atomic_io, registry
from varied.data import Codec, ContextCodec, RawData, Split, open_codec, open_context
from varied.errors import VariedError
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
from varied.tensor_io import read_tensors, write_tensors
from varied.training_loop import TrainingState
from varied.training_step import Step

#: The number of checkpoints that are kept.
_CHECKPOINTS = 2


@dataclasses.dataclass(frozen=True)
class Frame:
    """The latent space and samples at one point during training, for animations.

    Arguments:
        codes: The posterior means of fixed test rows, with shape (N, D).
        samples: Samples decoded from fixed latent variables or, if the prior is fitted after
            training, reconstructions of fixed test rows, in the form in which they are plotted,
            with shape (M, ...).
        epoch: The number of completed passes over the training rows.
        step: The number of completed steps.
    """

    codes: Tensor
    samples: Tensor
    epoch: float
    step: int


class Store:
    """The files of one run.

    Arguments:
        folder: The folder of the run, which is created when the first file is written.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)

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
    def num_bytes(self) -> int:
        """The size of all files with tensors."""
        return sum(path.stat().st_size for path in self.folder.rglob("*.safetensors"))

    def create(
        self, spec: Spec, codec: Codec, context: ContextCodec | None, metadata: Mapping[str, Any]
    ) -> None:
        """Write the files of a new run, ending with spec.toml, which marks the folder as a run."""
        context_values = None if context is None else context.to_json()
        atomic_io.write_json(self / "codec.json", {"x": codec.to_json(), "c": context_values})
        atomic_io.write_json(self / "data.json", metadata)
        origins = dict(spec.origins)
        if (origin := registry.origin("data", codec.kind)) is not None:
            origins["data"] = origin
        text = f"format = {FORMAT}\n{spec.to_toml(defaults=True)}"
        if origins:
            tables = {axis: dataclasses.asdict(origin) for axis, origin in origins.items()}
            text += f"\n{tomlkit.dumps({'origins': tables})}"
        atomic_io.atomic_write(self / "spec.toml", text)

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
        try:
            return tomllib.loads((self / "spec.toml").read_text(encoding="utf-8"))
        except tomllib.TOMLDecodeError as error:
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
        values = atomic_io.read_json(path)
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
        metadata = atomic_io.read_json(self / "data.json")
        with stored_in(self / "data.json"):
            metadata = upgrade_metadata(metadata) if self.is_format_1 else metadata
            return dict(read_value(metadata, Metadata))

    def write_split(self, split: Split) -> None:
        """Write the row indices of the training, validation and test splits."""
        parts = {k: torch.from_numpy(getattr(split, k)) for k in ("train", "validation", "test")}
        write_tensors(self / "split.safetensors", parts, seed=split.seed)

    def read_split(self) -> Split:
        """Read the row indices of the training, validation and test splits."""
        parts, notes = read_tensors(self / "split.safetensors")
        return Split(**{k: v.numpy() for k, v in parts.items()}, seed=int(notes["seed"]))

    def write_calibration(self, values: Mapping[str, float | list[float]]) -> None:
        """Write factors that were calibrated on the validation rows."""
        if values:
            atomic_io.write_json(self / "calibration.json", values)

    def read_calibration(self, name: str, n: int = 1) -> list[float]:
        """Read factors that were calibrated on the validation rows; [1] if there are none.

        Raises:
            VariedError: If there are neither one nor n factors, or one of them is negative.
        """
        old_file, old_name = OLD_CALIBRATION[name]
        for path, key in ((self / "calibration.json", name), (self / old_file, old_name)):
            if path.is_file():
                values = atomic_io.read_json(path).get(key, 1.0)
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
        write_tensors(self / name, model.state_dict(), **notes)

    def read_weights(self, name: str, model: nn.Module) -> dict[str, Any]:
        """Load weights into a model, and return the metadata of the file.

        Raises:
            VariedError: If the file does not match the model.
        """
        tensors, notes = read_tensors(self / name)
        tensors = upgrade_weights(tensors) if self.is_format_1 else tensors
        _load(model, tensors, self / name)
        return notes

    # A prior that was fitted after training

    def write_prior(self, part: Part, prior: nn.Module) -> None:
        """Write a fitted prior and its weights to a file."""
        self.write_weights("prior.safetensors", prior, prior=part.to_dict("prior"))

    def read_prior(self) -> Part | None:
        """Read the prior that was fitted after training, or None."""
        path = self / "prior.safetensors"
        if not path.is_file():
            return None
        notes = read_tensors(path)[1]
        with stored_in(path):
            part = notes["prior"]
            if self.is_format_1:
                part = upgrade_part("prior", part)
            return Part.parse(part).without_defaults("prior")

    def remove_prior(self) -> None:
        """Remove the fitted prior, so that the run uses the prior from training again."""
        (self / "prior.safetensors").unlink(missing_ok=True)

    # Checkpoints

    def write_checkpoint(self, step: Step, state: TrainingState) -> Path:
        """Write a checkpoint, and then remove all but the latest two."""
        plain = dataclasses.asdict(dataclasses.replace(state, moments={}))
        tensors = {f"step/{k}": v for k, v in step.state_dict().items()}
        tensors |= {f"moments/{k}": v for k, v in state.moments.items()}
        path = self / "checkpoints" / f"{state.step:09d}.safetensors"
        write_tensors(path, tensors, state=plain)
        for old in self._checkpoints()[:-_CHECKPOINTS]:
            old.unlink(missing_ok=True)
        return path

    def read_checkpoint(self, step: Step) -> tuple[TrainingState | None, list[str]]:
        """Load the latest readable checkpoint into a model and its objective.

        Returns:
            The state, or None if there is no checkpoint; and a message about each corrupted
            checkpoint.
        """
        notices = []
        for path in reversed(self._checkpoints()):
            try:
                tensors, notes = read_tensors(path)
            except VariedError as error:
                notices.append(f"{error} An earlier checkpoint is used, if there is one.")
                continue
            weights = _under(tensors, "step/")
            if step.property_head is None:  # it is only used in training
                weights = {k: v for k, v in weights.items() if not k.startswith("property_head.")}
            _load(step, weights, path)
            with stored_in(path):
                return _state(notes["state"], _under(tensors, "moments/")), notices
        return None, notices

    def _checkpoints(self) -> list[Path]:
        return sorted((self / "checkpoints").glob("*.safetensors"))

    def remove_old_checkpoints(self) -> None:
        """Remove the best weights and all checkpoints but the last one from a finished run."""
        for path in (*self._checkpoints()[:-1], self / "best.safetensors"):
            path.unlink(missing_ok=True)

    # History

    def log(self, row: dict[str, object]) -> None:
        """Append a row to the metrics log."""
        atomic_io.append_jsonl(self / "metrics.jsonl", [row])

    def history(self) -> list[dict[str, Any]]:
        """Read the rows of the metrics log."""
        return atomic_io.read_jsonl(self / "metrics.jsonl")

    def remove_after(self, step: int) -> None:
        """Remove the metrics, frames and best weights of steps that a resumed run will repeat."""
        rows = (json.dumps(row) + "\n" for row in self.history() if row["step"] <= step)
        atomic_io.atomic_write(self / "metrics.jsonl", "".join(rows))
        for path in (self / "frames").glob("*.safetensors"):
            if int(path.stem) > step:
                path.unlink()
        best = self / "best.safetensors"
        if best.exists() and read_tensors(best)[1]["step"] > step:
            best.unlink()

    def write_frame(self, frame: Frame) -> None:
        """Write a frame to a file."""
        path = self / "frames" / f"{frame.step:09d}.safetensors"
        tensors = {"codes": frame.codes, "samples": frame.samples}
        write_tensors(path, tensors, epoch=frame.epoch, step=frame.step)

    def frames(self) -> list[Frame]:
        """Read all frames, in order."""
        frames = []
        for path in sorted((self / "frames").glob("*.safetensors")):
            tensors, notes = read_tensors(path)
            frames.append(Frame(**tensors, epoch=float(notes["epoch"]), step=int(notes["step"])))
        return frames

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the folder, so that only one process trains in it.

        Raises:
            VariedError: If another process has locked it.
        """
        try:
            import fcntl
        except ImportError:  # not available on Windows
            yield
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self / ".lock").open("a+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.seek(0)
                raise VariedError(
                    f"{self.folder} is being trained by another process ({file.read().strip()}); "
                    "wait until it ends, or choose another folder with --out."
                ) from None
            file.truncate(0)
            file.write(f"process {os.getpid()}, since {time.strftime('%Y-%m-%d %H:%M:%S')}")
            file.flush()
            try:
                yield
            finally:
                (self / ".lock").unlink(missing_ok=True)


class RequiredMetadata(TypedDict):
    """The metadata that every run has."""

    source: str | None
    options: dict[str, Any]
    digest: str
    train: int
    validation: int
    test: int
    notes: tuple[str, ...]


class Metadata(RequiredMetadata, total=False):
    """The metadata of a run that are used; a run may contain more."""

    n: int
    classes: tuple[str, ...]
    label_columns: tuple[str, ...]
    label_column: str | None
    n_labels: int | None


def describe_data(data: RawData, split: Split) -> dict[str, Any]:
    """Return the metadata that a run stores about its data."""
    return {
        "source": data.source,
        "options": dict(data.options),
        "digest": data.digest(),
        "n": len(data),
        "train": len(split.train),
        "validation": len(split.validation),
        "test": len(split.test),
        "split_seed": split.seed,
        "classes": list(data.classes),
        "label_columns": list(data.label_names) if data.is_frame else [],
        "notes": list(data.notes),
        "problems": [[problem.name, problem.reason] for problem in data.problems],
    }


def _check_available(axis: str, name: str, origin: registry.Origin) -> None:
    """Raise an error for a registered part whose module is not loaded."""
    if ":" not in name and not registry.is_registered(registered_kind(axis), name):
        raise VariedError(missing_part(axis, name, origin.module))


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _state(plain: dict[str, Any], moments: dict[str, Tensor]) -> TrainingState:
    known = {name: value for name, value in plain.items() if value is not None}
    state: TrainingState = read_value(known, TrainingState)
    return dataclasses.replace(state, moments=moments)


def _load(model: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    if shapes != {name: tensor.shape for name, tensor in tensors.items()}:
        raise VariedError(f"{path} does not match its spec.toml; restore one of the two files.")
    model.load_state_dict(tensors)
