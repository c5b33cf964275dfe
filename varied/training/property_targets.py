"""The properties of examples that latent variables are trained to predict."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from varied.data import RawData
from varied.errors import VariedError
from varied.models import LatentModel
from varied.runs.attributes import numeric_attributes
from varied.seeding import seeded
from varied.training.defaults import ResolvedConfig
from varied.training_step import PropertyHead


class PropertyTargets:
    """The numeric properties of examples, except those on which the model is conditioned.

    Arguments:
        config: The configuration of the training run.
        data: The training rows.

    Raises:
        VariedError: If the rows have no such property.
    """

    def __init__(self, config: ResolvedConfig, data: RawData) -> None:
        self.codec, self.data, self.seed = config.codec, data, config.spec.plan.seed
        conditions = () if config.context is None else config.context.by_name
        self.names = [
            name for name in numeric_attributes(data.head(1), self.codec) if name not in conditions
        ]
        if not self.names:
            raise VariedError(
                f"property_weight={config.spec.plan.property_weight} requires numeric properties "
                "other than the labels on which the model is conditioned, but these "
                f"{self.codec.noun} have none; provide numeric labels (--labels), or omit it."
            )

    @property
    def sentence(self) -> str:
        """A sentence that lists the properties."""
        return f"The latent variables are trained to predict {', '.join(self.names)}."

    def head(self, model: LatentModel) -> PropertyHead:
        """Return an untrained network that predicts the properties."""
        with seeded(self.seed, "properties"):
            return PropertyHead(model.latent_shape, len(self.names))

    def values(self) -> Tensor:
        """Return the standardized properties, with shape (N, P), NaN where unknown."""
        values = numeric_attributes(self.data, self.codec)
        y = torch.from_numpy(np.stack([values[name] for name in self.names], 1))
        y = torch.where(y.isfinite(), y, torch.nan)
        deviation = y - y.nanmean(0)
        std = deviation.square().nanmean(0).sqrt()
        return (deviation / torch.where(std > 0, std, 1.0)).float()
