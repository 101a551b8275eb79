"""Search spaces: ranges and choices, written in YAML or as Hydra sweeps on the command line.

In YAML, ``sweep.space`` maps a config key or a group to its possible values:

    optimizer: [sgd, adam]                                     one of these
    optimizer.lr: {low: 1e-4, high: 1e-2, log: true}           a number in this range, both ends included
    data.batch_size: {low: 32, high: 256, step: 32}            an integer, since both ends are
    net.hidden: {length: {low: 0, high: 8}, each: {low: 16, high: 256}}       a list of equal values

A sweep on the command line replaces the entry of its key or adds one: ``optimizer=sgd,adam``,
``'optimizer.lr=tag(log,interval(1e-4,1e-2))'``, ``'net.hidden.length=range(0,4)'``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, SupportsFloat

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.errors import HydraException

from dlzoo.config.overrides import parsed
from dlzoo.errors import UserError, nearest, short

DIGITS = 4
"""Significant digits of a sampled float, so that a trial is named, run and repeated with the same value."""


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``, integers if both are."""

    low: int | float
    high: int | float
    log: bool = False
    step: int | float | None = None

    @property
    def is_integer(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)


@dataclass(frozen=True)
class Choice:
    """One of these values, as text for the command line."""

    values: tuple[str, ...]


Space = dict[str, Range | Choice]
"""By the name of each parameter: its key, or ``<key>.length`` and ``<key>.each`` for a list of equal values."""

Value = str | int | float
"""The value of a parameter: text for the command line, or a number."""

Params = Mapping[str, Value]
"""A value for each parameter of a space."""


def from_yaml(plain: Mapping[str, object]) -> Space:
    """The space that ``sweep.space`` describes.

    >>> from_yaml({"net.hidden": {"length": [1, 2], "each": {"low": 4, "high": 8}}})["net.hidden.each"]
    Range(low=4, high=8, log=False, step=None)

    Raises:
        UserError: an entry that is neither a list of choices nor a range.
    """
    space: Space = {}
    for key, entry in plain.items():
        if isinstance(entry, Mapping) and set(entry) == {"length", "each"}:
            space |= {f"{key}.{part}": _entry(f"{key}.{part}", entry[part]) for part in ("length", "each")}
        elif entry is not None:  # null removes the entry of another file
            space[key] = _entry(key, entry)
    return space


def _entry(key: str, entry: Any) -> Range | Choice:
    where = f"sweep.space {key}={entry}"
    if isinstance(entry, list | tuple) and entry:
        return Choice(tuple(_as_text(value) for value in entry))
    if not isinstance(entry, Mapping) or not {"low", "high"} <= set(entry):
        raise UserError(f"{where}: give a list of choices, or {{low: …, high: …}}")
    for name in entry:
        if name not in ("low", "high", "log", "step"):
            raise UserError(f"{where}: unknown key {name}; {nearest(str(name), ['low', 'high', 'log', 'step'])}")
    return _checked(Range(**entry), where)


def from_override(override: Override) -> Range | Choice:
    """The entry that a sweep on the command line describes."""
    value, where = override.value(), str(override.input_line)
    if isinstance(value, IntervalSweep):
        assert value.start is not None
        assert value.end is not None
        return _checked(Range(value.start, value.end, log="log" in value.tags), where)
    if isinstance(value, RangeSweep):
        assert value.start is not None
        assert value.stop is not None
        all_integers = all(isinstance(number, int) for number in (value.start, value.stop, value.step))
        num_steps = -(-(value.stop - value.start) // value.step) - 1  # Hydra's range excludes its end
        last = value.start + num_steps * value.step
        kind = int if all_integers else float
        step = None if value.step == 1 and all_integers else kind(value.step)
        return _checked(Range(kind(value.start), kind(last), log="log" in value.tags, step=step), where)
    return Choice(tuple(override.sweep_string_iterator()))


def _checked(entry: Range, where: str) -> Range:
    numbers = [entry.low, entry.high, *([] if entry.step is None else [entry.step])]
    if any(isinstance(number, bool) or not isinstance(number, int | float) for number in numbers):
        raise UserError(f"{where}: low, high and step must be numbers; YAML reads 1.0e-4 as one, but not 1e-4")
    if entry.low > entry.high or (entry.step is not None and entry.step <= 0):
        raise UserError(f"{where}: low must not exceed high, and step must be positive")
    if entry.log and (entry.low <= 0 or entry.step is not None):
        raise UserError(f"{where}: a logarithmic range must start above 0 and takes no step")
    return entry


def rounded(space: Space, params: Params) -> dict[str, Value]:
    """The values rounded as they are run and displayed."""
    return {
        name: float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value
        for name, value in params.items()
        if name in space
    }


def is_valid(entry: Range | Choice, value: object) -> bool:
    """Whether a value is valid for an entry; for a range, any number is."""
    if isinstance(entry, Choice):
        return value in entry.values
    return isinstance(value, int | float) and not isinstance(value, bool)


def to_overrides(space: Space, params: Params) -> list[str]:
    """The values as overrides; groups come before the keys within them.

    >>> space = from_yaml({"net.hidden": {"length": [0, 2], "each": [8]}, "optimizer": ["sgd"]})
    >>> to_overrides(space, {"net.hidden.length": "2", "net.hidden.each": "8", "optimizer": "sgd"})
    ['optimizer=sgd', 'net.hidden=[8,8]']
    """
    values = rounded(space, params)
    texts: dict[str, str] = {}
    for name, value in values.items():
        key = key_of(name, space)
        if key == name:
            texts[key] = str(value)
        else:
            texts[key] = f"[{','.join([str(values[f'{key}.each'])] * int(values[f'{key}.length']))}]"
    return [f"{key}={text}" for key, text in sorted(texts.items(), key=lambda item: "." in item[0])]


def words_of(space: Space) -> Iterator[str]:
    """Overrides that contain every value of a space as a trial is given it; one stands for all numbers of a range.

    Raises:
        UserError: an element of a list that is no value by itself, so that elements side by side would be something
            else: one with an opening quote, for example.
    """
    for name, entry in space.items():
        for value in entry.values if isinstance(entry, Choice) else (entry.low,):
            yield f"{name}={value}"
            if name.endswith(".each"):  # its length may come from the command line
                _check_element(f"{value}", name)
                yield f"{name.removesuffix('.each')}=[{value},{value}]"


def _check_element(text: str, name: str) -> None:
    try:
        is_value = not parsed(f"{name}={text}").is_sweep_override()
    except HydraException:
        is_value = False
    if not is_value:
        raise UserError(f"sweep.space {name}={short(text)}: this is not one value")


def key_of(name: str, space: Space) -> str:
    """The config key that a parameter belongs to."""
    key, _, part = name.rpartition(".")
    is_list = part in ("length", "each") and {f"{key}.length", f"{key}.each"} <= set(space)
    return key if is_list else name


def sample(space: Space) -> dict[str, Value]:
    """One point of the space, to check a command line with."""
    return {name: e.low if isinstance(e, Range) else e.values[0] for name, e in space.items()}


def as_number(value: object) -> float | None:
    """The value as a number; None if it is none.

    >>> [as_number(value) for value in (1, "1e-3", "sgd", None)]
    [1.0, 0.001, None, None]
    """
    if not isinstance(value, str | SupportsFloat):
        return None
    try:
        return float(value)
    except ValueError:
        return None


def _as_text(value: Any) -> str:
    """A YAML value in Hydra's override syntax.

    >>> [_as_text(value) for value in ("sgd", 0.5, True, None, [64, 32])]
    ['sgd', '0.5', 'true', 'null', '[64,32]']
    """
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
