"""What is compared between runs: the options in which they differ, their metrics and costs, as text and numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dlzoo.api.run import Run
from dlzoo.utils.formatting import format_metric

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#9A9A9A")
"""Of the runs, in turn: the colour-blind-safe palette of Okabe & Ito."""
METRICS = ("test/", "baseline/", "val/")
"""The prefixes of the metrics that are compared, in this order."""
COSTS = {"epochs": "", "fit (s)": ".1f", "parameters": ","}
"""What a run cost, and how it is formatted."""


def differences(configs: Sequence[Mapping[str, object]]) -> dict[str, list[str]]:
    """The keys whose values differ between the configs, with the value of each; ``-`` if a config lacks the key.

    >>> differences([{"seed": 0, "net": "a"}, {"seed": 1, "net": "a", "ema": 0.9}])
    {'seed': ['0', '1'], 'ema': ['-', '0.9']}
    """
    keys = dict.fromkeys(key for config in configs for key in config)
    values_of = {key: [_as_override(config[key]) if key in config else "-" for config in configs] for key in keys}
    differing = {key: values for key, values in values_of.items() if len(set(values)) > 1}
    rows = {key: values for key, values in differing.items() if not _is_redundant(key, values, differing)}
    callbacks = [{key.split(".")[1] for key in config if key.startswith("callbacks.")} for config in configs]
    if not_shared := callbacks[0].union(*callbacks) - callbacks[0].intersection(*callbacks):
        rows["differing callbacks"] = [",".join(sorted(names & not_shared)) or "-" for names in callbacks]
    return rows


def _is_redundant(key: str, values: Sequence[str], differing: Mapping[str, object]) -> bool:
    """Paths of data; options of callbacks that only some runs have; a class that a choice implies: optimizer=sgd."""
    node, _, rest = key.partition(".")
    choice = "model" if node in ("net", "task") else node
    return (
        key.endswith("data_dir")
        or (node == "callbacks" and rest != "" and "-" in values)
        or (rest == "_target_" and choice in differing)
    )


def metric_names(runs: Sequence[Run]) -> list[str]:
    """The metrics of test, baselines and the last validation that the runs have."""
    names = dict.fromkeys(name for run in runs for name in run.metrics)
    return [name for prefix in METRICS for name in names if name.startswith(prefix)]


def curve_names(runs: Sequence[Run]) -> list[str]:
    """The metrics of which the runs have curves in training or validation, the loss first."""
    columns = dict.fromkeys(key for run in runs for row in run.epochs for key in row)
    splits = [key.partition("/") for key in columns if key.startswith(("train/", "val/"))]
    return sorted(dict.fromkeys(name for _, _, name in splits), key=lambda name: name != "loss")


def costs(run: Run) -> tuple[float | None, ...]:
    """What a run cost, in the order of `COSTS`."""
    fit = run.results.get("seconds", {}).get("fit")
    return run.results.get("epochs", len(run.epochs)), fit, run.results.get("num_parameters")


def shown_costs(run: Run) -> list[str]:
    """The `costs` as text; ``-`` if unknown."""
    pairs = zip(costs(run), COSTS.values(), strict=True)
    return ["-" if value is None else f"{value:{spec}}" for value, spec in pairs]


def results_table(runs: Sequence[Run]) -> dict[str, list[str]]:
    """The metrics, then the cost, with the value of each run as text."""
    rows = {name: [format_metric(name, run.metrics.get(name)) for run in runs] for name in metric_names(runs)}
    shown = [shown_costs(run) for run in runs]
    return rows | {name: [cells[i] for cells in shown] for i, name in enumerate(COSTS)}


def letters(num: int) -> list[str]:
    """A, B, …, Z, A1, B1, …: short names of the runs.

    >>> letters(3)
    ['A', 'B', 'C']
    """
    return [chr(65 + i % 26) + (str(i // 26) if i >= 26 else "") for i in range(num)]


def _as_override(value: object) -> str:
    """As it would be written on the command line."""
    if isinstance(value, list):
        return f"[{','.join(map(_as_override, value))}]"
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return str(value)
