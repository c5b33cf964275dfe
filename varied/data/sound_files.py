"""Reading recordings with a common sample rate, loudness and duration, and writing them."""

from __future__ import annotations

import importlib
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from varied.atomic_io import atomic_write
from varied.data.archive import Member, UnreadableFile, attempt, read_members
from varied.data.memory import check_memory
from varied.data.raw_data import Problem
from varied.data.spectrograms import LOUDNESS, SILENCE_DECIBELS, hop_length
from varied.errors import VariedError

Array = npt.NDArray[np.float32]

ENDINGS = (".wav", ".flac", ".ogg")
#: The range of the common sample rate, and its maximum by default.
_MIN_RATE, _MAX_RATE, _MAX_DEFAULT_RATE = 4000, 48_000, 16_000
#: The maximum duration of a file, and of the common duration by default, in seconds.
_MAX_FILE_SECONDS, _MAX_DEFAULT_SECONDS = 600.0, 4.0
#: The range of the sample rate of a file, and its maximum number of samples in all channels.
_MIN_FILE_RATE, _MAX_FILE_RATE, _MAX_FILE_SAMPLES = 1000, 768_000, 100_000_000
#: The maximum factor of resampling, on which the length of the filter depends; the ratio of sample
#: rates without a common divisor, such as 16,000 to 767,999, is rounded.
_MAX_FACTOR = 50_000
#: The quantile of the durations that becomes the common duration.
_QUANTILE = 0.95
#: The number of frames of a recording is a multiple of this, for networks that halve it repeatedly.
_FRAME_MULTIPLE = 8
#: A recording is silent if the root mean square of its loudest 10 ms is below this value.
_SILENT = 1e-4
#: The difference in loudness above which a recording counts as changed, in decibels.
_AUDIBLE_DECIBELS = 1.0
#: If less than this fraction of the sound is used, a note says how much is cut.
_MIN_USED = 0.5


@dataclass(frozen=True)
class Sound:
    """A recording after trimming, and what was changed.

    Arguments:
        wave: The samples, with a root mean square of `LOUDNESS`.
        changes: The changes, such as "mixed down to mono".
    """

    wave: Array
    changes: tuple[str, ...]


def read_sounds(
    members: Sequence[Member], rate: int | None = None, seconds: float | None = None
) -> tuple[Array, int, dict[int, Problem], tuple[str, ...]]:
    """Read recordings, and convert them to a common sample rate, loudness and duration.

    Arguments:
        members: The files.
        rate: The sample rate in Hz; by default, the most frequent sample rate of the files, but at
            least 4,000 and at most 16,000.
        seconds: The duration; by default, the 95th percentile, but at most 4 seconds.

    Returns:
        The recordings with shape (N, T), the sample rate, the unreadable files by index, and notes
        for the user.

    Raises:
        VariedError: If soundfile is not installed, an option is not valid, or the recordings do not
            fit in memory.
    """
    soundfile = import_soundfile()
    _check_options(rate, seconds)
    headers = read_members(members, lambda m: attempt(m, _read_header, soundfile))
    rates = [h.samplerate for h in headers if not isinstance(h, Problem)]
    if rate is None:
        rate = _common_rate(rates) if rates else _MAX_DEFAULT_RATE
    total = sum(h.duration * rate for h in headers if not isinstance(h, Problem))
    check_memory(int(8 * total), "The recordings", "use a lower sample_rate, or fewer recordings")
    results = [
        h if isinstance(h, Problem) else attempt(m, read_sound, rate, soundfile)
        for h, m in zip(headers, members, strict=True)
    ]
    problems = {i: r for i, r in enumerate(results) if isinstance(r, Problem)}
    sounds = [r for r in results if isinstance(r, Sound)]
    if not sounds:
        return np.empty((0, 0), np.float32), rate, problems, ()
    waves, notes = _stack(sounds, rate, seconds)
    return waves, rate, problems, notes


def convert_waves(
    waves: Sequence[Any], rate: int | None, seconds: float | None = None
) -> tuple[Array, tuple[str, ...]]:
    """Convert recordings in memory to a common loudness and duration.

    Arguments:
        waves: The samples of each recording, with shape (T) or, for several channels, (T, C).
            Signed integers, such as 16-bit samples, are divided by the largest value of their
            dtype.
        rate: The sample rate in Hz.
        seconds: The duration; by default, the 95th percentile, but at most 4 seconds.

    Returns:
        The recordings with shape (N, T), and notes for the user.

    Raises:
        VariedError: If there are no recordings, the sample rate is unknown, an option is not valid,
            or a recording is not an array of floats or signed integers, is silent, or contains NaN
            or infinity.
    """
    _check_options(rate, seconds)
    if rate is None:
        raise VariedError(
            "The sample rate of these recordings is unknown; pass it, for example "
            "sample_rate=16000."
        )
    if not len(waves):
        raise VariedError("There are no recordings; pass at least one.")
    sounds = []
    for i, wave in enumerate(waves):
        samples = np.asarray(wave)
        if samples.dtype.kind == "i":
            samples = samples / np.iinfo(samples.dtype).max
        if samples.ndim not in (1, 2) or samples.dtype.kind != "f":
            raise VariedError(
                f"Recording {i} must be an array of floats or signed integers with shape (T) or "
                f"(T, C), got {samples.dtype} of shape {samples.shape}; convert it to float32 with "
                "values from -1 to 1."
            )
        try:
            sounds.append(_convert(samples[:, None] if samples.ndim == 1 else samples, rate, rate))
        except UnreadableFile as reason:
            raise VariedError(f"Recording {i} cannot be used, since {reason}; omit it.") from None
    return _stack(sounds, rate, seconds)


def read_sound(file: IO[bytes], rate: int, soundfile: Any) -> Sound:
    """Read one recording, mix it to mono, resample it, trim silence and normalize the loudness.

    Arguments:
        file: The file.
        rate: The sample rate in Hz to which the recording is resampled.
        soundfile: The module ``soundfile``.

    Raises:
        UnreadableFile: If the file is corrupted, silent or empty, or contains NaN or infinity.
    """
    try:
        samples, own_rate = soundfile.read(file, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise UnreadableFile("it is corrupted or not in a supported format") from error
    return _convert(samples, own_rate, rate)


def trim(wave: Array, rate: int, margin: int = 0) -> Array:
    """Return a recording without silence at the start and end.

    Frames of 10 ms that are at least 35 dB quieter than the loudest one are silent. No samples are
    returned if the whole recording is silent or non-finite.

    Arguments:
        wave: The samples, at least one.
        rate: The sample rate in Hz.
        margin: The number of silent frames that are kept before and after the sound.

    Example:
        >>> wave = np.concatenate([np.zeros(800), np.ones(400), np.zeros(1200)])
        >>> trim(wave, 8000).shape
        (400,)
    """
    frame = hop_length(rate)
    starts = np.arange(0, len(wave), frame)
    energy = np.add.reduceat(wave.astype(np.float64) ** 2, starts)
    levels = np.sqrt(energy / np.diff([*starts, len(wave)]))
    if not _SILENT <= levels.max() < np.inf:
        return wave[:0]
    loud = np.flatnonzero(levels > levels.max() * 10 ** (-SILENCE_DECIBELS / 20))
    return wave[max(0, loud[0] - margin) * frame : (loud[-1] + 1 + margin) * frame]


def write_sound(wave: Array, path: Path, rate: int) -> None:
    """Write a recording, which is scaled down if it exceeds the range of the format.

    The samples have 16 bits, except in ``.ogg`` files.

    Arguments:
        wave: The samples.
        path: The file; its extension determines the format.
        rate: The sample rate in Hz.
    """
    atomic_write(path, encode_sound(wave, path.suffix[1:].upper(), rate), sync=False)


def encode_sound(wave: Array, form: str, rate: int) -> bytes:
    """Return the content of a file in the format "WAV", "FLAC" or "OGG"; see `write_sound`."""
    peak = float(np.abs(wave).max(initial=0))
    subtype = "VORBIS" if form == "OGG" else "PCM_16"
    scaled, content = wave / max(1.0, peak * 1.001), io.BytesIO()
    import_soundfile().write(content, scaled, rate, format=form, subtype=subtype)
    return content.getvalue()


def import_soundfile() -> Any:
    """Return the module ``soundfile``.

    Raises:
        VariedError: If soundfile is not installed.
    """
    try:
        return importlib.import_module("soundfile")
    except (ImportError, OSError) as error:  # OSError: the library libsndfile is missing
        raise VariedError(
            "Recordings require soundfile; run `pip install 'varied[sound]'`."
        ) from error


def _check_options(rate: int | None, seconds: float | None) -> None:
    is_valid = rate is None or (type(rate) is int and _MIN_RATE <= rate <= _MAX_RATE)
    if not is_valid:
        raise VariedError(
            f"sample_rate={rate!r} is not valid; use an integer between {_MIN_RATE:,} and "
            f"{_MAX_RATE:,}, such as 16000."
        )
    if seconds is not None and not 0 < seconds <= _MAX_FILE_SECONDS:
        raise VariedError(
            f"seconds={seconds!r} is not valid; use a number above 0 and at most "
            f"{_MAX_FILE_SECONDS:g}, such as 1.5."
        )


def _read_header(file: IO[bytes], soundfile: Any) -> Any:
    try:
        header = soundfile.info(file)
    except soundfile.LibsndfileError as error:
        raise UnreadableFile("it is corrupted or not in a supported format") from error
    if not _MIN_FILE_RATE <= header.samplerate <= _MAX_FILE_RATE:
        raise UnreadableFile(
            f"its sample rate, {header.samplerate:,} Hz, is not between {_MIN_FILE_RATE:,} and "
            f"{_MAX_FILE_RATE:,} Hz"
        )
    if header.frames * header.channels > _MAX_FILE_SAMPLES:
        raise UnreadableFile(
            f"it contains more than {_MAX_FILE_SAMPLES:,} samples; split it into shorter files"
        )
    if header.duration > _MAX_FILE_SECONDS:
        raise UnreadableFile(
            f"it lasts {header.duration / 60:,.0f} minutes, more than the limit of "
            f"{_MAX_FILE_SECONDS / 60:g} minutes; split it into shorter files"
        )
    return header


def _convert(samples: Array, own_rate: int, rate: int) -> Sound:
    """Mix a recording to mono, resample it, remove silence and normalize the loudness."""
    if not np.isfinite(samples).all():
        raise UnreadableFile("it contains NaN or infinity")
    changes = ["mixed down to mono"] if samples.shape[1] > 1 else []
    wave = samples.mean(1) if samples.shape[1] > 1 else samples[:, 0]
    if own_rate != rate:
        from scipy.signal import resample_poly  # slow to import

        ratio = Fraction(rate, own_rate).limit_denominator(_MAX_FACTOR)
        wave = resample_poly(wave, ratio.numerator, ratio.denominator)
        changes.append(f"resampled to {rate:,} Hz")
    if not len(wave):
        raise UnreadableFile("it contains no samples")
    trimmed = trim(wave, rate)
    if not len(trimmed):
        raise UnreadableFile("it is silent")
    if len(trimmed) < len(wave):
        changes.append("trimmed to remove silence at the start or end")
    loudness = np.sqrt(np.mean(trimmed**2, dtype=np.float64))
    if abs(20 * np.log10(loudness / LOUDNESS)) > _AUDIBLE_DECIBELS:
        changes.append("normalized in loudness")
    return Sound((trimmed * (LOUDNESS / loudness)).astype(np.float32), tuple(changes))


def _common_rate(rates: Iterable[int]) -> int:
    (common, _), *_ = Counter(rates).most_common(1)
    return min(max(common, _MIN_RATE), _MAX_DEFAULT_RATE)


def _common_length(lengths: Sequence[int], rate: int, seconds: float | None) -> int:
    """Return a common number of samples that results in a suitable number of frames."""
    if seconds is None:
        seconds = min(float(np.quantile(lengths, _QUANTILE)) / rate, _MAX_DEFAULT_SECONDS)
    hop = hop_length(rate)
    # Rounded, so that passing the duration of other recordings gives their number of frames.
    n_frames = ceil(round(seconds * rate / hop, 3)) + 1
    return (ceil(n_frames / _FRAME_MULTIPLE) * _FRAME_MULTIPLE - 1) * hop


def _stack(
    sounds: Sequence[Sound], rate: int, seconds: float | None
) -> tuple[Array, tuple[str, ...]]:
    """Return recordings with a common duration, and notes for the user."""
    n_samples = _common_length([len(sound.wave) for sound in sounds], rate, seconds)
    waves = np.stack([_cut_or_pad(sound.wave, n_samples) for sound in sounds])
    return waves, tuple(_notes(sounds, rate, n_samples))


def _cut_or_pad(wave: Array, n_samples: int) -> Array:
    """Return the middle of a recording, or the recording with silence before and after it."""
    if len(wave) >= n_samples:
        start = (len(wave) - n_samples) // 2
        return wave[start : start + n_samples]
    before = (n_samples - len(wave)) // 2
    return np.pad(wave, (before, n_samples - len(wave) - before))


def _notes(sounds: Sequence[Sound], rate: int, n_samples: int) -> list[str]:
    counts = Counter(change for sound in sounds for change in sound.changes)
    lengths = [len(sound.wave) for sound in sounds]
    cut, padded = sum(n > n_samples for n in lengths), sum(n < n_samples for n in lengths)
    used = sum(min(length, n_samples) for length in lengths) / sum(lengths)
    seconds = f"{n_samples / rate:.2f} s"
    total = f"{len(sounds):,} recordings"
    notes = [f"{n:,} of {total} {_were(n)} {change}." for change, n in counts.items()]
    notes.append(
        f"The recordings last {seconds}: {cut:,} {_were(cut)} cut, and {padded:,} {_were(padded)} "
        "padded with silence (`seconds` overrides this)."
    )
    if used < _MIN_USED:
        notes.append(
            f"{100 * (1 - used):.0f}% of the sound is cut; split long recordings into files of "
            f"at most {seconds}."
        )
    return notes


def _were(n: int) -> str:
    return "was" if n == 1 else "were"
