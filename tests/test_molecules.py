"""Molecules: reading, the codec, the likelihood, runs and metrics."""

from __future__ import annotations

import gzip
import itertools
import json
import sys

import numpy as np
import pandas as pd
import pytest
import torch

import varied
from tests.quick_training import train_quickly, train_to_end
from varied.cli import main
from varied.composition import compose
from varied.data import fit_codec, molecules, open_codec, read, split
from varied.data.codecs import MoleculeCodec
from varied.data.molecules import parsing
from varied.errors import VariedError
from varied.evaluate.suites import EvalContext
from varied.evaluate.suites.molecules import molecule_suite
from varied.likelihoods import OneHot
from varied.runs.attributes import attributes
from varied.training import prepare
from varied.training.defaults import resolve
from varied.training.update import prepare_update
from varied.zoo import ZOO

ENDS = ("C", "N", "O", "F", "C#N", "C(=O)O", "c1ccccc1", "C1CC1", "C=C", "[NH3+]")
SMILES = [f"{a}{'C' * n}{b}" for a, b in itertools.product(("C", "N", "O"), ENDS) for n in range(8)]
FAST = {"precision": "float32", "compile": "no"}
VALID = ["CCO", "c1ccccc1", "CC(=O)O"]


@pytest.fixture(scope="module")
def data():
    return read(SMILES, kind="molecules")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("molecules")
    pd.DataFrame({"SMILES": SMILES, "size": range(len(SMILES))}).to_csv(folder / "m.csv")
    return train_quickly(folder / "m.csv", out=folder / "run", beta=0.1, latent=8, **FAST)


# Reading


def test_invalid_repeated_and_charged_molecules_are_reported():
    texts = ["OCC", "C1CC", "CC(=O)[O-].[Na+]", "CCO", "C(C)(C)(C)(C)C", "", "C" * 600, "*"]
    data = read(texts, kind="molecules", min_rows=1)
    assert data.x.tolist() == ["CCO", "CC(=O)[O-]"]
    assert data.names == ("CCO", "CC(=O)[O-]")
    reasons = {problem.name: problem.reason for problem in data.problems}
    assert reasons["row 2 (C1CC)"] == "it is not a valid SMILES"
    assert "Explicit valence" in reasons["row 5 (C(C)(C)(C)(C)C)"]
    assert reasons["row 6 (empty)"] == "it has no atoms"
    assert "longer than 500" in reasons[f"row 7 ({'C' * 60})"]
    assert reasons["row 8 (*)"] == "it cannot be written in SELFIES"
    notes = " ".join(data.notes)
    assert "2 molecules; 5 unreadable." in notes
    assert "1 molecules consist of several fragments, of which the largest is used (row 3)" in notes
    assert "1 molecules repeat earlier ones and are omitted (CCO)" in notes


def test_repeated_molecules_are_kept_on_request():
    data = read(["CCO", "OCC"], kind="molecules", min_rows=1, keep_duplicates=True)
    assert data.x.tolist() == ["CCO", "CCO"]


@pytest.mark.parametrize("name", ["m.smi", "m.smi.gz"])
def test_smiles_files(tmp_path, name):
    text = b"smiles name\nOCC ethanol\n\nc1ccccc1\nnonsense\n"
    (tmp_path / name).write_bytes(gzip.compress(text) if name.endswith("gz") else text)
    data = read(tmp_path / name, min_rows=1)
    assert data.kind == "molecules"
    assert data.x.tolist() == ["CCO", "c1ccccc1"]
    assert [problem.name for problem in data.problems] == ["line 5 (nonsense)"]


def test_sdf_files(tmp_path):
    from rdkit import Chem

    blocks = [Chem.MolToMolBlock(Chem.AddHs(Chem.MolFromSmiles(s))) for s in VALID]
    text = "".join(f"{block}> <id>\n1\n\n$$$$\n" for block in [*blocks, "\n\nwrong\n"])
    (tmp_path / "m.sdf").write_text(text)
    data = read(tmp_path / "m.sdf", min_rows=1)
    assert data.x.tolist() == VALID
    assert data.problems[0].reason == "it is not a valid record"


@pytest.mark.parametrize(("name", "text"), [("m.smi", ""), ("m.smi", "SMILES\n"), ("m.sdf", "")])
def test_an_empty_file_is_an_error(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(VariedError, match="contains no molecules"):
        read(tmp_path / name)


def test_a_file_without_valid_molecules_is_an_error(tmp_path):
    (tmp_path / "m.smi").write_text("hello\nworld\n")
    with pytest.raises(VariedError, match=r"None of the 2 molecules .* line 1 \(hello\): it is"):
        read(tmp_path / "m.smi")


def test_a_table_of_molecules_is_recognized(tmp_path):
    frame = pd.DataFrame({"id": range(len(SMILES)), "Smiles": SMILES, "note": "text"})
    frame.to_csv(tmp_path / "m.csv", index=False)
    data = read(tmp_path / "m.csv")
    assert data.kind == "molecules"
    assert "The molecules are read from column 'Smiles'." in data.notes
    assert "2 other columns are not used (id, note)." in data.notes
    unnamed = read(frame.rename(columns={"Smiles": "compound"}))
    assert unnamed.x.tolist() == data.x.tolist()
    assert unnamed.kind == "molecules"


def test_labels_of_a_table_are_those_of_the_molecules():
    frame = pd.DataFrame({"smiles": [*SMILES, "C1CC"], "gap": np.arange(len(SMILES) + 1.0)})
    data = read(frame, labels="gap")
    assert data.label_names == ("gap",)
    assert data.labels.shape == (len(data),)
    assert data.labels[:3].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "columns",
    [
        {"code": ["C", "N", "O"] * 20},  # valid, but short and repeated
        {"smiles": ["good", "bad", "ugly"] * 20},
        {"name": [f"Boston{i}" for i in range(60)]},
    ],
)
def test_other_tables_are_not_molecules(columns):
    data = read(pd.DataFrame(columns | {"value": np.arange(60.0)}))
    assert data.kind == "table"


def test_the_kind_can_be_chosen():
    frame = pd.DataFrame({"smiles": SMILES, "value": np.arange(float(len(SMILES)))})
    assert read(frame, kind="table").kind == "table"
    assert read(VALID, kind="molecules", min_rows=1).kind == "molecules"
    with pytest.raises(VariedError, match="No column of the table contains SMILES"):
        read(frame[["value"]], kind="molecules")
    with pytest.raises(VariedError, match=r"cannot be read as molecules \(kind='molecules'\)"):
        read(np.zeros((20, 3)), kind="molecules")
    with pytest.raises(VariedError, match="must be numeric"):
        read(["a", "b"] * 10)


def test_scaffolds_of_test_molecules_are_not_in_other_rows():
    data = read(SMILES, kind="molecules", scaffold_split=True)
    rows = split(data)
    parts = [{molecules.scaffold(s) for s in data.x[r]} for r in (rows.train, rows.test)]
    assert len(rows.test)
    assert not parts[0] & parts[1]


def test_missing_packages_are_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "selfies", None)
    (tmp_path / "m.smi").write_text("CCO\n")
    for source, options in ((tmp_path / "m.smi", {}), (VALID, {"kind": "molecules"})):
        with pytest.raises(VariedError, match=r"pip install 'varied\[molecules\]'"):
            read(source, **options)


def test_a_missing_library_for_drawings_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "rdkit.Chem.Draw.rdMolDraw2D", None)
    with pytest.raises(VariedError, match=r"cannot draw molecules .*libxrender1"):
        read(VALID, kind="molecules")


def test_a_table_is_read_without_the_packages(monkeypatch):
    monkeypatch.setattr(molecules, "is_available", lambda: False)
    data = read(pd.DataFrame({"smiles": SMILES, "value": np.arange(float(len(SMILES)))}))
    assert data.kind == "table"
    assert any("varied[molecules]" in note for note in data.notes)


# The child process

WORKER = """
import json, os, sys, time
print('"ready"', flush=True)
for text in json.load(open(sys.argv[1]))[int(sys.argv[3]):]:
    if text == "hang":
        time.sleep(60)
    if text == "crash":
        os.abort()
    print(json.dumps([text, "", False]), flush=True)
"""


def test_a_molecule_that_hangs_or_crashes_costs_one_row(monkeypatch, tmp_path):
    (tmp_path / "worker.py").write_text(WORKER)
    monkeypatch.setattr(parsing, "_WORKER", tmp_path / "worker.py")
    results = parsing.parse(["a", "hang", "b", "crash", "c"], max_seconds=1.0)
    assert [result.smiles for result in results] == ["a", "", "b", "", "c"]
    assert results[1].reason == "RDKit takes more than 1 seconds"
    assert results[3].reason == "it crashes RDKit"
    with pytest.raises(VariedError, match="More than 20 molecules hang or crash RDKit"):
        parsing.parse(["crash"] * 30)


def test_a_worker_that_does_not_start_is_an_error(monkeypatch, tmp_path):
    (tmp_path / "worker.py").write_text("raise SystemExit")
    monkeypatch.setattr(parsing, "_WORKER", tmp_path / "worker.py")
    with pytest.raises(VariedError, match="does not start"):
        parsing.parse(["CCO"])


# The codec


def test_molecules_are_encoded_and_decoded_exactly(data):
    codec = fit_codec(data)
    stored = codec.encode(data)
    x = codec.load(stored)
    assert stored.dtype == torch.uint8
    assert tuple(x.shape[1:]) == codec.shape
    assert (x.sum(1) == 1).all()
    assert codec.decode(x).tolist() == data.x.tolist()
    reopened = open_codec(json.loads(json.dumps(codec.to_json())))
    assert reopened == codec


def test_unknown_tokens_and_long_molecules_are_encoded(data):
    codec = fit_codec(data)
    stored = codec.encode(np.array(["CCS", "C" * 50]))
    assert stored[0, :4].tolist() == [*[codec.tokens.index("[C]")] * 2, 1, 0]
    assert (stored[1] == codec.tokens.index("[C]")).all()
    with pytest.raises(VariedError, match="use SMILES"):
        codec.encode(np.zeros((3, 2)))


def test_every_sequence_of_tokens_is_a_valid_molecule(data):
    codec = fit_codec(data)
    x = torch.randn(300, *codec.shape)
    x[:, :2] -= 9  # otherwise, some molecules are empty
    smiles = codec.decode(x)
    assert all(smiles)
    assert len(set(smiles.tolist())) > 100


def test_a_corrupted_codec_is_an_error():
    with pytest.raises(VariedError, match="does not match the shape"):
        MoleculeCodec(("[C]",), 4)


# The likelihood


def test_one_hot_probabilities_sum_to_one():
    head = OneHot((3, 2))
    px = head(torch.randn(4, 3, 2))
    pairs = torch.cartesian_prod(torch.arange(3), torch.arange(3))
    x = torch.nn.functional.one_hot(pairs, 3).movedim(-1, -2).float()
    torch.testing.assert_close(px.log_prob(x[:, None]).exp().sum(0), torch.ones(4))
    samples = px.sample((5_000,))
    assert samples.shape == (5_000, 4, 3, 2)
    assert (samples.sum(-2) == 1).all()
    torch.testing.assert_close(samples.mean(0), px.mean, atol=0.03, rtol=0)
    assert px.base_dist.log_prob(x[0]).shape == (4, 3, 2)
    assert px.expand((5, 4)).log_prob(x[0]).shape == (5, 4)


# Runs


def test_results_are_written(run, tmp_path):
    samples = run.sample(6)
    assert samples.array.shape == (6,)
    assert samples.save(tmp_path / "s.smi").read_text().split("\n")[:-1] == samples.array.tolist()
    frame = pd.read_csv(samples.save(tmp_path / "s.csv"))
    assert list(frame) == ["smiles", "QED", "logP", "TPSA", "weight", "heavy atoms"]
    assert samples.save(tmp_path / "s.png").stat().st_size > 1000
    paths = pd.read_csv(run.interpolate(n=2, steps=3).save(tmp_path / "i.csv"))
    assert paths[["row", "column"]].to_numpy().tolist()[:4] == [[1, 1], [1, 2], [1, 3], [2, 1]]
    assert run.reconstruct(n=4).array.shape == (2, 4)
    with pytest.raises(VariedError, match=r"supported file extension; use \.smi"):
        samples.save(tmp_path / "s.npy")


def test_many_molecules_are_sampled_without_drawing_them(run, tmp_path, monkeypatch):
    drawn_counts = []
    monkeypatch.setattr("varied.data.codecs.molecules._MAX_DRAWN", 10)
    draw = molecules.draw

    def count_and_draw(smiles, size):
        drawn_counts.append(len(smiles))
        return draw(smiles, size)

    monkeypatch.setattr(molecules, "draw", count_and_draw)
    samples = run.sample(150)
    assert not drawn_counts
    samples.save(tmp_path / "s.png")
    assert drawn_counts == [100]


def test_lists_of_smiles_are_read_by_operations(run, tmp_path):
    codes = run.encode(["CCO", "OCC", "CCN"])
    assert codes.mean.shape == (3, 8)
    np.testing.assert_array_equal(codes.mean[0], codes.mean[1])
    report = run.detect(["CCO", "O=S(=O)(O)c1ccc(I)cc1"])
    assert report.score[1] > report.score[0]
    assert report.save(tmp_path / "d.png").stat().st_size > 1000
    neighbors = run.neighbors(["CCO"], n=2)
    assert neighbors.frame["query"].tolist() == ["CCO", "CCO"]
    assert run.sample(2, around=["CCO"]).array.shape == (1, 3)


def test_a_smiles_is_read_unless_it_is_the_name_of_a_file(run, tmp_path, monkeypatch, capsys):
    assert run.read("OCC").x.tolist() == ["CCO"]
    for text in ("C1CC", "missing.smi"):
        with pytest.raises(VariedError, match="There is no"):
            run.read(text)
    monkeypatch.chdir(tmp_path)
    main(["sample", str(run.folder), "-n", "2", "--around", "CCO", "--out", "s.smi"])
    assert len((tmp_path / "s.smi").read_text().split()) == 3
    (tmp_path / "CCO").write_text("CCN\n")
    with pytest.raises(VariedError):
        run.read("CCO")


def test_unreadable_molecules_are_reported_by_operations(run):
    with pytest.warns(varied.errors.DataWarning, match=r"row 2 \(C1CC\)"):
        assert len(run.read(["CCO", "C1CC"])) == 1


def test_the_data_of_a_run_are_read_again(run):
    again = varied.Run(run.folder)
    assert again.split("test").x.tolist() == run.split("test").x.tolist()


def test_molecules_are_edited_by_their_properties(run):
    result = run.edit(["CCO", "CCCO"], column="logP")
    assert result.array.shape[0] == 2


def test_labels_of_molecules_are_attributes(data):
    codec = fit_codec(data)
    named = data.replace(labels=np.arange(len(data)) / 7, label_names=("gap",))
    assert attributes(named, codec)["gap"].levels == ("low", "high")
    assert {"QED", "gap"} <= attributes(named, codec).keys()
    classes = data.replace(labels=np.arange(len(data)) % 2, classes=("a", "b"))
    assert attributes(classes, codec)["class"].levels == ("a", "b")


@pytest.mark.slow
@pytest.mark.parametrize("likelihood", ["one-hot", "autoregressive-one-hot"])
def test_interrupted_training_is_resumed(tmp_path, data, likelihood):
    choices = {"steps": 8, "width": 8, "latent": 2, "threads": 1, **FAST, "likelihood": likelihood}
    job = prepare(data, out=tmp_path / "run", **choices)
    for event in job.train():
        if event.state.step == 4:
            job.store.write_checkpoint(job.step, event.snapshot())
            break
    resumed, whole_run = (
        train_to_end(prepare(data, out=tmp_path / name, **choices)).model.state_dict()
        for name in ("run", "other")
    )
    for name, tensor in resumed.items():
        torch.testing.assert_close(tensor, whole_run[name])


def test_the_default_weight_of_the_kl_rises_slowly_unless_it_is_chosen(data):
    from varied.training.defaults import resolve

    default, chosen = (resolve(data, "vae", choices) for choices in ({}, {"beta": 0.3}))
    assert str(default.spec.objective.settings["beta"]) == "linear(start=0, end=1, steps=0.9)"
    assert any("objective = elbo" in sentence for sentence in default.sentences)
    assert chosen.spec.objective.settings["beta"] == 0.3
    assert not any("objective = elbo" in sentence for sentence in chosen.sentences)


def test_labels_are_a_context(tmp_path):
    frame = pd.DataFrame({"smiles": SMILES, "carbons": [s.count("C") for s in SMILES]})
    run = train_quickly(
        frame.astype({"carbons": float}),
        out=tmp_path / "run",
        labels="carbons",
        conditional=True,
        steps=20,
        latent=2,
        **FAST,
    )
    assert run.sample(3, label=5.0).array.shape == (3,)


@pytest.mark.slow
@pytest.mark.parametrize("chain", ["", "OCCOCCOCCOCCNCCNCC"])
def test_the_command_trains_and_samples(tmp_path, capsys, chain):
    (tmp_path / "m.smi").write_text("\n".join(chain + smiles for smiles in SMILES[:60]))
    folder = str(tmp_path / "run")
    options = ["--steps", "5", "--width", "8", "--threads", "1", "--out", folder]
    assert main(["train", str(tmp_path / "m.smi"), *options]) == 0
    assert "molecules" in capsys.readouterr().out
    assert (tmp_path / "run" / "samples.png").exists()
    assert main(["sample", folder, "-n", "3", "--out", str(tmp_path / "new.smi")]) == 0
    assert len((tmp_path / "new.smi").read_text().splitlines()) == 3


# Long molecules

#: The models whose networks or likelihoods do not accept sequences of tokens.
IMAGE_MODELS = {"conv-vae", "resnet-vae", "linear-vae", "very-deep-vae"}
IMAGE_MODELS |= {"vq-vae-2", "vae-gan", "patchgan-vae"}


@pytest.fixture(scope="module")
def long_molecules():
    smiles = [
        f"{a}{'C' * n}OCCOCCOCCOCCNCCNCC{b}" for a in ("C", "N") for b in ENDS for n in range(8)
    ]
    return read(smiles, kind="molecules")


@pytest.fixture(scope="module")
def long_run(long_molecules, tmp_path_factory):
    return train_quickly(long_molecules, out=tmp_path_factory.mktemp("m") / "run", **SMALL)


SMALL = {"width": 8, "token_width": 16, "n_features": 8, "steps": 30, **FAST}


@pytest.mark.parametrize("name", sorted(ZOO.keys() - IMAGE_MODELS))
def test_models_accept_long_molecules(long_molecules, name):
    labels = np.arange(len(long_molecules)) % 2
    data = long_molecules.replace(labels=labels, classes=("a", "b"))
    config = resolve(data, name, {})
    model, _ = compose(config.spec, config.codec.shape, config.codec.domain)
    assert config.spec.likelihood.name == "autoregressive-one-hot"
    assert model.latent_shape


def test_many_molecules_are_modeled_by_dependent_tokens(data):
    codec = fit_codec(data)
    few, many = codec.defaults(999), codec.defaults(1000)
    assert codec.length < 33
    assert few["likelihood"].value == "one-hot"
    assert many["likelihood"].value == "autoregressive-one-hot"
    assert many["objective"].value["free_bits_per_level"] == round(0.6 * codec.length)


def test_latent_variables_of_a_sequence_are_varied(long_run):
    assert long_run.traverse(dimensions=2, steps=3).array.shape == (2, 3)


@pytest.mark.slow
def test_the_tokens_of_long_molecules_depend_on_preceding_ones(long_run):
    assert long_run.spec.likelihood.name == "autoregressive-one-hot"
    assert long_run.spec.net.name == "conv1d"
    channels, length = long_run.model.latent_shape
    assert (channels, length) == (4, -(-long_run.codec.length // 2))
    assert len(long_run.sample(5).array) == 5
    assert long_run.encode(["CCO"]).mean.shape == (1, 4 * length)
    assert long_run.interpolate(n=1, steps=3).array.shape == (1, 3)
    assert long_run.detect(["CCO", "CCN"]).score.shape == (2,)
    again = varied.Run(long_run.folder)
    assert again.reconstruct(["CCO"]).array.tolist() == long_run.reconstruct(["CCO"]).array.tolist()


def test_a_run_on_molecules_is_updated(long_run, tmp_path):
    job = prepare_update(long_run, ["NCCO", "NCCCO", *SMILES[:40]], out=tmp_path / "run", steps=5)
    run = train_to_end(job)
    assert run.codec.to_json() == long_run.codec.to_json()
    assert run.sample(3).array.shape == (3,)


# Metrics


def test_the_suite_describes_molecules(run):
    group, structure = molecule_suite(EvalContext(run))
    values = {metric.name: metric.estimate.value for metric in group.metrics}
    assert {"exact reconstructions", "unique samples", "distance of logP"} <= values.keys()
    assert 0 <= values["exact reconstructions"] <= 1
    assert {"SNN", "scaffold similarity"} <= {metric.name for metric in structure.metrics}
    assert all("training rows" in metric.reference for metric in structure.metrics)
    has_fcd = any(metric.name == "FCD" for metric in structure.metrics)
    assert has_fcd or "pip install fcd_torch" in structure.note
