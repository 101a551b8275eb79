"""Training from Python: the same run as that of ``dlzoo train``, with the same folder and files."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from dlzoo.api.overrides import overrides_of
from dlzoo.api.run import Run
from dlzoo.errors import RunFailed, visible

if TYPE_CHECKING:
    from dlzoo.api.sweep import Sweep

T = TypeVar("T")

COMMAND = "dlzoo.commands.train"
"""The module of ``dlzoo train``, which is above this layer: further processes of a run are started as this."""


def train(*overrides: str, config_dir: str | Path | None = None, **options: object) -> Run:
    """Train and test a model.

    >>> run = dlzoo.train("model=vae", "data=mnist", "trainer.max_epochs=5")        # doctest: +SKIP
    >>> run = dlzoo.train(model="mlp", data="digits", net={"hidden": [64]}, seed=3)  # doctest: +SKIP

    What it needs of random numbers, warnings and signals is put back at the end.

    Args:
        overrides: as on the command line.
        config_dir: a folder of your own configs.
        options: the same as keyword arguments, where a dict sets several options of a part.

    Returns:
        The run, with its metrics, pictures and model.

    Raises:
        UserError: a mistake in the options; nothing has been trained.
        RunFailed: the training failed, such as by a loss that is not finite.
        KeyboardInterrupt: it was interrupted; ``resume="auto"`` with the same options resumes it.
    """
    from dlzoo.training import launch

    argv = _argv(overrides, options, config_dir)
    with _as_command(argv):
        resumption = launch.resolve(argv)
        if resumption.finished is not None:
            return Run(resumption.finished)
        sys.argv[1:] = resumption.argv
        finished = _interruptible(lambda: launch.run_argv(resumption.stored))
    assert finished is not None  # no flag was given that only shows something
    return Run(finished.folder, trust=trusted(argv))


def search(
    *overrides: str,
    space: Mapping[str, object],
    trials: int = 20,
    sampler: str = "tpe",
    config_dir: str | Path | None = None,
    **options: object,
) -> Sweep:
    """Search hyperparameters, then train and test the best ones.

    >>> space = {"optimizer.lr": (1e-4, 1e-1), "net.hidden": [[64], [128, 64]]}
    >>> found = dlzoo.search("model=mlp", "data=digits", space=space, trials=30)  # doctest: +SKIP

    Args:
        overrides: what all trials share, as on the command line.
        space: what to search, by key: a list of values, or (lowest, highest), which is searched on a logarithmic scale
            if the highest is at least a hundred times the lowest.
        trials: how many; a grid runs all combinations.
        sampler: a name in configs/sweep, such as tpe, random, bayes or hyperband; or ``grid``, for lists of values,
            which trains and tests each combination.
        config_dir: a folder of your own configs.
        options: as for `train`.

    Raises:
        UserError: a mistake in the options or in the space.
        RunFailed: every trial failed.
    """
    from dlzoo.api.sweep import Sweep, as_override
    from dlzoo.config.prepare import prepare
    from dlzoo.sweep import driver

    swept = [as_override(key, values) for key, values in space.items()]
    method = [] if sampler == "grid" else [f"sweep={sampler}", f"sweep.trials={trials}"]
    argv = [*_argv(overrides, options, config_dir), *method, *swept, "-m"]
    with _as_command(argv):
        sys.argv[1:] = prepare(argv)
        ended = _interruptible(lambda: driver.run(sys.argv[1:]))
    sweep = Sweep(ended.folder, trust=trusted(argv))
    failed = [trial.reason for trial in sweep.record.trials if trial.state == "failed"]
    if failed and len(failed) == len(sweep.record.trials):
        raise RunFailed(
            f"every trial failed, the first because: {failed[0]}", f"{visible(ended.folder)} has the trials"
        )
    return sweep


def _argv(overrides: Sequence[str], options: Mapping[str, object], config_dir: str | Path | None) -> list[str]:
    flags = [] if config_dir is None else ["--config-dir", str(config_dir)]
    return [*flags, *overrides_of(overrides, options)]


def trusted(argv: Sequence[str]) -> str | None:
    """The packages that the options trust, as `dlzoo.load` takes them."""
    from dlzoo.config.allowlist import Trust

    return ",".join(Trust.of([text for text in argv if text.startswith("trust=")]).packages) or None


@contextmanager
def _as_command(argv: Sequence[str]) -> Iterator[None]:
    """As if this process were the command; afterwards it is again what it was."""
    from dlzoo.training import launch
    from dlzoo.utils import caller_state

    with caller_state.preserved(), caller_state.as_program(COMMAND, argv), launch.explained_errors():
        yield


def _interruptible(body: Callable[[], T]) -> T:
    """What ``body`` returns; a run that was stopped by Ctrl-C, or in a notebook, ends in `KeyboardInterrupt`."""
    try:
        return body()
    except Exception as error:
        if getattr(error, "signum", None) is None:  # training.interruption.Interrupted
            raise
        raise KeyboardInterrupt(f"{error}: the same options with resume='auto' resume the run") from None
