"""q(z given x): what the encoder says of a code."""

from varied.posteriors.base import Posterior
from varied.posteriors.gaussian import Gaussian, Point

__all__ = ["POSTERIORS", "Gaussian", "Point", "Posterior"]

POSTERIORS: dict[str, type[Posterior]] = {"gaussian": Gaussian, "point": Point}
