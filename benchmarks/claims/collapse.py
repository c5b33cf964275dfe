"""The claim about posterior collapse, with a decoder that can do without the code."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn.functional import adaptive_avg_pool2d, binary_cross_entropy_with_logits, conv2d

from benchmarks.claims.base import PLAN, Budget, Claim, Outcome, Spread, Table, verdict
from benchmarks.claims.spaces import spread
from benchmarks.trained import Data, data, trained
from varied.data import Batch
from varied.data.codecs import ImageCodec
from varied.distributions import Elementwise
from varied.likelihoods import LIKELIHOODS, Likelihood
from varied.spec import Plan

SIZE = 14


@cache
def small() -> Data:
    """Return digits of 14 x 14, each pixel the mean of four, binarized anew at every look."""
    full, codec = data("mnist"), ImageCodec((1, SIZE, SIZE), binarize="dynamic")
    parts = {
        name: Batch(adaptive_avg_pool2d(part.x.float(), SIZE).round().to(torch.uint8))
        for name, part in full.parts.items()
    }
    return Data(full.items, codec, parts)


class Before(nn.Module):
    """A net from pixels to logits, each of those that stand before it: six rows, as many columns.

    References:
        Conditional Image Generation with PixelCNN Decoders (van den Oord et al., 2016),
        https://arxiv.org/abs/1606.05328
    """

    def __init__(self, width: int = 32, reach: int = 6) -> None:
        super().__init__()
        self.reach, side = reach, 2 * reach + 1
        self.first = nn.Conv2d(1, width, side)
        self.more = nn.ModuleList(nn.Conv2d(width, width, 1) for _ in range(2))
        self.last = nn.Conv2d(width, 1, 1)
        before = torch.arange(side * side) < side * side // 2
        self.register_buffer("before", before.view(side, side).float())

    def forward(self, x: Tensor) -> Tensor:
        """Return logits, with the shape of ``x``."""
        pixels = x.reshape(-1, 1, *x.shape[-2:])
        h = conv2d(pixels, self.first.weight * self.before, self.first.bias, padding=self.reach)
        for more in self.more:
            h = h + more(h.relu())
        found: Tensor = self.last(h.relu())
        return found.view_as(x)


class Told(Elementwise):
    """Pixels told one after the other, given those before and what the latent says."""

    def __init__(self, says: Tensor, reads: Before) -> None:
        super().__init__(says)
        self.reads = reads

    def log_prob(self, value: Tensor) -> Tensor:
        """Return nats, element by element."""
        logits = self.params[0] + self.reads(value)
        return -binary_cross_entropy_with_logits(logits, value.expand_as(logits), reduction="none")

    @property
    def mean(self) -> Tensor:
        """What the latent says alone."""
        return self.params[0].sigmoid()


class Strong(Likelihood):
    """A likelihood that reads the pixels before the one that it tells."""

    accepts = frozenset({"binary"})

    def __init__(self, event: tuple[int, ...]) -> None:
        super().__init__(event)
        self.reads = Before()

    def build(self, says: Tensor) -> Distribution:
        """Return pixels told one after the other."""
        return Told(says, self.reads)


CURES: dict[str, dict[str, Any]] = {
    "nothing done": {},
    "KL warm-up": {"objective": {"name": "elbo", "beta": "linear(0, 1, 0.5)"}},
    "free bits": {"objective": {"name": "elbo", "free_bits": 0.5}},
    "a stronger encoder": {"net": {"name": "mlp", "width": 1024, "depth": 3}},
    "a set point of 5 nats": {"objective": {"name": "control-vae", "kl_target": 5.0}},
    "a rate that cannot be 0": {"posterior": "delta-gaussian"},
}
BASE = {
    "latent": 16,
    "likelihood": "strong",
    "objective": {"name": "elbo"},
    "net": {"name": "mlp", "width": 256, "depth": 3},
}


def cured(budget: Budget) -> Outcome:
    """A decoder that reads the pixels before the one that it tells, and so can do without a code,
    on digits of 14 x 14: nets of three layers of 256, 16 latents, 8 epochs, the KL a whole cost
    from the first step. Then one change at a time: the KL rises over the first half; half a nat of
    each latent is free; nets of 1,024. The rate says how much of the code is
    in use, the -ELBO what that is worth.
    """
    seeds, rows, rate, cost = budget.seeds(), [], {}, {}
    LIKELIHOODS.setdefault("strong", Strong)
    for name, change in CURES.items():
        seen = []
        for seed in seeds:
            how = Plan(**PLAN | {"lr": 2e-3, "epochs": budget.epochs(8), "seed": seed})
            seen.append(trained(small(), how, **BASE | change).evaluation(most=budget.rows(5000)))
        rate[name] = Spread(tuple(one.kl.value for one in seen if one.kl))
        cost[name] = Spread(tuple(-one.elbo.value for one in seen if one.elbo))
        active = Spread(tuple(one.active_units.value for one in seen))
        rows.append((name, f"{rate[name]:.2f}", f"{active:.1f}", f"{cost[name]:.2f}"))
        print(*rows[-1], flush=True)
    nothing, *cures = list(CURES)[:4]
    return Outcome(
        verdict(
            rate[nothing].mean < 1,
            *(rate[nothing].below(rate[one]) and rate[one].mean > 1 for one in cures),
        ),
        f"Where nothing is done the code carries {rate[nothing]:.2f} nats; with warm-up "
        f"{rate['KL warm-up']:.2f}, with free bits {rate['free bits']:.2f}, with wider nets "
        f"{rate['a stronger encoder']:.2f}. The -ELBO is {cost[nothing]:.2f}, "
        f"{cost['KL warm-up']:.2f}, {cost['free bits']:.2f} and "
        f"{cost['a stronger encoder']:.2f}: a code in use is not always worth what it costs.",
        [Table(("cure", "rate, nats", "active units of 16", "-ELBO, nats"), rows, spread(seeds))],
    )


CLAIMS = (Claim(7, "KL warm-up, free bits and a stronger encoder cure posterior collapse.", cured),)
