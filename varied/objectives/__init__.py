"""What is minimised: a sum of weighted terms. A paper's objective is a function that adds them up.

A weight is a number or a schedule, so beta, KL warm-up and cyclical annealing are numbers that move
and no feature of the loop.
"""

from collections.abc import Callable

from varied.objectives.adversarial import aae, factor, hinge_gan, vae_gan, wae_gan
from varied.objectives.base import Objective, Weighted
from varied.objectives.bound import control, elbo, perceptual, reconstruction
from varied.objectives.classes import semi, stacked
from varied.objectives.codes import vq
from varied.objectives.disentangle import beta_tc, capacity, dip, joint_capacity
from varied.objectives.importance import ciwae, iwae, miwae, piwae
from varied.objectives.matching import info, rae, wae_mmd

__all__ = [
    "OBJECTIVES",
    "Objective",
    "Weighted",
    "aae",
    "beta_tc",
    "capacity",
    "ciwae",
    "control",
    "dip",
    "elbo",
    "factor",
    "hinge_gan",
    "info",
    "iwae",
    "joint_capacity",
    "miwae",
    "perceptual",
    "piwae",
    "rae",
    "reconstruction",
    "semi",
    "stacked",
    "vae_gan",
    "vq",
    "wae_gan",
    "wae_mmd",
]

OBJECTIVES: dict[str, Callable[..., Objective]] = {
    "elbo": elbo,
    "reconstruction": reconstruction,
    "iwae": iwae,
    "miwae": miwae,
    "piwae": piwae,
    "ciwae": ciwae,
    "capacity": capacity,
    "joint-capacity": joint_capacity,
    "beta-tc": beta_tc,
    "dip": dip,
    "info": info,
    "wae-mmd": wae_mmd,
    "rae": rae,
    "control": control,
    "perceptual": perceptual,
    "vq": vq,
    "semi": semi,
    "stacked": stacked,
    "factor": factor,
    "aae": aae,
    "wae-gan": wae_gan,
    "vae-gan": vae_gan,
    "hinge-gan": hinge_gan,
}
