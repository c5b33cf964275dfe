"""One trial of one system: the command line, the clock, and the one line of JSON that it prints."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Protocol

import torch
from torch import Tensor

from benchmarks.peers.works import WORKS, Work, pictures, test_pictures

__all__ = ["Clock", "System", "main"]


@dataclass
class Clock:
    """Counts the pictures that were trained on, and leaves the start and the warm-up out.

    A system calls `tick` after each step (or after several) and stops when it returns true.
    """

    seconds: float
    warmup: float
    born: float = field(default_factory=perf_counter)
    first: float | None = None
    begin: float | None = None
    end: float = 0.0
    samples: int = 0

    def tick(self, samples: int) -> bool:
        """Count the pictures since the last call; return whether the trial is over."""
        self.end = perf_counter()
        if self.begin is not None:
            self.samples += samples
            return self.elapsed >= self.seconds
        self.first = self.first or self.end
        self.begin = self.end if self.end - self.first >= self.warmup else None
        return False

    @property
    def elapsed(self) -> float:
        """The seconds that were counted."""
        return self.end - (self.begin or self.end)

    @property
    def startup(self) -> float:
        """The seconds from the start of the training to the end of its first step."""
        return (self.first or self.end) - self.born


class System(Protocol):
    """What each system states: its name, how it trains, and how good it becomes."""

    name: str

    def train(self, work: Work, x: Tensor, clock: Clock) -> int:
        """Train on uint8 pictures until `clock.tick(samples)` is true; return the parameters."""
        ...

    def quality(
        self, work: Work, x: Tensor, test: Tensor, epochs: int, seed: int
    ) -> tuple[float, float]:
        """Train for some epochs; return the distortion and the rate of the test pictures, nats."""
        ...


def main(system: System) -> None:
    """Run one trial and print its line."""
    wanted = arguments()
    torch.set_num_threads(wanted.threads)
    measure = quality if wanted.epochs else speed
    common = {"system": system.name, "work": wanted.work, "threads": torch.get_num_threads()}
    line = common | measure(system, WORKS[wanted.work], wanted) | {"torch": torch.__version__}
    sys.stdout.write(json.dumps(line) + "\n")


def arguments() -> argparse.Namespace:
    asks = argparse.ArgumentParser(description="One trial of one system; prints a line of JSON.")
    asks.add_argument("--data", type=Path, required=True, help="the MNIST npz")
    asks.add_argument("--work", choices=WORKS, required=True)
    asks.add_argument("--seconds", type=float, default=8.0)
    asks.add_argument("--warmup", type=float, default=2.0)
    asks.add_argument("--threads", type=int, default=2)
    asks.add_argument("--epochs", type=int, default=0, help="measure the quality, not the speed")
    asks.add_argument("--seed", type=int, default=0)
    return asks.parse_args()


def speed(system: System, work: Work, wanted: argparse.Namespace) -> dict[str, float]:
    x = pictures(work, wanted.data)
    clock = Clock(wanted.seconds, wanted.warmup)
    parameters = system.train(work, x, clock)
    return {
        "samples_per_second": round(clock.samples / clock.elapsed, 1),
        "seconds": round(clock.elapsed, 3),
        "startup": round(clock.startup, 3),
        "parameters": parameters,
    }


def quality(system: System, work: Work, wanted: argparse.Namespace) -> dict[str, float]:
    x, test = pictures(work, wanted.data), test_pictures(work, wanted.data)
    began = perf_counter()
    distortion, rate = system.quality(work, x, test, wanted.epochs, wanted.seed)
    return {
        "epochs": wanted.epochs,
        "seed": wanted.seed,
        "seconds": round(perf_counter() - began, 3),
        "reconstruction": round(distortion, 3),
        "rate": round(rate, 3),
        "negative_elbo": round(distortion + rate, 3),
    }
