"""Recognize generated speech: ``python -m benchmarks.speech RECORDINGS.zip``.

A conditional VAE is trained on spoken digits (`varied train recordings.zip --model conditional-vae
--labels '{digit}_{speaker}_{index}'`). The recordings with index 0 to 4 are the test rows. Two
convolutional classifiers, which are trained on the real training recordings with added noise,
recognize the digit and the speaker in the WAV files that `varied` writes: of the test recordings
after the spectrogram and its inverse, of their reconstructions, of samples with given labels, and
of test recordings decoded as each speaker (`varied style`). All runs use one thread.

Each trial is saved in ``results/speech.json`` as soon as it ends, and is not repeated;
``results/speech.md`` shows all trials.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import varied
from benchmarks.records import RESULTS, description, load, markdown_table, save, write_page
from varied import plots
from varied.data import RawData, fit_codec, spectrograms
from varied.data.spectrograms import equalize
from varied.evaluate import frechet
from varied.runs.result import draw_grid
from varied.runtime import describe_machine

NAME, PATTERN = "speech", "{digit}_{speaker}_{index}"
RATE, N_FFT, HOP, N_MELS = 8000, 256, 80, 40
_TEST_TAKES, _JUDGE_EPOCHS, _BATCH = 5, 25, 64
_STEPS, _SAMPLES_PER_PAIR = 1000, 10


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
        mel = self.filters @ _magnitudes(waves, N_FFT).square()
        mel = (mel + 1e-4 * mel.amax((1, 2), keepdim=True)).log()
        mel = mel - mel.mean((1, 2), keepdim=True)
        return self.layers((mel / mel.std((1, 2), keepdim=True))[:, None])

    def forward(self, waves: Tensor) -> Tensor:
        """Return the logits of the classes, with shape (N, num_classes)."""
        return self.output(self.features(waves))

    def accuracy(self, waves: Tensor, classes: Tensor) -> float:
        """Return the fraction of recordings that are recognized."""
        with torch.no_grad():
            return float((self(waves).argmax(1) == classes).double().mean())


def _block(inputs: int, outputs: int) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1)
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2)]


def _magnitudes(waves: Tensor, n_fft: int, hop: int = HOP) -> Tensor:
    window = torch.hann_window(n_fft)
    options: dict[str, Any] = {"window": window, "pad_mode": "constant", "return_complex": True}
    return torch.stft(waves, n_fft, hop, **options).abs()


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


# Measurements


def written(result: Any) -> Tensor:
    """Write a result as WAV files, and return the recordings that they contain."""
    with tempfile.TemporaryDirectory() as folder:
        files = sorted(result.save(Path(folder) / "new").glob("*.wav"))
        return torch.from_numpy(np.stack([soundfile.read(f, dtype="float32")[0] for f in files]))


def spectral_distances(waves: Tensor, originals: Tensor) -> dict[str, float]:
    """Return the log-spectral distance and the multi-resolution STFT distance.

    Magnitudes are limited to 50 dB below the loudest one. The multi-resolution STFT distance is the
    mean of the spectral convergence plus the mean absolute error of log magnitudes, over frames of
    128, 256 and 512 samples.
    """
    totals = []
    for n_fft in (128, 256, 512):
        a, b = (_magnitudes(x, n_fft, n_fft // 4) for x in (waves, originals))
        limit = b.amax((1, 2), keepdim=True) * 10 ** (-50 / 20)
        logs = a.clamp(min=limit).log() - b.clamp(min=limit).log()
        convergence = (a - b).flatten(1).norm(dim=1) / b.flatten(1).norm(dim=1)
        totals.append((convergence + logs.abs().mean((1, 2))).mean())
        if n_fft == N_FFT:
            decibels = 20 / np.log(10) * logs.square().mean(1).sqrt().mean()
    return {"LSD": float(decibels), "STFT": float(torch.stack(totals).mean())}


def levels(waves: Tensor, originals: Tensor) -> dict[str, float]:
    """Return the mean level relative to the originals (dB), the peak, and the crest factor."""
    scales = [x.norm(dim=1) / equalize(x, RATE).norm(dim=1) for x in (waves, originals)]
    decibels = 20 * (scales[0].mean() / scales[1].mean()).log10()
    rms = waves.square().mean(1).sqrt()
    crest = (waves.abs().amax(1) / rms).median()
    return {"level": float(decibels), "peak": float(waves.abs().max()), "crest": float(crest)}


class Trial:
    """The test recordings and the classifiers with which trials are measured.

    Arguments:
        data: The recordings, with the test rows.
    """

    def __init__(self, data: RawData) -> None:
        assert data.test is not None
        self.data, self.test = data, data.take(data.test)
        training = data.take(np.setdiff1d(np.arange(len(data)), data.test))
        self.originals = torch.from_numpy(self.test.x)
        self.training, labels = torch.from_numpy(training.x), _classes(training)
        self.judges = {name: train_judge(self.training, y) for name, y in labels.items()}

    def measure(self, waves: Tensor, classes: dict[str, Tensor]) -> dict[str, float]:
        """Return the accuracies of both classifiers, and the levels."""
        accuracies = {name: self.judges[name].accuracy(waves, y) for name, y in classes.items()}
        return accuracies | levels(waves, self.originals)

    def frechet(self, waves: Tensor) -> float:
        """Return the Fréchet distance of random recordings to the test recordings.

        The features are those of the classifier of digits, and the numbers of recordings are equal.
        """
        rows = torch.randperm(len(waves), generator=torch.manual_seed(0))[: len(self.originals)]
        with torch.no_grad():
            features = self.judges["digit"].features
            return frechet(features(waves[rows]), features(self.originals))

    def real(self) -> dict[str, Any]:
        """Measure the test recordings, before and after the spectrogram and its inverse."""
        codec, classes = fit_codec(self.data), _classes(self.test)
        images = codec.to_images(codec.encode(self.test))
        decoded = codec.decode(codec.encode(self.test))
        result = varied.runs.Result(codec, decoded, images, draw_grid, (len(self.test),))
        inverse = written(result)
        return {
            "real": self.measure(self.originals, classes)
            | {"Fréchet": self.frechet(self.training)},
            "inverse": self.measure(inverse, classes) | spectral_distances(inverse, self.originals),
        }

    def errors(self) -> dict[str, float]:
        """Measure the digits after errors of half a standard deviation, for several floors."""
        codec_floor, digits, accuracies = spectrograms.FLOOR, _classes(self.test)["digit"], {}
        for floor in (1e-5 / 16, 1e-3 / 16, codec_floor):
            spectrograms.FLOOR = floor
            codec = fit_codec(self.data)
            x = codec.encode(self.test)
            noise = torch.randn(x.shape, generator=torch.manual_seed(0))
            waves = torch.from_numpy(codec.decode(x + 0.5 * noise))
            accuracies[f"{floor:.2g}"] = self.judges["digit"].accuracy(waves, digits)
        spectrograms.FLOOR = codec_floor
        return accuracies

    def run(self, steps: int, seed: int) -> dict[str, Any]:
        """Train a conditional VAE, and measure reconstructions, samples and other speakers."""
        with tempfile.TemporaryDirectory() as folder:
            begin = time.process_time()
            options: dict[str, Any] = {"threads": 1, "precision": "float32", "compile": "no"}
            run = varied.train(
                self.data,
                "conditional-vae",
                steps=steps,
                seed=seed,
                out=Path(folder) / "run",
                progress=False,
                **options,
            )
            seconds = time.process_time() - begin
            evaluation, n = run.evaluate(), len(self.test)
            classes, speakers = _classes(self.test), self.data.label_classes[1]
            reconstructions = written(run.reconstruct(n=n))[n:]
            pairs = list(itertools.product(*map(range, _sizes(self.data)))) * _SAMPLES_PER_PAIR
            digit, speaker = (torch.tensor(column) for column in zip(*pairs, strict=True))
            label = {"digit": digit.tolist(), "speaker": speaker.tolist()}
            result = run.sample(len(pairs), label=label, seed=seed)
            _plot(result.images, self.data)
            samples = written(result)
            style = written(run.style(label={"speaker": list(speakers)}, n=n))
            as_speaker = torch.arange(len(speakers)).repeat(n)
            as_classes = {
                "digit": classes["digit"].repeat_interleave(len(speakers)),
                "speaker": as_speaker,
            }
        assert evaluation.elbo is not None
        assert evaluation.kl is not None
        return {
            "seconds": seconds,
            "-ELBO": -evaluation.elbo.value,
            "KL": evaluation.kl.value,
            "reconstructions": self.measure(reconstructions, classes)
            | spectral_distances(reconstructions, self.originals),
            "samples": self.measure(samples, {"digit": digit, "speaker": speaker})
            | {"Fréchet": self.frechet(samples)},
            "style": self.measure(style, as_classes),
        }


def _plot(images: np.ndarray, data: RawData) -> None:
    """Plot the spectrogram of a sample of each digit and speaker."""
    digits, speakers = data.label_classes
    first = images[: len(digits) * len(speakers)]
    by_speaker = first.reshape(len(digits), len(speakers), *first.shape[1:]).swapaxes(0, 1)
    plots.grid(
        by_speaker.reshape(first.shape),
        RESULTS / "samples" / "speech.png",
        columns=len(digits),
        row_titles=speakers,
        column_titles=digits,
    )


def _classes(data: RawData) -> dict[str, Tensor]:
    return {name: torch.from_numpy(y) for name, (y, _) in data.covariates.items()}


def _sizes(data: RawData) -> list[int]:
    return [len(classes) for classes in data.label_classes]


def read_recordings(path: str) -> RawData:
    """Read the recordings; those with index 0 to 4 are the test rows."""
    data = varied.read(path, labels=PATTERN)
    takes = [int(Path(name).stem.rpartition("_")[2]) for name in data.names or ()]
    return data.replace(test=np.flatnonzero(np.array(takes) < _TEST_TAKES))


def main() -> None:
    """Run the trials that have not been run, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recordings", help="folder or zip file of the recordings")
    parser.add_argument("--steps", type=int, default=_STEPS)
    parser.add_argument("--seeds", type=int, nargs="*", default=(0, 1, 2))
    args = parser.parse_args()
    torch.set_num_threads(1)
    trial = Trial(read_recordings(args.recordings))
    measurements: dict[str, Any] = {"real": trial.real, "errors": trial.errors}
    for seed in args.seeds:
        key = f"{args.steps} steps, seed {seed}"
        measurements[key] = lambda seed=seed: trial.run(args.steps, seed)
    for key, measurement in measurements.items():
        if key not in load(NAME):
            save(NAME, key, measurement())
            write_page(NAME, _page())


# The page


def _page() -> list[str]:
    record = load(NAME)
    names = {
        "real": "real test recordings",
        "inverse": "spectrogram and inverse",
        "reconstructions": "reconstructions",
        "samples": "samples",
        "style": "other speakers",
    }
    rows, seconds = [], []
    trials = {key: record[key] for key in sorted(record, key=lambda key: key != "real")}
    floors = [[floor, f"{a:.1%}"] for floor, a in trials.pop("errors", {}).items()]
    for key, trial in trials.items():
        source = "" if key == "real" else key
        rows += [[names[n], source, *_cells(trial[n])] for n in names if n in trial]
        if "seconds" in trial:
            seconds.append([key, *(f"{trial[n]:.0f}" for n in ("seconds", "-ELBO", "KL"))])
    header = ["recordings", "run", "digit", "speaker", "level, dB", "peak", "crest factor"]
    header += ["LSD, dB", "STFT distance", "Fréchet distance"]
    return [
        "# Speech",
        "",
        description(__doc__),
        "",
        f"Processor: {describe_machine()['processor']}.",
        "",
        *markdown_table(header, rows),
        "",
        "The level is relative to the real test recordings. LSD is the log-spectral distance. The "
        "Fréchet distance compares 150 recordings with the test recordings in the features of the "
        "classifier of digits; in the first row, these are training recordings.",
        "",
        *markdown_table(["run", "seconds", "-ELBO", "KL"], seconds),
        "",
        "The digits recognized after Gaussian errors of half the standard deviation of each band, "
        "for several values of the magnitude that is added before the logarithm:",
        "",
        *markdown_table(["magnitude", "digit"], floors),
        "",
        "A sample of each digit and speaker, from the last run:",
        "",
        "![Spectrograms of samples](samples/speech.png)",
    ]


def _cells(values: dict[str, float]) -> list[str]:
    formats = {
        "digit": "{:.1%}",
        "speaker": "{:.1%}",
        "level": "{:+.1f}",
        "peak": "{:.2f}",
        "crest": "{:.1f}",
        "LSD": "{:.1f}",
        "STFT": "{:.2f}",
        "Fréchet": "{:.1f}",
    }
    return [f.format(values[n]) if n in values else "" for n, f in formats.items()]


if __name__ == "__main__":
    main()
