"""Makes the pictures of the zoo again: a short run of each system, its pictures as small WebP files."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image, ImageSequence

from dlzoo.errors import UserError, nearest
from scripts.docs.systems import PICTURES, ROOT, System, pages

MAX_BYTES = 60_000
MAX_WIDTH = 900
MAX_FRAMES = 40


def make(names: Sequence[str]) -> None:
    """Make the pictures of these systems, or of all that have none yet.

    Raises:
        UserError: there is no such system, or its run did not leave the pictures that its text names.
    """
    systems = {system.name: system for system in pages()}
    if unknown := [name for name in names if name not in systems]:
        raise UserError(f"{unknown[0]}: there is no such page; {nearest(unknown[0], systems)}")
    chosen = [systems[name] for name in names] or [s for s in systems.values() if not (PICTURES / s.name).is_dir()]
    failed = []
    for system in chosen:
        if system.pictures is not None:
            print(f"{system.name}: {system.pictures.command}", flush=True)
            try:
                make_one(system)
            except UserError as error:
                failed.append(str(error))
                print(f"error: {error}", flush=True)
    if failed:
        raise UserError(f"{len(failed)} of {len(chosen)} failed: {'; '.join(failed)}")


def make_one(system: System) -> None:
    """Run the command of a system, and keep its pictures."""
    assert system.pictures is not None
    target = PICTURES / system.name
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "run"
        start = time.perf_counter()
        _run(f"{system.pictures.command} hydra.run.dir={folder}")
        for command in system.pictures.then:
            _run(command.replace("{run}", str(folder)))
        seconds = time.perf_counter() - start
        target.mkdir(parents=True, exist_ok=True)
        for name in system.pictures.files:
            found = next(iter(folder.rglob(name)), None)
            if found is None:
                left = ", ".join(sorted({path.name for path in folder.rglob("*.[pgw][nie]*")}))
                raise UserError(f"{system.name}: the run leaves no {name}; it leaves {left}")
            shrink(found, target / f"{Path(name).stem}.webp")
        record = {"command": system.pictures.command, "seconds": round(seconds, 1), "device": device()}
        (target / "run.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def device() -> str:
    return f"{os.cpu_count()} cores"


def _run(command: str) -> None:
    program, *words = shlex.split(command)
    assert program == "dlzoo"
    done = subprocess.run(
        [sys.executable, "-m", "dlzoo", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise UserError(f"{command}: {done.stderr.strip()[-500:]}")


def shrink(source: Path, target: Path) -> None:
    """Write a picture as WebP of at most `MAX_BYTES`; of a film every n-th frame."""
    with Image.open(source) as image:
        frames = [frame.convert("RGB") for frame in ImageSequence.Iterator(image)]
        duration = int(image.info.get("duration", 100))
    for width, quality, stride in _settings(len(frames)):
        chosen = [_narrowed(frame, width) for frame in frames[::stride]]
        if len(chosen) == 1:
            chosen[0].save(target, quality=quality, method=6)
        else:
            later, pause = chosen[1:], duration * stride
            chosen[0].save(
                target, quality=quality, method=6, save_all=True, append_images=later, duration=pause, loop=0
            )
        if target.stat().st_size <= MAX_BYTES:
            return
    raise UserError(f"{source.name}: {target.stat().st_size} bytes remain, more than {MAX_BYTES}")


def _settings(num_frames: int) -> Iterator[tuple[int, int, int]]:
    """Widths, qualities and strides to try, the best first."""
    stride = -(-num_frames // MAX_FRAMES)
    for width in (MAX_WIDTH, 640, 480, 320, 240):
        for quality in (80, 60, 40):
            yield width, quality, stride
    for factor in (2, 3, 4, 6, 8):
        yield 240, 40, stride * factor


def _narrowed(image: Image.Image, width: int) -> Image.Image:
    if image.width <= width:
        return image
    return image.resize((width, round(image.height * width / image.width)), Image.Resampling.LANCZOS)
