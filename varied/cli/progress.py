"""How far a training is: a bar where a person looks on, a plain line now and then elsewhere."""

from __future__ import annotations

import math
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from varied.cli import console

if TYPE_CHECKING:
    from varied.spec import Plan
    from varied.training_loop import StepEvent

__all__ = ["Meter", "progress_stream", "spoken_time", "watched"]

#: Seconds between two plain lines.
BETWEEN = 10.0
#: The share of the newest step in the numbers shown.
FRESH = 0.03
#: Steps whose time gives the speed.
RECENT = 200


class Meter:
    """The numbers of a training, smoothed for the eye.

    Arguments:
        plan: How long the training is.
    """

    def __init__(self, plan: Plan) -> None:
        self.budget = 60.0 * plan.minutes
        self.event: StepEvent | None = None
        self.means: dict[str, float] = {}
        self.marks: deque[tuple[float, int]] = deque(maxlen=RECENT)
        self.seen = 0

    def see(self, event: StepEvent) -> None:
        """Take in a step."""
        self.event = event
        self.seen += 1
        self.marks.append((event.state.seconds, event.state.step))
        fresh = max(FRESH, 1 / self.seen)
        for name, tensor in event.parts.items():
            value = float(tensor)
            if math.isfinite(value):
                old = self.means.get(name, value)
                self.means[name] = old + fresh * (value - old)

    @property
    def progress(self) -> float:
        """The share that is done."""
        return 0.0 if self.event is None else self.event.state.progress

    @property
    def speed(self) -> float:
        """Steps a second, of late."""
        if len(self.marks) < 2:
            return 0.0
        (early, first), (late, last) = self.marks[0], self.marks[-1]
        return (last - first) / (late - early) if late > early else 0.0

    @property
    def left(self) -> str:
        """The time that is left, in words."""
        if self.event is None or not self.speed:
            return ""
        state = self.event.state
        rest = (state.total - state.step) / self.speed
        return f"{spoken_time(self.budget - state.seconds if self.budget else rest)} left"

    @property
    def numbers(self) -> str:
        """The loss and its parts, in nats."""
        means = self.means
        if "prior" in means:
            return f"-log p(codes) {means['prior']:.2f} nats"
        if "kl" not in means:
            told = f"reconstruction {means.get('reconstruction', math.nan):.2f}"
        else:
            total = means["reconstruction"] + means["kl"]
            told = (
                f"-ELBO {total:.2f} = reconstruction {means['reconstruction']:.2f} "
                f"+ KL {means['kl']:.2f}"
            )
            if abs(means["loss"] - total) > 0.005 * max(1.0, abs(total)):
                told += f"; loss {means['loss']:.2f}"
        return f"{told} nats"

    @property
    def pace(self) -> str:
        """Where it is and how fast."""
        if self.event is None:
            return "starting"
        rows = self.speed * self.event.rows
        digits = 0 if self.speed >= 10 else 1
        speed = f", {self.speed:,.{digits}f} steps/s, {rows:,.0f} rows/s" if self.speed else ""
        return f"epoch {self.event.epoch:.1f}{speed}"


def spoken_time(seconds: float) -> str:
    """Return a length of time in short.

    Example:
        >>> spoken_time(5), spoken_time(95), spoken_time(7300)
        ('0:05', '1:35', '2:01:40')
    """
    whole = max(0, round(seconds)) if math.isfinite(seconds) else 0
    hours, rest = divmod(whole, 3600)
    minutes, seconds = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def watched(events: Iterable[StepEvent], plan: Plan, stream: TextIO | None) -> None:
    """Let a training run to its end, and show how far it is.

    Arguments:
        events: The training.
        plan: How long it is.
        stream: Where to show it; None shows nothing.
    """
    meter = Meter(plan)
    if stream is None:
        for _ in events:
            pass
    elif stream.isatty():
        with _bar(meter, stream):
            for event in events:
                meter.see(event)
    else:
        for line in _lines(events, meter):
            print(line, file=stream, flush=True)


def _lines(events: Iterable[StepEvent], meter: Meter) -> Iterator[str]:
    said = time.monotonic()
    for event in events:
        meter.see(event)
        if time.monotonic() - said > BETWEEN or meter.progress >= 1:
            said = time.monotonic()
            yield f"{meter.progress:4.0%}  {meter.pace}; {meter.numbers}; {meter.left}"


@contextmanager
def _bar(meter: Meter, stream: TextIO) -> Iterator[None]:
    from rich.console import Console
    from rich.live import Live

    screen = Console(file=stream, highlight=False)
    live = Live(
        console=screen, refresh_per_second=4, get_renderable=lambda: _drawn(meter), transient=True
    )
    with live:
        yield
    if meter.progress >= 1 and stream is sys.stdout:
        console.say(f"Trained: {meter.pace}; {meter.numbers}.")


def _drawn(meter: Meter) -> Any:
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    line = Table.grid(expand=True, padding=(0, 1))
    line.add_column(no_wrap=True, justify="right")
    line.add_column(ratio=1)
    line.add_column(no_wrap=True)
    line.add_row(
        f"{meter.progress:4.0%}", ProgressBar(1.0, meter.progress), meter.left or "starting"
    )
    told = [meter.numbers, meter.pace] if meter.event else []
    rows = [Text(f"      {text}", no_wrap=True, overflow="ellipsis") for text in told]
    return Group(line, *rows)


def progress_stream(*, quiet: bool, as_json: bool) -> TextIO | None:
    """Return where progress goes: nowhere where it would spoil what a program reads."""
    if quiet or (as_json and not sys.stderr.isatty()):
        return None
    return sys.stderr if as_json else sys.stdout
