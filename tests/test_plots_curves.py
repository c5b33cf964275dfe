"""Tests of charts: KL bars, series, the rate-distortion plane and training curves."""

import numpy as np
import pytest
from figures import has_blank_margins, pixels, svg_texts

from varied import plots
from varied.errors import VariedError
from varied.plots.curves import ACTIVE, INACTIVE
from varied.plots.loss_curves import _limits, _panels

pytestmark = pytest.mark.figures


@pytest.fixture
def history():
    rows = []
    for step in range(0, 400, 10):
        reconstruction = 80 + 5000 * np.exp(-step / 4)
        row = {"step": step, "epoch": step / 100, "reconstruction": reconstruction, "kl": 20.0}
        rows.append(row | {"split": "train", "loss": reconstruction + 10, "beta": step / 400})
    rows.append({"step": 399, "epoch": 3.99, "split": "validation", "reconstruction": 82, "kl": 19})
    return rows


def test_loss_limits_ignore_the_first_steps(history):
    low, high, maximum = _limits(_panels(history)["reconstruction"])
    assert maximum > 5000 > 500 > high > 80 > low


def test_loss_curves_draw_elbo_reconstruction_and_kl(tmp_path, history):
    texts = svg_texts(plots.loss_curves(history, tmp_path / "loss.svg"))
    assert {"−ELBO (nats)", "reconstruction (nats)", "KL (nats)", "epoch"} <= set(texts)
    assert {"train 80.0", "validation 82.0", "validation 19.0", "loss 90.0"} <= set(texts)
    assert "weight 0 to 0.97" in texts


def test_loss_is_drawn_only_if_it_differs_from_the_elbo(tmp_path, history):
    rows = [row | {"loss": row["reconstruction"] + row["kl"]} for row in history]
    assert not any(
        "loss" in text for text in svg_texts(plots.loss_curves(rows, tmp_path / "l.svg"))
    )


def test_loss_curves_without_kl(tmp_path, history):
    rows = [{key: value for key, value in row.items() if key != "kl"} for row in history]
    texts = svg_texts(plots.loss_curves(rows, tmp_path / "loss.svg"))
    assert {"loss (nats)", "reconstruction (nats)"} <= set(texts)
    assert not {"KL (nats)", "−ELBO (nats)"} & set(texts)


@pytest.mark.parametrize("rows", [slice(0, 1), slice(0, 2), slice(-1, None)])
def test_loss_curves_of_few_rows(tmp_path, history, rows):
    assert has_blank_margins(plots.loss_curves(history[rows], tmp_path / "loss.png"))


def test_loss_curves_ignore_non_finite_values(tmp_path, history):
    history[3] |= {"reconstruction": float("nan"), "loss": None}
    history[4] |= {"kl": float("inf")}
    assert "train 80.0" in svg_texts(plots.loss_curves(history, tmp_path / "loss.svg"))
    rows = [{"step": 1, "epoch": 0.1, "split": "train", "loss": float("nan")}]
    assert pixels(plots.loss_curves(rows, tmp_path / "nan.png")).size


@pytest.mark.parametrize("plot", [plots.loss_curves, plots.loss_overlay])
def test_an_empty_history_is_refused(tmp_path, plot):
    with pytest.raises(VariedError, match="train for at least one step"):
        plot({}, tmp_path / "loss.png")


def test_loss_overlay_names_runs_without_kl(tmp_path, history):
    without_kl = [row | {"kl": None} for row in history]
    path = plots.loss_overlay({"vae": history, "ae": without_kl}, tmp_path / "loss.svg")
    assert {"vae 101.0", "ae (reconstruction) 82.0"} <= set(svg_texts(path))


def test_kl_bars_are_sorted_and_counted(tmp_path):
    kl = np.array([0.0, 5.0, 19.3])
    texts = svg_texts(plots.kl_bars(kl, kl > 0.1, tmp_path / "kl.svg"))
    assert "KL by latent unit: 2 of 3 active, 24.3 nats in total" in texts
    assert [text for text in texts if text.startswith("z")] == ["z2", "z1", "z0"]
    assert {"active (2)", "inactive (1)", "KL (nats)", "latent unit, by KL"} <= set(texts)


def test_inactive_bars_are_hatched():
    assert "hatch" in INACTIVE
    assert "hatch" not in ACTIVE


def test_kl_bars_of_many_units_and_nan(tmp_path):
    kl = np.linspace(3, 0, 200)
    kl[5] = np.nan
    assert has_blank_margins(plots.kl_bars(kl, kl > 1, tmp_path / "kl.png"))


def test_curves_draw_series_and_overlay(tmp_path):
    series = np.random.default_rng(0).normal(size=(5, 30))
    titles = [f"beat {letter}" for letter in "abcde"]
    path = plots.curves(series, tmp_path / "c.svg", overlay=series + 1, titles=titles)
    assert {"original", "reconstruction", "beat a", "beat e"} <= set(svg_texts(path))
    names = ("sample", "nearest")
    path = plots.curves(series, tmp_path / "d.svg", overlay=series + 1, names=names)
    assert set(names) <= set(svg_texts(path))
    assert pixels(plots.curves(series[:1], tmp_path / "one.png")).size


def test_curves_have_tick_labels_at_the_lower_and_left_edges(tmp_path):
    series = np.linspace(1000, 6000, 25) * np.ones((5, 1))
    texts = svg_texts(plots.curves(series, tmp_path / "c.svg"))
    assert (texts.count("24"), texts.count("6000")) == (4, 2)


def test_curves_of_one_value_are_points(tmp_path):
    values = np.array([[0.0], [1.0], [2.0]])
    image = pixels(plots.curves(values, tmp_path / "c.png"))
    assert (image.max(axis=-1) < 40).sum() > 3 * 9


def test_rate_distortion_names_finite_runs(tmp_path):
    points = [("vae", 24.0, 67.0), ("diverged", float("nan"), 1.0), ("$x_1$ <b>", 9.0, 92.0)]
    texts = svg_texts(plots.rate_distortion(points, tmp_path / "rd.svg"))
    assert {"vae", "$x_1$ &lt;b&gt;", "KL (nats)", "reconstruction (nats)"} <= set(texts)
    assert "diverged" not in texts
    assert any(text.startswith("−ELBO") for text in texts)
    with pytest.raises(VariedError, match="No run has both a finite KL"):
        plots.rate_distortion(points[1:2], tmp_path / "none.png")
