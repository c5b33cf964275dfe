"""Fixtures for all tests: a single thread, a fixed random seed, float32 and no network."""

import os
import runpy
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from varied import registry, setup_cache

#: The folders of a package that the tests install, and of the guard; they contain no tests.
collect_ignore = ["external", "network_guard"]

_guard = Path(__file__).parent / "network_guard"
runpy.run_path(str(_guard / "sitecustomize.py"))
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(_guard), *filter(None, [os.environ.get("PYTHONPATH")])]
)

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
