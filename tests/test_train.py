"""The loop: one seed gives one result, whatever stops it, and a bad batch does no harm."""

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
from varied.data.batches import Batch, Batches
from varied.errors import VariedError
from varied.seeding import seed_torch
from varied.spec import Plan, Spec, compose
from varied.training_loop import PATIENCE, Step, TrainingState, ema_weights, train

STILL = {"precision": "float32", "compile": "no", "threads": 1}
SHAPE = (1, 6, 5)
ROWS, SIZE = 50, 16

KINDS = {
    "mlp": {"net": {"name": "mlp", "width": 16}},
    "conv": {"net": {"name": "conv", "width": 4}, "likelihood": "gaussian"},
    "resnet": {"net": {"name": "resnet", "width": 4}, "likelihood": "categorical"},
    "context": {"net": {"name": "mlp", "width": 16}, "context": 3},
    "film": {"net": {"name": "conv", "width": 4}, "context": 3, "conditioning": "film"},
    "annealed": {
        "net": {"name": "mlp", "width": 16},
        "objective": {"name": "elbo", "beta": "linear(0, 1, 9)", "free_bits": "cosine(1, 0, 7)"},
    },
    "autoencoder": {
        "net": {"name": "mlp", "width": 16},
        "posterior": "deterministic",
        "objective": "reconstruction",
    },
}
kinds = pytest.mark.parametrize("kind", KINDS)


def planned(**plan):
    return Plan(**(STILL | {"batch_size": SIZE, "steps": 13, "lr_warmup": 3, "lr": 1e-2} | plan))


def fresh(kind="mlp", seed=0, masked=False):
    """Return a step and its batches; the seed is that of the weights, not of the noise."""
    spec = Spec.of(**KINDS[kind], latent=3, plan={"seed": seed})
    step = Step(*compose(spec, SHAPE))
    draw = torch.Generator().manual_seed(7)
    x = torch.rand(ROWS, *SHAPE, generator=draw).round()
    c = torch.randn(ROWS, spec.context, generator=draw) if spec.context else None
    mask = torch.rand(x.shape, generator=draw).round() if masked else None
    return step, Batches(x, c, mask, size=SIZE, seed=0)


def finish(step, batches, plan, state=None):
    """Run to the end, and return the last event."""
    event = None
    for event in train(step, batches, plan, state):  # noqa: B007
        pass
    return event


def same(one, other):
    """Whether two steps have the same weights, bit for bit."""
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def saved(event, step):
    """Return what a checkpoint holds: copies that later steps do not touch."""
    state = event.snapshot()
    moments = {name: tensor.clone() for name, tensor in state.moments.items()}
    weights = {name: tensor.clone() for name, tensor in step.state_dict().items()}
    return dataclasses.replace(state, moments=moments), weights


# One seed, one result


@kinds
def test_one_seed_gives_one_result(kind):
    ends = []
    for before in (1, 2):
        torch.manual_seed(before)
        step, batches = fresh(kind)
        finish(step, batches, planned())
        ends.append(step)
    assert same(*ends)


def test_another_seed_gives_another():
    ends = []
    for seed in (0, 1):
        step, batches = fresh()
        finish(step, batches, planned(seed=seed))
        ends.append(step)
    assert not same(*ends)


def test_the_noise_of_a_step_is_that_of_seed_and_step():
    step, batches = fresh()
    first = batches.at(0)
    batches.at = lambda _: first
    told = [e.parts["loss"].item() for e in train(step, batches, planned(lr=1e-30, lr_warmup=0))]
    assert len(set(told)) == len(told)
    for i, loss in enumerate(told):
        seed_torch(0, "step", i)
        assert step(batches.at(i).x)[0].item() == pytest.approx(loss, rel=1e-5)


def test_looking_between_steps_changes_nothing():
    (one, batches), (other, _) = fresh(), fresh()
    finish(one, batches, planned())
    for event in train(other, batches, planned()):
        torch.rand(100)
        event.snapshot()
    assert same(one, other)


@kinds
@pytest.mark.parametrize(("masked", "ema"), [(False, 0.0), (True, 0.0), (False, 0.9)])
def test_interrupted_and_resumed_is_the_same_to_the_last_bit(kind, masked, ema):
    whole, batches = fresh(kind, masked=masked)
    end = finish(whole, batches, planned(ema_decay=ema))
    for stop in random.Random(kind).sample(range(1, 13), 3):
        first, _ = fresh(kind)
        running = train(first, batches, planned(ema_decay=ema))
        state, weights = next(saved(e, first) for e in running if e.state.step == stop)
        next(running)  # goes on a little, as an interrupted process may
        second, _ = fresh(kind, seed=99)
        second.load_state_dict(weights)
        again = finish(second, fresh(kind, masked=masked)[1], planned(ema_decay=ema), state)
        assert same(whole, second), stop
        assert again.state.step == end.state.step == 13
        assert again.parts["loss"] == end.parts["loss"]


def test_a_run_stopped_three_times_is_the_same():
    whole, batches = fresh()
    finish(whole, batches, planned(steps=20))
    step, state = fresh()[0], None
    for stop in (4, 5, 17, 20):
        running = train(step, batches, planned(steps=20), state)
        state, weights = next(saved(e, step) for e in running if e.state.step == stop)
        step, _ = fresh(seed=stop)
        step.load_state_dict(weights)
    assert same(whole, step)


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_resuming_a_finished_run_does_nothing(ema):
    step, batches = fresh()
    state, weights = saved(finish(step, batches, planned(ema_decay=ema)), step)
    assert finish(step, batches, planned(ema_decay=ema), state) is None
    assert all(torch.equal(weights[name], value) for name, value in step.state_dict().items())


# Averages of the weights


@pytest.mark.parametrize("decay", [0.3, 0.5, 0.99])
def test_the_averages_are_those_of_the_equation(decay):
    step, batches = fresh()
    means = None
    for event in train(step, batches, planned(ema_decay=decay)):
        t, now = event.state.step - 1, [p.detach().double() for p in step.model.parameters()]
        share = min(decay, (1 + t) / (10 + t))
        means = now if means is None else _blend(means, now, share)
    assert means is not None
    for mean, weights in zip(means, step.model.parameters(), strict=True):
        torch.testing.assert_close(weights.detach().double(), mean, rtol=1e-5, atol=1e-6)


def _blend(means, now, share):
    return [share * mean + (1 - share) * new for mean, new in zip(means, now, strict=True)]


def test_averages_change_nothing_of_the_training():
    (one, batches), (other, _) = fresh(), fresh()
    plain = [(e.parts["loss"].item(), e.norm) for e in train(one, batches, planned())]
    told = [(e.parts["loss"].item(), e.norm) for e in train(other, batches, planned(ema_decay=0.9))]
    assert plain == told
    assert not same(one, other)


def test_averages_are_lent_and_taken_back():
    step, batches = fresh()
    running = train(step, batches, planned(ema_decay=0.5))
    state = [next(running) for _ in range(6)][-1].snapshot()
    raw = {name: tensor.clone() for name, tensor in step.state_dict().items()}
    with ema_weights(step, state):
        for name, weights in step.named_parameters():
            assert torch.equal(weights, state.moments[f"average/{name}"])
            assert not torch.equal(weights, raw[name])
    assert all(torch.equal(raw[name], value) for name, value in step.state_dict().items())


def test_averages_are_taken_back_where_a_look_fails():
    step, batches = fresh()
    running = train(step, batches, planned(ema_decay=0.5))
    state = [next(running) for _ in range(6)][-1].snapshot()
    raw = {name: tensor.clone() for name, tensor in step.state_dict().items()}
    with pytest.raises(KeyboardInterrupt), ema_weights(step, state):
        raise KeyboardInterrupt
    assert all(torch.equal(raw[name], value) for name, value in step.state_dict().items())


def test_a_step_stopped_at_its_end_has_the_averages_when_it_is_resumed():
    whole, batches = fresh()
    finish(whole, batches, planned(ema_decay=0.9))
    step, _ = fresh()
    running = train(step, batches, planned(ema_decay=0.9))
    state, weights = next(saved(e, step) for e in running if e.state.step == 13)
    step.load_state_dict(weights)
    assert finish(step, batches, planned(ema_decay=0.9), state) is None
    assert same(whole, step)


def test_averages_are_not_kept_where_no_one_asks():
    step, batches = fresh()
    assert not any("average" in name for name in finish(step, batches, planned()).state.moments)


@pytest.mark.parametrize("ema", [-0.1, 1.0, 2])
def test_a_decay_that_is_none_is_refused(ema):
    with pytest.raises(VariedError, match=r"must be from 0 to below 1; 0\.999 is usual"):
        Plan(ema_decay=ema)


# What goes wrong


class Poisoned:
    """Batches of which some are all NaN."""

    def __init__(self, batches, bad):
        self.batches, self.bad = batches, bad
        self.steps_per_epoch = batches.steps_per_epoch

    def at(self, step):
        batch = self.batches.at(step)
        return Batch(batch.x * math.nan, batch.c, batch.mask) if step in self.bad else batch


@pytest.mark.parametrize("kind", ["mlp", "conv", "autoencoder"])
def test_a_batch_of_nan_is_skipped_and_counted(kind):
    step, batches = fresh(kind)
    bad = {2, 3, 7}
    before = {}
    for event in train(step, Poisoned(batches, bad), planned()):
        now = {name: p.clone() for name, p in step.state_dict().items()}
        was_bad = event.state.step - 1 in bad
        if before:
            assert was_bad == all(torch.equal(before[name], now[name]) for name in now)
        assert math.isfinite(event.norm) is not was_bad
        assert all(p.isfinite().all() for p in now.values())
        before = now
    assert event.state.skipped == len(bad)
    assert event.state.step == 13


def test_an_infinite_gradient_is_skipped():
    step, batches = fresh("conv")

    class Huge(Poisoned):
        def at(self, step):
            return Batch(super().at(step).x + 1e30 * (step in self.bad))

    event = finish(step, Huge(Batches(batches.rows.x, size=SIZE, seed=0), {}), planned())
    assert event.state.skipped == 0
    step, _ = fresh("conv")
    stream = Huge(batches, {4})
    stream.at = lambda i: Batch(batches.at(i).x + 1e30 * (i == 4))
    assert finish(step, stream, planned()).state.skipped == 1
    assert all(p.isfinite().all() for p in step.parameters())


def test_nan_without_end_is_given_up_in_one_sentence():
    step, batches = fresh()
    start = {name: p.clone() for name, p in step.state_dict().items()}
    events = train(step, Poisoned(batches, range(10**6)), planned(steps=1000))
    for _ in range(PATIENCE - 1):
        next(events)
    with pytest.raises(VariedError) as told:
        next(events)
    assert "lower the learning rate (--lr)" in str(told.value)
    assert "\n" not in str(told.value)
    assert all(torch.equal(start[name], p) for name, p in step.state_dict().items())


def test_patience_is_for_bad_steps_in_a_row():
    step, batches = fresh()
    bad = set(range(200)) - set(range(0, 200, PATIENCE - 1))
    event = finish(step, Poisoned(batches, bad), planned(steps=150))
    assert event.state.skipped == len(bad & set(range(150)))


# How long


def test_steps_are_steps():
    step, batches = fresh()
    assert [event.state.step for event in train(step, batches, planned(steps=5))] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(("epochs", "steps"), [(1, 3), (2, 6), (0.5, 2), (0.01, 1)])
def test_epochs_are_passes_over_the_rows(epochs, steps):
    step, batches = fresh()
    event = finish(step, batches, planned(steps=0, epochs=epochs))
    assert batches.steps_per_epoch == 3
    assert event.state.step == steps
    assert event.epoch == pytest.approx(steps / 3)


def test_without_a_length_there_are_twenty_epochs():
    step, batches = fresh()
    assert finish(step, batches, planned(steps=0)).epoch == 20


def test_minutes_are_minutes_of_training():
    step, batches = fresh()
    event = finish(step, batches, planned(steps=0, minutes=0.02))
    assert 1.2 / 1.6 < event.state.seconds < 1.2 * 1.6
    assert event.lr < 0.05 * planned().lr


def paced(budget, durations):
    """Return the state after each step of a run of so many seconds, given those of each step."""
    state = TrainingState()
    for seconds in durations:
        if state.progress >= 1:
            return
        state.step += 1
        state.seconds += seconds
        state.pace(budget)
        yield dataclasses.replace(state)


@given(st.floats(0.01, 5), st.floats(0, 1))
def test_at_a_steady_speed_progress_is_the_share_of_the_time(seconds, part):
    budget = 600 * (seconds + part)
    states = list(paced(budget, [seconds] * 10**5))
    assert states[-1].seconds == pytest.approx(budget, abs=1.01 * seconds)
    assert all(abs(s.progress - s.seconds / budget) < 0.02 for s in states)
    assert all(a.progress <= b.progress for a, b in itertools.pairwise(states[: len(states) // 2]))


@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=40), st.integers(1, 400))
def test_a_run_of_minutes_keeps_its_time_at_any_speed(speeds, each):
    durations = itertools.chain.from_iterable(itertools.repeat(s, each) for s in speeds)
    states = list(paced(900.0, itertools.chain(durations, itertools.repeat(speeds[-1], 10**5))))
    assert all(0 <= state.progress <= 1 for state in states)
    assert 900 / 1.1 - 10 <= states[-1].seconds <= 900 * 1.1 + 10


def test_progress_of_a_known_length_is_the_share_of_steps():
    assert [TrainingState(step=step, total=8).progress for step in (0, 2, 8, 9)] == [0, 0.25, 1, 1]
    assert TrainingState(step=5).progress == 0


# What each step says


@pytest.mark.parametrize(("decay", "last"), [("cosine", 0.0), ("linear", 0.0), ("none", 1e-2)])
def test_the_learning_rate_rises_and_decays(decay, last):
    step, batches = fresh()
    plan = planned(lr_schedule=decay, steps=200, lr_warmup=10)
    rates = [event.lr for event in train(step, batches, plan)]
    assert rates[0] == pytest.approx(plan.lr / 10)
    assert max(rates) == pytest.approx(plan.lr, rel=0.1)
    assert rates[-1] == pytest.approx(last, abs=0.01 * plan.lr)
    assert all(a >= b for a, b in itertools.pairwise(rates[10:]))


def test_an_event_tells_the_parts_in_nats():
    step, batches = fresh("annealed")
    events = list(train(step, batches, planned()))
    for i, event in enumerate(events):
        assert {"loss", "reconstruction", "kl", "beta"} <= event.parts.keys()
        assert event.parts["beta"].item() == pytest.approx(min(i / 9, 1))
        assert not any(value.requires_grad for value in event.parts.values())
        assert event.rows == SIZE
        assert event.norm > 0


def test_a_gradient_above_the_limit_is_scaled_down():
    step, batches = fresh()
    for event in train(step, batches, planned(grad_clip=0.5)):
        gradients = [p.grad for p in step.parameters()]
        assert event.norm > 0.5
        assert torch.nn.utils.get_total_norm(gradients).item() == pytest.approx(0.5, rel=1e-3)


def test_training_lowers_the_loss():
    step, _ = fresh()
    black_or_white = (
        torch.tensor([0.0, 1.0]).reshape(2, 1, 1, 1).expand(2, *SHAPE).repeat(20, 1, 1, 1)
    )
    batches = Batches(black_or_white, size=SIZE, seed=0)
    event = finish(step, batches, planned(steps=300))
    assert event.parts["loss"] < 10  # it begins at 30 coins, 20.8 nats; one bit is 0.7


def test_the_loop_does_not_print(capsys):
    step, batches = fresh()
    finish(step, batches, planned())
    assert capsys.readouterr() == ("", "")


# How it computes


def test_what_the_plan_fixes_is_kept_and_measuring_changes_no_weight():
    step, batches = fresh()
    start = {name: p.clone() for name, p in step.state_dict().items()}
    x = batches.at(0).x
    setup = runtime.autotune(step, lambda: step(x)[0], planned(precision="bfloat16"))
    assert (setup.device, setup.threads, setup.compile) == (
        "cpu",
        1,
        False,
    ) or setup.device != "cpu"
    assert setup.precision == "bfloat16"
    assert all(torch.equal(start[name], p) for name, p in step.state_dict().items())
    assert all(p.grad is None for p in step.parameters())


@kinds
def test_half_precision_keeps_float32_weights(kind):
    step, batches = fresh(kind)
    event = finish(step, batches, planned(precision="bfloat16"))
    assert event.parts["loss"].isfinite()
    assert {p.dtype for p in step.parameters()} == {torch.float32}
    assert event.state.skipped == 0


def test_a_step_makes_numbers_of_stored_bytes():
    model, objective = compose(Spec.of(**KINDS["mlp"], latent=3), SHAPE)
    step = Step(model, objective, load=lambda x: x / 255)
    x = torch.randint(2, (ROWS, *SHAPE), dtype=torch.uint8) * 255
    event = finish(step, Batches(x, size=SIZE, seed=0), planned())
    assert event.state.skipped == 0


@pytest.mark.slow
def test_a_compiled_run_draws_fresh_noise_and_repeats_itself():
    def weights(seed, compile):
        step, batches = fresh()
        plan = planned(steps=12, seed=seed, compile=compile)
        losses = [float(event.parts["loss"]) for event in train(step, batches, plan)]
        return losses, torch.cat([p.detach().flatten() for p in step.parameters()])

    (losses, first), (_, again) = weights(0, "yes"), weights(0, "yes")
    assert torch.equal(first, again)
    assert not torch.equal(first, weights(1, "yes")[1])
    plain = weights(0, "no")[0]  # of the same noise
    assert losses == pytest.approx(plain, rel=1e-3)


DRAWS = {
    "dreg": {"name": "iwae", "samples": 4, "gradient_estimator": "dreg"},
    "dreg of two": {"name": "iwae", "samples": 4, "gradient_estimator": "dreg", "n_kept": 2},
    "piwae": {"name": "piwae", "n_groups": 2, "samples": 2},
}


@pytest.mark.slow
@pytest.mark.parametrize("objective", DRAWS.values(), ids=DRAWS)
def test_a_compiled_step_of_weighed_draws_learns_as_a_plain_one(objective):
    def weights(compile):
        spec = Spec.of(latent=3, net=KINDS["mlp"]["net"], objective=objective)
        step, plan = Step(*compose(spec, SHAPE)), planned(steps=12, compile=compile)
        _, batches = fresh()
        last = deque(train(step, batches, plan), maxlen=1).pop()
        assert last.state.setup.compile == (compile == "yes")
        return torch.cat([p.detach().flatten() for p in step.parameters()])

    torch.testing.assert_close(weights("yes"), weights("no"), rtol=1e-3, atol=1e-3)
