"""Videos of agents: record an episode in an environment with off-screen rendering."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from dlzoo.errors import UserError
from dlzoo.rl.environments import Environments, Recipe

FRAMES_PER_SECOND = 25
"""Maximum frame rate; frames of faster environments are dropped."""
MAX_GIF_WIDTH = 320
"""In pixels, since GIFs grow fast; MP4 keeps the environment's frame size."""


MAX_VIDEO_BYTES = 2**30
"""Of the frames of a video in memory, uncompressed: those of CartPole for a minute, those of Atari for five."""


class Take(NamedTuple):
    """A recorded episode."""

    frames: list[np.ndarray]  # (H, W, 3) bytes
    frames_per_second: float
    total: float  # its return
    length: int
    is_whole: bool = True
    """Whether the frames show the whole episode: a long one was played to its end, but not recorded to it."""

    @property
    def num_bytes(self) -> int:
        """The size of the frames in memory."""
        return sum(frame.nbytes for frame in self.frames)

    @property
    def seconds(self) -> float:
        """How long the frames last."""
        return len(self.frames) / self.frames_per_second


def can_draw(recipe: Recipe) -> bool:
    """Whether the environment can render frames."""
    environment = recipe.make()
    environment.close()
    return "rgb_array" in (environment.metadata.get("render_modes") or ())


def film(
    recipe: Recipe,
    act: Callable[[np.ndarray], np.ndarray],
    seed: int,
    *,
    draw: bool = True,
    max_bytes: int = MAX_VIDEO_BYTES,
) -> Take:
    """Record an episode from a seed; ``act`` maps observations (1, ...) to actions (1,).

    Args:
        draw: whether to record frames.
        max_bytes: of the frames, after which the episode is only played; one frame is always recorded.

    Raises:
        UserError: a package that rendering needs is missing.
    """
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # else SDL fails without a display
    environments = Environments([lambda: recipe.make(render=draw)], recipe.id)
    pace = float(environments.vector.metadata.get("render_fps") or 30) / recipe.frame_skip
    every = max(1, round(pace / FRAMES_PER_SECOND))
    environments.reset([seed])
    frames: list[np.ndarray] = []
    total, length, done, room = 0.0, 0, False, max_bytes
    while not done:
        if draw and length % every == 0 and (room > 0 or not frames):
            frames.append(_rendered(environments, recipe))
            room -= frames[-1].nbytes
        step = environments.step(act(environments.observations))
        total, length = total + float(step.reward[0]), length + 1
        done = bool(step.terminated[0] or step.truncated[0])
    if draw and room > 0:
        frames.append(_rendered(environments, recipe))
    environments.close()
    return Take(frames, pace / every, total, length, is_whole=room > 0 or not draw)


def gif(takes: Sequence[Take]) -> bytes:
    """The content of a looping GIF that pauses at the end of each episode."""
    from PIL import Image

    images, durations = [], []
    for take in takes:
        for frame in take.frames:
            image: Any = Image.fromarray(frame)
            if image.width > MAX_GIF_WIDTH:
                image = image.resize(
                    (MAX_GIF_WIDTH, round(image.height * MAX_GIF_WIDTH / image.width)), Image.Resampling.BILINEAR
                )
            images.append(image)
            durations.append(max(20, round(1000 / take.frames_per_second)))
        durations[-1] = 1000
    # one palette from a sample of all frames: those of an environment share their colours
    sample = images[:: max(1, len(images) // 8)]
    sheet = Image.new("RGB", (sample[0].width, sample[0].height * len(sample)))
    for i, image in enumerate(sample):
        sheet.paste(image, (0, i * image.height))
    palette = sheet.quantize(128)
    images = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    content = io.BytesIO()
    images[0].save(content, "GIF", save_all=True, append_images=images[1:], duration=durations, loop=0, optimize=False)
    return content.getvalue()


def mp4(takes: Sequence[Take]) -> bytes:
    """The content of an MP4, which needs imageio-ffmpeg."""
    import tempfile
    from pathlib import Path

    import imageio_ffmpeg

    height, width = (side - side % 2 for side in takes[0].frames[0].shape[:2])  # H.264 requires even sides
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


def _rendered(environments: Environments, recipe: Recipe) -> np.ndarray:
    from gymnasium.error import DependencyNotInstalled

    try:
        image: Any = environments.vector.render()
    except DependencyNotInstalled as error:
        raise UserError(f"data.id={recipe.id} cannot be rendered: {' '.join(str(error).split())}") from None
    return np.array(image[0], np.uint8)
