"""The hierarchical VAE: several levels of latent variables with top-down inference."""

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
from varied.nets.autocast import AutocastModule
from varied.nets.ladder_blocks import ConvBlocks, DenseBlocks, LadderBlocks
from varied.trace import Level, Trace

#: The bound on the log-variances of the priors, and on the log-variance offsets of the posteriors.
BOUND = 10.0

#: Returns the latent variable of a level, given its index (0 is the bottom), state and prior.
ChooseLatent = Callable[[int, Tensor, Distribution], Tensor]


class LadderLevel(nn.Module):
    """One level of a ladder VAE: its prior, its posterior, and its bottom-up and top-down blocks.

    Arguments:
        blocks: Builds the networks.
        level: The number of the level; 1 is the bottom level, closest to the data.
        channels: The number of latent units, or of latent channels if the level is a map.
    """

    def __init__(self, blocks: LadderBlocks, level: int, channels: int) -> None:
        super().__init__()
        self.event_shape = (channels, *blocks.spatial_shape(level))
        self.bottom_up, self.top_down = blocks.bottom_up_block(level), blocks.top_down_block(level)
        self.prior_net = blocks.two_layer_net(blocks.hidden_size, 2 * channels)
        self.posterior_net = blocks.two_layer_net(2 * blocks.hidden_size, 2 * channels)
        self.latent_proj = blocks.latent_projection(channels)

    @property
    def size(self) -> int:
        """The number of elements of the latent variable."""
        return math.prod(self.event_shape)

    def prior(self, state: Tensor, batch_shape: Sequence[int]) -> Distribution:
        """Return the distribution of the latent variable given all levels above."""
        mean, log_variance = self._params(self.prior_net(state), batch_shape)
        return self._gaussian(mean, d.soft_clamp(log_variance, BOUND))

    def posterior(self, state: Tensor, features: Tensor, p: Distribution) -> Distribution:
        """Return the posterior given all levels above and the data, as an offset from the prior."""
        raw = self.posterior_net(torch.cat([state, features], 1))
        mean, log_variance = self._params(raw, p.batch_shape)
        prior = d.base_distribution(p)
        assert isinstance(prior, d.Gaussian)
        offset = d.soft_clamp(log_variance, BOUND)
        return self._gaussian(prior.mean + mean, prior.log_variance + offset)

    def forward(self, state: Tensor, z: Tensor) -> Tensor:
        """Return the top-down state of the level below."""
        return self.top_down(state + self.latent_proj(z))  # type: ignore[no-any-return]

    def _params(self, raw: Tensor, batch_shape: Sequence[int]) -> tuple[Tensor, ...]:
        raw = raw if raw.dtype == torch.float64 else raw.float()
        channels, *rest = self.event_shape
        return raw.reshape(*batch_shape, 2 * channels, *rest).chunk(2, len(batch_shape))

    def _gaussian(self, mean: Tensor, log_variance: Tensor) -> Distribution:
        return Independent(
            d.Gaussian(mean, log_variance), len(self.event_shape), validate_args=False
        )


class Ladder(LatentModel, AutocastModule):
    r"""A hierarchy of latent variables, each with a prior given all levels above it.

    .. math:: p(x, z) = p(x \mid z_{1:L}) \prod_l p(z_l \mid z_{>l}), \qquad
        q(z \mid x) = \prod_l q(z_l \mid z_{>l}, x)

    A bottom-up path computes features of the data. A top-down path carries a state, from which each
    level computes its prior and, with the features, its posterior. The posterior is parameterized
    by its offset from the prior, so an unused level has a KL of 0.

    The interface of the model treats the latent variables as one vector: the concatenation of all
    levels, from the bottom up.

    References:
        Ladder Variational Autoencoders (Sønderby et al., 2016), https://arxiv.org/abs/1602.02282;
        NVAE (Vahdat & Kautz, 2020), https://arxiv.org/abs/2007.03898;
        Very Deep VAEs (Child, 2021), https://arxiv.org/abs/2011.10650

    Arguments:
        blocks: Builds the networks of the levels.
        likelihood: The head of p(x | z).
        channels: The number of latent units, or of latent channels, of each level.
        context: The number of context features.
        context_dropout: The probability of dropping the context of a row during training.
    """

    provides = frozenset({"density", "marginals"})

    def __init__(
        self,
        blocks: LadderBlocks,
        likelihood: Head,
        channels: int,
        context: int,
        context_dropout: float,
    ) -> None:
        super().__init__()
        self.likelihood, self.context_dropout = likelihood, context_dropout
        numbers = range(1, blocks.levels + 1)
        self.levels = nn.ModuleList(LadderLevel(blocks, level, channels) for level in numbers)
        self.stem = likelihood.input_net(with_context(blocks.input_net, blocks.shape, context))
        self.out = blocks.output_net(likelihood.param_shape)
        self.top = nn.Parameter(
            0.1 * torch.randn(blocks.hidden_size, *blocks.spatial_shape(blocks.levels))
        )
        self.context_proj = nn.Linear(context, blocks.hidden_size) if context else None

    @property
    def sizes(self) -> list[int]:
        """The number of latent elements of each level, from the bottom level up."""
        return [level.size for level in self._levels]

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """The shape of the concatenation of all levels."""
        return (sum(self.sizes),)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of one example."""
        return self.likelihood.event_shape

    @property
    def params_per_element(self) -> int:
        """The number of likelihood parameters per element of an example."""
        return self.likelihood.params_per_element

    @property
    def _levels(self) -> list[LadderLevel]:
        return list(self.levels)  # type: ignore[arg-type]

    def forward(
        self, x: Tensor, c: Tensor | None = None, mask: Tensor | None = None, samples: int = 1
    ) -> Trace:
        """Return a trace with all levels of the ladder, from the bottom level up."""
        x, c = zero_missing(x, mask), drop_context(c, self.context_dropout, self.training)
        levels: list[Level] = []

        def sample_posterior(index: int, state: Tensor, p: Distribution) -> Tensor:
            q = self._levels[index].posterior(state, features[index], p)
            levels.insert(0, Level(q.rsample(), q, p))
            return levels[0].z

        with self.autocast(x.device):
            features = [h.repeat(samples, *[1] * (h.dim() - 1)) for h in self._bottom_up(x, c)]
            state = self._top_down(sample_posterior, (samples, len(x)), c)
            return Trace(x, self._likelihood(state, (samples, len(x))), levels, mask, c=c)

    def encode(self, x: Tensor, c: Tensor | None = None) -> Distribution:
        """Return one Gaussian over all levels, each given the posterior means of higher levels."""
        means, log_variances = list[Tensor](), list[Tensor]()

        def posterior_mean(index: int, state: Tensor, p: Distribution) -> Tensor:
            q = d.base_distribution(self._levels[index].posterior(state, features[index], p))
            assert isinstance(q, d.Gaussian)
            means.insert(0, q.mean.flatten(1))
            log_variances.insert(0, q.log_variance.flatten(1))
            return q.mean

        with self.autocast(x.device):
            features = self._bottom_up(x, c)
            self._top_down(posterior_mean, x.shape[:1], c)
        q = d.Gaussian(torch.cat(means, 1), torch.cat(log_variances, 1))
        return Independent(q, 1, validate_args=False)

    def decode(self, z: Tensor, c: Tensor | None = None) -> Distribution:
        """Return p(x | z, c), with the leading dimensions of ``z`` as the batch shape."""
        batch_shape = z.shape[:-1]
        latents = z.reshape(-1, z.shape[-1]).split(self.sizes, 1)

        def given(index: int, state: Tensor, p: Distribution) -> Tensor:
            z: Tensor = latents[index]
            return z

        with self.autocast(z.device):
            return self._likelihood(self._top_down(given, latents[0].shape[:1], c), batch_shape)

    def sample_prior(
        self, n: int, c: Tensor | None = None, temperature: Temperature = 1.0
    ) -> Tensor:
        """Draw all levels from their priors, from the top down.

        Arguments:
            n: The number of draws.
            c: The context, with shape (n, F), or None.
            temperature: A factor that scales the standard deviations of the priors: one number for
                all levels, or a list with one per level, from the bottom level up.

        Returns:
            The concatenation of all levels, with shape (n, D).

        Raises:
            VariedError: If the number of temperatures differs from the number of levels.
        """
        count = len(self.levels)
        if not isinstance(temperature, Sequence):
            temperature = [temperature] * count
        if len(temperature) != count:
            raise VariedError(
                f"This ladder VAE has {count} levels, but {len(temperature)} temperatures were "
                "passed; pass one number, or one per level, from the bottom level up."
            )
        samples: list[Tensor] = []

        def sample_prior(index: int, state: Tensor, p: Distribution) -> Tensor:
            z = p.mean + temperature[index] * (p.sample() - p.mean)
            samples.insert(0, z.flatten(1))
            return z

        with self.autocast(self.top.device):
            self._top_down(sample_prior, (n,), c)
        return torch.cat(samples, 1)

    def from_noise(self, noise: Tensor, c: Tensor | None = None) -> Tensor:
        """Return the draws from the prior for given standard normal noise, with shape (N, D).

        Arguments:
            noise: The noise of all levels, from the bottom up, with shape (N, D).
            c: The context, with shape (N, F), or None.
        """
        draws: list[Tensor] = []
        noises = noise.split(self.sizes, 1)

        def shift_and_scale(index: int, state: Tensor, p: Distribution) -> Tensor:
            draws.insert(0, p.mean.flatten(1) + p.variance.sqrt().flatten(1) * noises[index])
            return draws[0]

        with self.autocast(noise.device):
            self._top_down(shift_and_scale, noise.shape[:1], c)
        return torch.cat(draws, 1)

    def _bottom_up(self, x: Tensor, c: Tensor | None) -> list[Tensor]:
        """Return the features of the data at each level, from the bottom level up."""
        h = self.stem(x) if c is None or self.context_proj is None else self.stem(x, c)
        steps = itertools.accumulate(self._levels, lambda h, level: level.bottom_up(h), initial=h)
        return list(steps)[1:]

    def _top_down(
        self, choose: ChooseLatent, batch_shape: Sequence[int], c: Tensor | None
    ) -> Tensor:
        """Return the state below the bottom level, given the latent variables from ``choose``."""
        state = self.top.expand(math.prod(batch_shape), *self.top.shape)
        if self.context_proj is not None and c is not None:
            features = self.context_proj(c).to(state.dtype)
            features = features.expand(*batch_shape, -1).flatten(0, len(batch_shape) - 1)
            state = state + features[(..., *[None] * (state.dim() - 2))]
        for index, level in reversed(list(enumerate(self._levels))):
            z = choose(index, state, level.prior(state, batch_shape))
            state = level(state, z.reshape(-1, *level.event_shape))
        return state

    def _likelihood(self, state: Tensor, batch_shape: Sequence[int]) -> Distribution:
        raw: Tensor = self.out(state)
        with torch.autocast(state.device.type, enabled=False):
            raw = raw if raw.dtype == torch.float64 else raw.float()
            return self.likelihood(raw.reshape(*batch_shape, *self.likelihood.param_shape))  # type: ignore[no-any-return]


def build_ladder(
    factory: PartFactory,
    *,
    levels: int = 5,
    hidden_size: int | None = None,
    context_dropout: float = 0.0,
) -> Ladder:
    """Return a hierarchical VAE; ``latent`` is the number of latent units or channels per level.

    With net='mlp', each level is a vector. With net='conv' or 'resnet', each level is a feature
    map, and higher levels are smaller.

    Arguments:
        factory: Builds the parts.
        levels: The number of levels.
        hidden_size: The number of hidden units of the networks (256 by default), or of channels if
            the levels are feature maps (48 by default).
        context_dropout: The probability of dropping the context of a row during training.
    """
    is_dense = factory.net_name == "mlp"
    blocks: type[LadderBlocks] = DenseBlocks if is_dense else ConvBlocks
    hidden_size = (256 if is_dense else 48) if hidden_size is None else hidden_size
    return Ladder(
        blocks(factory.shape, hidden_size, levels),
        factory.likelihood(factory.shape),
        factory.latent_shape[0],
        factory.context,
        context_dropout,
    )
