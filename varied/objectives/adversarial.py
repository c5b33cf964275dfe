"""Objectives with a critic: independent codes, codes like the prior, pictures like the data."""

from __future__ import annotations

from varied.critics import FeatureMatch, HingeGan, PriorMatch, TotalCorrelation
from varied.errors import VariedError
from varied.objectives.base import Objective, Weighted
from varied.schedules import Number
from varied.terms import distortion, rate

__all__ = ["aae", "factor", "hinge_gan", "vae_gan", "wae_gan"]


def factor(
    gamma: Number = 10.0,
    critic_width: int = 256,
    critic_depth: int = 3,
    critic_lr: float = 1.0,
) -> Objective:
    r"""The bound, and the total correlation of the codes as a critic estimates it.

    .. math:: \mathbb E_q[-\log p(x \mid z)] + KL(q(z \mid x), p(z))
        + \gamma \, KL(q(z), \textstyle\prod_j q(z_j))

    Independent dimensions tend to be one factor of the data each, with less loss in reconstruction
    than from a large weight on the whole KL.

    References:
        Disentangling by Factorising (Kim & Mnih, 2018), https://arxiv.org/abs/1802.05983

    Arguments:
        gamma: The weight of the total correlation, a number or a schedule; the paper's best are
            10 to 40.
        critic_width: The units of each hidden layer of the critic.
        critic_depth: The hidden layers of the critic.
        critic_lr: The critic's learning rate as a factor on the model's.
    """
    _sound(gamma=gamma)
    critic = TotalCorrelation(width=critic_width, depth=critic_depth, lr=critic_lr)
    return Objective(
        Weighted("distortion", distortion),
        Weighted("rate", rate),
        Weighted("total_correlation", critic, gamma),
    )


def aae(
    weight: Number = 10.0,
    critic_width: int = 256,
    critic_depth: int = 3,
    critic_lr: float = 1.0,
    r1: float = 1.0,
) -> Objective:
    r"""Reconstruction, and codes that a critic cannot tell from draws of the prior.

    .. math:: \mathbb E_q[-\log p(x \mid z)] - w \, \mathbb E_{q(z)} \log D(z)

    The encoder may put out points (posterior='point') or distributions; there is no KL.

    References:
        Adversarial Autoencoders (Makhzani et al., 2015), https://arxiv.org/abs/1511.05644

    Arguments:
        weight: The weight of the second part, a number or a schedule. The paper takes turns
            between the two parts, which is no weight at all.
        critic_width: The units of each hidden layer of the critic.
        critic_depth: The hidden layers of the critic.
        critic_lr: The critic's learning rate as a factor on the model's.
        r1: The weight of the gradient penalty on draws of the prior; 0 for none.
    """
    _sound(weight=weight)
    critic = PriorMatch(width=critic_width, depth=critic_depth, lr=critic_lr, r1=r1)
    return Objective(Weighted("distortion", distortion), Weighted("mismatch", critic, weight))


def wae_gan(
    weight: Number = 10.0,
    density: bool = True,
    critic_width: int = 256,
    critic_depth: int = 3,
    critic_lr: float = 1.0,
    r1: float = 1.0,
) -> Objective:
    r"""Optimal transport to the data, with a critic that holds the codes to the prior.

    .. math:: \mathbb E_q[-\log p(x \mid z)] - \lambda \, \mathbb E_{q(z)} \log D(z)

    It is `aae` with the paper's weight and its trick: the log-density of the prior is part of the
    critic's logit. The paper's cost is the squared error: a likelihood 'gaussian' with a fixed
    scale.

    References:
        Wasserstein Auto-Encoders (Tolstikhin et al., 2018), https://arxiv.org/abs/1711.01558

    Arguments:
        weight: The weight lambda of the second part, a number or a schedule.
        density: Whether the log-density of the prior is part of the critic's logit.
        critic_width: The units of each hidden layer of the critic.
        critic_depth: The hidden layers of the critic.
        critic_lr: The critic's learning rate as a factor on the model's.
        r1: The weight of the gradient penalty on draws of the prior; 0 for none.
    """
    _sound(weight=weight)
    critic = PriorMatch(
        density=density, width=critic_width, depth=critic_depth, lr=critic_lr, r1=r1
    )
    return Objective(Weighted("distortion", distortion), Weighted("mismatch", critic, weight))


def vae_gan(
    features: Number = 0.1,
    pixels: Number = 1.0,
    kl: Number = 1.0,
    realism: float = 0.1,
    start: float = 0.4,
    tolerance: float = 0.3,
    layer: int = -2,
    critic_width: int = 32,
    critic_depth: int = 3,
    critic_lr: float = 1.0,
    spectral: bool = True,
    r1: float = 0.0,
) -> Objective:
    r"""Reconstruction in a hidden layer of a critic, and pictures that it cannot tell from data.

    See `varied.critics.FeatureMatch` for the formula, and for what is not as in the paper.

    References:
        Autoencoding beyond pixels using a learned similarity metric (Larsen et al., 2016),
        https://arxiv.org/abs/1512.09300

    Arguments:
        features: The weight of what the critic says, a number or a schedule.
        pixels: The weight of the likelihood of pixels; the paper has 0, and then a likelihood's
            scale learns nothing.
        kl: The weight of the KL, a number or a schedule.
        realism: The weight of fooling the critic; 1 pulls as hard as the likeness of features does.
        start: The share of the run (below 1) or the step from which the critic is awake; before
            it, pixels are all there is.
        tolerance: By how much the squared error may rise above its lowest before the weight of
            fooling the critic is halved.
        layer: Which hidden layer of the critic, counted from 0 at the picture; -1 is the last.
        critic_width: The channels of the critic's first layer.
        critic_depth: The most halvings of the critic.
        critic_lr: The critic's learning rate as a factor on the model's.
        spectral: Whether the critic's layers are held at gain 1.
        r1: The weight of the gradient penalty on real data; 0 for none.
    """
    _sound(features=features, pixels=pixels, kl=kl)
    critic = FeatureMatch(
        layer=layer,
        realism=realism,
        start=start,
        tolerance=tolerance,
        width=critic_width,
        depth=critic_depth,
        lr=critic_lr,
        spectral=spectral,
        r1=r1,
    )
    return Objective(
        Weighted("distortion", distortion, pixels),
        Weighted("rate", rate, kl),
        Weighted("beyond_pixels", critic, features),
    )


def hinge_gan(
    kl: Number = 1.0,
    weight: Number = 0.3,
    start: float = 0.4,
    features: float = 1.0,
    tolerance: float = 0.3,
    critic_width: int = 32,
    critic_depth: int = 3,
    critic_lr: float = 1.0,
    spectral: bool = True,
    r1: float = 0.0,
) -> Objective:
    r"""The bound, and a critic of patches that wakes late and pulls as hard as reconstruction.

    .. math:: \mathbb E_q[-\log p(x \mid z)] + \beta \, KL(q(z \mid x), p(z))
        - w \lambda \, \mathbb E_q D(\mu(z))

    See `varied.critics.HingeGan` for :math:`\lambda`, the critic's loss, and the brake.

    References:
        Taming Transformers for High-Resolution Image Synthesis (Esser et al., 2021),
        https://arxiv.org/abs/2012.09841

        High-Resolution Image Synthesis with Latent Diffusion Models (Rombach et al., 2022),
        https://arxiv.org/abs/2112.10752

    Arguments:
        kl: The weight of the KL, a number or a schedule; 0 for a posterior without a density.
        weight: The weight of the critic, a number or a schedule: 1 pulls as hard as the
            reconstruction.
        start: The share of the run (below 1) or the step from which the critic is awake.
        features: The weight of the distance in the critic's hidden maps beside its score.
        tolerance: By how much the squared error may rise above its lowest before the critic's
            weight is halved.
        critic_width: The channels of the critic's first layer.
        critic_depth: The most halvings of the critic.
        critic_lr: The critic's learning rate as a factor on the model's.
        spectral: Whether the critic's layers are held at gain 1.
        r1: The weight of the gradient penalty on real data; 0 for none, 1 to 10 is usual.
    """
    _sound(kl=kl, weight=weight)
    critic = HingeGan(
        start=start,
        features=features,
        tolerance=tolerance,
        width=critic_width,
        depth=critic_depth,
        lr=critic_lr,
        spectral=spectral,
        r1=r1,
    )
    paid = [Weighted("rate", rate, kl)] if kl else []
    return Objective(Weighted("distortion", distortion), *paid, Weighted("realism", critic, weight))


def _sound(**weights: Number) -> None:
    for name, weight in weights.items():
        if isinstance(weight, float | int) and weight < 0:
            raise VariedError(f"{name}={weight} must not be below 0.")
