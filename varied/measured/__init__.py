"""All that can be measured of a run, in sections, by the functions of `varied.evaluate`."""

from varied.measured.abreast import abreast, all_of
from varied.measured.sections import SECTIONS, measured

__all__ = ["SECTIONS", "abreast", "all_of", "measured"]
