"""Static checks of Python code in the documentation: the names that it uses exist."""

import ast
import builtins
import dataclasses
import importlib
import inspect
import typing

import varied


def python_errors(source, **known):
    """Yield imports, attributes and calls in Python code that do not match the package.

    Arguments:
        source: The code.
        known: The classes of variables that the code does not assign, such as ``run=varied.Run``.
    """
    tree, known = ast.parse(source), {"varied": varied, **known}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("varied"):
            module = importlib.import_module(node.module)
            names = {alias.name: getattr(module, alias.name, None) for alias in node.names}
            yield from (f"{name} does not exist" for name, value in names.items() if value is None)
            known |= names
        elif isinstance(node, ast.Import | ast.ImportFrom):
            known = {alias.asname or alias.name: None for alias in node.names} | known
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            known[node.name] = None
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            known.setdefault(node.targets[0].id, _value(node.value, known))
    called = {node.func for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and (owner := _value(node.value, known)) is not None:
            # Attributes of other objects may be set in a method.
            is_known = node in called or inspect.ismodule(owner) or dataclasses.is_dataclass(owner)
            if is_known and node.attr not in _attributes(owner):
                yield f"{ast.unparse(node)} does not exist"
        elif isinstance(node, ast.Call):
            yield from _call_errors(node, known)


def _value(node, known):
    """Return the module, class or function that an expression stands for, or None.

    The class of an object stands for the object.
    """
    if isinstance(node, ast.Name):
        return known.get(node.id)
    if isinstance(node, ast.Attribute):
        value = getattr(_value(node.value, known), node.attr, None)
        return None if isinstance(value, property) else value
    if not isinstance(node, ast.Call):
        return None
    function = _value(node.func, known)
    if inspect.isclass(function) or function is None:
        return function
    try:
        result = typing.get_type_hints(function).get("return")
    except (NameError, TypeError):  # not imported at runtime, or not a Python function
        return None
    return result if inspect.isclass(result) and result.__module__.startswith("varied") else None


def _attributes(owner):
    annotations = [vars(base).get("__annotations__", {}) for base in getattr(owner, "__mro__", ())]
    return {*dir(owner), *(name for names in annotations for name in names)}


def _call_errors(call, known):
    """Yield an error if a function is not imported or does not accept the arguments."""
    is_name = isinstance(call.func, ast.Name)
    if is_name and call.func.id not in known and call.func.id not in dir(builtins):
        yield f"{call.func.id} is not imported"
    function = _value(call.func, known)
    if not getattr(function, "__module__", "").startswith("varied"):
        return
    if inspect.isclass(function) and not ast.unparse(call.func).endswith(function.__name__):
        return  # the object, not the class, is called
    owner = _value(call.func.value, known) if isinstance(call.func, ast.Attribute) else None
    is_method = inspect.isclass(owner) and inspect.isfunction(function)
    try:
        keywords = {keyword.arg: keyword for keyword in call.keywords}
        inspect.signature(function).bind(*[None] * is_method, *call.args, **keywords)
    except ValueError:  # it has no signature
        return
    except TypeError as error:
        yield f"{ast.unparse(call.func)}: {error}"
