"""VQ-VAE-2 combines two maps of codes in one quantizer."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from varied import runtime
from varied.composition import compose, compose_prior
from varied.data.batches import Batch, Batches
from varied.errors import VariedError
from varied.evaluate import evaluate
from varied.models import VAE, TwoLevelQuantizer
from varied.models.vqvae2 import upsample_to
from varied.prior_fitting import encode_for_prior, fit_prior
from varied.runtime import Setup
from varied.seeding import seeded
from varied.spec import Part, Plan, Spec
from varied.training import prepare
from varied.training_loop import train
from varied.training_step import Step

CODES, SHAPE = 16, (1, 12, 12)
STILL = {"threads": 1, "compile": "no", "precision": "float32"}
#: Network, data shape, latent, and the shapes of the bottom and the top map.
KINDS = {
    "digits": ("conv", (1, 28, 28), 4, (4, 7, 7), (4, 4, 4)),
    "odd sides": ("resnet", (3, 13, 9), 2, (2, 4, 3), (2, 2, 2)),
    "half size": ("conv", (1, 11, 9), (4, 6, 5), (4, 6, 5), (4, 3, 3)),
    "thin": ("conv", (2, 3, 16), 3, (3, 1, 4), (3, 1, 2)),
    "mlp": ("mlp", (1, 8, 8), 3, (3, 2, 2), (3, 1, 1)),
}
every_kind = pytest.mark.parametrize(
    ("net", "shape", "latent", "bottom", "top"), KINDS.values(), ids=KINDS
)
QUANTIZERS = [
    {"name": "vq", "codebook_size": CODES},
    {"name": "vq", "codebook_size": CODES, "codebook_update": "gradient"},
    {"name": "fsq", "levels": (4, 4)},
    {"name": "lfq", "bits": 5},
    {"name": "simvq", "codebook_size": CODES},
    {"name": "residual-vq", "codebook_size": CODES, "n_quantizers": 3},
]
every_quantizer = pytest.mark.parametrize("posterior", QUANTIZERS, ids=lambda q: q["name"])


def spec_of(net="conv", latent=4, posterior=QUANTIZERS[0], context=0, net_width=8, **settings):
    return Spec.parse(
        architecture={"name": "vq-vae-2", "channels": 6} | settings,
        net={"name": net, "width": net_width},
        latent=latent,
        posterior=posterior,
        prior={"name": "transformer", "width": 16, "depth": 1, "n_heads": 2, "dropout": 0.0},
        objective="vq-vae",
        context=context,
    )


def compose_small(shape=SHAPE, **settings):
    """Return a small model (by default with 9 bottom and 4 top codes) and its objective."""
    return compose(spec_of(**settings), shape)


def binary_images(shape=SHAPE, rows=5):
    return torch.rand(rows, *shape, generator=torch.Generator().manual_seed(7)).round()


def initialized(model):
    """Return the model in evaluation mode, with codebooks from data and a perturbed prior."""
    with seeded(0, "initialized"), torch.no_grad():
        model.eval().init_from_data(binary_images(model.event_shape, 40))
        for param in model.prior.parameters():
            param.add_(0.3 * torch.randn_like(param))
    return model


def untrained_names(module):
    return [n for n, p in module.named_parameters() if p.grad is None or not p.grad.any()]


# Shapes, and codes to latents and back


@every_kind
def test_shapes(net, shape, latent, bottom, top):
    model, _ = compose_small(shape, net=net, latent=latent)
    head, tokens = model.encoder.head, (math.prod(top[1:]), math.prod(bottom[1:]))
    assert isinstance(model, VAE) and isinstance(head, TwoLevelQuantizer)
    assert (head.bottom_quantizer.event_shape, head.top_quantizer.event_shape) == (bottom, top)
    assert (head.top_quantizer.num_tokens, head.bottom_quantizer.num_tokens) == tokens
    assert head.num_tokens == sum(tokens)
    assert model.latent_shape == head.event_shape == (math.prod(bottom) + math.prod(top),)
    trace = model(binary_images(shape), samples=2)
    (level,) = trace.levels
    assert level.z.shape == (2, 5, *model.latent_shape)
    assert level.q.base_dist.index.shape == (5, sum(tokens))
    assert trace.px.mean.shape == (2, 5, *shape)
    assert level.kl.shape == (2, 5)
    assert model.sample(3).shape == (3, *shape)
    assert (model.event_shape, model.num_codes) == (shape, CODES)


@every_kind
@pytest.mark.parametrize("context", [0, 3])
def test_objective_and_prior_train_every_parameter(net, shape, latent, bottom, top, context):
    model, objective = compose_small(shape, net=net, latent=latent, context=context)
    x, c = binary_images(shape, 12), torch.eye(3)[torch.arange(12) % 3] if context else None
    with torch.no_grad():
        for param in model.parameters():
            param.add_(0.1 * torch.randn_like(param))  # residual branches start at zero
    model.init_from_data(x, c)
    trace = model(x, c)
    (objective(trace)[0] + trace.levels[0].kl.mean()).backward()
    assert not untrained_names(model)


@every_quantizer
def test_objective_trains_the_encoder_with_every_quantizer(posterior):
    model, objective = compose_small(posterior=posterior)
    model.init_from_data(binary_images(rows=12))
    objective(model(binary_images(rows=12)))[0].backward()
    assert not untrained_names(model.encoder)


@every_quantizer
def test_lookup_of_the_indices_equals_the_codes(posterior):
    model = initialized(compose_small(posterior=posterior)[0])
    code, head = model.encode(binary_images()).base_dist, model.encoder.head
    assert torch.equal(head.lookup(code.index), code.value)
    assert torch.equal(head.lookup(code.index[None]), code.value[None])
    assert code.index.dtype == torch.int64
    assert 0 <= code.index.min() <= code.index.max() < head.num_codes
    assert head.num_tokens == code.index.shape[1] == (9 + 4) * posterior.get("n_quantizers", 1)


@every_kind
def test_codes_are_those_of_the_paper(net, shape, latent, bottom, top):
    """The top comes first; the bottom is computed from the features and the upsampled top codes."""
    model = initialized(compose_small(shape, net=net, latent=latent)[0])
    head, x = model.encoder.head, binary_images(shape)

    def quantize(h, codebook):
        rows = h.flatten(2).mT
        distance, index = torch.cdist(rows, codebook.expand(len(rows), -1, -1)).min(-1)
        return codebook[index].mT.reshape(h.shape), index, 0.25 * distance.square().sum(1)

    with torch.no_grad():
        h = model.encoder.net(x)
        high, top_index, top_cost = quantize(head.top.net(h), head.top_quantizer.codebook())
        bottom_input = torch.cat([h, F.interpolate(high, bottom[1:], mode="nearest")], 1)
        low, bottom_index, bottom_cost = quantize(
            head.bottom.net(bottom_input), head.bottom_quantizer.codebook()
        )
        code = model.encode(x).base_dist
    assert torch.equal(code.index, torch.cat([top_index, bottom_index], 1))
    torch.testing.assert_close(code.value, torch.cat([low.flatten(1), high.flatten(1)], 1))
    torch.testing.assert_close(code.cost, top_cost + bottom_cost, atol=1e-4, rtol=1e-4)
    maps = torch.cat([low, F.interpolate(high, bottom[1:], mode="nearest")], 1)
    torch.testing.assert_close(model.decode(code.value).mean, model.decoder.net.net(maps).sigmoid())


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (7, 4), (13, 1), (6, 5)])
def test_upsampling_is_nearest_neighbor_interpolation(size):
    small = torch.randn(2, 3, *(-(-side // 2) for side in size))
    assert torch.equal(upsample_to(small, size), F.interpolate(small, size, mode="nearest"))


def test_decode_reproduces_the_likelihood_of_the_trace():
    model = initialized(compose_small()[0])
    trace, z = model(binary_images()), model.encode(binary_images()).mean
    torch.testing.assert_close(model.decode(z).mean, trace.px.mean[0])
    torch.testing.assert_close(model.decode(z.expand(2, 5, -1)).mean[1], trace.px.mean[0])


def test_encoder_and_decoder_depend_on_the_context():
    model = compose_small(context=3)[0].eval()
    c, other = (torch.eye(3)[i : i + 1].expand(5, -1) for i in (0, 1))
    z = model.encode(binary_images(), c).mean
    h, other_h = (model.encoder.outputs(binary_images(), context) for context in (c, other))
    assert (h != other_h).flatten(1).any(1).all()
    assert (model.decode(z, c).mean != model.decode(z, other).mean).flatten(1).any(1).all()
    assert model.sample(5, c).shape == (5, *SHAPE)


# Training


def test_codebooks_are_initialized_from_data():
    """If there are no more vectors than codes, each vector is a code, so the error is 0."""
    model, _ = compose_small(posterior={"name": "vq", "codebook_size": 64})
    x = binary_images(rows=4)
    before = model.eval().encode(x).base_dist.cost
    model.init_from_data(x)
    assert before.min() > 0.1
    assert model.encode(x).base_dist.cost.max() < 1e-5


def test_training_lowers_the_loss():
    quadrants = binary_images((1, 2, 2), 64).repeat_interleave(6, 2).repeat_interleave(6, 3)
    x = (quadrants * 255).byte()
    step = Step(*compose_small(), lambda x: x.float() / 255)
    plan = Plan(steps=80, batch_size=32, lr=1e-2, lr_warmup=2, **STILL)
    events = train(step, Batches(x, size=32, seed=0), plan)
    values = [e.parts["reconstruction"].item() for e in events]
    assert values[0] > 90  # uniform pixels cost 144 log 2 = 99.8 nats
    assert sum(values[-5:]) / 5 < 20


def test_buffers_change_in_training_only():
    model, _ = compose_small()
    before = {name: value.clone() for name, value in model.named_buffers()}
    model.eval()(binary_images())
    assert all(torch.equal(value, before[name]) for name, value in model.named_buffers())
    model.train()(binary_images())
    changed = {n for n, value in model.named_buffers() if not torch.equal(value, before[n])}
    for head in ("encoder.head", "encoder.head.top.head", "encoder.head.bottom.head"):
        assert any(name.rpartition(".")[0] == head for name in changed)


def test_networks_run_in_half_precision_and_codes_in_float32():
    model, objective = compose_small()
    runtime.apply_setup(Step(model, objective), Setup(precision="bfloat16", threads=1))
    dtypes, head = [], model.encoder.head
    for net in (model.encoder.net, head.top.net, head.bottom.net, model.decoder.net):
        net.register_forward_hook(lambda module, args, h: dtypes.append(h.dtype))
    code = model.encode(binary_images()).base_dist
    model.decode(code.value)
    assert dtypes == [torch.bfloat16] * 4
    assert code.value.dtype == code.cost.dtype == torch.float32


# The prior over both levels


def test_kl_is_the_negative_log_probability_of_all_indices():
    model = initialized(compose_small()[0])
    x = binary_images()
    index = model.encode(x).base_dist.index
    with torch.no_grad():
        log_probs = model.prior.net(index).double().log_softmax(-1)
        expected = -log_probs.gather(-1, index[..., None]).sum((1, 2)).float()
        trace = model(x, samples=3)
    (level,) = trace.levels
    torch.testing.assert_close(level.kl, expected.expand(3, 5), rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(trace.log_weight, trace.log_px - level.kl)
    result = evaluate(model, lambda x: x, [Batch(x[:3]), Batch(x[3:])])
    assert result.kl.value == pytest.approx(expected.mean().item(), rel=1e-5)
    assert result.elbo.value == pytest.approx(trace.log_weight[0].mean().item(), rel=1e-5)
    assert (result.codebook_size, result.kl_by_level) == (CODES, None)


@pytest.mark.parametrize("level", ["top", "bottom"])
def test_prior_models_the_bottom_given_the_top(level):
    model = initialized(compose_small()[0])
    head, index = model.encoder.head, model.encode(binary_images()).base_dist.index
    tokens = [head.top_quantizer.num_tokens, head.bottom_quantizer.num_tokens]
    sizes = [head.bottom_quantizer.size, head.top_quantizer.size]

    def codes_and_logits(index):
        with torch.no_grad():
            logits = model.prior.net(index).split(tokens, 1)
        return (*head.lookup(index).split(sizes, 1), *logits)

    changed = index.clone()
    columns = slice(None, tokens[0]) if level == "top" else slice(tokens[0], None)
    changed[:, columns] = (changed[:, columns] + 1) % CODES
    (bottom, top, top_logits, bottom_logits), (bottom_2, top_2, top_logits_2, bottom_logits_2) = (
        codes_and_logits(i) for i in (index, changed)
    )
    if level == "bottom":
        assert torch.equal(top, top_2) and (bottom != bottom_2).any(1).all()
        assert torch.equal(top_logits, top_logits_2)
    else:
        assert torch.equal(bottom, bottom_2) and (top != top_2).any(1).all()
        assert (bottom_logits != bottom_logits_2).any(-1).all()


def test_samples_consist_of_codes():
    model = initialized(compose_small()[0])
    cold = model.sample_prior(4, temperature=0.0)
    torch.testing.assert_close(cold, cold[:1].expand_as(cold))
    torch.manual_seed(0)
    bottom, top = model.sample_prior(20).split([4 * 9, 4 * 4], 1)
    head = model.encoder.head
    for z, quantizer in ((bottom, head.bottom_quantizer), (top, head.top_quantizer)):
        rows = z.reshape(20, 4, -1).mT.reshape(-1, 4)
        assert torch.cdist(rows, quantizer.codebook()).min(1).values.max() < 1e-3


def test_prior_is_fitted_to_the_indices_of_both_levels():
    spec, x = spec_of(channels=64), binary_images(rows=40)
    model, _ = compose(spec, SHAPE)
    model.init_from_data(x)
    codes = encode_for_prior(model, lambda x: x, [Batch(x[:25]), Batch(x[25:])])
    assert codes.x.shape == (40, 13)
    model.prior = compose_prior(spec, Part("transformer", {"width": 16, "depth": 1}), model.encoder)
    before = model.prior(None).log_prob_index(codes.x).mean()
    plan = Plan(steps=40, batch_size=40, lr=1e-2, lr_warmup=5, **STILL)
    assert len(list(fit_prior(model.prior, codes, plan))) == 40
    after = model.prior.eval()(None).log_prob_index(codes.x).mean()
    assert after > before + 1
    assert model.sample(3).shape == (3, *SHAPE)


# Weights, defaults and errors


def test_state_dict_restores_the_model():
    model = initialized(compose_small()[0])
    model.train()(binary_images())
    state = model.state_dict()
    assert len({value.data_ptr() for value in state.values()}) == len(state)
    restored, _ = compose_small()
    restored.load_state_dict({name: value.clone() for name, value in state.items()})
    trace, expected = (m.eval()(binary_images()) for m in (restored, model))
    assert torch.equal(trace.px.mean, expected.px.mean)
    assert torch.equal(trace.levels[0].kl, expected.levels[0].kl)


def test_default_bottom_map_is_a_quarter_of_the_image(tmp_path):
    x = (np.random.default_rng(0).random((40, 28, 20)) > 0.5).astype(np.uint8) * 255
    job = prepare(x, "vq-vae-2", posterior=QUANTIZERS[0], out=tmp_path / "run", steps=1, threads=1)
    assert job.spec.latent == (16, 7, 5)
    assert job.model.prior.fitted_later
    assert job.model.latent_shape == (16 * (7 * 5 + 4 * 3),)
    assert job.model.num_codes == CODES


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shape": (9,), "net": "mlp"}, "requires images .* use architecture='vae'"),
        ({"latent": (4, 9)}, "requires a latent map of at least 2 x 2"),
        ({"latent": (4, 1, 1), "shape": (1, 4, 4)}, "requires a latent map of at least 2 x 2"),
        ({"latent": 4, "shape": (1, 4, 4)}, r"not latent=\(4, 1, 1\)"),
        ({"channels": 0}, "channels=0 must be at least 1"),
        ({"latent": (4, 5, 5)}, "cannot reduce 12x12 to 5x5"),
    ],
)
def test_invalid_settings_raise(settings, message):
    with pytest.raises(VariedError, match=message):
        compose_small(**settings)


def test_posterior_without_a_codebook_raises():
    spec = Spec.parse(architecture="vq-vae-2", net="conv", latent=4)
    with pytest.raises(VariedError, match="a posterior with a codebook; use posterior='vq'"):
        compose(spec, SHAPE)
