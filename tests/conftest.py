"""Fixtures for all tests: a single thread, the same random numbers, and float32."""

import pytest
import torch
from hypothesis import settings

settings.register_profile("deterministic", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("deterministic")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Return a folder for runs that the tests of a module share."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(autouse=True)
def _reset_torch():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    yield
    torch.set_default_dtype(torch.float32)
