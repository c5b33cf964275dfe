"""External parts: registration, entry points and Python files.

A run folder stores the names of external parts, but opening a run never imports their code. The
code is loaded only if the user imports it, passes an object, uses ``--import FILE``, or installs a
package with an entry point in the group ``varied.parts``.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from varied.errors import VariedError, lookup

#: The tables that accept external entries, by kind of part.
TABLES = {
    "architecture": "varied.models:ARCHITECTURES",
    "net": "varied.nets:NETS",
    "likelihood": "varied.likelihoods:LIKELIHOODS",
    "posterior": "varied.posteriors:POSTERIORS",
    "prior": "varied.priors:PRIORS",
    "objective": "varied.objectives:OBJECTIVES",
    "model": "varied.zoo:ZOO",
    "data": "varied.data.codecs:CODECS",
    "suite": "varied.evaluate.suites:SUITES",
    "use": "varied.runs.uses:USES",
}
ENTRY_POINTS = "varied.parts"
_PART_PACKAGES = ("likelihoods", "models", "nets", "objectives", "posteriors", "priors")


@dataclass(frozen=True)
class Origin:
    """The module of a registered object, and the version of the package that provides it."""

    module: str
    version: str

    def __str__(self) -> str:
        return f"{self.module} {self.version}".strip()


_origins: dict[tuple[str, str], Origin] = {}
#: Modules whose classes and functions can be referred to as "module:name".
_trusted: set[str] = set()
_entry_points_loaded = False


def register(kind: str, name: str, part: Any) -> None:
    """Register a part, so that it can be used by name.

    Runs record the name, the module and the version of the part. Before another process can open
    such a run, it must register the part again, by importing the module that calls this function.

    Arguments:
        kind: "architecture", "net", "likelihood", "posterior", "prior", "objective", "model" (a
            `varied.zoo.Entry`), "data" (a `varied.data.Codec`), "suite" (of metrics) or "use".
        name: The name in specs, flags and files.
        part: The class or function.

    Raises:
        VariedError: If the kind is unknown, or Varied itself has a part with this name.
    """
    table = part_table(kind)
    if name in table and (kind, name) not in _origins:
        raise VariedError(
            f"The {kind} '{name}' is part of Varied; register yours under a different name."
        )
    table[name] = part
    _origins[kind, name] = origin_of(part)


def part_table(kind: str) -> MutableMapping[str, Any]:
    """Return the table for a kind of part.

    Raises:
        VariedError: If the kind is unknown.
    """
    module, _, attribute = lookup(TABLES, kind, "kind of part").partition(":")
    table: MutableMapping[str, Any] = getattr(importlib.import_module(module), attribute)
    return table


def find(kind: str, name: str, table: Mapping[str, Any] | None = None) -> Any:
    """Return the part with a given name, and load entry points if the part is not in the table.

    Raises:
        VariedError: If there is no such part; the message suggests the most similar name.
    """
    table = part_table(kind) if table is None else table
    if name not in table:
        load_entry_points()
    return lookup(table, name, "kind of data" if kind == "data" else kind)


def is_registered(kind: str, name: str) -> bool:
    """Return whether a part is available; load entry points if the part is not in the table."""
    table = part_table(kind)
    if name not in table:
        load_entry_points()
    return name in table


def origin(kind: str, name: str) -> Origin | None:
    """Return the origin of a registered part, or None if the part belongs to Varied."""
    return _origins.get((kind, name))


def origin_of(part: Any) -> Origin:
    """Return the module of a class, function or instance, and the package version if known."""
    module = str(getattr(part, "__module__", None) or type(part).__module__)
    if module == "__main__":
        main = getattr(sys.modules["__main__"], "__file__", None)
        return Origin(Path(main).stem if main else module, "")
    package = module.partition(".")[0]
    return Origin(module, _version(package))


@cache
def _version(package: str) -> str:
    providers = importlib.metadata.packages_distributions().get(package, [package])
    try:
        return importlib.metadata.version(providers[0])
    except importlib.metadata.PackageNotFoundError:
        return str(getattr(sys.modules.get(package), "__version__", ""))


def load_entry_points() -> None:
    """Load the entry points of installed packages in the group ``varied.parts``, once.

    An entry point refers either to a module, which registers its parts when it is imported, or to a
    function, which is called.

    Raises:
        VariedError: If an entry point fails.
    """
    global _entry_points_loaded
    if _entry_points_loaded:
        return
    _entry_points_loaded = True
    for entry in importlib.metadata.entry_points(group=ENTRY_POINTS):
        try:
            loaded = entry.load()
            _trusted.add(entry.module)
            if not isinstance(loaded, ModuleType):
                loaded()
        except Exception as error:
            raise VariedError(
                f"The entry point '{entry.name}' ({entry.value}) failed with "
                f"{type(error).__name__}: {error}; fix or uninstall its package."
            ) from error


def import_parts(source: str | Path) -> ModuleType:
    """Run a Python file, or import a module by name, so that it can register its parts.

    Arguments:
        source: A path such as ``my_parts.py``, or the name of a module.

    Raises:
        VariedError: If the file or module does not exist, or raises an error.
    """
    path = Path(source)
    try:
        is_file = path.suffix == ".py"
        module = _run_file(path) if is_file else importlib.import_module(str(source))
    except VariedError:
        raise
    except ModuleNotFoundError as error:
        if error.name == str(source):
            raise VariedError(
                f"There is no module '{source}'; install it, or use a file such as {source}.py."
            ) from None
        raise VariedError(f"{source} requires the module '{error.name}'; install it.") from error
    except Exception as error:
        raise VariedError(
            f"{source} failed with {type(error).__name__}: {error}; fix its code."
        ) from error
    _trusted.add(module.__name__)
    return module


def _run_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise VariedError(f"There is no file {path}; provide the path of a Python file.")
    if (loaded := sys.modules.get(path.stem)) is not None:
        if Path(getattr(loaded, "__file__", None) or "").resolve() == path.resolve():
            return loaded
        raise VariedError(f"A module named '{path.stem}' is already loaded; rename {path}.")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[path.stem]
        raise
    return module


# Classes and functions by "module:name"


def qualified_name(part: Any) -> str:
    """Return "module:name" for a class, a function, or the class of an instance.

    The module is trusted from then on, since the user passed an object from it.

    Raises:
        VariedError: If the class or function, such as a lambda, has no importable name.
    """
    builder = part if inspect.isclass(part) or inspect.isfunction(part) else type(part)
    if "<" in builder.__qualname__:
        raise VariedError(
            f"{builder.__qualname__} has no importable name that a run can store; define it at the "
            "top level of a module."
        )
    module = origin_of(builder).module
    _trusted.add(module)
    return f"{module}:{builder.__qualname__}"


def is_own(name: str) -> bool:
    """Return whether the module in "module:name" is in one of Varied's packages with parts."""
    package, _, module = name.partition(":")[0].partition(".")
    return package == "varied" and module.partition(".")[0] in _PART_PACKAGES


def resolve(name: str) -> Callable[..., Any] | None:
    """Return the class or function named "module:name" from a trusted module, or None."""
    module_name, _, qualname = name.partition(":")
    if is_own(name):
        with contextlib.suppress(ImportError):  # the run may be from a different version
            importlib.import_module(module_name)
            _trusted.add(module_name)
    module = sys.modules.get(module_name)
    if module is None and origin_is_main(module_name):
        module = sys.modules["__main__"]
    if module_name not in _trusted or module is None:
        return None
    part: Any = module
    for attribute in qualname.split("."):
        part = getattr(part, attribute, None)
    defined_here = getattr(part, "__module__", None) == module.__name__
    return part if callable(part) and defined_here else None


def origin_is_main(module_name: str) -> bool:
    """Return whether a module name refers to the script that is running."""
    main = getattr(sys.modules["__main__"], "__file__", None)
    return main is not None and Path(main).stem == module_name
