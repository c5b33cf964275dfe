"""One trial of one system: its command line, its clock, and the line of JSON that it prints."""

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

from benchmarks.peers.tasks import TASKS, Task, test_images, train_images


@dataclass
class Clock:
    """Counts training images and seconds, without the startup and the warm-up.

    A system calls `tick` after each step, or after several steps, and stops when `tick` returns
    True.
    """

    seconds: float
    warmup: float
    created: float = field(default_factory=perf_counter)
    first: float | None = None
    begin: float | None = None
    end: float = 0.0
    samples: int = 0

    def tick(self, samples: int) -> bool:
        """Count the images since the last call; return whether the trial has ended."""
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
        return (self.first or self.end) - self.created


class System(Protocol):
    """The interface of a system: its name, its training, and its quality after training."""

    name: str

    def train(self, task: Task, x: Tensor, clock: Clock) -> int:
        """Train on uint8 images until `clock.tick(samples)` is True; return the parameter count."""
        ...

    def quality(
        self, task: Task, x: Tensor, test: Tensor, epochs: int, seed: int
    ) -> tuple[float, float]:
        """Train for some epochs; return reconstruction and KL of the test images in nats."""
        ...


def main(system: System) -> None:
    """Run one trial and print its line of JSON."""
    args = parse_args()
    torch.set_num_threads(args.threads)
    measure = measure_quality if args.epochs else measure_speed
    common = {"system": system.name, "task": args.task, "threads": torch.get_num_threads()}
    line = common | measure(system, TASKS[args.task], args) | {"torch": torch.__version__}
    sys.stdout.write(json.dumps(line) + "\n")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Run one trial of one system; print JSON.")
    parser.add_argument("--data", type=Path, required=True, help="the .npz file of MNIST")
    parser.add_argument("--task", choices=TASKS, required=True)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--warmup", type=float, default=2.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=0, help="measure quality instead of speed")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def measure_speed(system: System, task: Task, args: argparse.Namespace) -> dict[str, float]:
    x = train_images(task, args.data)
    clock = Clock(args.seconds, args.warmup)
    parameters = system.train(task, x, clock)
    return {
        "samples_per_second": round(clock.samples / clock.elapsed, 1),
        "seconds": round(clock.elapsed, 3),
        "startup": round(clock.startup, 3),
        "parameters": parameters,
    }


def measure_quality(system: System, task: Task, args: argparse.Namespace) -> dict[str, float]:
    x, test = train_images(task, args.data), test_images(task, args.data)
    begin = perf_counter()
    reconstruction, kl = system.quality(task, x, test, args.epochs, args.seed)
    return {
        "epochs": args.epochs,
        "seed": args.seed,
        "seconds": round(perf_counter() - begin, 3),
        "reconstruction": round(reconstruction, 3),
        "kl": round(kl, 3),
        "negative_elbo": round(reconstruction + kl, 3),
    }
