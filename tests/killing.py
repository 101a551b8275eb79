"""Runs in processes that can be killed: each is forked from one that has imported everything, so it starts at once."""

from __future__ import annotations

import contextlib
import csv
import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from waiting import wait_for

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    ["dlzoo.commands.train", "dlzoo.config.instantiate", "dlzoo.training.interruption", "kornia", "sklearn.datasets"]
)

FAMILIES = {
    "classifier": "model=mlp net.dropout=0.2 net.norm=batch augment=shift optimizer=momentum scheduler=cosine",
    "averaged": "model=lenet augment=flips trainer.accumulate_grad_batches=3 callbacks=[default,ema,early_stopping]",
    "lstm": "model=lstm data=air_passengers net.dropout=0.2 net.num_layers=2",
    "stateful": "model=gru data=air_passengers net.stateful=true data.window=8 data.batch_size=2",
    "vae": "model=vae optimizer=adamw scheduler=onecycle",
    "gan": "model=dcgan net.width=4 callbacks.sample_quality.num_samples=20 trainer.gradient_clip_val=1",
    "transducer": "model=seq2seq_attention data=digit_sequences data.num_samples=300 net.num_units=16 net.dropout=0.1 "
    "task.scheduled_sampling=0.5",
    "dqn": "model=dqn data=cartpole data.steps_per_epoch=600 data.val_episodes=2 data.test_episodes=2 "
    "task.learning_starts=200 trainer.log_every_n_steps=1000 ~callbacks.agents",
    "q_table": "model=q_table data=frozen_lake data.steps_per_epoch=600 data.val_episodes=2 data.test_episodes=2 "
    "~callbacks.agents",
}
"""Words of short runs of each kind; what they draw at random must go on as well."""
COMMON = (
    "trainer.max_epochs=3 trainer.accelerator=cpu deterministic=true logger=none "
    "callbacks.last_checkpoint.every_n_steps=3 "
    "~callbacks.samples ~callbacks.film ~callbacks.generative ~callbacks.graph ~callbacks.weights ~callbacks.forecast"
)
FEW = "data.val_fraction=0.1 trainer.limit_val_batches=2 trainer.limit_test_batches=1"


def words_of(family: str) -> list[str]:
    return f"{FAMILIES[family]} {COMMON} {FEW if 'data=' not in FAMILIES[family] else ''}".split()


def main_in(folder: Path, words: Sequence[str]) -> None:
    """``python train.py …`` in a folder, as the body of a process; what it says goes to log.txt."""
    os.chdir(folder)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # who runs the tests under nohup ignores it, and so would this
    with (folder / "log.txt").open("a") as log, contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
        from dlzoo.commands import train

        torch.set_num_threads(1)
        sys.argv = ["train.py", *words, "hydra.run.dir=run"]
        train.main()


def start(folder: Path, words: Sequence[str]) -> Any:
    folder.mkdir(parents=True, exist_ok=True)
    process = FORKS.Process(target=main_in, args=(folder, [*words]))
    process.start()
    return process


def finish(folder: Path, words: Sequence[str], timeout: float = 120) -> int:
    """Run to the end; the exit code."""
    process = start(folder, words)
    process.join(timeout)
    assert process.exitcode is not None, "it hangs"
    return process.exitcode


def when(path: Path, process: Any) -> None:
    """Wait until a run has written a file; a failure if it ends without."""
    wait_for(path.exists, goes_on=process.is_alive, told=lambda: path)


PHASES = ("starting", "training", "validating", "saving", "testing", "ending")


def watched(folder: Path, words: Sequence[str], phase: Any) -> None:
    """`main_in`, with what the run is doing in a number that other processes see."""
    from dlzoo.checkpoint.io import CheckpointIO
    from dlzoo.training.interruption import Interruption

    def enter(name: str) -> Any:
        return lambda *_: setattr(phase, "value", PHASES.index(name))

    def save_checkpoint(self: Any, *args: Any, **options: Any) -> None:
        before = PHASES[phase.value]
        enter("saving")()
        save(self, *args, **options)
        enter(before)()

    save, CheckpointIO.save_checkpoint = CheckpointIO.save_checkpoint, save_checkpoint  # type: ignore[method-assign]
    hooks = {"train_batch_start": "training", "validation_start": "validating", "validation_end": "training"}
    for hook, name in (hooks | {"test_epoch_start": "testing", "test_end": "ending"}).items():
        setattr(Interruption, f"on_{hook}", enter(name))
    main_in(folder, words)


def kill_while(target: str, folder: Path, words: Sequence[str], seconds: float) -> str | None:
    """Start a run, and kill it so many seconds after it begins to do this; what it did, None if it had ended."""
    phase = FORKS.RawValue("i", 0)
    process = FORKS.Process(target=watched, args=(folder, [*words], phase))
    process.start()
    # The run may end before it does this, for it may have been killed in it before: the answer says so.
    wait_for(lambda: PHASES[phase.value] == target or not process.is_alive())
    process.join(seconds)
    process.kill()
    process.join()
    return PHASES[phase.value] if process.exitcode == -signal.SIGKILL else None


def left_by(folder: Path) -> dict[str, Any]:
    """All that must be the same of two runs, however often they were stopped."""
    run = folder / "run"
    stored = {name: torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True) for name in ("best", "last")}
    with (run / "metrics.csv").open() as file:
        rows = [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]
    results = json.loads((run / "results.json").read_text())
    return {
        "weights": {name: content["state_dict"] for name, content in stored.items()},
        "optimizers": [stored["last"]["optimizer_states"], stored["last"]["lr_schedulers"]],
        "callbacks": {
            # current_score: of the last save, which Lightning neither brings back nor reads
            key: {name: value for name, value in state.items() if name != "current_score"}
            for key, state in stored["last"]["callbacks"].items()
        },
        "random": stored["last"]["continuation"]["ranks"],
        "rows": rows,
        "metrics": results["metrics"],
        "progress": [results["epochs"], results["steps"], results["status"]],
    }


def differences(a: Any, b: Any, place: str = "") -> list[str]:
    """Where two nested structures differ; tensors bit for bit."""
    if isinstance(a, torch.Tensor):
        return [] if isinstance(b, torch.Tensor) and torch.equal(a, b) else [place]
    if isinstance(a, dict):
        if not isinstance(b, dict) or a.keys() != b.keys():
            return [f"{place}: keys {a.keys() ^ b.keys() if isinstance(b, dict) else b}"]
        return [found for key in a for found in differences(a[key], b[key], f"{place}.{key}")]
    if isinstance(a, list | tuple):
        if len(a) != len(b):
            return [f"{place}: {len(a)} and {len(b)}"]
        return [
            found for i, (x, y) in enumerate(zip(a, b, strict=True)) for found in differences(x, y, f"{place}[{i}]")
        ]
    return [] if a == b else [f"{place}: {a} and {b}"]
