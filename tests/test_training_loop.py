"""Test that the training loop is reproducible, resumable, and robust to non-finite gradients."""

from __future__ import annotations

import dataclasses
import itertools
import math
import random
from collections import deque

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from varied import runtime
from varied.composition import compose
from varied.data.batches import Batch, Batches
from varied.errors import VariedError
from varied.seeding import seed_torch
from varied.spec import Plan, Spec
from varied.training_loop import PATIENCE, ema_weights, train
from varied.training_state import TrainingState
from varied.training_step import Step

SHAPE, ROWS, BATCH_SIZE = (1, 6, 5), 50, 16

MLP = {"net": {"name": "mlp", "width": 16}}
KINDS = {
    "mlp": MLP,
    "conv": {"net": {"name": "conv", "width": 4}, "likelihood": "gaussian"},
    "resnet": {"net": {"name": "resnet", "width": 4}, "likelihood": "categorical"},
    "context": MLP | {"context": 3},
    "film": {"net": {"name": "conv", "width": 4}, "context": 3, "conditioning": "film"},
    "annealed": MLP
    | {"objective": {"name": "elbo", "beta": "linear(0, 1, 9)", "free_bits": "cosine(1, 0, 7)"}},
    "autoencoder": MLP | {"posterior": "deterministic", "objective": "reconstruction"},
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def plan_of(**changes):
    still = {"precision": "float32", "compile": "no", "threads": 1}
    defaults = {"batch_size": BATCH_SIZE, "steps": 13, "lr_warmup": 3, "lr": 1e-2}
    return Plan(**(still | defaults | changes))


def new_step(kind="mlp", seed=0, masked=False):
    """Return a training step with seeded weights, and batches that do not depend on the seed."""
    spec = Spec.parse(**KINDS[kind], latent=3, plan={"seed": seed})
    step = Step(*compose(spec, SHAPE))
    generator = torch.Generator().manual_seed(7)
    x = torch.rand(ROWS, *SHAPE, generator=generator).round()
    c = torch.randn(ROWS, spec.context, generator=generator) if spec.context else None
    mask = torch.rand(x.shape, generator=generator).round() if masked else None
    return step, Batches(x, c, mask, size=BATCH_SIZE, seed=0)


def train_to_end(step, batches, plan, state=None):
    """Train to the end; return the last event, or None if there was no step."""
    events = deque(train(step, batches, plan, state), maxlen=1)
    return events.pop() if events else None


def cloned(tensors):
    return {name: tensor.clone() for name, tensor in tensors.items()}


def has_weights(step, weights):
    state = step.state_dict()
    return state.keys() == weights.keys() and all(torch.equal(state[k], weights[k]) for k in state)


def checkpoint(event, step):
    """Return copies of the state and the weights after an event."""
    state = event.snapshot()
    state = dataclasses.replace(state, moments=cloned(state.moments))
    return state, cloned(step.state_dict())


def checkpoint_at(number, step, events):
    return next(checkpoint(event, step) for event in events if event.state.step == number)


# Reproducibility


@every_kind
def test_same_seed_gives_the_same_weights(kind):
    steps = []
    for previous_seed in (1, 2):
        torch.manual_seed(previous_seed)
        step, batches = new_step(kind)
        train_to_end(step, batches, plan_of())
        steps.append(step)
    assert has_weights(steps[0], steps[1].state_dict())


def test_different_seeds_give_different_weights():
    steps = []
    for seed in (0, 1):
        step, batches = new_step()
        train_to_end(step, batches, plan_of(seed=seed))
        steps.append(step)
    assert not has_weights(steps[0], steps[1].state_dict())


def test_noise_is_a_function_of_seed_and_step():
    step, batches = new_step()
    first = batches.at(0)
    batches.at = lambda _: first
    losses = [e.parts["loss"].item() for e in train(step, batches, plan_of(lr=1e-30, lr_warmup=0))]
    assert len(set(losses)) == len(losses)
    for i, loss in enumerate(losses):
        seed_torch(0, "step", i)
        assert step(first.x)[0].item() == pytest.approx(loss, rel=1e-5)


def test_random_draws_and_snapshots_between_steps_change_nothing():
    (step, batches), (other, _) = new_step(), new_step()
    train_to_end(step, batches, plan_of())
    for event in train(other, batches, plan_of()):
        torch.rand(100)
        event.snapshot()
    assert has_weights(other, step.state_dict())


# Resuming


@every_kind
@pytest.mark.parametrize(("masked", "ema"), [(False, 0.0), (True, 0.0), (False, 0.9)])
def test_resumed_training_equals_uninterrupted_training(kind, masked, ema):
    plan = plan_of(ema_decay=ema)
    uninterrupted, batches = new_step(kind, masked=masked)
    end = train_to_end(uninterrupted, batches, plan)
    for stop in random.Random(kind).sample(range(1, 13), 3):
        step, _ = new_step(kind)
        events = train(step, batches, plan)
        state, weights = checkpoint_at(stop, step, events)
        next(events)  # this step is after the checkpoint, so it is lost
        resumed, batches = new_step(kind, seed=99, masked=masked)
        resumed.load_state_dict(weights)
        event = train_to_end(resumed, batches, plan, state)
        assert has_weights(resumed, uninterrupted.state_dict()), stop
        assert event.state.step == end.state.step == 13
        assert event.parts["loss"] == end.parts["loss"]


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_training_resumed_several_times_equals_uninterrupted_training(ema):
    plan = plan_of(steps=20, ema_decay=ema)
    uninterrupted, batches = new_step()
    train_to_end(uninterrupted, batches, plan)
    step, state = new_step()[0], None
    for stop in (4, 5, 17, 20):
        state, weights = checkpoint_at(stop, step, train(step, batches, plan, state))
        step, _ = new_step(seed=stop)
        step.load_state_dict(weights)
    assert train_to_end(step, batches, plan, state) is None  # the last checkpoint is complete
    assert has_weights(step, uninterrupted.state_dict())


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_resuming_completed_training_changes_nothing(ema):
    step, batches = new_step()
    plan = plan_of(ema_decay=ema)
    state, weights = checkpoint(train_to_end(step, batches, plan), step)
    assert train_to_end(step, batches, plan, state) is None
    assert has_weights(step, weights)


# Moving averages of the weights


@pytest.mark.parametrize("decay", [0.3, 0.5, 0.99])
def test_averages_follow_their_definition(decay):
    step, batches = new_step()
    averages = None
    for event in train(step, batches, plan_of(ema_decay=decay)):
        t, params = event.state.step - 1, [p.detach().double() for p in step.model.parameters()]
        d = min(decay, (1 + t) / (10 + t))
        pairs = zip(averages or params, params, strict=True)
        averages = [d * average + (1 - d) * param for average, param in pairs]
    for average, weights in zip(averages, step.model.parameters(), strict=True):
        torch.testing.assert_close(weights.detach().double(), average, rtol=1e-5, atol=1e-6)


def test_averages_do_not_change_the_training():
    (step, batches), (averaged, _) = new_step(), new_step()
    logs = [
        [(e.parts["loss"].item(), e.norm) for e in train(s, batches, plan_of(ema_decay=ema))]
        for s, ema in ((step, 0.0), (averaged, 0.9))
    ]
    assert logs[0] == logs[1]
    assert not has_weights(averaged, step.state_dict())


@pytest.mark.parametrize("error", [None, KeyboardInterrupt])
def test_ema_weights_restores_the_weights(error):
    step, batches = new_step()
    events = train(step, batches, plan_of(ema_decay=0.5))
    state = [next(events) for _ in range(6)][-1].snapshot()
    weights = cloned(step.state_dict())
    try:
        with ema_weights(step, state):
            for name, param in step.named_parameters():
                assert torch.equal(param, state.moments[f"average/{name}"])
                assert not torch.equal(param, weights[name])
            if error:
                raise error
    except KeyboardInterrupt:
        pass
    assert has_weights(step, weights)


def test_averages_are_computed_on_request_only():
    moments = train_to_end(*new_step(), plan_of()).state.moments
    assert not any("average" in name for name in moments)


@pytest.mark.parametrize("decay", [-0.1, 1.0, 2])
def test_invalid_decay_raises(decay):
    with pytest.raises(VariedError, match=r"must be at least 0 and below 1; 0\.999 is typical"):
        Plan(ema_decay=decay)


# Non-finite gradients


class CorruptBatches:
    """Batches in which a number is added to the values of some batches.

    Arguments:
        batches: The batches.
        steps: The steps whose batches are corrupted.
        offset: The number to add, such as NaN or a large number.
    """

    def __init__(self, batches, steps, offset=math.nan):
        self.batches, self.steps, self.offset = batches, steps, offset
        self.steps_per_epoch = batches.steps_per_epoch

    def at(self, step):
        batch = self.batches.at(step)
        return Batch(batch.x + self.offset, batch.c, batch.mask) if step in self.steps else batch


@pytest.mark.parametrize("kind", ["mlp", "conv", "autoencoder"])
def test_batch_of_nan_is_skipped_and_counted(kind):
    step, batches = new_step(kind)
    corrupt, before = {2, 3, 7}, {}
    for event in train(step, CorruptBatches(batches, corrupt), plan_of()):
        is_corrupt = event.state.step - 1 in corrupt
        if before:
            assert has_weights(step, before) == is_corrupt
        assert math.isfinite(event.norm) is not is_corrupt
        assert all(p.isfinite().all() for p in step.parameters())
        before = cloned(step.state_dict())
    assert event.state.skipped == len(corrupt)
    assert event.state.step == 13


@pytest.mark.parametrize("corrupt", [set(), {4}])
def test_infinite_gradient_is_skipped(corrupt):
    step, batches = new_step("conv")
    event = train_to_end(step, CorruptBatches(batches, corrupt, 1e30), plan_of())
    assert event.state.skipped == len(corrupt)
    assert all(p.isfinite().all() for p in step.parameters())


def test_consecutive_gradients_that_are_not_finite_raise():
    step, batches = new_step()
    before = cloned(step.state_dict())
    events = train(step, CorruptBatches(batches, range(10**6)), plan_of(steps=1000))
    for _ in range(PATIENCE - 1):
        next(events)
    with pytest.raises(VariedError, match=r"lower the learning rate \(--lr\)") as error:
        next(events)
    assert "\n" not in str(error.value)
    assert has_weights(step, before)


def test_patience_counts_consecutive_steps():
    step, batches = new_step()
    corrupt = set(range(200)) - set(range(0, 200, PATIENCE - 1))
    event = train_to_end(step, CorruptBatches(batches, corrupt), plan_of(steps=150))
    assert event.state.skipped == len(corrupt & set(range(150)))


# Length


@pytest.mark.parametrize(
    ("length", "steps"),
    [
        ({"steps": 5}, 5),
        ({"epochs": 1}, 3),
        ({"epochs": 2}, 6),
        ({"epochs": 0.5}, 2),
        ({"epochs": 0.01}, 1),
        ({}, 60),  # 20 epochs by default
    ],
    ids=str,
)
def test_length_in_steps_and_epochs(length, steps):
    step, batches = new_step()
    events = list(train(step, batches, plan_of(**{"steps": 0} | length)))
    assert batches.steps_per_epoch == 3
    assert events[-1].state.step == len(events) == steps
    assert events[-1].epoch == pytest.approx(steps / 3)


def test_length_in_minutes():
    event = train_to_end(*new_step(), plan_of(steps=0, minutes=0.02))
    assert 1.2 / 1.6 < event.state.seconds < 1.2 * 1.6
    assert event.lr < 0.05 * plan_of().lr


def test_the_first_of_two_limits_ends_the_training():
    plan = plan_of(steps=0, epochs=40)
    (step, batches), (other, _) = new_step(), new_step()
    train_to_end(step, batches, plan)
    event = train_to_end(other, batches, dataclasses.replace(plan, minutes=10.0))
    assert event.state.step == 120
    assert has_weights(other, step.state_dict())
    event = train_to_end(*new_step(), plan_of(steps=10**7, minutes=0.02))
    assert 1.2 / 1.6 < event.state.seconds < 1.2 * 1.6


def states_with_budget(budget, durations, num_steps=math.inf):
    """Yield the state after each step of a training run with a time budget and given step times."""
    state = TrainingState(total=num_steps)
    for seconds in durations:
        if state.progress >= 1:
            return
        state.step += 1
        state.seconds += seconds
        state.update_total(budget, num_steps)
        yield dataclasses.replace(state)


@given(st.floats(0.01, 5), st.floats(0, 1))
def test_progress_at_constant_speed_is_the_used_fraction_of_the_budget(seconds, fraction):
    budget = 600 * (seconds + fraction)
    states = list(states_with_budget(budget, [seconds] * 10**5))
    assert states[-1].seconds == pytest.approx(budget, abs=1.01 * seconds)
    assert all(abs(s.progress - s.seconds / budget) < 0.02 for s in states)
    assert all(a.progress <= b.progress for a, b in itertools.pairwise(states[: len(states) // 2]))


@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=40), st.integers(1, 400))
def test_budget_holds_at_varying_speed(speeds, repeats):
    durations = itertools.chain.from_iterable(itertools.repeat(s, repeats) for s in speeds)
    durations = itertools.chain(durations, itertools.repeat(speeds[-1], 10**5))
    states = list(states_with_budget(900.0, durations))
    assert all(0 <= state.progress <= 1 for state in states)
    assert 900 / 1.1 - 10 <= states[-1].seconds <= 900 * 1.1 + 10


def test_progress_until_a_number_of_steps_does_not_depend_on_the_speed():
    durations = [random.Random(0).uniform(0.1, 1) for _ in range(500)]
    states = list(states_with_budget(900.0, durations, num_steps=500))
    assert [state.progress for state in states] == [step / 500 for step in range(1, 501)]


def test_a_budget_that_ends_before_the_number_of_steps_holds():
    states = list(states_with_budget(900.0, [0.1] * 1000 + [1.0] * 10**4, num_steps=2000))
    assert states[-1].seconds == pytest.approx(900, rel=0.02)
    assert states[-1].step < 2000


@pytest.mark.parametrize("decay", ["cosine", "linear"])
def test_the_learning_rate_of_a_shortened_training_decays_to_zero(decay):
    plan, rates = plan_of(steps=200, lr_schedule=decay, lr_warmup=0), []
    for event in train(*new_step(), plan):
        rates.append(event.lr)
        if event.state.step == 60:
            event.state.shorten(30, restored_step=50)
    assert len(rates) == 90
    assert rates[60] == pytest.approx(rates[59], rel=0.02)
    assert rates[-1] < 0.03 * plan.lr
    assert all(a >= b for a, b in itertools.pairwise(rates))


@pytest.mark.parametrize(("step", "progress"), [(0, 0), (2, 0.25), (8, 1), (9, 1)])
def test_progress_of_a_known_length_is_the_fraction_of_the_steps(step, progress):
    assert TrainingState(step=step, total=8).progress == progress


def test_progress_of_an_unknown_length_is_zero():
    assert TrainingState(step=5).progress == 0


# Events


@pytest.mark.parametrize(("decay", "last"), [("cosine", 0.0), ("linear", 0.0), ("none", 1e-2)])
def test_learning_rate_warms_up_and_decays(decay, last):
    plan = plan_of(lr_schedule=decay, steps=200, lr_warmup=10)
    rates = [event.lr for event in train(*new_step(), plan)]
    assert rates[0] == pytest.approx(plan.lr / 10)
    assert max(rates) == pytest.approx(plan.lr, rel=0.1)
    assert rates[-1] == pytest.approx(last, abs=0.01 * plan.lr)
    assert all(a >= b for a, b in itertools.pairwise(rates[10:]))


def test_event_has_the_parts_of_the_loss():
    for i, event in enumerate(train(*new_step("annealed"), plan_of())):
        assert {"loss", "reconstruction", "kl", "beta"} <= event.parts.keys()
        assert event.parts["beta"].item() == pytest.approx(min(i / 9, 1))
        assert not any(value.requires_grad for value in event.parts.values())
        assert event.rows == BATCH_SIZE
        assert event.norm > 0


def test_frozen_schedules_have_their_final_values():
    step, batches = new_step("annealed")
    step = Step(step.model, step.objective, freeze_schedules=True)
    assert {event.parts["beta"].item() for event in train(step, batches, plan_of())} == {1.0}


def test_gradients_are_clipped():
    step, batches = new_step()
    for event in train(step, batches, plan_of(grad_clip=0.5)):
        norm = torch.nn.utils.get_total_norm([p.grad for p in step.parameters()])
        assert event.norm > 0.5
        assert norm.item() == pytest.approx(0.5, rel=1e-3)


def test_training_lowers_the_loss():
    step, _ = new_step()
    constant = torch.tensor([0.0, 1.0]).reshape(2, 1, 1, 1).expand(2, *SHAPE)
    batches = Batches(constant.repeat(20, 1, 1, 1), size=BATCH_SIZE, seed=0)
    event = train_to_end(step, batches, plan_of(steps=300))
    assert event.parts["loss"] < 10  # 30 log 2 = 20.8 nats at first; the optimum is log 2


def test_training_prints_nothing(capsys):
    train_to_end(*new_step(), plan_of())
    assert capsys.readouterr() == ("", "")


# Setup


def test_autotune_keeps_what_the_plan_fixes_and_changes_no_weight():
    step, batches = new_step()
    before, x = cloned(step.state_dict()), batches.at(0).x
    setup = runtime.autotune(step, lambda: step(x)[0], plan_of(precision="bfloat16"))
    if setup.device == "cpu":
        assert (setup.threads, setup.compile) == (1, False)
    assert setup.precision == "bfloat16"
    assert has_weights(step, before)
    assert all(p.grad is None for p in step.parameters())


@every_kind
def test_half_precision_keeps_float32_weights(kind):
    step, batches = new_step(kind)
    event = train_to_end(step, batches, plan_of(precision="bfloat16"))
    assert event.parts["loss"].isfinite()
    assert {p.dtype for p in step.parameters()} == {torch.float32}
    assert event.state.skipped == 0


def test_step_converts_stored_bytes():
    step = Step(*compose(Spec.parse(**MLP, latent=3), SHAPE), load=lambda x: x / 255)
    x = torch.randint(2, (ROWS, *SHAPE), dtype=torch.uint8) * 255
    event = train_to_end(step, Batches(x, size=BATCH_SIZE, seed=0), plan_of())
    assert event.state.skipped == 0


@pytest.mark.slow
def test_compiled_training_is_reproducible_and_equals_uncompiled_training():
    def run(seed, compile):
        step, batches = new_step()
        plan = plan_of(steps=12, seed=seed, compile=compile)
        losses = [float(event.parts["loss"]) for event in train(step, batches, plan)]
        return losses, torch.cat([p.detach().flatten() for p in step.parameters()])

    (losses, weights), (_, repeated) = run(0, "yes"), run(0, "yes")
    assert torch.equal(weights, repeated)
    assert not torch.equal(weights, run(1, "yes")[1])
    assert losses == pytest.approx(run(0, "no")[0], rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    "objective",
    [
        {"name": "iwae", "samples": 4, "gradient_estimator": "dreg"},
        {"name": "iwae", "samples": 4, "gradient_estimator": "dreg", "n_kept": 2},
        {"name": "piwae", "n_groups": 2, "samples": 2},
        {"name": "rae", "regularizer": "l2"},
    ],
    ids=str,
)
def test_compiled_objectives_equal_uncompiled_objectives(objective):
    def weights(compile):
        posterior = "deterministic" if objective["name"] == "rae" else "gaussian"
        spec = Spec.parse(latent=3, **MLP, objective=objective, posterior=posterior)
        step, (_, batches) = Step(*compose(spec, SHAPE)), new_step()
        event = train_to_end(step, batches, plan_of(steps=12, compile=compile))
        assert event.state.setup.compile == (compile == "yes")
        return torch.cat([p.detach().flatten() for p in step.parameters()])

    torch.testing.assert_close(weights("yes"), weights("no"), rtol=1e-3, atol=1e-3)
