"""What is in the folder of a run, and how it is kept: weights as safetensors, the rest as text."""

from __future__ import annotations

import dataclasses
import json
import os
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from varied import atomic_io
from varied.data import Codec, ContextCodec, RawData, Split, open_codec, open_context
from varied.errors import VariedError
from varied.runs.old_names import (
    FORMAT,
    upgrade_codec,
    upgrade_data,
    upgrade_part,
    upgrade_spec,
    upgrade_weights,
)
from varied.runtime import Setup
from varied.spec import Part, Spec
from varied.tensor_io import read_tensors, write_tensors
from varied.training_loop import Step, TrainingState

__all__ = ["Frame", "Store"]

KEEP = 2


@dataclasses.dataclass(frozen=True)
class Frame:
    """What the latent space and the samples looked like at one moment of training.

    Arguments:
        codes: Posterior means of a fixed set of test data, with shape (N, D).
        samples: What fixed draws from the prior decode to, with shape (M, *event).
        epoch: Passes over the training rows.
        step: Steps done.
    """

    codes: Tensor
    samples: Tensor
    epoch: float
    step: int


class Store:
    """The files of one run.

    Arguments:
        folder: Where they are; it is made when the first file is written.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)

    def __truediv__(self, name: str) -> Path:
        return self.folder / name

    @property
    def exists(self) -> bool:
        """Whether the folder holds a run."""
        return (self / "spec.toml").is_file()

    @property
    def trained(self) -> bool:
        """Whether training came to its end."""
        return (self / "model.safetensors").is_file()

    @property
    def finished(self) -> bool:
        """Whether all was written that a run promises; the report comes last."""
        return self.trained and (self / "report.html").is_file()

    def create(
        self, spec: Spec, codec: Codec, context: ContextCodec | None, data: dict[str, Any]
    ) -> None:
        """Write what a run is, before it is trained; the spec last, since it marks a run."""
        context_plain = None if context is None else context.to_json()
        atomic_io.write_json(self / "codec.json", {"x": codec.to_json(), "c": context_plain})
        atomic_io.write_json(self / "data.json", data)
        atomic_io.atomic_write(self / "spec.toml", f"format = {FORMAT}\n{spec.to_toml(full=True)}")

    def read_spec(self) -> Spec:
        """Read the spec, briefly: what says the default of this version is left out.

        Raises:
            VariedError: If the folder holds no run.
        """
        values = self._spec_values()
        version = values.pop("format", 1)
        if version > FORMAT:
            raise VariedError(
                f"{self.folder} was written by a newer version of Varied (format {version}, and this "
                f"version reads up to {FORMAT}); upgrade with `pip install --upgrade varied`."
            )
        return Spec.of(**(values if version == FORMAT else upgrade_spec(values))).brief()

    def _spec_values(self) -> dict[str, Any]:
        if not self.exists:
            raise VariedError(f"{self.folder} holds no run; `varied runs` lists those there are.")
        try:
            return tomllib.loads((self / "spec.toml").read_text(encoding="utf-8"))
        except tomllib.TOMLDecodeError as error:
            raise VariedError(f"{self / 'spec.toml'} is not valid TOML: {error}.") from None

    @cached_property
    def is_format_1(self) -> bool:
        """Whether the files have the names of format 1."""
        return bool(self._spec_values().get("format", 1) == 1)

    def read_codecs(self) -> tuple[Codec, ContextCodec | None]:
        """Read the codecs of the data and of the context."""
        values = atomic_io.read_json(self / "codec.json")
        codec = values.get("x") or {}
        codec = upgrade_codec(codec) if self.is_format_1 else codec
        return open_codec(codec), open_context(values.get("c"))

    def read_data(self) -> dict[str, Any]:
        """Read where the data came from."""
        data = atomic_io.read_json(self / "data.json")
        return upgrade_data(data) if self.is_format_1 else data

    def write_split(self, split: Split) -> None:
        """Write which rows are for training, validation and test."""
        parts = {k: torch.from_numpy(getattr(split, k)) for k in ("train", "validation", "test")}
        write_tensors(self / "split.safetensors", parts, seed=split.seed)

    def read_split(self) -> Split:
        """Read which rows are for training, validation and test."""
        parts, notes = read_tensors(self / "split.safetensors")
        return Split(**{k: v.numpy() for k, v in parts.items()}, seed=int(notes["seed"]))

    def write_weights(self, name: str, model: nn.Module, **notes: object) -> None:
        """Write the weights of a model."""
        write_tensors(self / name, model.state_dict(), **notes)

    def read_weights(self, name: str, model: nn.Module) -> dict[str, Any]:
        """Put weights into a model, and return the notes beside them.

        Raises:
            VariedError: If the file does not fit the model.
        """
        tensors, notes = read_tensors(self / name)
        tensors = upgrade_weights(tensors) if self.is_format_1 else tensors
        _load(model, tensors, self / name)
        return notes

    # A prior that was fitted afterwards

    def write_prior(self, part: Part, prior: nn.Module) -> None:
        """Keep a fitted prior beside the run: what it is and its weights in one file, at once."""
        self.write_weights("prior.safetensors", prior, prior=part.full("prior"))

    def read_prior(self) -> Part | None:
        """Read which prior was fitted afterwards, None where there is none."""
        path = self / "prior.safetensors"
        if not path.is_file():
            return None
        part = read_tensors(path)[1]["prior"]
        return Part.of(upgrade_part("prior", part) if self.is_format_1 else part).brief("prior")

    def forget_prior(self) -> None:
        """Go back to the prior that the run was trained with."""
        (self / "prior.safetensors").unlink(missing_ok=True)

    # Checkpoints

    def write_checkpoint(self, step: Step, state: TrainingState) -> Path:
        """Write a checkpoint; older ones go only after it is safely there."""
        plain = dataclasses.asdict(dataclasses.replace(state, moments={}))
        tensors = {f"step/{k}": v for k, v in step.state_dict().items()}
        tensors |= {f"moments/{k}": v for k, v in state.moments.items()}
        path = self / "checkpoints" / f"{state.step:09d}.safetensors"
        write_tensors(path, tensors, state=plain)
        for old in self._checkpoints()[:-KEEP]:
            old.unlink(missing_ok=True)
        return path

    def read_checkpoint(self, step: Step) -> tuple[TrainingState | None, list[str]]:
        """Put the newest good checkpoint into a model and its objective.

        Returns:
            The state, None where there is none; and a sentence for each that was damaged.
        """
        notices = []
        for path in reversed(self._checkpoints()):
            try:
                tensors, notes = read_tensors(path)
            except VariedError as error:
                notices.append(f"{error} The checkpoint before it is used instead.")
                continue
            _load(step, _under(tensors, "step/"), path)
            return _state(notes["state"], _under(tensors, "moments/")), notices
        return None, notices

    def _checkpoints(self) -> list[Path]:
        return sorted((self / "checkpoints").glob("*.safetensors"))

    def clear(self) -> None:
        """Remove what a finished run needs no more: all checkpoints but the last."""
        for path in (*self._checkpoints()[:-1], self / "best.safetensors"):
            path.unlink(missing_ok=True)

    # History

    def log(self, row: dict[str, object]) -> None:
        """Add a row to the metrics."""
        atomic_io.append_jsonl(self / "metrics.jsonl", [row])

    def history(self) -> list[dict[str, Any]]:
        """Read the metrics."""
        return atomic_io.read_jsonl(self / "metrics.jsonl")

    def forget_after(self, step: int) -> None:
        """Take back what was kept of steps that a resumed run will do again."""
        kept = (json.dumps(row) + "\n" for row in self.history() if row["step"] <= step)
        atomic_io.atomic_write(self / "metrics.jsonl", "".join(kept))
        for path in (self / "frames").glob("*.safetensors"):
            if int(path.stem) > step:
                path.unlink()
        best = self / "best.safetensors"
        if best.exists() and read_tensors(best)[1]["step"] > step:
            best.unlink()

    def write_frame(self, frame: Frame) -> None:
        """Write one moment of training."""
        path = self / "frames" / f"{frame.step:09d}.safetensors"
        tensors = {"codes": frame.codes, "samples": frame.samples}
        write_tensors(path, tensors, epoch=frame.epoch, step=frame.step)

    def frames(self) -> list[Frame]:
        """Read all moments, in order."""
        found = []
        for path in sorted((self / "frames").glob("*.safetensors")):
            tensors, notes = read_tensors(path)
            found.append(Frame(**tensors, epoch=float(notes["epoch"]), step=int(notes["step"])))
        return found

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder, so that two trainings do not write to it at once.

        Raises:
            VariedError: If another process holds it.
        """
        try:
            import fcntl
        except ImportError:  # no such lock on Windows
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
                    "wait for it, or choose another --out."
                ) from None
            file.truncate(0)
            file.write(f"process {os.getpid()}, since {time.strftime('%Y-%m-%d %H:%M:%S')}")
            file.flush()
            try:
                yield
            finally:
                (self / ".lock").unlink(missing_ok=True)

    def describe_data(
        self, items: RawData, split: Split, options: dict[str, Any]
    ) -> dict[str, Any]:
        """Return what a run records of its data."""
        return {
            "source": items.source,
            "options": options,
            "digest": items.digest(),
            "n": len(items),
            "train": len(split.train),
            "validation": len(split.validation),
            "test": len(split.test),
            "split_seed": split.seed,
            "classes": list(items.classes),
            "notes": list(items.notes),
            "problems": [[problem.name, problem.reason] for problem in items.problems],
        }


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _state(plain: dict[str, Any], moments: dict[str, Tensor]) -> TrainingState:
    total = float("inf") if plain["total"] is None else plain["total"]
    step, share = plain["anchor"]
    setup = Setup(**plain["setup"]) if plain["setup"] else None
    read = plain | {"total": total, "anchor": (step, share), "setup": setup, "moments": moments}
    return TrainingState(**read)


def _load(model: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    wanted = {name: tensor.shape for name, tensor in model.state_dict().items()}
    if wanted != {name: tensor.shape for name, tensor in tensors.items()}:
        raise VariedError(f"{path} does not fit spec.toml beside it; restore one of the two.")
    model.load_state_dict(tensors)
