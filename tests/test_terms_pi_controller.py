"""The PI controller of ControlVAE reaches its target and keeps its state."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from traces import posterior_trace

from varied.errors import VariedError
from varied.objectives import control_vae
from varied.schedules import Linear
from varied.terms import PIController


def controller_of(target=20.0, ki=1e-3, max_weight=10.0):
    return PIController(target, kp=0.01, ki=ki, min_weight=0.0, max_weight=max_weight)


def run(controller, plant, steps, start=0):
    """Simulate a plant that responds to the weight, and return its values."""
    values = []
    for step in range(start, start + steps):
        controller.set_step(step)
        values.append(float(plant(float(controller.value))))
        controller.update(torch.tensor(values[-1]))
    return values


class Plant:
    """A KL that decreases with beta after a delay, like that of a network."""

    def __init__(self, max_kl=60.0, delay=20.0):
        self.kl, self.max_kl, self.delay = 0.0, max_kl, delay

    def __call__(self, beta):
        self.kl += (self.max_kl / (1 + 2 * beta) - self.kl) / self.delay
        return self.kl


@pytest.mark.parametrize("target", [10.0, 20.0, 40.0])
def test_controller_reaches_its_target(target):
    values = run(controller_of(target), Plant(), 2500)
    assert all(abs(kl - target) < 0.02 * target for kl in values[-200:])


def test_controller_follows_a_scheduled_target():
    values = run(controller_of(Linear(10, 30, 2000), ki=5e-3), Plant(), 3000)
    assert values[1000] == pytest.approx(20, rel=0.1)
    assert values[-1] == pytest.approx(30, rel=0.02)


def test_step_is_the_formula_of_the_paper():
    controller = PIController(20.0, kp=0.5, ki=0.01, min_weight=1.0, max_weight=9.0)
    integral = 0.0
    for kl in (25.0, 30.0, 22.0, 21.0):
        controller.update(torch.tensor(kl))
        controller.set_step(0)
        integral -= 0.01 * (20 - kl)
        expected = 1.0 + 0.5 / (1 + math.exp(20 - kl)) + integral
        assert float(controller.value) == pytest.approx(expected, rel=1e-5)


def test_integral_does_not_wind_up_at_the_bounds():
    controller = controller_of(max_weight=1.0)
    run(controller, lambda beta: 500.0, 300)
    assert controller.value == 1
    run(controller, lambda beta: 10.0, 100)
    assert controller.value < 0.1
    run(controller, lambda beta: 0.0, 300)
    assert 0 <= controller.value < 1e-6


def test_update_takes_effect_in_the_next_step_and_once():
    controller = controller_of()
    controller.update(torch.tensor(90.0))
    assert controller.value == 0
    controller.set_step(1)
    first = float(controller.value)
    controller.set_step(1)
    assert float(controller.value) == first > 0


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_are_ignored(value):
    controller = controller_of()
    run(controller, Plant(), 50)
    controller.set_step(50)
    before = copy.deepcopy(controller.state_dict())
    controller.update(torch.tensor(value))
    controller.set_step(51)
    assert all(map(torch.equal, before.values(), controller.state_dict().values()))


def test_restored_controller_continues():
    first, second, plant = controller_of(), controller_of(), Plant()
    expected = run(controller_of(), Plant(), 300)
    actual = run(first, plant, 170)
    second.load_state_dict(first.state_dict())
    assert actual + run(second, plant, 130, start=170) == expected


def test_objective_updates_its_controller_and_reports_beta():
    objective = control_vae(kl_target=2.0)
    mean = torch.full((4, 3), 3.0, requires_grad=True)
    betas = []
    for step in range(3):
        loss, parts = objective(posterior_trace(mean, torch.zeros_like(mean)), step)
        loss.backward()
        torch.testing.assert_close(loss, parts["reconstruction"] + parts["beta"] * parts["kl"])
        betas.append(float(parts["beta"]))
    assert 0 == betas[0] < betas[1] < betas[2]


def test_controller_is_not_updated_in_evaluation():
    objective = control_vae(kl_target=2.0)
    weight, mean = objective.weights[1], torch.full((4, 3), 3.0)
    with torch.no_grad():
        objective(posterior_trace(mean, torch.zeros_like(mean)), 0)
    objective.eval()
    objective(posterior_trace(mean, torch.zeros_like(mean)), 1)
    assert weight.integral == weight.proportional == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_weight": 1.0, "max_weight": 1.0}, "0 <= min_weight < max_weight"),
        ({"min_weight": -1.0}, "0 <= min_weight < max_weight"),
        ({"kp": -0.1}, "kp must not be negative .* got kp=-0.1"),
        ({"ki": 0.0}, "ki=0.0"),
        ({"kl_target": -3.0}, "kl_target=-3.0 must not be negative"),
    ],
)
def test_invalid_settings_raise(settings, message):
    with pytest.raises(VariedError, match=message):
        control_vae(**settings)
