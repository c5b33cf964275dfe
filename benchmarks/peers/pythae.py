"""Pythae, trained by its `BaseTrainer` with the networks of the tasks."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from contextlib import suppress

import torch
from pythae.data.datasets import BaseDataset, DatasetOutput
from pythae.models import VAE, VAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from pythae.trainers.training_callbacks import TrainingCallback
from torch import Tensor, nn

from benchmarks.peers import nets
from benchmarks.peers.tasks import LEARNING_RATE, Task
from benchmarks.peers.trial import Clock, main

MAX_EPOCHS = 1_000_000


class Encoder(BaseEncoder):
    """The trunk of the task with the two outputs of Pythae."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.trunk = nets.trunk(task)
        self.mean = nn.Linear(nets.num_features(task), task.latent)
        self.logvar = nn.Linear(nets.num_features(task), task.latent)

    def forward(self, x: Tensor) -> ModelOutput:
        """Return the mean and the log-variance under Pythae's names."""
        h = self.trunk(x)
        return ModelOutput(embedding=self.mean(h), log_covariance=self.logvar(h))


class Decoder(BaseDecoder):
    """The decoder of the task with the output of Pythae."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.net = nets.decoder(task)

    def forward(self, z: Tensor) -> ModelOutput:
        """Return the reconstruction under Pythae's name."""
        return ModelOutput(reconstruction=self.net(z))


class TrialEnded(Exception):
    """Raised to stop the trainer, which otherwise stops only after a number of epochs."""


class Ticker(TrainingCallback):
    """Calls the clock after each step, including the smaller last batch of an epoch."""

    def __init__(self, clock: Clock, task: Task, size: int) -> None:
        self.clock = clock
        self.batch_size = task.batch_size
        self.size = size
        self.position = 0

    def on_train_step_end(self, training_config: BaseTrainerConfig, **kwargs: object) -> None:
        """Count one batch."""
        samples = min(self.batch_size, self.size - self.position)
        self.position = (self.position + samples) % self.size
        if self.clock.tick(samples):
            raise TrialEnded


def build(task: Task) -> VAE:
    config = VAEConfig(input_dim=task.shape, latent_dim=task.latent, reconstruction_loss=task.loss)
    return VAE(config, encoder=Encoder(task), decoder=Decoder(task))


def dataset(x: Tensor) -> BaseDataset:
    return BaseDataset(x.float() / 255, torch.ones(len(x)))


def fit(
    task: Task,
    model: VAE,
    x: Tensor,
    epochs: int,
    seed: int = 0,
    callbacks: Iterable[TrainingCallback] = (),
) -> None:
    """Train with Pythae's trainer, whose files are written to a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        config = BaseTrainerConfig(
            output_dir=folder,
            per_device_train_batch_size=task.batch_size,
            num_epochs=epochs,
            learning_rate=LEARNING_RATE,
            seed=seed,
            no_cuda=True,
        )
        listeners = list(callbacks) or None
        BaseTrainer(model, dataset(x), training_config=config, callbacks=listeners).train()


class Pythae:
    """Pythae as a system."""

    name = "pythae"

    def train(self, task: Task, x: Tensor, clock: Clock) -> int:
        """Train until the clock ends the trial; return the parameter count."""
        model = build(task)
        with suppress(TrialEnded):
            fit(task, model, x, MAX_EPOCHS, callbacks=[Ticker(clock, task, len(x))])
        return sum(p.numel() for p in model.parameters())

    def quality(
        self, task: Task, x: Tensor, test: Tensor, epochs: int, seed: int
    ) -> tuple[float, float]:
        """Train for some epochs; return reconstruction and KL of the test images in nats."""
        torch.manual_seed(seed)
        model = build(task)
        fit(task, model, x, epochs, seed)
        return evaluate(task, model, test)


@torch.no_grad()
def evaluate(task: Task, model: VAE, test: Tensor) -> tuple[float, float]:
    model.eval()
    reconstruction = kl = 0.0
    for batch in (test.float() / 255).split(task.batch_size):
        output = model(DatasetOutput(data=batch))
        reconstruction += output.recon_loss.item() * len(batch)
        kl += output.reg_loss.item() * len(batch)
    return reconstruction / len(test), kl / len(test)


if __name__ == "__main__":
    main(Pythae())
