"""Fixtures for all tests: a single thread, the same random numbers, and float32."""

import pytest
import torch
from hypothesis import settings

from varied import registry

#: The package that the tests install elsewhere.
collect_ignore = ["external"]

settings.register_profile("deterministic", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("deterministic")


@pytest.fixture(scope="module")
def restored_registry():
    """Remove what a module registers after its tests."""
    tables = [registry.part_table(kind) for kind in registry.TABLES]
    before = [dict(table) for table in tables]
    patch = pytest.MonkeyPatch()
    patch.setattr(registry, "_origins", dict(registry._origins))
    patch.setattr(registry, "_trusted", set(registry._trusted))
    yield
    patch.undo()
    for table, entries in zip(tables, before, strict=True):
        table.clear()
        table.update(entries)


@pytest.fixture(autouse=True)
def _reset_torch():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    yield
    torch.set_default_dtype(torch.float32)
