"""A search by Optuna's ask and tell: which values a trial gets, whether it goes on, and what is kept of it.

The study is in a file that several processes may write to, or in a database that several machines may. Whoever asks
gets values that no one else has. A process that dies leaves its trial running: the next one that looks finds it dead,
and runs it anew, under its number and with its values. So a search that was killed goes on as one that was not.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import time
import uuid
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlzoo.config.run_files import is_number, refuse
from dlzoo.errors import UserError, short
from dlzoo.sweep import space as spaces
from dlzoo.sweep.channel import Epoch
from dlzoo.sweep.record import Trial, absolute_folder, check_kept, is_decision, relative_folder
from dlzoo.sweep.settings import Settings
from dlzoo.sweep.space import Space

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

SILENCE = 600.0
"""Seconds without a sign of life after which a trial of another machine is taken for dead."""

JOURNAL = "study.journal"
"""A study in a folder: it may come from a stranger, as the rest of a sweep may."""

ASIDE = "aside-"
"""Start of a study's attributes that say of a trial why it does not count."""


class Search:
    """A study and this process's part in it."""

    def __init__(self, settings: Settings, space: Space, metric: str, name: str, folder: Path, max_epochs: int) -> None:
        self.settings = settings
        self.space = space
        self.mode = settings.direction(metric)
        if settings.pruner == "hyperband" and max_epochs < 1:
            raise UserError(f"sweep=hyperband shares out epochs: give trainer.max_epochs, which is {max_epochs}")
        self.me = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self.folder = folder
        self.study = _open(settings, self.mode, name, folder, max_epochs, space)
        described = {"space": repr(space), "metric": metric, "sampler": settings.sampler, "pruner": settings.pruner}
        if self.study.user_attrs.setdefault("dlzoo", described) != described:
            raise UserError(f"sweep.name={name}: the study of this name searches something else; choose another name")
        self.study.set_user_attr("dlzoo", described)

    def claim(self) -> Trial | None:
        """The next trial, for this process only; None when enough have been started."""
        while (asked := self._ask()) is not None:
            self.asked = asked
            trial = self._fresh(asked)
            earlier = [t for t in self._counted() if t.number < trial.number]
            if len(earlier) >= self.settings.trials:  # another process was faster
                self._set_aside(trial.number, "one more than was asked for")
                self.study.tell(self.asked, state=_states()["failed"])
                return None
            twin = next((t for t in earlier if spaces.rounded(self.space, t.params) == trial.params), None)
            if twin is None:
                return trial
            self._copy(twin, trial)
        return None

    def _ask(self) -> optuna.Trial | None:
        """A trial whose process has died, else a new one, if there is room; no other process gets it."""
        from filelock import FileLock

        from dlzoo.sweep.sampler import to_optuna

        distributions = {name: to_optuna(entry) for name, entry in self.space.items()}
        with FileLock(self.folder / ".asking.lock"):  # two processes must not find the same trial dead
            self._revive()
            if not self._has_room():
                return None
            asked = self.study.ask(distributions)
            asked.set_user_attr("worker", self.me)
            asked.set_user_attr("alive", time.time())
        self.known = {*self.study.get_trials(deepcopy=False)[asked.number].intermediate_values}
        return asked

    def goes_on(self, trial: Trial, report: Epoch) -> bool:
        """Note an epoch; False: the trial should stop here, and is marked so."""
        trial.add(report, self.mode)
        is_known = report.epoch in self.known  # of a process that died in this trial
        if not is_known:
            self.asked.report(report.value, report.epoch)
        self.sign_of_life()
        if trial.state == "failed":
            return False
        if report.epoch == report.max_epochs or (is_known and report.epoch < max(self.known)):
            return True  # then it was said before that it goes on
        reason = self._decision(trial, report.epoch)
        if reason is not None:
            trial.state, trial.reason = "pruned", reason
        return trial.state == "running"

    def _decision(self, trial: Trial, epoch: int) -> str | None:
        """Why the trial is pruned after this epoch, or None.

        Successive halving notes each rung that a trial has reached, and decides by all such notes. A process may die
        between a note and the decision; decided again, the trial would have passed that rung. So the decision and the
        notes that led to it are stored as one record first, which a process that resumes the trial follows.
        """
        stored = self.asked.user_attrs.get("decision", {})
        if stored and not is_decision(stored):
            refuse(self.folder / JOURNAL, f"trial {trial.number}.decision", stored, "epoch, reason and notes")
        if not stored or stored["epoch"] != epoch:
            storage: Any = self.study._storage
            notes: dict[str, Any] = {}
            storage.set_trial_system_attr = lambda trial_id, key, value: notes.update({key: value})
            try:
                is_pruned = self.asked.should_prune()
            finally:
                del storage.set_trial_system_attr
            reason = f"{self.settings.pruner} stopped it after epoch {epoch}" if is_pruned else None
            if reason is None and self._is_spent(trial):
                reason = f"sweep.epochs={self.settings.epochs} were reached"
            stored = {"epoch": epoch, "reason": reason, "notes": notes}
            self.asked.set_user_attr("decision", stored)
        for key, value in stored["notes"].items():
            self.study._storage.set_trial_system_attr(self.asked._trial_id, key, value)
        return stored["reason"]

    def sign_of_life(self) -> None:
        """Other machines can see only this of a process."""
        self.asked.set_user_attr("alive", time.time())

    def tell(self, trial: Trial) -> None:
        """Put away a trial that has ended."""
        if trial.state == "complete" and trial.value is None:
            trial.state, trial.reason = "failed", "there was no validation that could be compared"
        for name in ("words", "value", "best_epoch", "epochs", "seconds", "reason", "metrics", "folder", "found"):
            value = getattr(trial, name)
            self.asked.set_user_attr(name, relative_folder(value, self.folder) if name == "folder" else value)
        if trial.state == "complete":
            self.study.tell(self.asked, trial.value)
        else:
            self.study.tell(self.asked, state=_states()[trial.state])

    def trials(self) -> list[Trial]:
        """All that count, of every process."""
        return [self._trial(frozen) for frozen in self._counted()]

    def take_winner(self, number: int) -> bool:
        """Whether this process is to retrain the winner: no other does, and it was not done before."""
        taken = self.study.user_attrs.get("winner") or {}
        if not isinstance(taken, dict):
            refuse(self.folder / JOURNAL, "winner", taken, "a mapping")
        if taken.get("number") == number and (taken.get("done") or not _is_gone(f"{taken.get('worker')}", self.me)):
            return False
        self.study.set_user_attr("winner", {"number": number, "worker": self.me, "done": False})
        return True

    def winner_is_done(self, number: int) -> None:
        self.study.set_user_attr("winner", {"number": number, "worker": self.me, "done": True})

    def _fresh(self, source: Any) -> Trial:
        """A trial before its first epoch, whatever a process that died had begun to put away of it."""
        for name, value in source.params.items():
            if name in self.space and not spaces.holds(self.space[name], value):
                where = f"trial {source.number}.{name}"
                refuse(self.folder / JOURNAL, where, value, f"one of {short(self.space[name])}")
        return Trial(source.number, spaces.words(self.space, source.params), spaces.rounded(self.space, source.params))

    def _trial(self, source: FrozenTrial) -> Trial:
        kept = source.user_attrs
        check_kept(kept, self.folder / JOURNAL, f"trial {source.number}")
        states = {state: name for name, state in _states().items()}
        trial = self._fresh(source)
        trial.state = states[source.state]  # type: ignore[assignment]
        for name in ("value", "best_epoch", "epochs", "seconds", "reason", "metrics", "folder", "found"):
            setattr(trial, name, kept.get(name, getattr(trial, name)))
        trial.folder = absolute_folder(trial.folder, self.folder)
        return trial

    def _counted(self) -> list[FrozenTrial]:
        """Trials that were begun, but not those that were lost with their process."""
        aside = self.study.user_attrs
        states = tuple(state for name, state in _states().items() if name != "waiting")
        found = self.study.get_trials(deepcopy=False, states=states)
        return [trial for trial in found if f"{ASIDE}{trial.number}" not in aside]

    def _has_room(self) -> bool:
        return len(self._counted()) < self.settings.trials and not self._is_spent()

    def _is_spent(self, running: Trial | None = None) -> bool:
        """Whether all trials have trained as long as they may together; that of this process may be ``running``."""
        if self.settings.epochs is None:
            return False
        spent = 0
        for t in self._counted():
            is_ours = running is not None and t.number == running.number
            spent += running.epochs if is_ours else t.user_attrs.get("epochs", t.last_step or 0)  # type: ignore[union-attr]
        return spent >= self.settings.epochs

    def _revive(self) -> None:
        """Let trials whose process is dead be asked for again."""
        storage: Any = self.study._storage
        for trial in self.study.get_trials(deepcopy=False, states=(_states()["running"],)):
            silent_since = trial.user_attrs.get("alive", trial.datetime_start.timestamp())  # type: ignore[union-attr]
            if not is_number(silent_since):
                refuse(self.folder / JOURNAL, f"trial {trial.number}.alive", silent_since, "a number")
            worker = trial.user_attrs.get("worker")
            is_ours = worker is None and self.settings.storage is None  # it died while it asked, under the lock
            if (
                time.time() - silent_since < SILENCE
                and not is_ours
                and (worker is None or not _is_gone(worker, self.me))
            ):
                continue
            if f"{ASIDE}{trial.number}" not in self.study.user_attrs:
                storage.set_trial_state_values(trial._trial_id, state=_states()["waiting"])

    def _copy(self, twin: FrozenTrial, trial: Trial) -> None:
        """A trial with the values of an earlier one is not run: it ends as that did."""
        known = self._trial(twin)
        trial.value, trial.best_epoch, trial.metrics, trial.folder = (
            known.value, known.best_epoch, known.metrics, known.folder
        )  # fmt: skip
        trial.state = "pruned" if known.state == "running" else known.state
        trial.reason = " ".join(filter(None, [f"as trial {twin.number}", known.reason]))
        self.tell(trial)

    def _set_aside(self, number: int, reason: str) -> None:
        self.study.set_user_attr(f"{ASIDE}{number}", reason)


def study_name(settings: Settings, space: Space, words: list[str], choices: Any) -> str:
    """The name that the same command gets again: method, model, data, and a hash of all that makes a trial."""
    if settings.name is not None:
        return settings.name
    where = ("hydra.", "output_dir=", "data_dir=")
    own = sorted(word for word in words if not word.startswith(where))
    method = [settings.sampler, settings.pruner, settings.factor, settings.min_epochs, settings.metric, settings.mode]
    told = json.dumps([own, sorted(map(str, space.items())), method, settings.seed])
    names = [settings.sampler if settings.pruner == "none" else settings.pruner]
    names += [choices[group] for group in ("model", "data") if group not in space]
    return "-".join([*names, hashlib.sha256(told.encode()).hexdigest()[:6]])


def _open(settings: Settings, mode: str, name: str, folder: Path, max_epochs: int, space: Space) -> optuna.Study:
    try:
        import optuna
    except ImportError:
        raise UserError("a search needs the package optuna: pip install 'dlzoo[sweep]'") from None
    from optuna.storages import JournalStorage, get_storage
    from optuna.storages.journal import JournalFileBackend

    from dlzoo.sweep.sampler import ByNumber, make_pruner, to_optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if settings.storage is None:
            storage: Any = JournalStorage(JournalFileBackend(str(folder / JOURNAL)))
        else:
            storage = get_storage(settings.storage)
        return optuna.create_study(
            storage=storage,
            study_name=name,
            sampler=ByNumber(settings.sampler, settings.seed, {n: to_optuna(entry) for n, entry in space.items()}),
            pruner=make_pruner(settings, max_epochs),
            direction="minimize" if mode == "min" else "maximize",
            load_if_exists=True,
        )
    except (ImportError, ValueError, OSError, LookupError, TypeError, AttributeError, _sql_error()) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"sweep.storage={settings.storage or folder}: {reason}") from None


def _sql_error() -> type[Exception]:
    from sqlalchemy.exc import SQLAlchemyError

    return SQLAlchemyError


def _is_gone(worker: str, me: str) -> bool:
    """Whether a process of this machine has ended; of others it is not known."""
    if not re.fullmatch(r"[^:]*:\d{1,9}:[^:]*", worker):
        return True  # no process of ours
    (host, pid, _), (my_host, my_pid, _) = worker.split(":"), me.split(":")
    if host != my_host or worker == me:
        return False
    if pid == my_pid:  # it had our number before us
        return True
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _states() -> dict[str, Any]:
    from optuna.trial import TrialState

    return {
        "running": TrialState.RUNNING,
        "complete": TrialState.COMPLETE,
        "pruned": TrialState.PRUNED,
        "failed": TrialState.FAIL,
        "waiting": TrialState.WAITING,
    }
