"""The names that papers gave, as compositions: tables and nothing more."""

from varied.zoo.densities import DENSITIES
from varied.zoo.entry import UNMEASURED, Entry
from varied.zoo.plain import PLAIN
from varied.zoo.structures import STRUCTURED
from varied.zoo.weights import OBJECTIVES

__all__ = ["UNMEASURED", "ZOO", "Entry"]

ZOO: dict[str, Entry] = PLAIN | STRUCTURED | OBJECTIVES | DENSITIES
