"""The command that best prints is pasted by its user: a stranger's sweep.json puts no more into it than options."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from small_runs import Terminal

from dlzoo.commands import best


def sweep(folder: Path, *words: str, metric: str = "val/loss", found: tuple[str, ...] = ()) -> Path:
    trial: dict[str, Any] = {"number": 0, "words": ["seed=1"], "params": {}, "state": "complete", "value": 0.5}
    trial |= {"best_epoch": 1, "epochs": 1, "seconds": 1.0, "reason": "", "metrics": {}, "folder": "0"}
    trial["found"] = [*found]
    record = {"words": [*words], "metric": metric, "mode": "min", "trials": [trial]}
    (folder / "sweep.json").write_text(json.dumps(record))
    return folder


HARMFUL = {
    "net._target_=os.system": "stores the override",
    "++callbacks.mine={_target_: os.system}": "stores the override",
    "hydra.run.dir=/tmp/x": "stores the override",
    "sweep.storage=sqlite:////tmp/x": "stores the override",
    "++data.path='http://127.0.0.1:9/x.csv'": "stores the override",
    "seed=${oc.env:HOME}": "stores the override",
    "-m": "stores the flag -m",
    "--config-name=evil": "stores the flag --config-name",
    "seed=1\n; id": "contain control characters",
    "seed=1\u202e": "contain control characters",
}


@pytest.mark.parametrize("word", HARMFUL)
def test_a_word_that_does_more_than_choose_options(word: str, tmp_path: Path, terminal: Terminal) -> None:
    code, out, err = terminal(best.main, sweep(tmp_path, word))
    assert (code, out) == (2, "")
    assert HARMFUL[word] in err.splitlines()[-1]
    assert terminal(best.main, sweep(tmp_path, found=(word,))).code == 2


def test_places_are_left_out_and_said(tmp_path: Path, terminal: Terminal) -> None:
    words = ["data=digits", "output_dir=/tmp/x", "++data.mirrors=['http://127.0.0.1:9']", "trust=evil"]
    code, out, err = terminal(best.main, sweep(tmp_path, *words))
    assert (code, out) == (0, "dlzoo train data=digits seed=1\n")
    assert err.count("is omitted") == 2


def test_a_package_of_the_users_own(tmp_path: Path, terminal: Terminal) -> None:
    folder = sweep(tmp_path, "net._target_=mypkg.Net", "trust=mypkg")
    assert "add trust=mypkg" in terminal.mistake(best.main, folder)
    code, out, _ = terminal(best.main, folder, "trust=mypkg")
    assert (code, out) == (0, "dlzoo train net._target_=mypkg.Net seed=1 trust=mypkg\n")


def test_a_metric_that_a_terminal_would_obey(tmp_path: Path, terminal: Terminal) -> None:
    _, _, err = terminal(best.main, sweep(tmp_path, metric="\x1b[2J\u202e"))
    assert "\x1b" not in err
    assert "\u202e" not in err


def test_configs_of_a_folder_are_pointed_out(tmp_path: Path, terminal: Terminal) -> None:
    code, out, err = terminal(best.main, sweep(tmp_path, "--config-dir=/tmp/theirs", "experiment=mine"))
    assert (code, out) == (0, "dlzoo train --config-dir=/tmp/theirs experiment=mine seed=1\n")
    assert "reads configs from /tmp/theirs" in err
