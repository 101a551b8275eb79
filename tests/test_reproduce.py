"""RESULTS.md: means over all seeds, claims judged by the mean, what was not run named with its reason."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf, open_dict

from dlzoo.config import compose as config
from dlzoo.errors import UserError
from dlzoo.training import results
from scripts import reproduce

NAME = "mlp_xor"


@pytest.fixture
def launched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """`launch` replaced by one that reaches 0.5, 0.75 and 1.0 with seeds 0, 1, 2; gives the calls."""
    calls: list[tuple[str, int]] = []

    def launch(name: str, words: list[str], run_dir: Path) -> tuple[str | None, bool]:
        seed = int(words[-1].removeprefix("seed="))
        calls.append((name, seed))
        if name == "mlp_california":
            return "cal_housing.tgz could not be downloaded", False
        if name == "lenet_mnist":
            return "Segmentation fault", True
        cfg = config.compose([f"experiment={name}", *words])
        metrics = {"test/accuracy": 0.5 + 0.25 * seed}
        with open_dict(cfg):
            cfg.pop("names")
        (run_dir / ".hydra").mkdir(parents=True, exist_ok=True)
        OmegaConf.save(cfg, run_dir / ".hydra" / "config.yaml")
        outcome: dict[str, Any] = dict.fromkeys(reproduce.STORED_KEYS)
        outcome |= {"seed": seed, "model": "mlp", "data": "gates", "device": "cpu", "num_parameters": 42, "epochs": 3}
        outcome |= {"seconds": {"fit": 2.0 + seed}, "metrics": metrics, "versions": {"torch": "2"}, "commit": "abc"}
        outcome |= {"expect": results.judge(OmegaConf.to_container(cfg.expect), metrics)}  # type: ignore[arg-type]
        results.write(run_dir, outcome)
        return None, False

    monkeypatch.setattr(reproduce, "launch", launch)
    shutil.copytree(config.CONFIG_DIR, tmp_path / "configs")
    monkeypatch.setattr(config, "CONFIG_DIR", tmp_path / "configs")
    return calls


def row(root: Path, name: str) -> str:
    return next(line for line in (root / "RESULTS.md").read_text().splitlines() if name in line)


def run(root: Path, monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.chdir(root)
    with pytest.raises(SystemExit) as exit_:
        reproduce.main(words)
    return int(exit_.value.code or 0)


def test_the_mean_is_judged_not_the_best_seed(
    tmp_path: Path, launched: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(tmp_path, monkeypatch, NAME, "--seeds", "3") == 0
    line = row(tmp_path, NAME)
    assert "75.00 ± 25.00%" in line
    assert "| 3 |" in line
    assert "3.0 ± 1.0" in line
    assert "**no**" in line  # the best seed alone would have met 100%


def test_an_experiment_s_header_says_what_was_reached(
    tmp_path: Path, launched: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "configs" / "experiment" / f"{NAME}.yaml"
    before = config.compose([f"experiment={NAME}"])
    for seeds, reached in {"2": "62.50 ± 17.68%", "3": "75.00 ± 25.00%"}.items():
        run(tmp_path, monkeypatch, NAME, "--seeds", seeds)
        (line,) = (line for line in file.read_text().splitlines() if line.startswith("# Reached: "))
        assert f"test/accuracy {reached} ({seeds} seeds" in line
    assert file.read_text().startswith("# @package _global_\n")
    assert config.compose([f"experiment={NAME}"]) == before


def test_what_is_done_is_not_run_again_unless_the_experiment_changed(
    tmp_path: Path, launched: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path, monkeypatch, NAME, "--seeds", "2")
    run(tmp_path, monkeypatch, NAME, "--seeds", "3")
    assert launched == [(NAME, 0), (NAME, 1), (NAME, 2)]
    stored = tmp_path / "outputs" / "reproduce" / NAME / "seed1" / ".hydra" / "config.yaml"
    stored.write_text(stored.read_text().replace("max_epochs: 20", "max_epochs: 21"))
    run(tmp_path, monkeypatch, NAME, "--seeds", "3")
    assert launched[3:] == [(NAME, 1)]


def test_what_changes_no_figure_is_not_run_again(
    tmp_path: Path, launched: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs that are older than such a key, or had another value, are done; those with another test are not."""
    run(tmp_path, monkeypatch, NAME, "--seeds", "1")
    path = tmp_path / "outputs" / "reproduce" / NAME / "seed0" / ".hydra" / "config.yaml"
    stored: Any = OmegaConf.load(path)
    for key in ("on_nan", "skip_limit", "resume", "profile", "test", "lr_find", "sweep"):
        stored.pop(key, None)
    stored.callbacks.pop("last_checkpoint")
    stored.callbacks.checkpoint.save_last = True
    stored.logger = None
    OmegaConf.save(stored, path)
    run(tmp_path, monkeypatch, NAME, "--seeds", "1")
    assert launched == [(NAME, 0)]
    for key, value in {"test": False, "lr_find": "use"}.items():
        OmegaConf.save({**stored, key: value}, path)
        launched.clear()
        run(tmp_path, monkeypatch, NAME, "--seeds", "1")
        assert launched == [(NAME, 0)], key


ADDED = """
report:
  _target_: dlzoo.callbacks.weight_histograms.WeightHistograms
monitor:
  _target_: lightning.pytorch.callbacks.LearningRateMonitor
"""


def test_a_default_callback_that_is_added_makes_no_run_stale(
    tmp_path: Path, launched: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path, monkeypatch, NAME, "--seeds", "1")
    callbacks = tmp_path / "configs" / "callbacks"
    (callbacks / "added.yaml").write_text(ADDED)
    default = callbacks / "default.yaml"
    before = default.read_text()
    default.write_text(before.replace("  - graph\n", "  - graph\n  - added\n"))
    assert "report" in config.compose([f"experiment={NAME}"]).callbacks
    run(tmp_path, monkeypatch, NAME, "--seeds", "1")
    assert launched == [(NAME, 0)]
    default.write_text(before.replace("  - graph\n", "  - graph\n  - ema\n"))  # this one changes what is measured
    run(tmp_path, monkeypatch, NAME, "--seeds", "1")
    assert launched == [(NAME, 0)] * 2


@pytest.mark.parametrize("key", ["net", "task", "data", "optimizer", "scheduler", "trainer"])
def test_an_option_of_a_part_makes_a_run_stale(
    key: str, tmp_path: Path, launched: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path, monkeypatch, NAME, "--seeds", "1")
    path = tmp_path / "outputs" / "reproduce" / NAME / "seed0" / ".hydra" / "config.yaml"
    stored: Any = OmegaConf.load(path)
    options = {"trainer": ["log_every_n_steps", "enable_model_summary"], "data": ["eval_batch_size", "data_dir"]}
    for option in options.get(key, []):
        stored[key][option] = 7
    OmegaConf.save(stored, path)
    run(tmp_path, monkeypatch, NAME, "--seeds", "1")
    assert launched == [(NAME, 0)], "these do not affect results"
    stored[key]["another"] = 7
    OmegaConf.save(stored, path)
    run(tmp_path, monkeypatch, NAME, "--seeds", "1")
    assert launched == [(NAME, 0)] * 2


def test_missing_data_are_reported_and_failures_fail(
    tmp_path: Path, launched: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(tmp_path, monkeypatch, "mlp_california") == 0
    assert launched == [("mlp_california", 0)]
    assert "could not be downloaded" in row(tmp_path, "mlp_california")
    assert run(tmp_path, monkeypatch, "lenet_mnist", "--seeds=1") == 1


def test_the_table_is_generated_from_the_stored_files(
    tmp_path: Path, launched: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path, monkeypatch, NAME)
    before = (tmp_path / "RESULTS.md").read_text()
    (tmp_path / "RESULTS.md").unlink()
    assert run(tmp_path, monkeypatch, "--only-table") == 0
    assert (tmp_path / "RESULTS.md").read_text() == before
    assert len(launched) == 3


@pytest.mark.parametrize(
    ("arguments", "message"), [(["lennet_mnist"], "did you mean 'lenet_mnist'"), (["--seeds", "x"], "--seeds x")]
)
def test_mistakes(arguments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        reproduce.parse(arguments)


def test_a_real_process(tmp_path: Path) -> None:
    """`launch` builds a valid command: one real run."""
    assert reproduce.launch("perceptron_gates", ["seed=0"], tmp_path / "run with spaces") == (None, False)
    assert results.read(tmp_path / "run with spaces")["metrics"]["test/accuracy"] == 1.0


GRID = """# @package _global_
# Two options by two.
defaults:
  - mlp_xor
grid:
  rows: [optimizer=adam, optimizer=sgd optimizer.lr=0.1]
  columns: [trainer.max_epochs=20, trainer.max_epochs=40]
"""


def test_a_grid_is_a_table_and_claims_apply_to_its_own_cell(
    tmp_path: Path, launched: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "configs" / "experiment" / "grid_xor.yaml").write_text(GRID)
    assert run(tmp_path, monkeypatch, "grid_xor", "--seeds", "2") == 0
    assert len(launched) == 8
    lines = (tmp_path / "RESULTS.md").read_text().splitlines()
    start = lines.index("## grid_xor")
    assert "2 seeds per cell" in lines[start + 2]
    assert lines[start + 4 : start + 8] == [
        "| | trainer.max_epochs=20 | trainer.max_epochs=40 |",
        "| --- | --- | --- |",
        "| `optimizer=adam` | 62.50 ± 17.68% | 62.50 ± 17.68% |",
        "| `optimizer=sgd` | 62.50 ± 17.68% | 62.50 ± 17.68% |",
    ]
    assert (tmp_path / "docs" / "grid_xor.png").stat().st_size > 5000
    (own_row,) = (line for line in lines if line.startswith("| `grid_xor`"))
    assert "| 2 |" in own_row  # the seeds of one cell, not of all
    run(tmp_path, monkeypatch, "grid_xor", "--seeds", "2")
    assert len(launched) == 8
