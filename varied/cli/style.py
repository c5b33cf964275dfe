"""`varied style`: style transfer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from varied.cli.options import RunName, Source, option, output, parse_numbers, save
from varied.cli.paths import open_run
from varied.cli.sample import parse_label


def style(
    run: RunName,
    source: Source = None,
    label: Annotated[
        str | None,
        option(
            "LABEL",
            "Classes with which examples are decoded, such as three,seven, or batch=1,2 to set a "
            "covariate by name; by default, all classes.",
        ),
    ] = None,
    content: Annotated[
        str | None,
        option("SOURCE", "With --levels or --units: examples that provide the content."),
    ] = None,
    levels: Annotated[
        str | None,
        option("LIST", "Levels of a ladder VAE that encode the style; 1 is the bottom level."),
    ] = None,
    units: Annotated[str | None, option("LIST", "Latent units that encode the style.")] = None,
    n: Annotated[int, option("N", "Number of examples that provide a style.", "-n", least=1)] = 8,
    out: Annotated[Path | None, output("style")] = None,
) -> None:
    """Combine the style of some examples with the content of others."""
    opened = open_run(run)
    result = opened.style(
        source,
        label=parse_label(opened, label),
        content=content,
        levels=parse_numbers(levels, "--levels", "1,2", int),
        units=parse_numbers(units, "--units", "1,2", int),
        n=n,
    )
    save(result, out, "style", "one row per style")
