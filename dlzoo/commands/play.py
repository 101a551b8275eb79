"""Play episodes with a trained agent: print the returns, and record a video if you like. No display is needed.

    dlzoo play ckpt=<run>/checkpoints/best.ckpt
    dlzoo play ckpt=… episodes=3 video=out.gif
    dlzoo play ckpt=… episodes=1 video=out.mp4 seed=7

Options:
    ckpt      the checkpoint, whose run is not needed, or the folder of a run or of a published model
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
from dlzoo.errors import UserError
from dlzoo.inference import episodes, loading
from dlzoo.utils import files as paths
from dlzoo.utils import model_folders


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
    ckpt = model_folders.checkpoint(options.ckpt, "ckpt")
    video = None if options.video is None else episodes.video_path(options.video, ckpt)
    play(ckpt, options.episodes, video, options.seed, options.trust)


def play(ckpt: Path, num_episodes: int, video: Path | None, seed: int, trust: str | None = None) -> None:
    """Play episodes, print the return of each, and write the video."""
    import statistics

    task, cfg = loading.load(ckpt, trust)
    agent = task.as_agent()
    if agent is None:
        raise UserError(f"ckpt={ckpt}: its model ({type(task).__name__}) is not an agent; see dlzoo predict")
    played: list[episodes.Take] = []
    for number, episode in enumerate(episodes.play(agent, cfg, ckpt, num_episodes, seed, draw=video is not None), 1):
        print(
            f"episode {number:{len(str(num_episodes))}}   return {episode.total:g}   {episode.length} steps", flush=True
        )
        played.append(episode)
    if num_episodes > 1:
        totals = [episode.total for episode in played]
        print(f"mean return {statistics.fmean(totals):.4g} ± {statistics.stdev(totals):.4g}")
    if video is not None:
        paths.write(video, episodes.video(played, video.suffix))
        seconds = sum(take.seconds for take in played)
        cut = "" if all(take.is_whole for take in played) else f"   only {seconds:.0f} s: longer episodes are cut"
        print(f"video   {video}{cut}")
