"""The generated pages of the reference: commands and config groups, from docstrings, comments and signatures."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import yaml

from dlzoo.__main__ import COMMANDS
from dlzoo.config import groups, options, part_help
from dlzoo.config.allowlist import is_built_in
from dlzoo.config.yaml_files import CONFIG_DIR
from scripts.docs import figures
from scripts.docs.zoo_pages import as_markdown

GROUPS = {
    "model": "A net with its task: what is learned, and how.",
    "data": "Where the rows come from, how they are split and prepared.",
    "experiment": "A model and data with the options that reach a claimed result.",
    "optimizer": "Torch's optimizers; every option in their signatures can be set.",
    "scheduler": "How the learning rate changes during the run.",
    "trainer": "Devices and precision, and any option of Lightning's Trainer.",
    "callbacks": "What is monitored, tabulated and drawn; `callbacks=[default,ema]` takes several.",
    "logger": "Where metrics are sent to.",
    "augment": "How training images are varied; `augment=[crop_flip,mixup]` takes several.",
    "transfer": "What of a pretrained net is trained.",
    "sweep": "Searches and the spaces that they search.",
}
"""What each config group is for, in the order of the reference."""


def pages() -> dict[str, str]:
    """The pages by name."""
    return {"commands": commands(), "configs": configs()}


def commands() -> str:
    """Every command with what its ``--help`` prints."""
    parts = [
        "# Commands",
        "`dlzoo <command> --help` prints what stands here; `python train.py …` in a checkout is `dlzoo train …`. "
        "Options are written `key=value`. The exit code is 0 only if the command did what was asked, and 2 after a "
        "mistake, which is named in one sentence.",
    ]
    for name, (module, summary) in COMMANDS.items():
        parts += [f"## dlzoo {name}", f"{summary[0].upper()}{summary[1:]}.", f"```text\n{_docstring(module)}\n```"]
    return "\n\n".join(parts) + "\n"


def _docstring(module: str) -> str:
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return (ast.get_docstring(ast.parse(Path(spec.origin).read_bytes())) or "").strip()


def configs() -> str:
    """Every group with its names, and the options of the parts that they build."""
    known = groups.names()
    parts = [
        "# Config groups",
        "`group=name` chooses a file of a group, and `part.option=value` sets any option of what it builds, whether or "
        "not the file lists it. `dlzoo train model=… data=… --help` prints the options of one choice.",
        "## Settings of a run",
        _settings(),
    ]
    for group in [*GROUPS, *(name for name in known if name not in GROUPS)]:
        if group not in known:
            continue
        parts += [f"## {group}", GROUPS.get(group, "")]
        parts.append("\n".join(["| name | what it is |", "| --- | --- |", *_names(group, known[group])]))
        parts += _options(group, known[group])
    return "\n\n".join(filter(None, parts)) + "\n"


def _settings() -> str:
    """The keys at the top of configs/train.yaml, with their comments."""
    rows = ["| setting | default | |", "| --- | --- | --- |"]
    for line in (CONFIG_DIR / "train.yaml").read_text(encoding="utf-8").splitlines():
        key, colon, rest = line.partition(":")
        if not colon or line[:1] in " #-" or key in ("defaults", "hydra"):
            continue
        value, _, comment = rest.partition(" #")
        rows.append(f"| `{key}` | `{value.strip()}` | {as_markdown(comment.strip())} |")
    return "\n".join(rows)


def _names(group: str, names: list[str]) -> Iterator[str]:
    for name in names:
        yield f"| `{name}` | {as_markdown(figures.header(group, name))} |"


def _options(group: str, names: list[str]) -> Iterator[str]:
    """For each class that the files of a group build, its options."""
    if group not in ("model", "data", "scheduler"):
        return
    parts = ("net", "task") if group == "model" else (group,)
    seen: dict[str, tuple[str, list[str]]] = {}
    for name in names:
        content = yaml.safe_load((CONFIG_DIR / group / f"{name}.yaml").read_text(encoding="utf-8"))
        for key in parts:
            node = content.get(key) if group == "model" else content
            target = str(node.get("_target_", "")) if node else ""
            if target and is_built_in(target):
                seen.setdefault(target, (key, []))[1].append(name)
    for target, (key, users) in sorted(seen.items(), key=lambda item: (item[1][0], item[0])):
        part = options.read(target)
        rows = [
            f"| `{key}.{option.name}` | `{part_help.shown(option.default)}` | "
            f"{as_markdown(part_help.type_of(option))} | {as_markdown(option.about)} |"
            for option in (options.in_node(part, key) if part is not None else ())
        ]
        if rows:
            used = ", ".join(f"`{name}`" for name in users)
            yield f"### {target.rpartition('.')[2]} {{ #{target.replace('.', '-')} }}\n\n`{target}`, built by {used}"
            yield "\n".join(["| option | default | type | |", "| --- | --- | --- | --- |", *rows])
