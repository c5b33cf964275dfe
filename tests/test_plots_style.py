"""Tests of the common style: colors, fonts, number formats and label positions."""

import warnings

import numpy as np
import pandas as pd
import pytest

from varied import plots
from varied.plots import style

pytestmark = pytest.mark.figures


def test_twenty_classes_have_distinct_styles():
    assert len({style.class_style(index) for index in range(20)}) == style.MAX_CLASSES == 20


def test_avoid_overlap_keeps_the_gap_and_the_limits():
    shifted = style.avoid_overlap([0.98, 0.99, 0.1, 0.97], 0.1, 0.0, 1.0)
    assert max(shifted) <= 1
    assert np.diff(sorted(shifted)).min() >= 0.1 - 1e-9
    assert style.avoid_overlap([], 0.1, 0, 1) == []


@pytest.mark.parametrize(
    ("value", "text"),
    [(12000, "12k"), (1.4e6, "1.4M"), (-0.5, "−0.5"), (2020, "2020"), (3e9, "3G"), (0, "0")],
)
def test_ticks_are_short(value, text):
    assert style.format_tick(value) == text


def test_format_number_says_that_nan_is_not_a_number():
    assert style.format_number(float("nan")) == "not a number"
    assert style.format_number(float("-inf")) == "−∞"


def test_truncate_fits_the_width_on_one_line():
    assert style.truncate("two\n  words", 10, 100) == "two words"
    short = style.truncate("word " * 20, 10, 100)
    assert short.endswith("word…") or short.endswith("…")
    assert style.text_width(short, 10) <= 100


def test_fonts_with_other_scripts_are_used(tmp_path, monkeypatch):
    frame = pd.DataFrame({"年齢": [1.0, 2.5, 3.0], "町": ["東京", "大阪", "東京"]})
    names = ["DejaVu Sans", "DejaVu Serif", "Noto Sans CJK JP"]
    monkeypatch.setattr(style.fontManager, "get_font_names", lambda: names)
    style.text_properties.cache_clear()
    assert style.text_properties()["fontfamily"] == ["DejaVu Sans", "Noto Sans CJK JP"]
    monkeypatch.setattr(style.fontManager, "get_font_names", lambda: names[:1])
    style.text_properties.cache_clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert plots.column_shapes(frame, frame, tmp_path / "a.png").stat().st_size > 500
    style.text_properties.cache_clear()
