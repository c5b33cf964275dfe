"""Rules for the source code, checked with `ast`: layers, forbidden calls, sizes and names.

Each rule is a function that maps source code to a list of violations. The package is checked with
each rule, and each rule is tested on small examples that violate it.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "varied"

# The layers, lowest first. A module imports only from lower layers and from its own package.
LAYERS = (
    {"errors"},
    {"registry"},
    {"atomic_io", "schedules", "seeding"},
    {"process_group"},
    {"run_list"},
    {"plots"},
    {"schema", "stored_values", "tensor_io", "scheduled_value"},
    {"distributions"},
    {"nets", "heads", "data"},
    {"quantizers"},
    {"trace"},
    {"likelihoods", "posteriors", "priors"},
    {"models"},
    {"terms"},
    {"discriminators"},
    {"objectives"},
    {"spec", "allocation_limit"},
    {"composition"},
    {"zoo", "explain"},
    {"setup_cache"},
    {"runtime"},
    {"training_state"},
    {"training_step", "synchronization"},
    {"nonfinite", "step_memory"},
    {"training_loop"},
    {"prior_fitting"},
    {"evaluate"},
    {"functional"},
    {"compression", "export"},
    {"report"},
    {"runs"},
    {"evaluate.suites"},
    {"training"},
    {"estimators"},
    {"client"},
    {"studio"},
    {"cli"},
    {"worker", "__main__"},
)
LAYER_OF = {name: height for height, names in enumerate(LAYERS) for name in names}
TOP_LEVEL_NAMES = {"__version__"}

MAX_LINES = 450
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "common", "misc"}
PICKLE_MODULES = {"pickle", "_pickle", "cPickle", "joblib", "dill", "cloudpickle", "shelve"}
NETWORK_MODULES = {"urllib", "requests", "http", "socket", "httpx", "aiohttp", "ftplib"}
WITHOUT_CONNECTION = {"urllib.parse", "http.cookies"}
MAY_USE_NETWORK = {
    *("varied/data/catalog.py", "varied/data/download.py"),
    *("varied/client.py", "varied/studio/serving.py"),
}
FORBIDDEN_CALLS = {
    "torch.load": "it unpickles; store weights as safetensors",
    "torch.save": "it pickles; store weights as safetensors",
    "yaml.load": "it can run code; use TOML or JSON",
    "eval": "it runs text as code",
    "exec": "it runs text as code",
    "hasattr": "give the base class a default, or use a Protocol",
}
#: Methods and functions that change files, which only `varied.atomic_io` calls.
DISK_CALLS = {
    *("mkdir", "makedirs", "rmdir", "unlink", "touch", "chmod", "symlink_to"),
    *("write_text", "write_bytes", "tofile", "savefig", "fsync", "mkstemp", "copytree", "rmtree"),
    *("copyfile", "copy2", "extractall", "to_csv", "to_parquet", "save_file"),
}
#: Files that write to a temporary folder, a buffer or the null device.
MAY_WRITE = {
    "varied/atomic_io.py": DISK_CALLS,
    "varied/cli/errors.py": set(),  # the null device
    "varied/data/molecules/parsing.py": {"write_text"},
    "varied/plots/style.py": {"savefig"},
    "varied/runs/columns.py": {"to_csv"},
    "varied/studio/uploads.py": set(),  # the members of a zip file
}
#: Words that end in "ed" but are not past participles.
NOT_PARTICIPLES = {"embed", "seed", "speed", "feed", "need", "seeded"}


@cache
def files() -> dict[str, str]:
    """Return the source code of the package's files by path."""
    return {p.relative_to(ROOT).as_posix(): p.read_text("utf-8") for p in PACKAGE.rglob("*.py")}


def violations(rule):
    """Return the violations of a rule in the package."""
    return [text for path, source in files().items() for text in rule(source, path)]


def module_name(path: str) -> str:
    """Return the module name of a file: ``varied.nets.conv`` for ``varied/nets/conv.py``."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def imports(source: str, path: str = "varied/x.py") -> Iterator[tuple[str, str]]:
    """Yield (module, name) for each import; the name is empty for ``import module``."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = absolute_module(node, path)
            yield from ((module, alias.name) for alias in node.names)


def absolute_module(node: ast.ImportFrom, path: str) -> str:
    if not node.level:
        return node.module or ""
    package = Path(path).parts[: -node.level]
    return ".".join([*package, *([node.module] if node.module else [])])


def imported_packages(source: str) -> set[str]:
    """Return the top-level packages that source code imports."""
    names = (f"{module}.{name}" for module, name in imports(source))
    return {name.partition(".")[0] for name in names if not is_without_connection(name)}


def is_without_connection(name: str) -> bool:
    return any(f"{name}.".startswith(f"{module}.") for module in WITHOUT_CONNECTION)


# Layers


def upward_imports(source: str, path: str) -> list[str]:
    """Return the imports that are not from a lower layer."""
    if path == "varied/__init__.py":
        return []
    here = part_of(module_name(path), "")
    if here not in LAYER_OF:
        return [f"{path}: add `{here}` to LAYERS in tests/test_code_rules.py."]
    texts = []
    for module, name in imports(source, path):
        if module.partition(".")[0] != "varied":
            continue
        there = part_of(module, name)
        if there == here or (module == "varied" and name in TOP_LEVEL_NAMES):
            continue
        if there not in LAYER_OF:
            texts.append(f"{path}: imports `{there or 'varied'}`, which is in no layer.")
        elif LAYER_OF[there] >= LAYER_OF[here]:
            texts.append(
                f"{path}: `{here}` is in layer {LAYER_OF[here]}, `{there}` in {LAYER_OF[there]}."
            )
    return texts


def part_of(module: str, name: str) -> str:
    """Return the subpackage or module that an import refers to, or "" for the package itself."""
    parts = [*module.split("."), *([name] if name else [])][1:]
    nested = ".".join(parts[:2])
    return nested if nested in LAYER_OF else (parts[0] if parts else "")


def test_imports_are_from_lower_layers() -> None:
    assert not violations(upward_imports)


@pytest.mark.parametrize(
    ("source", "path"),
    [
        ("from varied.training_loop import train", "varied/nets/mlp.py"),
        ("import varied.likelihoods", "varied/priors.py"),
        ("from ..objectives import Objective", "varied/models/vae.py"),
        ("from varied import train", "varied/runs.py"),
        ("import varied", "varied/runs.py"),
        ("def f():\n    from varied.cli import main", "varied/functional/sample.py"),
        ("if TYPE_CHECKING:\n    from varied.spec import Spec", "varied/trace.py"),
        ("", "varied/attic.py"),
    ],
)
def test_upward_imports_are_detected(source: str, path: str) -> None:
    assert len(upward_imports(source, path)) == 1


@pytest.mark.parametrize(
    ("source", "path"),
    [
        ("from varied.errors import VariedError", "varied/schedules.py"),
        ("from .mlp import MLP", "varied/nets/conv.py"),
        ("from varied import __version__, errors", "varied/runs.py"),
        ("import torch", "varied/errors.py"),
    ],
)
def test_downward_imports_are_allowed(source: str, path: str) -> None:
    assert not upward_imports(source, path)


def import_cycle(sources: dict[str, str]) -> list[str]:
    """Return the modules of an import cycle, or an empty list."""
    paths = {module_name(path): path for path in sources}
    graph = {
        module: {target(*i, paths) for i in imports(sources[path], path)} & paths.keys() - {module}
        for module, path in paths.items()
        if module != "varied"
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def target(module: str, name: str, paths: dict[str, str]) -> str:
    inner = f"{module}.{name}"
    return inner if inner in paths else module


def test_there_is_no_import_cycle() -> None:
    assert not import_cycle(at_runtime(files()))


def at_runtime(sources: dict[str, str]) -> dict[str, str]:
    """Remove imports for type checkers and inside functions, which may be cyclic."""
    return {path: ast.unparse(RuntimeImports().visit(ast.parse(s))) for path, s in sources.items()}


class RuntimeImports(ast.NodeTransformer):
    def visit_If(self, node):
        return None if "TYPE_CHECKING" in ast.unparse(node.test) else node

    def visit_FunctionDef(self, node):
        return ast.Pass()


def test_an_import_cycle_is_detected() -> None:
    sources = {
        "varied/nets/mlp.py": "from varied.nets import conv",
        "varied/nets/conv.py": "from .mlp import MLP",
    }
    assert set(import_cycle(sources)) == {"varied.nets.mlp", "varied.nets.conv"}


# Forbidden code


def forbidden(source: str, path: str = "varied/x.py") -> list[str]:
    """Return the uses of pickle, `eval`, `exec`, network connections, `print` and `hasattr`."""
    texts = [f"{path}: `{name}` pickles." for name in PICKLE_MODULES & imported_packages(source)]
    if path not in MAY_USE_NETWORK:
        modules = NETWORK_MODULES & imported_packages(source)
        texts += [f"{path}: `{name}` opens connections." for name in modules]
    tree = ast.parse(source)
    aliases = import_aliases(tree)
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    return texts + [text for call in calls if (text := forbidden_call(call, aliases, path))]


def forbidden_call(call: ast.Call, aliases: dict[str, str], path: str) -> str:
    name, place = qualified_name(call.func, aliases), f"{path}:{call.lineno}"
    if name in FORBIDDEN_CALLS:
        return f"{place}: `{name}`: {FORBIDDEN_CALLS[name]}."
    if name == "print" and not path.startswith("varied/cli"):
        return f"{place}: `print`: only the command line prints."
    for keyword in call.keywords:
        is_false = isinstance(keyword.value, ast.Constant) and keyword.value.value is False
        if keyword.arg == "allow_pickle" and not is_false:
            return f"{place}: `allow_pickle` unpickles."
    return ""


def disk_calls(source: str, path: str) -> list[str]:
    """Return the calls that change files or folders outside of `varied.atomic_io`."""
    allowed = MAY_WRITE.get(path, set())
    return [
        f"{path}:{call.lineno}: `{name}` changes files; use varied.atomic_io."
        for call in ast.walk(ast.parse(source))
        if isinstance(call, ast.Call)
        for name in [call.func.attr if isinstance(call.func, ast.Attribute) else ""]
        if (name in DISK_CALLS - allowed) or (path not in MAY_WRITE and opens_for_writing(call))
    ]


def opens_for_writing(call: ast.Call) -> bool:
    """Return whether a call is ``open`` with a mode that can change the file."""
    if ast.unparse(call.func).rpartition(".")[2] not in ("open", "fdopen"):
        return False
    values = [*call.args, *(keyword.value for keyword in call.keywords if keyword.arg == "mode")]
    texts = {value.value for value in values if isinstance(value, ast.Constant)}
    return any(
        isinstance(text, str) and re.fullmatch(r"[rwaxbt+]*[wax+][bt+]*", text) for text in texts
    )


def test_only_atomic_io_changes_files() -> None:
    assert not violations(disk_calls)


@pytest.mark.parametrize(
    "source",
    [
        "path.mkdir(parents=True)",
        "path.write_text('a')",
        "open(path, 'w')",
        "path.open(mode='ab')",
        "shutil.rmtree(folder)",
        "frame.to_csv(path)",
    ],
)
def test_calls_that_change_files_are_detected(source: str) -> None:
    assert len(disk_calls(source, "varied/runs/run.py")) == 1
    assert not disk_calls(source.replace("'w'", "'rb'"), "varied/atomic_io.py")


@pytest.mark.parametrize("source", ["open(path, 'rb')", "path.open()", "Image.open(file)"])
def test_reading_files_is_allowed(source: str) -> None:
    assert not disk_calls(source, "varied/runs/run.py")


def qualified_name(node: ast.expr, aliases: dict[str, str]) -> str:
    """Return the full name of a function, such as ``torch.load`` for ``t.load``."""
    if isinstance(node, ast.Name):
        return aliases.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        return f"{qualified_name(node.value, aliases)}.{node.attr}"
    return ""


def import_aliases(tree: ast.Module) -> dict[str, str]:
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {a.asname: a.name for a in node.names if a.asname}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    return names


def test_there_is_no_forbidden_code() -> None:
    assert not violations(forbidden)


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import dump",
        "import torch\ntorch.load('x')",
        "import torch as t\nt.save(x, 'x')",
        "from torch import load as read\nread('x')",
        "import numpy as np\nnp.load('x', allow_pickle=True)",
        "import yaml\nyaml.load(x)",
        "eval('1')",
        "exec('1')",
        "print('x')",
        "import urllib.request",
        "from urllib import parse, request",
        "def f():\n    import requests",
        "hasattr(model, 'prior')",
    ],
)
def test_forbidden_code_is_detected(source: str) -> None:
    assert len(forbidden(source)) == 1


@pytest.mark.parametrize(
    ("source", "path"),
    [
        ("model.eval()", "varied/x.py"),
        ("np.load('x', allow_pickle=False)", "varied/x.py"),
        ("print('x')", "varied/cli/sample.py"),
        ("from urllib.parse import quote", "varied/report/model_card.py"),
        ("import urllib.request", "varied/data/catalog.py"),
    ],
)
def test_other_code_is_allowed(source: str, path: str) -> None:
    assert not forbidden(source, path)


# Kinds of data


def kind_checks(source: str, path: str = "varied/x.py") -> list[str]:
    """Return the code outside the codecs that depends on the kind of data."""
    if path.startswith("varied/data/codecs/"):
        return []
    texts = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "isinstance":
            if re.search(r"\w+Codec\b", ast.unparse(node.args[1])):
                texts.append(f"{path}:{node.lineno}: give `Codec` a method instead.")
        elif isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            names = [s.attr for s in sides if isinstance(s, ast.Attribute)]
            literals = {s.value for s in sides if isinstance(s, ast.Constant)}
            if "kind" in names and literals & {"image", "table", "array"}:
                texts.append(f"{path}:{node.lineno}: give `Codec` a method instead.")
    return texts


def test_only_codecs_depend_on_the_kind_of_data() -> None:
    assert not violations(kind_checks)


@pytest.mark.parametrize(
    "source",
    [
        "isinstance(run.codec, TableCodec)",
        "isinstance(codec, ImageCodec | ArrayCodec)",
        "data.kind == 'table'",
        "'image' != self.data.kind",
    ],
)
def test_a_check_of_the_kind_of_data_is_detected(source: str) -> None:
    assert len(kind_checks(source)) == 1
    assert not kind_checks(source, "varied/data/codecs/images.py")


# Sizes and names


def long_files(source: str, path: str) -> list[str]:
    lines = len(source.splitlines())
    return [f"{path}: {lines} lines; split it."] if lines > MAX_LINES else []


def vague_file_names(source: str, path: str) -> list[str]:
    stems = (part.partition(".")[0].strip("_") for part in Path(path).parts)
    return [f"{path}: `{stem}` is not specific." for stem in stems if stem in VAGUE_NAMES]


def participles(source: str, path: str) -> list[str]:
    """Return the modules and functions whose name is a past participle."""
    functions = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef)]
    names = [Path(path).stem, *(f.name for f in functions if not f.decorator_list)]
    return [f"{path}: `{name}`: use a verb or a noun." for name in names if is_participle(name)]


def is_participle(name: str) -> bool:
    words = name.strip("_").split("_")
    is_boolean = words[0] in ("is", "has", "supports")
    return (
        not is_boolean
        and len(words) == 1
        and words[0].endswith("ed")
        and (words[0] not in NOT_PARTICIPLES)
    )


def exports_of_modules(source: str, path: str) -> list[str]:
    """Return the modules that define `__all__`, which only packages should do."""
    is_package = path.endswith("__init__.py")
    return [] if is_package or "\n__all__" not in source else [f"{path}: remove `__all__`."]


@pytest.mark.parametrize("rule", [long_files, vague_file_names, participles, exports_of_modules])
def test_files_are_short_and_named_well(rule) -> None:
    assert not violations(rule)


def test_long_files_and_bad_names_are_detected() -> None:
    assert long_files("x = 1\n" * (MAX_LINES + 1), "varied/x.py")
    assert not long_files("x = 1\n" * MAX_LINES, "varied/x.py")
    assert vague_file_names("", "varied/nets/utils.py")
    assert vague_file_names("", "varied/_helpers/mlp.py")
    assert not vague_file_names("", "varied/common_sense.py")
    assert participles("", "varied/measured.py")
    assert participles("def widened(x): ...", "varied/x.py")
    assert not participles("def embed(x): ...", "varied/x.py")
    assert exports_of_modules("import x\n__all__ = []", "varied/x.py")


# Dependencies


def unpinned(pyproject: str, constraints: str) -> set[str]:
    """Return the dependencies of the package, tests and linters that have no constraint."""
    table = tomllib.loads(pyproject)
    groups = table.get("dependency-groups", {})
    required = [*table["project"]["dependencies"], *(x for group in groups.values() for x in group)]
    pinned = {project_name(line) for line in constraints.splitlines() if "==" in line}
    return {project_name(line) for line in required} - pinned


def project_name(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0].lower().replace("_", "-")


def test_dependencies_are_pinned() -> None:
    pyproject, constraints = ROOT / "pyproject.toml", ROOT / "constraints.txt"
    assert not unpinned(pyproject.read_text("utf-8"), constraints.read_text("utf-8"))


def test_a_missing_pin_is_detected() -> None:
    pyproject = '[project]\ndependencies = ["torch>=2.9", "rich>=13"]'
    assert unpinned(pyproject, "# torch\nrich==15.0.0\n") == {"torch"}
