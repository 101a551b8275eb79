"""The end of ``python train.py -m …``: one table of all its runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf


class TableOfRuns(Callback):
    """Prints what each run of a multirun reached; a run without ``results.json`` failed and says so."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        from rich.console import Console

        from dlzoo.results import table_of_runs

        folder = Path(config.hydra.sweep.dir)
        found = runs_in(folder)
        common = set.intersection(*(set(words) for words, _ in found)) if len(found) > 1 else set()
        runs = [(" ".join(word for word in words if word not in common), results) for words, results in found]
        console = Console(highlight=False)
        console.print()
        console.print(table_of_runs(runs))
        console.print(f"\nresults   {folder}\nlook      tensorboard --logdir {folder}", soft_wrap=True)


def runs_in(folder: Path) -> list[tuple[list[str], dict[str, Any]]]:
    """(overrides, results) of each run of a sweep folder, in the order of their numbers; results {} if it failed."""
    found = []
    for overrides in folder.glob("*/.hydra/overrides.yaml"):
        run_dir = overrides.parent.parent
        file = run_dir / "results.json"
        results = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        words = [str(word).lstrip("+") for word in OmegaConf.load(overrides)]
        found.append((int(run_dir.name.split("-")[0]), words, results))
    return [(words, results) for _, words, results in sorted(found, key=lambda item: item[0])]
