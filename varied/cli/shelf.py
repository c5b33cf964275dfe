def models() -> None:
    """x"""


def data() -> None:
    """x"""


def runs() -> None:
    """x"""


def doctor() -> None:
    """x"""
