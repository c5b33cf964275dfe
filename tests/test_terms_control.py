"""A weight that turns itself holds its goal, and keeps where it stands."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch.distributions import Independent

from varied.distributions import Gaussian
from varied.errors import VariedError
from varied.objectives import control_vae
from varied.schedules import Linear
from varied.terms import PIController
from varied.trace import Level, Trace


def usual(goal=20.0, ki=1e-3, max_weight=10.0):
    return PIController(goal, kp=0.01, ki=ki, min_weight=0.0, max_weight=max_weight)


def run(controller, plant, steps, start=0):
    """Let a plant answer the weight, and return what it said."""
    said = []
    for step in range(start, start + steps):
        controller.set_step(step)
        said.append(float(plant(float(controller.value))))
        controller.update(torch.tensor(said[-1]))
    return said


class Plant:
    """A KL that falls with beta, slowly, as a network learns slowly."""

    def __init__(self, most=60.0, delay=20.0):
        self.kl, self.most, self.delay = 0.0, most, delay

    def __call__(self, beta):
        self.kl += (self.most / (1 + 2 * beta) - self.kl) / self.delay
        return self.kl


@pytest.mark.parametrize("goal", [10.0, 20.0, 40.0])
def test_the_goal_is_held(goal):
    said = run(usual(goal), Plant(), 2500)
    assert all(abs(kl - goal) < 0.02 * goal for kl in said[-200:])


def test_a_goal_that_moves_is_followed():
    controller, plant = usual(Linear(10, 30, 2000), ki=5e-3), Plant()
    said = run(controller, plant, 3000)
    assert said[1000] == pytest.approx(20, rel=0.1)
    assert said[-1] == pytest.approx(30, rel=0.02)


def test_a_step_is_the_formula():
    controller = PIController(20.0, kp=0.5, ki=0.01, min_weight=1.0, max_weight=9.0)
    integral = 0.0
    for kl in (25.0, 30.0, 22.0, 21.0):
        controller.update(torch.tensor(kl))
        controller.set_step(0)
        integral -= 0.01 * (20 - kl)
        wanted = 1.0 + 0.5 / (1 + math.exp(20 - kl)) + integral
        assert float(controller.value) == pytest.approx(wanted, rel=1e-5)


def test_it_leaves_a_bound_at_once():
    controller = usual(max_weight=1.0)
    run(controller, lambda beta: 500.0, 300)
    assert controller.value == 1
    run(controller, lambda beta: 10.0, 100)
    assert controller.value < 0.1
    run(controller, lambda beta: 0.0, 300)
    assert 0 <= controller.value < 1e-6


def test_to_turn_twice_is_to_turn_once():
    controller = usual()
    controller.update(torch.tensor(90.0))
    assert controller.value == 0  # the weight of a step stays what it was until the next
    controller.set_step(1)
    once = float(controller.value)
    controller.set_step(1)
    assert float(controller.value) == once > 0


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_a_broken_step_does_not_break_it(wrong):
    controller = usual()
    run(controller, Plant(), 50)
    controller.set_step(50)
    kept = copy.deepcopy(controller.state_dict())
    controller.update(torch.tensor(wrong))
    controller.set_step(51)
    assert all(map(torch.equal, kept.values(), controller.state_dict().values()))


def test_it_goes_on_where_it_stood():
    whole, first, second = usual(), usual(), usual()
    plant = Plant()
    wanted = run(whole, Plant(), 300)
    found = run(first, plant, 170)
    second.load_state_dict(first.state_dict())
    assert found + run(second, plant, 130, start=170) == wanted


def trace_of(mean):
    q = Independent(Gaussian(mean, torch.zeros_like(mean)), 1)
    zero = torch.zeros(mean.shape[1])
    p = Independent(Gaussian(zero, zero), 1)
    px = Independent(Gaussian(torch.zeros(1, 4, 5), torch.zeros(1, 4, 5)), 1)
    return Trace(torch.ones(4, 5), px, [Level(q.rsample((1,)), q, p)])


def test_an_objective_feels_its_rate_and_tells_its_beta():
    objective = control_vae(kl_target=2.0)
    mean = torch.full((4, 3), 3.0, requires_grad=True)
    told = []
    for step in range(3):
        loss, parts = objective(trace_of(mean), step)
        loss.backward()
        torch.testing.assert_close(loss, parts["reconstruction"] + parts["beta"] * parts["kl"])
        told.append(float(parts["beta"]))
    assert 0 == told[0] < told[1] < told[2]


def test_it_feels_nothing_in_validation():
    objective = control_vae(kl_target=2.0)
    weight = objective.weights[1]
    with torch.no_grad():
        objective(trace_of(torch.full((4, 3), 3.0)), 0)
    objective.eval()
    objective(trace_of(torch.full((4, 3), 3.0)), 1)
    assert weight.integral == weight.present == 0


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"min_weight": 1.0, "max_weight": 1.0}, "0 <= min_weight < max_weight"),
        ({"min_weight": -1.0}, "0 <= min_weight < max_weight"),
        ({"kp": -0.1}, "kp=-0.1 must not be below 0"),
        ({"ki": 0.0}, "ki=0.0"),
        ({"kl_target": -3.0}, "kl_target=-3.0 must not be below 0"),
    ],
)
def test_bad_settings_are_refused(settings, told):
    with pytest.raises(VariedError, match=told):
        control_vae(**settings)
