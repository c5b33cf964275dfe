"""Results keep the column types of the training table in .parquet and .feather files."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from quick_training import train_quickly

from varied.data import read
from varied.data.codecs import fit_codec
from varied.errors import VariedError

N = 80
READERS = {".parquet": pd.read_parquet, ".feather": pd.read_feather}


def typed() -> pd.DataFrame:
    """Return a table with a column of each type that both file formats can store."""
    random = np.random.default_rng(0)
    integers, truth = random.integers(0, 99, N), random.random(N) < 0.5
    words = random.choice(["x", "y"], N)
    frame = pd.DataFrame(
        {
            "Int64": pd.array(integers, dtype="Int64"),
            "int32": integers.astype("int32"),
            "uint8": integers.astype("uint8"),
            "float32": random.normal(size=N).round(2).astype("float32"),
            "Float32": pd.array(random.normal(size=N).round(2), dtype="Float32"),
            "boolean": pd.array(truth, dtype="boolean"),
            "bool": truth,
            "category": pd.Categorical(words, ["y", "x", "z"], ordered=True),
            "string": pd.array(words, dtype="string"),
            "day": pd.date_range("2020-01-01", periods=N, unit="ms"),
            "zone": pd.date_range("2020-01-01", periods=N, tz="Europe/Berlin", unit="ms"),
        }
    )
    frame.loc[3, ["Int64", "boolean"]] = pd.NA
    return frame


@pytest.mark.parametrize("source", ["frame", ".parquet", ".feather"])
@pytest.mark.parametrize("ending", READERS)
def test_written_rows_have_the_types_of_the_training_table(source, ending, tmp_path):
    frame = typed()
    data = frame
    if source != "frame":
        data = tmp_path / f"table{source}"
        frame.to_parquet(data) if source == ".parquet" else frame.to_feather(data)
    codec = fit_codec(read(data))
    rows = codec.decode(codec.encode(read(data)))
    path = codec.save(rows, tmp_path / f"rows{ending}")
    written = READERS[ending](path)
    assert written.dtypes.astype(str).to_dict() == frame.dtypes.astype(str).to_dict()
    pd.testing.assert_frame_equal(written[["Int64", "category"]], frame[["Int64", "category"]])


def test_intervals_are_written_as_text(tmp_path):
    frame = typed().assign(band=pd.cut(np.arange(N), 3))
    codec = fit_codec(read(frame))
    path = codec.save(codec.decode(codec.encode(read(frame))), tmp_path / "rows.parquet")
    assert pd.read_parquet(path)["band"].tolist() == frame["band"].astype(str).tolist()


def test_a_type_that_a_file_cannot_contain_is_an_error(tmp_path):
    empty = pa.nulls(N, pa.month_day_nano_interval())
    table = pa.table({"empty": empty, "a": np.arange(N) % 7 / 2})
    codec = fit_codec(read(table))
    rows = codec.decode(codec.encode(read(table)))
    with pytest.raises(VariedError, match="cannot contain a column type"):
        codec.save(rows, tmp_path / "rows.parquet")


@pytest.mark.parametrize("ending", [".csv", *READERS])
def test_results_with_added_columns_keep_types(ending, tmp_path):
    frame = typed()[["Int64", "float32", "category", "bool"]]
    frame["value"] = frame["category"]
    run = train_quickly(frame, steps=2, latent=2, width=8, out=tmp_path / "run")
    path = run.detect(frame, samples=2).save(tmp_path / f"scores{ending}")
    if ending != ".csv":
        written = READERS[ending](path)
        assert written[frame.columns].dtypes.equals(frame.dtypes)
    result = run.impute(frame.assign(bool=None, float32=np.nan), n_draws=2)
    path = result.save_cells(tmp_path / f"cells{ending}")
    cells = pd.read_csv(path) if ending == ".csv" else READERS[ending](path)
    assert cells["value"].notna().all()
