"""Sprites: exact counts, nothing clipped, exact symmetries, the same pictures every time."""

import hashlib
import time

import numpy as np
import pytest

from varied.data import CATALOG, fit_codec, read
from varied.data import sprites as s
from varied.errors import VariedError

SIZES = tuple(s.FACTORS.values())


def stamps():
    """Every shape, scale and orientation in the middle, with shape (3, 6, 40, 64, 64)."""
    turns = np.stack(np.meshgrid(*map(np.arange, SIZES[:3]), indexing="ij"), -1).reshape(-1, 3)
    middle = np.full((len(turns), 2), 16)
    return s.draw(np.hstack([turns, middle])).reshape(*SIZES[:3], 64, 64)


def test_the_grid_is_whole():
    assert s.count() == 3 * 6 * 40 * 32 * 32 == 737_280
    assert s.count(color=True) == 6 * 737_280
    every = s.factors(np.arange(s.count()))
    assert every.min(0).tolist() == [0] * 5
    assert every.max(0).tolist() == [n - 1 for n in SIZES]
    numbers = np.ravel_multi_index(tuple(every.T), SIZES)
    assert np.array_equal(numbers, np.arange(s.count()))


@pytest.mark.parametrize(("shape", "turns"), [(0, 10), (1, 20), (2, 40)])
def test_a_shape_has_as_many_looks_as_its_symmetry_leaves(shape, turns):
    looks = stamps()[shape].reshape(240, -1)
    assert len(np.unique(looks, axis=0)) == 6 * turns
    same = stamps()[shape]
    assert np.array_equal(same, np.roll(same, turns, axis=1))


def test_shapes_at_all_scales_and_turns_differ():
    assert len(np.unique(stamps().reshape(720, -1), axis=0)) == 6 * (10 + 20 + 40)


def test_a_quarter_turn_goes_against_the_clock():
    drawn = stamps()
    # The middle is pixel 32, so row and column 0 have no partner.
    assert np.array_equal(drawn[:, :, 10, 1:, 1:], np.rot90(drawn[:, :, 0, 1:, 1:], axes=(2, 3)))


def test_the_heart_stands_upright_and_is_symmetric():
    heart = stamps()[2, 5, 0, 1:, 1:] > 0
    rows = np.flatnonzero(heart.any(1))
    assert np.array_equal(heart, heart[:, ::-1])
    assert heart[rows[-1]].sum() <= 3  # the tip below
    assert not heart[rows[0], 31]  # the notch above
    assert heart[rows[0]].sum() > 3
    widest = heart.sum(1).argmax()
    assert widest < rows.mean()


def test_an_ellipse_lies_down_before_it_is_turned():
    ellipse = stamps()[1, 5] > 0
    assert ellipse[0].any(0).sum() > 1.4 * ellipse[0].any(1).sum()
    assert ellipse[10].any(1).sum() > 1.4 * ellipse[10].any(0).sum()


def test_an_eighth_turn_leans_against_the_clock():
    down, across = np.nonzero(stamps()[1, 5, 5])
    assert np.corrcoef(across, -down)[0, 1] > 0.3


def test_scales_are_even_steps_and_areas_of_the_shapes_are_alike():
    area = (stamps() > 0).sum((3, 4)).mean(2)
    assert np.allclose(np.sqrt(area / area[:, -1:]), np.linspace(0.5, 1, 6), atol=0.015)
    assert np.all(area.max(0) < 1.06 * area.min(0))


def test_nothing_touches_the_border_and_only_black_and_white_is_drawn():
    edges = [
        [sh, 5, o, a, d] for sh in range(3) for o in range(40) for a in (0, 31) for d in (0, 31)
    ]
    drawn = s.draw(edges)
    assert set(np.unique(drawn)) == {0, 255}
    frame = np.ones((64, 64), bool)
    frame[1:-1, 1:-1] = False
    assert not drawn[:, frame].any()
    whole = (stamps()[:, 5] > 0).sum((2, 3)).repeat(4)
    assert np.array_equal((drawn > 0).sum((1, 2)), whole.ravel())  # not clipped


def test_a_step_of_place_is_a_pixel():
    rows = [[2, 3, 7, 10, 20], [2, 3, 7, 11, 20], [2, 3, 7, 10, 21]]
    first, right, lower = s.draw(rows)
    assert np.array_equal(right, np.roll(first, 1, axis=1))
    assert np.array_equal(lower, np.roll(first, 1, axis=0))
    ends = s.draw([[0, 0, 0, 0, 0], [0, 0, 0, 31, 31]])
    assert [np.argwhere(x).mean(0).tolist() for x in ends] == [[16, 16], [47, 47]]


def test_color_is_the_same_shape_in_six_hues():
    gray = s.draw([[2, 4, 3, 5, 9]])[0] > 0
    drawn = s.draw([[2, 4, 3, 5, 9, hue] for hue in range(6)])
    assert drawn.shape == (6, 3, 64, 64)
    assert all(np.array_equal(one.any(0), gray) for one in drawn)
    hues = [tuple(one[:, gray].max(1)) for one in drawn]
    assert len(set(hues)) == 6
    assert all(
        np.all(one[:, gray] == np.array(h)[:, None]) for one, h in zip(drawn, hues, strict=True)
    )
    red, green, blue = hues[0], hues[2], hues[4]
    assert [np.argmax(h) for h in (red, green, blue)] == [0, 1, 2]


def test_the_pictures_are_those_of_every_day():
    some = s.draw(s.factors(np.arange(0, s.count(), 1009)))
    assert hashlib.sha256(some.tobytes()).hexdigest()[:16] == "04610b81595891fb"


def test_the_set_with_a_name_is_a_fixed_part_of_all():
    start = time.monotonic()
    items = read("sprites")
    assert time.monotonic() - start < 10
    assert (items.x.shape, items.x.dtype, items.source) == ((50_000, 64, 64), np.uint8, "sprites")
    assert items.labels.shape == (50_000, 5)
    assert len(np.unique(items.labels, axis=0)) == 50_000
    assert any("50,000 of 737,280 sprites, chosen once" in note for note in items.notes)
    assert np.array_equal(items.x[:100], s.draw(items.labels[:100]))
    assert [len(np.unique(column)) for column in items.labels.T] == list(SIZES)
    assert fit_codec(items.take(range(2000))).domain == "binary"
    assert CATALOG["sprites"].where() == "in the package"


def test_a_part_is_fixed_by_its_seed():
    one, again, other = s.sprites(300), s.sprites(300), s.sprites(300, seed=1)
    assert one.digest() == again.digest() != other.digest()
    assert np.array_equal(s.sprites(200).x, one.x[:200])


def test_color_items_are_pictures_with_six_labels():
    items = s.sprites(50, color=True)
    assert (items.x.shape, items.labels.shape) == ((50, 64, 64, 3), (50, 6))
    codec = fit_codec(items)
    assert codec.shape == (3, 64, 64)
    assert np.array_equal(codec.encode(items).numpy(), s.draw(items.labels))
    assert np.array_equal(codec.decode(codec.load(codec.encode(items))), items.x)
    assert CATALOG["sprites-color"].where() == "in the package"


def test_a_factor_may_be_the_label():
    whole, named = s.sprites(100), s.sprites(100, "shape")
    assert named.classes == s.SHAPES
    assert np.array_equal(named.labels, whole.labels[:, 0])
    assert len(s.sprites(100, "orientation").classes) == 40
    assert s.sprites(10, labels=list("ababababab")).classes == ("a", "b")
    with pytest.raises(VariedError, match="did you mean 'orientation'"):
        s.sprites(10, "orientaton")
    with pytest.raises(VariedError, match="no factor 'hue'"):
        s.sprites(10, "hue")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: s.draw([[0, 6, 0, 0, 0]]), "'scale' goes from 0 to 5, and 6 to 6"),
        (lambda: s.draw([[0, 0, 0, -1, 0]]), "'across' goes from 0 to 31"),
        (lambda: s.draw([[0, 0, 0, 0, 0, 6]]), "'hue' goes from 0 to 5"),
        (lambda: s.draw([0, 0, 0, 0, 0]), r"give shape \(N, 5\)"),
        (lambda: s.draw([[0, 0, 0]]), r"give shape \(N, 5\)"),
        (lambda: s.draw([[0, 0.5, 0, 0, 0]]), "give integers"),
        (lambda: s.draw([[0, np.nan, 0, 0, 0]]), "give integers"),
        (lambda: s.factors([737_280]), "from 0 to 737,279"),
        (lambda: s.factors([-1]), "from 0 to 737,279"),
        (lambda: s.sprites(0), "not between 1 and 737,280"),
        (lambda: s.sprites(737_281), "not between 1 and 737,280"),
    ],
)
def test_what_is_no_sprite_is_refused(call, message):
    with pytest.raises(VariedError, match=message):
        call()


def test_no_sprites_are_no_fault():
    assert s.draw(np.zeros((0, 5), int)).shape == (0, 64, 64)
