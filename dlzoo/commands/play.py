"""Play episodes with a trained agent: print the returns, and record a video if you like. No display is needed.

    dlzoo play ckpt=<run>/checkpoints/best.ckpt
    dlzoo play ckpt=… episodes=3 video=out.gif
    dlzoo play ckpt=… episodes=1 video=out.mp4 seed=7

Options:
    ckpt      the checkpoint; no other file of its run is needed
    episodes  number of episodes (3)
    video     a video of all episodes, .gif or .mp4 (none)
    seed      of the initial states (0)
    trust     a package of your own that the checkpoint uses

Exit code 0 on success, 2 on an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dlzoo.commands import cli
from dlzoo.errors import UserError, at_least
from dlzoo.utils import extras
from dlzoo.utils import files as paths

EXTENSIONS = (".gif", ".mp4")


@dataclass(frozen=True, kw_only=True)
class Options:
    ckpt: str
    episodes: int = 3
    video: str | None = None
    seed: int = 0
    trust: str | None = None


def main() -> None:
    """The command."""
    cli.execute(command, __doc__)


def command(argv: Sequence[str]) -> None:
    """Play as the arguments specify."""
    options, _ = cli.parse(Options, argv)
    at_least(1, episodes=options.episodes)
    if options.seed < 0:
        raise UserError(f"seed={options.seed} must not be negative")
    ckpt = paths.existing_file(options.ckpt, "ckpt")
    video = None if options.video is None else paths.writable(options.video, "video", ckpt)
    if video is not None and video.suffix.lower() not in EXTENSIONS:
        raise UserError(f"video={options.video}: the extension must be {' or '.join(EXTENSIONS)}")
    if video is not None and video.suffix.lower() == ".mp4":
        extras.require(f"video={options.video}", "imageio_ffmpeg")
    play(ckpt, options.episodes, video, options.seed, options.trust)


def play(ckpt: Path, num_episodes: int, video: Path | None, seed: int, trust: str | None = None) -> None:
    """Play episodes, print the return of each, and write the video."""
    import statistics

    from dlzoo.data.environments import Gym
    from dlzoo.inference import episodes

    task, cfg = cli.load(ckpt, trust)
    agent = task.as_agent()
    if agent is None:
        raise UserError(f"ckpt={ckpt}: its model ({type(task).__name__}) is not an agent; see dlzoo predict")
    data = cli.data_of(cfg, ckpt, seed=seed)
    assert isinstance(data, Gym)
    if video is not None and not episodes.can_draw(data.recipe):
        raise UserError(f"video={video}: {data.recipe.id} cannot render images; omit video")
    played: list[episodes.Take] = []
    for number, start in enumerate(data.seeds("film", num_episodes), 1):
        room = episodes.MAX_VIDEO_BYTES - sum(take.num_bytes for take in played)
        episode = episodes.film(data.recipe, agent.greedy, start, draw=video is not None, max_bytes=room)
        print(
            f"episode {number:{len(str(num_episodes))}}   return {episode.total:g}   {episode.length} steps", flush=True
        )
        played.append(episode)
    if num_episodes > 1:
        totals = [episode.total for episode in played]
        print(f"mean return {statistics.fmean(totals):.4g} ± {statistics.stdev(totals):.4g}")
    if video is not None:
        content = episodes.gif(played) if video.suffix.lower() == ".gif" else episodes.mp4(played)
        paths.write(video, content)
        seconds = sum(take.seconds for take in played)
        cut = "" if all(take.is_whole for take in played) else f"   only {seconds:.0f} s: longer episodes are cut"
        print(f"video   {video}{cut}")
