"""Runs experiments over seeds and writes RESULTS.md: mean and standard deviation, never the best seed.

Each seed of each experiment is a process of its own, ``python train.py experiment=… seed=…``. What it reached is kept
in ``results/<experiment>.json``, so that a table can be made again without running anything, and a reproduction that
was interrupted goes on where it stopped: a seed whose stored config is still the experiment's is not run again.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf, open_dict

from dlzoo import config, results
from dlzoo.errors import UserError, nearest

COLUMNS = (
    "experiment",
    "model, data",
    "metric",
    "reached",
    "seeds",
    "expected",
    "met",
    "baselines",
    "fit, s",
    "epochs",
    "parameters",
    "source",
)

Store = dict[str, Any]
"""``{"runs": {seed: results}, "not_run": reason or None}``, as in ``results/<experiment>.json``."""

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
    for seed in range(num_seeds):
        run_dir = root / "outputs" / "reproduce" / name / f"seed{seed}"
        if not is_done(run_dir, name, seed):
            print(f"{name} seed {seed} …", end=" ", flush=True)
            reason, failed = launch(name, seed, run_dir)
            print(reason or f"{results.read(run_dir)['seconds']['fit']:.1f} s")
            if reason and not failed:
                store["not_run"] = reason
                break
            if reason:
                failures.append(f"{name} seed {seed}: {reason}")
                continue
        reached = results.read(run_dir)
        kept = {key: reached[key] for key in (*KEPT, "versions", "commit")}
        store["runs"][str(seed)] = kept | {"cpu": cpu_name(), "num_cores": os.cpu_count()}
        store["not_run"] = None
    save(root, name, store)
    return failures


def is_done(run_dir: Path, name: str, seed: int) -> bool:
    """Whether the run is there and its config is what the experiment says today."""
    if not (run_dir / "results.json").is_file():
        return False
    today = config.compose([f"experiment={name}", f"seed={seed}"])
    with open_dict(today):
        today.pop("names")
    return OmegaConf.load(run_dir / ".hydra" / "config.yaml") == today


def launch(name: str, seed: int, run_dir: Path) -> tuple[str | None, bool]:
    """Run one seed: (what went wrong or None, whether that is a failure rather than missing data)."""
    command = [sys.executable, "-m", "dlzoo.train", f"experiment={name}", f"seed={seed}", f"hydra.run.dir='{run_dir}'"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return None, False
    lines = [line for line in done.stderr.strip().splitlines() if line.strip()]
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    if done.returncode == 2 and errors:
        return errors[-1], False
    return (lines[-1] if lines else f"exit code {done.returncode}"), True


def write_table(root: Path) -> None:
    """RESULTS.md, and the last line of each experiment's header, from what is stored."""
    rows, not_run, machines = [], [], set()
    for name in config.groups()["experiment"]:
        store = load(root, name)
        if not store["runs"]:
            not_run.append((name, store["not_run"] or "not tried yet"))
            continue
        runs = [store["runs"][seed] for seed in sorted(store["runs"], key=int)]
        rows += table_rows(name, runs)
        write_header(name, runs)
        machines |= {machine(run) for run in runs}
    text = [
        "# Results",
        "",
        "Generated by `python scripts/reproduce.py`; each figure is the mean ± standard deviation over the seeds, with",
        "the checkpoint of the lowest validation loss, on test data that were read once.",
        "",
        f"| {' | '.join(COLUMNS)} |",
        f"| {' | '.join('---' for _ in COLUMNS)} |",
        *rows,
        "",
    ]
    if not_run:
        text += ["## Not run", "", *(f"- `{name}`: {reason}" for name, reason in not_run), ""]
    text += ["## Where", "", *(f"- {line}" for line in sorted(machines)), ""]
    (root / "RESULTS.md").write_text("\n".join(text), encoding="utf-8")


def table_rows(name: str, runs: Sequence[dict[str, Any]]) -> list[str]:
    """One row for each claim."""
    first, lines = runs[-1], []
    seconds = mean_std([run["seconds"]["fit"] for run in runs])
    for claim in first["expect"]:
        metric = claim["metric"]
        values = [run["metrics"][metric] for run in runs]
        mean = statistics.fmean(values)
        bound = claim.get("min", claim.get("max"))
        met = mean >= bound if "min" in claim else mean <= bound
        cells = [
            f"`{name}`",
            f"{first['model']}, {first['data']}",
            metric,
            spread(metric, values),
            str(len(runs)),
            f"{'≥' if 'min' in claim else '≤'} {results.format_metric(metric, bound)}",
            "yes" if met else "**no**",
            baselines(metric, runs),
            seconds,
            str(first["epochs"]),
            f"{first['num_parameters']:,}",
            str(claim.get("source", "")),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def baselines(metric: str, runs: Sequence[dict[str, Any]]) -> str:
    """What simpler methods reach: the means of the metrics ``baseline/<quantity>_<method>`` that the runs hold."""
    start = f"baseline/{metric.partition('/')[2]}_"
    found = [name for name in runs[-1]["metrics"] if name.startswith(start)]
    means = {name: statistics.fmean(run["metrics"][name] for run in runs) for name in found}
    methods = (f"{name.removeprefix(start)} {results.format_metric(metric, mean)}" for name, mean in means.items())
    return ", ".join(methods) or "-"


def write_header(name: str, runs: Sequence[dict[str, Any]]) -> None:
    """The line ``# Reached: …`` at the end of the experiment's header, made new."""
    path = config.CONFIG_DIR / "experiment" / f"{name}.yaml"
    metrics = [claim["metric"] for claim in runs[-1]["expect"]]
    reached = [f"{metric} {spread(metric, [run['metrics'][metric] for run in runs])}" for metric in metrics]
    seconds = mean_std([run["seconds"]["fit"] for run in runs])
    line = f"# Reached: {', '.join(reached)} ({len(runs)} seeds, {seconds} s of training on {runs[-1]['device']})."
    lines = [old for old in path.read_text(encoding="utf-8").splitlines() if not old.startswith("# Reached: ")]
    end = next(i for i, old in enumerate(lines) if not old.startswith("#"))
    path.write_text("\n".join([*lines[:end], line, *lines[end:]]) + "\n", encoding="utf-8")


def spread(metric: str, values: Sequence[float]) -> str:
    """Mean ± sample standard deviation, shares in percent.

    >>> spread("test/accuracy", [0.98, 0.99])
    '98.50 ± 0.71%'
    >>> spread("test/rmse", [0.5])
    '0.5'
    """
    if results.is_share(metric):
        return f"{mean_std([100 * value for value in values], '.2f')}%"
    return mean_std(values, ".4g")


def mean_std(values: Sequence[float], form: str = ".1f") -> str:
    """Mean ± standard deviation (n - 1), or the value alone where there is one."""
    mean = f"{statistics.fmean(values):{form}}"
    return f"{mean} ± {statistics.stdev(values):{form}}" if len(values) > 1 else mean


def machine(run: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in run["versions"].items())
    device = run["device"] if run["device"] != "cpu" else f"cpu ({run['cpu']}, {run['num_cores']} cores)"
    return f"{device}; {versions}; commit {run['commit']}"


def cpu_name() -> str:
    """As the kernel names it, where it does."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def load(root: Path, name: str) -> Store:
    """What is stored of an experiment."""
    path = root / "results" / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"runs": {}, "not_run": None}


def save(root: Path, name: str, store: Store) -> None:
    """Write ``results/<experiment>.json``."""
    path = root / "results" / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(store, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
