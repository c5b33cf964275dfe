"""A plain PyTorch training loop, like the VAE of the official PyTorch examples."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn, optim
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.peers import nets
from benchmarks.peers.tasks import LEARNING_RATE, Task
from benchmarks.peers.trial import Clock, main


class VAE(nn.Module):
    """The model of the example: two linear layers give the mean and the log-variance."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.trunk = nets.trunk(task)
        self.mean = nn.Linear(nets.num_features(task), task.latent)
        self.logvar = nn.Linear(nets.num_features(task), task.latent)
        self.decode = nets.decoder(task)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the reconstruction, the mean and the log-variance."""
        h = self.trunk(x)
        mean, logvar = self.mean(h), self.logvar(h)
        z = mean + torch.randn_like(mean) * torch.exp(0.5 * logvar)
        return self.decode(z), mean, logvar


def losses(task: Task, model: VAE, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return reconstruction and KL in nats, summed over the batch."""
    px, mean, logvar = model(x)
    kl = -0.5 * torch.sum(1 + logvar - mean.pow(2) - logvar.exp())
    if task.loss == "bce":
        return F.binary_cross_entropy(px, x, reduction="sum"), kl
    return 0.5 * F.mse_loss(px, x, reduction="sum"), kl


def batches(task: Task, x: Tensor) -> DataLoader[tuple[Tensor, ...]]:
    return DataLoader(TensorDataset(x.float() / 255), batch_size=task.batch_size, shuffle=True)


def train_steps(task: Task, model: VAE, x: Tensor) -> Iterator[int]:
    """Train indefinitely; yield the size of each batch after its step."""
    loader = batches(task, x)
    optimizer = optim.Adam(model.parameters(), lr=LEARNING_RATE)
    total = 0.0
    while True:
        for (batch,) in loader:
            optimizer.zero_grad()
            reconstruction, kl = losses(task, model, batch)
            loss = (reconstruction + kl) / len(batch)
            loss.backward()
            total += loss.item()
            optimizer.step()
            yield len(batch)


class PlainPyTorch:
    """The plain training loop as a system."""

    name = "plain"

    def train(self, task: Task, x: Tensor, clock: Clock) -> int:
        """Train until the clock ends the trial; return the parameter count."""
        model = VAE(task)
        for samples in train_steps(task, model, x):
            if clock.tick(samples):
                break
        return sum(p.numel() for p in model.parameters())

    def quality(
        self, task: Task, x: Tensor, test: Tensor, epochs: int, seed: int
    ) -> tuple[float, float]:
        """Train for some epochs; return reconstruction and KL of the test images in nats."""
        torch.manual_seed(seed)
        model = VAE(task)
        count = 0
        for samples in train_steps(task, model, x):
            count += samples
            if count >= epochs * len(x):
                break
        return evaluate(task, model, test)


@torch.no_grad()
def evaluate(task: Task, model: VAE, test: Tensor) -> tuple[float, float]:
    sums = [losses(task, model.eval(), batch) for (batch,) in batches(task, test)]
    reconstruction, kl = (torch.stack(term).sum().item() for term in zip(*sums, strict=True))
    return reconstruction / len(test), kl / len(test)


if __name__ == "__main__":
    main(PlainPyTorch())
