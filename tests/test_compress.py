"""Compression: what is read is what was written, in as many bits as the model says."""

from __future__ import annotations

import math
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from varied import compression, functional
from varied.cli import app
from varied.compression import bits_back, code_indices, container
from varied.compression.baselines import all_in_one, one_file_each, png
from varied.compression.deterministic import (
    checksum,
    deterministic,
    fingerprint,
    quantize_params,
    stream,
)
from varied.compression.discretized import chances, count
from varied.data import Batch, read
from varied.data.codecs import ImageCodec
from varied.errors import VariedError
from varied.evaluate import evaluate
from varied.priors import AutoregressiveCodes
from varied.runs.compression import _paths
from varied.spec import Plan, Spec, compose
from varied.training import prepare

pytest.importorskip("constriction")

GREY = "discretized-logistic"


def model_of(likelihood="bernoulli", shape=(1, 4, 4), seed=0, **parts):
    parts = {"latent": 3, "net": {"name": "mlp", "width": 16}} | parts
    spec = Spec.of(likelihood=likelihood, plan=Plan(threads=1, seed=seed), **parts)
    model, _ = compose(spec, shape)
    return model.eval()


def rows(n, levels=2, shape=(1, 4, 4), seed=0):
    dice = torch.Generator().manual_seed(seed)
    return torch.randint(0, levels, (n, *shape), generator=dice).float() / (levels - 1)


def stripes(n, size=8, seed=0):
    """Return black and white pictures that a model can learn: a bright part, and a little noise."""
    dice = np.random.default_rng(seed)
    x = np.zeros((n, size, size), np.uint8)
    for one, cut, down in zip(x, dice.integers(1, size, n), dice.random(n) < 0.5, strict=True):
        one[:cut] = 255
        one[:] = one.T if down else one
    return np.where(dice.random(x.shape) < 0.03, 255 - x, x)


def trained(x, out, **choices):
    """Return a run without its report and pictures."""
    job = prepare(x, threads=1, out=out, **choices)
    for _ in job.train():
        pass
    return job.deliver()


# The stack


@given(st.lists(st.integers(0, 4), min_size=1, max_size=200), st.integers(0, 2**32 - 1))
def test_what_is_pushed_is_popped_and_what_was_below_is_whole(symbols, seed):
    chance = np.random.default_rng(seed).dirichlet(np.ones(5), len(symbols))
    below = np.random.default_rng(seed).integers(1, 2**32, 7, dtype=np.uint32)
    family = stream().model.Categorical(perfect=False)
    stack = stream().stack.AnsCoder(below, seal=True)
    stack.encode_reverse(np.array(symbols, np.int32), family, chance)
    assert stack.decode(family, chance).tolist() == symbols
    assert stack.get_compressed(unseal=True).tolist() == below.tolist()


@pytest.mark.parametrize("chance", [[0.5, 0.5], [0.99, 0.01], [0.7, 0.2, 0.06, 0.04]])
def test_the_stack_takes_as_many_bits_as_the_entropy(chance):
    drawn = np.random.default_rng(0).choice(len(chance), 50_000, p=chance).astype(np.int32)
    family = stream().model.Categorical(perfect=False)
    stack = stream().stack.AnsCoder()
    told = quantize_params(torch.tensor(chance).expand(len(drawn), -1), 2.0**20).numpy()
    stack.encode_reverse(drawn, family, told)
    ideal = -np.log2(np.array(chance))[drawn].sum()
    assert stack.num_valid_bits() == pytest.approx(ideal, rel=1e-3, abs=40)


def desk(levels=2):
    dice = np.random.default_rng(0).integers(1, 2**32, 60_000, dtype=np.uint32)
    return bits_back.BitsBackCoder(model_of(), stream().stack.AnsCoder(dice, seal=True), levels)


@pytest.mark.parametrize(("mean", "scale"), [(0.0, 1.0), (1.7, 0.3), (-2.2, 0.02), (7.5, 0.1)])
def test_latents_that_are_popped_follow_their_posterior(mean, scale):
    one, n = desk(), 20_000
    widths = np.full(n, mean) / bits_back.WIDTH, np.full(n, scale) / bits_back.WIDTH
    before = one.coder.num_valid_bits()
    z = one.pop(*widths)
    taken = (before - one.coder.num_valid_bits()) / n
    u = (z * bits_back.WIDTH - mean) / scale
    assert abs(u.mean()) < 0.03
    assert u.std() == pytest.approx(1, abs=0.02)
    assert np.abs(u).max() < 7  # no latent is ever far off by what the coder keeps for all
    assert taken == pytest.approx(math.log2(scale / bits_back.WIDTH) + 2.047, abs=0.02)
    one.push(z, *widths)
    assert one.coder.num_valid_bits() == before


@pytest.mark.parametrize(("mean", "scale"), [(1e9, 1.0), (-1e9, 1.0), (0, 1e9), (0, 1 / 64)])
def test_latents_far_from_the_prior_come_back(mean, scale):
    one, n = desk(), 300
    before = one.coder.get_compressed().tolist()
    z = one.pop(np.full(n, mean), np.full(n, scale))
    one.push(z, np.full(n, mean), np.full(n, scale))
    assert one.coder.get_compressed().tolist() == before


@given(st.integers(0, 2000), st.integers(1, 400))
def test_groups_hold_all_rows_once_and_grow(n, pace):
    found = list(bits_back._groups(n, pace))
    assert [row for part in found for row in range(n)[part]] == list(range(n))
    assert all(part.stop - part.start <= bits_back.MOST for part in found)
    assert n == 0 or found[0] == slice(0, 1)


# The file


@given(
    st.dictionaries(st.text(), st.integers() | st.text(), max_size=5),
    st.lists(st.integers(0, 2**32 - 1), max_size=50),
)
def test_notes_and_words_come_back(notes, words):
    again, found = container.unpack(container.pack(notes, np.array(words, np.uint32)))
    assert again == notes and found.tolist() == words


def test_every_changed_byte_is_found():
    model = model_of()
    data = compression.compress(model, rows(3)).data
    assert len(data) < 400
    for place in range(len(data)):
        for bit in (1, 128):
            bad = bytearray(data)
            bad[place] ^= bit
            with pytest.raises(VariedError, match=r"no file of|another version|damaged"):
                compression.decompress(model, bytes(bad))


@pytest.mark.parametrize("cut", [0, 5, 8, 20, -1])
def test_a_file_that_was_cut_is_found(cut):
    data = compression.compress(model_of(), rows(3)).data
    with pytest.raises(VariedError, match=r"no file of|damaged"):
        compression.decompress(model_of(), data[:cut])


# Bits back

LIKELIHOODS = {
    "bernoulli": ("bernoulli", 2),
    GREY: (GREY, 256),
    "mixture": ({"name": "discretized-logistic-mixture", "n_components": 2}, 256),
    "categorical": ({"name": "categorical", "levels": 5}, 5),
}


@pytest.mark.parametrize("name", LIKELIHOODS)
@pytest.mark.parametrize("n", [0, 1, 2, 130])
def test_data_come_back_to_the_last_bit(name, n):
    likelihood, levels = LIKELIHOODS[name]
    model, x = model_of(likelihood), rows(n, levels)
    state, threads = torch.random.get_rng_state(), torch.get_num_threads()
    packed = compression.compress(model, x)
    again, notes = compression.decompress(model, packed.data)
    assert torch.equal(again, x) and again.dtype == x.dtype and notes == {}
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    assert next(model.parameters()).dtype == torch.float32


@settings(max_examples=25)
@given(st.data())
def test_any_pictures_come_back(data):
    n, levels = data.draw(st.integers(1, 12)), data.draw(st.sampled_from([2, 256]))
    value = st.integers(0, levels - 1)
    drawn = data.draw(st.lists(value, min_size=12 * n, max_size=12 * n))
    x = torch.tensor(drawn).reshape(n, 3, 2, 2).float() / (levels - 1)
    model = model_of("bernoulli" if levels == 2 else GREY, (3, 2, 2))
    again, _ = compression.decompress(model, compression.compress(model, x).data)
    assert torch.equal(again, x)


@pytest.mark.parametrize(
    "parts",
    [
        {"latent": (2, 2, 2), "net": "conv"},
        {"net": "resnet"},
        {"posterior": {"name": "delta-gaussian", "delta": 0.5}},
    ],
    ids=str,
)
def test_other_nets_and_latents(parts):
    model, x = model_of(shape=(1, 8, 8), **parts), rows(40, shape=(1, 8, 8))
    assert torch.equal(compression.decompress(model, compression.compress(model, x).data)[0], x)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_chances_are_those_of_the_likelihood(name):
    likelihood, levels = LIKELIHOODS[name]
    model = model_of(likelihood)
    law = model.decode(torch.randn(5, 3))
    found = chances(law, count(law))
    assert found.shape == (5, 1, 4, 4, levels)
    assert torch.allclose(found.sum(-1), torch.ones(()).to(found.dtype), atol=1e-5)
    for level in range(0, levels, max(1, levels // 7)):
        x = torch.full((5, 1, 4, 4), level / (levels - 1))
        exact = law.base_dist.log_prob(x).exp()
        assert torch.allclose(found[..., level].float(), exact, rtol=1e-3, atol=1e-6)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("runs") / "stripes"
    return trained(stripes(1500), out, steps=500, width=48, latent=4, lr=4e-3)


def test_the_rate_is_the_bound_of_a_trained_model(run):
    x, _ = run.as_model_input(run.read(stripes(3000, seed=1)))
    packed = compression.compress(run.model, x)
    elbo = evaluate(run.model, lambda x: x, [Batch(x)], likelihood="").elbo
    assert packed.least == pytest.approx(-elbo.value * len(x) / math.log(2), rel=0.01)
    assert 8 * len(packed.data) == pytest.approx(packed.least, rel=0.03)
    assert packed.start < 500  # bits, for all 3,000
    assert 8 * len(packed.data) < 0.6 * x.numel()  # it has learned something to save bits by


def test_a_file_of_twice_the_data_is_twice_as_long(run):
    x, _ = run.as_model_input(run.read(stripes(2000, seed=1)))
    half, whole = (len(compression.compress(run.model, part).data) for part in (x[:1000], x))
    assert whole / half == pytest.approx(2, rel=0.05)


def test_the_order_is_kept_and_notes_are(run):
    x, _ = run.as_model_input(run.read(stripes(50, seed=2)))
    data = compression.compress(run.model, x.flip(0), {"who": "é"}).data
    again, notes = compression.decompress(run.model, data)
    assert torch.equal(again, x.flip(0)) and notes == {"who": "é"}


def test_the_same_data_make_the_same_file():
    x = rows(20)
    assert compression.compress(model_of(), x).data == compression.compress(model_of(), x).data


def test_another_model_is_refused():
    data = compression.compress(model_of(), rows(5)).data
    with pytest.raises(VariedError, match="written by another model"):
        compression.decompress(model_of(seed=1), data)
    changed = model_of()
    next(changed.parameters()).data.view(-1)[0] += 1e-6
    assert fingerprint(changed) != fingerprint(model_of())


@pytest.mark.parametrize("part", ["posterior", "tables"])
def test_other_arithmetic_is_found(monkeypatch, part):
    model, x = model_of(), rows(200)
    data = compression.compress(model, x).data
    if part == "posterior":  # the words come out uneven
        real = bits_back._in_widths
        monkeypatch.setattr(bits_back, "_in_widths", lambda q: (real(q)[0] + 0.5, real(q)[1]))
    else:  # other data come out
        real = bits_back.chances
        monkeypatch.setattr(bits_back, "chances", lambda law, n: 0.9 * real(law, n) + 0.05)
    with pytest.raises(VariedError, match="other numbers here"):
        compression.decompress(model, data)


def test_the_checksum_sees_values_and_shape():
    x = torch.arange(6, dtype=torch.int32)
    assert checksum(x) != checksum(x.reshape(2, 3)) != checksum(x.flip(0))


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"likelihood": "gaussian"}, "--likelihood discretized-logistic"),
        ({"likelihood": "continuous-bernoulli"}, "--likelihood discretized-logistic"),
        ({"prior": {"name": "learned-gmm"}}, "standard normal prior"),
        ({"posterior": "iaf"}, "Gaussian posterior"),
        ({"posterior": "deterministic", "objective": "reconstruction"}, "Gaussian posterior"),
        ({"architecture": "ladder"}, "one level of latents"),
    ],
    ids=str,
)
def test_what_makes_no_bits_is_refused(parts, said):
    with pytest.raises(VariedError, match=said):
        compression.compress(model_of(**parts), rows(3))


def test_data_between_the_levels_are_refused():
    with pytest.raises(VariedError, match="none of the 2 levels"):
        compression.compress(model_of(), torch.full((2, 1, 4, 4), 0.5))
    with pytest.raises(VariedError, match="none of the 2 levels"):
        compression.compress(model_of(), torch.full((2, 1, 4, 4), 2.0))


def test_a_broken_model_is_refused():
    model = model_of()
    next(model.decoder.parameters()).data.fill_(torch.nan)
    with pytest.raises(VariedError, match="no number"):
        compression.compress(model, rows(3))


def test_a_missing_coder_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "constriction", None)
    with pytest.raises(VariedError, match=r"pip install 'varied\[compress\]'"):
        compression.compress(model_of(), rows(3))


# Codes


def coded(**parts):
    parts = {
        "prior": "transformer",
        "objective": "vq-vae",
        "latent": (4, 2, 2),
        "net": "conv",
    } | parts
    return model_of(shape=(1, 8, 8), **parts)


@pytest.mark.parametrize(
    "posterior",
    [
        {"name": "vq", "codebook_size": 16},
        {"name": "fsq"},
        {"name": "residual-vq", "codebook_size": 8, "n_quantizers": 2},
    ],
    ids=lambda part: part["name"],
)
@pytest.mark.parametrize("n", [1, 30])
def test_codes_come_back_as_reconstructions(posterior, n):
    model, x = coded(posterior=posterior), rows(n, shape=(1, 8, 8))
    assert not compression.is_lossless(model)
    again, _ = compression.decompress(model, compression.compress(model, x).data)
    torch.testing.assert_close(again, functional.reconstruct(model, x))


def test_codes_take_the_bits_of_the_law_that_costs_less():
    model = coded(posterior={"name": "vq", "codebook_size": 16})
    index = torch.randint(0, 16, (400, 4))
    with deterministic(model) as twin:
        for law in code_indices.laws(twin):
            words, least = code_indices.write(twin, index, law)
            assert torch.equal(code_indices.read(twin, words, len(index), law), index)
            exact = code_indices.cost(twin, index, law) / math.log(2)
            assert least == pytest.approx(exact, rel=1e-6)
            assert 32 * len(words) == pytest.approx(least, rel=0.02)
    model.encoder.head.use.fill_(0)
    model.encoder.head.use[3] = 16
    with deterministic(model) as twin:
        assert isinstance(twin.prior(None), AutoregressiveCodes)
        always = torch.full((400, 4), 3)
        assert code_indices.cost(twin, always, "use") < 0.1 * code_indices.cost(
            twin, always, "prior"
        )


# A run, and the commands


def test_a_run_keeps_its_pictures(run, tmp_path):
    x = stripes(60, seed=3)
    found = run.compress(x)
    assert found.lossless and len(found) == 60 and np.array_equal(found.array, x)
    assert found.rate == pytest.approx(8 * len(found.data) / x.size)
    assert set(found.others) == {"PNG", "gzip", "xz"}
    made = run.decompress(found.save(tmp_path / "x.varied"))
    assert np.array_equal(made.array, x) and made.array.dtype == np.uint8
    folder = made.save(tmp_path / "back")
    again = [np.asarray(Image.open(path)) for path in sorted(folder.glob("*.png"))]
    assert np.array_equal(np.stack(again), x)


def test_a_folder_comes_back_under_its_names(run, tmp_path):
    x = stripes(12, seed=4)
    for i, one in enumerate(x):
        path = tmp_path / "in" / ("a" if i % 2 else "b") / f"é {i}.bmp"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(one).save(path)
    does = CliRunner()
    file, back = tmp_path / "in.varied", tmp_path / "back"
    said = does.invoke(app, ["compress", str(run.folder), str(tmp_path / "in"), "--out", str(file)])
    assert said.exit_code == 0, said.output
    assert "bits a dimension" in said.output and "PNG" in said.output
    said = does.invoke(app, ["decompress", str(run.folder), str(file), "--out", str(back)])
    assert said.exit_code == 0, said.output
    for i, one in enumerate(x):
        path = back / ("a" if i % 2 else "b") / f"é {i}.png"
        assert np.array_equal(np.asarray(Image.open(path)), one)


@pytest.mark.parametrize(
    "names", [["../a.png", "b"], ["/a", "b"], ["a.png", "A.jpg"], ["a"], ["c:\\a", "b"], ["", "b"]]
)
def test_names_that_lead_out_or_meet_are_numbers(names):
    assert _paths(tuple(names), 2) == ["00000.png", "00001.png"]


def test_black_and_white_is_said(tmp_path):
    gray = np.clip(stripes(300).astype(int), 4, 250).astype(np.uint8)
    run = trained(gray, tmp_path / "run", steps=20, width=8, latent=2)
    assert isinstance(run.codec, ImageCodec) and run.codec.binarize == "dynamic"
    found = run.compress(gray[:20])
    assert found.binarized and set(np.unique(found.array)) == {0, 255}
    found.save(tmp_path / "x.varied")
    assert np.array_equal(run.decompress(tmp_path / "x.varied").array, found.array)
    np.save(tmp_path / "x.npy", gray[:20])
    where = str(run.folder), str(tmp_path / "x.npy"), "--out", str(tmp_path / "y.varied")
    said = CliRunner().invoke(app, ["compress", *where])
    assert "black and white" in said.output


def test_runs_of_other_data_are_refused(tmp_path):
    dice = np.random.default_rng(0)
    numbers = trained(dice.normal(size=(80, 3)), tmp_path / "array", steps=2)
    with pytest.raises(VariedError, match="--likelihood"):
        numbers.compress()
    with pytest.raises(VariedError, match="cannot be read"):
        numbers.decompress(tmp_path / "none.varied")
    frame = pd.DataFrame({"a": dice.normal(size=80), "b": list("xy") * 40})
    table = trained(frame, tmp_path / "table", steps=2)
    with pytest.raises(VariedError, match="Rows of a table"):
        table.compress()


def test_a_run_that_is_told_classes_is_refused(tmp_path):
    items = read(stripes(80), labels=np.arange(80) % 2)
    run = trained(items, tmp_path / "run", model="conditional-vae", steps=2, width=8)
    with pytest.raises(VariedError, match="told the class"):
        run.compress()


def test_rivals_are_what_the_programs_make_of_it():
    x = stripes(40)
    found, single = all_in_one(x), one_file_each(x)
    assert single["PNG"] == sum(png(one) for one in x)
    assert found["gzip"] < single["gzip"] and found["xz"] < single["xz"]
    assert found["gzip"] < x.size / 8 * 1.2  # as bits, not as bytes
    assert set(all_in_one(np.zeros((3, 5), np.float32))) == {"gzip", "xz"}
