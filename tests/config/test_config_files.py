"""Config files of a stranger that stand for more than they say: references, inclusions, names, tags, flags."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from small_runs import Outcome
from trust_runs import experiment

from dlzoo.config import compose
from dlzoo.config import files as config_files
from dlzoo.config import overrides as config_overrides
from dlzoo.config.prepare import prepare
from dlzoo.errors import UserError

SHOWN = [[], ["--cfg", "job", "--resolve"], ["--info", "all"], ["--help"], ["-c", "all", "-p", "sweep"]]


def chain(first: str, each: str, num: int) -> str:
    """Entries a0, a1, … of a config, each made of the one before."""
    return f"sweep:\n  a0: {first}\n" + "".join(
        f"  a{i}: {each.format('${sweep.a' + str(i - 1) + '}')}\n" for i in range(1, num)
    )


EXPANDING = {
    "strings of strings": chain("x" * 20, '"' + "{0}" * 100 + '"', 7),
    "doubled strings": chain("x", '"{0}{0}"', 50),
    "lists of lists": chain("[1, 1]", '["{0}", "{0}", "{0}", "{0}"]', 12),
    "mappings of mappings": chain("{x: 1}", '{{x: "{0}", y: "{0}", z: "{0}"}}', 14),
    "containers in each other": "sweep: {space: {a: '${sweep.words}'}, words: {b: '${sweep.space}'}}\n",
    "the seed": chain("x" * 20, '"' + "{0}" * 100 + '"', 7) + "seed: ${sweep.a6}\n",
    "long text": f'sweep:\n  a0: {"x" * 10_000}\n  a1: "' + "${sweep.a0}" * 150 + '"\n',
}


@pytest.mark.parametrize(
    ("what", "flags"), [*((what, []) for what in EXPANDING), *(("the seed", flags) for flags in SHOWN[1:3])]
)
def test_references_to_references_are_not_followed_without_end(
    what: str, flags: list[str], tmp_path: Path, train: Callable[..., Outcome]
) -> None:
    done = train(*experiment(tmp_path, EXPANDING[what]), "data=digits", *flags)
    assert (done.code, done.err.count("\n")) == (2, 1), done.err[:1000]
    assert "through references" in done.err


def test_plain_references_are_resolved(tmp_path: Path, train: Callable[..., Outcome]) -> None:
    text = "seed: 3\nexpect: [{metric: test/accuracy, min: 0, source: 'seed ${seed}, ${hydra:job.name}, ${names}'}]\n"
    done = train(*experiment(tmp_path, text), "data=digits", "--cfg", "job")
    assert done.code == 0, done.err


@pytest.mark.parametrize("flags", SHOWN[:2], ids=str)
def test_files_that_include_others_are_not_included_without_end(
    flags: list[str], tmp_path: Path, train: Callable[..., Outcome]
) -> None:
    (tmp_path / "g").mkdir()
    for i in range(16):
        (tmp_path / "g" / f"a{i}.yaml").write_text(f"defaults: [/g/a{i + 1}@x, /g/a{i + 1}@y, /g/a{i + 1}@z]\n")
    (tmp_path / "g" / "a16.yaml").write_text("x: 1\n")
    done = train(*experiment(tmp_path, "defaults: [/g/a0]\n"), "data=digits", *flags)
    assert (done.code, done.err.count("\n")) == (2, 1), done.err
    assert f"include more than {config_files.MAX_INCLUDED:,} files" in done.err


@pytest.mark.parametrize("text", ["!!bool x", "!!timestamp x", "!!int x"])
def test_a_tag_that_does_not_fit_its_text(text: str, tmp_path: Path, train: Callable[..., Outcome]) -> None:
    done = train(*experiment(tmp_path, f"seed: {text}"), "data=digits")
    assert (done.code, done.err.count("\n")) == (2, 1), done.err
    assert "mine.yaml is not a config" in done.err


@pytest.mark.parametrize("flags", SHOWN[1:], ids=str)
def test_names_in_a_folder_of_configs_do_not_command_the_terminal(
    flags: list[str], tmp_path: Path, train: Callable[..., Outcome]
) -> None:
    name = "\x1b]0;owned\x07"
    (tmp_path / name).mkdir()
    for group in (name, "experiment", "model"):
        (tmp_path / group).mkdir(exist_ok=True)
        (tmp_path / group / f"{name}.yaml").write_text("x: 1\n")
    escaped = name.replace("\x1b", "\\e").replace("\x07", "\\a")
    done = train(*experiment(tmp_path, f'defaults: [{{"/{escaped}@sweep": "{escaped}"}}]\n'), *flags, "data=digits")
    assert done.code == 0, done.err
    assert not {"\x1b", "\x07"} & {*done.out, *done.err}
    assert "owned" in done.out or flags[0] in ("--cfg", "-c", "--help")
    assert "owned" in (shown := train("--config-dir", str(tmp_path), "--help").out)
    assert not {"\x1b", "\x07"} & {*shown}


def test_links_in_a_folder_of_configs_are_not_listed_without_end(tmp_path: Path, train: Callable[..., Outcome]) -> None:
    words = experiment(tmp_path, "seed: 3")
    for name in "ab":
        (tmp_path / name).symlink_to(tmp_path)
    done = train(*words, "data=digits", "--help")
    assert (done.code, done.err) == (0, "")
    assert len(done.out.splitlines()) < 1_000
    command = [sys.executable, "-m", "dlzoo", "train", "--config-dir", str(tmp_path), "--hydra-help"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    assert len(listed.splitlines()) < 1_000


class Touch:
    """Pickled: code that creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("flag", ["--experimental-rerun", "--experimental", "--config-di", "--hel"])
def test_flags_that_a_run_does_not_take(flag: str, tmp_path: Path, train: Callable[..., Outcome]) -> None:
    (tmp_path / "config.pickle").write_bytes(pickle.dumps(Touch(tmp_path / "canary")))
    for words in ([flag, str(tmp_path / "config.pickle")], [f"{flag}={tmp_path / 'config.pickle'}"]):
        done = train("model=mlp", "data=digits", *words)
        assert (done.code, done.err.count("\n"), (tmp_path / "canary").exists()) == (2, 1, False), done.err
        assert f"{flag}: there is no such flag" in done.err


def test_the_flags_that_a_run_takes_are_those_of_hydra(tmp_path: Path) -> None:
    """All but those that read configs or pickles from elsewhere."""
    from hydra._internal.utils import get_args_parser

    parser = get_args_parser()
    hydras = {name for action in parser._actions for name in action.option_strings}
    left_out = {"--config-path", "-cp", "--config-name", "-cn", "--experimental-rerun"}
    assert hydras - left_out == config_overrides.FLAGS
    with pytest.raises(UserError, match="add your files with --config-dir"):
        prepare(["--config-name=x"])
    assert prepare(["--config-dir", str(tmp_path), "-m", "model=mlp"])[-1] == "model=mlp"
    assert "dlzoo.config.files" in sys.modules


@pytest.mark.parametrize("word", ["expect.a=1"])
def test_a_key_below_a_list_is_a_number(word: str) -> None:
    with pytest.raises(UserError, match="does not fit the config"):
        compose.compose(["model=mlp", "data=iris", word])
