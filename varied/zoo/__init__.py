"""The names that papers gave, as compositions: tables and nothing more."""

from varied.zoo.densities import DENSITIES
from varied.zoo.entry import Entry
from varied.zoo.plain import PLAIN
from varied.zoo.structures import STRUCTURED
from varied.zoo.weights import OBJECTIVES

__all__ = ["ZOO", "Entry"]

ZOO: dict[str, Entry] = PLAIN | STRUCTURED | OBJECTIVES | DENSITIES
