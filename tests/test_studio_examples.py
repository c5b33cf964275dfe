"""Tests of the operations of the studio on tables, series, recordings, molecules and codecs."""

import io
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from studio_runs import open_small, people, rows, waves
from tones import RATE, tone

from varied.data import RawData, read
from varied.data.codecs import ArrayCodec, Codec, MoleculeCodec, SoundCodec
from varied.data.codecs.plain_formats import parse_url
from varied.errors import VariedError
from varied.studio import analysis, generation, items, latent_map, paths, schemas
from varied.studio.examples import preview_examples
from varied.studio.opened_run import Services
from varied.studio.operations import run_operation, supported_operations


@pytest.fixture(scope="module")
def downloads(tmp_path_factory):
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def table(tmp_path_factory, downloads):
    def add_download(name, write):
        write(downloads / name)
        return "0" * 16

    folder = tmp_path_factory.mktemp("runs") / "people"
    upload = people().head(3)
    services = Services(read_upload={"a" * 16: upload}.__getitem__, add_download=add_download)
    people().to_csv(path := folder.parent / "people.csv", index=False)
    return open_small(folder, path, services=services, latent=3, width=32)


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    return open_small(tmp_path_factory.mktemp("runs") / "waves", waves(), latent=3, width=32)


def encode(opened, examples, **options):
    source = schemas.Source(examples=examples, **options)
    return generation.encode(opened, schemas.SourceRequest(source=source)).results


# Tables


def test_rows_of_a_table_are_converted_both_ways(table):
    frame = people()
    result = items.item(table, 5).example
    assert result.row["income"] == frame.income[5]
    assert result.row["day"] == str(frame.day[5].date())
    missing = int(np.flatnonzero(frame.age.isna())[0])
    assert items.item(table, missing).example.row["age"] is None
    chosen = [5, missing]
    examples = [items.item(table, row).example.model_dump() for row in chosen]
    results = encode(table, examples)
    assert np.allclose([r.mean for r in results], table.codes[chosen], atol=1e-5)
    assert results[0].positions.keys() == {"pca", "units"}


def test_only_bad_rows_have_errors(table):
    good = items.item(table, 5).example.row
    examples = [
        {"kind": "row", "row": good},
        {"kind": "row", "row": good | {"income": "much"}},
        {"kind": "row", "row": good | {"hair": "red"}},
        {"kind": "row", "row": {"city": "Oslo"}},
        {"kind": "row", "row": good | {"age": "40.5"}},
    ]
    results = encode(table, examples)
    assert [result.error is None for result in results] == [True, False, False, True, True]
    assert "income 'much' is not" in results[1].error
    assert "no column 'hair'" in results[2].error


def test_reconstructed_rows_equal_those_of_the_run(table):
    request = schemas.SourceRequest(source=rows(0, 4))
    response = generation.reconstruct(table, request)
    array = table.run.reconstruct(table.run.data.take([0, 4])).array
    expected = array.xs("reconstruction", level="which")
    for pair, city in zip(response.results, expected.city, strict=True):
        assert pair.reconstruction.row["city"] == (None if pd.isna(city) else city)
    assert response.results[1].original.row["income"] == people().income[4]


def test_columns_color_the_map(table):
    info = latent_map.map_info(table)
    assert info.columns[:4] == ["age", "income", "city", "day"]
    assert info.levels["city"] == ["Kiev", "Oslo", "Rome"]
    values, cities = latent_map.map_values(table, "city"), people().city
    assert np.isnan(values).tolist() == cities.isna().tolist()
    assert info.levels["city"][int(values[0])] == cities[0]
    age = latent_map.map_values(table, "age")
    assert np.allclose(age, people().age.astype("f4"), equal_nan=True)


def test_missing_cells_are_filled(table, downloads):
    frame = people().head(30)
    request = schemas.ImputeRequest(source=rows(*range(30), 999))
    response = analysis.impute(table, request)
    missing = {(i, name) for name in frame for i in np.flatnonzero(frame[name].isna())}
    assert {(cell.row, cell.column) for cell in response.cells} == missing
    assert response.errors[0].index == 30
    for cell in response.cells:
        assert response.rows[cell.row].row[cell.column] == cell.value
        if cell.column == "age":
            assert cell.low <= cell.value <= cell.high
        else:
            assert 0 < cell.probability <= 1
    assert response.download == "0" * 16
    assert len(pd.read_csv(downloads / "imputed.csv")) == 30


def test_uploads_are_read(table):
    source = schemas.Source(upload="a" * 16)
    results = generation.encode(table, schemas.SourceRequest(source=source)).results
    assert np.allclose([r.mean for r in results], table.codes[:3], atol=1e-5)


def test_anomalous_rows_have_reasons(table):
    good = items.item(table, 5).example.row
    examples = [{"kind": "row", "row": good}, {"kind": "row", "row": good | {"income": 900_000}}]
    request = schemas.DetectRequest(source=schemas.Source(examples=examples))
    response = analysis.detect(table, request)
    assert [result.row for result in response.results] == [1, 0]
    assert response.results[0].reason.startswith("income")
    assert response.results[0].excess is None


def test_attributes_of_tables_are_columns(table):
    positive = np.flatnonzero(people().city == "Rome").tolist()
    response = paths.attribute(table, schemas.AttributeRequest(name="Rome", positive=positive))
    assert {effect.name for effect in response.effects} >= {"city: Rome", "age: high"}


def test_an_unavailable_operation_has_a_reason(table):
    names, reasons = supported_operations(table)
    assert "impute" in names
    assert reasons["inpaint"].startswith("Only images can be masked")


def test_data_that_are_not_available_are_a_reason(series):
    from varied.studio.opened_run import OpenedRun

    opened = OpenedRun(series.run.folder)
    names, reasons = supported_operations(opened)
    assert {"sample", "decode"} <= {*names}
    assert "arrays in memory" in reasons["map"]
    response = generation.decode(opened, schemas.DecodeRequest(z=[[0, 0, 0]]))
    assert response.is_outside is None
    assert response.results[0].example.shape == [24]


# Series


def test_series_are_converted_both_ways(series):
    x = waves()
    result = items.item(series, 3).example
    assert result.shape == [24]
    assert np.allclose(np.array(result.values, float), x[3], equal_nan=True)
    bad = {"kind": "array", "shape": [3], "values": [1, 2, 3]}
    infinite = {"kind": "array", "shape": [24], "values": [float("inf"), *result.values[1:]]}
    results = encode(series, [result.model_dump(), bad, infinite])
    assert np.allclose(results[0].mean, series.codes[3], atol=1e-5)
    assert "pass 24 values" in results[1].error
    assert "infinity" in results[2].error
    assert len(items.thumbnail(series, 3)) > 60


def test_missing_values_of_series_are_filled(series):
    response = analysis.impute(series, schemas.ImputeRequest(source=rows(0, 1, 2)))
    missing = np.argwhere(np.isnan(waves()[:3])).tolist()
    assert [[cell.row, int(cell.column)] for cell in response.cells] == missing
    for cell in response.cells:
        assert response.rows[cell.row].values[int(cell.column)] == pytest.approx(cell.value)


@pytest.mark.parametrize("name", ["table", "series"])
def test_operations_are_deterministic(name, request):
    opened = request.getfixturevalue(name)
    for operation, body in {
        "sample": schemas.SampleRequest(n=3, seed=1),
        "reconstruct": schemas.SourceRequest(source=rows(0, 1)),
        "interpolate": schemas.InterpolateRequest(source=rows(0, 1), steps=3, path="density"),
        "traverse": schemas.TraverseRequest(source=rows(0), steps=2),
        "detect": schemas.DetectRequest(source=rows(0, 1)),
        "impute": schemas.ImputeRequest(source=rows(0, 1)),
    }.items():
        first = run_operation(opened, operation, body)
        assert run_operation(opened, operation, body) == first


# Snippets


def test_snippets_contain_the_command(table):
    url = "http://127.0.0.1:8642/api/runs/0/sample"
    request = schemas.SampleRequest(n=5, seed=3, temperature=0.7)
    result = run_operation(table, "sample", request, url).snippets
    assert result.python.endswith('run.sample(5, temperature=0.7, seed=3).save("samples.csv")')
    assert result.command.endswith("-n 5 --temperature 0.7 --seed 3")
    assert url in result.curl
    positive, negative = [0, 1, 2], [3, 4]
    request = schemas.AttributeRequest(name="a", positive=positive, negative=negative)
    result = run_operation(table, "attribute", request, url).snippets
    assert result.command.endswith("--positive 1,2,3 --negative 4,5")
    assert run_operation(table, "encode", schemas.SourceRequest(source=rows(0)), url).snippets


@pytest.mark.parametrize(
    ("name", "body", "file"),
    [
        ("sample", schemas.SampleRequest(n=2, seed=3), "samples.csv"),
        ("encode", schemas.SourceRequest(source=rows(0)), "codes.csv"),
        ("reconstruct", schemas.SourceRequest(source=rows(0)), "reconstructions.csv"),
        ("interpolate", schemas.InterpolateRequest(source=rows(0, 1)), "path.csv"),
        ("interpolate", schemas.InterpolateRequest(source=rows(0, 1, 2, 3)), "path.csv"),
        ("traverse", schemas.TraverseRequest(source=rows(0)), "traversals.csv"),
        ("attribute", schemas.AttributeRequest(name="a", positive=[0, 1, 2]), "edits.csv"),
        ("detect", schemas.DetectRequest(source=rows(0)), "detected.csv"),
        ("impute", schemas.ImputeRequest(source=rows(0)), "imputed.csv"),
        ("decode", schemas.DecodeRequest(z=[[0, 0, 0], [1, 0, 0]]), None),
        ("map/decode", schemas.MapPoint(projection="pca", x=0.5, y=0), None),
    ],
)
def test_the_python_code_of_snippets_runs(table, name, body, file, tmp_path, monkeypatch):
    response = run_operation(table, name, body, "http://x")
    monkeypatch.chdir(tmp_path)
    variables = {}
    exec(response.snippets.python, variables)
    if file:
        assert (tmp_path / file).is_file()
    else:
        assert len(variables["examples"]) == (2 if name == "decode" else 1)


def test_the_commands_of_snippets_exist(table):
    from typer.testing import CliRunner

    from varied.cli import app
    from varied.studio.snippets import make_snippets

    example = items.item(table, 0).example
    source = schemas.Source(examples=[example, example])
    requests = {
        "sample": schemas.SampleRequest(n=2),
        "encode": schemas.SourceRequest(source=source),
        "reconstruct": schemas.SourceRequest(source=source),
        "interpolate": schemas.InterpolateRequest(source=source),
        "traverse": schemas.TraverseRequest(source=source),
        "attribute": schemas.AttributeRequest(name="a", positive=[0, 1], negative=[2, 3]),
        "detect": schemas.DetectRequest(source=source),
        "impute": schemas.ImputeRequest(source=source),
        "inpaint": schemas.InpaintRequest(source=source, mask="data:,"),
    }
    for name, request in requests.items():
        words = make_snippets(table, name, request, "http://x").command.split()
        result = CliRunner().invoke(app, [*words[1:], "--help"])
        assert result.exit_code == 0
        flags = [word for word in words if word.startswith("-")]
        assert all(flag in result.output for flag in flags), name


# Other kinds of data


def test_recordings_are_converted_both_ways():
    waveforms = np.stack([tone(200 + 20 * i, 0.15) for i in range(12)])
    data = RawData(waveforms, "sound", dialect={"rate": RATE})
    codec = SoundCodec.fit(data)
    plain = codec.plain_format.to_plain(codec, waveforms[:2])
    samples, rate = soundfile.read(io.BytesIO(parse_url(plain[1]["audio"])))
    assert rate == RATE
    assert np.allclose(samples, waveforms[1], atol=1e-3)
    assert plain[0]["image"].startswith("data:image/png;base64,")
    silent = plain[0] | {"audio": "data:audio/wav;base64,AAAA"}
    data, errors = codec.plain_format.read(codec, [plain[0], silent])
    assert codec.encode(data).shape == (1, *codec.shape)
    assert "corrupted" in errors[1]


def test_molecules_are_converted_both_ways():
    pytest.importorskip("rdkit")
    codec = MoleculeCodec.fit(RawData(np.array(["CCO", "c1ccccc1"]), "molecules"))
    plain = codec.plain_format.to_plain(codec, np.array(["CCO"]))
    assert plain[0]["smiles"] == "CCO"
    assert parse_url(plain[0]["image"]).startswith(b"\x89PNG")
    broken = {"kind": "molecule", "smiles": "C1CC"}
    data, errors = codec.plain_format.read(codec, [broken, {"kind": "molecule", "smiles": "OCC"}])
    assert data.x.tolist() == ["CCO"]
    assert errors.keys() == {0}


def test_data_without_a_run_have_a_preview():
    array = preview_examples(RawData(waves(), "array"), 2)
    assert [example.shape for example in array] == [[24], [24]]
    frame = people()
    (row,) = preview_examples(read(frame), 1)
    assert row.row["income"] == frame.income[0]


@dataclass(frozen=True)
class TextCodec(Codec):
    """A codec from outside whose examples have no plain form."""

    kind: ClassVar[str] = "text"
    shape: tuple[int, ...] = (1,)
    domain: str = "real"
    notes: tuple[str, ...] = ()

    @classmethod
    def fit(cls, data):
        return cls()

    def encode(self, data):
        return torch.zeros(len(data), 1)

    def decode(self, x, labels=None):
        return np.array(["a"] * len(x))


def test_a_codec_from_outside_is_converted_as_an_array():
    codec = TextCodec()
    with pytest.raises(VariedError, match="set plain_format in the class TextCodec"):
        codec.plain_format.to_plain(codec, codec.decode(torch.zeros(2, 1)))
    data, errors = codec.plain_format.read(codec, [{"kind": "array", "shape": [1], "values": [3]}])
    assert (data.kind, data.x.tolist(), errors) == ("text", [[3.0]], {})


@pytest.mark.parametrize("url", ["", "data:image/png,abc", "data:image/png;base64,@", "http://x"])
def test_invalid_data_urls_are_rejected(url):
    with pytest.raises(VariedError):
        parse_url(url)


def test_counts_are_whole_numbers():
    codec = ArrayCodec((2,), "count")
    plain = codec.plain_format.to_plain(codec, np.array([[1, 2]], np.float32))
    assert plain == [{"kind": "array", "shape": [2], "values": [1.0, 2.0]}]
