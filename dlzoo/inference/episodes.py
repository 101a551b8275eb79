"""Videos of agents: record an episode in an environment with off-screen rendering."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dlzoo.config.introspection import check_number
from dlzoo.errors import UserError, at_least
from dlzoo.inference import loading
from dlzoo.utils import extras
from dlzoo.utils import files as paths

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from dlzoo.rl.environments import Environments, Recipe
    from dlzoo.tasks.interfaces import Acting

FRAMES_PER_SECOND = 25
"""Maximum frame rate; frames of faster environments are dropped."""
MAX_GIF_WIDTH = 320
"""In pixels, since GIFs grow fast; MP4 keeps the environment's frame size."""


EXTENSIONS = (".gif", ".mp4")
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


def video_path(text: str, ckpt: Path) -> Path:
    """Where a video is to be written, once it is known that it can be.

    Raises:
        UserError: the extension is not that of a video, or what it needs is not installed.
    """
    path = paths.writable(text, "video", ckpt)
    if path.suffix.lower() not in EXTENSIONS:
        raise UserError(f"video={text}: the extension must be {' or '.join(EXTENSIONS)}")
    if path.suffix.lower() == ".mp4":
        extras.require(f"video={text}", "imageio_ffmpeg")
    return path


def play(agent: Acting, cfg: DictConfig, ckpt: Path, num: int, seed: int, *, draw: bool) -> Iterator[Take]:
    """Episodes of an agent in the environment of its checkpoint.

    Args:
        cfg: the config of the checkpoint.
        num: of episodes.
        seed: of the initial states.
        draw: whether to record frames; all episodes together have room for `MAX_VIDEO_BYTES`.

    Raises:
        UserError: a number or a seed that cannot be, or the environment cannot be made or drawn.
    """
    from dlzoo.data.environments import Gym

    at_least(1, episodes=num)
    check_number("seed", seed)
    data = loading.data_of(cfg, ckpt, seed=seed)
    assert isinstance(data, Gym)
    if draw and not can_draw(data.recipe):
        raise UserError(f"{data.recipe.id} cannot render images: omit video")
    room = MAX_VIDEO_BYTES
    for start in data.seeds("film", num):
        take = film(data.recipe, agent.greedy, start, draw=draw, max_bytes=room)
        room -= take.num_bytes
        yield take


def video(takes: Sequence[Take], suffix: str) -> bytes:
    """The content of a video file, .gif or .mp4."""
    return gif(takes) if suffix.lower() == ".gif" else mp4(takes)


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
    from dlzoo.rl.environments import Environments

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
