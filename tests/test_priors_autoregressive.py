"""Tests for the transformer prior over codes: probabilities, decoding and the KL."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import pytest
import torch
from torch import nn
from torch.distributions import Independent

from varied.distributions import Gaussian, analytic_kl
from varied.distributions.codebook import CodebookPoint
from varied.errors import VariedError
from varied.nets.causal_transformer import CodeDecoder
from varied.priors import Transformer
from varied.quantizers import Quantizer
from varied.trace import ConditionalDistribution, Level

contexts = pytest.mark.parametrize("context", [0, 2], ids=["", "context"])


class TenfoldCodes(Quantizer):
    """A quantizer whose codebook entries are ten times their codes."""

    def __init__(self, codes=3, tokens=4):
        super().__init__((1, tokens), codes)

    def quantize(self, rows):
        raise NotImplementedError

    def decode_indices(self, index):
        return 10.0 * index


def transformer(context=0, codes=3, tokens=4, noise=0.3, **settings):
    head = TenfoldCodes(codes, tokens)
    options = {"width": 16, "depth": 2, "dropout": 0.0} | settings
    prior = Transformer(head.event_shape, context, **options)
    prior.attach(ConditionalDistribution(nn.Identity(), head, (3, 2)))
    with torch.no_grad():
        for param in prior.parameters():
            param.add_(noise * torch.randn_like(param))
    return prior


SEQUENCES = torch.tensor(list(itertools.product(range(3), repeat=4)))


@contexts
def test_probabilities_of_all_sequences_sum_to_one(context):
    prior = transformer(context).double()
    p = prior(torch.randn(5, context).double() if context else None)
    log_prob = p.log_prob_index(SEQUENCES.unsqueeze(1) if context else SEQUENCES)
    total = log_prob.exp().sum(0)
    torch.testing.assert_close(total, torch.ones_like(total), atol=1e-12, rtol=0)
    assert log_prob.exp().std(0).min() > 1e-3
    if context:
        assert log_prob.std(1).min() > 1e-3


@contexts
def test_predictions_depend_only_on_preceding_codes(context):
    net = transformer(context, tokens=6).net
    index = torch.randint(3, (2, 6))
    c = torch.randn(2, context) if context else None
    logits = net(index, c)
    for position in range(6):
        other = index.clone()
        other[:, position] = (other[:, position] + 1) % 3
        has_changed = (net(other, c) - logits).abs().amax((0, 2)) > 1e-6
        assert not has_changed[: position + 1].any()
        assert has_changed[position + 1 :].all()


@contexts
def test_decoding_with_a_cache_equals_teacher_forcing(context):
    net = transformer(context, tokens=6).double().net
    index = torch.randint(3, (5, 6))
    c = torch.randn(5, context).double() if context else None
    decoder = CodeDecoder(net, 5, c)
    logits = [decoder(index[:, i - 1] if i else None) for i in range(6)]
    torch.testing.assert_close(torch.stack(logits, 1), net(index, c), atol=1e-12, rtol=1e-12)


def test_samples_follow_the_probabilities():
    p = transformer(2)(torch.randn(2, 2))
    samples = p.draw_index(8_000)
    assert samples.shape == (8_000, 2, 4)
    for row in range(2):
        expected = 8_000 * p.log_prob_index(SEQUENCES.unsqueeze(1).expand(-1, 2, -1))[:, row].exp()
        counts = Counter(map(tuple, samples[:, row].tolist()))
        observed = torch.tensor([counts[tuple(sequence)] for sequence in SEQUENCES.tolist()])
        is_frequent = expected > 5
        chi_squared = ((observed - expected).square() / expected)[is_frequent].sum()
        assert is_frequent.sum() > 20
        assert chi_squared < is_frequent.sum() + 5 * math.sqrt(2 * is_frequent.sum())


@contexts
@pytest.mark.parametrize("shape", [(), 3, (2, 3), (0,)], ids=str)
def test_shapes(context, shape):
    p = transformer(context)(torch.randn(5, context) if context else None)
    batch = (5,) if context else ()
    assert p.batch_shape == batch and p.event_shape == (1, 4)
    lead = (shape,) if isinstance(shape, int) else shape
    assert p.draw(shape).shape == (*lead, *batch, 1, 4)
    assert set(p.sample((9,)).unique().tolist()) <= {0.0, 10.0, 20.0}
    assert p.log_prob_index(torch.randint(3, (7, 5, 4))).shape == (7, 5)


def test_temperature_and_top_k_select_the_most_probable_codes():
    p = transformer()()
    greedy = p.draw_index(5, temperature=0)
    assert (greedy == greedy[0]).all()
    assert (p.draw_index(50, top_k=1) == greedy[0]).all()
    assert (p.draw_index(50, temperature=1e-3) == greedy[0]).all()
    first = CodeDecoder(p.net, 1)(None)[0]
    codes = p.draw_index(500, top_k=2)[:, 0].unique().tolist()
    assert sorted(codes) == sorted(first.topk(2).indices.tolist())


@pytest.mark.parametrize("options", [{"temperature": -1.0}, {"top_k": 0}])
def test_invalid_sampling_options_are_rejected(options):
    with pytest.raises(VariedError, match="must be at least"):
        transformer()().draw(3, **options)


@contexts
def test_kl_of_codes_is_their_negative_log_probability(context):
    prior = transformer(context)
    index = torch.randint(3, (5, 4))
    value = prior.quantizer.lookup(index)
    q = Independent(CodebookPoint(value, index, torch.zeros(5)), 2)
    p = prior(torch.randn(5, context) if context else None)
    kl = analytic_kl(q, p)
    assert torch.equal(kl, -p.log_prob_index(index))
    assert kl.shape == (5,)
    assert Level(q.rsample((2,)), q, p).kl.shape == (2, 5)
    assert torch.equal(p.cost(index), kl)
    gaussian = Independent(Gaussian(value, torch.zeros_like(value)), 2)
    assert analytic_kl(gaussian, p) is None


def test_gradient_of_the_cost_reaches_every_parameter():
    prior = transformer(2, dropout=0.1)
    prior(torch.randn(5, 2)).cost(torch.randint(3, (5, 4))).mean().backward()
    for name, param in prior.named_parameters():
        assert param.grad.isfinite().all() and param.grad.any(), name
    assert not any("usage" in name for name in prior.state_dict())


def test_density_and_mean_are_rejected():
    p = transformer()()
    with pytest.raises(VariedError, match="use log_prob_index"):
        p.log_prob(torch.zeros(1, 4))
    with pytest.raises(VariedError, match="use draw"):
        _ = p.mean


def test_probabilities_in_chunks_are_the_same():
    prior, index = transformer(2), torch.randint(3, (40, 4))
    p = prior(torch.randn(40, 2))
    expected = p.log_prob_index(index)
    prior.net.cache_size = 2**26 // 7
    torch.testing.assert_close(p.log_prob_index(index), expected, atol=1e-5, rtol=1e-5)
    assert p.draw(()).shape == (40, 1, 4)


def test_transformer_starts_nearly_uniform_and_learns_a_markov_chain():
    prior = transformer(width=32, depth=1, noise=0)
    start = prior().log_prob_index(SEQUENCES)
    assert (start + 4 * math.log(3)).abs().mean() < 0.4
    transition = torch.tensor([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]])

    def data(n):
        index = [torch.randint(3, (n,))]
        for _ in range(3):
            index.append(torch.multinomial(transition[index[-1]], 1)[:, 0])
        return torch.stack(index, 1)

    optimizer = torch.optim.Adam(prior.parameters(), lr=3e-3)
    for _ in range(150):
        optimizer.zero_grad()
        prior().cost(data(128)).mean().backward()
        optimizer.step()
    entropy = math.log(3) - 3 * (transition[0] * transition[0].log()).sum()
    assert prior().cost(data(4000)).mean().item() == pytest.approx(entropy.item(), abs=0.1)
