"""Checks command lines of the documentation without running them: configs compose, options exist, extras exist."""

from __future__ import annotations

import ast
import importlib.util
import itertools
import re
import shlex
import tomllib
from pathlib import Path

from dlzoo.__main__ import COMMANDS
from dlzoo.config import compose as config
from dlzoo.config import early_checks, schema
from dlzoo.config import overrides as config_overrides
from dlzoo.config.prepare import prepare

ROOT = Path(__file__).parents[1]
OTHER_PROGRAMS = (
    "tensorboard",
    "check-jsonschema",
    "optuna-dashboard",
    "curl",
    "cd",
    "git",
    "ruff",
    "mypy",
    "lint-imports",
    "pytest",
    "bash",
)
"""Programs whose arguments are not checked here."""


def check(line: str) -> None:
    """Raise an error if a command line cannot mean anything.

    Raises:
        UserError: its config does not compose.
        AssertionError: the program, a command, an option or an extra does not exist.
    """
    for part in re.split(r" (?:\||&&) ", line):
        words = shlex.split(part, comments=True)
        while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
            del words[0]
        if words:
            check_words(words)


def check_words(words: list[str]) -> None:
    if words[0] in ("torchrun", "srun"):
        words = words[next(i for i, word in enumerate(words) if word in ("train.py", "python")) :]
    if words[0] == "train.py" or words[:2] == ["python", "train.py"]:
        check_training(words[words.index("train.py") + 1 :])
    elif words[0] == "dlzoo" and words[1] == "train":
        check_training(words[2:])
    elif words[0] == "dlzoo" and words[1].startswith("--"):
        pass
    elif words[:2] == ["dlzoo", "options"]:
        own = [word for word in words[2:] if word.startswith(("part=", "format="))]
        check_options("options", own)
        if overrides := [word for word in words[2:] if "=" in word and word not in own]:
            check_training(overrides)
    elif words[0] == "dlzoo":
        check_options(words[1], words[2:])
    elif words[:2] == ["pip", "install"]:
        check_extras(words[2:])
    elif words[0] == "python":
        script = words[2].replace(".", "/") if words[1] == "-m" else words[1].removesuffix(".py")
        exists = any((ROOT / name).exists() for name in (f"{script}.py", script))
        assert exists or importlib.util.find_spec(words[2].split(".")[0]), words
    else:
        assert words[0] in (*OTHER_PROGRAMS, "echo", "cat"), words


def check_training(words: list[str]) -> None:
    """Compose the config, or of a sweep those of its first and last trial."""
    if {"--help", "-h"} & {*words}:
        return
    flags, overrides = config_overrides.split(prepare(words))
    directory = [flag for flag in flags if flag not in ("-m", "--multirun")]
    if not {"-m", "--multirun"} & {*flags}:
        check_config(overrides, directory)
        return
    parsed = config_overrides.parse_all(overrides)
    choices = [
        [f"{one.get_key_element()}={value}" for value in one.sweep_string_iterator()]
        if one.is_choice_sweep()
        else [one.input_line or ""]
        for one in parsed
        if one.is_choice_sweep() or not one.is_sweep_override()
    ]
    combinations = [*itertools.product(*choices)]
    for combination in {combinations[0]: 0, combinations[-1]: 0}:
        check_config([*combination], directory)


def check_config(overrides: list[str], flags: list[str]) -> None:
    overrides = [override for override in overrides if override.lstrip("+") != "data.batch_size=auto"]  # set by the run
    cfg = config.compose_with_hydra(overrides, flags)
    early_checks.check(cfg, overrides, reads_user_files=bool(flags))
    schema.check(config.with_names(cfg, cfg.hydra.runtime.choices), overrides)


def check_options(command: str, words: list[str]) -> None:
    """The command exists, and its docstring names each option."""
    assert command in COMMANDS, command
    module = importlib.util.find_spec(COMMANDS[command][0])
    assert module is not None
    assert module.origin is not None
    about = ast.get_docstring(ast.parse(Path(module.origin).read_bytes())) or ""
    listed = re.findall(r"^    (\w[\w.<>, ]*?)  +\S", about.partition("Options:")[2], re.MULTILINE)
    known = {name.split(".")[0] for names in listed for name in names.split(", ")} | {"trust"}
    for word in words:
        key, equals, _ = word.partition("=")
        if equals and re.fullmatch(r"[\w.]+", key):
            assert key.split(".")[0] in known or ("." in key and f"{key.split('.')[0]}." in about), (
                f"dlzoo {command} {word}: its options are {sorted(known)}"
            )


def check_extras(words: list[str]) -> None:
    """Each extra of dlzoo that is installed exists."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for word in words:
        if found := re.search(r"(?:^\.|dlzoo)\[(.*)\]", word):
            assert {*found[1].split(",")} <= {*extras}, word
