"""A decoder strong enough to do without the latent does without it; the cures of the texts work.

The decoder reads the pixels before the one that it tells, so it explains most of a datum alone, and
what the latent could add costs its KL from the first step on. It is a head as any other: a
distribution that holds its network.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.distributions import Distribution

from varied.data.batches import Batch, Batches
from varied.distributions import Elementwise
from varied.evaluate import evaluate
from varied.heads import Head
from varied.models import VAE
from varied.objectives import control_vae, elbo
from varied.posteriors import Gaussian
from varied.posteriors.delta_gaussian import DeltaGaussian
from varied.priors import StandardNormal
from varied.schedules import Linear
from varied.spec import Plan
from varied.trace import ConditionalDistribution
from varied.training_loop import Step, train

PIXELS, LATENT, KINDS, NOISE = 32, 4, 10, 0.4


class Reading(Elementwise):
    """Pixels that are told one after the other, given the ones before and what the latent says."""

    def __init__(self, says, reads):
        super().__init__(says)
        self.reads = reads

    def log_prob(self, value):
        logits = self.params[0] + self.reads(value)
        return -F.binary_cross_entropy_with_logits(
            logits, value.expand_as(logits), reduction="none"
        )

    @property
    def mean(self):
        return self.params[0].sigmoid()


class Before(nn.Module):
    """A net from pixels to logits, each of those before it alone."""

    def __init__(self, width=64):
        super().__init__()
        self.first, self.last = nn.Linear(PIXELS, width), nn.Linear(width, PIXELS)
        seen = torch.arange(width) * PIXELS // width
        place = torch.arange(PIXELS)
        self.register_buffer("into", (place[None] < seen[:, None]).float())
        self.register_buffer("out_of", (seen[None] <= place[:, None]).float())

    def forward(self, x):
        h = F.linear(x, self.first.weight * self.into, self.first.bias).relu()
        return F.linear(h, self.last.weight * self.out_of, self.last.bias)


class Strong(Head):
    def __init__(self, event):
        super().__init__(event)
        self.reads = Before()

    def build(self, says) -> Distribution:
        return Reading(says, self.reads)


def data(rows=3000):
    dice = torch.Generator().manual_seed(0)
    kinds = (torch.rand(KINDS, PIXELS, generator=dice) < 0.5).float()
    x = kinds[torch.randint(KINDS, (rows,), generator=dice)]
    return (x - (torch.rand(x.shape, generator=dice) < NOISE).float()).abs()


def net(inputs, outputs):
    return nn.Sequential(nn.Linear(inputs, 64), nn.ReLU(), nn.Linear(64, outputs))


def rate_of(objective, posterior=Gaussian):
    """Return the KL, in nats, after 700 steps."""
    torch.manual_seed(0)
    encoder = ConditionalDistribution(net(PIXELS, 2 * LATENT), posterior((LATENT,)), (PIXELS,))
    decoder = ConditionalDistribution(net(LATENT, PIXELS), Strong((PIXELS,)), (LATENT,))
    model, x = VAE(encoder, decoder, StandardNormal((LATENT,))), data()
    plan = Plan(steps=700, batch_size=128, lr=3e-3, threads=1, compile="no", precision="float32")
    for _ in train(Step(model, objective), Batches(x, size=128, seed=0), plan):
        pass
    return evaluate(model, torch.Tensor.float, lambda: [Batch(x)]).kl.value


def test_the_decoder_reads_what_is_before_alone():
    reads = Before()
    x = torch.rand(1, PIXELS, requires_grad=True)
    for place in (0, 7, PIXELS - 1):
        (slope,) = torch.autograd.grad(reads(x)[0, place], x, retain_graph=True)
        assert not slope[0, place:].any()
        assert slope[0, :place].any() == (place > 0)


def test_it_collapses_where_nothing_is_done():
    assert rate_of(elbo()) < 0.1


@pytest.mark.parametrize(
    ("objective", "posterior"),
    [
        (elbo(beta=Linear(0, 1, 0.5)), Gaussian),
        (elbo(free_bits=0.5), Gaussian),
        (control_vae(kl_target=2.0), Gaussian),
        (elbo(), DeltaGaussian),
    ],
    ids=["warm-up", "free bits", "control", "delta"],
)
def test_a_cure_keeps_the_latent_in_use(objective, posterior):
    assert rate_of(objective, posterior) > 0.4
