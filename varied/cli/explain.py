"""`varied explain`: explain a model, metric or term."""

from __future__ import annotations

import dataclasses
import re
import textwrap
from collections.abc import Iterator, Mapping
from typing import Annotated

import typer

from varied.cli import console
from varied.errors import VariedError, suggest

#: The maximum width of a page, since longer lines are hard to read.
MAX_WIDTH = 88
LABEL_WIDTH = 9


def explain(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="A model, metric or term, such as kl.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Explain a model, metric or term on one screen."""
    from varied.explain import PAGES

    if name is None:
        _show_index(as_json)
        return
    name = _resolve(name)
    if as_json:
        console.show_json({"name": name} | dataclasses.asdict(PAGES[name]))
        return
    title, *lines = page_lines(name, min(console.width() or MAX_WIDTH, MAX_WIDTH))
    console.heading(title)
    console.show(*lines)


def _resolve(name: str) -> str:
    """Return the name of a page for a spelling variant, such as "KL" or "Beta_VAE"."""
    from varied.explain import PAGES

    key = re.sub(r"[\s_]+", "-", name.strip().lower())
    if key in PAGES:
        return key
    hint = suggest(key, PAGES)
    remedy = hint if hint.startswith("did") else "`varied explain` lists all pages."
    raise VariedError(f"There is no page '{name}': {remedy}")


def _show_index(as_json: bool) -> None:
    from varied.explain import MODELS, PAGES, TOPICS

    groups = MODELS | TOPICS
    if as_json:
        console.show_json({"pages": groups})
        return
    for title, names in groups.items():
        console.heading(title)
        console.table(("", ""), [(name, PAGES[name].summary) for name in names])
    console.show()
    console.say("`varied explain NAME` shows a page.")


def page_lines(name: str, width: int) -> list[str]:
    """Return the lines of a page, starting with the title.

    Arguments:
        name: The name of a page.
        width: The width at which text is wrapped; formulas and commands are not wrapped.
    """
    from varied.explain import PAGES
    from varied.zoo import ZOO

    page, room = PAGES[name], width - LABEL_WIDTH
    paper = ZOO.get(page.reference or name)
    sections = {
        "What": _wrap(page.what, room),
        "Formula": page.formula.splitlines(),
        "Use": _wrap(page.use, room),
        "Pitfalls": [line for text in page.pitfalls for line in _wrap(text, room, "• ", "  ")],
        "Commands": list(_command_lines(page.commands, room)),
        "Paper": _wrap(f"{paper.reference}, {paper.year}: {paper.link}", room) if paper else [],
        "See also": _wrap(", ".join(page.see_also), room),
    }
    lines = [f"{name}: {ZOO[name].title if name in ZOO else page.summary}"]
    for label, texts in sections.items():
        is_first_in_block = label != "What" and not (paper and label == "See also")
        lines += [""] if texts and is_first_in_block else []
        lines += [f"{'' if i else label:{LABEL_WIDTH}}{line}" for i, line in enumerate(texts)]
    return lines


def _command_lines(commands: Mapping[str, str], room: int) -> Iterator[str]:
    """Yield each command above its description, and each option next to its description."""
    indent = max((len(c) for c in commands if c.startswith("--")), default=0) + 4
    for command, text in commands.items():
        if command.startswith("--"):
            yield from _wrap(text, room, f"  {command}".ljust(indent), " " * indent)
        else:
            yield from (command, *_wrap(text, room, "  ", "  "))


def _wrap(text: str, width: int, first: str = "", rest: str = "") -> list[str]:
    return textwrap.wrap(
        text,
        width,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )
