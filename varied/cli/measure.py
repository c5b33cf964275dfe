def evaluate() -> None:
    """x"""


def compare() -> None:
    """x"""
