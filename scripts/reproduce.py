"""Runs experiments over seeds and writes RESULTS.md: mean and standard deviation, never the best seed.

Each seed of each experiment runs in a separate process, ``python train.py experiment=… seed=…``. Its results are stored
in ``results/<experiment>.json``, so that the table can be regenerated without running anything, and an interrupted
reproduction resumes: a seed whose stored config still matches the experiment is not run again.
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
from dlzoo.config import overrides as config_overrides
from dlzoo.config import renames, run_files
from dlzoo.config.introspection import locate
from dlzoo.errors import UserError, nearest
from dlzoo.training import results
from dlzoo.training.resume import status
from scripts.results_table import cells_of, key_of, load, save, write_table

IRRELEVANT_KEYS = {
    "names", "ckpt", "resume", "output_dir", "data_dir", "profile", "logger", "on_nan", "skip_limit", "trust",
}  # fmt: skip
"""Keys that do not affect results: a run with another value of these is up to date."""

IRRELEVANT_OPTIONS = {
    "trainer": {
        "log_every_n_steps", "num_sanity_val_steps", "enable_model_summary", "enable_progress_bar", "profiler",
    },
    "data": {"data_dir", "eval_batch_size", "placement", "memory_mb", "num_workers", "mirrors"},
}  # fmt: skip
"""The same for options of a component."""

PASSIVE_CALLBACKS = {
    "DeviceStatsMonitor", "LearningRateMonitor", "ModelSummary", "RichModelSummary", "RichProgressBar",
    "ThroughputMonitor", "TQDMProgressBar",
}  # fmt: skip
"""Lightning callbacks that do not affect results. Among dlzoo's, these are the observers, the progress bar and the last
checkpoint; a metric that one of them measures is still required if a claim asks for it."""

DEFAULTS: dict[str, Any] = {
    "deterministic": False, "compile": False, "cache_features": False, "test": True, "lr_find": False, "sweep": None,
    "expect": [], "grid": None, "transfer": None,
}  # fmt: skip
"""Defaults of keys that are newer than the first stored runs."""

STORED_KEYS = (
    "seed",
    "model",
    "data",
    "device",
    "precision",
    "num_parameters",
    "epochs",
    "seconds",
    "metrics",
    "expect",
)


def main(argv: Sequence[str] | None = None) -> None:
    """``reproduce.py [experiment…] [--seeds 3] [--only-table] [--list]``; exit code 1 if a run failed."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        names, num_seeds, only_table = parse(arguments)
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


def parse(arguments: list[str]) -> tuple[list[str], int, bool]:
    """Returns (experiments, number of seeds, whether to write only the table).

    Raises:
        UserError: an unknown experiment or option; without a message after ``--list`` and ``--help``.
    """
    known, num_seeds, only_table, names = config.groups()["experiment"], 3, False, []
    if {"--list", "--help", "-h"} & set(arguments):
        print(main.__doc__, *known, sep="\n  ")
        raise UserError("")
    while arguments:
        argument = arguments.pop(0)
        if argument == "--only-table":
            only_table = True
        elif argument.startswith("--seeds"):
            value = argument.partition("=")[2] or (arguments.pop(0) if arguments else "")
            if not value.isdigit() or int(value) < 1:
                raise UserError(f"--seeds {value}: must be a number of seeds, 1 or more")
            num_seeds = int(value)
        elif argument in known:
            names.append(argument)
        else:
            raise UserError(f"{argument}: unknown experiment; {nearest(argument, known)}")
    return names or known, num_seeds, only_table


def reproduce(name: str, num_seeds: int, root: Path) -> list[str]:
    """Run the missing seeds 0, 1, …; returns the failures."""
    store = load(root, name)
    failures = []
    for seed, cell in itertools.product(range(num_seeds), cells_of(name)):
        overrides = [*" ".join(cell).split(), f"seed={seed}"]
        run_dir = root / "outputs" / "reproduce" / name / "-".join([*map(in_path, overrides[:-1]), f"seed{seed}"])
        if not is_done(run_dir, name, overrides):
            print(f"{name} {' '.join(overrides)} …", end=" ", flush=True)
            reason, failed = launch(name, overrides, run_dir)
            print(reason or f"{results.read(run_dir)['seconds']['fit']:.1f} s", flush=True)
            if reason and not failed:
                store["not_run"] = reason
                break
            if reason:
                failures.append(f"{name} {' '.join(overrides)}: {reason}")
                continue
        run_results = results.read(run_dir)
        stored_results = {key: run_results[key] for key in (*STORED_KEYS, "versions", "commit")}
        store["runs"][key_of(cell, seed)] = stored_results | {"cpu": cpu_name(), "num_cores": os.cpu_count()}
        store["not_run"] = None
        save(root, name, store)
    save(root, name, store)
    return failures


def in_path(override: str) -> str:
    """An override as part of a folder name.

    >>> in_path("data.train_per_class=10"), in_path("net.weights=a/b.pth")
    ('train_per_class=10', 'weights=a_b.pth')
    """
    key, _, value = override.partition("=")
    return f"{key.rpartition('.')[2]}={value.replace('/', '_')}"


def is_done(run_dir: Path, name: str, overrides: Sequence[str]) -> bool:
    """Whether the run has finished and its config matches the current experiment."""
    if status(run_dir) != "finished":
        return False
    current = config.compose([f"experiment={name}", *overrides])
    stored: Any = OmegaConf.create(run_files.config(run_dir))
    measured = results.read(run_dir).get("metrics", {})
    return relevant_config(stored) == relevant_config(current) and all(
        claim.metric in measured for claim in current.expect
    )


def relevant_config(cfg: DictConfig) -> dict[str, Any]:
    """The part of a config that can affect results; keys that older runs did not have get their defaults."""
    plain: Any = renames.updated(OmegaConf.to_container(cfg, throw_on_missing=False))
    plain = DEFAULTS | {key: value for key, value in plain.items() if key not in IRRELEVANT_KEYS}
    for node, keys in IRRELEVANT_OPTIONS.items():
        plain[node] = {key: value for key, value in (plain.get(node) or {}).items() if key not in keys}
    callbacks = plain.get("callbacks") or {}
    plain["callbacks"] = {key: node for key, node in callbacks.items() if node and not is_passive(node["_target_"])}
    plain["callbacks"].get("checkpoint", {}).pop("save_last", None)  # older runs used Lightning's last checkpoint
    return plain


def is_passive(target: str) -> bool:
    """Whether a callback has no effect on what a run learns, selects and measures otherwise.

    >>> is_passive("dlzoo.callbacks.graph.ModelGraph"), is_passive("dlzoo.callbacks.early_stopping.EarlyStopping")
    (True, False)
    >>> is_passive("lightning.pytorch.callbacks.EMAWeightAveraging"), is_passive("dlzoo.callbacks.gone.Gone")
    (False, False)
    """
    if target.startswith("lightning."):
        return target.rpartition(".")[2] in PASSIVE_CALLBACKS
    try:
        callback_class = locate(target, "callbacks")
    except UserError:  # from a version that no longer exists: unknown
        return False
    return issubclass(callback_class, Observer | LastCheckpoint | LossRatio)


def launch(name: str, overrides: Sequence[str], run_dir: Path) -> tuple[str | None, bool]:
    """Run one seed; returns (error or None, whether that is a failure rather than missing data)."""
    folder = config_overrides.quoted("hydra.run.dir", run_dir)
    command = [sys.executable, "-m", "dlzoo.train", f"experiment={name}", *overrides, folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return None, False
    lines = [line for line in done.stderr.strip().splitlines() if line.strip()]
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    if done.returncode == 2 and errors:
        return errors[-1], False
    return (lines[-1] if lines else f"exit code {done.returncode}"), True


def cpu_name() -> str:
    """The processor's name according to the kernel, if available."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
