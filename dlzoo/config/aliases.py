"""Short names for options that are set often, and other spellings of the names in groups.

They are replaced before anything is composed, so that a run is stored with the options that they mean.

>>> [*expanded("lr=0.01", is_sweep=False)], [*expanded("device=cuda:1", is_sweep=False)]
(['optimizer.lr=0.01'], ['trainer.accelerator=cuda', 'trainer.devices=[1]'])
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from dlzoo.errors import UserError, nearest, short

KEYS = {"epochs": "trainer.max_epochs", "lr": "optimizer.lr", "batch_size": "data.batch_size"}
"""Short keys of single options."""
DEVICES = ("auto", "cpu", "gpu", "cuda", "mps")
"""What ``device=`` may be; ``cuda:1`` also chooses one of several."""
NAMES = {"trainer": {"cuda": "gpu"}}
"""By group, other names of its configs."""
SHORT = (*KEYS, "device", "name")
"""All short keys."""


def expanded(override: str, *, is_sweep: bool) -> Iterator[str]:
    """An override with what its key is short for.

    Args:
        is_sweep: of several runs, whose folder has another key.

    Raises:
        UserError: the value of a short key is not allowed.
    """
    key, equals, value = override.partition("=")
    if not equals or key not in SHORT:
        yield override
    elif key == "device":
        yield from _device(value)
    elif key == "name":
        if not re.fullmatch(r"\w[\w.-]*", value):
            raise UserError(f"name={short(value)} must consist of letters, digits, '.', '-' and '_'")
        yield f"hydra.{'sweep' if is_sweep else 'run'}.dir=${{output_dir}}/{value}"
    else:
        yield f"{KEYS[key]}={value}"


def _device(value: str) -> Iterator[str]:
    kind, _, number = value.partition(":")
    if kind not in DEVICES or (":" in value and not (number.isdecimal() and kind in ("gpu", "cuda"))):
        raise UserError(f"device={short(value)} is unknown; {nearest(value, [*DEVICES, 'cuda:1'])}")
    yield f"trainer.accelerator={kind}"
    if number:
        yield f"trainer.devices=[{number}]"


def spelled(group: str, name: str, known: Sequence[str]) -> str:
    """The name in a group that another spelling means; the name itself if it is known or means none.

    >>> spelled("data", "Fashion-MNIST", ["mnist", "fashion_mnist"])
    'fashion_mnist'
    """
    plain = name.lower().replace("-", "_")
    plain = NAMES.get(group, {}).get(plain, plain)
    return plain if name not in known and plain in known else name


def with_known_names(override: str, group: str, names: Sequence[str], known: Sequence[str]) -> str:
    """An override of a group with the names as they are spelled there.

    Args:
        names: those that it chooses.

    >>> with_known_names("data=MNIST", "data", ["MNIST"], ["mnist"]), with_known_names("~data", "data", [], ["mnist"])
    ('data=mnist', '~data')
    """
    key, equals, value = override.partition("=")
    for name in names:
        value = re.sub(rf"(?<![\w.-]){re.escape(name)}(?![\w.-])", spelled(group, name, known), value)
    return f"{key}{equals}{value}"
