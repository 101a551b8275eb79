"""The files of a published model: what `dlzoo.utils.checkpoint_files.read` needs to load it, without anything private.

Only what rebuilds and tests the model is kept: no optimizer state, no folder, no path of the machine that trained it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import Tensor

from dlzoo.checkpoint.load import plain_config
from dlzoo.config import groups, stored_overrides
from dlzoo.config.allowlist import Trust
from dlzoo.config.locations import LOCATION_KEYS
from dlzoo.config.overrides import key_of, quoted, value_of
from dlzoo.errors import UserError, first_line, short
from dlzoo.specs.plain import from_plain
from dlzoo.utils import model_folders, safetensors_files
from dlzoo.utils.checkpoint_files import FORMAT, manifest_in
from dlzoo.utils.state_checks import mapping

KEPT = ("names", "net", "task", "data", "optimizer", "scheduler", "trainer", "seed", "deterministic", "expect")
"""The keys of a config that are published."""
PRIVATE = (*LOCATION_KEYS, "ckpt", "resume", "trust", "quiet")
"""Last parts of keys that say where a run read and wrote, and on whose behalf."""
ABSOLUTE = re.compile(r"(~[^/\\]*|[A-Za-z]:)?[/\\]+(?:[^/\\]+[/\\]+)*([^/\\]{2,})[/\\]*")

INNER_FOLDER = re.compile(r"""[:\[,"'={]\s*(~[^/\\]{0,99}|[A-Za-z]:)?[/\\]""")
"""The beginning of an absolute path in a list or a mapping; without a bound, the search takes quadratic time."""


def files_of(content: Mapping[str, object], packages: Sequence[str] = ()) -> dict[str, bytes]:
    """The weights, the config and the manifest of a checkpoint, by file name.

    Args:
        content: of the checkpoint, as `dlzoo.utils.checkpoint_files.read` returns it.
        packages: packages of the user's whose classes its overrides may name.

    Raises:
        UserError: its state has a part that is no tensor, or its spec is not plain data.
    """
    manifest = manifest_in(content)
    config = shareable(plain_config(content))
    rest = {
        "library_name": "dlzoo",
        "format": FORMAT,
        "overrides": shared_overrides(manifest["overrides"], packages),
        "spec": manifest["spec"],
        "rows": manifest["rows"],
    }
    try:
        lines = [f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in rest.items()]
        weights = safetensors_files.to_bytes(tensors_of(content))
    except (TypeError, ValueError) as error:
        raise UserError(f"this checkpoint cannot be published as plain files: {first_line(error)}") from None
    return {
        model_folders.WEIGHTS: weights,
        model_folders.CONFIG: OmegaConf.to_yaml(OmegaConf.create(config)).encode(),
        model_folders.MANIFEST: ("{\n" + ",\n".join(lines) + "\n}\n").encode(),
    }


def tensors_of(content: Mapping[str, object]) -> dict[str, Tensor]:
    """The state of the task; `UserError` if a part of it is no tensor."""
    tensors = {}
    for name, value in mapping(content["state_dict"], "state_dict").items():
        if not isinstance(value, Tensor):
            raise UserError(f"{short(name)} of the checkpoint's state is no tensor: it cannot be published")
        tensors[name] = value
    return tensors


def check_same(content: Mapping[str, object], other: Mapping[str, object]) -> None:
    """`UserError` unless two checkpoints hold bitwise the same weights, and the same spec."""
    ours, theirs = tensors_of(content), tensors_of(other)
    if ours.keys() != theirs.keys() or not all(_is_same(ours[name], theirs[name]) for name in ours):
        raise UserError("the published weights differ from those of the checkpoint")
    if from_plain(manifest_in(content)["spec"]) != from_plain(manifest_in(other)["spec"]):
        raise UserError("the published spec differs from that of the checkpoint, which is not plain data")


def _is_same(a: Tensor, b: Tensor) -> bool:
    if (a.dtype, a.shape) != (b.dtype, b.shape):
        return False
    a, b = (t.detach().cpu().contiguous().reshape(-1).view(torch.uint8) for t in (a, b))
    return torch.equal(a, b)


def shareable(config: Mapping[str, object]) -> dict[str, object]:
    """What of a config is published: absolute paths, which name the user and the machine, keep their last name.

    >>> shareable({"seed": 0, "output_dir": "/me", "data": {"path": "/home/me/a.csv", "data_dir": "/d", "rows": 3}})
    {'seed': 0, 'data': {'path': 'a.csv', 'rows': 3}}
    """
    return {key: _shareable(value) for key, value in config.items() if key in KEPT}


def _shareable(value: object) -> Any:
    if isinstance(value, dict):
        return {key: _shareable(part) for key, part in value.items() if key not in LOCATION_KEYS}
    if isinstance(value, list | tuple):
        return [_shareable(part) for part in value]
    return without_folder(value) if isinstance(value, str) else value


def without_folder(text: str) -> str:
    r"""The last name of an absolute path; other text unchanged.

    >>> [without_folder(text) for text in ("/home/me/a.csv", "data/a.csv", "\\t", "C:\\a.csv")]
    ['a.csv', 'data/a.csv', '\\t', 'a.csv']
    """
    match = ABSOLUTE.fullmatch(text)
    return match[2] if match else text


def shared_overrides(overrides: Sequence[str], packages: Sequence[str] = ()) -> list[str]:
    """The overrides of a run that only set options, without those that say where it read and wrote.

    A card shows them as a command, and who pastes a command trusts everything in it.

    >>> shared_overrides(["model=mlp", "output_dir=x", "hydra.run.dir=y", "++data.path=/home/me/a.csv"])
    ['model=mlp', 'data.path="a.csv"']
    >>> shared_overrides(["seed=1", "net._target_=subprocess.Popen", "-m", "net.hidden=${oc.env:HOME}"])
    ['seed=1']
    """
    known = groups.known_keys()
    return [shared for override in overrides if (shared := _shared_override(override, known, Trust(tuple(packages))))]


def _shared_override(override: str, known: Sequence[str], trusted: Trust) -> str | None:
    key, text = key_of(override), value_of(override)
    try:
        kept = key.split(".")[-1] not in PRIVATE and stored_overrides.check([override], "", trusted, known)
    except UserError:
        return None
    if not kept:
        return None
    if without_folder(text) != text:
        return quoted(key, without_folder(text))
    return None if INNER_FOLDER.search(override) else override.lstrip("+")
