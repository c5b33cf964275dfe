"""Varied with the defaults of its training plan: `compose`, `Step` and `train`.

Rules of the comparison:

- **Data.** `x` is uint8 with shape `(N, C, H, W)`; 0 to 255 represent 0 to 1, and gray levels are
  not binarized. The other systems convert it to float32 before the clock starts.
- **Networks.** As in `nets.py`, with equal parameter counts (weights and biases, two outputs for
  each latent dimension). A is 784-400-20-400-784 with one hidden layer in each network. B and C
  halve the image with 4x4 convolutions of stride 2, padding 1 and ReLU (channels 32, 64 and 32,
  64, 128, 256, 512), followed by a linear layer to the posterior; the decoder mirrors this with a
  linear layer and transposed convolutions. There is no normalization. `train` returns the number
  of trained parameters, and the benchmark warns if the systems differ by more than 1%.
- **Loss.** Mean over the batch of the sum over the image, in nats, plus the KL to N(0, I) in
  closed form, with one sample: `bce` is a Bernoulli on gray levels, `mse` a Gaussian with scale 1
  (whose constant the other systems omit).
- **Training.** Adam with a learning rate of 1e-3 and `task.batch_size` images per step; each
  epoch is shuffled, and the smaller last batch is used. Precision, fused steps, memory format and
  compilation are part of the comparison: they may differ as long as `--quality` shows the same
  ELBO.
- **Clock.** `clock.tick(samples)` is called after each step with its number of images (or after
  several steps with their sum); the training stops when it returns True. The time before the
  first tick is reported as `startup` and not counted, nor are the `warmup` seconds after it.
- **Quality.** After `epochs` epochs on all of `x`, seeded by `torch.manual_seed(seed)` or the
  plan: reconstruction and KL of `test` with one sample per image, averaged over images, in
  float32.
"""

from __future__ import annotations

# Imported before torch, as in a user's program.
from varied import Part, Plan, Spec, Step, compose

# isort: split
from torch import Tensor

from benchmarks.peers.tasks import LEARNING_RATE, Task
from benchmarks.peers.trial import Clock, main
from varied.data import Batches, iter_batches
from varied.data.codecs import ImageCodec
from varied.evaluate import forward_pass
from varied.models import LatentModel
from varied.training_loop import train

#: The plan of a run of ten minutes, which is compiled if that pays off.
PLAN = Plan(lr=LEARNING_RATE, lr_schedule="none", lr_warmup=1, minutes=10)


def build_step(task: Task, plan: Plan) -> tuple[LatentModel, Step]:
    """Return the model of a task, and its training step."""
    conv = {"width": 32, "depth": len(task.channels), "dense_width": 0, "activation": "relu"}
    spec = Spec(
        net=Part("conv", conv)
        if task.channels
        else Part("mlp", {"width": 400, "depth": 1, "activation": "relu"}),
        likelihood=Part("bernoulli") if task.loss == "bce" else Part("gaussian", {"scale": 1.0}),
        latent=task.latent,
        plan=plan,
    )
    model, objective = compose(spec, task.shape)
    return model, Step(model, objective, ImageCodec(task.shape).load)


class Varied:
    """Varied as a system."""

    name = "varied"

    def train(self, task: Task, x: Tensor, clock: Clock) -> int:
        """Train until the clock ends the trial; return the parameter count."""
        model, step = build_step(task, PLAN)
        for event in train(step, Batches(x, size=task.batch_size, seed=0), PLAN):
            if clock.tick(event.rows):
                break
        return sum(parameter.numel() for parameter in model.parameters())

    def quality(
        self, task: Task, x: Tensor, test: Tensor, epochs: int, seed: int
    ) -> tuple[float, float]:
        """Train for some epochs; return reconstruction and KL of the test images in nats."""
        plan = Plan(lr=LEARNING_RATE, lr_schedule="none", lr_warmup=1, epochs=epochs, seed=seed)
        model, step = build_step(task, plan)
        for _ in train(step, Batches(x, size=task.batch_size, seed=seed), plan):
            pass
        result = forward_pass(model, step.load, iter_batches(test, size=1000), seed=seed)
        assert result.kl is not None
        return float(result.reconstruction.mean()), float(result.kl.mean())


if __name__ == "__main__":
    main(Varied())
