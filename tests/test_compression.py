"""Tests of compression: round trips, compressed sizes, and files that cannot be decompressed."""

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
from varied.composition import compose
from varied.compression import bits_back, code_indices, container
from varied.compression.baselines import baseline_sizes
from varied.compression.deterministic import deterministic, entropy_coders, quantize_params
from varied.compression.discretize import level_probabilities, num_levels
from varied.data import Batch, read
from varied.data.codecs import ImageCodec
from varied.data.codecs.images import _file_names
from varied.errors import VariedError
from varied.evaluate import evaluate
from varied.priors import AutoregressiveCodes
from varied.spec import Plan, Spec
from varied.training import prepare

pytest.importorskip("constriction")

#: Likelihoods with their numbers of levels.
LIKELIHOODS = {
    "bernoulli": ("bernoulli", 2),
    "logistic": ("discretized-logistic", 256),
    "mixture": ({"name": "discretized-logistic-mixture", "n_components": 2}, 256),
    "categorical": ({"name": "categorical", "levels": 5}, 5),
}


def build_model(likelihood="bernoulli", shape=(1, 4, 4), seed=0, **parts):
    parts = {"latent": 3, "net": {"name": "mlp", "width": 16}} | parts
    spec = Spec.parse(likelihood=likelihood, plan=Plan(threads=1, seed=seed), **parts)
    model, _ = compose(spec, shape)
    return model.eval()


def build_vqvae(**parts):
    defaults = {"prior": "transformer", "objective": "vq-vae", "latent": (4, 2, 2), "net": "conv"}
    return build_model(shape=(1, 8, 8), **defaults | parts)


def random_rows(n, levels=2, shape=(1, 4, 4)):
    rng = torch.Generator().manual_seed(0)
    return torch.randint(0, levels, (n, *shape), generator=rng).float() / (levels - 1)


def half_bright(n, size=8, seed=0):
    """Return binary images with a bright part and some noise."""
    rng = np.random.default_rng(seed)
    x = np.zeros((n, size, size), np.uint8)
    for image, edge, swap in zip(x, rng.integers(1, size, n), rng.random(n) < 0.5, strict=True):
        image[:edge] = 255
        image[:] = image.T if swap else image
    return np.where(rng.random(x.shape) < 0.03, 255 - x, x)


def train_run(x, out, **options):
    """Train a run without writing its report."""
    job = prepare(x, threads=1, out=out, **options)
    for _ in job.train():
        pass
    return job.write_model()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("runs") / "half_bright"
    return train_run(half_bright(1500), out, steps=500, width=48, latent=4, lr=4e-3)


# Entropy coders


@given(st.lists(st.integers(0, 4), min_size=1, max_size=200), st.integers(0, 2**32 - 1))
def test_stack_returns_symbols_and_restores_what_was_below(symbols, seed):
    probabilities = np.random.default_rng(seed).dirichlet(np.ones(5), len(symbols))
    below = np.random.default_rng(seed).integers(1, 2**32, 7, dtype=np.uint32)
    categorical = entropy_coders().model.Categorical(perfect=False)
    stack = entropy_coders().stack.AnsCoder(below, seal=True)
    stack.encode_reverse(np.array(symbols, np.int32), categorical, probabilities)
    assert stack.decode(categorical, probabilities).tolist() == symbols
    assert stack.get_compressed(unseal=True).tolist() == below.tolist()


@pytest.mark.parametrize("p", [[0.5, 0.5], [0.99, 0.01], [0.7, 0.2, 0.06, 0.04]])
def test_stack_grows_by_the_information_content(p):
    symbols = np.random.default_rng(0).choice(len(p), 50_000, p=p).astype(np.int32)
    stack = entropy_coders().stack.AnsCoder()
    quantized = quantize_params(torch.tensor(p).expand(len(symbols), -1)).numpy()
    stack.encode_reverse(symbols, entropy_coders().model.Categorical(perfect=False), quantized)
    information = -np.log2(np.array(p))[symbols].sum()
    assert stack.num_valid_bits() == pytest.approx(information, rel=1e-3, abs=40)


def build_coder():
    words = np.random.default_rng(0).integers(1, 2**32, 60_000, dtype=np.uint32)
    stack = entropy_coders().stack.AnsCoder(words, seal=True)
    return bits_back.BitsBackCoder(build_model(), stack, levels=2)


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (1.7, 0.3), (-2.2, 0.02), (7.5, 0.1)])
def test_popped_latents_follow_the_posterior(mean, std):
    coder, n = build_coder(), 20_000
    widths = np.full(n, mean) / bits_back.WIDTH, np.full(n, std) / bits_back.WIDTH
    before = coder.stack.num_valid_bits()
    z = coder.pop(*widths)
    bits = (before - coder.stack.num_valid_bits()) / n
    u = (z * bits_back.WIDTH - mean) / std
    assert abs(u.mean()) < 0.03
    assert u.std() == pytest.approx(1, abs=0.02)
    assert np.abs(u).max() < 7  # the minimum probabilities of the coder do not cause outliers
    assert bits == pytest.approx(math.log2(std / bits_back.WIDTH) + 2.047, abs=0.02)
    coder.push(z, *widths)
    assert coder.stack.num_valid_bits() == before


@pytest.mark.parametrize(("mean", "std"), [(1e9, 1.0), (-1e9, 1.0), (0, 1e9), (0, 1 / 64)])
def test_extreme_latents_are_restored(mean, std):
    coder, n = build_coder(), 300
    before = coder.stack.get_compressed().tolist()
    z = coder.pop(np.full(n, mean), np.full(n, std))
    coder.push(z, np.full(n, mean), np.full(n, std))
    assert coder.stack.get_compressed().tolist() == before


@given(st.integers(0, 2000), st.integers(1, 400))
def test_groups_cover_all_rows_once(n, ratio):
    groups = list(bits_back._groups(n, ratio))
    assert [row for rows in groups for row in range(n)[rows]] == list(range(n))
    assert all(rows.stop - rows.start <= bits_back.MAX_GROUP for rows in groups)
    assert n == 0 or groups[0] == slice(0, 1)


# File format


@given(
    st.dictionaries(st.text(), st.integers() | st.text(), max_size=5),
    st.lists(st.integers(0, 2**32 - 1), max_size=50),
)
def test_unpack_inverts_pack(header, words):
    result = container.unpack(container.pack(header, np.array(words, np.uint32)))
    assert result[0] == header and result[1].tolist() == words


def test_every_changed_byte_is_detected():
    model = build_model()
    data = compression.compress(model, random_rows(3)).data
    assert len(data) < 400
    for position in range(len(data)):
        for bit in (4, 128):
            damaged = bytearray(data)
            damaged[position] ^= bit
            with pytest.raises(VariedError, match=r"not written by|newer version|corrupted"):
                compression.decompress(model, bytes(damaged))


@pytest.mark.parametrize("size", [0, 5, 7, 8, 20, -1])
def test_truncated_files_are_detected(size):
    data = compression.compress(build_model(), random_rows(3)).data
    with pytest.raises(VariedError, match=r"not written by|corrupted"):
        compression.decompress(build_model(), data[:size])


@pytest.mark.parametrize(("model", "source"), [(build_model, None), (build_vqvae, "use")])
def test_files_of_version_1_are_read(model, source):
    parts = {"posterior": {"name": "vq", "codebook_size": 16}} if source else {}
    model, x = model(**parts), random_rows(30, shape=(1, 8, 8) if source else (1, 4, 4))
    packed = compression.compress(model, x)
    header, words = container.unpack(packed.data)
    old = {"checksum": "data", "group_ratio": "pace", "source": "law"}
    header = {old.get(key, key): value for key, value in header.items()} | {"model": "0" * 16}
    header["kind"] = header["kind"].replace("-", " ")
    data = bytearray(container.pack(header, words))
    data[len(container.MAGIC)] = 1
    expected, _ = compression.decompress(model, packed.data)
    assert torch.equal(compression.decompress(model, bytes(data))[0], expected)


def test_checksum_depends_on_values_and_shape():
    x = torch.arange(6, dtype=torch.int32)
    checksums = {container.checksum(y) for y in (x, x.reshape(2, 3), x.flip(0))}
    assert len(checksums) == 3


# Bits-back coding


@pytest.mark.parametrize("name", LIKELIHOODS)
@pytest.mark.parametrize("n", [0, 1, 2, 130])
def test_data_are_restored_exactly(name, n):
    likelihood, levels = LIKELIHOODS[name]
    model, x = build_model(likelihood), random_rows(n, levels)
    state, threads = torch.random.get_rng_state(), torch.get_num_threads()
    packed = compression.compress(model, x)
    restored, notes = compression.decompress(model, packed.data)
    assert torch.equal(restored, x) and restored.dtype == x.dtype and notes == {}
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    assert next(model.parameters()).dtype == torch.float32


@settings(max_examples=25)
@given(st.data())
def test_arbitrary_images_are_restored(data):
    n, levels = data.draw(st.integers(1, 12)), data.draw(st.sampled_from([2, 256]))
    value = st.integers(0, levels - 1)
    values = data.draw(st.lists(value, min_size=12 * n, max_size=12 * n))
    x = torch.tensor(values).reshape(n, 3, 2, 2).float() / (levels - 1)
    model = build_model("bernoulli" if levels == 2 else "discretized-logistic", (3, 2, 2))
    restored, _ = compression.decompress(model, compression.compress(model, x).data)
    assert torch.equal(restored, x)


@pytest.mark.parametrize(
    "parts",
    [
        {"latent": (2, 2, 2), "net": "conv"},
        {"net": "resnet"},
        {"posterior": {"name": "delta-gaussian", "delta": 0.5}},
    ],
    ids=str,
)
def test_other_networks_and_posteriors(parts):
    model, x = build_model(shape=(1, 8, 8), **parts), random_rows(40, shape=(1, 8, 8))
    assert torch.equal(compression.decompress(model, compression.compress(model, x).data)[0], x)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_level_probabilities_are_those_of_the_likelihood(name):
    likelihood, levels = LIKELIHOODS[name]
    px = build_model(likelihood).decode(torch.randn(5, 3))
    probabilities = level_probabilities(px, num_levels(px))
    assert probabilities.shape == (5, 1, 4, 4, levels)
    assert torch.allclose(probabilities.sum(-1), torch.ones(()).to(probabilities), atol=1e-5)
    for level in range(0, levels, max(1, levels // 7)):
        x = torch.full((5, 1, 4, 4), level / (levels - 1))
        exact = px.base_dist.log_prob(x).exp()
        assert torch.allclose(probabilities[..., level].float(), exact, rtol=1e-3, atol=1e-6)


def test_size_is_the_elbo_of_a_trained_model(run):
    x, _ = run.model_input(run.read(half_bright(3000, seed=1)))
    packed = compression.compress(run.original_model(), x)
    elbo = evaluate(run.original_model(), lambda x: x, [Batch(x)], likelihood="").elbo
    assert packed.model_bits == pytest.approx(-elbo.value * len(x) / math.log(2), rel=0.01)
    assert 8 * len(packed.data) == pytest.approx(packed.model_bits, rel=0.03)
    assert packed.initial_bits < 500
    assert 8 * len(packed.data) < 0.6 * x.numel()
    half = compression.compress(run.original_model(), x[:1500])
    assert len(packed.data) / len(half.data) == pytest.approx(2, rel=0.05)


def test_order_and_notes_are_restored(run):
    x, _ = run.model_input(run.read(half_bright(50, seed=2)))
    data = compression.compress(run.original_model(), x.flip(0), {"author": "é"}).data
    restored, notes = compression.decompress(run.original_model(), data)
    assert torch.equal(restored, x.flip(0)) and notes == {"author": "é"}


def test_files_are_reproducible():
    x = random_rows(20)
    assert (
        compression.compress(build_model(), x).data == compression.compress(build_model(), x).data
    )


def test_another_model_is_refused():
    data = compression.compress(build_model(), random_rows(5)).data
    with pytest.raises(VariedError, match="written with a different model"):
        compression.decompress(build_model(seed=1), data)
    changed = build_model()
    next(changed.parameters()).data.view(-1)[0] += 1e-6
    assert container.fingerprint(changed) != container.fingerprint(build_model())


@pytest.mark.parametrize("part", ["posterior", "likelihood"])
def test_different_arithmetic_is_detected(monkeypatch, part):
    model, x = build_model(), random_rows(200)
    data = compression.compress(model, x).data
    if part == "posterior":  # the words cannot be decoded
        in_widths = bits_back._in_widths
        monkeypatch.setattr(
            bits_back, "_in_widths", lambda q: (in_widths(q)[0] + 0.5, in_widths(q)[1])
        )
    else:  # different data are decoded
        monkeypatch.setattr(
            bits_back,
            "level_probabilities",
            lambda px, levels: 0.9 * level_probabilities(px, levels) + 0.05,
        )
    with pytest.raises(VariedError, match="that the model computes on this machine differ"):
        compression.decompress(model, data)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"likelihood": "gaussian"}, "--likelihood discretized-logistic"),
        ({"likelihood": "continuous-bernoulli"}, "--likelihood discretized-logistic"),
        ({"prior": {"name": "learned-gmm"}}, "standard normal prior"),
        ({"posterior": "iaf"}, "Gaussian posterior"),
        ({"posterior": "deterministic", "objective": "reconstruction"}, "Gaussian posterior"),
        ({"architecture": "ladder"}, "single level"),
    ],
    ids=str,
)
def test_unsupported_models_are_refused(parts, message):
    with pytest.raises(VariedError, match=message):
        compression.compress(build_model(**parts), random_rows(3))


@pytest.mark.parametrize("value", [0.5, 2.0])
def test_values_between_levels_are_refused(value):
    with pytest.raises(VariedError, match="not among the 2 levels"):
        compression.compress(build_model(), torch.full((2, 1, 4, 4), value))


def test_models_with_nan_weights_are_refused():
    model = build_model()
    next(model.decoder.parameters()).data.fill_(torch.nan)
    with pytest.raises(VariedError, match="NaN or infinity"):
        compression.compress(model, random_rows(3))


def test_missing_constriction_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "constriction", None)
    with pytest.raises(VariedError, match=r"pip install 'varied\[compress\]'"):
        compression.compress(build_model(), random_rows(3))


# Codebook indices


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
def test_codes_are_restored_as_reconstructions(posterior, n):
    model, x = build_vqvae(posterior=posterior), random_rows(n, shape=(1, 8, 8))
    assert not compression.is_lossless(model)
    restored, _ = compression.decompress(model, compression.compress(model, x).data)
    torch.testing.assert_close(restored, functional.reconstruct(model, x))


def test_codes_are_compressed_to_their_information_content():
    model = build_vqvae(posterior={"name": "vq", "codebook_size": 16})
    index = torch.randint(0, 16, (400, 4))
    with deterministic(model) as twin:
        prior = twin.prior(None)
        assert isinstance(prior, AutoregressiveCodes)
        exact = {
            "prior": float(prior.cost(index).sum()) / math.log(2),
            "use": math.log2(16) * index.numel(),
        }
        assert code_indices.probability_sources(twin) == list(exact)
        for source, expected in exact.items():
            words, bits = code_indices.encode(twin, index, source)
            assert torch.equal(code_indices.decode(twin, words, len(index), source), index)
            assert bits == pytest.approx(expected, rel=1e-6)
            assert 32 * len(words) == pytest.approx(bits, rel=0.02)


def test_frequencies_of_use_compress_frequent_codes_better_than_the_prior():
    model = build_vqvae(posterior={"name": "vq", "codebook_size": 16})
    model.encoder.head.usage.fill_(0)
    model.encoder.head.usage[3] = 16
    index = torch.full((400, 4), 3)
    with deterministic(model) as twin:
        use, prior = (code_indices.encode(twin, index, source)[1] for source in ("use", "prior"))
    assert use < 0.1 * prior


# Baselines


def test_baselines_compress_binary_images_as_bits():
    x = half_bright(40)
    sizes, single = baseline_sizes(x), [baseline_sizes(x[i : i + 1]) for i in range(len(x))]
    assert set(sizes) == {"PNG", "gzip", "xz"}
    assert all(sizes[name] < sum(size[name] for size in single) for name in sizes)
    assert sizes["gzip"] < x.size / 8 * 1.2
    assert set(baseline_sizes(np.zeros((3, 5), np.float32))) == {"gzip", "xz"}


# Runs and commands


def test_run_compresses_images(run, tmp_path):
    x = half_bright(60, seed=3)
    compressed = run.compress(x)
    assert compressed.lossless and len(compressed) == 60 and np.array_equal(compressed.array, x)
    assert compressed.rate == pytest.approx(8 * len(compressed.data) / x.size)
    assert set(compressed.others) == {"PNG", "gzip", "xz"}
    restored = run.decompress(compressed.save(tmp_path / "x.varied"))
    assert np.array_equal(restored.array, x) and restored.array.dtype == np.uint8
    folder = restored.save(tmp_path / "restored")
    images = [np.asarray(Image.open(path)) for path in sorted(folder.glob("*.png"))]
    assert np.array_equal(np.stack(images), x)


def test_commands_restore_a_folder_with_its_file_names(run, tmp_path):
    x = half_bright(12, seed=4)
    for i, image in enumerate(x):
        path = tmp_path / "in" / ("a" if i % 2 else "b") / f"é {i}.bmp"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    folder, source = str(run.folder), str(tmp_path / "in")
    file, out = str(tmp_path / "in.varied"), str(tmp_path / "out")
    result = CliRunner().invoke(app, ["compress", folder, source, "--out", file])
    assert result.exit_code == 0, result.output
    assert "bits per dimension" in result.output and "PNG" in result.output
    result = CliRunner().invoke(app, ["decompress", folder, file, "--out", out])
    assert result.exit_code == 0, result.output
    for i, image in enumerate(x):
        path = tmp_path / "out" / ("a" if i % 2 else "b") / f"é {i}.png"
        assert np.array_equal(np.asarray(Image.open(path)), image)


@pytest.mark.parametrize(
    "names", [["../a.png", "b"], ["/a", "b"], ["a.png", "A.jpg"], ["a"], ["c:\\a", "b"], ["", "b"]]
)
def test_unsafe_and_colliding_file_names_are_replaced(names):
    assert _file_names(names, 2) == ["00000.png", "00001.png"]


def test_binarization_is_reported(tmp_path):
    gray = np.clip(half_bright(300).astype(int), 4, 250).astype(np.uint8)
    run = train_run(gray, tmp_path / "run", steps=20, width=8, latent=2)
    assert isinstance(run.codec, ImageCodec) and run.codec.binarize == "dynamic"
    compressed = run.compress(gray[:20])
    assert compressed.binarized and set(np.unique(compressed.array)) == {0, 255}
    compressed.save(tmp_path / "x.varied")
    assert np.array_equal(run.decompress(tmp_path / "x.varied").array, compressed.array)
    np.save(tmp_path / "x.npy", gray[:20])
    arguments = str(run.folder), str(tmp_path / "x.npy"), "--out", str(tmp_path / "y.varied")
    assert "binarizes its images" in CliRunner().invoke(app, ["compress", *arguments]).output


def test_unsupported_runs_are_refused(tmp_path):
    rng = np.random.default_rng(0)
    array_run = train_run(rng.normal(size=(80, 3)), tmp_path / "array", steps=2)
    with pytest.raises(VariedError, match="--likelihood"):
        array_run.compress()
    with pytest.raises(VariedError, match="cannot be read"):
        array_run.decompress(tmp_path / "missing.varied")
    table = pd.DataFrame({"a": rng.normal(size=80), "b": list("xy") * 40})
    with pytest.raises(VariedError, match="Compression is not supported for rows"):
        train_run(table, tmp_path / "table", steps=2).compress()
    labeled = read(half_bright(80), labels=np.arange(80) % 2)
    options = {"model": "conditional-vae", "steps": 2, "width": 8}
    with pytest.raises(VariedError, match="does not know the labels"):
        train_run(labeled, tmp_path / "conditional", **options).compress()
