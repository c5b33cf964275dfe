"""The names that papers gave, as compositions: tables and nothing more."""

from varied.zoo.architectures import STRUCTURED
from varied.zoo.basic import PLAIN
from varied.zoo.entry import Entry
from varied.zoo.objectives import OBJECTIVES
from varied.zoo.priors_posteriors import DENSITIES

__all__ = ["ZOO", "Entry"]

ZOO: dict[str, Entry] = PLAIN | STRUCTURED | OBJECTIVES | DENSITIES
