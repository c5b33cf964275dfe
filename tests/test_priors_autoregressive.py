"""A prior over codes is a law of strings, spelled as it is scored, and its KL is exact."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import pytest
import torch
from torch import nn
from torch.distributions import Independent

from varied.distributions import Gaussian as Normal
from varied.distributions import analytic_kl
from varied.distributions.codebook import CodebookPoint
from varied.errors import VariedError
from varied.priors import FlowMatching, Transformer
from varied.trace import Level

contexts = pytest.mark.parametrize("context", [0, 2], ids=["", "context"])


class Quantizer(nn.Module):
    """A codebook, as a prior over codes sees it: each site is one number of a flat latent."""

    def __init__(self, codebook_size=3, sites=4):
        super().__init__()
        self.num_codes, self.num_tokens, self.event_shape = codebook_size, sites, (sites,)
        self.register_buffer("book", 10.0 * torch.arange(codebook_size))

    def lookup(self, index):
        return self.book[index]


class Quantized:
    def __init__(self, head):
        self.head, self.inputs = head, (3, 2)


def transformer(context=0, codebook_size=3, sites=4, **settings):
    quantizer = Quantizer(codebook_size, sites)
    prior = Transformer((sites,), context, **{"width": 16, "depth": 2, "dropout": 0.0} | settings)
    prior.attach(Quantized(quantizer))
    with torch.no_grad():
        for param in prior.parameters():
            param.add_(0.3 * torch.randn_like(param))
    return prior


EVERY = torch.tensor(list(itertools.product(range(3), repeat=4)))


@contexts
def test_strings_of_codes_add_up_to_one(context):
    prior = transformer(context).double()
    c = torch.randn(5, context).double() if context else None
    p = prior(c)
    found = p.log_prob_index(EVERY.unsqueeze(1)) if context else p.log_prob_index(EVERY)
    total = found.exp().sum(0)
    torch.testing.assert_close(total, torch.ones_like(total), atol=1e-12, rtol=0)
    assert found.exp().std(0).min() > 1e-3
    if context:
        assert found.std(1).min() > 1e-3


@contexts
def test_a_site_does_not_see_itself_or_what_comes_after(context):
    net = transformer(context, sites=6).net
    index = torch.randint(3, (2, 6))
    c = torch.randn(2, context) if context else None
    logits = net(index, c)
    for site in range(6):
        other = index.clone()
        other[:, site] = (other[:, site] + 1) % 3
        moved = (net(other, c) - logits).abs().amax((0, 2)) > 1e-6
        assert not moved[: site + 1].any()
        assert moved[site + 1 :].all()


@contexts
def test_spelling_with_a_memory_is_the_net_with_teacher_forcing(context):
    net = transformer(context, sites=6).double().net
    index = torch.randint(3, (5, 6))
    c = torch.randn(5, context).double() if context else None
    spell = net.spelling(5, c)
    found = [spell(index[:, site - 1] if site else None) for site in range(6)]
    torch.testing.assert_close(torch.stack(found, 1), net(index, c), atol=1e-12, rtol=1e-12)


def test_draws_of_codes_have_the_law_of_their_probabilities():
    prior = transformer(2)
    p = prior(torch.randn(2, 2))
    drawn = p.draw_index(8_000)
    assert drawn.shape == (8_000, 2, 4)
    for row in range(2):
        wanted = 8_000 * p.log_prob_index(EVERY.unsqueeze(1).expand(-1, 2, -1))[:, row].exp()
        counts = Counter(map(tuple, drawn[:, row].tolist()))
        found = torch.tensor([counts[tuple(one)] for one in EVERY.tolist()])
        often = wanted > 5
        chi = ((found - wanted).square() / wanted)[often].sum()
        assert often.sum() > 20
        assert chi < often.sum() + 5 * math.sqrt(2 * often.sum())


@contexts
def test_latents_over_codes_have_the_shapes_that_were_asked_for(context):
    prior = transformer(context)
    c = torch.randn(5, context) if context else None
    p = prior(c)
    batch = (5,) if context else ()
    assert p.batch_shape == batch and p.event_shape == (4,)
    for shape, lead in (((), ()), (3, (3,)), ((2, 3), (2, 3)), ((0,), (0,))):
        assert p.draw(shape).shape == (*lead, *batch, 4)
    assert set(p.sample((9,)).unique().tolist()) <= {0.0, 10.0, 20.0}
    assert p.log_prob_index(torch.randint(3, (7, 5, 4))).shape == (7, 5)


def test_temperature_and_top_keep_to_the_likely_codes():
    p = transformer()()
    likeliest = p.draw_index(5, temperature=0)
    assert (likeliest == likeliest[0]).all()
    assert (p.draw_index(50, top=1) == likeliest[0]).all()
    assert (p.draw_index(50, temperature=1e-3) == likeliest[0]).all()
    first = p.net.spelling(1)(None)[0]
    kept = p.draw_index(500, top=2)[:, 0].unique().tolist()
    assert sorted(kept) == sorted(first.topk(2).indices.tolist())
    for wrong in ({"temperature": -1.0}, {"top": 0}):
        with pytest.raises(VariedError, match="must"):
            p.draw(3, **wrong)


@contexts
def test_kl_of_a_code_is_minus_its_log_probability(context):
    prior = transformer(context)
    index = torch.randint(3, (5, 4))
    value = prior._quantizer[0].lookup(index)
    q = Independent(CodebookPoint(value, index, torch.zeros(5)), 1)
    p = prior(torch.randn(5, context) if context else None)
    kl = analytic_kl(q, p)
    torch.testing.assert_close(kl, -p.log_prob_index(index), atol=0, rtol=0)
    assert kl.shape == (5,)
    assert Level(q.rsample((2,)), q, p).kl.shape == (2, 5)
    torch.testing.assert_close(p.cost(index), kl, atol=0, rtol=0)
    normal = Independent(Normal(value, torch.zeros(5, 4)), 1)
    assert analytic_kl(normal, p) is None


def test_gradient_of_the_cost_reaches_every_parameter_of_the_transformer():
    prior = transformer(2, dropout=0.1)
    assert Transformer.over == "codes" and FlowMatching.over == "latents"
    prior(torch.randn(5, 2)).cost(torch.randint(3, (5, 4))).mean().backward()
    for name, param in prior.named_parameters():
        assert param.grad.isfinite().all() and param.grad.any(), name
    assert not any("book" in name for name in prior.state_dict())


def test_what_codes_do_not_have_is_refused():
    p = transformer()()
    with pytest.raises(VariedError, match="use log_prob_index"):
        p.log_prob(torch.zeros(4))
    with pytest.raises(VariedError, match="use draw"):
        _ = p.mean


def test_pieces_of_codes_change_nothing(monkeypatch):
    prior, index = transformer(2), torch.randint(3, (40, 4))
    p = prior(torch.randn(40, 2))
    whole = p.log_prob_index(index)
    prior.net.memory = 2**26 // 7
    torch.testing.assert_close(p.log_prob_index(index), whole, atol=1e-5, rtol=1e-5)
    assert p.draw(()).shape == (40, 4)


def test_a_transformer_starts_with_equal_chances_and_learns_a_law():
    prior = Transformer((4,), 0, width=32, depth=1, dropout=0.0)
    prior.attach(Quantized(Quantizer()))
    start = prior().log_prob_index(EVERY)
    assert (start + 4 * math.log(3)).abs().mean() < 0.4
    law = torch.tensor([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]])  # the next, given one

    def data(n):
        index = [torch.randint(3, (n,))]
        for _ in range(3):
            index.append(torch.multinomial(law[index[-1]], 1)[:, 0])
        return torch.stack(index, 1)

    optimizer = torch.optim.Adam(prior.parameters(), lr=3e-3)
    for _ in range(150):
        optimizer.zero_grad()
        prior().cost(data(128)).mean().backward()
        optimizer.step()
    entropy = math.log(3) - 3 * (law[0] * law[0].log()).sum()
    assert prior().cost(data(4000)).mean().item() == pytest.approx(entropy.item(), abs=0.1)
