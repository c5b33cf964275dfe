"""Fixtures for all tests, which use a single thread, a fixed random seed and float32."""

import pytest
import torch
from hypothesis import settings

from varied import registry, setup_cache

#: The folder of a package that the tests install; it contains no tests.
collect_ignore = ["external"]

settings.register_profile("deterministic", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("deterministic")


@pytest.fixture(scope="module")
def restored_registry():
    """Remove the parts that a test module has registered, after its last test."""
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


@pytest.fixture(scope="session", autouse=True)
def _separate_setup_cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("setups")
    patch = pytest.MonkeyPatch()
    patch.setattr(setup_cache, "setup_folder", lambda: folder)
    yield
    patch.undo()


@pytest.fixture(autouse=True)
def _reset_torch():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    yield
    torch.set_default_dtype(torch.float32)
