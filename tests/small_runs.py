"""Small runs, their checkpoints spoilt on purpose, and commands called as from a terminal: for the tests beside it."""

from __future__ import annotations

import io
import json
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from dlzoo.config import compose as config
from dlzoo.training.run import run as run_training

TABLE = "size;colour;price\n" + "".join(
    f"{3 + 7 * i % 11}.5;{('red', 'blue', '')[i % 3]};{i % 5 + 10 * (i % 3)}.25\n" for i in range(60)
)
"""Values from a number and a name that is missing in a third of the rows; separated by semicolons."""


def run(folder: Path, *words: str) -> dict[str, Any]:
    """The results of two epochs on the CPU, without pictures."""
    plain = ["callbacks=checkpoint", "logger=none", "trainer=cpu", "trainer.max_epochs=2", "net.hidden=[8]"]
    return run_training(config.compose([*plain, *words]), folder, list(words))


def bare_run(folder: Path, config: Mapping[str, object], results: Mapping[str, object] | None = None) -> Path:
    """A folder as a run of an mlp on iris leaves it: its config, choices and results, if it has any; no checkpoints."""
    hydra = folder / ".hydra"
    hydra.mkdir(parents=True)
    (hydra / "config.yaml").write_text(json.dumps(config))
    (hydra / "hydra.yaml").write_text("hydra: {runtime: {choices: {model: mlp, data: iris}}}\n")
    if results is not None:
        (folder / "results.json").write_text(json.dumps(results))
    return folder


def newest_run(folder: Path) -> Path:
    """The folder of the run below ``folder/outputs`` that began last."""
    return max(folder.glob("outputs/*/*/.hydra"), key=lambda path: path.stat().st_mtime_ns).parent


def table_words(folder: Path) -> list[str]:
    """Write `TABLE` into a folder, and say how to train on it."""
    path = folder / "houses.csv"
    path.write_text(TABLE)
    return ["data=csv", f"data.path={path}", "data.target=price", "data.separator=';'", "data.missing=impute"]


def pair_words(folder: Path) -> list[str]:
    """Write a table of two points, their gap and their side, and say how to train on the points as two inputs."""
    draw = random.Random(0)
    points = [[round(draw.gauss(0, 1), 4) for _ in "abcd"] for _ in range(120)]
    rows = [f"{a},{b},{c},{d},{abs(a - c):.4f},{'left' if a > c else 'right'}" for a, b, c, d in points]
    path = folder / "rows.csv"
    path.write_text("\n".join(["a,b,c,d,gap,side", *rows]) + "\n")
    return ["model=siamese", "data=csv", f"data.path={path}", "data.inputs={one: [a, b], other: [c, d]}"]


def with_experiment(folder: Path, text: str, header: str = "# @package _global_\n") -> list[str]:
    """Write an experiment into a folder of configs, and say how to run it."""
    (folder / "experiment").mkdir(exist_ok=True)
    (folder / "experiment" / "mine.yaml").write_text(f"{header}{text}\n")
    return ["--config-dir", str(folder), "experiment=mine"]


def changed(ckpt: Path, to: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A copy of a checkpoint, changed as a stranger might."""
    content = torch.load(ckpt, weights_only=True)
    change(content)
    torch.save(content, to)
    return to


def diverge(content: dict[str, Any]) -> None:
    """A change that makes each weight of a checkpoint NaN."""
    for weight in content["state_dict"].values():
        weight.fill_(torch.nan)


def with_target(path: str, target: str, **arguments: Any) -> Callable[[dict[str, Any]], None]:
    """A change that makes a node of the stored config build something else."""

    def change(content: dict[str, Any]) -> None:
        from omegaconf import OmegaConf

        cfg = OmegaConf.create(content["dlzoo"]["config"])
        OmegaConf.update(cfg, path, {"_target_": target, **arguments}, merge=False, force_add=True)
        content["dlzoo"]["config"] = OmegaConf.to_yaml(cfg)

    return change


class Outcome(NamedTuple):
    """Of a command: its exit code and what it printed."""

    code: int
    out: str
    err: str


Train = Callable[..., Outcome]
"""The fixture `train`: ``train("model=mlp", …)`` is the command in this process."""


class Terminal:
    """Calls a command's main() with words and standard input, and reads what it says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch = monkeypatch
        self.capsys = capsys

    def __call__(self, main: Callable[[], None], *words: Any, stdin: bytes = b"") -> Outcome:
        self.monkeypatch.setattr(sys, "argv", ["command", *map(str, words)])
        self.monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        self.capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        said = self.capsys.readouterr()
        assert isinstance(left.value.code, int)
        return Outcome(left.value.code, said.out, said.err)

    def mistake(self, main: Callable[[], None], *words: Any, stdin: bytes = b"") -> str:
        """The one line that answers a mistake."""
        code, out, err = self(main, *words, stdin=stdin)
        assert (code, out, err.count("\n"), err[:7]) == (2, "", 1, "error: "), (code, out, err)
        return err


def imported(module: str, words: Sequence[str]) -> str:
    """A program that calls a command and then says which heavy packages it imported."""
    return (
        f"import sys; sys.argv = {['command', *words]!r}\n"
        f"from {module} import main\n"
        "try: main()\n"
        "except SystemExit as left: print(left.code, *({'torch', 'lightning', 'pandas', 'PIL'} & {*sys.modules}))"
    )
