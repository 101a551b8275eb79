"""YAML and JSON of a stranger: what is short but stands for much is refused before it is built."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from bad_yaml import BAD_YAML
from small_runs import Outcome, with_experiment

from dlzoo.config import yaml_files
from dlzoo.errors import UserError, visible
from dlzoo.utils import untrusted


@pytest.mark.parametrize("what", BAD_YAML)
def test_yaml_that_is_no_config_is_a_sentence(what: str) -> None:
    text, reason = BAD_YAML[what]
    with pytest.raises(UserError, match=reason) as refused:
        yaml_files.parse_yaml(text, "run/config.yaml")
    assert str(refused.value).startswith("run/config.yaml")


@pytest.mark.parametrize("what", ["aliases of aliases", "deep brackets", "deep mappings"])
def test_a_config_file_is_looked_through_before_it_is_built(
    what: str, tmp_path: Path, train: Callable[..., Outcome]
) -> None:
    text, reason = BAD_YAML[what]
    done = train(*with_experiment(tmp_path, text))
    assert (done.code, done.err.count("\n")) == (2, 1), done.err
    assert reason in done.err


def test_yaml_with_a_few_aliases_and_references_is_read() -> None:
    assert yaml_files.parse_yaml("a: &x [1, 2]\nb: *x\nc: ${a}\n", "f") == {"a": [1, 2], "b": [1, 2], "c": "${a}"}


@pytest.mark.parametrize("text", ["[" * 1_000_000, '{"a":' * 100 + "1" + "}" * 100, "{", "", "9" * 10_000])
def test_json_that_is_none_is_a_sentence(text: str) -> None:
    with pytest.raises(UserError, match=r"^r\.json is"):
        untrusted.parse_json(text, "r.json")


def test_files_that_are_too_large_or_no_files_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"1" * 101)
    with pytest.raises(UserError, match="more than 100 bytes"):
        untrusted.read_text(path, 100)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match=r"not UTF-8"):
        untrusted.read_text(path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="not a regular file"):
        untrusted.read_text(tmp_path / "pipe")


def test_signs_that_a_terminal_obeys_are_written_out() -> None:
    assert visible("a\x1b]0;x\x07b\x9b2J\u202e\r") == "a\\x1b]0;x\\x07b\\x9b2J\\u202e\\r"
    assert visible("Größe\t1\n") == "Größe\t1\n"
    assert visible("a\nb", keep="") == "a\\nb"


@pytest.mark.parametrize("digits", [f"0x{'f' * 6000}", f"0b{'1' * 6000}", "9" * 6000, f"-{'1_0' * 2000}"])
def test_a_number_that_python_cannot_write_is_not_read(digits: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"x\.yaml contains a number of 6,00\d digits"):
        yaml_files.parse_yaml(f"net: {{hidden: [{digits}]}}", "x.yaml")
    assert yaml_files.parse_yaml(f"a: 0xff\nb: {'f' * 6000}", "x.yaml") == {"a": 255, "b": "f" * 6000}
