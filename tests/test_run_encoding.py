"""Tests of saved codes and of nearest neighbors."""

import csv

import numpy as np
import pandas as pd
import pytest
import torch
from quick_training import train_quickly
from typer.testing import CliRunner

from varied.cli import app
from varied.errors import VariedError
from varied.runs.columns import write_columns
from varied.runs.encoding import Encoding


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def images(folder):
    """A run of images that are binarized randomly at each step."""
    rng = np.random.default_rng(0)
    x = np.where(rng.random((150, 6, 6)) < 0.5, 0, 255).astype(np.uint8)
    x[:, :, :3] = np.where(np.arange(150) % 2, 250, 5)[:, None, None]
    x[:, 0, 0] = 120
    np.save(folder / "images.npy", x)
    options = {"beta": 0.2, "latent": 3, "width": 16}
    return train_quickly(folder / "images.npy", out=folder / "images", **options)


@pytest.fixture(scope="module")
def table(folder):
    """A run of a table in which one column has the same name as a column of the results."""
    size = np.random.default_rng(0).normal(size=150)
    frame = pd.DataFrame({"height": 170 + 10 * size, "kind": np.where(size > 0, "tall", "short")})
    frame["rank"] = (size * 10).round().astype(int)
    frame.to_csv(folder / "people.csv", index=False)
    options = {"beta": 0.2, "latent": 2, "width": 16}
    return train_quickly(folder / "people.csv", out=folder / "people", **options)


# Codes


@pytest.mark.parametrize("names", [("a.png", "b,c.png", "ü.png"), None])
def test_codes_are_restored_from_files_of_each_format(names, tmp_path):
    torch.manual_seed(0)
    codes = Encoding(torch.randn(3, 2), torch.rand(3, 2), torch.rand(3), names)
    first = "row" if names is None else "name"
    header = [first, "mean_0", "mean_1", "std_0", "std_1", "kl"]
    values = torch.cat([codes.mean, codes.std, codes.kl[:, None]], 1).numpy()
    readers = {"csv": pd.read_csv, "parquet": pd.read_parquet, "feather": pd.read_feather}
    for ending, reader in readers.items():
        frame = reader(codes.save(tmp_path / f"codes.{ending}"))
        assert list(frame.columns) == header
        assert frame[first].tolist() == ([1, 2, 3] if names is None else list(names))
        assert np.array_equal(frame[header[1:]].to_numpy("f4"), values)
    pd.testing.assert_frame_equal(frame, codes.frame, check_dtype=False)
    with np.load(codes.save(tmp_path / "codes.npz")) as arrays:
        assert set(arrays) == {"mean", "std", "kl"} | ({"names"} if names else set())
        assert np.array_equal(arrays["mean"], codes.mean)
        assert names is None or tuple(arrays["names"]) == names
    with pytest.raises(VariedError, match="parquet"):
        codes.save(tmp_path / "codes.txt")


def test_columns_of_names_and_numbers_are_written_as_csv(tmp_path):
    columns = {"class": np.array(["a", "b"]), "p(a)": np.array([0.25, 1.0])}
    path = write_columns(tmp_path / "classes.csv", columns, None)
    assert path.read_text() == "row,class,p(a)\n1,a,0.25\n2,b,1.0\n"


def test_codes_are_in_the_order_of_the_data(table, images):
    codes = table.encode()
    assert codes.mean.shape == (len(table.split("test")), 2)
    assert codes.names is None
    reordered = table.split("test").take([5, 3])
    assert torch.allclose(table.encode(reordered).mean, codes.mean[[5, 3]], atol=1e-6)
    assert "kl" in images.encode().frame
    assert "mean_0" in images.encode()._repr_html_()
    assert repr(images.encode()) == "Encoding(15 examples, 3 latent dimensions)"


# Nearest neighbors


def test_an_image_is_its_own_nearest_neighbor(images):
    training = images.split("train")
    neighbors = images.neighbors(training.take([40, 2, 9]), n=1)
    assert neighbors.index[:, 0].tolist() == [40, 2, 9]
    assert neighbors.distance.max() < 1e-4
    assert images.neighbors(n=2).index.shape == (len(images.split("test")), 2)
    is_bright = training.x[:, 3, 0] > 100
    index = images.neighbors(training, n=4).index
    assert (is_bright[index] == is_bright[:, None]).mean() > 0.9


def test_neighbors_are_plotted_or_written_as_a_table(images, tmp_path):
    neighbors = images.neighbors(n=3)
    assert repr(neighbors) == f"Neighbors(3 of each of {len(neighbors)} examples)"
    assert neighbors.save(tmp_path / "neighbors.png").stat().st_size > 500
    frame = pd.read_csv(neighbors.save(tmp_path / "neighbors.csv"))
    assert list(frame.columns) == ["query", "rank", "neighbor", "distance"]
    assert frame.neighbor.tolist() == (neighbors.index.ravel() + 1).tolist()
    assert frame["query"].tolist() == np.repeat(np.arange(len(neighbors)) + 1, 3).tolist()
    assert len(pd.read_parquet(neighbors.save(tmp_path / "neighbors.parquet"))) == len(frame)
    with pytest.raises(VariedError, match=r"supported file extension; use \.csv"):
        neighbors.save(tmp_path / "neighbors.npy")


@pytest.mark.figures
def test_each_row_of_a_table_precedes_its_neighbors(table, tmp_path):
    neighbors = table.neighbors(n=2)
    frame = neighbors.frame
    results, columns = ["query", "rank_1", "neighbor", "distance"], ["height", "kind", "rank"]
    assert list(frame.columns) == results + columns
    assert frame["rank_1"].tolist() == [0, 1, 2] * len(neighbors)
    queries, nearest = (frame[frame["rank_1"] == rank].height.to_numpy() for rank in (0, 1))
    assert np.array_equal(queries, table.split("test").x.height)
    assert np.array_equal(nearest, table.split("train").x.height.iloc[neighbors.index[:, 0]])
    assert np.abs(nearest - queries).mean() < 4
    lines = list(csv.reader(neighbors.save(tmp_path / "neighbors.csv").open()))
    assert len(lines) == len(frame) + 1
    assert lines[1][2] == ""
    assert neighbors.save(tmp_path / "neighbors.png").stat().st_size > 500


# Commands


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.mark.parametrize(
    ("fixture", "arguments", "file"),
    [
        ("table", ["encode", "--out", "codes.parquet"], "codes.parquet"),
        ("table", ["neighbors", "-n", "2"], "neighbors.csv"),
        ("images", ["neighbors", "-n", "2"], "neighbors.png"),
        ("table", ["neighbors", "--among", "people.csv", "--out", "n.csv"], "n.csv"),
    ],
)
def test_the_commands_write_a_file(fixture, arguments, file, folder, request, monkeypatch):
    monkeypatch.chdir(folder)
    command, *options = arguments
    result = invoke(command, request.getfixturevalue(fixture).folder, *options)
    assert result.exit_code == 0, result.output
    assert f"Wrote {file}" in result.output
    assert (folder / file).is_file()


@pytest.mark.parametrize("command", ["encode", "classify"])
def test_the_commands_refuse_other_endings(command, table):
    result = invoke(command, table.folder, "--out", "a.txt")
    assert "does not have a supported file extension" in str(result.exception)
