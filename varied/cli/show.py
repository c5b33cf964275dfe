def sample() -> None:
    """x"""


def reconstruct() -> None:
    """x"""


def interpolate() -> None:
    """x"""


def traverse() -> None:
    """x"""


def encode() -> None:
    """x"""
