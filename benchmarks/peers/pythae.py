"""Pythae, trained by its own `BaseTrainer` with the networks of the works."""

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
from benchmarks.peers.trial import Clock, main
from benchmarks.peers.works import LEARNING_RATE, Work

FOREVER = 1_000_000


class Encoder(BaseEncoder):
    """The trunk of the work with Pythae's two outputs."""

    def __init__(self, work: Work) -> None:
        super().__init__()
        self.trunk = nets.trunk(work)
        self.mean = nn.Linear(nets.features(work), work.latent)
        self.logvar = nn.Linear(nets.features(work), work.latent)

    def forward(self, x: Tensor) -> ModelOutput:
        """Return the mean and the log-variance under Pythae's names."""
        h = self.trunk(x)
        return ModelOutput(embedding=self.mean(h), log_covariance=self.logvar(h))


class Decoder(BaseDecoder):
    """The decoder of the work with Pythae's output."""

    def __init__(self, work: Work) -> None:
        super().__init__()
        self.net = nets.decoder(work)

    def forward(self, z: Tensor) -> ModelOutput:
        """Return the reconstruction under Pythae's name."""
        return ModelOutput(reconstruction=self.net(z))


class Over(Exception):
    """The trial is over: Pythae's trainer stops by epochs alone."""


class Ticker(TrainingCallback):
    """Ticks the clock after each step, the smaller last batch of an epoch included."""

    def __init__(self, clock: Clock, work: Work, size: int) -> None:
        self.clock = clock
        self.batch = work.batch
        self.size = size
        self.seen = 0

    def on_train_step_end(self, training_config: BaseTrainerConfig, **kwargs: object) -> None:
        """Count one batch."""
        samples = min(self.batch, self.size - self.seen)
        self.seen = (self.seen + samples) % self.size
        if self.clock.tick(samples):
            raise Over


def build(work: Work) -> VAE:
    config = VAEConfig(input_dim=work.shape, latent_dim=work.latent, reconstruction_loss=work.loss)
    return VAE(config, encoder=Encoder(work), decoder=Decoder(work))


def dataset(x: Tensor) -> BaseDataset:
    return BaseDataset(x.float() / 255, torch.ones(len(x)))


def fit(
    work: Work,
    model: VAE,
    x: Tensor,
    epochs: int,
    seed: int = 0,
    callbacks: Iterable[TrainingCallback] = (),
) -> None:
    """Train with Pythae's own trainer, whose files go to a folder that is removed."""
    with tempfile.TemporaryDirectory() as folder:
        config = BaseTrainerConfig(
            output_dir=folder,
            per_device_train_batch_size=work.batch,
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

    def train(self, work: Work, x: Tensor, clock: Clock) -> int:
        """Train until the clock is over; return the number of parameters."""
        model = build(work)
        with suppress(Over):
            fit(work, model, x, FOREVER, callbacks=[Ticker(clock, work, len(x))])
        return sum(p.numel() for p in model.parameters())

    def quality(
        self, work: Work, x: Tensor, test: Tensor, epochs: int, seed: int
    ) -> tuple[float, float]:
        """Train for some epochs; return distortion and rate of the test pictures, nats."""
        torch.manual_seed(seed)
        model = build(work)
        fit(work, model, x, epochs, seed)
        return held_out(work, model, test)


@torch.no_grad()
def held_out(work: Work, model: VAE, test: Tensor) -> tuple[float, float]:
    model.eval()
    distortion = rate = 0.0
    for batch in (test.float() / 255).split(work.batch):
        output = model(DatasetOutput(data=batch))
        distortion += output.recon_loss.item() * len(batch)
        rate += output.reg_loss.item() * len(batch)
    return distortion / len(test), rate / len(test)


if __name__ == "__main__":
    main(Pythae())
