"""Profiles training steps: ``dlzoo train … profile=true``.

After a few warm-up steps, PyTorch's profiler traces a few steps; then others are timed, since tracing slows down each
operation. The trace is written to <run>/profile/ and opens in Perfetto (https://ui.perfetto.dev) or, with the package
torch-tb-profiler, in TensorBoard; the times are printed and written to <run>/profile.txt.
"""

from __future__ import annotations

import os
import time
from contextlib import AbstractContextManager
from pathlib import Path

import torch
from lightning.pytorch.profilers import Profiler
from torch.autograd.profiler_util import FunctionEventAvg
from torch.profiler import profile, record_function

from dlzoo.utils.files import open_text

NUM_SKIPPED, NUM_TRACED, NUM_TIMED = 3, 3, 50
"""Numbers of steps, in this order; one more step after the skipped ones warms up PyTorch's profiler."""

PARTS = {
    "data loading": ("_dataloader_next",),
    "transfer and augmentation": ("batch_to_device", "batch_transfer"),
    "forward and loss": ("training_step",),
    "backward": (".backward",),
    "optimizer": ("optimizer_step", "zero_grad", "gradient_clipping", "lr_scheduler_step"),
    "callbacks": ("[Callback]",),
}
"""Parts of a step, by parts of the names of Lightning's actions. The time of nested actions is counted only once."""
OTHER = "Lightning, logging and other"
NUM_OPERATORS = 8


class StepProfiler(Profiler):
    """Lightning calls it when each of its actions starts and stops.

    On a GPU each timed action synchronizes, so that work is attributed to the action that launched it.
    """

    def __init__(self, run_dir: Path) -> None:
        super().__init__()
        self.run_dir = run_dir
        self.step = -1
        self.is_within_step = False
        self.num_timed = 0
        self.step_started = 0.0
        self.total = 0.0
        self.spent = dict.fromkeys(PARTS, 0.0)
        self.open: list[tuple[str, float]] = []
        """The current actions with their start times, which nested actions shift by their durations."""
        self.ranges: list[AbstractContextManager[object]] = []
        self.tracer: profile | None = None
        self.operators: list[tuple[str, int, float]] = []

    def start(self, action_name: str) -> None:
        if not self.is_within_step:
            if not action_name.endswith("].train_dataloader_next"):
                return
            self._begin_step()
        if self.tracer is not None:
            self.ranges.append(record_function(action_name))
            self.ranges[-1].__enter__()
        elif self._is_timed:
            self.open.append((action_name, self._now()))

    def stop(self, action_name: str) -> None:
        if not self.is_within_step:
            return
        if self.tracer is not None and self.ranges:
            self.ranges.pop().__exit__(None, None, None)
        elif self._is_timed and self.open:
            self._add(action_name)
        if action_name.startswith("[LightningModule]") and action_name.endswith(".on_train_batch_end"):
            self._end_step()

    def describe(self) -> None:
        """Called by Lightning after the fit and after the test."""
        if self.tracer is not None:  # the fit ended during the trace
            self._end_trace()
        if self.step < 0 or self.local_rank not in (None, 0):
            return
        text = self.summary()
        with open_text(self.run_dir / "profile.txt", "w") as file:
            file.write(text + "\n")
        print(f"\n{text}\n")
        self.step = -1  # report only once

    def summary(self) -> str:
        """Two tables: the parts of a step, and the operations with the highest self time."""
        if not self.num_timed:
            needed = NUM_SKIPPED + 1 + NUM_TRACED + 1
            return f"profile=true: this run had {self.step + 1} steps; at least {needed} are needed"
        parts = self.spent | {OTHER: max(0.0, self.total - sum(self.spent.values()))}
        lines = [f"{f'one step, mean of {self.num_timed}':36} {'ms':>9} {'share':>7}"]
        lines += [
            f"  {name:34} {1000 * spent / self.num_timed:9.3f} {spent / self.total:7.1%}"
            for name, spent in parts.items()
        ]
        lines.append(f"  {'total':34} {1000 * self.total / self.num_timed:9.3f} {1:7.1%}")
        lines += ["", f"{'operations, in the trace':36} {'ms':>9} {'calls':>7}"]
        lines += [f"  {name[:34]:34} {ms:9.3f} {calls:7}" for name, calls, ms in self.operators]
        return "\n".join([*lines, "", f"trace   {self.run_dir / 'profile'}   (opens in https://ui.perfetto.dev)"])

    @property
    def _is_timed(self) -> bool:
        first = NUM_SKIPPED + 1 + NUM_TRACED
        return first <= self.step < first + NUM_TIMED

    def _now(self) -> float:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter()

    def _begin_step(self) -> None:
        self.is_within_step = True
        self.step += 1
        if self.step == NUM_SKIPPED:
            self._begin_trace()
        if self._is_timed:
            self.step_started = self._now()

    def _end_step(self) -> None:
        self.is_within_step = False
        self.ranges.clear()
        self.open.clear()
        if self._is_timed:
            self.total += self._now() - self.step_started
            self.num_timed += 1
        if self.tracer is not None:
            self.tracer.step()
            if self.step == NUM_SKIPPED + NUM_TRACED:
                self._end_trace()

    def _add(self, action_name: str) -> None:
        name, started = self.open.pop()
        now = self._now()
        part = next((part for part, names in PARTS.items() if any(text in name for text in names)), None)
        if part is not None:
            self.spent[part] += now - started
            # the enclosing actions must not count this time again
            self.open = [(outer, since + now - started) for outer, since in self.open]

    def _begin_trace(self) -> None:
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # otherwise it reports a missing GPU as an error
        self.tracer = profile(
            schedule=torch.profiler.schedule(wait=0, warmup=1, active=NUM_TRACED, repeat=1),
            on_trace_ready=self._export_trace,
            acc_events=True,
        )
        self.tracer.start()

    def _end_trace(self) -> None:
        assert self.tracer is not None
        self.tracer.stop()
        self.tracer = None

    def _export_trace(self, tracer: profile) -> None:
        torch.profiler.tensorboard_trace_handler(str(self.run_dir / "profile"), use_gzip=True)(tracer)
        on_gpu = torch.cuda.is_available()

        def self_time(event: FunctionEventAvg) -> float:
            return event.self_device_time_total if on_gpu else event.self_cpu_time_total

        enclosing = ("[", "run_training_batch", "ProfilerStep", "optimizer_step | ")  # not operations themselves
        events = [event for event in tracer.key_averages() if not event.key.startswith(enclosing)]
        for event in sorted(events, key=self_time, reverse=True)[:NUM_OPERATORS]:
            self.operators.append((event.key, event.count // NUM_TRACED, self_time(event) / 1000 / NUM_TRACED))
