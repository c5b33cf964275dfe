"""`varied impute`: fill missing values of a table or array, or a masked region of images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from varied.cli import console
from varied.cli.options import RunName, Seed, Source, option, save
from varied.cli.paths import open_run, unused_path
from varied.errors import VariedError


def impute(
    run: RunName,
    source: Source = None,
    n_draws: Annotated[int, option("M", "Number of draws for each value or image.", least=2)] = 50,
    intervals: Annotated[
        Path | None, option("FILE", "Also write the imputed values with their 90% intervals.")
    ] = None,
    mask: Annotated[
        str | None,
        option(
            "MASK",
            "Region to inpaint: left,top,width,height, or an image that is white in the region.",
        ),
    ] = None,
    n: Annotated[int, option("N", "With --mask: number of images.", "-n", least=1)] = 8,
    seed: Seed = 0,
    out: Annotated[
        Path | None,
        option("FILE", "Output: imputed.csv or imputed.npy, or inpainted.png for images."),
    ] = None,
) -> None:
    """Fill missing values of a table or array, or a masked region of images."""
    opened = open_run(run)
    if mask is not None:
        with console.status("Inpainting"):
            images = opened.inpaint(source, mask=mask, n=n, n_draws=n_draws, seed=seed)
        count = f"{len(images):,} images; the mean of {n_draws} draws is first"
        save(images, out, "inpainted", count)
        return
    with console.status("Imputing"):
        result = opened.impute(source, n_draws=n_draws, seed=seed)
    if not len(result.cells):
        raise VariedError(
            "There are no missing values to impute; columns that the model ignores are not imputed."
        )
    save(result, out, "imputed", f"{len(result):,} rows with {len(result.cells):,} imputed values")
    if intervals is not None:
        path = result.save_cells(unused_path(intervals))
        console.say(f"Wrote {path}: each imputed value with its 90% interval.")
