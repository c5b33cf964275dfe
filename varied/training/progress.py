"""Show training progress as a bar in a terminal or notebook, otherwise as occasional lines."""

from __future__ import annotations

import importlib.util
import math
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from varied.spec import Plan
    from varied.training_loop import StepEvent

#: The number of seconds between two lines if there is no terminal.
LINE_SECONDS = 10.0
#: The weight of the latest step in the smoothed losses.
SMOOTHING = 0.03
#: The number of recent steps from which the speed is computed.
RECENT_STEPS = 200


class Meter:
    """The smoothed losses, speed and remaining time of a training run.

    Arguments:
        plan: The training plan, which sets the duration.
    """

    def __init__(self, plan: Plan) -> None:
        self.budget = 60.0 * plan.minutes
        self.event: StepEvent | None = None
        self.means: dict[str, float] = {}
        self.recent: deque[tuple[float, int]] = deque(maxlen=RECENT_STEPS)
        self.steps = 0

    def update(self, event: StepEvent) -> None:
        """Record a step."""
        self.event = event
        self.steps += 1
        self.recent.append((event.state.seconds, event.state.step))
        weight = max(SMOOTHING, 1 / self.steps)
        for name, tensor in event.parts.items():
            value = float(tensor)
            if math.isfinite(value):
                mean = self.means.get(name, value)
                self.means[name] = mean + weight * (value - mean)

    @property
    def progress(self) -> float:
        """The completed fraction of training."""
        return 0.0 if self.event is None else self.event.state.progress

    @property
    def speed(self) -> float:
        """The number of steps per second over recent steps."""
        if len(self.recent) < 2:
            return 0.0
        (start, first), (end, last) = self.recent[0], self.recent[-1]
        return (last - first) / (end - start) if end > start else 0.0

    @property
    def remaining(self) -> str:
        """The remaining time as text, or "" if it is unknown."""
        if self.event is None or not self.speed:
            return ""
        state = self.event.state
        seconds = (state.total - state.step) / self.speed
        limit = self.budget - state.seconds if self.budget else math.inf
        return f"{format_time(min(seconds, limit))} left"

    @property
    def losses(self) -> str:
        """The smoothed loss and its terms in nats, as text."""
        means = self.means
        if "prior" in means:
            return f"-log p(codes) {means['prior']:.2f} nats"
        if "kl" not in means:
            return f"reconstruction {means.get('reconstruction', math.nan):.2f} nats"
        elbo = means["reconstruction"] + means["kl"]
        text = (
            f"-ELBO {elbo:.2f} = reconstruction {means['reconstruction']:.2f} "
            f"+ KL {means['kl']:.2f}"
        )
        if abs(means["loss"] - elbo) > 0.005 * max(1.0, abs(elbo)):
            text += f"; loss {means['loss']:.2f}"
        return f"{text} nats"

    @property
    def pace(self) -> str:
        """The epoch and the speed, as text."""
        if self.event is None:
            return "starting"
        rows = self.speed * self.event.rows
        digits = 0 if self.speed >= 10 else 1
        speed = f", {self.speed:,.{digits}f} steps/s, {rows:,.0f} rows/s" if self.speed else ""
        return f"epoch {self.event.epoch:.1f}{speed}"


def format_time(seconds: float) -> str:
    """Format a duration as minutes and seconds, with hours if needed.

    Example:
        >>> format_time(5), format_time(95), format_time(7300)
        ('0:05', '1:35', '2:01:40')
    """
    rounded = max(0, round(seconds)) if math.isfinite(seconds) else 0
    hours, rest = divmod(rounded, 3600)
    minutes, seconds = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def run_with_progress(events: Iterable[StepEvent], plan: Plan, stream: TextIO | None) -> None:
    """Train to the end and show progress.

    Arguments:
        events: The events of the training loop.
        plan: The training plan, which sets the duration.
        stream: The stream for progress output; None shows nothing.
    """
    meter = Meter(plan)
    if stream is None:
        for _ in events:
            pass
    elif stream.isatty() or (is_notebook() and importlib.util.find_spec("ipywidgets")):
        with _bar(meter, stream):
            for event in events:
                meter.update(event)
    else:
        for line in _lines(events, meter):
            stream.write(f"{line}\n")
            stream.flush()


def _lines(events: Iterable[StepEvent], meter: Meter) -> Iterator[str]:
    last = time.monotonic()
    for event in events:
        meter.update(event)
        if time.monotonic() - last > LINE_SECONDS or meter.progress >= 1:
            last = time.monotonic()
            yield f"{meter.progress:4.0%}  {meter.pace}; {meter.losses}; {meter.remaining}"


@contextmanager
def _bar(meter: Meter, stream: TextIO) -> Iterator[None]:
    from rich.console import Console
    from rich.live import Live

    live = Live(
        console=Console(file=stream, highlight=False),
        refresh_per_second=4,
        get_renderable=lambda: _renderable(meter),
        transient=True,
    )
    with live:
        yield
    if meter.progress >= 1 and stream is sys.stdout:
        stream.write(f"Trained: {meter.pace}; {meter.losses}.\n")


def progress_stream(progress: bool | None) -> TextIO | None:
    """Return the stream for progress output, or None to show nothing.

    Arguments:
        progress: Whether to show progress; None shows it in a terminal or a notebook.
    """
    if progress is None:
        progress = sys.stdout.isatty() or is_notebook()
    return sys.stdout if progress else None


def is_notebook() -> bool:
    """Return whether the program is running in a Jupyter notebook."""
    return "ipykernel" in sys.modules


def _renderable(meter: Meter) -> Any:
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    line = Table.grid(expand=True, padding=(0, 1))
    line.add_column(no_wrap=True, justify="right")
    line.add_column(ratio=1)
    line.add_column(no_wrap=True)
    bar = ProgressBar(1.0, meter.progress)
    line.add_row(f"{meter.progress:4.0%}", bar, meter.remaining or "starting")
    texts = [meter.losses, meter.pace] if meter.event else []
    return Group(
        line, *(Text(f"      {text}", no_wrap=True, overflow="ellipsis") for text in texts)
    )
