"""Measures of recordings of speech: two recognizers, distances, levels and durations."""

from __future__ import annotations

import itertools
import math
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from scipy.signal import resample_poly
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.peers.environments import ROOT, python_of
from varied.data import spectrograms
from varied.data.sound_files import trim
from varied.data.spectrograms import normalize_loudness

RATE, N_FFT, HOP, N_MELS = 8000, 256, 80, 40
_JUDGE_EPOCHS, _BATCH = 25, 64


class Judge(nn.Module):
    """A convolutional classifier of recordings.

    Arguments:
        num_classes: The number of classes.
        frames: The number of frames of a recording.
    """

    def __init__(self, num_classes: int, frames: int) -> None:
        super().__init__()
        widths = (1, 16, 32, 64)
        self.layers = nn.Sequential(
            *(layer for pair in itertools.pairwise(widths) for layer in _block(*pair)),
            nn.Flatten(),
            nn.Dropout(0.4),
            nn.Linear(64 * (N_MELS // 8) * (frames // 8), 64),
            nn.ReLU(),
        )
        self.output = nn.Linear(64, num_classes)
        self.register_buffer("filters", spectrograms.mel_filters(RATE, N_FFT, N_MELS))

    def features(self, waves: Tensor) -> Tensor:
        """Return the features before the last layer, with shape (N, 64)."""
        mel = self.filters @ magnitudes(waves, N_FFT).square()
        mel = (mel + 1e-4 * mel.amax((1, 2), keepdim=True)).log()
        mel = mel - mel.mean((1, 2), keepdim=True)
        return self.layers((mel / mel.std((1, 2), keepdim=True))[:, None])

    def forward(self, waves: Tensor) -> Tensor:
        """Return the logits of the classes, with shape (N, num_classes)."""
        return self.output(self.features(waves))

    @torch.no_grad()
    def classify(self, waves: Tensor) -> Tensor:
        """Return the most probable class of each recording."""
        return self(waves).argmax(1)


def _block(inputs: int, outputs: int) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1)
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2)]


def magnitudes(waves: Tensor, n_fft: int, hop: int = HOP, eps: float = 0.0) -> Tensor:
    """Return the magnitudes of the STFT; eps > 0 is added to their squares."""
    window = torch.hann_window(n_fft)
    options: dict[str, Any] = {"window": window, "pad_mode": "constant", "return_complex": True}
    stft = torch.stft(waves, n_fft, hop, **options)
    return (stft.real.square() + stft.imag.square() + eps).sqrt() if eps else stft.abs()


def train_judge(waves: Tensor, classes: Tensor, *, seed: int = 0) -> Judge:
    """Train a classifier on recordings with random shifts and noise."""
    torch.manual_seed(seed)
    judge = Judge(int(classes.max()) + 1, waves.shape[1] // HOP + 1)
    optimizer = torch.optim.AdamW(judge.parameters(), weight_decay=1e-2)
    steps = _JUDGE_EPOCHS * (len(waves) // _BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    for _ in range(steps):
        rows = torch.randperm(len(waves))[:_BATCH]
        loss = F.cross_entropy(judge(_augment(waves[rows])), classes[rows], label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return judge.eval()


def _augment(waves: Tensor) -> Tensor:
    """Shift recordings by up to 50 ms, and add noise 10 to 40 dB below the speech."""
    shifts = torch.randint(-400, 400, (len(waves),)).tolist()
    shifted = torch.stack([row.roll(n) for row, n in zip(waves, shifts, strict=True)])
    level = spectrograms.LOUDNESS * 10 ** (-(10 + 30 * torch.rand(len(waves), 1)) / 20)
    return shifted + level * torch.randn_like(shifted)


def written(result: Any) -> Tensor:
    """Write a result as WAV files, and return the recordings that they contain.

    The recordings are padded with silence on both sides to the duration of the training recordings.
    """
    with tempfile.TemporaryDirectory() as folder:
        files = sorted(result.save(Path(folder) / "new").glob("*.wav"))
        waves = [soundfile.read(file, dtype="float32")[0] for file in files]
    return pad(waves, result.array.shape[-1])


def pad(waves: Sequence[np.ndarray], n_samples: int) -> Tensor:
    """Return recordings with silence before and after them, with shape (N, n_samples)."""
    padding = [n_samples - len(wave) for wave in waves]
    padded = [np.pad(w, (n // 2, n - n // 2)) for w, n in zip(waves, padding, strict=True)]
    return torch.from_numpy(np.stack(padded))


def spectral_distances(waves: Tensor, originals: Tensor) -> dict[str, float]:
    """Return the log-spectral distance in dB and the multi-resolution STFT distance."""
    distance, decibels = stft_distance(waves, originals)
    return {"LSD": float(decibels), "STFT": float(distance)}


def stft_distance(waves: Tensor, originals: Tensor, eps: float = 0.0) -> tuple[Tensor, Tensor]:
    """Return the multi-resolution STFT distance and the log-spectral distance.

    Magnitudes are limited to 50 dB below the loudest one. The multi-resolution STFT distance is the
    mean of the spectral convergence plus the mean absolute error of log magnitudes, over frames of
    128, 256 and 512 samples.

    Arguments:
        waves: Recordings, with shape (N, T).
        originals: The original recordings, with the same shape.
        eps: A number above 0 makes the distances differentiable for magnitudes of 0.
    """
    totals = []
    for n_fft in (128, 256, 512):
        a, b = (magnitudes(x, n_fft, n_fft // 4, eps) for x in (waves, originals))
        limit = b.amax((1, 2), keepdim=True) * 10 ** (-50 / 20)
        logs = a.clamp(min=limit).log() - b.clamp(min=limit).log()
        convergence = (a - b).flatten(1).norm(dim=1) / b.flatten(1).norm(dim=1)
        totals.append((convergence + logs.abs().mean((1, 2))).mean())
        if n_fft == N_FFT:
            decibels = 20 / math.log(10) * logs.square().mean(1).sqrt().mean()
    return torch.stack(totals).mean(), decibels


def levels(waves: Tensor) -> dict[str, float]:
    """Return the loudness, peaks, clipping and clicks of written recordings.

    The loudness is relative to that of training recordings before they are cut, in dB; the mean and
    the largest deviation are returned. A recording is clipped if two consecutive samples have the
    largest value of the format. The click factor is the largest second difference of a recording
    divided by the root mean square of its second differences; its 95th percentile and its maximum
    are returned.
    """
    decibels = -20 * (normalize_loudness(waves, RATE).norm(dim=1) / waves.norm(dim=1)).log10()
    peaks = waves.abs().amax(1)
    is_full = waves.abs() >= 1 - 1e-4
    steps = waves.diff(n=2, dim=1)
    clicks = steps.abs().amax(1) / steps.square().mean(1).sqrt()
    return {
        "level": float(decibels.mean()),
        "deviation": float(decibels.abs().max()),
        "peak": float(peaks.max()),
        "crest": float((peaks / waves.square().mean(1).sqrt()).median()),
        "clipped": float((is_full[:, 1:] & is_full[:, :-1]).any(1).sum()),
        "click": float(clicks.quantile(0.95)),
        "max click": float(clicks.max()),
    }


def durations(waves: Tensor) -> np.ndarray:
    """Return the duration of each recording in seconds, without silence at the start and end."""
    return np.array([len(trim(wave, RATE)) / RATE for wave in waves.numpy()])


def recognize_words(waves: Tensor, words: Sequence[str]) -> Tensor:
    """Return the index of the word that PocketSphinx recognizes in each recording, or -1."""
    python = python_of("pocketsphinx", "pocketsphinx==5.1.1", "numpy")
    with tempfile.TemporaryDirectory() as folder:
        recordings, recognized = (Path(folder) / name for name in ("waves.npz", "words.npz"))
        resampled = resample_poly(waves.numpy(), 2, 1, axis=1)
        np.savez(recordings, waves=resampled, words=np.array(words))
        command: list[str | Path] = [python, "-m", "benchmarks.peers.pocketsphinx"]
        subprocess.run([*command, recordings, recognized], cwd=ROOT, check=True)
        with np.load(recognized) as arrays:
            return torch.from_numpy(arrays["words"])
