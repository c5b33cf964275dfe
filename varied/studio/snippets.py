"""The same operation in Python, on the command line and as a request."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from varied.studio.opened_run import OpenedRun
from varied.studio.schemas import Response, Schema, Snippets

#: The maximum length of the body of a request in a snippet; longer lists are abbreviated.
_MAX_BODY = 1500
#: The number of items of a list that remain if it is abbreviated.
_N_ITEMS = 3
#: The maximum number of rows in a snippet.
_MAX_ROWS = 20
_FILE = "FILE"

Values = Mapping[str, Any]


def make_snippets(
    opened: OpenedRun, name: str, request: Schema, url: str, response: Response | None = None
) -> Snippets:
    """Return code that does what a request does.

    Arguments:
        opened: The run.
        name: The name of the operation.
        request: The request.
        url: The URL to which the request is sent.
        response: The response, from which the code of a point of the map is read.
    """
    folder = relative(opened.run.folder)
    values = request.model_dump(exclude_none=True)
    if response is not None and "z" in type(response).model_fields:
        values["z"] = [response.model_dump()["z"]]
    if name == "compare":
        values["other"] = _folder_of(opened, str(values["other"]))
    values["ending"] = opened.run.codec.default_ending
    imports = ["import torch", ""] if "z" in values else []
    lines = [*imports, "import varied", "", f"run = varied.Run({folder!r})"]
    rows = (values.get("source") or {}).get("rows")
    if rows is not None:
        lines.append(f"data = run.data.take({_list(rows)})")
    build = _PYTHON.get(name)
    words = None if name not in _COMMANDS or rows is not None else _COMMANDS[name](values)
    return Snippets(
        python="\n".join([*lines, *(build(values) if build else ())]),
        command=None if words is None else shlex.join(_words(words, folder)),
        curl=_curl(url, request),
    )


def relative(folder: Path) -> str:
    """Return a folder relative to the current one if it is inside, and absolute otherwise."""
    return _relative(folder, Path.cwd())


@lru_cache(maxsize=64)  # links are resolved once, which takes longer than everything else here
def _relative(folder: Path, here: Path) -> str:
    resolved = folder.resolve()
    return str(resolved.relative_to(here)) if resolved.is_relative_to(here) else str(resolved)


def _folder_of(opened: OpenedRun, other: str) -> str:
    return relative(opened.services.open_run(other).run.folder)


def _words(words: list[Any], folder: str) -> list[str]:
    return ["varied", str(words[0]), folder, *map(str, words[1:])]


def _curl(url: str, request: Schema) -> str:
    body = request.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    text = json.dumps(body, ensure_ascii=False)
    if len(text) > _MAX_BODY:
        text = json.dumps(_abbreviate(body), ensure_ascii=False)
    lines = (
        f"curl {shlex.quote(url)}",
        '-H "Authorization: Bearer $TOKEN"',
        "-H 'Content-Type: application/json'",
        f"-d {shlex.quote(text)}",
    )
    return " \\\n  ".join(lines)


def _abbreviate(value: Any) -> Any:
    """Return a value in which long texts and lists are cut, with an ellipsis."""
    if isinstance(value, dict):
        return {key: _abbreviate(item) for key, item in value.items()}
    if isinstance(value, list):
        items = [_abbreviate(item) for item in value[:_N_ITEMS]]
        return [*items, "..."] if len(value) > _N_ITEMS else items
    return f"{value[:40]}..." if isinstance(value, str) and len(value) > 60 else value


def _list(values: list[Any]) -> str:
    more = ", ..." * (len(values) > _MAX_ROWS)
    return f"[{', '.join(map(repr, values[:_MAX_ROWS]))}{more}]"


# Python


def _call(method: str, values: Values, *first: str, file: str, **options: Any) -> list[str]:
    """Return a call of a method of the run, the result of which is saved to a file.

    A name without an extension receives the extension of results of the run.
    """
    file = file if "." in file else f"{file}{values['ending']}"
    source = values.get("source")
    data = [] if source is None else ["data" if source.get("rows") is not None else f'"{_FILE}"']
    given = [f"{name}={value!r}" for name, value in options.items() if value is not None]
    return [f'run.{method}({", ".join([*first, *data, *given])}).save("{file}")']


def _sample(values: Values) -> list[str]:
    options = {name: values.get(name) for name in ("label", "temperature", "seed")}
    return _call("sample", values, str(values["n"]), file="samples", **options)


def _decode(values: Values) -> list[str]:
    codes = ", ".join(_list([round(v, 4) for v in z]) for z in values["z"][:_N_ITEMS])
    return [
        f"z = torch.tensor([{codes}]).reshape(-1, *run.model.latent_shape)",
        f"c = run.contexts(len(z), {values.get('label')!r})",
        "x = varied.functional.decode(run.model, z, c)",
        "examples = run.decode(x, (len(x),), c)",
    ]


def _interpolate(values: Values) -> list[str]:
    source = values["source"]
    is_grid = len(source.get("rows") or source.get("examples") or ()) == 4
    n, grid, path = (None, True, None) if is_grid else (1, None, values["path"])
    options = {"n": n, "steps": values["steps"], "path": path, "grid": grid}
    return _call("interpolate", values, file="path", **options)


def _attribute(values: Values) -> list[str]:
    positive, negative = _list(values["positive"]), values.get("negative")
    other = "[row for row in range(len(run.data)) if row not in positive]"
    return [
        f"positive = {positive}",
        f"negative = {other if negative is None else _list(negative)}",
        f'run.edit(examples=(positive, negative)).save("edits{values["ending"]}")',
    ]


def _compare(values: Values) -> list[str]:
    return [f"other = varied.Run({values['other']!r})", "print(run.evaluate(), other.evaluate())"]


_PYTHON: dict[str, Callable[[Values], list[str]]] = {
    "sample": _sample,
    "decode": _decode,
    "map/decode": _decode,
    "encode": lambda values: _call("encode", values, file="codes.csv"),
    "reconstruct": lambda values: _call("reconstruct", values, file="reconstructions"),
    "interpolate": _interpolate,
    "traverse": lambda values: _call(
        "traverse",
        values,
        file="traversals",
        dimensions=values["dimensions"],
        steps=values["steps"],
    ),
    "attribute": _attribute,
    "detect": lambda values: _call(
        "detect", values, file="detected.csv", max_fpr=values["max_fpr"]
    ),
    "impute": lambda values: _call("impute", values, file="imputed"),
    "inpaint": lambda values: _call(
        "inpaint", values, file="filled.png", mask="MASK.png", n=1, n_draws=values["n"]
    ),
    "compare": _compare,
}


# The command line


def _flags(**options: Any) -> list[Any]:
    return [word for name, value in options.items() for word in (f"--{name}", value)]


def _source(values: Values) -> list[Any]:
    return [] if values.get("source") is None else [_FILE]


def _sample_command(values: Values) -> list[Any]:
    label = values.get("label")
    text = ",".join(f"{k}={v}" for k, v in label.items()) if isinstance(label, dict) else label
    flags = {} if text is None else {"label": text}
    options = {name: values[name] for name in ("temperature", "seed")}
    return ["sample", "-n", values["n"], *_flags(**flags, **options)]


def _interpolate_command(values: Values) -> list[Any]:
    is_grid = len(values["source"].get("examples") or ()) == 4
    flags = ["--grid"] if is_grid else ["-n", 1, *_flags(path=values["path"])]
    return ["interpolate", _FILE, *flags, *_flags(steps=values["steps"])]


def _attribute_command(values: Values) -> list[Any] | None:
    negative = values.get("negative")
    if negative is None or max(len(values["positive"]), len(negative)) > _MAX_ROWS:
        return None
    # The command counts rows from 1.
    groups = {"positive": values["positive"], "negative": negative}
    texts = {name: ",".join(str(row + 1) for row in rows) for name, rows in groups.items()}
    return ["edit", *_flags(**texts)]


_COMMANDS: dict[str, Callable[[Values], list[Any] | None]] = {
    "sample": _sample_command,
    "encode": lambda values: ["encode", _FILE],
    "reconstruct": lambda values: ["reconstruct", _FILE],
    "interpolate": _interpolate_command,
    "traverse": lambda values: [
        "traverse",
        _FILE,
        *_flags(dimensions=values["dimensions"], steps=values["steps"]),
    ],
    "attribute": _attribute_command,
    "detect": lambda values: [
        "detect",
        *_source(values),
        *_flags(**{"max-fpr": values["max_fpr"]}),
    ],
    "impute": lambda values: ["impute", _FILE],
    "inpaint": lambda values: ["impute", _FILE, *_flags(mask="MASK.png")],
    "compare": lambda values: ["compare", values["other"]],
}
