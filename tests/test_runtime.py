"""Where a run computes: what is measured, and what happens when the machine gets busy."""

import pytest
import torch

from varied import runtime
from varied.runtime import Setup, ThreadController
from varied.spec import Plan, Spec, compose
from varied.training_loop import Step


@pytest.fixture
def threads(monkeypatch):
    taken = []
    monkeypatch.setattr(torch, "set_num_threads", taken.append)
    return taken


def test_a_busy_machine_gets_one_thread_and_later_all_again(threads):
    crowd = ThreadController(Setup(threads=2, most=2, alone=0.02))
    for _ in range(200):
        crowd.record_step_time(0.01)
    assert threads == []
    for _ in range(6):
        crowd.record_step_time(0.4)
    assert threads == [1]
    waits = []
    for _ in range(3):
        waits.append(0)
        while threads[-1] == 1:
            crowd.record_step_time(0.1)
            waits[-1] += 1
        while threads[-1] == 2:
            crowd.record_step_time(0.4)
    assert waits[0] < waits[1] < waits[2]
    while threads[-1] == 1:
        crowd.record_step_time(0.1)
    seen = len(threads)
    for _ in range(100):
        crowd.record_step_time(0.09)
    assert len(threads) == seen


def test_a_slow_compilation_alone_changes_nothing(threads):
    crowd = ThreadController(Setup(threads=2, most=2, alone=0.02))
    for seconds in (0.011, 0.011, 15.0, 0.011):
        crowd.felt.append(seconds)
    crowd.record_step_time(0.011)
    assert threads == []


def test_what_a_plan_fixes_is_left_alone(threads):
    crowd = ThreadController(Setup(threads=2, most=1, alone=0.001))
    for _ in range(100):
        crowd.record_step_time(1.0)
    assert threads == []


def test_exactly_puts_everything_back_even_after_a_fault():
    module = torch.nn.Linear(2, 2).train()
    with pytest.raises(KeyError), runtime.eval_float32(module):
        assert not module.training
        assert not torch.is_grad_enabled()
        raise KeyError
    assert module.training
    assert torch.is_grad_enabled()


def test_the_description_names_no_host_person_or_folder():
    import getpass
    import socket

    text = " ".join(runtime.describe_machine().values())
    assert socket.gethostname() not in text.split()
    assert getpass.getuser() not in text.split()
    assert "/home" not in text


def test_numbers_below_the_normal_ones_are_zero_within_a_step_alone():
    small = torch.full((8,), 1e-40)
    supported = torch.set_flush_denormal(False)
    with runtime.flush_denormals():
        within = 2 * small
    assert (within == 0).all() == supported
    assert (2 * small > 0).all()


SPHERE = {"posterior": "von-mises-fisher", "prior": "hyperspherical-uniform"}


@pytest.mark.parametrize(
    ("parts", "compiled"),
    [
        ({"objective": "elbo"}, True),
        ({"objective": {"name": "iwae", "gradient_estimator": "dreg"}}, True),
        ({"objective": "piwae"}, True),
        ({"objective": {"name": "rae", "regularizer": "gp"}, "posterior": "deterministic"}, False),
        ({"objective": "factor-vae"}, False),
        (SPHERE, False),
    ],
    ids=["elbo", "draws seen twice", "draws weighed twice", "a slope", "a critic", "rejection"],
)
def test_what_a_compiled_step_cannot_hold_is_not_compiled(parts, compiled):
    model, made = compose(Spec.of(latent=3, **parts), (6,))
    step, x = Step(model, made), torch.rand(8, 6).round()
    plan = Plan(minutes=60, compile="yes", threads=1, precision="float32")
    assert runtime.autotune(step, lambda: step(x)[0], plan).compile == compiled
