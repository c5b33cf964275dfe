"""Fixtures for all tests: a single thread, a fixed random seed, float32 and no network."""

import os
import runpy
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from matplotlib.figure import Figure
from PIL import Image

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


_draw = Figure.savefig
_drawing = {"figures": False}


def _save_figure(figure, file, *, format="png", **options):
    """Draw a figure if the test is marked ``figures``; write a blank PNG file otherwise."""
    if _drawing["figures"] or format != "png":
        _draw(figure, file, format=format, **options)
    else:
        Image.new("RGB", (1, 1), "white").save(file, format)


@pytest.fixture(scope="session", autouse=True)
def _blank_figures():
    patch = pytest.MonkeyPatch()
    patch.setattr(Figure, "savefig", _save_figure)
    yield
    patch.undo()


@contextmanager
def _draw_if_marked(node):
    before = _drawing["figures"]
    _drawing["figures"] = node.get_closest_marker("figures") is not None
    yield
    _drawing["figures"] = before


@pytest.fixture(scope="module", autouse=True)
def _figures_of_module(request):
    with _draw_if_marked(request.node):
        yield


@pytest.fixture(autouse=True)
def _figures_of_test(request):
    with _draw_if_marked(request.node):
        yield


@pytest.fixture(autouse=True)
def _reset_torch():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    yield
    torch.set_default_dtype(torch.float32)
