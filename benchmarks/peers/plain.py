"""An ordinary PyTorch loop, in the style of the VAE that ships with the PyTorch examples."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn, optim
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.peers import nets
from benchmarks.peers.trial import Clock, main
from benchmarks.peers.works import LEARNING_RATE, Work


class VAE(nn.Module):
    """The model of the example: two linear layers give the mean and the log-variance."""

    def __init__(self, work: Work) -> None:
        super().__init__()
        self.trunk = nets.trunk(work)
        self.mean = nn.Linear(nets.features(work), work.latent)
        self.logvar = nn.Linear(nets.features(work), work.latent)
        self.decode = nets.decoder(work)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the reconstruction, the mean and the log-variance."""
        h = self.trunk(x)
        mean, logvar = self.mean(h), self.logvar(h)
        z = mean + torch.randn_like(mean) * torch.exp(0.5 * logvar)
        return self.decode(z), mean, logvar


def losses(work: Work, model: VAE, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distortion and the rate, summed over the batch, nats."""
    px, mean, logvar = model(x)
    rate = -0.5 * torch.sum(1 + logvar - mean.pow(2) - logvar.exp())
    if work.loss == "bce":
        return F.binary_cross_entropy(px, x, reduction="sum"), rate
    return 0.5 * F.mse_loss(px, x, reduction="sum"), rate


def batches(work: Work, x: Tensor) -> DataLoader[tuple[Tensor, ...]]:
    return DataLoader(TensorDataset(x.float() / 255), batch_size=work.batch, shuffle=True)


def steps(work: Work, model: VAE, x: Tensor) -> Iterator[int]:
    """Train for ever; yield the size of each batch when it was learned."""
    loader = batches(work, x)
    optimizer = optim.Adam(model.parameters(), lr=LEARNING_RATE)
    total = 0.0
    while True:
        for (batch,) in loader:
            optimizer.zero_grad()
            loss = sum(losses(work, model, batch)) / len(batch)
            loss.backward()
            total += loss.item()
            optimizer.step()
            yield len(batch)


class Plain:
    """The ordinary loop as a system."""

    name = "plain"

    def train(self, work: Work, x: Tensor, clock: Clock) -> int:
        """Train until the clock is over; return the number of parameters."""
        model = VAE(work)
        for samples in steps(work, model, x):
            if clock.tick(samples):
                break
        return sum(p.numel() for p in model.parameters())

    def quality(
        self, work: Work, x: Tensor, test: Tensor, epochs: int, seed: int
    ) -> tuple[float, float]:
        """Train for some epochs; return distortion and rate of the test pictures, nats."""
        torch.manual_seed(seed)
        model = VAE(work)
        seen = 0
        for samples in steps(work, model, x):
            seen += samples
            if seen >= epochs * len(x):
                break
        return held_out(work, model, test)


@torch.no_grad()
def held_out(work: Work, model: VAE, test: Tensor) -> tuple[float, float]:
    sums = [losses(work, model.eval(), batch) for (batch,) in batches(work, test)]
    distortion, rate = (torch.stack(part).sum().item() for part in zip(*sums, strict=True))
    return distortion / len(test), rate / len(test)


if __name__ == "__main__":
    main(Plain())
