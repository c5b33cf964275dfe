"""`varied explain`: a model or a word on one screen."""

from __future__ import annotations

import dataclasses
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated

import typer

from varied.cli import console
from varied.errors import VariedError, suggest

__all__ = ["explain", "page"]

#: Prose in wider lines is hard to read.
WIDEST = 88
LABEL = 9


def explain(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="A model, or a word such as kl.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Explain a model or a word on one screen: what it is, when to use it, what to watch."""
    if name is None:
        _show_list(as_json)
        return
    known = _named(name)
    if as_json:
        console.show_json({"name": known} | _plain(known))
        return
    wide = min(console.width() or WIDEST, WIDEST)
    title, *lines = page(known, wide)
    console.heading(title)
    for line in lines:
        print(line)


def _named(name: str) -> str:
    """Return the name of a lesson, however a person spells it: KL, Beta_VAE.

    Raises:
        VariedError: If there is no such lesson; the message names the nearest.
    """
    from varied.explain import LESSONS

    known = re.sub(r"[\s_]+", "-", name.strip().lower())
    if known in LESSONS:
        return known
    hint = suggest(known, LESSONS)
    near = hint if hint.startswith("did") else "`varied explain` lists what there is."
    raise VariedError(f"There is no lesson '{name}': {near}")


def _plain(name: str) -> dict[str, object]:
    from varied.explain import LESSONS

    lesson = LESSONS[name]
    return dataclasses.asdict(lesson) | {"run": dict(lesson.run)}


def _show_list(as_json: bool) -> None:
    from varied.explain import LESSONS, MODELS, TOPICS
    from varied.zoo import ZOO

    here = {title: [n for n in names if n in ZOO] for title, names in MODELS.items()}
    groups = {title: names for title, names in (here | TOPICS).items() if names}
    if as_json:
        console.show_json({"lessons": {title: list(names) for title, names in groups.items()}})
        return
    for title, names in groups.items():
        wide = max(map(len, names))
        console.heading(title)
        console.table(("", ""), [(name.ljust(wide), LESSONS[name].line) for name in names])
    print()
    console.say("`varied explain NAME` shows one.")


def page(name: str, wide: int) -> list[str]:
    """Return the lines of a lesson, its heading first.

    Arguments:
        name: The name of a lesson.
        wide: The columns to wrap at; a formula and a command stay whole.
    """
    from varied.explain import LESSONS, TOPICS
    from varied.zoo import ZOO

    lesson, room = LESSONS[name], wide - LABEL
    runs = name in ZOO or any(name in names for names in TOPICS.values())
    entry = ZOO.get(lesson.after or name)
    title = f"{name}: {ZOO[name].title if name in ZOO else lesson.line}"
    reference = f"{entry.reference}, {entry.year}: {entry.link}" if entry else ""
    commands = list(_commands(lesson.run, room)) if runs else ["It is not in the zoo yet."]
    blocks: list[list[tuple[str, Iterable[str]]]] = [
        [("What", _wrapped(lesson.what, room))],
        [("Formula", lesson.formula)],
        [("Use", _wrapped(lesson.use, room))],
        [("Watch", (line for one in lesson.watch for line in _wrapped(one, room, "• ")))],
        [("Run", commands)],
        [("After", _wrapped(reference, room)), ("See", _wrapped(", ".join(lesson.see), room))],
    ]
    found = [[line for part in block for line in _labeled(*part)] for block in blocks]
    return [title, *(line for block in found if block for line in (*block, ""))][:-1]


def _labeled(label: str, lines: Iterable[str]) -> Iterator[str]:
    for index, line in enumerate(lines):
        yield f"{label if index == 0 else '':{LABEL}}{line}".rstrip()


def _wrapped(text: str, room: int, mark: str = "") -> list[str]:
    return textwrap.wrap(
        " ".join(text.split()),
        room,
        initial_indent=mark,
        subsequent_indent=" " * len(mark),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _commands(run: Mapping[str, str], room: int) -> Iterator[str]:
    """Return each command, what it does below it, and its settings with what they do beside."""
    deep = max((len(text) for text in run if text.startswith("--")), default=0) + 4
    for text, does in run.items():
        if text.startswith("--"):
            lead = f"  {text}".ljust(deep)
            yield from _hanging(lead, does, room)
        else:
            yield text
            yield from _hanging("  ", does, room) if does else ()


def _hanging(lead: str, text: str, room: int) -> list[str]:
    lines = _wrapped(text, max(room - len(lead), 20))
    return [(lead if index == 0 else " " * len(lead)) + line for index, line in enumerate(lines)]
