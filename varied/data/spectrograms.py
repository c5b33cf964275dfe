"""Log-mel spectrograms of recordings, and the reconstruction of waveforms from them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from varied.errors import VariedError
from varied.seeding import generator

#: The root mean square to which the loudness of recordings is normalized.
LOUDNESS = 0.1
#: A frame is silent if it is at least this number of decibels quieter than the loudest frame, and a
#: recording is silent if its root mean square is at most the second value.
SILENCE_DECIBELS, _SILENT = 35.0, 1e-6
#: The magnitude added before the logarithm, 24 dB below `LOUDNESS`. With a smaller value, quiet
#: bands would dominate the variance, and errors would become audible noise: when Gaussian noise
#: with half the standard deviation of each band was added, a classifier recognized 99% of spoken
#: digits with this value, but only 33% with a value 10,000 times smaller.
FLOOR = LOUDNESS / 16
#: The minimum duration of a frame, and the step between frames, in seconds.
_WINDOW_SECONDS, _HOP_SECONDS = 0.025, 0.01
_N_MELS = 64
#: The range of the sample rate, in Hz.
_RATES = 1000, 768_000
#: Slaney's mel scale is linear below 1,000 Hz and logarithmic above.
_LINEAR_HZ_PER_MEL, _BREAK_HZ = 200 / 3, 1000.0
_BREAK_MEL, _LOG_STEP = _BREAK_HZ / _LINEAR_HZ_PER_MEL, math.log(6.4) / 27
_NNLS_STEPS, _GRIFFIN_LIM_STEPS, _MOMENTUM = 30, 32, 0.99
#: The number of recordings that are transformed at a time.
_BLOCK = 256


@dataclass(frozen=True)
class LogMel:
    r"""A log-mel spectrogram, and the approximate inverse.

    .. math:: y = \log(1 + M |\mathrm{STFT}(x)| / f)

    M contains triangular filters on Slaney's mel scale, and f is `FLOOR`. The inverse estimates the
    magnitudes by non-negative least squares, and the phases by the fast Griffin-Lim algorithm.

    Arguments:
        rate: The sample rate in Hz.
        n_frames: The number of frames.

    References:
        - Auditory Toolbox (Slaney, 1998), for the mel scale.
        - A Fast Griffin-Lim Algorithm (Perraudin et al., 2013).
        - Algorithms for Non-negative Matrix Factorization (Lee & Seung, 2000), for the least
          squares.

    Example:
        >>> mel = LogMel(8000, 16)
        >>> mel.n_samples, mel(torch.zeros(2, 1200)).shape
        (1200, torch.Size([2, 64, 16]))
    """

    rate: int
    n_frames: int

    def __post_init__(self) -> None:
        low, high = _RATES
        if not (low <= self.rate <= high and self.n_frames > 1):
            raise VariedError(
                f"The sample rate is {self.rate:,} Hz and the number of frames is "
                f"{self.n_frames:,}, but a rate of {low:,} to {high:,} Hz and at least 2 frames "
                "are required; resample the recordings, or use longer ones."
            )

    @property
    def n_fft(self) -> int:
        """The number of samples in a frame, a power of two."""
        return int(2 ** math.ceil(math.log2(self.rate * _WINDOW_SECONDS)))

    @property
    def hop(self) -> int:
        """The number of samples between frames."""
        return hop_length(self.rate)

    @property
    def n_samples(self) -> int:
        """The number of samples of a recording."""
        return (self.n_frames - 1) * self.hop

    @property
    def shape(self) -> tuple[int, int]:
        """The shape of a spectrogram: bands and frames."""
        return _N_MELS, self.n_frames

    def __call__(self, waves: Tensor) -> Tensor:
        """Return spectrograms, with shape (N, bands, frames).

        Arguments:
            waves: The recordings, with shape (N, n_samples).
        """
        filters = self._filters
        blocks = [filters @ self._stft(block).abs() for block in waves.split(_BLOCK)]
        return torch.cat(blocks).div(FLOOR).log1p()

    def invert(self, spectrograms: Tensor) -> Tensor:
        """Return recordings, with shape (N, n_samples); negative elements are treated as silence.

        Arguments:
            spectrograms: The spectrograms, with shape (N, bands, frames).
        """
        return torch.cat([self._invert(block) for block in spectrograms.split(_BLOCK)])

    @property
    def _filters(self) -> Tensor:
        return mel_filters(self.rate, self.n_fft, _N_MELS)

    def _invert(self, spectrograms: Tensor) -> Tensor:
        mel = spectrograms.clamp(min=0).expm1() * FLOOR
        return self._griffin_lim(_non_negative_least_squares(self._filters, mel))

    def _griffin_lim(self, magnitudes: Tensor) -> Tensor:
        """Return waveforms with the given magnitudes; the initial phases are random but fixed."""
        noise = torch.rand(magnitudes.shape[1:], generator=generator(0, "phases"))
        phases = torch.polar(torch.ones_like(noise), 2 * math.pi * noise)
        previous = torch.zeros(1)
        for _ in range(_GRIFFIN_LIM_STEPS):
            rebuilt = self._stft(self._istft(magnitudes * phases))
            phases = rebuilt - _MOMENTUM / (1 + _MOMENTUM) * previous
            phases = phases / phases.abs().clamp(min=1e-12)
            previous = rebuilt
        return self._istft(magnitudes * phases)

    def _stft(self, waves: Tensor) -> Tensor:
        window = torch.hann_window(self.n_fft)
        spectra: Tensor = torch.stft(
            waves,
            self.n_fft,
            self.hop,
            window=window,
            pad_mode="constant",
            normalized=True,
            return_complex=True,
        )
        return spectra

    def _istft(self, spectra: Tensor) -> Tensor:
        window, length = torch.hann_window(self.n_fft), self.n_samples
        waves: Tensor = torch.istft(
            spectra, self.n_fft, self.hop, window=window, normalized=True, length=length
        )
        return waves


def normalize_loudness(waves: Tensor, rate: int) -> Tensor:
    """Scale recordings to the root mean square `LOUDNESS`; silent recordings are not changed.

    Frames that are more than 35 dB quieter than the loudest one are ignored, since the loudness
    should not depend on the duration of pauses.

    Arguments:
        waves: The recordings, with shape (N, samples).
        rate: The sample rate in Hz.
    """
    power = waves.square().unfold(1, hop_length(rate), hop_length(rate)).mean(2)
    is_loud = power >= power.amax(1, keepdim=True) * 10 ** (-SILENCE_DECIBELS / 10)
    rms = ((power * is_loud).sum(1) / is_loud.sum(1)).sqrt()
    return waves * torch.where(rms > _SILENT, LOUDNESS / rms, 1.0)[:, None]


def hop_length(rate: int) -> int:
    """Return the number of samples between frames.

    Arguments:
        rate: The sample rate in Hz.
    """
    return round(rate * _HOP_SECONDS)


def mel_filters(rate: int, n_fft: int, n_mels: int) -> Tensor:
    r"""Return triangular filters with a maximum of 1, with shape (n_mels, n_fft // 2 + 1).

    The n_mels + 2 corners are equally spaced on Slaney's mel scale,

    .. math:: m(f) = 3 f / 200 \text{ below 1,000 Hz, and } 15 + 27 \log_{6.4}(f / 1000) \text{
        above}

    Arguments:
        rate: The sample rate in Hz.
        n_fft: The number of samples in a frame.
        n_mels: The number of filters.
    """
    top = _hz_to_mel(torch.tensor(rate / 2, dtype=torch.float64))
    corners = _mel_to_hz(torch.linspace(0, float(top), n_mels + 2, dtype=torch.float64))
    frequencies = torch.linspace(0, rate / 2, n_fft // 2 + 1, dtype=torch.float64)
    low, center, high = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    rising, falling = (frequencies - low) / (center - low), (high - frequencies) / (high - center)
    return torch.minimum(rising, falling).clamp(min=0).float()


def _hz_to_mel(hz: Tensor) -> Tensor:
    above = _BREAK_MEL + (hz.clamp(min=_BREAK_HZ) / _BREAK_HZ).log() / _LOG_STEP
    return torch.where(hz < _BREAK_HZ, hz / _LINEAR_HZ_PER_MEL, above)


def _mel_to_hz(mel: Tensor) -> Tensor:
    above = _BREAK_HZ * ((mel - _BREAK_MEL) * _LOG_STEP).exp()
    return torch.where(mel < _BREAK_MEL, mel * _LINEAR_HZ_PER_MEL, above)


def _non_negative_least_squares(filters: Tensor, mel: Tensor) -> Tensor:
    """Return magnitudes S >= 0 that minimize the squared error of ``filters @ S``.

    The multiplicative updates of Lee & Seung (2000) start from the pseudo-inverse.
    """
    magnitudes: Tensor = (torch.linalg.pinv(filters) @ mel).clamp(min=1e-6)
    target, gram = filters.T @ mel, filters.T @ filters
    for _ in range(_NNLS_STEPS):
        magnitudes = magnitudes * target / (gram @ magnitudes + 1e-12)
    return magnitudes
