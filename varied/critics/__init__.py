"""Terms with a network of their own, which learns to tell two kinds of things apart."""

from varied.critics.base import Adversary, frozen
from varied.critics.codes import PriorMatch, TotalCorrelation
from varied.critics.pictures import FeatureMatch, HingeGan

__all__ = [
    "Adversary",
    "FeatureMatch",
    "HingeGan",
    "PriorMatch",
    "TotalCorrelation",
    "frozen",
]
