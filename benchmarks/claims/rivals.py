"""A small GAN and a small diffusion model, to compare with: no part of the package.

Both are as plain as their papers, with the settings that are usual for digits, and have about as
many parameters as the VAE beside them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss

from varied.seeding import permutation, seeded

BATCH = 128


def batches(x: Tensor, seed: int, seconds: float) -> Iterator[tuple[Tensor, float]]:
    """Yield batches in [-1, 1], and the share of the time that is gone, until it is."""
    begun, epoch = time.perf_counter(), 0
    while True:
        for rows in permutation(len(x), seed, "rival", epoch).split(BATCH):
            gone = (time.perf_counter() - begun) / seconds
            if gone >= 1:
                return
            yield 2 * x[rows] - 1, gone
        epoch += 1


class GAN:
    """Generative Adversarial Networks (Goodfellow et al., 2014), https://arxiv.org/abs/1406.2661.

    The nets and the rate are those of DCGAN (Radford et al., 2015),
    https://arxiv.org/abs/1511.06434, for 28 x 28 pixels; the loss does not saturate.
    """

    def __init__(self, seed: int, latent: int = 64, rate: float = 2e-4, width: int = 64) -> None:
        with seeded(seed, "gan"):
            self.latent, self.rate = latent, rate
            self.maker = nn.Sequential(
                nn.Linear(latent, 2 * width * 49),
                nn.Unflatten(1, (2 * width, 7, 7)),
                nn.BatchNorm2d(2 * width),
                nn.ReLU(),
                nn.ConvTranspose2d(2 * width, width, 4, 2, 1),
                nn.BatchNorm2d(width),
                nn.ReLU(),
                nn.ConvTranspose2d(width, 1, 4, 2, 1),
                nn.Tanh(),
            )
            self.critic = nn.Sequential(
                nn.Conv2d(1, width, 4, 2, 1),
                nn.LeakyReLU(0.2),
                nn.Conv2d(width, 2 * width, 4, 2, 1),
                nn.BatchNorm2d(2 * width),
                nn.LeakyReLU(0.2),
                nn.Flatten(),
                nn.Linear(2 * width * 49, 1),
            )

    def train(self, x: Tensor, seed: int, seconds: float) -> None:
        """Train for so long on pictures in [0, 1]."""
        made = torch.optim.Adam(self.maker.parameters(), self.rate, (0.5, 0.999))
        told = torch.optim.Adam(self.critic.parameters(), self.rate, (0.5, 0.999))
        with seeded(seed, "gan trains"):
            for real, _ in batches(x, seed, seconds):
                fake = self.maker(torch.randn(len(real), self.latent))
                loss = self._says(real, 1.0) + self._says(fake.detach(), 0.0)
                _step(told, loss)
                _step(made, self._says(fake, 1.0))

    def _says(self, x: Tensor, truth: float) -> Tensor:
        said = self.critic(x)
        return binary_cross_entropy_with_logits(said, torch.full_like(said, truth))

    @torch.no_grad()
    def sample(self, n: int, seed: int) -> Tensor:
        """Return pictures in [0, 1]."""
        self.maker.eval()
        with seeded(seed, "gan draws"):
            z = torch.randn(n, self.latent)
        return torch.cat([(self.maker(some) + 1) / 2 for some in z.split(500)])


class Diffusion:
    """Denoising Diffusion Probabilistic Models (Ho et al., 2020), https://arxiv.org/abs/2006.11239.

    A small U-net says the noise; 100 steps with the cosine schedule of Nichol & Dhariwal (2021),
    https://arxiv.org/abs/2102.09672; samples by the moving average of the weights.
    """

    def __init__(self, seed: int, steps: int = 100, width: int = 16, rate: float = 1e-3) -> None:
        with seeded(seed, "diffusion"):
            self.net = UNet(width)
        self.mean = torch.optim.swa_utils.AveragedModel(self.net, avg_fn=_followed)
        self.steps, self.rate = steps, rate
        t = torch.arange(steps + 1) / steps
        level = torch.cos((t + 0.008) / 1.008 * math.pi / 2).square()
        self.betas = (1 - level[1:] / level[:-1]).clamp(max=0.999)
        self.kept = (1 - self.betas).cumprod(0)

    def train(self, x: Tensor, seed: int, seconds: float) -> None:
        """Train for so long on pictures in [0, 1]."""
        optimizer = torch.optim.Adam(self.net.parameters(), self.rate)
        with seeded(seed, "diffusion trains"):
            for real, gone in batches(x, seed, seconds):
                optimizer.param_groups[0]["lr"] = self.rate * (1 + math.cos(math.pi * gone)) / 2
                t = torch.randint(self.steps, (len(real),))
                eps, kept = torch.randn_like(real), self.kept[t][:, None, None, None]
                said = self.net(kept.sqrt() * real + (1 - kept).sqrt() * eps, t / self.steps)
                _step(optimizer, mse_loss(said, eps))
                self.mean.update_parameters(self.net)

    @torch.no_grad()
    def sample(self, n: int, seed: int) -> Tensor:
        """Return pictures in [0, 1]."""
        with seeded(seed, "diffusion draws"):
            return torch.cat([self._drawn(len(some)) for some in torch.arange(n).split(250)])

    def _drawn(self, n: int) -> Tensor:
        x = torch.randn(n, 1, 28, 28)
        for step in reversed(range(self.steps)):
            beta, kept = self.betas[step], self.kept[step]
            before = self.kept[step - 1] if step else torch.tensor(1.0)
            said = self.mean(x, torch.full((n,), step / self.steps))
            clean = ((x - (1 - kept).sqrt() * said) / kept.sqrt()).clamp(-1, 1)
            mean = before.sqrt() * beta * clean + (1 - beta).sqrt() * (1 - before) * x
            spread = (beta * (1 - before) / (1 - kept)).sqrt()
            x = mean / (1 - kept) + spread * torch.randn_like(x)
        return (x.clamp(-1, 1) + 1) / 2


def _followed(mean: Tensor, new: Tensor, seen: Tensor | int) -> Tensor:
    """Return a moving average that forgets its start, however few steps there are."""
    keep = min(0.995, (1 + float(seen)) / (10 + float(seen)))
    return mean + (1 - keep) * (new - mean)


class UNet(nn.Module):
    """From noisy pictures of 28 x 28 and times to the noise."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.told = nn.Sequential(nn.Linear(16, 4 * width), nn.SiLU())
        self.enter = nn.Conv2d(1, width, 3, padding=1)
        self.down = Block(width, width, 4 * width)
        self.halve = nn.Conv2d(width, 2 * width, 4, 2, 1)
        self.middle = Block(2 * width, 2 * width, 4 * width)
        self.again = nn.Conv2d(2 * width, 2 * width, 4, 2, 1)
        self.deep = Block(2 * width, 2 * width, 4 * width)
        self.rise = nn.ConvTranspose2d(2 * width, 2 * width, 4, 2, 1)
        self.up = Block(4 * width, 2 * width, 4 * width)
        self.last_rise = nn.ConvTranspose2d(2 * width, width, 4, 2, 1)
        self.last = Block(2 * width, width, 4 * width)
        self.out = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Return the noise, with the shape of ``x``."""
        waves = t[:, None] * math.pi * 2.0 ** torch.arange(8)
        told = self.told(torch.cat([waves.sin(), waves.cos()], 1))
        first = self.down(self.enter(x), told)
        second = self.middle(self.halve(first), told)
        deep = self.deep(self.again(second), told)
        h = self.up(torch.cat([self.rise(deep), second], 1), told)
        found: Tensor = self.out(self.last(torch.cat([self.last_rise(h), first], 1), told))
        return found


class Block(nn.Module):
    """Two convolutions with a short cut, told the time in between."""

    def __init__(self, inputs: int, outputs: int, told: int) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.GroupNorm(8, inputs), nn.SiLU(), nn.Conv2d(inputs, outputs, 3, padding=1)
        )
        self.told = nn.Linear(told, outputs)
        self.second = nn.Sequential(
            nn.GroupNorm(8, outputs), nn.SiLU(), nn.Conv2d(outputs, outputs, 3, padding=1)
        )
        self.short = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        """Return maps of as many places."""
        h = self.first(x) + self.told(told)[:, :, None, None]
        found: Tensor = self.short(x) + self.second(h)
        return found


def _step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


RIVALS: dict[str, Callable[[int], GAN | Diffusion]] = {"GAN": GAN, "diffusion": Diffusion}
