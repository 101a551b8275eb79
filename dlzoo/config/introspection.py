"""What the classes and functions that a config names take, and whether the values given are of that kind."""

from __future__ import annotations

import inspect
import math
import os
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dlzoo.errors import UserError, nearest, short
from dlzoo.utils.type_checks import _expected, _fits, readable

PACKAGE = Path(__file__).resolve().parents[1]

LARGEST = 2**63 - 1
"""What PyTorch can count to."""

MOST_LAYERS = 1000
"""To build more would take longer than to notice the mistake."""


def locate(target: str, key: str) -> Any:
    """The class or function that a ``_target_`` names; `UserError` with the nearest name if there is none.

    It imports the module. A name that a file or a checkpoint gives must have passed `trust.Trust.check_target`.
    """
    if not isinstance(target, str):
        raise UserError(f"{key}={target}: this must be the name of a class, package.module.Name")
    module_name, _, name = target.rpartition(".")
    try:
        module = __import__(module_name, fromlist=[name])
    except ImportError as error:
        if error.name and not module_name.startswith(error.name):
            raise UserError(f"{key}={target} needs the package {error.name}, which is not installed") from None
        raise UserError(f"{key}={target}: there is no module {module_name}{_near_module(module_name)}") from None
    except ValueError:
        raise UserError(f"{key}={target} is not of the form package.module.Name") from None
    except Exception as error:  # whatever the code of a module does
        raise UserError(f"{key}={target}: {module_name} cannot be imported ({type(error).__name__}: {error})") from None
    if not hasattr(module, name):
        public = [n for n in vars(module) if not n.startswith("_")]
        raise UserError(f"{key}={target}: {module_name} has no {name}; {nearest(name, public)}")
    return getattr(module, name)


def arguments(target: Any) -> dict[str, Any]:
    """The keyword arguments of a class or function with their annotations, those behind ``**options`` included."""
    if not inspect.isclass(target):
        return _own_arguments(target)[0]
    found: dict[str, Any] = {}
    for cls in target.__mro__:
        if "__init__" in vars(cls):
            own, open_ended = _own_arguments(vars(cls)["__init__"])
            found = own | found
            if not open_ended:
                break
    return found


def targets(node: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every dict with a ``_target_`` in a node, with its dotted place."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield path, node
        for key, value in node.items():
            yield from targets(value, f"{path}.{key}")
    elif isinstance(node, list):
        for i, value in enumerate(node):
            yield from targets(value, f"{path}[{i}]")


def check_arguments(node: dict[str, Any], path: str, filled_in: set[str]) -> None:
    target = locate(node["_target_"], f"{path}._target_")
    allowed = {k: v for k, v in arguments(target).items() if k not in filled_in}
    for key, value in node.items():
        if key in ("_target_", "_partial_"):
            continue
        if key not in allowed:
            raise UserError(f"{path}.{key}: {node['_target_']} has no such option; {nearest(key, allowed)}")
        check_number(f"{path}.{key}", value)
        hint = allowed[key]
        if isinstance(value, dict) and "_target_" in value:
            _check_nested(value, hint, f"{path}.{key}")
            continue
        if hint is inspect.Parameter.empty:
            continue
        if value == "???":
            raise UserError(f"{path}.{key} is missing: give {path}.{key}=…")
        if not (_fits(value, hint) or (isinstance(value, list) and _fits(tuple(value), hint))):  # YAML has no tuples
            raise UserError(f"{path}.{key}={short(value)}: {_expected(value, hint)}")


def _check_nested(node: dict[str, Any], hint: Any, path: str) -> None:
    """`UserError` if what is built inside of a part is not of the kind that its option wants."""
    if hint in (inspect.Parameter.empty, Any):
        return
    found = locate(node["_target_"], f"{path}._target_")
    if not (isinstance(found, type) and any(issubclass(found, kind) for kind in _classes(hint))):
        raise UserError(f"{path}._target_={node['_target_']} is not built: this must be {readable(hint)}")


def _classes(hint: Any) -> list[type]:
    """The classes that an annotation names, plain values left out."""
    if inspect.isclass(hint) and typing.get_origin(hint) is None:
        return [] if hint in (int, float, str, bool, type(None)) else [hint]
    return [kind for part in typing.get_args(hint) for kind in _classes(part)]


def check_number(key: str, value: Any) -> None:
    """`UserError` for numbers that no option can mean, also inside of lists: NaN, and more than 64 bits."""
    for item in value if isinstance(value, list | tuple) else ():
        check_number(key, item)
    if isinstance(value, float) and math.isnan(value):
        raise UserError(f"{key}=nan: this must be a number")
    if isinstance(value, int) and not -LARGEST <= value <= LARGEST:
        raise UserError(f"{key}={value}: this is too large a number")
    name = key.rpartition(".")[2]
    if name == "num_layers" and isinstance(value, int) and value > MOST_LAYERS:
        raise UserError(f"{key}={value}: this is too many; at most {MOST_LAYERS}")
    if isinstance(value, int) and (name == "seed" or name.endswith("_seed")):
        if isinstance(value, bool):
            raise UserError(f"{key}={value}: this must be a whole number")
        if not 0 <= value < 2**32:
            raise UserError(f"{key}={value}: this must not be negative, and below {2**32}")


def _own_arguments(function: Any) -> tuple[dict[str, Any], bool]:
    """Annotations by argument (``Parameter.empty`` where unknown), and whether ``**options`` takes others."""
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    try:
        hints = typing.get_type_hints(function)
    except (NameError, TypeError, AttributeError):
        hints = {}
    parameters = [p for p in inspect.signature(function).parameters.values() if p.name != "self"]
    named = {
        p.name: hints.get(p.name, p.empty) for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    }
    return named, any(p.kind is p.VAR_KEYWORD for p in parameters)


def _near_module(module_name: str) -> str:
    parts = module_name.split(".")
    folder = PACKAGE.parent.joinpath(*parts[:-1])
    if parts[0] != "dlzoo":
        return "; if it is yours, install its package, or put the folder that holds it into PYTHONPATH"
    names = [f.stem for f in folder.glob("*.py")] if os.path.isdir(folder) else []
    return f"; {nearest(parts[-1], names)}" if names else ""
