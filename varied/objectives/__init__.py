"""Training objectives: weighted sums of terms.

Each published objective is a function that returns an `Objective`. A weight is a number or a
schedule, so beta-VAE, KL warm-up and cyclical annealing are settings of a single objective.
"""

from collections.abc import Callable

from varied.objectives.adversarial import aae, factor_vae, patchgan, vae_gan, wae_gan
from varied.objectives.base import Objective, WeightedTerm
from varied.objectives.disentanglement import annealed_capacity, beta_tc_vae, dip_vae, joint_vae
from varied.objectives.elbo import control_vae, elbo, ms_ssim, reconstruction_only
from varied.objectives.importance import ciwae, iwae, multiply_iwae, piwae
from varied.objectives.prior_matching import info_vae, rae, wae_mmd
from varied.objectives.semi_supervised import m1m2, m2
from varied.objectives.vq import vq_vae

__all__ = [
    "OBJECTIVES",
    "Objective",
    "WeightedTerm",
    "aae",
    "annealed_capacity",
    "beta_tc_vae",
    "ciwae",
    "control_vae",
    "dip_vae",
    "elbo",
    "factor_vae",
    "info_vae",
    "iwae",
    "joint_vae",
    "m1m2",
    "m2",
    "ms_ssim",
    "multiply_iwae",
    "patchgan",
    "piwae",
    "rae",
    "reconstruction_only",
    "vae_gan",
    "vq_vae",
    "wae_gan",
    "wae_mmd",
]

OBJECTIVES: dict[str, Callable[..., Objective]] = {
    "elbo": elbo,
    "reconstruction": reconstruction_only,
    "iwae": iwae,
    "multiply-iwae": multiply_iwae,
    "piwae": piwae,
    "ciwae": ciwae,
    "annealed-capacity": annealed_capacity,
    "joint-vae": joint_vae,
    "beta-tc-vae": beta_tc_vae,
    "dip-vae": dip_vae,
    "info-vae": info_vae,
    "wae-mmd": wae_mmd,
    "rae": rae,
    "control-vae": control_vae,
    "ms-ssim": ms_ssim,
    "vq-vae": vq_vae,
    "m2": m2,
    "m1m2": m1m2,
    "factor-vae": factor_vae,
    "aae": aae,
    "wae-gan": wae_gan,
    "vae-gan": vae_gan,
    "patchgan": patchgan,
}
