"""Runs experiments over seeds and writes RESULTS.md: the mean with its interval and the worst seed, never the best.

Each seed of each experiment runs in a separate process, ``python train.py experiment=… seed=…``. Its results are stored
in ``results/<experiment>.json``, so that the table can be regenerated without running anything, and an interrupted
reproduction resumes: a seed whose stored config still matches the experiment is not run again. The runs use a checkout
of the current commit, so that each figure belongs to a commit.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dlzoo.callbacks.base import Observer
from dlzoo.callbacks.last_checkpoint import LastCheckpoint
from dlzoo.callbacks.loss_ratio import LossRatio
from dlzoo.config import compose as config
from dlzoo.config import groups, renames, run_files
from dlzoo.config import overrides as config_overrides
from dlzoo.config.allowlist import Trust
from dlzoo.errors import UserError, nearest, one_line
from dlzoo.training import results
from dlzoo.training.resume import status
from dlzoo.utils.formatting import format_metric, is_fraction
from scripts import checkout, claims
from scripts.machine import cpu_name
from scripts.results_table import STORED_KEYS, cells_of, check_run, is_marked, key_of, load, save, write_table

IRRELEVANT_KEYS = {
    "names", "ckpt", "resume", "output_dir", "data_dir", "profile", "quiet", "logger", "on_nan", "skip_limit", "trust",
    "expect",
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
    "grid": None, "transfer": None,
}  # fmt: skip
"""Defaults of keys that are newer than the first stored runs."""


CHECKED = 60
"""Seconds of training that an experiment may have taken to be run again by ``--check``."""
TOLERANCE = {"relative": 1e-3, "fraction": 2e-3}
"""By how much a figure may differ on another machine: relatively, or of a fraction such as the accuracy."""


def main(argv: Sequence[str] | None = None) -> None:
    """Exit code 1 if a run failed, or if a figure differs from the stored one."""
    try:
        options = parse(sys.argv[1:] if argv is None else argv)
        if options.list:
            print(*groups.names()["experiment"], sep="\n")
            return
        failures = check(options) if options.check else reproduce_all(options)
    except UserError as error:
        sys.exit(f"error: {one_line(error)}")
    for failure in failures:
        print(f"failed: {failure}", file=sys.stderr)
    sys.exit(1 if failures else 0)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The options of the command line.

    Raises:
        UserError: an unknown experiment.
    """
    parser = argparse.ArgumentParser(prog="reproduce.py", description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("experiments", nargs="*", metavar="experiment", help="all, if none is given")
    parser.add_argument(
        "--seeds", type=num_seeds, metavar="N",
        help=f"seeds of each; without it {claims.MANY} where a run takes under {claims.SHORT // 60} minutes, "
        f"else {claims.FEW}",
    )  # fmt: skip
    parser.add_argument("--check", action="store_true", help=f"run what took under {CHECKED} s again, and compare")
    parser.add_argument("--dirty", action="store_true", help="run the files as they are; RESULTS.md marks such figures")
    parser.add_argument("--only-table", action="store_true", help="write RESULTS.md from what is stored")
    parser.add_argument("--list", action="store_true", help="print the names of the experiments")
    options = parser.parse_args(arguments)
    known = groups.names()["experiment"]
    for name in options.experiments:
        if name not in known:
            raise UserError(f"{name}: unknown experiment; {nearest(name, known)}")
    options.experiments = options.experiments or known
    return options


def num_seeds(text: str) -> int:
    """A number of seeds from the command line."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: must be a number of seeds, 1 or more")
    return int(text)


def reproduce_all(options: argparse.Namespace) -> list[str]:
    """Run what is missing and write RESULTS.md; returns the failures."""
    root, failures = Path.cwd(), []
    if not options.only_table:
        source = source_of(root, options.dirty)
        for name in options.experiments:
            failures += reproduce(name, options.seeds, root, source, is_dirty=options.dirty)
            write_table(root)
    write_table(root)
    print(f"wrote {root / 'RESULTS.md'}")
    return failures


def check(options: argparse.Namespace) -> list[str]:
    """Run seed 0 of every experiment that takes under a minute again; returns what differs from the stored figures."""
    root = Path.cwd()
    source = source_of(root, options.dirty)
    failures: list[str] = []
    for name in options.experiments:
        stored = load(root, name)["runs"]
        cell = cells_of(name)[0]
        expected = stored.get(key_of(cell, 0))
        if expected is None or expected["seconds"]["fit"] >= CHECKED:
            continue
        overrides = [*" ".join(cell).split(), "seed=0"]
        run_dir = root / "outputs" / "check" / name
        shutil.rmtree(run_dir, ignore_errors=True)
        reason, _ = launch(name, overrides, run_dir, source)
        differences = [reason] if reason else compare(expected, results.read(run_dir)["metrics"])
        print(f"{name}: {'; '.join(differences) or 'as stored'}", flush=True)
        failures += [f"{name}: {difference}" for difference in differences]
    return failures


def compare(expected: Mapping[str, Any], metrics: Mapping[str, float | None]) -> list[str]:
    """The claimed metrics of a stored run that a new one does not reach to within `TOLERANCE`."""
    differences = []
    for claim in expected["expect"]:
        name = claim["metric"]
        old, new = expected["metrics"][name], metrics.get(name)
        allowed = TOLERANCE["fraction"] if is_fraction(name) else TOLERANCE["relative"] * abs(old)
        if new is None or abs(new - old) > allowed:
            differences.append(f"{name} is {format_metric(name, new)}, stored is {format_metric(name, old)}")
    return differences


def source_of(root: Path, is_dirty: bool) -> Path:
    """The folder with the code that runs: a checkout of the commit, or with ``--dirty`` the files as they are."""
    return root if is_dirty else checkout.clean_checkout(root)


def reproduce(name: str, seeds: int | None, root: Path, source: Path, *, is_dirty: bool) -> list[str]:
    """Run the missing seeds 0, 1, …; returns the failures.

    Args:
        seeds: number of seeds; None for as many as a verdict needs, known once the first has run.
        source: the folder with the code.
        is_dirty: runs of uncommitted files count as done.
    """
    failures: list[str] = []
    store, seed = load(root, name), 0
    while seed < (seeds or wanted(store)):
        for cell in cells_of(name):
            reason, failed = run_missing(name, cell, seed, store, root, source, is_dirty=is_dirty)
            if reason and not failed:
                store["not_run"] = reason
                save(root, name, store)
                return failures
            if reason:
                failures.append(f"{name} {' '.join([*filter(None, cell), f'seed={seed}'])}: {reason}")
        seed += 1
    save(root, name, store)
    return failures


def wanted(store: Mapping[str, Any]) -> int:
    """The number of seeds that a verdict needs; 1 before anything has run, and never fewer than are stored."""
    runs = store["runs"].values()
    if not runs:
        return 1
    stored = max(run["seed"] for run in runs) + 1
    return max(stored, claims.seeds_needed([run["seconds"]["fit"] for run in runs]))


def run_missing(
    name: str, cell: tuple[str, str], seed: int, store: dict[str, Any], root: Path, source: Path, *, is_dirty: bool
) -> tuple[str | None, bool]:
    """Run one seed of a cell unless it is done, and store its results; returns as `launch`."""
    overrides = [*" ".join(cell).split(), f"seed={seed}"]
    run_dir = root / "outputs" / "reproduce" / name / "-".join([*map(in_path, overrides[:-1]), f"seed{seed}"])
    if not is_done(run_dir, name, overrides, is_dirty=is_dirty):
        shutil.rmtree(run_dir, ignore_errors=True)
        print(f"{name} {' '.join(overrides)} …", end=" ", flush=True)
        reason, failed = launch(name, overrides, run_dir, source)
        print(reason or f"{results.read(run_dir)['seconds']['fit']:.1f} s", flush=True)
        if reason:
            return reason, failed
    run_results: Mapping[str, Any] = results.read(run_dir)
    check_run(run_results, run_dir / "results.json", "")
    stored_results = {key: run_results[key] for key in (*STORED_KEYS, "versions", "commit")}
    store["runs"][key_of(cell, seed)] = stored_results | {"cpu": cpu_name(), "num_cores": os.cpu_count()}
    store["not_run"] = None
    save(root, name, store)
    return None, False


def in_path(override: str) -> str:
    """An override as part of a folder name.

    >>> in_path("data.train_per_class=10"), in_path("net.weights=a/b.pth")
    ('train_per_class=10', 'weights=a_b.pth')
    """
    key, _, value = override.partition("=")
    return f"{key.rpartition('.')[2]}={value.replace('/', '_')}"


def is_done(run_dir: Path, name: str, overrides: Sequence[str], *, is_dirty: bool) -> bool:
    """Whether the run has finished, belongs to a commit, and its config matches the current experiment."""
    if status(run_dir) != "finished":
        return False
    if is_marked(results.read(run_dir)) and not is_dirty:
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
        plain[node] = {key: value for key, value in mapping(plain.get(node)).items() if key not in keys}
    callbacks = {key: mapping(node) for key, node in mapping(plain.get("callbacks")).items()}
    plain["callbacks"] = {key: node for key, node in callbacks.items() if node and not is_passive(node.get("_target_"))}
    plain["callbacks"].get("checkpoint", {}).pop("save_last", None)  # older runs used Lightning's last checkpoint
    return plain


def mapping(node: Any) -> dict[str, Any]:
    """A part of a config; nothing where a run folder has something else, which then equals no experiment's."""
    return node if isinstance(node, dict) else {}


def is_passive(target: Any) -> bool:
    """Whether a callback has no effect on what a run learns, selects and measures otherwise.

    >>> is_passive("dlzoo.callbacks.graph.ModelGraph"), is_passive("dlzoo.callbacks.early_stopping.EarlyStopping")
    (True, False)
    >>> is_passive("lightning.pytorch.callbacks.EMAWeightAveraging"), is_passive("dlzoo.callbacks.gone.Gone")
    (False, False)
    """
    if isinstance(target, str) and target.startswith("lightning."):
        return target.rpartition(".")[2] in PASSIVE_CALLBACKS
    try:
        callback_class = Trust().resolve(target, "callbacks")  # the config of a run folder may name any module
    except UserError:  # from a version that no longer exists, or not dlzoo's: unknown
        return False
    return isinstance(callback_class, type) and issubclass(callback_class, Observer | LastCheckpoint | LossRatio)


def launch(name: str, overrides: Sequence[str], run_dir: Path, source: Path) -> tuple[str | None, bool]:
    """Run one seed with the code of a folder; returns (error or None, whether that is a failure and not missing data).

    Data are looked for where they are without this script, whose runs have another working directory.
    """
    folder = config_overrides.quoted("hydra.run.dir", run_dir.absolute())
    command = [sys.executable, "-m", "dlzoo", "train", f"experiment={name}", *overrides, folder]
    data_dir = Path(os.environ.get("DLZOO_DATA_DIR", "data")).absolute()
    environment = os.environ | {"PYTHONPATH": str(source), "DLZOO_DATA_DIR": str(data_dir)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=source, env=environment)
    if done.returncode == 0:
        return None, False
    lines = [line for line in done.stderr.strip().splitlines() if line.strip()]
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    if done.returncode == 2 and errors:
        return errors[-1], False
    return (lines[-1] if lines else f"exit code {done.returncode}"), True


if __name__ == "__main__":
    main()
