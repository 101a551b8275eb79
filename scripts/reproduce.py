"""Runs experiments over seeds and writes RESULTS.md: mean and standard deviation, never the best seed.

Each seed of each experiment is a process of its own, ``python train.py experiment=… seed=…``. What it reached is kept
in ``results/<experiment>.json``, so that a table can be made again without running anything, and a reproduction that
was interrupted goes on where it stopped: a seed whose stored config is still the experiment's is not run again.
"""

from __future__ import annotations

import itertools
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dlzoo.callbacks.base import Observer
from dlzoo.callbacks.last_checkpoint import LastCheckpoint
from dlzoo.callbacks.loss_ratio import LossRatio
from dlzoo.config import compose as config
from dlzoo.config import overrides, renames, run_files
from dlzoo.config.introspection import locate
from dlzoo.errors import UserError, nearest
from dlzoo.training import results
from dlzoo.training.resume import status
from scripts.results_table import cells_of, key_of, load, save, write_table

CHANGES_NO_FIGURE = {
    "names", "ckpt", "resume", "output_dir", "data_dir", "profile", "logger", "on_nan", "skip_limit", "trust",
}  # fmt: skip
"""Keys with which a run reaches the same: what was run with another value of them is done."""

NO_FIGURE_IN = {
    "trainer": {
        "log_every_n_steps", "num_sanity_val_steps", "enable_model_summary", "enable_progress_bar", "profiler",
    },
    "data": {"data_dir", "eval_batch_size", "placement", "memory_mb", "num_workers", "mirrors"},
}  # fmt: skip
"""The same of options of a part."""

WATCHERS = {
    "DeviceStatsMonitor", "LearningRateMonitor", "ModelSummary", "RichModelSummary", "RichProgressBar",
    "ThroughputMonitor", "TQDMProgressBar",
}  # fmt: skip
"""Lightning's callbacks that change nothing. Of ours, these are the observers, the bar and the last checkpoint; what
one of them measures is missed where a claim asks for it."""

DEFAULTS: dict[str, Any] = {
    "deterministic": False, "compile": False, "cache_features": False, "test": True, "lr_find": False, "sweep": None,
    "expect": [], "grid": None, "transfer": None,
}  # fmt: skip
"""Of keys that came later than the first stored runs."""

KEPT = ("seed", "model", "data", "device", "precision", "num_parameters", "epochs", "seconds", "metrics", "expect")


def main(argv: Sequence[str] | None = None) -> None:
    """``reproduce.py [experiment…] [--seeds 3] [--only-table] [--list]``; exit code 1 if a run failed."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        names, num_seeds, only_table = parse(words)
    except UserError as error:
        sys.exit(f"error: {error}" if str(error) else 0)
    root = Path.cwd()
    failures = []
    for name in [] if only_table else names:
        failures += reproduce(name, num_seeds, root)
        write_table(root)
    write_table(root)
    print(f"wrote {root / 'RESULTS.md'}")
    for failure in failures:
        print(f"failed: {failure}", file=sys.stderr)
    sys.exit(1 if failures else 0)


def parse(words: list[str]) -> tuple[list[str], int, bool]:
    """(experiments, number of seeds, whether only the table is wanted).

    Raises:
        UserError: an unknown experiment or option; without a message after ``--list`` and ``--help``.
    """
    known, num_seeds, only_table, names = config.groups()["experiment"], 3, False, []
    if {"--list", "--help", "-h"} & set(words):
        print(main.__doc__, *known, sep="\n  ")
        raise UserError("")
    while words:
        word = words.pop(0)
        if word == "--only-table":
            only_table = True
        elif word.startswith("--seeds"):
            value = word.partition("=")[2] or (words.pop(0) if words else "")
            if not value.isdigit() or int(value) < 1:
                raise UserError(f"--seeds {value}: this must be a number of seeds, 1 or more")
            num_seeds = int(value)
        elif word in known:
            names.append(word)
        else:
            raise UserError(f"{word}: there is no such experiment; {nearest(word, known)}")
    return names or known, num_seeds, only_table


def reproduce(name: str, num_seeds: int, root: Path) -> list[str]:
    """Run what is missing of seeds 0, 1, …; returns what failed."""
    store = load(root, name)
    failures = []
    for seed, cell in itertools.product(range(num_seeds), cells_of(name)):
        words = [*" ".join(cell).split(), f"seed={seed}"]
        run_dir = root / "outputs" / "reproduce" / name / "-".join([*map(in_path, words[:-1]), f"seed{seed}"])
        if not is_done(run_dir, name, words):
            print(f"{name} {' '.join(words)} …", end=" ", flush=True)
            reason, failed = launch(name, words, run_dir)
            print(reason or f"{results.read(run_dir)['seconds']['fit']:.1f} s", flush=True)
            if reason and not failed:
                store["not_run"] = reason
                break
            if reason:
                failures.append(f"{name} {' '.join(words)}: {reason}")
                continue
        reached = results.read(run_dir)
        kept = {key: reached[key] for key in (*KEPT, "versions", "commit")}
        store["runs"][key_of(cell, seed)] = kept | {"cpu": cpu_name(), "num_cores": os.cpu_count()}
        store["not_run"] = None
        save(root, name, store)
    save(root, name, store)
    return failures


def in_path(word: str) -> str:
    """An override as a part of a folder's name.

    >>> in_path("data.train_per_class=10"), in_path("net.weights=a/b.pth")
    ('train_per_class=10', 'weights=a_b.pth')
    """
    key, _, value = word.partition("=")
    return f"{key.rpartition('.')[2]}={value.replace('/', '_')}"


def is_done(run_dir: Path, name: str, words: Sequence[str]) -> bool:
    """Whether the run is there and its config is what the experiment says today."""
    if status(run_dir) != "finished":
        return False
    today = config.compose([f"experiment={name}", *words])
    stored: Any = OmegaConf.create(run_files.config(run_dir))
    measured = results.read(run_dir).get("metrics", {})
    return decisive(stored) == decisive(today) and all(claim.metric in measured for claim in today.expect)


def decisive(cfg: DictConfig) -> dict[str, Any]:
    """What of a config can change a figure; a key that older runs did not know stands for its default."""
    plain: Any = renames.updated(OmegaConf.to_container(cfg, throw_on_missing=False))
    plain = DEFAULTS | {key: value for key, value in plain.items() if key not in CHANGES_NO_FIGURE}
    for node, keys in NO_FIGURE_IN.items():
        plain[node] = {key: value for key, value in (plain.get(node) or {}).items() if key not in keys}
    callbacks = plain.get("callbacks") or {}
    plain["callbacks"] = {key: node for key, node in callbacks.items() if node and not only_watches(node["_target_"])}
    plain["callbacks"].get("checkpoint", {}).pop("save_last", None)  # older runs had Lightning's last checkpoint
    return plain


def only_watches(target: str) -> bool:
    """Whether a callback changes nothing of what a run learns, chooses and measures otherwise.

    >>> only_watches("dlzoo.callbacks.graph.ModelGraph"), only_watches("dlzoo.callbacks.early_stopping.EarlyStopping")
    (True, False)
    >>> only_watches("lightning.pytorch.callbacks.EMAWeightAveraging"), only_watches("dlzoo.callbacks.gone.Gone")
    (False, False)
    """
    if target.startswith("lightning."):
        return target.rpartition(".")[2] in WATCHERS
    try:
        found = locate(target, "callbacks")
    except UserError:  # of a version that is gone: nobody knows
        return False
    return issubclass(found, Observer | LastCheckpoint | LossRatio)


def launch(name: str, words: Sequence[str], run_dir: Path) -> tuple[str | None, bool]:
    """Run one seed: (what went wrong or None, whether that is a failure rather than missing data)."""
    folder = overrides.quoted("hydra.run.dir", run_dir)
    command = [sys.executable, "-m", "dlzoo.train", f"experiment={name}", *words, folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return None, False
    lines = [line for line in done.stderr.strip().splitlines() if line.strip()]
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    if done.returncode == 2 and errors:
        return errors[-1], False
    return (lines[-1] if lines else f"exit code {done.returncode}"), True


def cpu_name() -> str:
    """As the kernel names it, where it does."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
