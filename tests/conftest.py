"""What every test starts from: one thread, the same noise, and float32."""

import pytest
import torch
from hypothesis import settings

settings.register_profile("same", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("same")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Where a module keeps the runs that its tests share."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(autouse=True)
def _same_start():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    yield
    torch.set_default_dtype(torch.float32)
