"""Remedies against posterior collapse, with an autoregressive decoder that does not need z.

The decoder predicts each pixel from the previous ones, so the information that z could add costs
its KL from the first step on.
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
from varied.training_loop import train
from varied.training_step import Step

PIXELS, LATENT, CLASSES, NOISE = 32, 4, 10, 0.4


class AutoregressiveBernoulli(Elementwise):
    """Pixels whose logits depend on the latent variables and on the previous pixels."""

    def __init__(self, logits, net):
        super().__init__(logits)
        self.net = net

    def log_prob(self, value):
        logits = self.params[0] + self.net(value)
        return -F.binary_cross_entropy_with_logits(
            logits, value.expand_as(logits), reduction="none"
        )

    @property
    def mean(self):
        return self.params[0].sigmoid()


class MaskedNet(nn.Module):
    """A network that maps pixels to logits, each of which depends only on previous pixels."""

    def __init__(self, width=64):
        super().__init__()
        self.first, self.last = nn.Linear(PIXELS, width), nn.Linear(width, PIXELS)
        visible, position = torch.arange(width) * PIXELS // width, torch.arange(PIXELS)
        self.register_buffer("input_mask", (position[None] < visible[:, None]).float())
        self.register_buffer("output_mask", (visible[None] <= position[:, None]).float())

    def forward(self, x):
        h = F.linear(x, self.first.weight * self.input_mask, self.first.bias).relu()
        return F.linear(h, self.last.weight * self.output_mask, self.last.bias)


class AutoregressiveHead(Head):
    def __init__(self, event):
        super().__init__(event)
        self.net = MaskedNet()

    def build(self, logits) -> Distribution:
        return AutoregressiveBernoulli(logits, self.net)


def noisy_patterns(rows=3000):
    noise = torch.Generator().manual_seed(0)
    patterns = (torch.rand(CLASSES, PIXELS, generator=noise) < 0.5).float()
    x = patterns[torch.randint(CLASSES, (rows,), generator=noise)]
    return (x - (torch.rand(x.shape, generator=noise) < NOISE).float()).abs()


def mlp(inputs, outputs):
    return nn.Sequential(nn.Linear(inputs, 64), nn.ReLU(), nn.Linear(64, outputs))


def trained_kl(objective, posterior=Gaussian):
    """Return the KL after 550 steps, in nats."""
    torch.manual_seed(0)
    encoder = ConditionalDistribution(mlp(PIXELS, 2 * LATENT), posterior((LATENT,)), (PIXELS,))
    head = AutoregressiveHead((PIXELS,))
    decoder = ConditionalDistribution(mlp(LATENT, PIXELS), head, (LATENT,))
    model, x = VAE(encoder, decoder, StandardNormal((LATENT,))), noisy_patterns()
    plan = Plan(steps=550, batch_size=128, lr=3e-3, threads=1, compile="no", precision="float32")
    for _ in train(Step(model, objective), Batches(x, size=128, seed=0), plan):
        pass
    return evaluate(model, torch.Tensor.float, [Batch(x)]).kl.value


def test_decoder_only_depends_on_previous_pixels():
    net, x = MaskedNet(), torch.rand(1, PIXELS, requires_grad=True)
    for position in (0, 7, PIXELS - 1):
        (gradient,) = torch.autograd.grad(net(x)[0, position], x, retain_graph=True)
        assert not gradient[0, position:].any()
        assert gradient[0, :position].any() == (position > 0)


def test_elbo_collapses():
    assert trained_kl(elbo()) < 0.1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("objective", "posterior"),
    [
        (elbo(beta=Linear(0, 1, 0.5)), Gaussian),
        (elbo(free_bits=0.5), Gaussian),
        (control_vae(kl_target=2.0), Gaussian),
        (elbo(), DeltaGaussian),
    ],
    ids=["annealing", "free bits", "control", "delta"],
)
def test_remedies_keep_latent_units_active(objective, posterior):
    assert trained_kl(objective, posterior) > 0.4
