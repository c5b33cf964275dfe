"""A small GAN and a small diffusion model as baselines.

Both follow their papers with common settings for MNIST, and have about as many parameters as the
VAE they are compared with.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss

from varied.seeding import permutation, seeded

BATCH_SIZE = 128


def timed_batches(x: Tensor, seed: int, seconds: float) -> Iterator[tuple[Tensor, float]]:
    """Yield batches in [-1, 1] and the elapsed fraction of the time, until the time is over."""
    begin, epoch = time.perf_counter(), 0
    while True:
        for rows in permutation(len(x), seed, "rival", epoch).split(BATCH_SIZE):
            fraction = (time.perf_counter() - begin) / seconds
            if fraction >= 1:
                return
            yield 2 * x[rows] - 1, fraction
        epoch += 1


class GAN:
    """Generative Adversarial Networks (Goodfellow et al., 2014), https://arxiv.org/abs/1406.2661.

    Networks and learning rate are those of DCGAN (Radford et al., 2015),
    https://arxiv.org/abs/1511.06434, for 28 x 28 pixels, with the non-saturating loss.
    """

    def __init__(self, seed: int, latent: int = 64, lr: float = 2e-4, width: int = 64) -> None:
        with seeded(seed, "gan"):
            self.latent, self.lr = latent, lr
            self.generator = nn.Sequential(
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
            self.discriminator = nn.Sequential(
                nn.Conv2d(1, width, 4, 2, 1),
                nn.LeakyReLU(0.2),
                nn.Conv2d(width, 2 * width, 4, 2, 1),
                nn.BatchNorm2d(2 * width),
                nn.LeakyReLU(0.2),
                nn.Flatten(),
                nn.Linear(2 * width * 49, 1),
            )

    def train(self, x: Tensor, seed: int, seconds: float) -> None:
        """Train on images in [0, 1] for a given time."""
        g_optimizer = torch.optim.Adam(self.generator.parameters(), self.lr, (0.5, 0.999))
        d_optimizer = torch.optim.Adam(self.discriminator.parameters(), self.lr, (0.5, 0.999))
        with seeded(seed, "gan trains"):
            for real, _ in timed_batches(x, seed, seconds):
                fake = self.generator(torch.randn(len(real), self.latent))
                _step(d_optimizer, self._loss(real, 1.0) + self._loss(fake.detach(), 0.0))
                _step(g_optimizer, self._loss(fake, 1.0))

    def _loss(self, x: Tensor, target: float) -> Tensor:
        logits = self.discriminator(x)
        return binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))

    @torch.no_grad()
    def sample(self, n: int, seed: int) -> Tensor:
        """Return images in [0, 1]."""
        self.generator.eval()
        with seeded(seed, "gan draws"):
            z = torch.randn(n, self.latent)
        return torch.cat([(self.generator(batch) + 1) / 2 for batch in z.split(500)])


class Diffusion:
    """Denoising Diffusion Probabilistic Models (Ho et al., 2020), https://arxiv.org/abs/2006.11239.

    A small U-Net predicts the noise, with 100 steps and the cosine schedule of Nichol & Dhariwal
    (2021), https://arxiv.org/abs/2102.09672. Samples use a moving average of the weights.
    """

    def __init__(self, seed: int, steps: int = 100, width: int = 16, lr: float = 1e-3) -> None:
        with seeded(seed, "diffusion"):
            self.net = UNet(width)
        self.ema = torch.optim.swa_utils.AveragedModel(self.net, avg_fn=_ema_update)
        self.steps, self.lr = steps, lr
        t = torch.arange(steps + 1) / steps
        level = torch.cos((t + 0.008) / 1.008 * math.pi / 2).square()
        self.betas = (1 - level[1:] / level[:-1]).clamp(max=0.999)
        self.alpha_bars = (1 - self.betas).cumprod(0)

    def train(self, x: Tensor, seed: int, seconds: float) -> None:
        """Train on images in [0, 1] for a given time."""
        optimizer = torch.optim.Adam(self.net.parameters(), self.lr)
        with seeded(seed, "diffusion trains"):
            for real, fraction in timed_batches(x, seed, seconds):
                optimizer.param_groups[0]["lr"] = self.lr * (1 + math.cos(math.pi * fraction)) / 2
                t = torch.randint(self.steps, (len(real),))
                noise, alpha_bar = torch.randn_like(real), self.alpha_bars[t][:, None, None, None]
                noisy = alpha_bar.sqrt() * real + (1 - alpha_bar).sqrt() * noise
                _step(optimizer, mse_loss(self.net(noisy, t / self.steps), noise))
                self.ema.update_parameters(self.net)

    @torch.no_grad()
    def sample(self, n: int, seed: int) -> Tensor:
        """Return images in [0, 1]."""
        with seeded(seed, "diffusion draws"):
            return torch.cat([self._sample(len(rows)) for rows in torch.arange(n).split(250)])

    def _sample(self, n: int) -> Tensor:
        x = torch.randn(n, 1, 28, 28)
        for step in reversed(range(self.steps)):
            beta, alpha_bar = self.betas[step], self.alpha_bars[step]
            previous = self.alpha_bars[step - 1] if step else torch.tensor(1.0)
            noise = self.ema(x, torch.full((n,), step / self.steps))
            clean = ((x - (1 - alpha_bar).sqrt() * noise) / alpha_bar.sqrt()).clamp(-1, 1)
            mean = previous.sqrt() * beta * clean + (1 - beta).sqrt() * (1 - previous) * x
            std = (beta * (1 - previous) / (1 - alpha_bar)).sqrt()
            x = mean / (1 - alpha_bar) + std * torch.randn_like(x)
        return (x.clamp(-1, 1) + 1) / 2


def _ema_update(mean: Tensor, new: Tensor, count: Tensor | int) -> Tensor:
    """Return a moving average that forgets the initial weights within a few steps."""
    decay = min(0.995, (1 + float(count)) / (10 + float(count)))
    return mean + (1 - decay) * (new - mean)


class UNet(nn.Module):
    """A network that predicts the noise in images of 28 x 28 pixels at given times."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.time = nn.Sequential(nn.Linear(16, 4 * width), nn.SiLU())
        self.input = nn.Conv2d(1, width, 3, padding=1)
        self.down1 = Block(width, width, 4 * width)
        self.halve1 = nn.Conv2d(width, 2 * width, 4, 2, 1)
        self.down2 = Block(2 * width, 2 * width, 4 * width)
        self.halve2 = nn.Conv2d(2 * width, 2 * width, 4, 2, 1)
        self.middle = Block(2 * width, 2 * width, 4 * width)
        self.double2 = nn.ConvTranspose2d(2 * width, 2 * width, 4, 2, 1)
        self.up2 = Block(4 * width, 2 * width, 4 * width)
        self.double1 = nn.ConvTranspose2d(2 * width, width, 4, 2, 1)
        self.up1 = Block(2 * width, width, 4 * width)
        self.output = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Return the predicted noise, with the shape of ``x``."""
        phase = t[:, None] * math.pi * 2.0 ** torch.arange(8)
        time = self.time(torch.cat([phase.sin(), phase.cos()], 1))
        skip1 = self.down1(self.input(x), time)
        skip2 = self.down2(self.halve1(skip1), time)
        h = self.middle(self.halve2(skip2), time)
        h = self.up2(torch.cat([self.double2(h), skip2], 1), time)
        noise: Tensor = self.output(self.up1(torch.cat([self.double1(h), skip1], 1), time))
        return noise


class Block(nn.Module):
    """A residual block of two convolutions, with a time embedding added between them."""

    def __init__(self, inputs: int, outputs: int, time_features: int) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.GroupNorm(8, inputs), nn.SiLU(), nn.Conv2d(inputs, outputs, 3, padding=1)
        )
        self.time = nn.Linear(time_features, outputs)
        self.second = nn.Sequential(
            nn.GroupNorm(8, outputs), nn.SiLU(), nn.Conv2d(outputs, outputs, 3, padding=1)
        )
        self.shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """Return feature maps of the same size."""
        h = self.first(x) + self.time(time)[:, :, None, None]
        output: Tensor = self.shortcut(x) + self.second(h)
        return output


def _step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
