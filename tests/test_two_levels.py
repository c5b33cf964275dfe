"""Two maps of codes are one posterior: what holds for a VAE with codes holds for both together."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from varied import runtime
from varied.data.batches import Batch, Batches
from varied.errors import VariedError
from varied.evaluate import evaluate
from varied.models import ARCHITECTURES, VAE, TwoLevelQuantizer
from varied.models.vqvae2 import upsample_to
from varied.prior_fitting import encode_for_prior, fit_prior
from varied.runtime import Setup
from varied.seeding import seeded
from varied.spec import Part, Plan, Spec, compose, compose_prior
from varied.training import prepare
from varied.training_loop import Step, train

CODES = 16
#: The net, the data, the latent that is asked for, and the maps of bottom and top.
KINDS = {
    "digits": ("conv", (1, 28, 28), 4, (4, 7, 7), (4, 4, 4)),
    "odd": ("resnet", (3, 13, 9), 2, (2, 4, 3), (2, 2, 2)),
    "half": ("conv", (1, 11, 9), (4, 6, 5), (4, 6, 5), (4, 3, 3)),
    "thin": ("conv", (2, 3, 16), 3, (3, 1, 4), (3, 1, 2)),
    "plain": ("mlp", (1, 8, 8), 3, (3, 2, 2), (3, 1, 1)),
}
kinds = pytest.mark.parametrize(
    ("net", "shape", "latent", "bottom", "top"), KINDS.values(), ids=KINDS
)

QUANTIZERS = {
    "vq": {"codebook_size": CODES},
    "vq by gradient": {"name": "vq", "codebook_size": CODES, "codebook_update": "gradient"},
    "fsq": {"levels": (4, 4)},
    "lfq": {"bits": 5},
    "simvq": {"codebook_size": CODES},
    "residual-vq": {"codebook_size": CODES, "n_quantizers": 3},
}
quantizers = pytest.mark.parametrize(
    "posterior", [{"name": name} | own for name, own in QUANTIZERS.items()], ids=QUANTIZERS
)


def made(
    net="conv", shape=(1, 12, 12), latent=4, posterior=None, context=0, net_width=8, **settings
):
    """Return a small model and its objective; 9 codes at the bottom and 4 at the top."""
    spec = Spec.of(
        architecture={"name": "vq-vae-2", "channels": 6} | settings,
        net={"name": net, "width": net_width},
        latent=latent,
        posterior=posterior or {"name": "vq", "codebook_size": CODES},
        prior={"name": "transformer", "width": 16, "depth": 1, "n_heads": 2, "dropout": 0.0},
        objective="vq-vae",
        context=context,
    )
    return compose(spec, shape)


def data(shape=(1, 12, 12), rows=5):
    return torch.rand(rows, *shape, generator=torch.Generator().manual_seed(7)).round()


def awake(model):
    """Return a model in use whose codes lie where the data are, and whose prior says something."""
    with seeded(0, "awake"), torch.no_grad():
        model.eval().init_from_data(data(model.event_shape, 40))
        for param in model.prior.parameters():
            param.add_(0.3 * torch.randn_like(param))
    return model


# Shapes, and codes to latents and back


@kinds
def test_the_levels_stand_side_by_side(net, shape, latent, bottom, top):
    model, _ = made(net, shape, latent)
    head, sites = model.encoder.head, (math.prod(top[1:]), math.prod(bottom[1:]))
    assert (head.lower.event_shape, head.upper.event_shape) == (bottom, top)
    assert model.latent_shape == head.event_shape == (math.prod(bottom) + math.prod(top),)
    assert (head.upper.num_tokens, head.lower.num_tokens) == sites
    assert head.num_tokens == sum(sites)
    trace = model(data(shape), samples=2)
    (level,) = trace.levels
    assert level.z.shape == (2, 5, *model.latent_shape)
    assert level.q.base_dist.index.shape == (5, sum(sites))
    assert trace.px.mean.shape == (2, 5, *shape)
    assert level.kl.shape == (2, 5)
    assert model.sample(3).shape == (3, *shape)
    assert (model.event_shape, model.num_codes) == (shape, CODES)


@kinds
@pytest.mark.parametrize("context", [0, 3])
def test_gradient_reaches_every_parameter(net, shape, latent, bottom, top, context):
    model, objective = made(net, shape, latent, context=context)
    x, c = data(shape, 12), torch.eye(3)[torch.arange(12) % 3] if context else None
    with torch.no_grad():
        for param in model.parameters():
            param.add_(0.1 * torch.randn_like(param))  # residual blocks start at nothing
    model.init_from_data(x, c)
    trace = model(x, c)
    (objective(trace)[0] + trace.levels[0].kl.mean()).backward()
    asleep = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert not asleep


@quantizers
def test_gradient_reaches_what_a_quantizer_learns(posterior):
    model, objective = made(posterior=posterior)
    model.init_from_data(data(rows=12))
    objective(model(data(rows=12)))[0].backward()
    asleep = [n for n, p in model.encoder.named_parameters() if p.grad is None or not p.grad.any()]
    assert not asleep


@quantizers
def test_lookup_of_the_index_is_the_value_to_the_last_bit(posterior):
    model = awake(made(posterior=posterior)[0])
    code, head = model.encode(data()).base_dist, model.encoder.head
    assert torch.equal(head.lookup(code.index), code.value)
    assert torch.equal(head.lookup(code.index[None]), code.value[None])
    assert code.index.dtype == torch.int64
    assert 0 <= code.index.min() <= code.index.max() < head.num_codes
    assert head.num_tokens == code.index.shape[1] == (9 + 4) * posterior.get("n_quantizers", 1)


@kinds
def test_codes_are_those_of_the_paper_step_by_step(net, shape, latent, bottom, top):
    """The top first; then the bottom, from the encoder's map beside the codes of the top."""
    model = awake(made(net, shape, latent)[0])
    head, x = model.encoder.head, data(shape)

    def taken(h, book):
        rows = h.flatten(2).mT
        away, index = torch.cdist(rows, book.expand(len(rows), -1, -1)).min(-1)
        return book[index].mT.reshape(h.shape), index, 0.25 * away.square().sum(1)

    with torch.no_grad():
        h = model.encoder.net(x)
        high, first, high_cost = taken(head.top.net(h), head.upper.codebook())
        beside = torch.cat([h, F.interpolate(high, bottom[1:], mode="nearest")], 1)
        low, second, low_cost = taken(head.bottom.net(beside), head.lower.codebook())
        code = model.encode(x).base_dist
    assert torch.equal(code.index, torch.cat([first, second], 1))
    torch.testing.assert_close(code.value, torch.cat([low.flatten(1), high.flatten(1)], 1))
    torch.testing.assert_close(code.cost, high_cost + low_cost, atol=1e-4, rtol=1e-4)
    maps = torch.cat([low, F.interpolate(high, bottom[1:], mode="nearest")], 1)
    raw = model.decoder.net.net(maps)
    torch.testing.assert_close(model.decode(code.value).mean, raw.sigmoid())


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (7, 4), (13, 1), (6, 5)])
def test_a_map_is_enlarged_by_repeating_places(size):
    small = torch.randn(2, 3, *(-(-side // 2) for side in size))
    assert torch.equal(upsample_to(small, size), F.interpolate(small, size, mode="nearest"))


def test_what_was_encoded_is_decoded():
    model = awake(made()[0])
    trace, z = model(data()), model.encode(data()).mean
    torch.testing.assert_close(model.decode(z).mean, trace.px.mean[0])
    torch.testing.assert_close(model.decode(z.expand(2, 5, -1)).mean[1], trace.px.mean[0])


def test_a_context_is_told_to_the_encoder_and_to_the_decoder():
    model = made(context=3)[0].eval()
    one, other = torch.eye(3)[:1].expand(5, -1), torch.eye(3)[1:2].expand(5, -1)
    z = model.encode(data(), one).mean
    h = model.encoder.outputs(data(), one)
    assert (h != model.encoder.outputs(data(), other)).flatten(1).any(1).all()
    assert (model.decode(z, one).mean != model.decode(z, other).mean).flatten(1).any(1).all()
    assert model.sample(5, one).shape == (5, 1, 12, 12)


# Training


def test_codes_of_both_levels_begin_where_the_data_are():
    """Where there are no more vectors than codes, each vector is one of them: nothing is lost."""
    model, _ = made(posterior={"name": "vq", "codebook_size": 64})
    x = data(rows=4)
    before = model.eval().encode(x).base_dist.cost
    model.init_from_data(x)
    assert before.min() > 0.1
    assert model.encode(x).base_dist.cost.max() < 1e-5


def test_it_trains():
    corners = data((1, 2, 2), 64).repeat_interleave(6, 2).repeat_interleave(6, 3)
    x = (corners * 255).byte()
    model, objective = made()
    plan = Plan(
        steps=80, batch_size=32, lr=1e-2, lr_warmup=2, threads=1, compile="no", precision="float32"
    )
    step = Step(model, objective, lambda x: x.float() / 255)
    seen = [
        e.parts["reconstruction"].item() for e in train(step, Batches(x, size=32, seed=0), plan)
    ]
    assert seen[0] > 90  # a coin for each of 144 pixels costs 99.8
    assert sum(seen[-5:]) / 5 < 20


def test_use_is_noted_in_training_alone():
    model, _ = made()
    before = {name: value.clone() for name, value in model.named_buffers()}
    model.eval()(data())
    assert all(torch.equal(value, before[name]) for name, value in model.named_buffers())
    model.train()(data())
    moved = {n for n, value in model.named_buffers() if not torch.equal(value, before[n])}
    heads = ("encoder.head", "encoder.head.top.head", "encoder.head.bottom.head")
    assert moved >= {f"{head}.use" for head in heads}


def test_nets_between_the_levels_compute_in_half_precision_and_codes_do_not():
    model, objective = made()
    runtime.apply_setup(Step(model, objective), Setup(precision="bfloat16", threads=1))
    seen = []
    head = model.encoder.head
    for net in (model.encoder.net, head.top.net, head.bottom.net, model.decoder.net):
        net.register_forward_hook(lambda module, args, h: seen.append(h.dtype))
    code = model.encode(data()).base_dist
    model.decode(code.value)
    assert seen == [torch.bfloat16] * 4
    assert code.value.dtype == code.cost.dtype == torch.float32


# The prior over both


def test_the_rate_is_that_of_both_strings_once():
    model = awake(made()[0])
    x = data()
    index = model.encode(x).base_dist.index
    with torch.no_grad():
        logits = model.prior.net(index).double()
        chances = logits.softmax(-1).gather(-1, index[..., None]).log().sum((1, 2))
        trace = model(x, samples=3)
    (level,) = trace.levels
    torch.testing.assert_close(level.kl, -chances.float().expand(3, 5), rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(trace.log_weight, trace.log_px - level.kl)
    found = evaluate(model, lambda x: x, [Batch(x[:3]), Batch(x[3:])])
    assert found.kl.value == pytest.approx(-chances.mean().item(), rel=1e-5)
    assert found.elbo.value == pytest.approx(trace.log_weight[0].mean().item(), rel=1e-5)
    assert (found.codebook_size, found.kl_by_level) == (CODES, None)


def test_the_prior_of_the_bottom_is_given_the_top():
    """The top is spelled first, so its chances do not depend on the bottom."""
    model = awake(made()[0])
    head, index = model.encoder.head, model.encode(data()).base_dist.index
    sites = head.upper.num_tokens

    def read(index):
        with torch.no_grad():
            chances = model.prior.net(index).split([sites, head.lower.num_tokens], 1)
        return head.lookup(index).split([head.lower.size, head.upper.size], 1), chances

    (low, high), (first, second) = read(index)
    other = index.clone()
    other[:, sites:] = (other[:, sites:] + 1) % CODES
    (other_low, other_high), (other_first, _) = read(other)
    assert torch.equal(high, other_high)
    assert (low != other_low).any(1).all()
    assert torch.equal(first, other_first)
    other = index.clone()
    other[:, :sites] = (other[:, :sites] + 1) % CODES
    (other_low, other_high), (_, other_second) = read(other)
    assert torch.equal(low, other_low)
    assert (high != other_high).any(1).all()
    assert (second != other_second).any(-1).all()


def test_samples_are_strings_of_codes_of_both_levels():
    model = awake(made()[0])
    cold = model.sample_prior(4, temperature=0.0)
    torch.testing.assert_close(cold, cold[:1].expand_as(cold))
    torch.manual_seed(0)
    low, high = model.sample_prior(20).split([4 * 9, 4 * 4], 1)
    for z, quantizer in ((low, model.encoder.head.lower), (high, model.encoder.head.upper)):
        rows = z.reshape(20, 4, -1).mT.reshape(-1, 4)
        assert torch.cdist(rows, quantizer.codebook()).min(1).values.max() < 1e-3


def test_a_prior_is_fitted_to_the_codes_of_both_levels():
    spec = Spec.of(
        architecture="vq-vae-2",
        net={"name": "conv", "width": 8},
        latent=4,
        posterior={"name": "vq", "codebook_size": CODES},
        prior="transformer",
        objective="vq-vae",
    )
    model, _ = compose(spec, (1, 12, 12))
    model.init_from_data(data(rows=40))
    codes = encode_for_prior(
        model, lambda x: x, [Batch(data(rows=40)[:25]), Batch(data(rows=40)[25:])]
    )
    assert codes.x.shape == (40, 13)
    model.prior = compose_prior(spec, Part("transformer", {"width": 16, "depth": 1}), model.encoder)
    before = model.prior(None).log_prob_index(codes.x).mean()
    plan = Plan(
        steps=40, batch_size=40, lr=1e-2, lr_warmup=5, threads=1, compile="no", precision="float32"
    )
    assert len(list(fit_prior(model.prior, codes, plan))) == 40
    after = model.prior.eval()(None).log_prob_index(codes.x).mean()
    assert after > before + 1
    assert model.sample(3).shape == (3, 1, 12, 12)


# Keeping, naming, refusing


def test_weights_are_kept_once_and_bring_all_back():
    model = awake(made()[0])
    model.train()(data())
    state = model.state_dict()
    assert len({value.data_ptr() for value in state.values()}) == len(state)
    other, _ = made()
    other.load_state_dict({name: value.clone() for name, value in state.items()})
    one, two = (m.eval()(data()) for m in (model, other))
    assert torch.equal(one.px.mean, two.px.mean)
    assert torch.equal(one.levels[0].kl, two.levels[0].kl)


def test_a_name_of_the_zoo_takes_a_quarter_of_the_picture(tmp_path):
    x = (np.random.default_rng(0).random((40, 28, 20)) > 0.5).astype(np.uint8) * 255
    small = {"name": "vq", "codebook_size": CODES}
    job = prepare(x, "vq-vae-2", posterior=small, out=tmp_path / "run", steps=1, threads=1)
    assert job.spec.latent == (16, 7, 5)
    assert job.later
    assert job.model.latent_shape == (16 * (7 * 5 + 4 * 3),)
    assert job.model.encoder.head.num_codes == CODES


@pytest.mark.parametrize(("change", "says"), [
    ({"shape": (9,), "net": "mlp"}, "reads pictures .* use architecture='vae'"),
    ({"latent": (4, 9)}, "needs a map that can be halved"),
    ({"latent": (4, 1, 1), "shape": (1, 4, 4)}, "needs a map that can be halved"),
    ({"latent": 4, "shape": (1, 4, 4)}, r"not latent=\(4, 1, 1\)"),
    ({"channels": 0}, "channels=0 must be at least 1"),
    ({"latent": (4, 5, 5)}, "never comes to 5x5"),
])  # fmt: skip
def test_what_cannot_be_is_refused_in_one_sentence(change, says):
    with pytest.raises(VariedError, match=says) as told:
        made(**change)
    assert str(told.value).endswith(".")
    assert "\n" not in str(told.value)


def test_a_posterior_without_codes_is_refused():
    spec = Spec.of(architecture="vq-vae-2", net="conv", latent=4)
    with pytest.raises(VariedError, match=r"this posterior has none; use posterior='vq'"):
        compose(spec, (1, 12, 12))


def test_it_is_a_row_and_a_vae():
    model, _ = made()
    assert isinstance(model, VAE)
    assert isinstance(model.encoder.head, TwoLevelQuantizer)
    assert "vq-vae-2" in ARCHITECTURES
