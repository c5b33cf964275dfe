"""The autoregressive likelihood of sequences of tokens is normalized and uses preceding tokens."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import one_hot

from varied.composition import compose
from varied.data import Batches
from varied.errors import VariedError
from varied.likelihoods import AutoregressiveOneHot
from varied.spec import Plan, Spec
from varied.training_loop import train
from varied.training_step import Step

SMALL = {"n_features": 3, "token_width": 8, "blocks": 1, "n_heads": 2}


def random_head(tokens: int = 3, length: int = 4, **settings) -> AutoregressiveOneHot:
    """Return a likelihood with large random weights, in evaluation mode."""
    torch.manual_seed(0)
    head = AutoregressiveOneHot((tokens, length), **{**SMALL, **settings})
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.7)
    return head.double().eval()


def random_distribution(head: AutoregressiveOneHot, *lead: int) -> torch.distributions.Distribution:
    torch.manual_seed(1)
    return head(torch.randn(*lead, *head.param_shape).double())


def sequences(index: torch.Tensor, tokens: int = 3) -> torch.Tensor:
    return one_hot(index, tokens).movedim(-1, -2).double()


def test_shapes():
    head = random_head()
    px = random_distribution(head, 2, 5)
    assert (px.batch_shape, px.event_shape) == ((2, 5), (3, 4))
    assert px.mean.shape == px.variance.shape == px.sample().shape == (2, 5, 3, 4)
    assert px.sample((6,)).shape == (6, 2, 5, 3, 4)
    assert px.log_prob(px.sample()[0]).shape == (2, 5)
    assert px.expand((6, 2, 5)).log_prob(px.sample()).shape == (6, 2, 5)
    assert px.base_dist.log_prob(px.sample()).shape == (2, 5, 3, 4)


def test_probabilities_of_all_sequences_sum_to_1():
    px = random_distribution(random_head(), 2)
    index = torch.cartesian_prod(*[torch.arange(3)] * 4)
    total = px.log_prob(sequences(index)[:, None]).logsumexp(0)
    torch.testing.assert_close(total, torch.zeros(2).double(), atol=1e-9, rtol=0)


def test_samples_have_the_probabilities_of_the_distribution():
    px = random_distribution(random_head(length=2))
    torch.manual_seed(2)
    x = px.sample((20_000,)).argmax(-2)
    frequencies = torch.bincount(3 * x[:, 0] + x[:, 1], minlength=9) / len(x)
    index = torch.cartesian_prod(*[torch.arange(3)] * 2)
    expected = px.log_prob(sequences(index)).exp()
    assert expected.max() < 0.9
    torch.testing.assert_close(frequencies.double(), expected, atol=0.015, rtol=0)


def test_a_token_depends_only_on_preceding_tokens_and_all_features():
    head = random_head()
    h = torch.randn(1, *head.param_shape).double()
    index = torch.tensor([[0, 1, 2, 0]])
    before, changed = head.logits(h, index), index.clone()
    changed[0, 1] = 2
    after = head.logits(h, changed)
    torch.testing.assert_close(before[:, :2], after[:, :2])
    assert (before[:, 2:] != after[:, 2:]).all()
    h[..., 0] += 1
    assert (head.logits(h, index) != before).all()


def test_the_mean_contains_the_modes_and_their_probabilities():
    head = random_head()
    px = random_distribution(head, 5)
    modes = px.base_dist.modes
    assert torch.equal(px.mean.argmax(-2), modes)
    assert torch.equal(modes, head.draw(px.base_dist.h, is_random=False))
    torch.testing.assert_close(
        px.mean.gather(-2, modes[:, None]).log().sum((1, 2)), px.log_prob(sequences(modes))
    )


def test_the_mean_is_differentiable():
    head = random_head()
    h = torch.randn(2, *head.param_shape, dtype=torch.float64, requires_grad=True)
    head(h).mean[:, 0].sum().backward()
    assert (h.grad.abs().sum((0, 1)) > 0).all()


def test_every_parameter_has_a_gradient():
    head = random_head().train()
    px = random_distribution(head, 200)
    px.log_prob(px.sample()).sum().backward()
    assert all((p.grad != 0).any() for p in head.parameters())


def test_tokens_are_hidden_only_during_training():
    head = random_head(length=50, word_dropout=0.5)
    index = torch.zeros(1000, 50, dtype=torch.int64)
    assert torch.equal(head._hide(index), index)
    head.train()
    hidden = (head._hide(index) == 3).double().mean(1)
    assert hidden.mean().item() == pytest.approx(0.25, abs=0.03)
    assert (hidden == 0).double().mean().item() == pytest.approx(0.51, abs=0.05)
    assert hidden.max() > 0.95
    assert torch.equal(random_head(word_dropout=0.0).train()._hide(index), index)


@pytest.mark.parametrize(
    ("event", "settings", "message"),
    [
        ((3, 4), {"token_width": 9}, "token_width=9 must be a multiple of n_heads=2"),
        ((3, 4), {"word_dropout": 1.5}, r"word_dropout=1\.5 must be between 0 and 1"),
        ((3, 4), {"blocks": 0}, "blocks=0 must be at least 1"),
        ((7,), {}, "requires sequences of tokens"),
    ],
)
def test_invalid_settings_are_errors(event, settings, message):
    with pytest.raises(VariedError, match=message):
        AutoregressiveOneHot(event, **{**SMALL, **settings})


def test_a_model_learns_sequences_with_correlated_tokens():
    torch.manual_seed(0)
    first = torch.randint(4, (512, 1))
    index = (first + torch.tensor([0, 1, 2, 3, 0, 1])) % 4  # each sequence follows from its first
    spec = Spec.parse(
        latent=2,
        net={"name": "mlp", "width": 16, "depth": 1},
        likelihood={"name": "autoregressive-one-hot", **SMALL, "token_width": 16},
        plan=Plan(batch_size=64, lr=1e-2, steps=300, threads=1, precision="float32"),
    )
    model, objective = compose(spec, (4, 6), "one-hot")
    step = Step(model, objective, lambda rows: sequences(rows.long(), 4).float())
    for _ in train(step, Batches(index.to(torch.uint8), size=64, seed=0), spec.plan):
        pass
    with torch.no_grad():
        x = model.eval().sample(200).argmax(-2)
    assert ((x - x[:, :1]) % 4 == torch.tensor([0, 1, 2, 3, 0, 1])).double().mean() > 0.95
    assert len(x[:, 0].unique()) == 4
