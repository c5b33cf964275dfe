"""Objectives that match codes to the prior as a whole, or that only keep the decoder smooth."""

from __future__ import annotations

from collections.abc import Callable

from varied.errors import VariedError, lookup
from varied.objectives.base import Objective, WeightedTerm
from varied.schedules import Number
from varied.terms import MMD, WeightNorm, code_norm, gradient_penalty, kl, reconstruction

__all__ = ["info_vae", "rae", "wae_mmd"]

#: What may be asked of a decoder, with its weight.
SMOOTH: dict[str, Callable[[Number], WeightedTerm]] = {
    "l2": lambda weight: WeightedTerm("weight_norm", WeightNorm(), weight),
    "gp": lambda weight: WeightedTerm("slope", gradient_penalty, weight),
}


def info_vae(alpha: float = 0.0, mmd_weight: float = 100.0, kernel: str = "imq") -> Objective:
    r"""InfoVAE: the KL of each datum against the distance of all codes from the prior.

    .. math:: \mathbb E_q[-\log p(x \mid z)] + (1 - \alpha) \, KL(q(z \mid x), p(z))
        + (\alpha + \lambda - 1) \, \mathrm{MMD}(q(z), p(z))

    With alpha at 0 codes are as the bound wants them and match the prior better; at 1 the KL of
    single data is free, which is a Wasserstein autoencoder with noise.

    References:
        InfoVAE: Balancing Learning and Inference in Variational Autoencoders (Zhao et al., 2019),
        https://arxiv.org/abs/1706.02262

    Arguments:
        alpha: How much of the KL of single data is free, at most 1.
        mmd_weight: The lambda of the paper: nats for a squared discrepancy of 1.
        kernel: "imq" or "rbf".
    """
    if alpha > 1:
        raise VariedError(f"alpha={alpha} must be at most 1; at 1 the KL is free.")
    if alpha + mmd_weight < 1:
        raise VariedError(
            f"alpha={alpha} and mmd_weight={mmd_weight} must come to 1 at least, or the discrepancy is "
            f"rewarded; try mmd_weight=100."
        )
    return Objective(
        WeightedTerm("reconstruction", reconstruction),
        WeightedTerm("kl", kl, 1 - alpha),
        WeightedTerm("mmd", MMD(kernel), alpha + mmd_weight - 1),
    )


def wae_mmd(mmd_weight: Number = 100.0, kernel: str = "imq") -> Objective:
    r"""A Wasserstein autoencoder: reconstruction, and codes that as a whole match the prior.

    .. math:: \mathbb E_q[-\log p(x \mid z)] + \lambda \, \mathrm{MMD}(q(z), p(z))

    It reads no density, so the codes may be points (``posterior='deterministic'``), as in the paper.

    References:
        Wasserstein Auto-Encoders (Tolstikhin et al., 2018), https://arxiv.org/abs/1711.01558

    Arguments:
        mmd_weight: Nats for a squared discrepancy of 1, a number or a schedule.
        kernel: "imq", as in the paper, or "rbf".
    """
    return Objective(
        WeightedTerm("reconstruction", reconstruction), WeightedTerm("mmd", MMD(kernel), mmd_weight)
    )


def rae(
    regularizer: str = "l2", code_weight: Number = 0.1, decoder_weight: Number = 1e-3
) -> Objective:
    r"""A regularized autoencoder: short codes, and a decoder that is smooth without noise.

    .. math:: \mathbb E_q[-\log p(x \mid z)] + \beta \, \tfrac12 \lVert z \rVert^2
        + \lambda \, R

    where R is the squared length of the decoder's weights, or how steep it is at the codes. For
    points (``posterior='deterministic'``); to sample, fit a density to the codes afterwards.

    References:
        From Variational to Deterministic Autoencoders (Ghosh et al., 2020),
        https://arxiv.org/abs/1903.12436

    Arguments:
        regularizer: "l2" for small weights, or "gp" for small slopes, which takes twice as long.
        code_weight: The weight of the codes' length, a number or a schedule.
        decoder_weight: The weight of what is asked of the decoder, a number or a schedule; on digits 0.001
            is enough for small weights, and 0.1 for small slopes.
    """
    return Objective(
        WeightedTerm("reconstruction", reconstruction),
        WeightedTerm("code_norm", code_norm, code_weight),
        lookup(SMOOTH, regularizer, "regularizer")(decoder_weight),
    )
