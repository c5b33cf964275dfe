"""Recognize generated speech: ``python -m benchmarks.speech RECORDINGS.zip``.

A conditional VAE is trained on spoken digits (`varied train recordings.zip --model conditional-vae
--labels '{digit}_{speaker}_{index}'`). The recordings with index 0 to 4 are the test rows. Two
convolutional classifiers, which are trained on the real training recordings with added noise,
recognize the digit and the speaker in the WAV files that `varied` writes: of the test recordings
after the spectrogram and its inverse, of their reconstructions, of samples with given labels, and
of test recordings decoded as each speaker (`varied style`). PocketSphinx, whose model of English
was not trained on these recordings, recognizes the digit as well. All runs use one thread.

Each trial is saved in ``results/speech.json`` as soon as it ends, and is not repeated;
``results/speech.md`` shows all trials.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
from scipy.stats import wasserstein_distance
from torch import Tensor

import varied
from benchmarks.records import RESULTS, description, load, markdown_table, save, write_page
from benchmarks.speech_measures import (
    HOP,
    RATE,
    durations,
    levels,
    pad,
    recognize_words,
    spectral_distances,
    train_judge,
    written,
)
from varied import plots
from varied.data import RawData, fit_codec, spectrograms
from varied.data.sound_files import trim
from varied.evaluate import frechet
from varied.runs.result import draw_grid
from varied.runtime import describe_machine

NAME, PATTERN = "speech", "{digit}_{speaker}_{index}"
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_TEST_TAKES, _STEPS, _SAMPLES_PER_PAIR = 5, 1000, 10
#: The recognizers of digits, by the key of their accuracy.
_RECOGNIZERS = {"digit": "classifier", "PocketSphinx": "PocketSphinx"}
#: The columns of the tables: the key of each number, its name and its format.
_RECOGNITION = {
    "digit": ("digit", "{:.1%}"),
    "speaker": ("speaker", "{:.1%}"),
    "PocketSphinx": ("digit (PocketSphinx)", "{:.1%}"),
    "LSD": ("LSD, dB", "{:.1f}"),
    "STFT": ("STFT distance", "{:.2f}"),
    "Fréchet": ("Fréchet distance", "{:.1f}"),
    "Wasserstein": ("Wasserstein distance, s", "{:.3f}"),
}
_LEVELS = {
    "level": ("level, dB", "{:+.2f}"),
    "deviation": ("deviation, dB", "{:.2f}"),
    "peak": ("peak", "{:.2f}"),
    "crest": ("crest factor", "{:.1f}"),
    "clipped": ("clipped", "{:.0f}"),
    "click": ("click factor, 95th percentile", "{:.1f}"),
    "max click": ("maximum", "{:.1f}"),
}


class Trial:
    """The test recordings and the classifiers with which trials are measured.

    Arguments:
        data: The recordings, with the test rows.
    """

    def __init__(self, data: RawData) -> None:
        assert data.test is not None
        self.data, self.test = data, data.take(data.test)
        training = data.take(np.setdiff1d(np.arange(len(data)), data.test))
        self.originals, self.classes = torch.from_numpy(self.test.x), _classes(self.test)
        self.training, labels = torch.from_numpy(training.x), _classes(training)
        self.judges = {name: train_judge(self.training, y) for name, y in labels.items()}

    def measure(self, waves: Tensor, classes: dict[str, Tensor]) -> dict[str, Any]:
        """Return the accuracies of the recognizers, also by digit and speaker, and the levels."""
        hits = {name: self.judges[name].classify(waves) == y for name, y in classes.items()}
        hits["PocketSphinx"] = recognize_words(waves, WORDS) == classes["digit"]
        by_class = {
            recognizer: {
                label: float(hits[recognizer][y == k].double().mean())
                for y, labels in zip(classes.values(), self.data.label_classes, strict=True)
                for k, label in enumerate(labels)
            }
            for recognizer in _RECOGNIZERS
        }
        accuracies = {name: float(hit.double().mean()) for name, hit in hits.items()}
        return accuracies | levels(waves) | {"by class": by_class}

    def compare(self, waves: Tensor) -> dict[str, float]:
        """Return distances between random recordings and the test recordings.

        The Fréchet distance compares equal numbers of recordings in the feature space of the
        classifier of digits. The Wasserstein distance compares the durations without silence, in
        seconds.
        """
        rows = torch.randperm(len(waves), generator=torch.manual_seed(0))[: len(self.originals)]
        with torch.no_grad():
            features = self.judges["digit"].features
            distance = frechet(features(waves[rows]), features(self.originals))
        seconds = wasserstein_distance(durations(waves), durations(self.originals))
        return {"Fréchet": distance, "Wasserstein": float(seconds)}

    def real(self) -> dict[str, Any]:
        """Measure the test recordings, before and after the spectrogram and its inverse."""
        codec = fit_codec(self.data)
        images = codec.to_images(codec.encode(self.test))
        decoded = codec.decode(codec.encode(self.test))
        result = varied.runs.Result(codec, decoded, images, draw_grid, (len(self.test),))
        inverse = written(result)
        return {
            "real": self.measure(self.originals, self.classes) | self.compare(self.training),
            "inverse": self.measure(inverse, self.classes)
            | spectral_distances(torch.from_numpy(decoded), self.originals),
        }

    def errors(self) -> dict[str, float]:
        """Measure the digits after errors of half a standard deviation, for several floors."""
        codec_floor, digits, accuracies = spectrograms.FLOOR, self.classes["digit"], {}
        for floor in (1e-5 / 16, 1e-3 / 16, codec_floor):
            spectrograms.FLOOR = floor
            codec = fit_codec(self.data)
            x = codec.encode(self.test)
            noise = torch.randn(x.shape, generator=torch.manual_seed(0))
            waves = torch.from_numpy(codec.decode(x + 0.5 * noise))
            hits = self.judges["digit"].classify(waves) == digits
            accuracies[f"{floor:.2g}"] = float(hits.double().mean())
        spectrograms.FLOOR = codec_floor
        return accuracies

    def train(self, steps: int, seed: int, folder: Path) -> tuple[varied.Run, dict[str, float]]:
        """Return a conditional VAE, and the CPU time of its training if it did not exist."""
        if (folder / "report.html").exists():
            return varied.Run(folder, self.data), {}
        begin = time.process_time()
        options: dict[str, Any] = {"threads": 1, "precision": "float32", "compile": "no"}
        options |= {"steps": steps, "seed": seed, "progress": False}
        run = varied.train(self.data, "conditional-vae", out=folder, **options)
        return run, {"seconds": time.process_time() - begin}

    def run(self, steps: int, seed: int, folder: Path) -> dict[str, Any]:
        """Train a conditional VAE, and measure reconstructions, samples and other speakers."""
        run, seconds = self.train(steps, seed, folder)
        evaluation, n = run.evaluate(), len(self.test)
        speakers = self.data.label_classes[1]
        result = run.reconstruct(n=n)
        reconstructions = written(result)[n:]
        distances = spectral_distances(torch.from_numpy(result.array[1]), self.originals)
        pairs = list(itertools.product(*map(range, _sizes(self.data)))) * _SAMPLES_PER_PAIR
        digit, speaker = (torch.tensor(column) for column in zip(*pairs, strict=True))
        label = {"digit": digit.tolist(), "speaker": speaker.tolist()}
        result = run.sample(len(pairs), label=label, seed=seed)
        _plot(result.images, self.data)
        samples, silence = written(result), {}
        for frames in (0, 5, result.array.shape[1] // HOP):
            trimmed = pad([trim(wave, RATE, frames) for wave in result.array], samples.shape[1])
            hits = recognize_words(trimmed, WORDS) == digit
            silence[f"{10 * frames} ms"] = float(hits.double().mean())
        style = written(run.style(label={"speaker": list(speakers)}, n=n))
        as_classes = {
            "digit": self.classes["digit"].repeat_interleave(len(speakers)),
            "speaker": torch.arange(len(speakers)).repeat(n),
        }
        assert evaluation.elbo is not None
        assert evaluation.kl is not None
        return seconds | {
            "-ELBO": -evaluation.elbo.value,
            "KL": evaluation.kl.value,
            "reconstructions": self.measure(reconstructions, self.classes) | distances,
            "samples": self.measure(samples, {"digit": digit, "speaker": speaker})
            | self.compare(samples),
            "style": self.measure(style, as_classes),
            "silence": silence,
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
    parser.add_argument("--runs", type=Path, help="folder in which the runs are kept")
    args = parser.parse_args()
    torch.set_num_threads(1)
    trial = Trial(read_recordings(args.recordings))
    with tempfile.TemporaryDirectory() as temporary:
        runs = args.runs or Path(temporary)
        measurements: dict[str, Any] = {"real": trial.real, "errors": trial.errors}
        for seed in args.seeds:
            run = partial(trial.run, args.steps, seed, runs / f"seed-{seed}")
            measurements[f"{args.steps} steps, seed {seed}"] = run
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
    trials = {key: record[key] for key in sorted(record, key=lambda key: key != "real")}
    floors = [[floor, f"{a:.1%}"] for floor, a in trials.pop("errors", {}).items()]
    sources = [
        (text, "" if key == "real" else key, trial[name])
        for key, trial in trials.items()
        for name, text in names.items()
        if name in trial
    ]
    seconds = [
        [key, *(f"{trial[n]:.0f}" if n in trial else "" for n in ("seconds", "-ELBO", "KL"))]
        for key, trial in trials.items()
        if "-ELBO" in trial
    ]
    return [
        "# Speech",
        "",
        description(__doc__),
        "",
        f"Processor: {describe_machine()['processor']}.",
        "",
        *_table(sources, _RECOGNITION),
        "",
        "LSD is the log-spectral distance to the originals; the second row has the lowest values "
        "that a model can reach. The Fréchet distance compares 150 recordings with the test "
        "recordings in the feature space of the classifier of digits, and the Wasserstein distance "
        "compares their durations without silence; in the first row, these are training "
        "recordings.",
        "",
        "## Levels",
        "",
        *_table(sources, _LEVELS),
        "",
        "The level is relative to that of the training recordings before they are cut; the "
        "deviation is that of the recording that differs most from it. A recording is clipped if "
        "two consecutive samples have the largest value of the format. The click factor is the "
        "largest second difference of a recording divided by the root mean square of its second "
        "differences.",
        "",
        "## Digits and speakers",
        "",
        *_class_table(trials),
        "",
        "The means over the seeds.",
        "",
        *_silence_section(trials),
        "## Training",
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


def _table(
    sources: list[tuple[str, str, dict[str, float]]], columns: dict[str, tuple[str, str]]
) -> list[str]:
    header = ["recordings", "run", *(name for name, _ in columns.values())]
    rows = [
        [text, run, *(f.format(values[k]) if k in values else "" for k, (_, f) in columns.items())]
        for text, run, values in sources
    ]
    return markdown_table(header, rows)


def _class_table(trials: dict[str, Any]) -> list[str]:
    """Return a table of the digits that are recognized, by digit and by speaker."""
    columns: dict[str, dict[str, float]] = {}
    for recognizer in _RECOGNIZERS:
        for source in ("real", "reconstructions", "samples"):
            tables = [t[source]["by class"][recognizer] for t in trials.values() if source in t]
            if tables:
                means = {name: mean(table[name] for table in tables) for name in tables[0]}
                columns[f"{source} ({_RECOGNIZERS[recognizer]})"] = means
    names = next(iter(columns.values()), {})
    rows = [[name, *(f"{column[name]:.0%}" for column in columns.values())] for name in names]
    return markdown_table(["recordings of", *columns], rows)


def _silence_section(trials: dict[str, Any]) -> list[str]:
    tables = {key: trial["silence"] for key, trial in trials.items() if "silence" in trial}
    if not tables:
        return []
    text = (
        "The digits of samples that PocketSphinx recognizes, by the silence that is kept before "
        "and after the sound:"
    )
    header = ["run", *next(iter(tables.values()))]
    rows = [[key, *(f"{value:.1%}" for value in table.values())] for key, table in tables.items()]
    return [text, "", *markdown_table(header, rows), ""]


if __name__ == "__main__":
    main()
