"""The other seeds of a run: from the sweep that it belongs to, or stored with the experiment that it repeats."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

from dlzoo.config import run_files
from dlzoo.config.overrides import key_of
from dlzoo.errors import UserError
from dlzoo.utils import files, untrusted

if TYPE_CHECKING:
    from dlzoo.training.results import RunResults

HARMLESS = ("experiment", "seed", "output_dir", "data_dir", "quiet", "logger", "resume", "ckpt", "trust")
"""Keys of overrides with which a run is still that of its experiment."""
HARMLESS_CHOICES = ("trainer=auto", "trainer=cpu", "trainer=gpu", "trainer=mps")


class Seeds(NamedTuple):
    """What several seeds of the same configuration reached."""

    results: list[RunResults]
    source: str
    """For the reader of a card."""

    def values(self, metric: str) -> list[float]:
        """Of the runs that measured it."""
        found = (result.get("metrics", {}).get(metric) for result in self.results)
        return [value for value in found if value is not None]


def of_run(folder: Path) -> Seeds | None:
    """The finished runs of a run's configuration, one for each seed; None if there are fewer than two."""
    from dlzoo.sweep.record import FILE

    found = _of_sweep(folder) if (folder.parent / FILE).is_file() else _of_experiment(folder)
    return found if found is not None and len(found.results) > 1 else None


def _of_sweep(folder: Path) -> Seeds:
    """The finished trials beside a run that differ from it only in the seed."""
    from dlzoo.training import results

    others = [path.parents[1] for path in sorted(folder.parent.glob(f"*/{run_files.CONFIG}"))]
    same = [results.read(other) for other in others if _without_seed(other) == _without_seed(folder)]
    finished = [content for content in same if content.get("status") == "finished"]
    return Seeds(finished, f"{len(finished)} seeds of the same sweep")


def _without_seed(folder: Path) -> dict[str, object]:
    """The choices and options of a run that matter, without its seed."""
    config = {key: value for key, value in run_files.config(folder).items() if key not in ("seed", "output_dir")}
    return {**run_files.choices(folder), **config}


def _of_experiment(folder: Path) -> Seeds | None:
    """The stored runs of the experiment that a run repeats unchanged; they come with a checkout of the repository."""
    from dlzoo.config.yaml_files import CONFIG_DIR

    name = run_files.choices(folder).get("experiment")
    path = CONFIG_DIR.parent / "results" / f"{name}.json"
    if not files.is_file_name(name) or not is_unchanged(run_files.overrides(folder)) or not path.is_file():
        return None
    results = stored_runs(path)
    commits = ", ".join(sorted({str(result.get("commit")) for result in results}))
    return Seeds(results, f"{len(results)} seeds of experiment={name}, as stored with commit {commits}")


def is_unchanged(overrides: Sequence[str]) -> bool:
    """Whether a run with these overrides measures what its experiment claims.

    >>> is_unchanged(["experiment=lenet_mnist", "seed=3", "trainer=cpu"]), is_unchanged(["optimizer.lr=1"])
    (True, False)
    """
    kept = [override for override in overrides if override not in HARMLESS_CHOICES]
    return all(key in HARMLESS or key.startswith("hydra.") for key in map(key_of, kept))


def stored_runs(path: Path) -> list[RunResults]:
    """The finished runs in ``results/<experiment>.json`` whose key is a seed alone; those of a grid's cells are not.

    Raises:
        UserError: the file is not what is stored there.
    """
    from dlzoo.training import results

    content = run_files.mapping(untrusted.read_json(path), path)
    runs = run_files.mapping(content.get("runs"), path, "runs")
    found = []
    for key, value in runs.items():
        if not isinstance(key, str) or not key.isdecimal():
            continue
        run = run_files.mapping(value, path, f"runs.{key}")
        results.check(run, path, f"runs.{key}.")
        found.append(cast("RunResults", run))
    if not all(isinstance(run.get("seed"), int) for run in found):
        raise UserError(f"{path}: a run has no seed")
    return found
