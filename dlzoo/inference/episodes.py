"""Films of agents: an episode is played in an environment that draws itself, without a screen."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from dlzoo.errors import UserError
from dlzoo.rl.environments import Environments, Recipe

FRAMES_PER_SECOND = 25
"""Of a film, at most; of faster environments, frames are left out."""
WIDEST = 320
"""Pixels of a GIF, which grows fast; MP4 keeps the environment's own size."""


class Take(NamedTuple):
    """One episode."""

    frames: list[np.ndarray]  # (H, W, 3) bytes
    frames_per_second: float
    total: float  # its return
    length: int


def can_draw(recipe: Recipe) -> bool:
    """Whether the environment can draw itself."""
    environment = recipe.make()
    environment.close()
    return "rgb_array" in (environment.metadata.get("render_modes") or ())


def film(recipe: Recipe, act: Callable[[np.ndarray], np.ndarray], seed: int, *, draw: bool = True) -> Take:
    """An episode from a seed; ``act`` gives the actions (1,) for observations (1, ...).

    Raises:
        UserError: a package that the drawing needs is missing.
    """
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # else SDL complains where there is no screen
    environments = Environments([lambda: recipe.make(render=draw)])
    pace = float(environments.vector.metadata.get("render_fps") or 30) / recipe.frame_skip
    every = max(1, round(pace / FRAMES_PER_SECOND))
    environments.reset([seed])
    frames, total, length, done = [], 0.0, 0, False
    while not done:
        if draw and length % every == 0:
            frames.append(_drawn(environments, recipe))
        made = environments.step(act(environments.observations))
        total, length = total + float(made.reward[0]), length + 1
        done = bool(made.terminated[0] or made.truncated[0])
    if draw:
        frames.append(_drawn(environments, recipe))
    environments.close()
    return Take(frames, pace / every, total, length)


def gif(takes: Sequence[Take]) -> bytes:
    """The content of a GIF that runs over and over, and rests a while where an episode ends."""
    from PIL import Image

    images, durations = [], []
    for take in takes:
        for frame in take.frames:
            image: Any = Image.fromarray(frame)
            if image.width > WIDEST:
                image = image.resize((WIDEST, round(image.height * WIDEST / image.width)), Image.Resampling.BILINEAR)
            images.append(image)
            durations.append(max(20, round(1000 / take.frames_per_second)))
        durations[-1] = 1000
    # one palette for all, of frames from everywhere: the pictures of an environment share their colours
    some = images[:: max(1, len(images) // 8)]
    sheet = Image.new("RGB", (some[0].width, some[0].height * len(some)))
    for i, image in enumerate(some):
        sheet.paste(image, (0, i * image.height))
    palette = sheet.quantize(128)
    images = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    content = io.BytesIO()
    images[0].save(content, "GIF", save_all=True, append_images=images[1:], duration=durations, loop=0, optimize=False)
    return content.getvalue()


def mp4(takes: Sequence[Take]) -> bytes | None:
    """The content of an MP4; None where imageio-ffmpeg is not installed."""
    try:
        import imageio_ffmpeg
    except ImportError:
        return None
    import tempfile
    from pathlib import Path

    height, width = (side - side % 2 for side in takes[0].frames[0].shape[:2])  # H.264 wants even sides
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        writer = imageio_ffmpeg.write_frames(
            str(path), (width, height), fps=takes[0].frames_per_second, macro_block_size=1, ffmpeg_log_level="error"
        )
        writer.send(None)
        for frame in (frame for take in takes for frame in take.frames):
            writer.send(np.ascontiguousarray(frame[:height, :width]))
        writer.close()
        return path.read_bytes()


def _drawn(environments: Environments, recipe: Recipe) -> np.ndarray:
    from gymnasium.error import DependencyNotInstalled

    try:
        picture: Any = environments.vector.render()
    except DependencyNotInstalled as error:
        raise UserError(f"data.id={recipe.id} cannot be drawn: {' '.join(str(error).split())}") from None
    return np.array(picture[0], np.uint8)
