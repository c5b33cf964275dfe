"""`varied optimize`: raise or lower a numeric property of examples."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from varied.cli import console
from varied.cli.options import (
    Attributes,
    RunName,
    Seed,
    Source,
    option,
    output,
    parse_examples,
    read_attributes,
    save,
)
from varied.cli.paths import open_run
from varied.errors import VariedError

if TYPE_CHECKING:
    from varied.runs.optimization import OptimizationResult

#: The numbers of examples and of changes that are printed.
MAX_EXAMPLES, MAX_CHANGES = 10, 8


def optimize(
    run: RunName,
    source: Source = None,
    property: Annotated[
        str | None, option("NAME", "Numeric column, label or property, such as qed.")
    ] = None,
    minimize: Annotated[
        bool, typer.Option("--minimize", help="Lower the property instead of raising it.")
    ] = False,
    start: Annotated[
        str | None,
        option(
            "EXAMPLES",
            "Examples to start from: molecules as SMILES such as CCO,CCN, or rows such as 3,17.",
            "--from",
        ),
    ] = None,
    radius: Annotated[
        float,
        option(
            "R", "Maximum distance in latent space; 1 is the typical distance of training examples."
        ),
    ] = 0.8,
    min_similarity: Annotated[
        float, option("S", "For molecules, minimum Tanimoto similarity to the original.")
    ] = 0.4,
    evaluations: Annotated[
        int,
        option("N", "Maximum number of evaluations of the property for each example.", least=1),
    ] = 200,
    attributes: Attributes = None,
    n: Annotated[int, option("N", "Number of examples.", "-n", least=1)] = 6,
    seed: Seed = 0,
    out: Annotated[Path | None, output("optimized")] = None,
) -> None:
    """Raise or lower a numeric property of examples by searching near their codes."""
    if property is None:
        raise VariedError(
            "A property to raise or lower is required; use, for example, --property qed."
        )
    if source is not None and start is not None:
        raise VariedError("--from cannot be combined with SOURCE; use one of them.")
    opened = open_run(run)
    with console.status("Optimizing"):
        result = opened.optimize(
            source if start is None else parse_examples(start),
            property=property,
            minimize=minimize,
            radius=radius,
            min_similarity=min_similarity,
            n_evaluations=evaluations,
            attributes=read_attributes(attributes),
            n=n,
            seed=seed,
        )
    _report(result)
    save(result, out, "optimized", f"{len(result.before)} examples and their optimized versions")


def _report(result: OptimizationResult) -> None:
    how = "predicted from the code" if result.is_predicted else "computed from the example"
    console.say(
        f"{result.name} is {how}; the R2 of the prediction on held-out rows is {result.r2}."
    )
    frame = result.summary
    rows = [tuple(map(_cell, row)) for row in frame.head(MAX_EXAMPLES).itertuples(index=False)]
    console.table(tuple(frame.columns), rows)
    console.say(
        f"The mean {result.name} changes from {result.before.mean():.3g} to "
        f"{result.after.mean():.3g}; the means of other properties:"
    )
    console.table(
        ("", "before", "after"),
        [
            (c.name + " (predicted)" * c.is_predicted, f"{c.before:.3g}", f"{c.after:.3g}")
            for c in result.changes[:MAX_CHANGES]
        ],
    )


def _cell(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
