"""Compression and decompression of data with a trained model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from varied.compression import bits_back, code_indices, container
from varied.compression.deterministic import deterministic
from varied.compression.discretize import from_levels
from varied.data.batches import iter_batches
from varied.errors import VariedError
from varied.evaluate import forward_pass
from varied.functional import decode
from varied.models import VAE, LatentModel
from varied.posteriors import DeltaGaussian, Gaussian
from varied.priors import StandardNormal
from varied.runtime import eval_float32

#: The number of rows on which the sources of probabilities are compared, and the batch size.
COMPARED, CHUNK = 200, 500


@dataclass(frozen=True)
class Packed:
    """Compressed data.

    Arguments:
        data: The bytes of the file.
        model_bits: The information content under the model, in bits: the negative ELBO, or the
            negative log-probability of the codes.
        initial_bits: The number of random bits, included in the file, with which bits-back coding
            starts.
    """

    data: bytes
    model_bits: float
    initial_bits: int


def is_lossless(model: LatentModel) -> bool:
    """Return whether compression is lossless; if not, decompression returns reconstructions.

    Raises:
        VariedError: If the model does not support compression.
    """
    return not _require_vae(model).num_codes


def compress(model: LatentModel, x: Tensor, notes: Mapping[str, Any] | None = None) -> Packed:
    r"""Compress data with a model.

    With a Gaussian posterior and a standard normal prior, compression is lossless. Bits-back coding
    requires

    .. math:: -\log_2 p(x \mid z) - \log_2 p(z) + \log_2 q(z \mid x)

    bits per example, which is on average the negative ELBO. With a codebook, the codes are
    compressed with their probabilities under the prior or with their frequencies in the training
    data, whichever requires fewer bits, and decompression returns the reconstructions.

    References:
        Practical lossless compression with latent variables using bits back coding
        (Townsend et al., 2019), https://arxiv.org/abs/1901.04866

    Warning:
        Decompression requires the same model, and arithmetic that agrees to about 12 digits;
        otherwise, it raises an error.

    Arguments:
        model: The model; neither it nor torch's random state is changed.
        x: The model input, with shape (N, *event).
        notes: JSON-serializable metadata to store with the data.

    Raises:
        VariedError: If the model or the data do not support compression.
    """
    vae, x = _require_vae(model), x.cpu()
    header = {"model": container.fingerprint(vae), "n": len(x), "notes": dict(notes or {})}
    if vae.num_codes:
        return _compress_codes(vae, x, header)
    with deterministic(vae) as twin:
        result = bits_back.encode(twin, x)
    checksum = container.checksum(result.index)
    header |= result.settings | {"kind": "bits-back", "checksum": checksum}
    return Packed(container.pack(header, result.words), _elbo_bits(vae, x), result.initial_bits)


def _compress_codes(model: VAE, x: Tensor, header: dict[str, Any]) -> Packed:
    device = next(model.parameters()).device
    with eval_float32(model):
        codes = [code_indices.find_codes(model, rows.to(device)).cpu() for rows in x.split(CHUNK)]
    index = torch.cat(codes)
    with deterministic(model) as twin:
        sources = code_indices.probability_sources(twin)
        bits = {name: code_indices.encode(twin, index[:COMPARED], name)[1] for name in sources}
        source = min(bits, key=bits.__getitem__)
        words, model_bits = code_indices.encode(twin, index, source)
    header |= {"kind": "codes", "source": source, "checksum": container.checksum(index)}
    return Packed(container.pack(header, words), model_bits, 0)


def decompress(model: LatentModel, data: bytes) -> tuple[Tensor, dict[str, Any]]:
    """Return the data or their reconstructions, with shape (N, *event), and the stored metadata.

    Arguments:
        model: The model that compressed the data; neither it nor torch's random state is changed.
        data: The bytes of the file.

    Raises:
        VariedError: If the file is corrupted or was written with a different model, or if the
            arithmetic differs from the arithmetic during compression.
    """
    header, words = container.unpack(data)
    vae = _require_vae(model)
    if header["model"] not in (None, container.fingerprint(vae)):
        raise VariedError(
            "This file was written with a different model, or a prior has been fitted to this "
            "model since then; use the run that wrote it."
        )
    with deterministic(vae) as twin:
        try:
            if header["kind"] == "codes":
                index = code_indices.decode(twin, words, header["n"], header["source"])
            else:
                index = bits_back.decode(twin, words, header["n"], header)
            is_equal = container.checksum(index) == header["checksum"]
        except AssertionError:  # constriction cannot decode the words
            is_equal = False
    if not is_equal:
        raise VariedError(
            "The probabilities that the model computes on this machine differ from those with "
            "which this file was written; use the same model, the same versions of varied and "
            "torch, and the same type of processor."
        )
    if header["kind"] == "bits-back":
        return from_levels(index, header["levels"]).float(), header["notes"]
    device = next(vae.parameters()).device
    with eval_float32(vae):
        z = [code_indices.quantizer(vae).lookup(rows.to(device)) for rows in index.split(CHUNK)]
    return torch.cat([decode(vae, rows).cpu() for rows in z]), header["notes"]


def _elbo_bits(model: VAE, x: Tensor) -> float:
    """Return the negative ELBO of all data, in bits."""
    if not len(x):
        return 0.0
    result = forward_pass(model, lambda x: x, iter_batches(x, size=CHUNK))
    assert result.kl is not None, "both are Gaussian"
    return float((result.reconstruction + result.kl).double().sum()) / math.log(2)


def _require_vae(model: LatentModel) -> VAE:
    """Return the model, or raise VariedError if it does not support compression."""
    if not isinstance(model, VAE) or model.num_classes:
        raise VariedError(
            "Compression requires a model with a single level of latent variables and no classes; "
            "train one with `varied train DATA --model vae`."
        )
    if model.num_codes:
        return model
    if not isinstance(model.encoder.head, Gaussian | DeltaGaussian) or not isinstance(
        model.prior, StandardNormal
    ):
        raise VariedError(
            "Lossless compression requires a Gaussian posterior and a standard normal prior; train "
            "with `varied train DATA --model vae`, or restore the original prior with "
            "`varied fit-prior RUN --reset`."
        )
    return model
