"""The latent space and samples at one point during training."""

from __future__ import annotations

import dataclasses

from torch import Tensor


@dataclasses.dataclass(frozen=True)
class Frame:
    """The latent space and samples at one point during training, for animations.

    Arguments:
        codes: The posterior means of fixed test rows, with shape (N, D).
        samples: Samples decoded from fixed latent variables or, if the prior is fitted after
            training, reconstructions of fixed test rows, in the form in which they are plotted,
            with shape (M, ...).
        epoch: The number of completed passes over the training rows.
        step: The number of completed steps.
    """

    codes: Tensor
    samples: Tensor
    epoch: float
    step: int
