"""Data as bits, by what a model knows of them, and back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from varied.compression import bits_back, code_indices, container
from varied.compression.deterministic import checksum, deterministic, fingerprint
from varied.compression.discretized import value_of
from varied.data.batches import iter_batches
from varied.errors import VariedError
from varied.evaluate import forward_pass
from varied.functional.decode import decode
from varied.models import VAE, LatentModel
from varied.posteriors import DeltaGaussian, Gaussian
from varied.priors import StandardNormal
from varied.runtime import eval_float32

__all__ = ["Packed", "compress", "decompress", "is_lossless"]

#: Rows of which the cheaper law of codes is chosen; and rows that are measured at once.
SOME, ROWS = 200, 500


@dataclass(frozen=True)
class Packed:
    """Data as bits.

    Arguments:
        data: The bytes of the file.
        least: Bits that the model gives as the least for all the data: minus the ELBO, or minus
            the log-probability of their codes.
        start: Bits of the file that tell nothing: what bits back begins with.
    """

    data: bytes
    least: float
    start: int


def is_lossless(model: LatentModel) -> bool:
    """Return whether all of the data comes back, and not their reconstructions.

    Raises:
        VariedError: If the model is of a kind that makes no bits.
    """
    return not _flat(model).num_codes


def compress(model: LatentModel, x: Tensor, notes: Mapping[str, Any] | None = None) -> Packed:
    r"""Return data as bits.

    With a Gaussian posterior and a standard normal prior the data are kept whole, by bits back, in

    .. math:: -\log_2 p(x \mid z) - \log_2 p(z) + \log_2 q(z \mid x)

    bits each, minus the ELBO in the mean. With a codebook their codes are kept, by the prior over
    codes or by how often training took each, whichever costs less, and what comes back is the
    reconstruction.

    References:
        Practical lossless compression with latent variables using bits back coding
        (Townsend et al., 2019), https://arxiv.org/abs/1901.04866

    Warning:
        The model is needed to read: what is kept is only as safe as the run. And only where the
        arithmetic is the same to about 12 digits; where it is not, reading says so.

    Arguments:
        model: The model; neither it nor torch's random state is changed.
        x: Data as the model sees them, with shape (N, *event).
        notes: Plain values to keep beside them.

    Raises:
        VariedError: If the model or the data are of a kind that makes no bits.
    """
    flat, x = _flat(model), x.cpu()
    head = {"model": fingerprint(flat), "n": len(x), "notes": dict(notes or {})}
    if flat.num_codes:
        return _compress_codes(flat, x, head)
    with deterministic(flat) as twin:
        found = bits_back.write(twin, x)
    head |= found.notes | {"kind": "bits back", "data": checksum(found.index)}
    return Packed(container.pack(head, found.words), _bound(flat, x), found.start)


def _compress_codes(model: VAE, x: Tensor, head: dict[str, Any]) -> Packed:
    device = next(model.parameters()).device
    with eval_float32(model):
        index = torch.cat(
            [code_indices.find(model, part.to(device)).cpu() for part in x.split(ROWS)]
        )
    with deterministic(model) as twin:
        costs = {law: code_indices.cost(twin, index[:SOME], law) for law in code_indices.laws(twin)}
        law = min(costs, key=costs.__getitem__)
        words, least = code_indices.write(twin, index, law)
    head |= {"kind": "codes", "law": law, "data": checksum(index)}
    return Packed(container.pack(head, words), least, 0)


def decompress(model: LatentModel, data: bytes) -> tuple[Tensor, dict[str, Any]]:
    """Return what bits tell: the data, or their reconstructions, with shape (N, *event); and notes.

    Arguments:
        model: The model by which they were written; neither it nor torch's state is changed.
        data: The bytes.

    Raises:
        VariedError: If they are damaged, or of another model, or were written where the same model
            gave other numbers.
    """
    head, words = container.unpack(data)
    flat = _flat(model)
    if head["model"] != fingerprint(flat):
        raise VariedError(
            "This file was written by another model, or its prior was fitted since; name the run "
            "that wrote it, as it was."
        )
    with deterministic(flat) as twin:
        index = _index(twin, head, words)
    if index is None or checksum(index) != head["data"]:
        raise VariedError(
            "The model computes other numbers here than where this file was written, so it cannot "
            "be read; read it with the versions, and on the kind of machine, that wrote it."
        )
    if head["kind"] == "bits back":
        return value_of(index, head["levels"]).float(), head["notes"]
    device = next(flat.parameters()).device
    with eval_float32(flat):
        latent = [
            code_indices.quantizer(flat).lookup(part.to(device)) for part in index.split(ROWS)
        ]
    return torch.cat([decode(flat, z).cpu() for z in latent]), head["notes"]


def _index(model: VAE, head: dict[str, Any], words: Any) -> Tensor | None:
    """Return the levels or the codes that words tell; None where the coder finds them none."""
    try:
        if head["kind"] == "codes":
            return code_indices.read(model, words, head["n"], head["law"])
        return bits_back.read(model, words, head["n"], head)
    except AssertionError:
        return None


def _bound(model: VAE, x: Tensor) -> float:
    """Return minus the ELBO of all data, in bits."""
    if not len(x):
        return 0.0
    found = forward_pass(model, lambda x: x, iter_batches(x, size=ROWS))
    assert found.kl is not None, "both are Gaussians"
    return float((found.reconstruction + found.kl).double().sum()) / math.log(2)


def _flat(model: LatentModel) -> VAE:
    """Return the model where its data can be made bits."""
    if not isinstance(model, VAE) or model.num_classes:
        raise VariedError(
            "Only a model with one level of latents and no classes compresses; train one with "
            "`varied train DATA --model vae`."
        )
    if model.num_codes:
        return model
    if not isinstance(model.encoder.head, Gaussian | DeltaGaussian) or not isinstance(
        model.prior, StandardNormal
    ):
        raise VariedError(
            "Bits back needs a Gaussian posterior and a standard normal prior; train a run with "
            "`varied train DATA --model vae`, or go back to its own prior with "
            "`varied fit-prior RUN none`."
        )
    return model
