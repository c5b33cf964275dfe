"""Checks of the fields of codecs."""

from __future__ import annotations

import math
from collections.abc import Sequence

from varied.errors import VariedError

#: The maximum number of elements of an example, which takes 4 GiB.
MAX_ELEMENTS = 2**30


def check_fields(
    shape: tuple[int, ...], is_consistent: bool = True, scale: Sequence[float] = ()
) -> None:
    """Check the fields of a codec.

    Raises:
        VariedError: If the shape is invalid, the other fields do not match it, or a scale is not
            positive.
    """
    if not (shape and min(shape) > 0 and math.prod(shape) <= MAX_ELEMENTS):
        raise VariedError(
            f"The shape of an example, {shape}, must consist of positive integers with a product "
            f"of at most {MAX_ELEMENTS:,}; resize the examples."
        )
    if not is_consistent:
        raise VariedError(
            f"The codec does not match the shape {shape}; create the codec with `fit`."
        )
    if not min(scale, default=1) > 0:
        raise VariedError(
            f"The scale is {min(scale)}, but must be positive; create the codec with `fit`."
        )
