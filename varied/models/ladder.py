"""The hierarchical variational autoencoder: a ladder of latents with top-down inference."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent

from varied import distributions as d
from varied.errors import VariedError
from varied.heads import Head
from varied.models.base import LatentModel, PartFactory, Temperature
from varied.models.vae import drop_context, zero_missing
from varied.nets import with_context
from varied.nets.ladder_blocks import ConvBlocks, DenseBlocks, LadderBlocks
from varied.trace import Level, Trace

__all__ = ["Ladder", "LadderLevel", "build_ladder"]

#: The largest size of a log-variance, and of what a posterior adds to its prior's.
BOUND = 10.0

#: From a rung's number (from the datum upwards), its state and its prior to a latent.
Draw = Callable[[int, Tensor, Distribution], Tensor]


class LadderLevel(nn.Module):
    """One level: its prior given all above, its posterior, and what its latent does to the state.

    Arguments:
        fabric: What it is built of.
        level: Which level it is; 1 is nearest to the data.
        channels: Units of its latent, or channels of each place of a map.
    """

    def __init__(self, fabric: LadderBlocks, level: int, channels: int) -> None:
        super().__init__()
        self.event_shape = (channels, *fabric.spatial_shape(level))
        self.up, self.down = fabric.bottom_up_block(level), fabric.top_down_block(level)
        self.above = fabric.two_layer_net(fabric.hidden_size, 2 * channels)
        self.both = fabric.two_layer_net(2 * fabric.hidden_size, 2 * channels)
        self.merge = fabric.latent_projection(channels)

    @property
    def size(self) -> int:
        """The number of elements of its latent."""
        return math.prod(self.event_shape)

    def prior(self, h: Tensor, lead: Sequence[int]) -> Distribution:
        """Return p(z given all above), with batch shape ``lead``."""
        mean, log_variance = self._pair(self.above(h), lead)
        return self._normal(mean, d.soft_clamp(log_variance, BOUND))

    def posterior(self, h: Tensor, seen: Tensor, p: Distribution) -> Distribution:
        """Return q(z given all above, x): what the data add to the prior."""
        mean, log_variance = self._pair(self.both(torch.cat([h, seen], 1)), p.batch_shape)
        base = d.base_distribution(p)
        assert isinstance(base, d.Gaussian)
        more = d.soft_clamp(log_variance, BOUND)
        return self._normal(base.mean + mean, base.log_variance + more)

    def forward(self, h: Tensor, z: Tensor) -> Tensor:
        """Return the state below, given the state at this level and its latent."""
        return self.down(h + self.merge(z))  # type: ignore[no-any-return]

    def _pair(self, raw: Tensor, lead: Sequence[int]) -> tuple[Tensor, ...]:
        raw = raw if raw.dtype == torch.float64 else raw.float()
        return raw.reshape(*lead, 2 * self.event_shape[0], *self.event_shape[1:]).chunk(
            2, len(lead)
        )

    def _normal(self, mean: Tensor, log_variance: Tensor) -> Distribution:
        return Independent(
            d.Gaussian(mean, log_variance), len(self.event_shape), validate_args=False
        )


class Ladder(LatentModel):
    r"""Latents above latents, each prior given all that are above it.

    .. math:: p(x, z) = p(x \mid z_{1:L}) \prod_l p(z_l \mid z_{>l}), \qquad
        q(z \mid x) = \prod_l q(z_l \mid z_{>l}, x)

    A deterministic pass goes up from the data; a state comes down, and at each level prior and
    posterior read it. The posterior is written as what the data add to the prior, so a level that
    has nothing to say costs nothing.

    To every use its latent is one vector: the levels side by side, from the datum upwards.

    References:
        Ladder Variational Autoencoders (Sønderby et al., 2016), https://arxiv.org/abs/1602.02282;
        NVAE (Vahdat & Kautz, 2020), https://arxiv.org/abs/2007.03898;
        Very Deep VAEs (Child, 2021), https://arxiv.org/abs/2011.10650

    Arguments:
        fabric: What the rungs are built of.
        likelihood: The head of p(x given z).
        channels: Units of each level's latent, or channels of each place of a map.
        context: The number of features of the context.
        context_dropout: The chance that a row's context is dropped in training.
    """

    provides = frozenset({"density", "marginals"})

    def __init__(
        self,
        fabric: LadderBlocks,
        likelihood: Head,
        channels: int,
        context: int,
        context_dropout: float,
    ) -> None:
        super().__init__()
        self.likelihood, self.unconditional = likelihood, context_dropout
        #: The type that matrix products are computed in; None leaves float32.
        self.precision: torch.dtype | None = None
        numbers = range(1, fabric.levels + 1)
        self.rungs = nn.ModuleList(LadderLevel(fabric, level, channels) for level in numbers)
        self.stem = with_context(fabric.input_net, fabric.shape, context)
        self.out = fabric.output_net(likelihood.param_shape)
        self.top = nn.Parameter(
            0.1 * torch.randn(fabric.hidden_size, *fabric.spatial_shape(fabric.levels))
        )
        self.told = nn.Linear(context, fabric.hidden_size) if context else None

    @property
    def sizes(self) -> list[int]:
        """The number of elements of each level's latent, from the datum upwards."""
        return [rung.size for rung in self._up()]

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """The shape of all latents side by side."""
        return (sum(self.sizes),)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of one datum."""
        return self.likelihood.event_shape

    @property
    def params_per_element(self) -> int:
        """Numbers that the decoder puts out for each element of a datum."""
        return self.likelihood.params_per_element

    def _up(self) -> list[LadderLevel]:
        return list(self.rungs)  # type: ignore[arg-type]

    def forward(
        self, x: Tensor, c: Tensor | None = None, mask: Tensor | None = None, samples: int = 1
    ) -> Trace:
        """Return the trace of one pass; its levels are from the datum upwards."""
        x, c = zero_missing(x, mask), drop_context(c, self.unconditional, self.training)
        levels: list[Level] = []

        def draw(index: int, h: Tensor, p: Distribution) -> Tensor:
            q = self._up()[index].posterior(h, seen[index], p)
            levels.insert(0, Level(q.rsample(), q, p))
            return levels[0].z

        with self._cast(x):
            seen = [h.repeat(samples, *[1] * (h.dim() - 1)) for h in self._climb(x, c)]
            h = self._descend(draw, (samples, len(x)), c)
            return Trace(x, self._px(h, (samples, len(x))), levels, mask, c=c)

    def encode(self, x: Tensor, c: Tensor | None = None) -> Distribution:
        """Return the posterior along its means: normal, with batch shape (B) and event (D)."""
        means, spreads = list[Tensor](), list[Tensor]()

        def draw(index: int, h: Tensor, p: Distribution) -> Tensor:
            q = d.base_distribution(self._up()[index].posterior(h, seen[index], p))
            assert isinstance(q, d.Gaussian)
            means.insert(0, q.mean.flatten(1))
            spreads.insert(0, q.log_variance.flatten(1))
            return q.mean

        with self._cast(x):
            seen = self._climb(x, c)
            self._descend(draw, (len(x),), c)
        return Independent(
            d.Gaussian(torch.cat(means, 1), torch.cat(spreads, 1)), 1, validate_args=False
        )

    def decode(self, z: Tensor, c: Tensor | None = None) -> Distribution:
        """Return p(x given all latents), with the leading dimensions of ``z`` as batch shape."""
        lead = z.shape[:-1]
        parts = z.reshape(-1, z.shape[-1]).split(self.sizes, 1)

        def given(index: int, h: Tensor, p: Distribution) -> Tensor:
            z: Tensor = parts[index]
            return z.reshape(-1, *self._up()[index].event_shape)

        with self._cast(z):
            return self._px(self._descend(given, (len(parts[0]),), c), lead)

    def sample_prior(
        self, n: int, c: Tensor | None = None, temperature: Temperature = 1.0
    ) -> Tensor:
        """Return draws from the priors of all levels, side by side, with shape (n, D).

        Arguments:
            n: How many.
            c: The context, with shape (n, F), or None.
            temperature: A factor on the scale of each prior; a list has one for each level, from
                the datum upwards.
        """
        count, heat = len(self.rungs), temperature
        warmth = [heat] * count if isinstance(heat, float | int) else list(heat)
        if len(warmth) != count:
            raise VariedError(
                f"This ladder has {count} levels, and {len(warmth)} temperatures were given; give "
                "one, or one for each level from the datum upwards."
            )
        drawn: list[Tensor] = []

        def draw(index: int, h: Tensor, p: Distribution) -> Tensor:
            z = p.mean + warmth[index] * (p.sample() - p.mean)
            drawn.insert(0, z.flatten(1))
            return z

        with self._cast(self.top):
            self._descend(draw, (n,), c)
        return torch.cat(drawn, 1)

    def _cast(self, like: Tensor) -> torch.autocast:
        kind = like.device.type
        return torch.autocast(kind, dtype=self.precision, enabled=self.precision is not None)

    def _climb(self, x: Tensor, c: Tensor | None) -> list[Tensor]:
        """Return the states on the way up from the data, one for each level."""
        h = self.stem(x) if c is None or self.told is None else self.stem(x, c)
        return list(itertools.accumulate(self._up(), lambda h, rung: rung.up(h), initial=h))[1:]

    def _descend(self, draw: Draw, lead: Sequence[int], c: Tensor | None) -> Tensor:
        """Come down from the top, a latent at each level; return the state below level 1."""
        h = self.top.expand(math.prod(lead), *self.top.shape)
        if self.told is not None and c is not None:
            told = self.told(c).to(h.dtype).expand(*lead, -1).flatten(0, len(lead) - 1)
            h = h + told[(..., *[None] * (h.dim() - 2))]
        for index in reversed(range(len(self.rungs))):
            rung = self._up()[index]
            z = draw(index, h, rung.prior(h, lead))
            h = rung(h, z.reshape(-1, *rung.event_shape))
        return h

    def _px(self, h: Tensor, lead: Sequence[int]) -> Distribution:
        raw: Tensor = self.out(h)
        with torch.autocast(h.device.type, enabled=False):
            raw = raw if raw.dtype == torch.float64 else raw.float()
            return self.likelihood(raw.reshape(*lead, *self.likelihood.param_shape))  # type: ignore[no-any-return]


def build_ladder(
    factory: PartFactory,
    *,
    levels: int = 5,
    hidden_size: int | None = None,
    context_dropout: float = 0.0,
) -> Ladder:
    """A ladder of latents with top-down inference; ``latent`` is the width of each level.

    With net='mlp' a level is a vector; with net='conv' or 'resnet' it is a map, smaller the higher
    it stands.

    Arguments:
        factory: Makes the parts.
        levels: How many levels.
        hidden_size: Units of the state that runs through the ladder (256), or channels of maps (48).
        context_dropout: The chance that a row's context is dropped in training.
    """
    plain = factory.net_name == "mlp"
    make: type[LadderBlocks] = DenseBlocks if plain else ConvBlocks
    fabric = make(
        factory.shape, (256 if plain else 48) if hidden_size is None else hidden_size, levels
    )
    likelihood = factory.likelihood(factory.shape)
    return Ladder(fabric, likelihood, factory.latent_shape[0], factory.context, context_dropout)


build_ladder.own = ("posterior", "prior", "conditioning")  # type: ignore[attr-defined]
