"""Compare vocoders with Griffin-Lim: ``python -m benchmarks.speech_vocoder RECORDINGS RUN``.

RUN is the conditional VAE with seed 0 that `benchmarks.speech --runs FOLDER` trains. The log-mel
spectrograms of the 150 test recordings, and the smoother ones of their reconstructions, are
converted to waveforms by the fast Griffin-Lim algorithm, as in `varied`, and by two networks of
ConvNeXt blocks that predict the magnitudes and phases of the STFT (Siuzdak, 2024): one from the
spectrogram, and one that corrects the result of Griffin-Lim. They are trained for two minutes of
one thread each, on the spectrograms of the training recordings and of their reconstructions, with
a multi-resolution STFT loss and a mel loss, without a discriminator.

Each method is saved in ``results/speech_vocoder.json`` as soon as it has been measured;
``results/speech_vocoder.md`` shows all methods.
"""

from __future__ import annotations

import argparse
import math
import time
from typing import Any

import torch
from torch import Tensor, nn

import varied
from benchmarks.records import description, load, markdown_table, save, write_page
from benchmarks.speech import WORDS, read_recordings
from benchmarks.speech_measures import recognize_words, spectral_distances, stft_distance
from varied import functional
from varied.data import spectrograms
from varied.data.spectrograms import LogMel, normalize_loudness
from varied.runtime import describe_machine

NAME = "speech_vocoder"
SECONDS, BATCH, LEARNING_RATE, CHANNELS, BLOCKS = 120, 16, 2e-3, 128, 4


class Block(nn.Module):
    """A ConvNeXt block: a convolution of each channel, and a network of each frame."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(channels, channels, 7, padding=3, groups=channels)
        self.layers = nn.Sequential(
            nn.LayerNorm(channels),
            nn.Linear(channels, 3 * channels),
            nn.GELU(),
            nn.Linear(3 * channels, channels),
        )
        self.scale = nn.Parameter(torch.full((channels,), 1 / BLOCKS))

    def forward(self, x: Tensor) -> Tensor:
        """Return the features of the next layer, with shape (N, channels, frames)."""
        h = self.layers(self.convolution(x).transpose(1, 2))
        return x + (self.scale * h).transpose(1, 2)


class Vocoder(nn.Module):
    """A network that maps spectrograms to waveforms.

    Arguments:
        mel: The transform from waveforms to spectrograms.
        corrects: Whether the STFT of Griffin-Lim's result is corrected instead of predicted.
    """

    def __init__(self, mel: LogMel, corrects: bool) -> None:
        super().__init__()
        self.mel, self.corrects = mel, corrects
        bins = mel.n_fft // 2 + 1
        inputs = mel.shape[0] + corrects * 3 * bins
        self.layers = nn.Sequential(
            nn.Conv1d(inputs, CHANNELS, 7, padding=3), *(Block(CHANNELS) for _ in range(BLOCKS))
        )
        self.output = nn.Sequential(nn.LayerNorm(CHANNELS), nn.Linear(CHANNELS, 2 * bins))
        if corrects:
            nn.init.zeros_(self.output[1].weight)
            nn.init.zeros_(self.output[1].bias)

    def prepare(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the inputs for spectrograms, and the STFT that is corrected (or ones)."""
        if not self.corrects:
            return x - 1, torch.ones(1)
        stft = self.mel._stft(self.mel.invert(x))
        size = stft.abs().clamp(min=1e-5)
        return torch.cat([x - 1, size.log() / 3 + 1, stft.real / size, stft.imag / size], 1), stft

    def forward(self, inputs: Tensor, stft: Tensor) -> Tensor:
        """Return waveforms."""
        h = self.output(self.layers(inputs).transpose(1, 2)).transpose(1, 2)
        log_size, phase = h.chunk(2, 1)
        return self.mel._istft(stft * torch.polar(log_size.clamp(-12, 4).exp(), phase))

    def loss(self, waves: Tensor, originals: Tensor) -> Tensor:
        """Return the multi-resolution STFT loss plus the mel loss."""
        distance, _ = stft_distance(waves, originals, eps=1e-9)
        return distance + (self.mel(waves) - self.mel(originals)).abs().mean()


def train(vocoder: Vocoder, sources: list[Tensor], originals: Tensor) -> int:
    """Train a vocoder on spectrograms from several sources, and return the number of steps."""
    begin, steps = time.process_time(), 0
    prepared = [vocoder.prepare(x) for x in sources]
    optimizer = torch.optim.AdamW(vocoder.parameters(), betas=(0.8, 0.99), weight_decay=1e-2)
    while (progress := (time.process_time() - begin) / SECONDS) < 1:
        for group in optimizer.param_groups:
            warm_up, decay = min(1, (steps + 1) / 50), 0.5 + 0.5 * math.cos(math.pi * progress)
            group["lr"] = LEARNING_RATE * warm_up * decay
        inputs, stft = prepared[steps % len(prepared)]
        rows = torch.randint(len(originals), (BATCH,))
        waves = vocoder(inputs[rows], stft[rows] if vocoder.corrects else stft)
        loss = vocoder.loss(waves, originals[rows])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(vocoder.parameters(), 5.0)
        optimizer.step()
        steps += 1
    return steps


class Trial:
    """The spectrograms with which vocoders are trained and measured.

    Arguments:
        run: The conditional VAE.
    """

    def __init__(self, run: varied.Run) -> None:
        self.run, self.mel = run, run.codec.mel
        self.train, self.test = (self._spectrograms(name) for name in ("train", "test"))
        self.digits = torch.from_numpy(run.split("test").covariates["digit"][0])

    def _spectrograms(self, name: str) -> tuple[Tensor, Tensor, Tensor]:
        """Return recordings, their spectrograms, and those of their reconstructions."""
        data, codec = self.run.split(name), self.run.codec
        x, c = self.run.model_input(data)
        with torch.no_grad():
            blocks = zip(x.split(256), c.split(256), strict=True)
            mean = torch.cat([functional.reconstruct(self.run.model, *block) for block in blocks])
        waves = normalize_loudness(torch.from_numpy(data.x), codec.rate)
        return waves, codec._spectrograms(x), codec._spectrograms(mean)

    def measure(self, real: Tensor, reconstructed: Tensor | None) -> dict[str, Any]:
        """Return the distances of waveforms to the test recordings, and the recognized digits."""
        results = {}
        for name, waves in (("real", real), ("reconstructed", reconstructed)):
            if waves is not None:
                equal = normalize_loudness(waves, self.run.codec.rate)
                hits = recognize_words(equal, WORDS) == self.digits
                results[name] = spectral_distances(equal, self.test[0])
                results[name]["PocketSphinx"] = float(hits.double().mean())
        return results

    def griffin_lim(self, steps: int) -> dict[str, Any]:
        """Measure Griffin-Lim with a number of iterations."""
        default, spectrograms._GRIFFIN_LIM_STEPS = spectrograms._GRIFFIN_LIM_STEPS, steps
        results = self.measure(*(self.mel.invert(x) for x in self.test[1:]))
        spectrograms._GRIFFIN_LIM_STEPS = default
        return results

    def true_magnitudes(self) -> dict[str, Any]:
        """Measure Griffin-Lim with the magnitudes of the test recordings."""
        return self.measure(self.mel._griffin_lim(self.mel._stft(self.test[0]).abs()), None)

    def learned(self, corrects: bool) -> dict[str, Any]:
        """Train and measure a vocoder."""
        torch.manual_seed(0)
        vocoder = Vocoder(self.mel, corrects)
        steps = train(vocoder, list(self.train[1:]), self.train[0])
        with torch.no_grad():
            waves = [vocoder(*vocoder.prepare(x)) for x in self.test[1:]]
        parameters = sum(parameter.numel() for parameter in vocoder.parameters())
        return self.measure(*waves) | {"steps": steps, "parameters": parameters}


def main() -> None:
    """Measure the methods that have not been measured, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recordings", help="folder or zip file of the recordings")
    parser.add_argument("run", help="run folder")
    args = parser.parse_args()
    torch.set_num_threads(1)
    trial = Trial(varied.Run(args.run, read_recordings(args.recordings)))
    methods = {
        "Griffin-Lim, 32 iterations": lambda: trial.griffin_lim(32),
        "Griffin-Lim, 200 iterations": lambda: trial.griffin_lim(200),
        "Griffin-Lim with the true magnitudes": trial.true_magnitudes,
        "learned": lambda: trial.learned(corrects=False),
        "learned, corrects Griffin-Lim": lambda: trial.learned(corrects=True),
    }
    for name, measure in methods.items():
        if name not in load(NAME):
            save(NAME, name, measure())
    write_page(NAME, _page(load(NAME), list(methods)))


def _page(results: dict[str, Any], methods: list[str]) -> list[str]:
    header = ["method", "steps", "parameters"]
    for source in ("recordings", "reconstructions"):
        header += [f"STFT distance, {source}", "LSD, dB", "digit (PocketSphinx)"]
    rows = []
    for name in methods:
        result = results[name]
        cells = [f"{result[k]:,}" if k in result else "" for k in ("steps", "parameters")]
        for source in ("real", "reconstructed"):
            v = result.get(source)
            formats = {"STFT": "{:.3f}", "LSD": "{:.2f}", "PocketSphinx": "{:.1%}"}
            cells += [f.format(v[k]) if v else "" for k, f in formats.items()]
        rows.append([name, *cells])
    return [
        "# Vocoders",
        "",
        description(__doc__),
        "",
        f"Processor: {describe_machine()['processor']}.",
        "",
        *markdown_table(header, rows),
    ]


if __name__ == "__main__":
    main()
