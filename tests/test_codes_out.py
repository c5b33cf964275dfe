"""Codes in files, and nearest codes: round trips, an oracle, and the same for the same item."""

from __future__ import annotations

import csv

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from varied.cli import app
from varied.errors import VariedError
from varied.runs.encoding import Encoding, write_columns
from varied.training import prepare


def trained(source, out, **choices):
    job = prepare(source, out=out, threads=1, **{"steps": 60, "lr": 5e-3, "width": 16} | choices)
    for _ in job.train():
        pass
    return job.deliver()


@pytest.fixture(scope="module")
def pictures(place):
    """A run of pictures that are binarized at every look."""
    dice = np.random.default_rng(0)
    x = np.where(dice.random((150, 6, 6)) < 0.5, 0, 255).astype(np.uint8)
    x[:, :, :3] = np.where(np.arange(150) % 2, 250, 5)[:, None, None]
    x[:, 0, 0] = 120
    np.save(place / "pictures.npy", x)
    return trained(str(place / "pictures.npy"), place / "pictures", beta=0.2, latent=3, steps=150)


@pytest.fixture(scope="module")
def people(place):
    dice = np.random.default_rng(0)
    size = dice.normal(size=150)
    frame = pd.DataFrame({"height": 170 + 10 * size, "kind": np.where(size > 0, "tall", "short")})
    frame["rank"] = (size * 10).round().astype(int)
    frame.to_csv(place / "people.csv", index=False)
    return trained(str(place / "people.csv"), place / "people", steps=150, latent=2)


# Codes in files


@pytest.mark.parametrize("names", [("a.png", "b,c.png", "ü.png"), None])
def test_codes_come_back_from_every_kind_of_file(names, tmp_path):
    torch.manual_seed(0)
    codes = Encoding(torch.randn(3, 2), torch.rand(3, 2), torch.rand(3), names)
    first = "row" if names is None else "name"
    heads = [first, "mean_0", "mean_1", "std_0", "std_1", "kl"]
    wanted = [1, 2, 3] if names is None else list(names)
    numbers = torch.cat([codes.mean, codes.std, codes.kl[:, None]], 1).numpy()
    readers = {"csv": pd.read_csv, "parquet": pd.read_parquet, "feather": pd.read_feather}
    for ending, reader in readers.items():
        frame = reader(codes.save(tmp_path / f"codes.{ending}"))
        assert list(frame.columns) == heads
        assert frame[first].tolist() == wanted
        assert np.array_equal(frame[heads[1:]].to_numpy("f4"), numbers)
    pd.testing.assert_frame_equal(frame, codes.frame, check_dtype=False)
    with np.load(codes.save(tmp_path / "codes.npz")) as found:
        assert set(found) == {"mean", "std", "kl"} | ({"names"} if names else set())
        assert np.array_equal(found["mean"], codes.mean)
        assert names is None or tuple(found["names"]) == names
    with pytest.raises(VariedError, match="parquet"):
        codes.save(tmp_path / "codes.txt")


def test_words_and_a_single_column_are_written_too(tmp_path):
    columns = {"class": np.array(["a", "b"]), "p(a)": np.array([0.25, 1.0])}
    path = write_columns(tmp_path / "classes.csv", columns, None)
    assert path.read_text() == "row,class,p(a)\n1,a,0.25\n2,b,1.0\n"


def test_a_run_encodes_in_order_with_names(people, pictures):
    found = people.encode()
    assert found.mean.shape == (len(people.split("test")), 2)
    assert found.names is None
    some = people.split("test").take([5, 3])
    assert torch.allclose(people.encode(some).mean, found.mean[[5, 3]], atol=1e-6)
    assert "kl" in pictures.encode().frame


# Nearest codes


def test_a_picture_lies_at_itself_wherever_it_stands(pictures):
    known = pictures.split("train")
    found = pictures.neighbors(known.take([40, 2, 9]), n=1)
    assert found.index[:, 0].tolist() == [40, 2, 9]
    assert found.distance.max() < 1e-4
    assert pictures.neighbors(n=2).index.shape == (len(pictures.split("test")), 2)
    halves = known.x[:, 3, 0] > 100
    near = pictures.neighbors(known, n=4).index
    assert (halves[near] == halves[:, None]).mean() > 0.9


def test_neighbors_are_drawn_and_named(pictures, tmp_path):
    found = pictures.neighbors(n=3)
    assert found.save(tmp_path / "near.png").stat().st_size > 500
    frame = pd.read_csv(found.save(tmp_path / "near.csv"))
    assert list(frame.columns) == ["query", "rank", "neighbor", "distance"]
    assert frame.neighbor.tolist() == (found.index.ravel() + 1).tolist()
    assert frame["query"].tolist() == np.repeat(np.arange(len(found)) + 1, 3).tolist()
    assert len(pd.read_parquet(found.save(tmp_path / "near.parquet"))) == len(frame)
    with pytest.raises(VariedError, match="save neighbors as"):
        found.save(tmp_path / "near.npy")


def test_of_a_table_each_row_stands_before_its_neighbors(people, tmp_path):
    found = people.neighbors(n=2)
    frame = found.frame
    assert list(frame.columns) == [
        *("query", "rank", "neighbor", "distance"),
        *("height", "kind", "rank_"),
    ]
    assert frame["rank"].tolist() == [0, 1, 2] * len(found)
    own = frame[frame["rank"] == 0].height.to_numpy()
    assert np.array_equal(own, people.split("test").x.height)
    first = frame[frame["rank"] == 1]
    assert np.array_equal(first.height, people.split("train").x.height.iloc[found.index[:, 0]])
    assert np.abs(first.height.to_numpy() - own).mean() < 4
    lines = list(csv.reader(found.save(tmp_path / "near.csv").open()))
    assert len(lines) == len(frame) + 1
    assert lines[1][2] == ""
    assert found.save(tmp_path / "near.png").stat().st_size > 500


def test_the_commands(people, pictures, place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    does = CliRunner()
    for words, wrote in (
        (("encode", str(people.folder), "--out", "codes.parquet"), "codes.parquet"),
        (("neighbors", str(people.folder), "-n", "2"), "neighbors.csv"),
        (("neighbors", str(pictures.folder), "-n", "2"), "neighbors.png"),
        (
            (
                "neighbors",
                str(people.folder),
                "--among",
                str(place / "people.csv"),
                "--out",
                "n.csv",
            ),
            "n.csv",
        ),
    ):
        found = does.invoke(app, words)
        assert found.exit_code == 0, found.output
        assert f"Wrote {wrote}" in found.output
        assert (tmp_path / wrote).is_file()
    for command in ("encode", "classify"):
        found = does.invoke(app, [command, str(people.folder), "--out", "a.txt"])
        assert "is of no known kind" in str(found.exception)
