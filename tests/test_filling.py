"""Pictures with a hole: what is there stays, and what is filled follows from it."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from varied.cli import app
from varied.errors import VariedError
from varied.training import prepare

SIDE = 8


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of bars: each picture is black above and below a bar that goes all the way across."""
    rows = np.arange(400) % SIDE
    x = np.zeros((400, SIDE, SIDE), np.uint8)
    x[np.arange(400), rows] = 255
    net = {"name": "mlp", "width": 64}
    out = tmp_path_factory.mktemp("runs") / "bars"
    plan = {"steps": 600, "batch_size": 64, "lr": 4e-3, "threads": 1, "compile": "no"}
    job = prepare(x, net=net, latent=4, out=out, **plan)
    for _ in job.train():
        pass
    return job.deliver()


def test_a_bar_goes_on_into_the_hole_and_the_rest_is_not_touched(run):
    items = run.split("test")
    made = run.inpaint(mask=(4, 0, 4, SIDE), n=20, n_draws=5)
    given = items.x[:20]
    assert made.array.shape == (20, 6, SIDE, SIDE)
    assert np.array_equal(made.array[:, :, :, :4], np.repeat(given[:, None, :, :4], 6, 1))
    right = np.abs(made.array[:, 1:, :, 4:].astype(float) - given[:, None, :, 4:]) < 128
    assert right.mean() > 0.97  # a hole left black would have 7 of 8 right
    again = run.inpaint(mask=(4, 0, 4, SIDE), n=20, n_draws=5)
    assert np.array_equal(made.array, again.array)


def test_what_lies_in_the_hole_is_not_looked_at(run):
    x = run.split("test").x[:6].copy()
    once = run.inpaint(x, mask=(4, 0, 4, SIDE), n=6, n_draws=4)
    x[:, :, 4:] = 255 - x[:, :, 4:]
    assert np.array_equal(run.inpaint(x, mask=(4, 0, 4, SIDE), n=6, n_draws=4).array, once.array)


def test_a_hole_may_be_a_box_a_picture_or_an_array(run, tmp_path):
    hole = np.zeros((SIDE, SIDE), bool)
    hole[2:5, 1:4] = True
    Image.fromarray(hole.astype(np.uint8) * 255).save(tmp_path / "hole.png")
    ways = ["1,2,3,3", (1, 2, 3, 3), hole, tmp_path / "hole.png"]
    found = [run.inpaint(mask=way, n=3, n_draws=2).array for way in ways]
    assert all(np.array_equal(one, found[0]) for one in found)


@pytest.mark.parametrize("hole", ["0,0,8,8", "20,20,3,3", "nothing.png", "1,2,3", 7, None])
def test_what_is_no_hole_is_refused(run, hole):
    with pytest.raises(VariedError, match="hole"):
        run.inpaint(mask=hole)


def test_the_command_draws_what_was_given_and_what_was_filled(run, tmp_path):
    out, given = tmp_path / "filled.png", tmp_path / "given.npy"
    np.save(given, run.split("test").x)
    asked = [
        "impute",
        str(run.folder),
        str(given),
        "--mask",
        "4,0,4,8",
        "-n",
        "3",
        "--n-draws",
        "2",
    ]
    told = CliRunner().invoke(app, [*asked, "--out", str(out)])
    assert told.exit_code == 0, told.output
    assert Image.open(out).size[0] > 3 * SIDE
