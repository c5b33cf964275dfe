"""External parts: registration, entry points, files, and classes by name."""

from __future__ import annotations

import importlib.metadata
import json
import sys
from types import ModuleType

import pytest

import varied
from varied import registry
from varied.errors import VariedError
from varied.likelihoods import LIKELIHOODS, Gaussian
from varied.registry import find, import_parts, qualified_name, resolve


class Skewed(Gaussian):
    """A likelihood that is not part of the package."""

    class Inner:
        """A class inside another."""


class Other(Gaussian):
    """Another likelihood that is not part of the package."""


def part():
    """A function that is not part of the package."""


@pytest.fixture(autouse=True)
def isolated(monkeypatch):
    """Undo registrations, trusted modules and loaded entry points after each test."""
    for table in registry.TABLES:
        entries = registry.part_table(table)
        monkeypatch.setattr(registry, "_origins", {})
        monkeypatch.setitem(entries, "from-outside", None)
        del entries["from-outside"]
    monkeypatch.setattr(registry, "_trusted", set())
    monkeypatch.setattr(registry, "_entry_points_loaded", True)


@pytest.fixture
def write_module(tmp_path, monkeypatch):
    """Return a function that writes a Python file and forgets its module after the test."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(text, name="my_parts"):
        monkeypatch.setitem(sys.modules, name, None)
        del sys.modules[name]
        path = tmp_path / f"{name}.py"
        path.write_text(text)
        return path

    return write


REGISTER = """
import varied
from varied.likelihoods import Gaussian

__version__ = "1.2.3"

class Mine(Gaussian):
    pass

varied.register("likelihood", "from-outside", Mine)
"""


# Registration


@pytest.mark.parametrize("kind", registry.TABLES)
def test_a_registered_part_is_found_by_name(kind):
    varied.register(kind, "from-outside", Skewed)
    assert find(kind, "from-outside") is Skewed
    assert registry.is_registered(kind, "from-outside")
    assert registry.part_table(kind)["from-outside"] is Skewed
    assert str(registry.origin(kind, "from-outside")) == __name__


def test_a_part_from_outside_may_be_registered_again():
    varied.register("likelihood", "from-outside", Skewed)
    varied.register("likelihood", "from-outside", Other)
    assert find("likelihood", "from-outside") is Other


def test_parts_of_varied_have_no_origin():
    assert find("likelihood", "gaussian") is Gaussian
    assert registry.origin("likelihood", "gaussian") is None
    assert not registry.is_registered("likelihood", "from-outside")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: varied.register("net", "mlp", Skewed), "The net 'mlp' is part of Varied"),
        (lambda: varied.register("nett", "x", Skewed), "kind of part 'nett': did you mean 'net'"),
        (lambda: find("likelihood", "gausian"), "no likelihood 'gausian': did you mean 'gaussian'"),
        (lambda: find("nett", "mlp"), "no kind of part 'nett'"),
    ],
)
def test_names_of_varied_and_unknown_names_are_refused(call, message):
    with pytest.raises(VariedError, match=message):
        call()


def test_the_origin_has_the_version_of_the_package():
    assert registry.origin_of(Skewed) == registry.Origin(__name__, "")
    version = importlib.metadata.version("pytest")
    assert str(registry.origin_of(pytest.Config)) == f"_pytest.config {version}"
    assert registry.origin_of(Skewed.Inner()).module == __name__


@pytest.mark.parametrize(
    ("file", "expected"), [("/home/me/script.py", "script"), (None, "__main__")]
)
def test_the_origin_of_a_script_is_its_file(monkeypatch, file, expected):
    monkeypatch.setattr(sys.modules["__main__"], "__file__", file, raising=False)
    monkeypatch.setattr(Skewed, "__module__", "__main__")
    assert registry.origin_of(Skewed) == registry.Origin(expected, "")


# Files and modules


@pytest.mark.parametrize("as_file", [True, False], ids=["file", "module"])
def test_a_file_or_module_registers_its_parts(write_module, as_file):
    path = write_module(REGISTER)
    module = import_parts(path if as_file else "my_parts")
    assert find("likelihood", "from-outside") is module.Mine
    assert registry.origin("likelihood", "from-outside") == registry.Origin("my_parts", "1.2.3")
    assert resolve("my_parts:Mine") is module.Mine
    assert import_parts(str(path)) is module


@pytest.mark.parametrize(
    ("text", "source", "message"),
    [
        (None, "missing.py", r"There is no file missing\.py; provide the path"),
        (None, "no_such_module", r"no module 'no_such_module'; .* such as no_such_module\.py"),
        ("1 / 0", "my_parts", "my_parts failed with ZeroDivisionError: division by zero"),
        ("import no_such_module", "my_parts", "my_parts requires the module 'no_such_module'"),
        ("raise VariedError('mine')", "my_parts", "^mine$"),
    ],
)
def test_sources_that_cannot_be_imported_are_refused(write_module, text, source, message):
    if text is not None:
        write_module(f"from varied.errors import VariedError\n{text}\n")
    with pytest.raises(VariedError, match=message):
        import_parts(source)


def test_a_failed_file_can_be_imported_again_after_a_repair(write_module):
    path = write_module("1 / 0")
    with pytest.raises(VariedError, match=r"my_parts\.py failed with ZeroDivisionError"):
        import_parts(path)
    assert "my_parts" not in sys.modules
    path.write_text(REGISTER)
    assert import_parts(path).Mine


def test_a_file_named_like_a_loaded_module_is_refused(tmp_path):
    assert sys.modules["json"] is json
    (tmp_path / "json.py").write_text(REGISTER)
    with pytest.raises(
        VariedError, match=r"module named 'json' is already loaded; rename .*json.py"
    ):
        import_parts(tmp_path / "json.py")


# Entry points


@pytest.fixture
def entry_points(monkeypatch):
    """Return a function that sets the entry points of installed packages."""

    def install(*values):
        points = [importlib.metadata.EntryPoint("mine", value, "varied.parts") for value in values]
        groups = {"varied.parts": points}
        monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: groups.get(group, []))
        monkeypatch.setattr(registry, "_entry_points_loaded", False)

    return install


FUNCTION = REGISTER.replace("varied.register(", "def register():\n    varied.register(")


@pytest.mark.parametrize(
    ("text", "value"), [(REGISTER, "my_parts"), (FUNCTION, "my_parts:register")]
)
def test_an_entry_point_names_a_module_or_a_function(write_module, entry_points, text, value):
    write_module(text)
    entry_points(value)
    assert "gaussian" in LIKELIHOODS
    assert registry.is_registered("likelihood", "gaussian")
    assert "my_parts" not in sys.modules  # loaded only if a name is missing
    assert find("likelihood", "from-outside").__name__ == "Mine"
    assert resolve("my_parts:Mine") is not None


def test_entry_points_are_loaded_once(write_module, entry_points):
    write_module(REGISTER)
    entry_points("my_parts")
    registry.load_entry_points()
    del LIKELIHOODS["from-outside"], sys.modules["my_parts"]
    assert not registry.is_registered("likelihood", "from-outside")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("no_such_module", r"'mine' \(no_such_module\) failed with ModuleNotFoundError"),
        ("my_parts:register", r"failed with ZeroDivisionError: .*fix or uninstall"),
    ],
)
def test_a_failing_entry_point_is_refused(write_module, entry_points, value, message):
    write_module("def register():\n    1 / 0\n")
    entry_points(value)
    with pytest.raises(VariedError, match=message):
        find("likelihood", "from-outside")


# Classes by name


@pytest.mark.parametrize(
    ("value", "name", "expected"),
    [
        (Skewed, "Skewed", Skewed),
        (Skewed.Inner(), "Skewed.Inner", Skewed.Inner),
        (part, "part", part),
    ],
    ids=["class", "instance", "function"],
)
def test_a_name_is_resolved_after_an_object_of_its_module_was_passed(value, name, expected):
    assert resolve(f"{__name__}:{name}") is None
    assert qualified_name(value) == f"{__name__}:{name}"
    assert resolve(f"{__name__}:{name}") is expected


def local_class():
    class Local:
        pass

    return Local


@pytest.mark.parametrize("value", [lambda x: x, local_class()], ids=["lambda", "local class"])
def test_lambdas_and_local_classes_have_no_name(value):
    with pytest.raises(VariedError, match="no importable name"):
        qualified_name(value)


@pytest.mark.parametrize(
    "name", ["os:system", "no_such_module:Part", "tests:missing", "SELF:Missing", "SELF:pytest"]
)
def test_names_of_other_modules_are_not_resolved(name):
    qualified_name(Skewed)
    assert resolve(name.replace("SELF", __name__)) is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("varied.likelihoods:Gaussian", Gaussian),
        ("varied.likelihoods:Missing", None),
        ("varied.likelihoods.missing:Gaussian", None),
        ("varied.registry:register", None),
        ("other.likelihoods:Gaussian", None),
    ],
)
def test_only_the_packages_of_parts_of_varied_are_trusted(name, expected):
    assert resolve(name) is expected


def test_a_trusted_module_resolves_only_its_own_classes():
    qualified_name(Skewed)
    assert resolve(f"{__name__}:Gaussian") is None  # imported from another module
    assert resolve(f"{__name__}:REGISTER") is None  # not a class or function


def test_classes_of_a_script_are_resolved_by_its_file(monkeypatch):
    script = ModuleType("__main__")
    script.__file__, script.Skewed = "/home/me/script.py", Skewed
    monkeypatch.setitem(sys.modules, "__main__", script)
    monkeypatch.setattr(Skewed, "__module__", "__main__")
    assert qualified_name(Skewed) == "script:Skewed"
    assert resolve("script:Skewed") is Skewed
