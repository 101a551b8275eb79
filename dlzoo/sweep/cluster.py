"""A grid whose trials are jobs of a cluster, ``hydra/launcher=submitit_slurm``: submitit's executor in place of worker
processes.

All trials are submitted together. A job may outlive the sweep and has no connection to it: its reports are lines of a
file in the run folder, which the sweep reads until each job has ended. The pickles that submitit writes are never read
by the sweep, and each submission has a folder of its own, so a sweep's folder may come from elsewhere.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from dlzoo.config import run_dir as folders
from dlzoo.distributed import launch as ranks
from dlzoo.errors import UserError, one_line, short
from dlzoo.sweep import channel, reports, worker
from dlzoo.sweep.channel import EpochReport, TrialEnd
from dlzoo.sweep.runner import Job
from dlzoo.utils import extras, locks
from dlzoo.utils.formatting import counted

LAUNCHERS = ("submitit_slurm", "submitit_local")

POLL_INTERVAL = 1.0
"""Seconds between two looks at the reports."""
DELAY = 15.0
"""Seconds after which a network file system shows the last report of a job that has ended."""
EXIT_CODES = (0, 1, 2)
"""Of a run that has ended. Otherwise it was stopped, and the cluster may start its job again."""


class Submitted(Protocol):
    """A job as submitit represents it."""

    @property
    def job_id(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def paths(self) -> Any: ...
    def done(self) -> bool: ...


class Executor(Protocol):
    """What submits jobs: one of submitit's executors."""

    def map_array(self, function: TrialJob, *arguments: Iterable[Any]) -> Sequence[Submitted]: ...


def check_installed(launcher: str) -> None:
    """`UserError` on what to install for a launcher."""
    extras.require(f"hydra/launcher={launcher}", "submitit", "hydra_plugins.hydra_submitit_launcher")


def executor_of(launcher: str, options: Mapping[str, Any], folder: Path, *, has_own_folder: bool) -> Executor:
    """The executor of a launcher.

    Args:
        launcher: one of `LAUNCHERS`.
        options: the config of ``hydra.launcher``.
        folder: of the sweep.
        has_own_folder: whether the user has set the folder for submitit's files.

    Raises:
        UserError: the cluster is not there, or an option is invalid.
    """
    import submitit
    from hydra_plugins.hydra_submitit_launcher.config import BaseQueueConf

    cluster = launcher.removeprefix("submitit_")
    tasks = options["tasks_per_node"]
    if cluster == "local" and tasks != 1:
        raise UserError(
            f"hydra.launcher.tasks_per_node={tasks} cannot be used with hydra/launcher={launcher}: several processes "
            f"of a run on this machine are trainer=ddp trainer.devices={tasks}"
        )
    place = options["submitit_folder"] if has_own_folder else str(folders.claim(folder / ".submitit") / "%j")
    general = {field.name for field in dataclasses.fields(BaseQueueConf)}
    given = {
        name if name in general else f"{cluster}_{name}": value
        for name, value in options.items()
        if name not in ("_target_", "submitit_folder")
    }
    created = {name: given.pop(name) for name in ("slurm_max_num_timeout",) if name in given}
    try:
        executor = submitit.AutoExecutor(place, cluster, **created)
        executor.update_parameters(**given)
    except (RuntimeError, ValueError, NameError, AssertionError) as error:
        raise UserError(f"hydra/launcher={launcher}: {one_line(error, 300)} (sweep.jobs=4 needs no cluster)") from None
    return executor


def run(jobs: Iterable[Job], executor: Executor, *, resumes: bool) -> None:
    """Submit trials and wait for them.

    Args:
        resumes: whether trials resume: those that have ended since an earlier sweep submitted them are not run again.

    Raises:
        UserError: the cluster refuses the jobs.
    """
    trials = [_Trial(job) for job in jobs]
    for trial in trials:
        trial.job.folder.mkdir(parents=True, exist_ok=True)
        if not resumes or reports.state(trial.job.folder) == "failed":
            reports.clear(trial.job.folder)
    trials = [trial for trial in trials if not trial.has_ended()]
    if not trials:
        return
    try:
        handles = executor.map_array(TrialJob(), [t.job.overrides for t in trials], [t.job.folder for t in trials])
    except (RuntimeError, OSError) as error:
        raise UserError(f"the jobs cannot be submitted: {one_line(error, 300)}") from None
    for trial, handle in zip(trials, handles, strict=True):
        trial.handle = handle
    print(f"submitted {counted(len(handles), 'job')}: {short(', '.join(handle.job_id for handle in handles), 200)}")
    try:
        while trials := [trial for trial in trials if not trial.has_ended()]:
            sys.stdout.flush()
            time.sleep(POLL_INTERVAL)
    except KeyboardInterrupt:
        left = " ".join(trial.handle.job_id for trial in trials if trial.handle is not None)
        print(f"\njobs that may still run: {left}; the same command with resume=auto waits for them", file=sys.stderr)
        raise


class _Trial:
    """A trial whose reports are read."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.handle: Submitted | None = None
        self.reader = reports.Reader(job.folder)
        self.done_since: float | None = None
        """When its job was first seen to have ended without a last report."""

    def has_ended(self) -> bool:
        """Read the reports since the last call; whether the trial has ended."""
        for message in self.reader.new():
            if isinstance(message, TrialEnd):
                self.job.on_end(message)
                return True
            self.job.on_epoch(message)
        if self.handle is None or not self.handle.done():
            self.done_since = None
            return False
        now = time.monotonic()
        self.done_since = now if self.done_since is None else self.done_since
        if now - self.done_since < DELAY:
            return False
        job = self.handle
        self.job.on_end(TrialEnd(f"its job {job.job_id} ended without a result ({job.state}); see {job.paths.stderr}"))
        return True


class TrialJob:
    """What a job executes; submitit pickles it."""

    def __call__(self, overrides: Sequence[str], folder: Path) -> None:
        """Run a trial that writes its reports, unless an earlier job, which this waits for, has completed it."""
        if ranks.rank() == 0:
            with locks.locked(folder, timeout=-1):
                pass
        if reports.state(folder) == "complete":
            return

        def send(epoch: EpochReport) -> bool:
            reports.append(folder, epoch)
            return bool(epoch.problem)

        channel.connect(send)
        end = worker.run(overrides, folder)
        if end.exit_code not in EXIT_CODES:
            sys.exit(end.exit_code)
        if ranks.rank() == 0:
            reports.append(folder, end)

    def checkpoint(self, overrides: Sequence[str], folder: Path) -> Any:
        """What submitit executes when the cluster starts the job again: the run resumes."""
        import submitit

        return submitit.helpers.DelayedSubmission(self, [*overrides, "resume=auto"], folder)
