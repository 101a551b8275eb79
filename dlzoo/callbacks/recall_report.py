"""What an associative memory recalls, and where it ends."""

from __future__ import annotations

from collections.abc import Callable

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor

from dlzoo.callbacks.base import Report, data_of, eval_mode
from dlzoo.callbacks.sinks import publish, publish_pixels, run_folder, run_name
from dlzoo.distributed.noise import PerRowNoise
from dlzoo.errors import at_least, between
from dlzoo.metrics import recall as metrics
from dlzoo.nets.base import AssociativeMemory
from dlzoo.nets.hopfield import HEBBIAN_LOAD, Hopfield
from dlzoo.nets.modern_hopfield import ModernHopfield
from dlzoo.specs.inputs import ImageSpec
from dlzoo.specs.targets import Classes
from dlzoo.tasks.base import Task
from dlzoo.tasks.interfaces import EVAL_SEED, Recalling
from dlzoo.visualization import image_grid as tiles
from dlzoo.visualization import memories as plots

FLIPS = tuple(i / 20 for i in range(11))
LOADS = (0.02, 0.05, 0.08, 0.1, 0.12, 0.13, 0.14, 0.15, 0.16, 0.18, 0.22, 0.3, 0.5, 0.7, 1.0, 2.0, 4.0)
"""Random patterns for each unit; those of a memory that cannot hold so many are omitted."""
MAX_HEBBIAN_LOAD = 0.3
"""Above it the recall of Hebb's rule is not tried: it is slow, and recalls nothing."""
FRAMES = 8
"""Of an asynchronous update of all units, in the animation."""
MAX_FRAMES = 40
MAX_ROWS = 9
"""Of recall.png."""


class RecallReport(Report):
    """Writes recall.png, the stored patterns, corrupted, and after each update of all units; recall.gif, the same as an
    animation; recall_limits.png, the recall of the stored patterns against noise, and of random patterns against their
    number, by Hebb's rule, the pseudo-inverse and the modern network. Logs test/knee, the number of random patterns for
    each unit of which half are recalled by Hebb's rule, from as much noise as in the test; the run's seed draws them.

    Args:
        num_patterns: in the first two pictures.
        num_units: of the memories of random patterns.
        num_probes: patterns that are recalled for a point of a curve.
    """

    needs_data = True

    def __init__(self, *, num_patterns: int = 10, num_units: int = 200, num_probes: int = 50) -> None:
        at_least(1, "callbacks.recall", num_patterns=num_patterns, num_probes=num_probes)
        between(50, 2000, "callbacks.recall", num_units=num_units)
        self.num_patterns = num_patterns
        self.num_units = num_units
        self.num_probes = num_probes
        self.curves: dict[str, list[float]] = {}

    def applies_to(self, task: Task) -> bool:
        return task.as_memory() is not None

    def measure(self, trainer: pl.Trainer, task: Task) -> None:
        memory = task.as_memory()
        if memory is None or not trainer.is_global_zero:  # the other ranks would measure the same
            return
        with torch.no_grad():
            self.curves = self.load_curves(memory.flip, data_of(trainer).seed)
        knee = metrics.knee(LOADS, self.curves["Hebb"])
        task.log("test/knee", knee, rank_zero_only=True)

    def load_curves(self, flip: float, seed: int) -> dict[str, list[float]]:
        """The fraction of random patterns that are recalled by each memory, for `LOADS` up to the last it can hold."""
        spec = ImageSpec(1, 1, self.num_units, Classes(("pattern",)))
        nums = [max(2, round(load * self.num_units)) for load in LOADS]

        def curve(make: Callable[[int], AssociativeMemory], max_load: float) -> list[float]:
            few = [num for num in nums if num <= max_load * self.num_units]
            return metrics.by_load(make, few, self.num_units, flip, seed, max_patterns=self.num_probes)

        return {
            "Hebb": curve(lambda num: Hopfield(spec, num_patterns=num), MAX_HEBBIAN_LOAD),
            "pseudo-inverse": curve(lambda num: Hopfield(spec, num_patterns=num, rule="pseudo_inverse"), 0.99),
            "modern": curve(lambda num: ModernHopfield(spec, num_patterns=num), LOADS[-1]),
        }

    def write(self, trainer: pl.Trainer, task: Task) -> None:
        memory = task.as_memory()
        if memory is None or not memory.net.patterns.any():
            return
        with eval_mode(task):
            self.draw_steps(trainer, memory)
            overlaps = metrics.by_noise(memory.net, FLIPS, EVAL_SEED, max_patterns=self.num_probes)
        figure = plots.limits(
            (FLIPS, overlaps), memory.flip, LOADS, self.curves, theory=HEBBIAN_LOAD, num_units=self.num_units,
            heading=run_name(trainer),
        )  # fmt: skip
        publish(trainer, "recall_limits", figure)

    def draw_steps(self, trainer: pl.Trainer, task: Recalling) -> None:
        patterns = task.net.patterns.detach()[: self.num_patterns]
        noise = PerRowNoise(EVAL_SEED, torch.arange(len(patterns)))
        start = metrics.flipped(patterns, task.flip, noise)
        rows = [patterns, start, *task.net.states(start)]
        names = ["stored", "corrupted", *(f"step {i}" for i in range(1, len(rows) - 1))]
        if len(rows) > MAX_ROWS:
            rows, names = [*rows[: MAX_ROWS - 1], rows[-1]], [*names[: MAX_ROWS - 1], names[-1]]
        publish_pixels(trainer, "recall", plots.steps([task.decode(row) for row in rows], names))
        frames = FRAMES if task.net.is_asynchronous else 1
        states = [start, *task.net.states(start, frames)][:MAX_FRAMES]
        tiles.write_gif([frame(task, patterns, state) for state in states], run_folder(trainer) / "recall.gif")


def frame(task: Recalling, patterns: Tensor, state: Tensor) -> np.ndarray:
    """The stored patterns (P, N), and the state (P, N) of their recall below."""
    grid = plots.steps([task.decode(patterns), task.decode(state)], ["stored", "recalled"])
    return tiles.captioned(grid, f"mean overlap {float((patterns * state).mean()):.2f}")
