"""Objectives that match the aggregate posterior to the prior, and regularized autoencoders."""

from __future__ import annotations

from varied.errors import VariedError, lookup
from varied.objectives.base import Objective, WeightedTerm
from varied.schedules import Number
from varied.terms import MMD, WeightNorm, code_norm, gradient_penalty, kl, reconstruction


def info_vae(alpha: float = 0.0, mmd_weight: float = 100.0, kernel: str = "imq") -> Objective:
    r"""InfoVAE: the negative ELBO with a KL weight of 1 - alpha, plus the squared MMD to the prior.

    .. math:: \mathbb E_q[-\log p(x \mid z)] + (1 - \alpha) \, KL(q(z \mid x) \,\|\, p(z))
        + (\alpha + \lambda - 1) \, \mathrm{MMD}^2(q(z), p(z))

    With an alpha of 0, the squared MMD is added to the negative ELBO, so that the codes match the
    prior more closely. With an alpha of 1, the KL has no weight, and the model is a Wasserstein
    autoencoder with a stochastic encoder.

    References:
        InfoVAE: Balancing Learning and Inference in Variational Autoencoders (Zhao et al., 2019),
        https://arxiv.org/abs/1706.02262

    Arguments:
        alpha: The parameter alpha of the paper, at most 1; the weight of the KL is 1 - alpha.
        mmd_weight: The parameter lambda of the paper, in nats per unit of the squared MMD.
        kernel: The kernel of the MMD: "imq" or "rbf".

    Raises:
        VariedError: If ``alpha`` is above 1, the weight of the MMD would be negative, or the kernel
            is unknown.
    """
    if alpha > 1:
        raise VariedError(f"alpha={alpha} must be at most 1; the weight of the KL is 1 - alpha.")
    if alpha + mmd_weight < 1:
        raise VariedError(
            f"alpha={alpha} and mmd_weight={mmd_weight} must sum to at least 1, since otherwise "
            "the MMD would have a negative weight; try mmd_weight=100."
        )
    return Objective(
        WeightedTerm("reconstruction", reconstruction),
        WeightedTerm("kl", kl, 1 - alpha),
        WeightedTerm("mmd", MMD(kernel), alpha + mmd_weight - 1),
    )


def wae_mmd(mmd_weight: Number = 100.0, kernel: str = "imq") -> Objective:
    r"""Wasserstein autoencoder: reconstruction plus the squared MMD between codes and prior.

    .. math:: \mathbb E_q[-\log p(x \mid z)] + \lambda \, \mathrm{MMD}^2(q(z), p(z))

    No density is required, so the encoder may be deterministic (``posterior='deterministic'``), as
    in the paper.

    References:
        Wasserstein Auto-Encoders (Tolstikhin et al., 2018), https://arxiv.org/abs/1711.01558

    Arguments:
        mmd_weight: The weight of the squared MMD, in nats per unit: a number or a schedule.
        kernel: The kernel of the MMD: "imq", as in the paper, or "rbf".
    """
    return Objective(
        WeightedTerm("reconstruction", reconstruction), WeightedTerm("mmd", MMD(kernel), mmd_weight)
    )


def rae(
    regularizer: str = "l2", code_weight: Number = 0.1, decoder_weight: Number = 1e-3
) -> Objective:
    r"""Regularized autoencoder: reconstruction plus penalties on the codes and the decoder.

    .. math:: \mathbb E_q[-\log p(x \mid z)] + \beta \, \tfrac12 \lVert z \rVert^2
        + \lambda \, R

    where R is the squared norm of the decoder weights or of the Jacobian of the decoder. Use this
    objective with ``posterior='deterministic'``. To generate samples, fit a prior to the codes
    after training.

    References:
        From Variational to Deterministic Autoencoders (Ghosh et al., 2020),
        https://arxiv.org/abs/1903.12436

    Arguments:
        regularizer: The penalty on the decoder: "l2" for the squared norm of the weights, or "gp"
            for the squared norm of the Jacobian, with which a step takes twice as long.
        code_weight: The weight of half the squared norm of the codes: a number or a schedule.
        decoder_weight: The weight of the regularizer: a number or a schedule. On MNIST, 0.001 is
            sufficient for "l2", and 0.1 for "gp".
    """
    terms = {
        "l2": WeightedTerm("weight_norm", WeightNorm(), decoder_weight),
        "gp": WeightedTerm("gradient_penalty", gradient_penalty, decoder_weight),
    }
    return Objective(
        WeightedTerm("reconstruction", reconstruction),
        WeightedTerm("code_norm", code_norm, code_weight),
        lookup(terms, regularizer, "regularizer"),
    )
