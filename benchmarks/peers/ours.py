"""Varied itself, as a person gets it: `compose`, `Step` and `train` with the defaults of its plan.

How the three systems are held alike, and what `varied_rate` must therefore keep:

- **Data.** `x` is uint8 with shape `(N, C, H, W)`; 0..255 means 0..1, gray levels are not
  binarized. The others make float32 of it before the clock starts; Varied may keep it as it is.
- **Networks.** As in `nets.py`, counted in parameters (weights and biases, two outputs for each
  latent dimension): A is 784-400-20-400-784 with one hidden layer on either side; B and C halve
  the picture with 4x4 convolutions of stride 2, padding 1 and ReLU (channels 32, 64 and
  32, 64, 128, 256, 512), then one linear layer to the posterior; the decoder mirrors it with one
  linear layer and transposed convolutions. No normalization. `train` returns the number of
  trained parameters, and the driver says so where the systems differ by more than 1 %.
- **Loss.** The mean over the batch of the sum over the picture, in nats, and the KL to N(0, I),
  closed form, one sample: `bce` is a Bernoulli on gray levels, `mse` a Gaussian of scale 1 whose
  constant does not matter (the others leave it out).
- **Training.** Adam, learning rate 1e-3, `work.batch` pictures for each step, every epoch in a
  new order, the smaller last batch kept. Precision, fused steps, memory format and compilation
  are what is compared: they may differ, as long as `--quality` shows the same ELBO.
- **Clock.** `clock.tick(samples)` after each step with the pictures of that step (or after
  several steps with their sum); stop when it returns true. What happens before the first tick is
  shown as `startup` and not counted; then `warmup` seconds are not counted either.
- **Quality.** `torch.manual_seed(seed)` or the seed of the plan, `epochs` epochs on all of `x`,
  then distortion and rate of `test` with one sample for each picture, means over the pictures,
  float32.

Only `benchmarks.peers.works` and `benchmarks.peers.trial` are needed; `WORKS[letter]` gives
`shape`, `channels` (empty means the MLP), `latent`, `batch` and `loss`.
"""

from __future__ import annotations

# Before torch, as in a program of its users.
from varied import VAE, Part, Plan, Spec, Step, compose

# isort: split
from torch import Tensor

from benchmarks.peers.trial import Clock, main
from benchmarks.peers.works import LEARNING_RATE, Work
from varied.data import Batches, iter_batches
from varied.data.codecs import ImageCodec
from varied.evaluate import forward_pass
from varied.training_loop import train

#: As a run of ten minutes is trained, compiled where that is repaid.
PLAN = Plan(lr=LEARNING_RATE, lr_schedule="none", lr_warmup=1, minutes=10)


def step_of(work: Work, plan: Plan) -> tuple[VAE, Step]:
    """Return the work's model, and its training step."""
    layers = {"width": 32, "depth": len(work.channels), "hidden": 0}
    spec = Spec(
        net=Part("conv", layers)
        if work.channels
        else Part("mlp", {"width": 400, "depth": 1, "activation": "relu"}),
        likelihood=Part("bernoulli") if work.loss == "bce" else Part("gaussian", {"scale": 1.0}),
        latent=work.latent,
        plan=plan,
    )
    model, objective = compose(spec, work.shape)
    return model, Step(model, objective, ImageCodec(work.shape).load)


def varied_rate(work: Work, x: Tensor, clock: Clock) -> int:
    """Train until `clock.tick(samples)` is true; return the number of trained parameters."""
    model, step = step_of(work, PLAN)
    for event in train(step, Batches(x, size=work.batch, seed=0), PLAN):
        if clock.tick(event.rows):
            break
    return sum(parameter.numel() for parameter in model.parameters())


def varied_quality(
    work: Work, x: Tensor, test: Tensor, epochs: int, seed: int
) -> tuple[float, float]:
    """Train for some epochs; return distortion and rate of the test pictures, nats."""
    plan = Plan(lr=LEARNING_RATE, lr_schedule="none", lr_warmup=1, epochs=epochs, seed=seed)
    model, step = step_of(work, plan)
    for _ in train(step, Batches(x, size=work.batch, seed=seed), plan):
        pass
    found = forward_pass(model, step.load, iter_batches(test, size=1000), seed=seed)
    assert found.rate is not None
    return float(found.reconstruction.mean()), float(found.kl.mean())


class Ours:
    """Varied as a system."""

    name = "varied"
    train = staticmethod(varied_rate)
    quality = staticmethod(varied_quality)


if __name__ == "__main__":
    main(Ours())
