"""p(z): what codes are like before a datum is seen, and what new data are made from."""

from varied.priors.base import Prior
from varied.priors.normal import StandardNormal

__all__ = ["PRIORS", "Prior", "StandardNormal"]

PRIORS: dict[str, type[Prior]] = {"standard-normal": StandardNormal}
