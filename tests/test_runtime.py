"""Tests of the runtime: thread control, float32 evaluation, denormals and compilation."""

import getpass
import socket

import pytest
import torch

from varied import runtime
from varied.composition import compose
from varied.runtime import Setup, ThreadController
from varied.spec import Plan, Spec
from varied.training_step import Step


@pytest.fixture
def thread_counts(monkeypatch):
    """Record the arguments of all calls to ``torch.set_num_threads``."""
    counts = []
    monkeypatch.setattr(torch, "set_num_threads", counts.append)
    return counts


def two_threads(max_threads=2, single_thread_seconds=0.02):
    setup = Setup(threads=2, max_threads=max_threads, single_thread_seconds=single_thread_seconds)
    return ThreadController(setup)


def test_busy_machine_gets_one_thread_and_later_all_again(thread_counts):
    controller = two_threads()
    for _ in range(200):
        controller.record_step_time(0.01)
    assert thread_counts == []
    for _ in range(6):
        controller.record_step_time(0.4)
    assert thread_counts == [1]
    waits = []
    for _ in range(3):
        waits.append(0)
        while thread_counts[-1] == 1:
            controller.record_step_time(0.1)
            waits[-1] += 1
        while thread_counts[-1] == 2:
            controller.record_step_time(0.4)
    assert waits[0] < waits[1] < waits[2]
    while thread_counts[-1] == 1:
        controller.record_step_time(0.1)
    changes = len(thread_counts)
    for _ in range(100):
        controller.record_step_time(0.09)
    assert len(thread_counts) == changes


def test_slow_first_steps_change_nothing(thread_counts):
    controller = two_threads()
    for seconds in (0.011, 0.011, 15.0, 0.011, 0.011):
        controller.record_step_time(seconds)
    assert thread_counts == []


def test_fixed_number_of_threads_is_kept(thread_counts):
    controller = two_threads(max_threads=1, single_thread_seconds=0.001)
    for _ in range(100):
        controller.record_step_time(1.0)
    assert thread_counts == []


def test_eval_float32_restores_the_module_after_an_error():
    module = torch.nn.Linear(2, 2).train()
    with pytest.raises(KeyError), runtime.eval_float32(module):
        assert not module.training
        assert not torch.is_grad_enabled()
        raise KeyError
    assert module.training
    assert torch.is_grad_enabled()


def test_eval_float32_restores_the_precision():
    model, objective = compose(Spec.parse(latent=3), (6,))
    step = Step(model, objective)
    runtime.apply_setup(step, Setup(precision="bfloat16"))
    with runtime.eval_float32(step):
        assert model.encoder.precision is model.decoder.precision is None
    assert model.encoder.precision == model.decoder.precision == torch.bfloat16


def test_description_names_no_host_user_or_folder():
    text = " ".join(runtime.describe_machine().values())
    assert socket.gethostname() not in text.split()
    assert getpass.getuser() not in text.split()
    assert "/home" not in text


def test_denormals_are_flushed_in_the_context_only():
    denormal = torch.full((8,), 1e-40)
    is_supported = torch.set_flush_denormal(False)
    with runtime.flush_denormals():
        flushed = 2 * denormal
    assert (flushed == 0).all() == is_supported
    assert (2 * denormal > 0).all()


@pytest.mark.parametrize(
    ("parts", "can_compile"),
    [
        ({"objective": "elbo"}, True),
        ({"objective": {"name": "iwae", "gradient_estimator": "dreg"}}, True),
        ({"objective": "piwae"}, True),
        ({"objective": {"name": "rae", "regularizer": "gp"}, "posterior": "deterministic"}, False),
        ({"objective": "factor-vae"}, False),
        ({"posterior": "von-mises-fisher", "prior": "hyperspherical-uniform"}, False),
    ],
    ids=["elbo", "dreg", "piwae", "gradient penalty", "discriminator", "rejection sampling"],
)
def test_only_steps_that_support_it_are_compiled(parts, can_compile):
    step, x = Step(*compose(Spec.parse(latent=3, **parts), (6,))), torch.rand(8, 6).round()
    plan = Plan(minutes=60, compile="yes", threads=1, precision="float32")
    assert runtime.autotune(step, lambda: step(x)[0], plan).compile == can_compile
