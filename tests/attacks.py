"""Configs and overrides as an attacker would write them: every payload at every place, in every spelling.

Each case is a piece of YAML for a stranger's experiment file, words that a checkpoint brings along, or a change of the
config in it. What they would do is write ``canary``, import ``canary_module``, start a program, or connect.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

CANARY_MODULE = """
import pathlib, subprocess
import torch
from dlzoo.nets.mlp import MLP
subprocess.run(["true"])
class Net(MLP): pass
class Watch: pass
def build(*args, **kwargs): subprocess.run(["true"])
"""
HANDLER = "torch.distributed.elastic.multiprocessing.subprocess_handler.SubprocessHandler"


class Attack(NamedTuple):
    """What a stranger changed."""

    name: str
    files: dict[str, str]
    """Of the folder given by ``--config-dir``, by their paths; ``experiment/mine.yaml`` is chosen."""
    words: list[str]
    """That a checkpoint brings along."""
    nodes: dict[str, Any]
    """Of a checkpoint's config, by their dotted places."""
    flags: tuple[str, ...] = ()
    """Of the command line that uses the files: those that only show something."""


def payloads(canary: Path) -> dict[str, dict[str, Any]]:
    """Nodes that do harm when they are built, or when the module that they name is imported."""
    command, shell = f"touch {canary}", {"entrypoint": "/bin/sh", "args": ["-c", f"touch {canary}"], "env": {}}
    others = dict.fromkeys(("stdout", "stderr", "numa_options"))
    return {
        "os.system": {"_target_": "os.system", "command": command},
        "os.system by place": {"_target_": "os.system", "_args_": [command]},
        "Popen": {"_target_": "subprocess.Popen", "args": command, "shell": True},
        "SubprocessHandler": {"_target_": HANDLER, **shell, "local_rank_id": 0, **others},
        "ZipFile": {"_target_": "zipfile.ZipFile", "file": str(canary), "mode": "w"},
        "open": {"_target_": "builtins.open", "file": str(canary), "mode": "w"},
        "eval": {"_target_": "builtins.eval", "_args_": [f"open({str(canary)!r}, 'w')"]},
        "import of a class": {"_target_": "canary_module.Net"},
        "import of a function": {"_target_": "canary_module.build"},
        "import of a package": {"_target_": "canary_module.inner.Net"},
        "partial": {"_target_": "os.system", "_partial_": True, "command": command},
        "Hydra again": {"_target_": "hydra.utils.instantiate", "config": {"_target_": "os.system", "command": command}},
        "get_method": {"_target_": "hydra.utils.get_method", "path": "canary_module.build"},
        "imported by ours": {"_target_": "dlzoo.training.results.subprocess.run", "args": ["touch", str(canary)]},
        "a function of ours": {"_target_": "dlzoo.data.text.published.prepare_sentences", "_args_": [str(canary), []]},
        "a class of ours elsewhere": {"_target_": "dlzoo.data.images.digits.Digits"},
        "a writer of ours": {"_target_": "dlzoo.utils.archives.write", "path": str(canary)},
        "OnExceptionCheckpoint": {
            "_target_": "lightning.pytorch.callbacks.OnExceptionCheckpoint", "dirpath": str(canary)
        },
        "WandbLogger": {"_target_": "lightning.pytorch.loggers.WandbLogger", "save_dir": str(canary)},
        "MLFlowLogger": {"_target_": "lightning.pytorch.loggers.MLFlowLogger", "tracking_uri": "http://127.0.0.1:9"},
        "CSVLogger": {"_target_": "lightning.pytorch.loggers.CSVLogger", "save_dir": str(canary)},
        "CSVLogger by name": {"_target_": "lightning.pytorch.loggers.CSVLogger", "name": f"../../../../..{canary}"},
        "ModelCheckpoint": {"_target_": "lightning.pytorch.callbacks.ModelCheckpoint", "dirpath": str(canary)},
        "ModelCheckpoint by name": {
            "_target_": "lightning.pytorch.callbacks.ModelCheckpoint", "filename": f"../../../../..{canary}"
        },
        "AdvancedProfiler": {
            "_target_": "lightning.pytorch.profilers.AdvancedProfiler", "dirpath": str(canary), "filename": "x"
        },
        "FileHandler": {"_target_": "logging.FileHandler", "filename": str(canary)},
        "a job of Optuna's": {"_target_": "optuna.create_study", "storage": f"sqlite:///{canary}"},
        "no text": {"_target_": 7},
        "no name": {"_target_": "os"},
        "a list": {"_target_": ["os.system"], "command": command},
    }  # fmt: skip


PLACES = (
    "net", "task", "data", "optimizer", "scheduler", "trainer", "callbacks.mine", "logger.mine", "data.augment",
    "task.transfer", "net.dropout", "net.hidden", "trainer.strategy", "trainer.profiler", "optimizer.lr",
    "callbacks.checkpoint", "callbacks.checkpoint.monitor", "expect", "grid", "sweep", "names", "seed", "evil",
    "hydra.callbacks.mine", "hydra.launcher", "hydra.sweeper", "hydra.job_logging", "hydra.hydra_logging.handlers.x",
)  # fmt: skip


def nested(place: str, value: Any) -> dict[str, Any]:
    """``a.b`` as dicts."""
    for key in reversed(place.split(".")):
        value = {key: value}
    return value


def _as_it_is(place: str, node: Any) -> dict[str, Any]:
    return nested(place, node)


def _in_a_list(place: str, node: Any) -> dict[str, Any]:
    return nested(place, [1, [node]])


def _deeper(place: str, node: Any) -> dict[str, Any]:
    return nested(f"{place}.some.more", node)


def _behind_a_reference(place: str, node: Any) -> dict[str, Any]:
    return {**nested(place, "${names}"), "names": node}


def _behind_two(place: str, node: Any) -> dict[str, Any]:
    return {**nested(place, "${grid.${seed}}"), "grid": {0: "${names}"}, "names": node}


def _name_behind_a_reference(place: str, node: Any) -> dict[str, Any]:
    head, _, tail = str(node["_target_"]).partition(".")
    return {**nested(place, {**node, "_target_": f"${{names.head}}.{tail}"}), "names": {"head": head}}


def _out_of_text(place: str, node: Any) -> dict[str, Any]:
    return nested(place, created(node))


def _by_the_environment(place: str, node: Any) -> dict[str, Any]:
    return nested(place, {**node, "_target_": "${oc.env:NO_SUCH_NAME," + str(node["_target_"]) + "}"})


def _selected(place: str, node: Any) -> dict[str, Any]:
    return {**nested(place, "${oc.select:names}"), "names": node}


def _a_resolver_by_reference(place: str, node: Any) -> dict[str, Any]:
    return {**nested(place, created(node).replace("oc.create", "oc.${names.a}")), "names": {"a": "create"}}


SPELLINGS: tuple[Callable[[str, Any], dict[str, Any]], ...] = (
    _as_it_is, _in_a_list, _deeper, _behind_a_reference, _behind_two, _name_behind_a_reference, _out_of_text,
    _by_the_environment, _selected, _a_resolver_by_reference,
)  # fmt: skip


def created(node: Any) -> str:
    """A text that becomes a node, without ``_target_`` in it."""
    text = json.dumps(node).replace('"', "").replace("_target_", "_targ${oc.decode:et}_")
    return "${oc.create:${oc.decode:'" + text.replace("'", "\\'") + "'}}"


def text_of(node: Any) -> str:
    """A value in Hydra's grammar."""
    if isinstance(node, dict):
        return "{" + ",".join(f"{key}: {text_of(value)}" for key, value in node.items()) + "}"
    if isinstance(node, list):
        return f"[{','.join(map(text_of, node))}]"
    return '"' + node.replace('"', '\\"') + '"' if isinstance(node, str) else json.dumps(node)


def builds(canary: Path) -> Iterator[Attack]:
    """Payloads that a config would build."""
    for (what, node), place, spell in itertools.product(payloads(canary).items(), PLACES, SPELLINGS):
        how = spell.__name__.strip("_").replace("_", " ")
        yaml = spell(place, node)
        text = f"# @package _global_\n{json.dumps(yaml)}\n"
        yield Attack(f"{what} at {place}, {how}, in a file", {"experiment/mine.yaml": text}, [], {})
        words = [f"++{key}={text_of(value)}" for key, value in leaves(yaml, depth=place.count(".") + 1)]
        yield Attack(f"{what} at {place}, {how}, as words", {}, words, {})
        yield Attack(f"{what} at {place}, {how}, in a checkpoint", {}, [], yaml)
    for (what, node), place in itertools.product(payloads(canary).items(), PLACES):
        words = [f"+{place}.{key}={text_of(value)}" for key, value in node.items()]
        yield Attack(f"{what} at {place}, key by key", {}, words, {})
        group, _, name = place.rpartition(".")
        part = {"foo/bar.yaml": json.dumps({name: node} if group else node)}
        chosen = f"# @package _global_\ndefaults:\n  - /foo@{group or place}: bar\n"
        yield Attack(f"{what} at {place}, by a group", {**part, "experiment/mine.yaml": chosen}, [], {})
        header = {"foo/bar.yaml": f"# @package {group or place}\n{part['foo/bar.yaml']}"}
        chosen = "# @package _global_\ndefaults:\n  - /foo: bar\n"
        yield Attack(f"{what} at {place}, by a header", {**header, "experiment/mine.yaml": chosen}, [], {})


def writes(canary: Path) -> Iterator[Attack]:
    """Places to write to, addresses to connect to, and secrets to take along."""
    keys = (
        "output_dir", "data_dir", "data.data_dir", "data.mirrors", "data.path", "callbacks.checkpoint.dirpath",
        "callbacks.checkpoint.filename", "callbacks.history.path", "trainer.default_root_dir", "trainer.logger",
        "trainer.profiler", "hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir", "hydra.output_subdir",
        "hydra.searchpath", "hydra.job.chdir", "hydra.job.name", "hydra.help.template", "net.weights", "ckpt", "resume",
        "trust", "sweep.storage", "sweep.name", "seed", "names.model", "hydra.overrides.task", "hydra.overrides.hydra",
    )  # fmt: skip
    up = "../" * 12
    values: tuple[Any, ...] = (
        str(canary), f"{up[:-1]}{canary}", "~/canary", "http://127.0.0.1:9/x", f"file://{canary}", [str(canary)],
        "${oc.env:HOME}/canary", "${now:%Y}/../../../canary", "${hydra:runtime.cwd}/../canary", "canary_module",
        ["canary_module"],
    )  # fmt: skip
    for key, value in itertools.product(keys, values):
        text = f"# @package _global_\n{json.dumps(nested(key, value))}\n"
        yield Attack(f"{key}={value} in a file", {"experiment/mine.yaml": text}, [], {})
        yield Attack(f"{key}={value} as a word", {}, [f"++{key}={text_of(value)}"], {})
        yield Attack(f"{key}={value} in a checkpoint", {}, [], nested(key, value))


def groups(canary: Path) -> Iterator[Attack]:
    """Names of groups that are paths, and Hydra's own groups."""
    up = f"{'../' * 12}{str(canary.with_name('outside')).lstrip('/')}"
    names = (up, f"/{up}", "/../../outside", "mlp/../../outside", "${oc.env:HOME}", "file:///tmp/outside", "pkg://x")
    chosen = ("model", "data", "optimizer", "experiment", "callbacks", "hydra/launcher", "hydra/job_logging", "sweep")
    for group, name in itertools.product(chosen, names):
        for start in ("", "override "):
            text = f"# @package _global_\ndefaults:\n  - {start}/{group}: {json.dumps(name)}\n"
            yield Attack(f"{start}{group}: {name} in a file", {"experiment/mine.yaml": text}, [], {})
        for word in (f"{group}={name}", f"+{group}={name}", f"{group}@hydra.callbacks={name}", f"{group}=[{name}]"):
            yield Attack(f"{word} as a word", {}, [word], {})
    for word in ("--config-dir=/tmp", "-m", "seed=1,2", "seed=choice(1,2)", "seed=glob(*)", "a b", "=", ""):
        yield Attack(f"{word} as a word", {}, [word], {})
    node = json.dumps({"_target_": "canary_module.Net"})
    for folder, name in (("hydra/launcher", "submitit_evil"), ("hydra/callbacks", "evil"), ("optimizer", "adam")):
        text = f"# @package _global_\ndefaults:\n  - override /{folder}: {name}\n"
        yield Attack(f"{folder}/{name}", {f"{folder}/{name}.yaml": node, "experiment/mine.yaml": text}, [], {})
    odd = (
        "null",
        "5",
        "[5]",
        "[[a]]",
        "{a: b}",
        "['/optimizer@a b: adam']",
        "[{optional /optimizer: nope}]",
        "[_self_, _self_]",
    )
    for defaults in odd:
        yield Attack(
            f"defaults: {defaults}", {"experiment/mine.yaml": f"# @package _global_\ndefaults: {defaults}\n"}, [], {}
        )
    for header in ("# @package", "# @package a b", "# @package hydra.callbacks", "# @package _global_.hydra.run"):
        yield Attack(header, {"experiment/mine.yaml": f"{header}\ndir: {canary}\n"}, [], {})
    for file in ("train.yaml", "hydra/job_logging/none.yaml"):
        yield Attack(file, {file: node, "experiment/mine.yaml": "seed: 0\n"}, [], {})


SHOWS = (
    ("--cfg", "job"), ("--cfg", "hydra"), ("--cfg", "all", "--resolve"), ("-c", "job", "--resolve"), ("--info", "all"),
    ("--info", "defaults-tree"), ("--help",), ("--hydra-help",), ("--cfg", "job", "-p", "sweep"),
    ("--cfg", "job", "-m"),
)  # fmt: skip
"""Flags that only show something."""
TERMINAL = "\x1b]0;owned\x07"
"""Sets the title of a terminal."""


def shown(canary: Path) -> Iterator[Attack]:
    """Files whose text, references or names are shown, or take effect where a command should only show something."""
    written = TERMINAL.replace("\x1b", "\\e").replace("\x07", "\\a")
    texts = {
        "a secret": 'sweep: {name: "${oc.env:A_SECRET}"}',
        "a secret in help": 'hydra: {help: {template: "${oc.env:A_SECRET}"}}',
        "a secret in the app's name": 'hydra: {help: {app_name: "${oc.env:A_SECRET}"}}',
        "a value": f'sweep: {{name: "{written}"}}',
        "a key": f'sweep: {{"{written}": 1}}',
        "a choice": f'defaults: [{{/g@sweep: "{written}"}}]',
        "a log": f"hydra: {{job_logging: {{handlers: {{file: {{class: logging.FileHandler, filename: {canary}}}}}}}}}",
        "a search path": "hydra: {searchpath: [file:///etc]}",
        "a recorded override": "hydra: {overrides: {task: [net._target_=canary_module.Net]}}",
        "a class": "net: {_target_: canary_module.Net}",
        "strings of strings": doubled(),
    }
    for (what, text), flags in itertools.product(texts.items(), SHOWS):
        files = {"experiment/mine.yaml": f"# @package _global_\n{text}\n", f"g/{TERMINAL}.yaml": "x: 1\n"}
        yield Attack(f"{what} with {' '.join(flags)}", files, [], {}, flags)


def doubled() -> str:
    """Strings of which each holds the one before twice."""
    return "sweep:\n  a0: x\n" + "".join(f'  a{i}: "${{sweep.a{i - 1}}}${{sweep.a{i - 1}}}"\n' for i in range(1, 50))


def unbalanced(canary: Path) -> Iterator[Attack]:
    """Elements of lists with quotes that open and do not close, behind which something else may hide."""
    elements = (
        "'", '"', "\\'", '\\"', "a','b", "['", '"]', "','{_target_: canary_module.Net}", "'\"", "\\", "a\\", "{'", "}'",
        f"', {{_target_: os.system, command: touch {canary}}}, '", "\",\"net._target_=canary_module.Net", "]\" +x=1",
    )  # fmt: skip
    keys = (
        "data.mirrors", "net.hidden", "callbacks.mine", "hydra.overrides.task", "hydra.searchpath", "sweep.words",
        "grid.rows", "trust", "expect", "trainer.devices", "task.loss_weights", "callbacks", "net.activation",
    )  # fmt: skip
    for key, element in itertools.product(keys, elements):
        text = f"# @package _global_\n{json.dumps(nested(key, [element, 1]))}\n"
        yield Attack(f"{key}: {element} in a list in a file", {"experiment/mine.yaml": text}, [], {})
        yield Attack(f"{key}: {element} in a list in a checkpoint", {}, [], nested(key, [element, 1]))
        for word in (f"{key}=[{element},1]", f"++{key}=['{element}',1]", f'+{key}=["{element}"]'):
            yield Attack(f"{word} as a word", {}, [word], {})


def leaves(node: dict[str, Any], depth: int, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys down to a depth, and what stands there."""
    for key, value in node.items():
        if depth > 1 and isinstance(value, dict) and value:
            yield from leaves(value, depth - 1, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def drawn(canary: Path, number: int, seed: int = 0) -> list[Attack]:
    """So many, by the same seed the same, of each kind a share."""
    draw = random.Random(seed)
    kinds = [[*builds(canary)], [*writes(canary)], [*groups(canary)], [*shown(canary)], [*unbalanced(canary)]]
    shares = (number - 2 * (number // 5) - 2 * (number // 10), *[number // 5] * 2, *[number // 10] * 2)
    return [attack for kind, share in zip(kinds, shares, strict=True) for attack in draw.sample(kind, share)]


OUTPUTS = (
    ".lock", "metrics.csv", "results.json", "learning_curves.png", "report.txt", "report.csv", "report.html",
    "warnings.txt", "train.log", ".hydra/config.yaml", ".hydra/overrides.yaml", "checkpoints/last.previous.ckpt",
    "checkpoints/best.ckpt", "checkpoints/new.ckpt",
)  # fmt: skip
"""Names of files that commands write into a run folder."""


def links() -> Iterator[tuple[str, Callable[[Path, Path], None]]]:
    """Names in a run folder, and how a link of that name to a file elsewhere is made."""
    yield from itertools.product(OUTPUTS, (Path.symlink_to, Path.hardlink_to))
