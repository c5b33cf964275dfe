"""The codec for recordings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from varied.data.archive import Member
from varied.data.codecs.base import Array, Codec, Examples
from varied.data.codecs.field_checks import check_fields
from varied.data.codecs.options import check_options
from varied.data.codecs.plain_formats import PlainFormat, PlainSounds
from varied.data.defaults import Default
from varied.data.labels import class_folders
from varied.data.raw_data import RawData
from varied.data.sound_files import ENDINGS, convert_waves, read_sounds, trim, write_sound
from varied.data.spectrograms import LogMel, hop_length, normalize_loudness
from varied.errors import VariedError

#: The pause between recordings in a single file, in seconds.
_PAUSE_SECONDS = 0.25
#: The number of silent frames that are written before and after the sound. Without them, quiet
#: consonants are lost.
_MARGIN = 5
#: The maximum number of spectrograms that are plotted in a folder of recordings.
_MAX_PLOTTED = 64


@dataclass(frozen=True)
class SoundCodec(Codec):
    """Recordings with a common sample rate and duration, as standardized log-mel spectrograms.

    The model input is an image with one channel, whose rows are the mel bands, from low to high
    frequencies, and whose columns are frames of 10 ms. Each band is standardized with the
    statistics of the training recordings. `decode` returns waveforms; see
    `varied.data.spectrograms.LogMel`. Differences in loudness are removed.

    Arguments:
        shape: ``(1, bands, frames)``.
        rate: The sample rate in Hz.
        mean: The training mean of each band.
        scale: The training standard deviation of each band.

    Example:
        >>> time = np.arange(1200) / 8000
        >>> tones = [np.sin(2 * np.pi * hertz * time) for hertz in range(200, 700, 50)]
        >>> data = RawData(np.float32(tones), "sound", dialect={"rate": 8000})
        >>> codec = SoundCodec.fit(data)
        >>> x = codec.encode(data)
        >>> x.shape, codec.decode(x).shape
        (torch.Size([10, 1, 64, 16]), (10, 1200))
    """

    kind: ClassVar[str] = "sound"
    noun: ClassVar[str] = "recordings"
    endings: ClassVar[tuple[str, ...]] = ENDINGS
    reads_folders: ClassVar[bool] = True
    has_labels_in_names: ClassVar[bool] = True
    default_ending: ClassVar[str] = ""
    data_ending: ClassVar[str] = ""
    labeled_ending: ClassVar[str] = ""
    audio_ending: ClassVar[str] = ".flac"
    plain_format: ClassVar[PlainFormat] = PlainSounds()
    reading_option_names: ClassVar[tuple[str, ...]] = ("sample_rate", "seconds")
    max_rows_by_epochs: ClassVar[int] = 0
    small_batches_below: ClassVar[int] = 10_000
    is_compressible: ClassVar[bool] = False

    shape: tuple[int, ...]
    rate: int
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        is_image = len(self.shape) == 3 and self.shape[0] == 1
        bands = self.mel.shape[0] if is_image else 0
        is_consistent = len(self.mean) == len(self.scale) == bands == self.shape[1]
        check_fields(self.shape, is_image and is_consistent, self.scale)

    @classmethod
    def read_members(  # type: ignore[override]
        cls,
        members: Sequence[Member],
        *,
        sample_rate: int | None = None,
        seconds: float | None = None,
    ) -> Examples:
        """Read recordings; see `varied.data.sound_files.read_sounds`."""
        waves, rate, problems, notes = read_sounds(members, sample_rate, seconds)
        return Examples(waves, problems, notes, {"rate": rate})

    @classmethod
    def from_memory(cls, examples: Any, **options: Any) -> RawData:
        """Convert a list of waveforms; see `varied.data.sound_files.convert_waves`."""
        check_options(options, cls.reading_option_names, "sound data")
        rate = options.get("sample_rate")
        waves, notes = convert_waves(examples, rate, options.get("seconds"))
        return RawData(waves, cls.kind, notes=notes, dialect={"rate": rate})

    @classmethod
    def apply_options(cls, data: RawData, **options: Any) -> RawData:
        """Check that recordings in memory have the given sample rate.

        Raises:
            VariedError: If the sample rate differs.
        """
        check_options(options, cls.reading_option_names, "sound data")
        rate = _rate(data)
        if options.get("sample_rate") not in (None, rate):
            raise VariedError(
                f"The sample rate of these recordings is {rate:,} Hz, not "
                f"{options['sample_rate']:,} Hz; resample them."
            )
        return data

    @property
    def reading_options(self) -> dict[str, Any]:
        """The kind of data, and the sample rate and duration of the training recordings."""
        return {"kind": self.kind, "sample_rate": self.rate, "seconds": self.seconds}

    @classmethod
    def summarize(cls, data: RawData) -> str:
        """Return a phrase with the number, duration and sample rate of the recordings."""
        rate = _rate(data)
        return f"{len(data):,} recordings of {data.x.shape[1] / rate:.2f} s at {rate:,} Hz"

    @classmethod
    def fit(cls, data: RawData) -> Self:
        """Fit the mean and scale of each band to the training recordings.

        Raises:
            VariedError: If the recordings are not floats with shape (N, samples), the sample rate
                is unknown, or the number of samples is not a multiple of the hop length.
        """
        waves, rate = _as_waves(data), _rate(data)
        mel = LogMel(rate, waves.shape[1] // hop_length(rate) + 1)
        if mel.n_samples != waves.shape[1]:
            raise VariedError(
                f"The recordings have {waves.shape[1]:,} samples, but the number must be a "
                f"multiple of {mel.hop}; cut them to {mel.n_samples:,} samples."
            )
        spectrograms = mel(normalize_loudness(torch.from_numpy(waves), rate)).double()
        scale = spectrograms.std((0, 2), correction=0)
        scale[scale == 0] = 1.0
        mean = spectrograms.mean((0, 2))
        return cls((1, *mel.shape), rate, tuple(mean.tolist()), tuple(scale.tolist()))

    @property
    def domain(self) -> str:  # type: ignore[override]
        """The domain of standardized spectrograms: "real"."""
        return "real"

    @property
    def mel(self) -> LogMel:
        """The transform from waveforms to log-mel spectrograms."""
        return LogMel(self.rate, self.shape[-1])

    @property
    def seconds(self) -> float:
        """The duration of the training recordings."""
        return self.mel.n_samples / self.rate

    def encode(self, data: RawData | Array) -> Tensor:
        """Return standardized log-mel spectrograms, float32 with shape ``(N, 1, bands, frames)``.

        Raises:
            VariedError: If the duration or sample rate differs from that of the training data.
        """
        waves = _as_waves(data)
        dialect = data.dialect if isinstance(data, RawData) else {}
        n_samples, rate = waves.shape[1], dialect.get("rate", self.rate)
        if (n_samples, rate) != (self.mel.n_samples, self.rate):
            raise VariedError(
                f"These recordings have {n_samples:,} samples at {rate:,} Hz, but the training "
                f"recordings have {self.mel.n_samples:,} samples at {self.rate:,} Hz; read them "
                f"with sample_rate={self.rate} and seconds={self.seconds:g}."
            )
        spectrograms = self.mel(normalize_loudness(torch.from_numpy(waves), rate))
        return ((spectrograms - self._mean) / self._scale)[:, None]

    def decode(self, x: Tensor, labels: Sequence[str | None] | None = None) -> Array:
        """Return waveforms of the same loudness, as float32 with shape ``(N, samples)``."""
        waves = self.mel.invert(self._spectrograms(x))
        equal: Array = normalize_loudness(waves, self.rate).numpy()
        return equal

    def describe_conversion(self) -> dict[str, Any]:
        """Return the parameters of the spectrograms, and the mean and scale of each band."""
        return {
            "to_input": "Normalize the loudness, compute the log-mel spectrogram as in "
            "`varied.data.spectrograms.LogMel`, subtract the mean of each band and divide by its "
            "scale.",
            "from_mean": "Multiply by the scale of each band, add its mean, and invert the "
            "spectrogram.",
            "sample_rate": self.rate,
            "samples": self.mel.n_samples,
            "frame_samples": self.mel.n_fft,
            "hop_samples": self.mel.hop,
            "mean": list(self.mean),
            "scale": list(self.scale),
        }

    def defaults(self, n: int) -> dict[str, Default]:
        """Return the defaults for images, since a spectrogram is modeled like an image."""
        net = Default("conv", "the spectrograms are modeled like images")
        return super().defaults(n) | {"net": net}

    def to_images(self, x: Tensor) -> Array:
        """Return spectrograms as color images, with low frequencies at the bottom."""
        from matplotlib import colormaps  # slow to import

        top = float((self._mean + 3 * self._scale).max())
        levels = self._spectrograms(x).flip(1).div(top).clamp(0, 1)
        colors: Array = colormaps["magma"](levels.numpy(), bytes=True)
        return colors[..., :3]

    def save(self, examples: Any, path: Path, names: Sequence[str] = ()) -> Path:
        """Write recordings to a folder, with their spectrograms, or to a single file with pauses.

        Silence at the start and end is shortened to 50 ms, except in ``.npy`` files.

        Raises:
            VariedError: If the file has an extension other than .wav, .flac, .ogg or .npy.
        """
        waves = examples.reshape(-1, examples.shape[-1])
        if path.suffix.lower() in ENDINGS:
            pause = np.zeros(round(_PAUSE_SECONDS * self.rate), np.float32)
            parts = [part for wave in waves for part in (self._trim(wave), pause)]
            write_sound(np.concatenate(parts), path, self.rate)
            return path
        if path.suffix.lower() == ".npy":
            return super().save(examples, path, names)
        if path.suffix:
            raise VariedError(
                f"'{path.name}' does not have a supported file extension; use .wav, .flac, .ogg, "
                ".npy or .png, or no extension for a folder."
            )
        for index, wave in zip(np.ndindex(examples.shape[:-1]), waves, strict=True):
            name = "-".join(f"{i:03d}" for i in index)
            write_sound(self._trim(wave), path / f"{name}.wav", self.rate)
        from varied import plots

        plotted = self.to_images(self.encode(waves[:_MAX_PLOTTED]))
        plots.grid(plotted, path / "spectrograms.png")
        return path

    def save_labeled(self, data: RawData, path: Path) -> Path:
        """Write labeled recordings to a folder with one subfolder per class, or to ``.npz``.

        Raises:
            VariedError: If the file has another extension, the folder exists, or two classes would
                have the same folder.
        """
        if path.suffix:
            return super().save_labeled(data, path)
        folders = class_folders(path, data.classes, self.noun)
        for i, (wave, label) in enumerate(zip(data.x, data.class_indices, strict=True)):
            file = folders[label] / f"generated-{i:06d}.wav"
            write_sound(self._trim(wave), file, self.rate)
        return path

    def _trim(self, wave: Array) -> Array:
        trimmed = trim(wave, self.rate, _MARGIN)
        return trimmed if len(trimmed) else wave

    @property
    def _mean(self) -> Tensor:
        return torch.tensor(self.mean)[:, None]

    @property
    def _scale(self) -> Tensor:
        return torch.tensor(self.scale)[:, None]

    def _spectrograms(self, x: Tensor) -> Tensor:
        return x.detach().float().cpu()[:, 0] * self._scale + self._mean


def _rate(data: RawData) -> int:
    dialect: Mapping[str, Any] = data.dialect
    if "rate" not in dialect:
        raise VariedError(
            "The sample rate of these recordings is unknown; pass RawData with dialect={'rate': "
            "8000}, or a folder of recordings."
        )
    return int(dialect["rate"])


def _as_waves(data: RawData | Array) -> Array:
    waves = np.asarray(data.x if isinstance(data, RawData) else data)
    if waves.ndim != 2 or waves.dtype.kind != "f":
        raise VariedError(
            f"Recordings must be floats of shape (N, samples), got {waves.dtype} of shape "
            f"{waves.shape}; pass a row of float32 values for each recording."
        )
    return np.require(waves, np.float32, ("C", "W"))
