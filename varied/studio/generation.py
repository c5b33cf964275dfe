"""Operations that encode and decode: sample, decode, encode and reconstruct."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor

from varied import functional
from varied.data import Batch, iter_batches
from varied.errors import VariedError
from varied.evaluate import is_active
from varied.functional.traverse import RANGE
from varied.runs.base import BATCH_ROWS
from varied.studio.examples import (
    Selection,
    decoded_examples,
    label_texts,
    originals,
    select,
    to_examples,
)
from varied.studio.items import nearest_points
from varied.studio.latent_map import ready_projections
from varied.studio.opened_run import OpenedRun
from varied.studio.schemas import (
    Decoded,
    DecodedList,
    DecodeRequest,
    DecodeResponse,
    Encoded,
    EncodeResponse,
    Neighbor,
    Pair,
    ReconstructResponse,
    SampleRequest,
    SourceRequest,
    Unit,
    Units,
)

#: The quantile of the codes up to which a slider goes, and the minimum length of a slider.
_TAIL, _MIN_LENGTH = 0.001, 0.5
#: The number of neighbors of an encoded example, and the maximum number of examples that have them.
_N_NEIGHBORS, _MAX_COMPARED = 12, 64
#: The maximum number of labels whose contexts are kept.
_MAX_CONTEXTS = 1000


def units(opened: OpenedRun) -> Units:
    """Return the latent units in order of decreasing KL, with the range of their codes.

    Raises:
        VariedError: If the latent variables are not real vectors, or the data are not available.
    """
    order, kl = opened.units
    codes = opened.codes
    mean, std, active = codes.mean(0), codes.std(0, correction=0), is_active(codes)
    low, high = np.quantile(codes.numpy(), (_TAIL, 1 - _TAIL), axis=0)
    is_short = high - low < _MIN_LENGTH
    margin = 0.1 * (high - low)
    low = np.where(is_short, mean.numpy() - RANGE, low - margin)
    high = np.where(is_short, mean.numpy() + RANGE, high + margin)
    return Units(
        units=[
            Unit(
                index=unit,
                kl=None if np.isnan(nats) else float(nats),
                is_active=bool(active[unit]),
                mean=float(mean[unit]),
                std=float(std[unit]),
                low=float(low[unit]),
                high=float(high[unit]),
            )
            for unit, nats in zip(order, kl, strict=True)
        ]
    )


def sample(opened: OpenedRun, request: SampleRequest) -> DecodedList:
    """Return samples from the prior, with their labels if the run is conditional."""
    result = opened.run.sample(
        request.n, label=request.label, temperature=request.temperature, seed=request.seed
    )
    labels = label_texts(opened, opened.run.contexts(request.n, request.label))
    examples = to_examples(opened, result.array)
    pairs = zip(examples, labels or [None] * len(examples), strict=True)
    return DecodedList(results=[Decoded(example=e, label=label) for e, label in pairs])


def decode(opened: OpenedRun, request: DecodeRequest) -> DecodeResponse:
    """Decode codes with the mean of p(x | z)."""
    return decode_together(opened, [request])[0]


def decode_together(opened: OpenedRun, requests: Sequence[DecodeRequest]) -> list[DecodeResponse]:
    """Decode the codes of several requests in one batch.

    A code of the wrong length has an error, and so has each code of a request whose label is
    unknown.
    """
    codes: list[list[float]] = []
    contexts: list[Tensor] = []
    errors: list[list[str | None]] = []
    for request in requests:
        c, problem = _context(opened, request.label)
        problems = [problem or _code_error(opened, z) for z in request.z]
        valid = [z for z, error in zip(request.z, problems, strict=True) if error is None]
        codes += valid
        errors.append(problems)
        if c is not None:
            contexts += [c] * len(valid)
    results, outside = _decode_codes(opened, codes, torch.cat(contexts) if contexts else None)
    decoded, flags = iter(results), iter(outside or [])
    return [
        DecodeResponse(
            results=[next(decoded) if e is None else Decoded(example=None, error=e) for e in each],
            is_outside=None if outside is None else [e is None and next(flags) for e in each],
        )
        for each in errors
    ]


def _context(opened: OpenedRun, label: Any) -> tuple[Tensor | None, str | None]:
    """Return the context of a label, or the error if it is unknown."""
    contexts: dict[str, Tensor | None] = opened.cache.setdefault("contexts", {})
    key = repr(label)
    if key not in contexts:
        if len(contexts) >= _MAX_CONTEXTS:  # a label can be any number
            contexts.clear()
        try:
            contexts[key] = opened.context(label)
        except VariedError as error:
            return None, str(error)
    return contexts[key], None


def _code_error(opened: OpenedRun, z: Sequence[float]) -> str | None:
    n = opened.latent_dim
    if len(z) == n:
        return None
    return (
        f"The code has {len(z):,} values, but this run has {n:,} latent units; pass {n:,} values."
    )


def _decode_codes(
    opened: OpenedRun, codes: list[list[float]], c: Tensor | None
) -> tuple[list[Decoded], list[bool] | None]:
    """Decode codes of the right length, and return whether each is outside the support."""
    if not codes:
        return [], None if opened.density is None else []
    z = torch.tensor(codes)
    outside = opened.is_outside(z)
    flags = None if outside is None else outside.tolist()
    return decoded_examples(opened, opened.decode(z, c), c), flags


def encode(opened: OpenedRun, request: SourceRequest) -> EncodeResponse:
    """Return the posterior of each example, and its position in each projection."""
    chosen = select(opened, request.source)
    results = _encode_selection(opened, chosen) if len(chosen) else []
    return EncodeResponse(results=chosen.spread_over(results, _encode_failure))


def _encode_selection(opened: OpenedRun, chosen: Selection) -> list[Encoded]:
    batch, run = chosen.batch, opened.run
    batches = iter_batches(batch.x, batch.c, batch.mask, size=BATCH_ROWS)
    codes = functional.encode(run.model, run.codec.to_values, batches)
    try:
        planes = ready_projections(opened)
    except VariedError:  # the data are not available, so there is no map
        planes = {}
    places = {name: plane.place(codes.mean).tolist() for name, plane in planes.items()}
    ellipses = {name: plane.covariance(codes.std) for name, plane in planes.items()}
    known = {name: rows.tolist() for name, rows in ellipses.items() if rows is not None}
    neighbors = _neighbors(opened, codes.mean)
    kl = [None] * len(chosen) if codes.kl is None else codes.kl.tolist()
    return [
        Encoded(
            mean=mean,
            std=std,
            kl=nats,
            positions={name: (place[i][0], place[i][1]) for name, place in places.items()},
            ellipses={name: tuple(rows[i]) for name, rows in known.items()},
            neighbors=neighbors[i],
        )
        for i, (mean, std, nats) in enumerate(
            zip(codes.mean.tolist(), codes.std.tolist(), kl, strict=True)
        )
    ]


def _neighbors(opened: OpenedRun, z: Tensor) -> list[list[Neighbor]]:
    """Return the nearest points of the map, or nothing for many codes or without data."""
    if len(z) <= _MAX_COMPARED:
        with suppress(VariedError):
            return nearest_points(opened, z, _N_NEIGHBORS)
    return [[]] * len(z)


def _encode_failure(error: str) -> Encoded:
    return Encoded(mean=None, std=None, kl=None, positions={}, error=error)


def reconstruct(opened: OpenedRun, request: SourceRequest) -> ReconstructResponse:
    """Return each example and the mean of p(x | z) for its code; images are not binarized."""
    chosen = select(opened, request.source)
    pairs = []
    if len(chosen):
        x = reconstruct_batch(opened, chosen.batch)
        decoded = decoded_examples(opened, x, chosen.batch.c)
        given = originals(opened, chosen.data, chosen.batch)
        pairs = [
            Pair(original=original, reconstruction=result.example)
            for original, result in zip(given, decoded, strict=True)
        ]
    failed = Pair(original=None, reconstruction=None)
    return ReconstructResponse(
        results=chosen.spread_over(pairs, lambda error: failed.model_copy(update={"error": error}))
    )


def reconstruct_batch(opened: OpenedRun, batch: Batch) -> Tensor:
    """Return the reconstructions of stored rows, with shape (N, *event)."""
    parts = []
    for rows in iter_batches(batch.x, batch.c, batch.mask, size=BATCH_ROWS):
        x = opened.run.codec.to_values(rows.x)
        parts.append(functional.reconstruct(opened.run.model, x, rows.c))
    return torch.cat(parts)
