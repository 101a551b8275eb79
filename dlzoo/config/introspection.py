"""The arguments of the classes and functions that a config names, and whether given values match their types."""

from __future__ import annotations

import inspect
import math
import os
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dlzoo.config.bounds import MAX_LAYERS, by_name
from dlzoo.errors import UserError, nearest, short
from dlzoo.utils.type_checks import has_type, mismatch, readable

PACKAGE = Path(__file__).resolve().parents[1]

MAX_INT = 2**63 - 1
"""The largest integer of PyTorch."""
MAX_FLOAT = 3.4028234663852886e38
"""The largest finite number of single precision, in which nets compute."""


def locate(target: object, key: str) -> object:
    """The class or function that a ``_target_`` names; `UserError` with the closest name if it does not exist.

    It imports the module. A name from a file or a checkpoint must have passed `allowlist.Trust.check_target`.
    """
    if not isinstance(target, str):
        raise UserError(f"{key}={target} must be the name of a class, package.module.Name")
    module_name, _, name = target.rpartition(".")
    try:
        module = __import__(module_name, fromlist=[name])
    except ImportError as error:
        if error.name and not module_name.startswith(error.name):
            raise UserError(f"{key}={target} needs the package {error.name}, which is not installed") from None
        raise UserError(f"{key}={target}: no module {module_name}{_near_module(module_name)}") from None
    except ValueError:
        raise UserError(f"{key}={target} is not of the form package.module.Name") from None
    except Exception as error:  # importing runs arbitrary code
        raise UserError(f"{key}={target}: {module_name} cannot be imported ({type(error).__name__}: {error})") from None
    if not hasattr(module, name):
        public = [n for n in vars(module) if not n.startswith("_")]
        raise UserError(f"{key}={target}: {module_name} has no {name}; {nearest(name, public)}")
    return getattr(module, name)


def arguments(target: object) -> dict[str, object]:
    """The keyword arguments of a class or function with their annotations, including those behind ``**options``."""
    if not inspect.isclass(target):
        return _direct_arguments(target)[0]
    hints: dict[str, object] = {}
    for cls in target.__mro__:
        if "__init__" in vars(cls):
            direct, is_open = _direct_arguments(vars(cls)["__init__"])
            hints = direct | hints
            if not is_open:
                break
    return hints


def check_arguments(node: Mapping[str, object], path: str, runtime: set[str]) -> None:
    """Check the options of a part against the signature of its ``_target_``.

    Args:
        path: dotted key of the part.
        runtime: arguments that are passed when the part is built, so a config must not set them.

    Raises:
        UserError: an unknown option, or a value of the wrong type.
    """
    target = locate(node["_target_"], f"{path}._target_")
    allowed = {k: v for k, v in arguments(target).items() if k not in runtime}
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
        if isinstance(value, dict):
            nested = {name: part for name, part in value.items() if isinstance(part, dict) and "_target_" in part}
            for name, part in nested.items():
                _check_nested(part, hint, f"{path}.{key}.{name}")
            value = {name: item for name, item in value.items() if name not in nested}
        if value == "???":
            raise UserError(f"{path}.{key} is missing: give {path}.{key}=…")
        if not (has_type(value, hint) or (isinstance(value, list) and has_type(tuple(value), hint))):  # YAML: no tuples
            raise UserError(f"{path}.{key}={short(value)} {mismatch(value, hint)}")


def _check_nested(node: Mapping[str, object], hint: object, path: str) -> None:
    """`UserError` if a class nested inside a part is not of the type that its option expects."""
    if hint in (inspect.Parameter.empty, Any):
        return
    located = locate(node["_target_"], f"{path}._target_")
    if not (isinstance(located, type) and any(issubclass(located, cls) for cls in _classes(hint))):
        raise UserError(f"{path}._target_={node['_target_']} is not allowed: it must be {readable(hint)}")


def _classes(hint: object) -> list[type]:
    """The classes in an annotation, except those of plain values."""
    if inspect.isclass(hint) and typing.get_origin(hint) is None:
        return [] if hint in (int, float, str, bool, type(None)) else [hint]
    return [cls for part in typing.get_args(hint) for cls in _classes(part)]


def check_number(key: str, value: object) -> None:
    """`UserError` for numbers that are invalid for any option, also in lists: NaN, finite ones beyond those of single
    precision, and integers of over 64 bits."""
    for item in value if isinstance(value, list | tuple) else ():
        check_number(key, item)
    if key.startswith("net.") and isinstance(value, list | tuple) and len(value) > MAX_LAYERS:
        raise UserError(f"{key}: these are {len(value):,} layers; at most {MAX_LAYERS:,}")
    if isinstance(value, float) and math.isnan(value):
        raise UserError(f"{key}=nan must be a number")
    if isinstance(value, float) and math.isfinite(value) and abs(value) > MAX_FLOAT:
        raise UserError(f"{key}={value} is too large for a number of single precision; at most {MAX_FLOAT:.2g}")
    if isinstance(value, int) and not -MAX_INT <= value <= MAX_INT:
        raise UserError(f"{key}={short(value)} is too large; at most {MAX_INT}")
    if (bounds := by_name(key.rpartition(".")[2])) is not None:
        bounds.check(key, value)


def _direct_arguments(function: object) -> tuple[dict[str, object], bool]:
    """Annotations by argument (``Parameter.empty`` if unknown), and whether there is a ``**options``."""
    if not callable(function):
        raise TypeError(f"{function} is not callable")
    unwrapped = inspect.unwrap(function)
    try:
        hints = typing.get_type_hints(unwrapped)
    except (NameError, TypeError, AttributeError):
        hints = {}
    parameters = [p for p in inspect.signature(unwrapped).parameters.values() if p.name != "self"]
    named = {
        p.name: hints.get(p.name, p.empty) for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    }
    return named, any(p.kind is p.VAR_KEYWORD for p in parameters)


def _near_module(module_name: str) -> str:
    parts = module_name.split(".")
    folder = PACKAGE.parent.joinpath(*parts[:-1])
    if parts[0] != "dlzoo":
        return "; if it is yours, install its package, or add its folder to PYTHONPATH"
    names = [f.stem for f in folder.glob("*.py")] if os.path.isdir(folder) else []
    return f"; {nearest(parts[-1], names)}" if names else ""
