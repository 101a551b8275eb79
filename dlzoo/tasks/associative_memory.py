"""Associative memories: store patterns in one step, by a closed form, and recall them from corrupted ones.

J. J. Hopfield, 1982; see dlzoo/nets/hopfield.py. What is measured is the memory, so validation and test corrupt the
stored patterns; the images of the test are recalled as well, for pictures and for ``dlzoo predict``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

from dlzoo.distributed.noise import Noise, PerRowNoise
from dlzoo.errors import UserError, between
from dlzoo.metrics import recall as metrics
from dlzoo.nets.base import AssociativeMemory
from dlzoo.nets.hopfield import as_states
from dlzoo.specs.base import Spec
from dlzoo.specs.batch import Batch
from dlzoo.tasks.image_views import Reconstructor
from dlzoo.tasks.interfaces import EVAL_SEED, Recalling
from dlzoo.tasks.manual import ManualTask
from dlzoo.tasks.optimization import OptimizerFactory, SchedulerFactory
from dlzoo.tasks.views import View

MAX_PROBES = 1000
"""Stored patterns that are recalled in a validation or test, at most."""


class Remembering(ManualTask, Recalling):
    """For nets that store patterns. The latent of an image is the state that it is recalled as.

    The first ``net.num_patterns`` different training images are stored, as many of each class where there are classes.
    Metrics, of the stored patterns with a fraction ``flip`` of their units flipped: loss is the fraction of units that
    are wrong after recall; overlap the mean product of the units of a pattern and of what it is recalled as, 1 if they
    are equal; recalled the fraction of patterns with an overlap of at least 0.9; energy_rises how often an update of
    all units raised the energy. In the test, the baselines: overlap_none without recall, recalled_nearest by the
    nearest stored pattern, which must be kept for that.

    Args:
        flip: fraction of units whose sign is changed before recall.
    """

    uses_optimizer = False
    carried_state = ("statistics", "waiting")
    monitor = ("val/loss", "min")

    def __init__(
        self,
        net: AssociativeMemory,
        spec: Spec,
        *,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
        flip: float = 0.2,
    ) -> None:
        super().__init__(net, spec, optimizer=optimizer, scheduler=scheduler)
        between(0, 0.5, "task", flip=flip)
        self.flip = flip
        self.is_stored = False
        self.waiting: Tensor | None = None
        """Patterns that are to be stored, with their class, (n, N + 1); None: none yet."""
        self.overlap: float | None = None
        """Of the stored patterns without noise, after a test."""

    def on_train_start(self) -> None:
        super().on_train_start()
        self.is_stored = bool(self.net.patterns.any())  # they are zeros before

    def carried_state_mismatch(self, name: str, value: object) -> str | None:
        num_units = self.net.patterns.shape[1]
        if value is None or (name == "statistics" and not value):
            return None
        fits = name == "waiting" and isinstance(value, Tensor) and value.ndim == 2 and value.shape[1] == num_units + 1
        return None if fits else f"patterns of {num_units} units and a class"

    # ------------------------------------------------------------------ storing

    def steps_in(self, batch_idx: int) -> int:
        return int(self.step_skipped or (self.waiting is not None and self.is_stored))

    @torch.no_grad()
    def learn_batch(self, batch: Batch, batch_idx: int) -> None:
        self.waiting = None if self.is_stored else self.waiting
        if self.is_stored:
            return
        x, target, _ = Batch(*batch)
        labels = target if self.spec.target.classes is not None else torch.zeros(len(x), device=x.device)
        self.check_finite((x,))
        if self.step_skipped:
            return
        rows = torch.cat([as_states(x), labels[:, None].to(x.dtype)], 1)
        self.choose(self.gather_batch(rows, batch_idx))
        assert self.waiting is not None
        if len(self.waiting) == len(self.net.patterns):
            self.net.store(self.waiting[:, :-1])
            self.is_stored = True
            self.log_step(1, loss=(1 - metrics.recall(self.net, 0.0, 0, max_patterns=MAX_PROBES).overlap.mean()) / 2)
        elif self.trainer.is_last_batch:
            raise UserError(
                f"net.num_patterns={len(self.net.patterns)}, but an epoch of the training data has only "
                f"{len(self.waiting)} different patterns{self._of_each_class()}: lower it"
            )

    def _of_each_class(self) -> str:
        return "" if self.spec.target.classes is None else f", at most {self.quota} of each class"

    @property
    def quota(self) -> int:
        """Patterns of a class, at most."""
        num_classes = 1 if self.spec.target.classes is None else self.spec.target.num_outputs
        return -(-len(self.net.patterns) // num_classes)

    def choose(self, rows: Tensor) -> None:
        """Add rows (n, N + 1) to the patterns to store: those that differ from all others, up to the number wanted."""
        kept = [] if self.waiting is None else list(self.waiting.cpu())
        known = {row[:-1].numpy().tobytes() for row in kept}
        counts: dict[float, int] = {}
        for row in kept:
            counts[float(row[-1])] = counts.get(float(row[-1]), 0) + 1
        for row in rows.cpu():
            label, content = float(row[-1]), row[:-1].numpy().tobytes()
            if len(kept) < len(self.net.patterns) and content not in known and counts.get(label, 0) < self.quota:
                kept.append(row)
                known.add(content)
                counts[label] = counts.get(label, 0) + 1
        self.waiting = torch.stack(kept).to(rows.device)

    # ------------------------------------------------------------------ recall

    def corrupt(self, x: Tensor, noise: Noise | None = None) -> Tensor:
        """Images (B, …) with a fraction ``flip`` of their values v replaced by 1 - v."""
        centred = 2 * x.flatten(1) - 1
        return ((metrics.flipped(centred, self.flip, noise or self.noise) + 1) / 2).view_as(x)

    def encode(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.net(x)

    def decode(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """States (B, N) -> images: -1 is black, 1 white."""
        return ((latents + 1) / 2).view(-1, *self.spec.shape)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Nothing: the memory is measured, not the images."""

    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        x = batch[0]
        states = self.encode(self.corrupt(x, self.eval_noise.of_next(len(x))))
        return {"code": states, "error": (self.decode(states) - x).square().flatten(1).mean(1)}

    def log_split(self, split: str) -> None:
        """The same on every rank: all of them hold the same patterns."""
        result = metrics.recall(self.net, self.flip, EVAL_SEED, max_patterns=MAX_PROBES)
        overlap = result.overlap.mean()
        values = {"loss": (1 - overlap) / 2, "overlap": overlap, "recalled": result.recalled}
        self.log_dict({f"{split}/{name}": value.float() for name, value in values.items()})
        self.log(f"{split}/energy_rises", float(result.num_rises))
        if split == "test":
            self.overlap = float(metrics.recall(self.net, 0.0, 0, max_patterns=MAX_PROBES).overlap.mean())
            self.log_dict(self.baselines())

    def baselines(self) -> dict[str, float]:
        patterns = self.net.patterns.detach()
        probes = patterns[:MAX_PROBES]
        corrupted = metrics.flipped(probes, self.flip, PerRowNoise(EVAL_SEED, torch.arange(len(probes))))
        nearest = (corrupted @ patterns.T).argmax(1)
        right = ((patterns[nearest] * probes).mean(1) >= metrics.RECALLED).float().mean()
        return {
            "baseline/overlap_none": float((corrupted * probes).mean()),
            "baseline/recalled_nearest": float(right),
        }

    def diagnostics(self) -> Iterator[str]:
        yield from super().diagnostics()
        num, units = self.net.patterns.shape
        more = "use net.rule=pseudo_inverse, or model=modern_hopfield, or store fewer: net.num_patterns"
        if self.net.capacity is not None and num > self.net.capacity:
            yield (
                f"{num} patterns in {units} units: the memory holds about {self.net.capacity} random ones "
                f"({self.net.capacity / units:.3g} for each unit), and beyond that it recalls none of them; {more}"
            )
        elif self.overlap is not None and self.overlap < metrics.RECALLED:
            yield (
                f"the stored patterns are not stable: without any noise the mean overlap after recall is "
                f"{self.overlap:.2f}; they are too much alike for the rule that stores them; {more}"
            )

    def export_views(self) -> Mapping[str, Callable[[], View]]:
        return {"model": self.exported}

    def exported(self) -> View:
        if self.net.is_asynchronous:
            raise UserError(
                "asynchronous recall takes one unit after the other until none changes, which an exported file cannot: "
                "train with net.update=synchronous"
            )
        return Reconstructor(self)
