"""Operations that analyze examples: detect, impute, inpaint and compare."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pandas as pd

from varied.data.archive import Member, attempt
from varied.data.codecs.plain_formats import image_url, parse_url
from varied.data.image_files import read_header, read_pixels
from varied.data.raw_data import Problem
from varied.errors import VariedError
from varied.evaluate.suites.compare import HEADER, Comparison
from varied.runs.imputation import ImputationResult
from varied.studio.examples import Selection, originals, select, to_examples
from varied.studio.generation import reconstruct_batch
from varied.studio.opened_run import OpenedRun
from varied.studio.schemas import (
    MAX_EXAMPLES,
    Anomaly,
    CompareRequest,
    CompareResponse,
    Decoded,
    DecodedList,
    DetectRequest,
    DetectResponse,
    Example,
    ImageExample,
    ImputedCell,
    ImputeRequest,
    ImputeResponse,
    InpaintRequest,
    Source,
)

#: The maximum number of examples whose excess is returned as a map.
_MAX_MAPS = 100
#: The number of examples that are compared by default.
_N_COMPARED = 8


# Anomalies


def detect(opened: OpenedRun, request: DetectRequest) -> DetectResponse:
    """Return the anomaly scores of examples, highest first; by default, of the first test rows.

    Raises:
        VariedError: If the model has no density.
    """
    source = request.source
    if source is None:
        rows = opened.run.store.read_split(opened.run.data).test[:MAX_EXAMPLES]
        source = Source(rows=rows.tolist())
    chosen = select(opened, source)
    if not len(chosen):
        raise VariedError(f"No example can be read: {chosen.item_errors[0].error}")
    report = opened.run.detect(chosen.original, max_fpr=request.max_fpr)
    order = report.order
    maps = report.excess_maps(order[:_MAX_MAPS])
    reasons, is_anomaly = report.reasons, report.is_anomaly
    results = [
        Anomaly(
            row=chosen.index[i] if chosen.rows is None else chosen.rows[i],
            name=chosen.name(i),
            score=float(report.score[i]),
            p_value=float(report.p_value[i]),
            is_anomaly=bool(is_anomaly[i]),
            reason=reasons[i],
            excess=None
            if maps is None or rank >= len(maps)
            else ImageExample(image=image_url(maps[rank])),
        )
        for rank, i in enumerate(order.tolist())
    ]
    return DetectResponse(
        results=results,
        errors=chosen.item_errors,
        threshold=None if report.threshold is None else report.threshold.value,
        max_fpr=request.max_fpr,
        normal_scores=np.sort(report.normal_score).tolist(),
    )


# Missing values


def impute(opened: OpenedRun, request: ImputeRequest) -> ImputeResponse:
    """Fill the missing values of a table or array, and offer the result for download.

    Raises:
        VariedError: If the run was not trained on a table or array, or no example can be read.
    """
    opened.run.codec.imputer()
    chosen = select(opened, request.source)
    if not len(chosen):
        raise VariedError(f"No example can be read: {chosen.item_errors[0].error}")
    result = opened.run.impute(chosen.data)
    name = f"imputed{result.default_ending}"
    return ImputeResponse(
        rows=to_examples(opened, result.array),
        errors=chosen.item_errors,
        cells=_cells(result, chosen),
        download=opened.services.add_download(name, result.save),
    )


def _cells(result: ImputationResult, chosen: Selection) -> list[ImputedCell]:
    """Return the imputed cells, whose rows are positions in the request."""
    frame = result.cells
    axes = [name for name in frame.columns if str(name).startswith("axis_")]
    cells = []
    for cell in frame.to_dict("records"):
        # The rows of a table are counted from 1, and those of an array from 0.
        row = int(cell["row"]) - (0 if axes else 1)
        column = ",".join(str(cell[axis]) for axis in axes) if axes else str(cell["column"])
        low, high, frequency = (_number(cell.get(k)) for k in ("ci_low", "ci_high", "frequency"))
        value = _plain(cell["value"])
        cells.append(
            ImputedCell(
                row=chosen.index[row],
                column=column,
                value=value,
                low=low,
                high=high,
                probability=frequency,
            )
        )
    return cells


def _plain(value: Any) -> str | float | int | bool | None:
    if value is None or value is pd.NA or value is pd.NaT or value != value:
        return None
    value = value.item() if isinstance(value, np.generic) else value
    return value if isinstance(value, str | int | float | bool) else str(value)


def _number(value: Any) -> float | None:
    plain = _plain(value)
    return float(plain) if isinstance(plain, int | float) else None


def inpaint(opened: OpenedRun, request: InpaintRequest) -> DecodedList:
    """Fill the white region of a mask in the first example, with several draws.

    Raises:
        VariedError: If the run was not trained on images, or the mask or the image is not valid.
    """
    codec = opened.run.codec
    mask = codec.parse_mask(_read_mask(request.mask))
    chosen = select(opened, request.source)
    chosen.require_all()
    result = opened.run.inpaint(chosen.data, mask=mask, n=1, n_draws=request.n)
    draws = result.array.reshape(-1, *result.array.shape[2:])[1:]
    return DecodedList(results=[Decoded(example=e) for e in to_examples(opened, draws)])


def _read_mask(url: str) -> Any:
    """Return the gray levels of a mask, uint8 with shape (H, W)."""
    member = Member("mask", lambda: io.BytesIO(parse_url(url)))
    header = attempt(member, read_header)
    if isinstance(header, Problem):
        raise VariedError(f"The mask is unreadable: {header.reason}; pass a PNG image.")
    pixels = attempt(member, read_pixels, header.size, True)
    if isinstance(pixels, Problem):
        raise VariedError(f"The mask is unreadable: {pixels.reason}; pass a PNG image.")
    return pixels


# Comparison


def compare(opened: OpenedRun, request: CompareRequest) -> CompareResponse:
    """Compare the reconstructions of this run and another one, and their ELBOs if possible.

    Raises:
        VariedError: If the other run does not exist, or cannot read the data of this one.
    """
    other = opened.services.open_run(request.other)
    rows = request.rows
    if rows is None:
        rows = opened.run.store.read_split(opened.run.data).test[:_N_COMPARED].tolist()
    chosen = select(opened, Source(rows=rows))
    chosen.require_all()
    other_batch = other.run.encode_data(other.run.read(chosen.data))
    reconstructions: list[list[Example]] = []
    for run, batch in ((opened, chosen.batch), (other, other_batch)):
        x = reconstruct_batch(run, batch)
        reconstructions.append(to_examples(run, run.run.decode(x, (len(x),), batch.c)))
    sentence, figures = _compare_elbos(opened, other)
    return CompareResponse(
        sentence=sentence,
        figures=figures,
        originals=originals(opened, chosen.data, chosen.batch),
        reconstructions=reconstructions,
    )


def _compare_elbos(opened: OpenedRun, other: OpenedRun) -> tuple[str, dict[str, list[Any]]]:
    """Compare two runs on the test rows that they share.

    Returns:
        Whether the ELBOs can be compared, as a sentence, and the figures of both runs by name.
    """
    key = ("comparison", str(other.run.folder), other.version)
    if key not in opened.cache:
        comparison = Comparison([opened.run, other.run])
        columns = zip(*comparison.rows(), strict=True)
        figures = {name: list(values) for name, values in zip(HEADER, columns, strict=True)}
        # The comparison itself would keep the other run in memory.
        opened.cache[key] = " ".join(comparison.sentences), figures
    result: tuple[str, dict[str, list[Any]]] = opened.cache[key]
    return result
