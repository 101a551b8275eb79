"""Runs under load: ten at once, ten in a row, a thousand epochs, and data that are larger than memory.

``python tests/load_figures.py`` writes results/reliability/load.json; tests/runs/test_load.py holds the same runs
against
what must be.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from gauge import held, megabytes
from killing import FORKS
from PIL import Image

RESULTS = Path(__file__).resolve().parents[1] / "results" / "reliability" / "load.json"
NOON = mock.Mock(**{"now.return_value.strftime.return_value": "noon"})
"""A clock that always says the same."""
SHORT = "trainer.max_epochs=2 trainer.limit_train_batches=2 trainer.limit_val_batches=1 trainer.limit_test_batches=1"
CPU = "trainer.accelerator=cpu"
SIZE, BATCH_SIZE = 256, 8
ROOM = 120
"""Megabytes above what the process maps before the run begins, for nets, batches, libraries and threads."""


def train_in(folder: Path, words: Sequence[str]) -> None:
    """``python train.py …`` in a folder; what it says is added to log.txt."""
    import torch

    from dlzoo.commands import train

    torch.set_num_threads(1)
    os.chdir(folder)
    sys.argv = ["train.py", *words]
    with (folder / "log.txt").open("a") as log, contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
        train.main()


def in_a_process(target: Any, *arguments: Any, timeout: float = 400) -> None:
    process = FORKS.Process(target=target, args=arguments)
    process.start()
    process.join(timeout)
    if process.exitcode is None:
        process.kill()
    assert process.exitcode == 0, f"exit code {process.exitcode}"


def at_noon(folder: Path, barrier: Any, words: Sequence[str]) -> None:
    """A run whose clock says what those of the others say."""
    barrier.wait(60)
    with mock.patch("hydra.core.utils.datetime", NOON):
        train_in(folder, words)


def at_once(folder: Path, num: int = 10) -> list[Path]:
    """So many runs in the same second, with one outputs folder and one cache; their folders."""
    texts = "text,label\n" + "".join(f"{'good' if i % 2 else 'bad'} film number {i},{i % 2}\n" for i in range(200))
    (folder / "texts.csv").write_text(texts)
    kinds = [f"model=mlp {SHORT} {CPU}", f"model=text_cnn data=text_csv data.path={folder}/texts.csv {SHORT} {CPU}"]
    kinds[1] += " data.text=text data.target=label"
    barrier = FORKS.Barrier(num)
    running = [FORKS.Process(target=at_noon, args=(folder, barrier, kinds[i % 2].split())) for i in range(num)]
    for process in running:
        process.start()
    for process in running:
        process.join(300)
    assert [process.exitcode for process in running] == [0] * num, (folder / "log.txt").read_text()[-2000:]
    return sorted((folder / "outputs" / "noon").iterdir())


def one_after_the_other(folder: Path, num: int) -> None:
    """So many runs in this process; readings.json says what it held after each."""
    words = f"model=lenet {SHORT} {CPU}".split()
    readings = []
    for i in range(num):
        with contextlib.suppress(SystemExit):
            train_in(folder, [*words, f"hydra.run.dir={i}"])
        assert (folder / str(i) / "results.json").exists()
        readings.append(held(folder / str(i)))
    (folder / "readings.json").write_text(json.dumps(readings))


def in_a_row(folder: Path, num: int = 10) -> list[dict[str, float]]:
    in_a_process(one_after_the_other, folder, num)
    return json.loads((folder / "readings.json").read_text())


def many_epochs(folder: Path, early: int = 100, late: int = 1000) -> list[dict[str, float]]:
    """A run with TensorBoard, checkpoints and all the default callbacks, measured at two epochs."""
    gauge = f"++callbacks.gauge={{_target_: gauge.Gauge, epochs: [{early},{late}]}}"
    words = ["data=wine", "net.hidden=[8]", CPU, f"trainer.max_epochs={late + 1}", "hydra.run.dir=run", gauge]
    in_a_process(train_in, folder, words)
    return [*json.loads((folder / "run" / "gauge.json").read_text()).values()]


def mapped() -> int:
    """Bytes of address space."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def train_within(folder: Path, words: Sequence[str], room: int) -> None:
    """A run under ``ulimit -v``; used.json says what it took."""
    ctypes.CDLL(None).mallopt(-8, 1)  # M_ARENA_MAX: else each thread of glibc maps 64 MB that it does not use
    idle, before = mapped(), megabytes()
    resource.setrlimit(resource.RLIMIT_AS, (idle + room * 2**20,) * 2)
    with contextlib.suppress(SystemExit):
        train_in(folder, words)
    (folder / "used.json").write_text(json.dumps({"idle": idle / 2**20, "before": before, "after": megabytes()}))


def write_pictures(folder: Path, num: int) -> None:
    """Two classes; few files, each under many names."""
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        for i in range(4):
            dots = rng.integers(0, 256, (8, 8, 3), np.uint8) // (1 if name == "a" else 2)
            Image.fromarray(np.kron(dots, np.ones((SIZE // 8, SIZE // 8, 1), np.uint8))).save(folder / f"{name}{i}.bmp")
        for i in range(num // 2):
            (folder / name / f"{i}.bmp").symlink_to(folder / f"{name}{i % 4}.bmp")


def larger_than_memory(folder: Path, times: float = 10, room: int = ROOM, *words: str) -> dict[str, Any]:
    """Train an epoch on pictures that decoded take so many times the memory there is.

    They are read batch by batch as by workers, but in the process itself, whose address space is the one that is
    limited: each worker would have a limit of its own.
    """
    num = int(times * room * 2**20 / (3 * SIZE**2)) // 2 * 2 + 2
    write_pictures(folder / "pictures", num)
    own = f"model=softmax data=image_folder data.path={folder}/pictures data.size={SIZE} data.num_workers=0 {CPU} "
    own += f"data.batch_size={BATCH_SIZE} data.eval_batch_size={BATCH_SIZE} trainer.max_epochs=1 hydra.run.dir=run "
    own += "callbacks=[progress,history,checkpoint] logger=none"
    in_a_process(train_within, folder, [*own.split(), *words], room)
    used = json.loads((folder / "used.json").read_text())
    results = folder / "run" / "results.json"
    return {
        **used,
        "pictures": num,
        "megabytes": num * 3 * SIZE**2 / 2**20,
        "said": (folder / "log.txt").read_text(),
        "results": json.loads(results.read_text()) if results.exists() else None,
    }


def grown(what: str, early: dict[str, float], late: dict[str, float]) -> list[list[str]]:
    units = {"memory": "MB", "disk": "MB"}
    return [
        [f"{what}: {name}", *(f"{reading[name]:,.1f} {units[name]}" if name in units else f"{reading[name]:,.0f}"
                              for reading in (early, late))]
        for name in early
    ]  # fmt: skip


def main() -> None:
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folders = [Path(name) / part for part in ("once", "row", "epochs", "large")]
        for folder in folders:
            folder.mkdir()
        started = time.monotonic()
        runs = at_once(folders[0])
        seconds = time.monotonic() - started
        rows.append(["runs at once, in one second, in one outputs folder", "10 started", f"{len(runs)} folders, whole"])
        rows += grown("a run's process, after 1 and 10 runs", *(in_a_row(folders[1])[i] for i in (0, -1)))
        rows += grown("one run, after 100 and 1,000 epochs", *many_epochs(folders[2]))
        large = larger_than_memory(folders[3])
        what = f"pictures decoded: {large['megabytes']:,.0f} MB; room: {ROOM} MB (ulimit -v, above an idle process)"
        rows.append([what, f"{large['before']:,.0f} MB resident", f"{large['after']:,.0f} MB, trained and tested"])
    found = {
        "title": "Load: what grows and what does not",
        "command": "python tests/load_figures.py",
        "columns": ["what", "early", "late"],
        "rows": rows,
        "note": f"Default callbacks, TensorBoard and checkpoints on. Ten runs at once took {seconds:.0f} s. Disk grows "
        "by a row of metrics.csv and the scalars of TensorBoard for each epoch; memory by the rows that the curves "
        "are drawn from.",
    }
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
