"""Tests of inpainting: masked pixels are inferred from observed ones, which do not change."""

import numpy as np
import pytest
from PIL import Image
from quick_training import train_quickly
from typer.testing import CliRunner

from varied.cli import app
from varied.errors import VariedError

SIDE = 8
RIGHT_HALF = (4, 0, 4, SIDE)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run whose images show one horizontal bar each."""
    x = np.zeros((400, SIDE, SIDE), np.uint8)
    x[np.arange(400), np.arange(400) % SIDE] = 255
    out = tmp_path_factory.mktemp("runs") / "bars"
    plan = {"steps": 600, "batch_size": 64, "lr": 4e-3, "compile": "no"}
    return train_quickly(x, net="mlp", width=64, latent=4, out=out, **plan)


def test_a_bar_is_continued_and_observed_pixels_do_not_change(run):
    x = run.split("test").x[:20]
    inpainted = run.inpaint(mask=RIGHT_HALF, n=20, n_draws=5).array
    assert inpainted.shape == (20, 6, SIDE, SIDE)
    assert np.array_equal(inpainted[:, :, :, :4], np.repeat(x[:, None, :, :4], 6, 1))
    is_right = np.abs(inpainted[:, 1:, :, 4:].astype(float) - x[:, None, :, 4:]) < 128
    assert is_right.mean() > 0.97  # black pixels would be right in 7 of 8 cases
    assert np.array_equal(inpainted, run.inpaint(mask=RIGHT_HALF, n=20, n_draws=5).array)


def test_masked_pixels_are_not_used(run):
    x = run.split("test").x[:6].copy()
    inpainted = run.inpaint(x, mask=RIGHT_HALF, n=6, n_draws=4).array
    x[:, :, 4:] = 255 - x[:, :, 4:]
    assert np.array_equal(run.inpaint(x, mask=RIGHT_HALF, n=6, n_draws=4).array, inpainted)


def test_a_mask_is_a_box_an_image_file_or_an_array(run, tmp_path):
    mask = np.zeros((SIDE, SIDE), bool)
    mask[2:5, 1:4] = True
    Image.fromarray(mask.astype(np.uint8) * 255).save(tmp_path / "mask.png")
    masks = ["1,2,3,3", (1, 2, 3, 3), mask, tmp_path / "mask.png"]
    results = [run.inpaint(mask=mask, n=3, n_draws=2).array for mask in masks]
    assert all(np.array_equal(result, results[0]) for result in results)


@pytest.mark.parametrize("mask", ["0,0,8,8", "20,20,3,3", "nothing.png", "1,2,3", 7, None])
def test_invalid_masks_are_refused(run, mask):
    with pytest.raises(VariedError, match="mask"):
        run.inpaint(mask=mask)


def test_the_command_plots_the_masked_and_the_inpainted_images(run, tmp_path):
    out, images = tmp_path / "inpainted.png", tmp_path / "images.npy"
    np.save(images, run.split("test").x)
    options = ["--mask", "4,0,4,8", "-n", "3", "--n-draws", "2", "--out", str(out)]
    result = CliRunner().invoke(app, ["impute", str(run.folder), str(images), *options])
    assert result.exit_code == 0, result.output
    assert Image.open(out).size[0] > 3 * SIDE
