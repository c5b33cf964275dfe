"""Parts for sounds: a codec, a likelihood, an encoder and a decoder, metrics, and an operation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch import distributions as td

import varied
from varied.data import Codec, RawData
from varied.errors import VariedError
from varied.evaluate.estimate import Estimate
from varied.evaluate.metric import Metric, MetricGroup
from varied.likelihoods import Likelihood


@dataclass(frozen=True)
class SoundCodec(Codec):
    """A codec for mono sounds in files of 16-bit samples without a header.

    The model input consists of the audio samples, divided by their standard deviation.

    Arguments:
        shape: The shape of a sound, (1, T).
        scale: The standard deviation of the training samples.
    """

    kind: ClassVar[str] = "pcm"
    noun: ClassVar[str] = "sounds"
    endings: ClassVar[tuple[str, ...]] = (".pcm",)
    reads_folders: ClassVar[bool] = True
    data_ending: ClassVar[str] = ""
    domain: ClassVar[str] = "real"

    shape: tuple[int, ...]
    scale: float = 1.0
    notes: tuple[str, ...] = ()

    @classmethod
    def read_example(cls, file: IO[bytes]) -> np.ndarray:
        samples = np.frombuffer(file.read(), "<i2")
        return samples.astype(np.float32)[None] / 2**15

    @classmethod
    def fit(cls, data: RawData) -> SoundCodec:
        return cls(tuple(data.x.shape[1:]), float(data.x.std()) or 1.0)

    def encode(self, data: RawData | np.ndarray) -> Tensor:
        x = data.x if isinstance(data, RawData) else np.asarray(data)
        if x.shape[1:] != self.shape:
            raise VariedError(f"These sounds have {x.shape[-1]} samples, not {self.shape[-1]}.")
        return torch.from_numpy(x / self.scale)

    def decode(self, x: Tensor, labels: Sequence[str | None] | None = None) -> np.ndarray:
        return x.detach().float().cpu().numpy() * self.scale

    def save(self, examples: Any, path: Path, names: Sequence[str] = ()) -> Path:
        if path.suffix:
            return super().save(examples, path, names)
        path.mkdir(parents=True, exist_ok=True)
        for i, sound in enumerate(examples.reshape(-1, self.shape[-1])):
            (path / f"{i:05d}.pcm").write_bytes((sound.clip(-1, 1) * 32767).astype("<i2").tobytes())
        return path


class Cauchy(Likelihood):
    r"""A Cauchy distribution for each sample: :math:`p(x) = 1 / \pi s (1 + (x - m)^2 / s^2)`.

    Arguments:
        event: The shape of one example.
        scale: The scale s.
    """

    accepts = frozenset({"real"})

    def __init__(self, event: tuple[int, ...], scale: float = 0.1) -> None:
        super().__init__(event)
        self.scale = scale

    def build(self, loc: Tensor) -> td.Distribution:
        return Location(loc, torch.full_like(loc, self.scale), validate_args=False)


class Location(td.Cauchy):
    """A Cauchy distribution that returns its location as its mean."""

    @property
    def mean(self) -> Tensor:
        return self.loc


class SoundEncoder(nn.Module):
    """A network that maps a sound to a vector with strided convolutions."""

    def __init__(
        self, inputs: tuple[int, ...], outputs: tuple[int, ...], channels: int = 8
    ) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv1d(inputs[0], channels, 9, stride=4, padding=4),
            nn.SiLU(),
            nn.Conv1d(channels, channels, 9, stride=4, padding=4),
            nn.SiLU(),
            nn.Flatten(),
            nn.LazyLinear(int(np.prod(outputs))),
            nn.Unflatten(1, outputs),
        )
        self.convolutions(torch.zeros(1, *inputs))

    def forward(self, x: Tensor) -> Tensor:
        return self.convolutions(x)


class SoundDecoder(nn.Module):
    """A fully connected network that maps a vector to a sound."""

    def __init__(self, inputs: tuple[int, ...], outputs: tuple[int, ...], width: int = 64) -> None:
        super().__init__()
        n_inputs, n_outputs = int(np.prod(inputs)), int(np.prod(outputs))
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(n_inputs, width), nn.SiLU(), nn.Linear(width, n_outputs)
        )
        self.outputs = outputs

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(z).unflatten(1, self.outputs)


def loudness(context: Any) -> Iterator[MetricGroup]:
    """Compare the root mean square of generated and test sounds."""
    samples = context.run.sample(100, seed=0).array
    test = context.run.split("test").x
    ratio = np.sqrt((samples**2).mean((1, 2))) / np.sqrt((test**2).mean())
    estimate = Estimate.of(torch.from_numpy(ratio).double())
    metric = Metric("loudness ratio", estimate, reference="1 for perfect samples")
    yield MetricGroup("Loudness", "Root mean square of samples, relative to test sounds.", [metric])


def soften(run: varied.Run, source: Any = None, *, amount: float = 0.5, n: int = 4) -> Any:
    """Reconstruct sounds at a lower volume."""
    result = run.reconstruct(source, n=n)
    return varied.runs.Result(
        result.codec, result.array * amount, result.images * amount, result.draw, result.shape
    )


varied.register("data", "pcm", SoundCodec)
varied.register("likelihood", "cauchy", Cauchy)
varied.register("net", "sound-encoder", SoundEncoder)
varied.register("net", "sound-decoder", SoundDecoder)
varied.register("suite", "loudness", loudness)
varied.register("use", "soften", soften)
