"""A search through Optuna's ask-and-tell interface: which values a trial gets, when it is pruned, what is stored.

The study is stored in a file that several processes may share, or in a database that several machines may share. No two
processes get the same values. A process that dies leaves its trial in state "running"; the next process that asks
detects this and reruns it with the same number and values. So a killed search resumes as if it had never stopped.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import socket
import time
import uuid
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlzoo.config.run_files import is_number, refuse
from dlzoo.errors import UserError, short
from dlzoo.sweep import space as spaces
from dlzoo.sweep.channel import EpochReport
from dlzoo.sweep.record import Trial, absolute_folder, check_stored, is_decision, relative_folder
from dlzoo.sweep.settings import Settings
from dlzoo.sweep.space import Space
from dlzoo.utils import locks
from dlzoo.utils.archives import is_alive

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

HEARTBEAT_TIMEOUT = 600.0
"""Seconds without a heartbeat after which a trial on another machine is considered dead."""

LOCK_TIMEOUT = 30.0
"""Seconds after which Optuna's lock is considered left behind; it is held for milliseconds."""
ASKING_TIMEOUT = 120.0
"""Seconds to wait for other processes of the search, each of which asks for one trial."""

JOURNAL = "study.journal"
"""The file of a study in a folder. Untrusted, like everything else in a sweep folder."""

LOCK_OF_STUDY = f"{JOURNAL}.lock"
"""Optuna's own lock: a link, which nothing is written through, and which a killed process leaves behind."""

EXCLUDED = "aside-"
"""Prefix of the study attributes that say why a trial does not count."""


class Search:
    """A study as seen by one of its workers.

    Args:
        peers: the ids of all workers of this process, to which the new one is added.
    """

    def __init__(
        self,
        settings: Settings,
        space: Space,
        metric: str,
        name: str,
        folder: Path,
        max_epochs: int,
        peers: set[str] | None = None,
    ) -> None:
        self.settings = settings
        self.space = space
        self.mode = settings.direction(metric)
        if settings.pruner == "hyperband" and max_epochs < 1:
            raise UserError(f"sweep=hyperband divides up epochs: set trainer.max_epochs={max_epochs} to 1 or more")
        self.worker_id = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self.peers = set() if peers is None else peers
        self.peers.add(self.worker_id)
        self.folder = folder
        self.study = _open(settings, self.mode, name, folder, max_epochs, space)
        described = {"space": repr(space), "metric": metric, "sampler": settings.sampler, "pruner": settings.pruner}
        if self.study.user_attrs.setdefault("dlzoo", described) != described:
            raise UserError(f"sweep.name={name}: the study of this name searches something else; choose another name")
        self.study.set_user_attr("dlzoo", described)

    def claim(self) -> Trial | None:
        """The next trial, reserved for this process; None when enough have been started."""
        while (current := self._ask()) is not None:
            self.current = current
            trial = self._new_trial(current)
            earlier = [t for t in self._valid_trials() if t.number < trial.number]
            if len(earlier) >= self.settings.trials:  # another process was faster
                self._exclude(trial.number, "beyond the requested number of trials")
                self.study.tell(self.current, state=_states()["failed"])
                return None
            duplicate = next((t for t in earlier if spaces.rounded(self.space, t.params) == trial.params), None)
            if duplicate is None:
                return trial
            self._copy_outcome(duplicate, trial)
        return None

    def _ask(self) -> optuna.Trial | None:
        """A trial whose process has died, else a new one if the budget allows; reserved for this process."""
        from dlzoo.sweep.sampler import to_optuna

        distributions = {name: to_optuna(entry) for name, entry in self.space.items()}
        with locks.locked(self.folder, ".asking.lock", ASKING_TIMEOUT):  # two must not revive the same trial
            self._revive()
            if not self._has_budget():
                return None
            current = self.study.ask(distributions)
            current.set_user_attr("worker", self.worker_id)
            current.set_user_attr("alive", time.time())
        self.reported = {*self.study.get_trials(deepcopy=False)[current.number].intermediate_values}
        return current

    def should_continue(self, trial: Trial, report: EpochReport) -> bool:
        """Record an epoch; False if the trial should stop, in which case it is marked as pruned."""
        trial.add(report, self.mode)
        was_reported = report.epoch in self.reported  # by an earlier process that died during this trial
        if not was_reported:
            self.current.report(report.value, report.epoch)
        self.heartbeat()
        if trial.state == "failed":
            return False
        if report.epoch == report.max_epochs or (was_reported and report.epoch < max(self.reported)):
            return True  # that process had decided to continue
        reason = self._decision(trial, report.epoch)
        if reason is not None:
            trial.state, trial.reason = "pruned", reason
        return trial.state == "running"

    def _decision(self, trial: Trial, epoch: int) -> str | None:
        """Why the trial is pruned after this epoch, or None.

        Successive halving stores a note for each rung that a trial reaches, and decides from all such notes. A process
        may die between a note and the decision; if the decision were repeated, the trial would have passed that rung.
        So the decision and its notes are first stored as one record, which a process that resumes the trial follows.
        """
        stored = self.current.user_attrs.get("decision", {})
        if stored and not is_decision(stored):
            refuse(self.folder / JOURNAL, f"trial {trial.number}.decision", stored, "epoch, reason and notes")
        if not stored or stored["epoch"] != epoch:
            storage: Any = self.study._storage
            notes: dict[str, Any] = {}
            storage.set_trial_system_attr = lambda trial_id, key, value: notes.update({key: value})
            try:
                is_pruned = self.current.should_prune()
            finally:
                del storage.set_trial_system_attr
            reason = f"{self.settings.pruner} pruned it after epoch {epoch}" if is_pruned else None
            if reason is None and self._budget_is_used(trial):
                reason = f"the budget sweep.epochs={self.settings.epochs} is used up"
            stored = {"epoch": epoch, "reason": reason, "notes": notes}
            self.current.set_user_attr("decision", stored)
        for key, value in stored["notes"].items():
            self.study._storage.set_trial_system_attr(self.current._trial_id, key, value)
        return stored["reason"]

    def heartbeat(self) -> None:
        """Store the current time; it is all that other machines can see of this process."""
        self.current.set_user_attr("alive", time.time())

    def tell(self, trial: Trial) -> None:
        """Store a trial that has ended."""
        if trial.state == "complete" and trial.value is None:
            trial.state, trial.reason = "failed", "it was never validated, so there is nothing to compare"
        for name in ("words", "value", "best_epoch", "epochs", "seconds", "reason", "metrics", "folder", "found"):
            value = getattr(trial, name)
            self.current.set_user_attr(name, relative_folder(value, self.folder) if name == "folder" else value)
        if trial.state == "complete":
            self.study.tell(self.current, trial.value)
        else:
            self.study.tell(self.current, state=_states()[trial.state])

    def trials(self) -> list[Trial]:
        """All valid trials of every process."""
        return [self._trial(frozen) for frozen in self._valid_trials()]

    def claim_winner(self, number: int) -> bool:
        """Whether this process may retrain the winner, because no other is doing or has done it."""
        claimed = self.study.user_attrs.get("winner") or {}
        if not isinstance(claimed, dict):
            refuse(self.folder / JOURNAL, "winner", claimed, "a mapping")
        if claimed.get("number") == number and (claimed.get("done") or not self._has_died(f"{claimed.get('worker')}")):
            return False
        self.study.set_user_attr("winner", {"number": number, "worker": self.worker_id, "done": False})
        return True

    def draw(self, metric: str) -> None:
        """Write Optuna's plots: ``optimization_history.png``, and ``slices.png``, the metric over each hyperparameter.

        They are left out for fewer than two complete trials.
        """
        if len(self.study.get_trials(deepcopy=False, states=(_states()["complete"],))) < 2:
            return
        import matplotlib
        from matplotlib import pyplot
        from optuna.visualization import matplotlib as plots

        from dlzoo.visualization.plots import save

        with matplotlib.rc_context(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that these plots are experimental
            pyplot.switch_backend("agg")
            drawn: dict[str, Callable[..., object]] = {
                "optimization_history": plots.plot_optimization_history,
                "slices": plots.plot_slice,
            }
            for name, draw in drawn.items():
                draw(self.study, target_name=metric)
                save(pyplot.gcf(), self.folder / f"{name}.png")
                pyplot.close()

    def _has_died(self, worker: str) -> bool:
        return worker not in self.peers and _is_gone(worker, self.worker_id)

    def mark_winner_done(self, number: int) -> None:
        self.study.set_user_attr("winner", {"number": number, "worker": self.worker_id, "done": True})

    def _new_trial(self, source: Any) -> Trial:
        """A trial before its first epoch, ignoring anything that a process that died may have stored for it."""
        for name, value in source.params.items():
            where = f"trial {source.number}.{short(name)}"
            if name not in self.space:  # Optuna's plots sort the names
                refuse(self.folder / JOURNAL, where, value, f"of {short(', '.join(self.space))}")
            if not spaces.is_valid(self.space[name], value):
                refuse(self.folder / JOURNAL, where, value, f"one of {short(self.space[name])}")
        return Trial(
            source.number, spaces.to_overrides(self.space, source.params), spaces.rounded(self.space, source.params)
        )

    def _trial(self, source: FrozenTrial) -> Trial:
        stored = source.user_attrs
        check_stored(stored, self.folder / JOURNAL, f"trial {source.number}")
        states = {state: name for name, state in _states().items()}
        trial = self._new_trial(source)
        trial.state = states[source.state]  # type: ignore[assignment]
        for name in ("value", "best_epoch", "epochs", "seconds", "reason", "metrics", "folder", "found"):
            setattr(trial, name, stored.get(name, getattr(trial, name)))
        trial.folder = absolute_folder(trial.folder, self.folder)
        return trial

    def _valid_trials(self) -> list[FrozenTrial]:
        """All trials that were started, except excluded ones."""
        excluded = self.study.user_attrs
        states = tuple(state for name, state in _states().items() if name != "waiting")
        started = self.study.get_trials(deepcopy=False, states=states)
        return [trial for trial in started if f"{EXCLUDED}{trial.number}" not in excluded]

    def _has_budget(self) -> bool:
        return len(self._valid_trials()) < self.settings.trials and not self._budget_is_used()

    def _budget_is_used(self, running: Trial | None = None) -> bool:
        """Whether the trials have used up the epoch budget; ``running`` is the trial of this process, if any."""
        if self.settings.epochs is None:
            return False
        spent = 0
        for t in self._valid_trials():
            is_ours = running is not None and t.number == running.number
            spent += running.epochs if is_ours else t.user_attrs.get("epochs", t.last_step or 0)  # type: ignore[union-attr]
        return spent >= self.settings.epochs

    def _revive(self) -> None:
        """Requeue trials whose process is dead."""
        storage: Any = self.study._storage
        for trial in self.study.get_trials(deepcopy=False, states=(_states()["running"],)):
            last_seen = trial.user_attrs.get("alive", trial.datetime_start.timestamp())  # type: ignore[union-attr]
            if not is_number(last_seen):
                refuse(self.folder / JOURNAL, f"trial {trial.number}.alive", last_seen, "a number")
            worker = trial.user_attrs.get("worker")
            if not isinstance(worker, str | None):
                refuse(self.folder / JOURNAL, f"trial {trial.number}.worker", worker, "the name of a process")
            is_ours = worker is None and self.settings.storage is None  # it died while asking, under the lock
            if (
                time.time() - last_seen < HEARTBEAT_TIMEOUT
                and not is_ours
                and (worker is None or not self._has_died(worker))
            ):
                continue
            if f"{EXCLUDED}{trial.number}" not in self.study.user_attrs:
                storage.set_trial_state_values(trial._trial_id, state=_states()["waiting"])

    def _copy_outcome(self, duplicate: FrozenTrial, trial: Trial) -> None:
        """End a trial that repeats an earlier one's values with the same outcome, without running it."""
        known = self._trial(duplicate)
        trial.value, trial.best_epoch, trial.metrics, trial.folder = (
            known.value, known.best_epoch, known.metrics, known.folder
        )  # fmt: skip
        trial.state = "pruned" if known.state == "running" else known.state
        trial.reason = " ".join(filter(None, [f"same as trial {duplicate.number}", known.reason]))
        self.tell(trial)

    def _exclude(self, number: int, reason: str) -> None:
        self.study.set_user_attr(f"{EXCLUDED}{number}", reason)


def study_name(settings: Settings, space: Space, overrides: list[str], choices: Mapping[str, str]) -> str:
    """A reproducible name: method, model, data, and a hash of everything that defines a trial."""
    if settings.name is not None:
        return settings.name
    where = ("hydra.", "output_dir=", "data_dir=")
    relevant = sorted(o for o in overrides if not o.startswith(where))
    method = [settings.sampler, settings.pruner, settings.factor, settings.min_epochs, settings.metric, settings.mode]
    fingerprint = json.dumps([relevant, sorted(map(str, space.items())), method, settings.seed])
    names: list[str] = [settings.sampler if settings.pruner == "none" else settings.pruner]
    names += [choices[group] for group in ("model", "data") if group not in space]
    return "-".join([*names, hashlib.sha256(fingerprint.encode()).hexdigest()[:6]])


def _open(settings: Settings, mode: str, name: str, folder: Path, max_epochs: int, space: Space) -> optuna.Study:
    import optuna
    from optuna.storages import JournalStorage, get_storage
    from optuna.storages.journal import JournalFileBackend

    from dlzoo.sweep.sampler import PerTrialSeed, make_pruner, to_optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / JOURNAL).exists() and not (folder / JOURNAL).is_file():
        raise UserError(f"{folder / JOURNAL} is not a regular file")
    try:
        if settings.storage is None:
            backend = JournalFileBackend(str(folder.resolve() / JOURNAL))  # absolute, so that its lock leads to it
            remove_dangling_lock(folder)
            storage: Any = JournalStorage(backend)
        else:
            storage = get_storage(settings.storage)
        return optuna.create_study(
            storage=storage,
            study_name=name,
            sampler=PerTrialSeed(settings.sampler, settings.seed, {n: to_optuna(entry) for n, entry in space.items()}),
            pruner=make_pruner(settings, max_epochs),
            direction="minimize" if mode == "min" else "maximize",
            load_if_exists=True,
        )
    except (
        ImportError, ValueError, OSError, LookupError, TypeError, AttributeError, AssertionError, RecursionError,
        _sql_error(),
    ) as error:  # fmt: skip
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"sweep.storage={settings.storage or folder}: {reason}") from None


def remove_dangling_lock(folder: Path) -> None:
    """Remove a lock of the study that is a symlink to nothing: Optuna would wait for it without end, since it asks for
    the age of what the link leads to. One that is still young may be held where the folder has another path."""
    lock, started = folder / LOCK_OF_STUDY, time.monotonic()
    while lock.is_symlink() and not os.path.exists(lock):
        with contextlib.suppress(FileNotFoundError):
            age = time.time() - lock.lstat().st_mtime
            if age > LOCK_TIMEOUT or time.monotonic() - started > LOCK_TIMEOUT:
                lock.unlink()
        time.sleep(0.1)


def _sql_error() -> type[Exception]:
    from sqlalchemy.exc import SQLAlchemyError

    return SQLAlchemyError


def _is_gone(worker: str, worker_id: str) -> bool:
    """Whether a process of this machine has ended; False for other machines, where it cannot be known."""
    if not re.fullmatch(r"[^:]*:\d{1,9}:[^:]*", worker):
        return True  # not a worker id of ours
    (host, pid, _), (my_host, my_pid, _) = worker.split(":"), worker_id.split(":")
    if host != my_host or worker == worker_id:
        return False
    if pid == my_pid:  # the pid was reused by this process
        return True
    return not is_alive(int(pid))


def _states() -> dict[str, Any]:
    from optuna.trial import TrialState

    return {
        "running": TrialState.RUNNING,
        "complete": TrialState.COMPLETE,
        "pruned": TrialState.PRUNED,
        "failed": TrialState.FAIL,
        "waiting": TrialState.WAITING,
    }
