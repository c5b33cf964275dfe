"""Tables of many columns have few notes, and their samples are as dispersed as the rows."""

import numpy as np
import pandas as pd
import pytest
from quick_training import train_quickly

from varied.data import read
from varied.data.codecs import fit_codec
from varied.data.tables.merge_notes import merge_notes

MAX_NOTES = 12


def wide(n: int = 300) -> pd.DataFrame:
    """Return a table of 300 columns of several kinds, most of which have a note of their own."""
    random, columns = np.random.default_rng(0), {}
    zeros = random.random((n, 100)) < 0.5
    for i in range(100):
        columns[f"amount {i}"] = np.where(zeros[:, i], 0, random.lognormal(3, 1, n).round(2))
        columns[f"zip {i}"] = [f"0{k}" for k in random.integers(1000, 1060, n)]
        columns[f"size {i}"] = random.integers(0, 5000, n).astype(str)
        columns[f"size {i}"][i] = "unknown"
    return pd.DataFrame(columns)


def test_notes_of_one_sort_are_merged(tmp_path):
    wide().to_csv(tmp_path / "wide.csv", index=False)
    data = read(tmp_path / "wide.csv")
    notes = [*data.notes, *fit_codec(data).notes]
    assert 3 < len(notes) <= MAX_NOTES
    assert all(len(note) < 400 for note in notes)
    assert any("zip 0' is read as text, because it has numbers with leading" in n for n in notes)
    (frequent,) = [note for note in notes if "frequent values" in note]
    assert frequent.endswith("'amount 4', 'amount 5' and 94 more.")


def test_notes_of_different_sorts_are_not_merged():
    notes = [("a", "Column 'a' has 2 dates."), ("b", "Column 'b' has 3 words.")]
    assert merge_notes(notes) == [note for _, note in notes]
    assert merge_notes([*notes, ("c", "Column 'c' has 1,000 dates.")])[0] == (
        "Column 'a' has 2 dates; the same applies to 'c'."
    )


@pytest.mark.slow
def test_invalid_cells_of_many_columns_have_few_notes(tmp_path):
    frame = wide()[[f"amount {i}" for i in range(60)]].assign(**{f"u{i}": i for i in range(40)})
    run = train_quickly(frame, steps=2, latent=2, width=8, out=tmp_path / "run")
    report = run.detect(frame.head(9).assign(**{f"u{i}": -1 for i in range(40)}), samples=2)
    assert 1 < len(report.notes) <= MAX_NOTES
    assert report.is_anomaly.all()


@pytest.mark.slow
def test_samples_have_the_variances_and_eigenvalues_of_the_rows(tmp_path):
    random, n, columns, factors = np.random.default_rng(0), 400, 70, 3
    x = random.normal(size=(n, factors)) @ random.normal(size=(factors, columns))
    x += 0.4 * random.normal(size=x.shape)
    frame = pd.DataFrame(x, columns=[f"c{i}" for i in range(columns)])
    options = {"steps": 200, "lr": 1e-2, "batch_size": 64, "width": 64, "out": tmp_path / "run"}
    run = train_quickly(frame, precision="float32", **options)
    samples = run.sample(1000).array.to_numpy(float)
    assert (samples.std(0) / x.std(0)).mean() == pytest.approx(1, abs=0.1)
    real, generated = (
        np.linalg.eigvalsh(np.corrcoef(rows.T))[-factors:].sum() for rows in (x, samples)
    )
    assert generated == pytest.approx(real, rel=0.08)
