"""Train a model from the command line, and print progress and results."""

from __future__ import annotations

import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import typer

from varied.cli import console
from varied.cli.evaluate import show_evaluation

if TYPE_CHECKING:
    from varied.data import RawData
    from varied.training import Job

#: The maximum number of unreadable files that are listed.
MAX_PROBLEMS = 10
#: The signal number for a pipe without a reader, which Windows does not define.
SIGPIPE = 13


@dataclass(frozen=True)
class OutputMode:
    """The output of a command: text by default, JSON, or only the run folder."""

    as_json: bool = False
    quiet: bool = False

    @property
    def progress_stream(self) -> TextIO | None:
        """The stream for progress, or None if progress would corrupt machine-readable output."""
        if self.quiet or (self.as_json and not sys.stderr.isatty()):
            return None
        return sys.stderr if self.as_json else sys.stdout

    @property
    def is_text(self) -> bool:
        """Whether the command prints text."""
        return not (self.as_json or self.quiet)


def prepare_job(
    source: str, model: Any, out: Path | None, choices: Mapping[str, Any], mode: OutputMode
) -> Job:
    """Read the data, prepare the training run, and print the chosen defaults."""
    with console.status(f"Reading {source}", quiet=mode.quiet):
        from varied.training import prepare

        job = prepare(source, model, out=out, **choices)
    if mode.is_text:
        print_job(job, source)
    return job


def print_job(job: Job, title: str) -> None:
    """Print what was inferred from the data and which defaults were chosen."""
    console.heading(title)
    for sentence in job.sentences:
        console.say(sentence, 2)
    _print_problems(job.data)


def _print_problems(data: RawData) -> None:
    for problem in data.problems[:MAX_PROBLEMS]:
        console.say(f"Skipped {problem.name}: {problem.reason}.", 2)
    rest = len(data.problems) - MAX_PROBLEMS
    if rest > 0:
        console.say(f"Skipped {rest:,} more unreadable files.", 2)


def run_job(job: Job, mode: OutputMode) -> None:
    """Train, evaluate and write the report, and print the result.

    Raises:
        typer.Exit: After Ctrl-C, SIGTERM, or when the reader of the output has ended, with exit
            code 130, 143 or 141.
    """
    from varied.prior_fitting import prior_plan
    from varied.training import Interrupted
    from varied.training.progress import run_with_progress

    n_notices = len(job.notices)
    try:
        stream, steps = mode.progress_stream, job.train()
        try:
            if mode.is_text:
                console.say(f"Run folder: {job.store.folder}.", 2)
                console.show()
            run_with_progress(steps, job.spec.plan, stream)
        except BrokenPipeError:
            job.is_stopping, job.signal = True, SIGPIPE
            for _ in steps:  # the next step saves a checkpoint and stops training
                pass
        if job.fits_prior_later:
            if mode.is_text:
                console.say("Fitting the prior to the codes of the training rows.", 2)
            run_with_progress(job.fit_prior(), prior_plan(job.spec), stream)
        with console.status("Evaluating and plotting", quiet=mode.quiet):
            job.finish()
    except Interrupted:
        saved = f"Saved at step {job.state.step:,}"
        raise _report_interrupt(saved, mode, job.signal) from None
    except KeyboardInterrupt:
        raise _report_interrupt("Stopped", mode, signal.SIGINT) from None
    except SystemExit:
        raise _report_interrupt("Stopped", mode, signal.SIGTERM) from None
    for notice in job.notices[n_notices:] if mode.is_text else ():
        console.say(notice)
    _print_result(job, mode)


def _report_interrupt(what: str, mode: OutputMode, number: int) -> typer.Exit:
    sentence = f"{what}; resume with the same command: {console.command_line()}"
    to_stderr = not mode.is_text or number == SIGPIPE
    console.show(*[""] * (not to_stderr), sentence, error=to_stderr)
    return typer.Exit(128 + number)


def _print_result(job: Job, mode: OutputMode) -> None:
    from varied.atomic_io import read_json

    folder, state = job.store.folder, job.state
    if mode.quiet:
        console.show(folder)
        return
    evaluation = read_json(folder / "evaluation.json")
    files = sorted(p.name for p in folder.iterdir() if p.is_file() and p.name[0] != ".")
    if mode.as_json:
        result: dict[str, Any] = {
            "run": str(folder),
            "step": state.step,
            "seconds": state.seconds,
            "problems": [[problem.name, problem.reason] for problem in job.data.problems],
            "evaluation": evaluation,
            "files": files,
        }
        console.show_json(result)
        return
    duration = f"{state.seconds:.0f} s"
    if state.seconds >= 90:
        duration = f"{state.seconds / 60:.1f} minutes"
    title = f"Metrics on {evaluation['n']:,} test rows, after {duration} of training"
    show_evaluation(evaluation, title)
    _print_files(folder, files)
    console.warn(evaluation["warnings"])
    console.show()
    console.say(
        f"Next: varied serve {folder} (in the browser), varied sample {folder}, or varied evaluate "
        f"{folder}."
    )


def _print_files(folder: Path, files: list[str]) -> None:
    endings: Mapping[str, tuple[str, ...]] = {
        "report": (".html", ".md"),
        "plots": (".png",),
        "animations": (".gif",),
        "recordings": (".flac",),
        "data": (".csv",),
        "model": (".safetensors", ".toml"),
        "logs": (".json", ".jsonl"),
    }
    rows = [
        (kind, ", ".join(name for name in files if name.endswith(each)))
        for kind, each in endings.items()
    ]
    console.heading(f"Files in {folder}")
    console.table(("", ""), [row for row in rows if row[1]])
