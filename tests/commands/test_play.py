"""Agents play from a checkpoint, are filmed and drawn, and mistakes are answered."""

from __future__ import annotations

import importlib
import io
from pathlib import Path
from typing import Any

import made_environments as made
import numpy as np
import pytest
from figure_texts import check_layout, words
from omegaconf import OmegaConf
from PIL import Image, ImageSequence
from small_runs import Terminal, run, table_words

from dlzoo.commands import evaluate, play, predict
from dlzoo.errors import UserError
from dlzoo.inference import episodes as filming
from dlzoo.inference import loading
from dlzoo.rl.environments import Recipe
from dlzoo.visualization import returns as return_plots

SMALL = ("data.steps_per_epoch=300", "data.val_episodes=2", "data.test_episodes=30", "task.epsilon_steps=100")


@pytest.fixture(scope="module")
def ckpt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dqn")
    run(folder, "model=dqn", "data=cartpole", *SMALL, "callbacks=[history,checkpoint,agents]")
    return folder / "checkpoints" / "best.ckpt"


def milliseconds(gif: bytes) -> int:
    """How long a film lasts; of equal frames in a row, Pillow makes one that stays longer."""
    with Image.open(io.BytesIO(gif)) as film:
        return sum(frame.info["duration"] for frame in ImageSequence.Iterator(film))


def test_a_run_leaves_films_and_returns(ckpt: Path) -> None:
    left = {path.name for path in ckpt.parents[1].iterdir()}
    films = {f"film_{which}.gif" for which in ("untrained", "last", "best")}
    assert films | {"returns.png", "learning_curves.png"} <= left
    with Image.open(ckpt.parents[1] / "film_best.gif") as film:
        assert film.n_frames >= 4  # type: ignore[attr-defined]
        first = np.asarray(film.convert("RGB"))
        film.seek(film.n_frames - 1)  # type: ignore[attr-defined]
        assert (first != np.asarray(film.convert("RGB"))).any(), "nothing moves"


def test_an_agent_plays_and_is_filmed(ckpt: Path, terminal: Terminal, tmp_path: Path) -> None:
    video = tmp_path / "out.gif"
    done = terminal(play.main, f"ckpt={ckpt}", "episodes=2", f"video={video}")
    assert done.code == 0, done.err
    assert done.err == ""
    lines = done.out.splitlines()
    lengths = [int(line.split()[-2]) for line in lines[:2]]
    assert lines[0] == f"episode 1   return {lengths[0]}   {lengths[0]} steps"
    assert lines[2].startswith(f"mean return {sum(lengths) / 2:.4g} ±")
    # of 50 frames a second every second one, and the last of each episode, on which the film rests
    assert milliseconds(video.read_bytes()) == sum(-(-n // 2) * 40 + 1000 for n in lengths)
    again = terminal(play.main, f"ckpt={ckpt}", "episodes=2")
    assert again.out.splitlines()[:3] == lines[:3]
    assert terminal(play.main, f"ckpt={ckpt}", "episodes=2", "seed=1").out != again.out


def test_a_film_can_be_mp4(ckpt: Path, terminal: Terminal, tmp_path: Path) -> None:
    imageio_ffmpeg = importlib.import_module("imageio_ffmpeg")
    video = tmp_path / "out.mp4"
    assert terminal(play.main, f"ckpt={ckpt}", "episodes=1", f"video={video}").code == 0
    said = next(imageio_ffmpeg.read_frames(str(video)))
    assert said["size"] == (600, 400)
    assert said["fps"] == 25


def test_the_checkpoint_is_evaluated_as_it_was_tested(ckpt: Path, terminal: Terminal) -> None:
    done = terminal(evaluate.main, f"ckpt={ckpt}")
    assert done.code == 0, done.err
    results = (ckpt.parents[1] / "results.json").read_text()
    value = float(next(line for line in results.splitlines() if '"test/return"' in line).split()[1].rstrip(","))
    assert f"test/return {value:.4g}" in " ".join(done.out.split())


def test_frames_are_left_out_of_fast_environments() -> None:
    take = filming.film(Recipe(id="CartPole-v1", max_episode_steps=9), lambda x: np.zeros(1, int), 0)
    assert take.length == take.total == 9
    assert len(take.frames) == 6  # 0, 2, 4, 6, 8 and the end
    assert take.frames_per_second == 25
    assert milliseconds(filming.gif([take])) == 5 * 40 + 1000
    with Image.open(io.BytesIO(filming.gif([take]))) as film:
        assert film.size == (320, 213)


def test_a_long_episode_is_played_to_its_end_but_not_filmed_to_it() -> None:
    """Frames of 30,000 bytes each; a video ends with the frame that exceeds its limit."""
    recipe = Recipe(id="Slow-v0", max_episode_steps=40)
    take = filming.film(recipe, lambda x: np.zeros(1, int), 0, max_bytes=95_000)
    assert (take.length, take.total, len(take.frames), take.is_whole, take.num_bytes) == (40, 40, 4, False, 120_000)
    whole = filming.film(recipe, lambda x: np.zeros(1, int), 0)
    assert (len(whole.frames), whole.is_whole) == (41, True)


def test_a_cut_film_is_announced(terminal: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path, "model=dqn", "data=gym", "data.id=Slow-v0", "data.max_episode_steps=40", "callbacks=checkpoint",
        "data.steps_per_epoch=10", "data.val_episodes=1", "data.test_episodes=1", "trainer.max_epochs=1")  # fmt: skip
    monkeypatch.setattr(filming, "MAX_VIDEO_BYTES", 600_000)
    ckpt, video = tmp_path / "checkpoints" / "best.ckpt", tmp_path / "out.gif"
    done = terminal(play.main, f"ckpt={ckpt}", "episodes=2", f"video={video}")
    assert done.out.splitlines()[-1].endswith("only 2 s: longer episodes are cut"), done.out


def test_returns_are_drawn_where_there_are_some() -> None:
    rows = [
        {"epoch": 1, "step": 500, "val/return": 20.0, "val/return_std": 5.0, "train/return": 15.0},
        {"epoch": 2, "step": 1000, "val/return": 60.0, "val/return_std": 9.0, "train/return": float("nan")},
    ]
    (ax,) = return_plots.returns(rows, solved=475).axes
    lines = {line.get_label(): list(map(list, line.get_data())) for line in ax.get_lines()}
    assert lines["evaluation, greedy"] == [[500, 1000], [20, 60]]
    assert lines["training, exploring"] == [[500], [15]]
    assert "solved: 475" in lines
    assert return_plots.returns([]).axes


def test_the_band_of_returns_ends_at_the_highest_return_of_an_episode() -> None:
    """Half of the episodes reach the goal, which gives 1: 0.5 ± 0.53 would lie above all that is possible."""
    measured = {"val/return": 0.5, "val/return_std": 0.53, "val/return_min": 0.0, "val/return_max": 1.0}
    rows = [{"epoch": e, "step": 100 * e, **measured} for e in (1, 2)]
    figure = return_plots.returns(rows, heading="frozen lake")
    (band,) = figure.axes[0].collections
    heights = band.get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == (0, 1)
    old = [{"epoch": 1, "step": 1, "val/return": 60.0, "val/return_std": 9.0}]  # as runs wrote it before
    assert return_plots.band(old[0]) == (51, 69)
    assert return_plots.band({"val/return": 1.0, "val/return_std": float("nan")}) == (1, 1)
    assert "frozen lake" in words(figure)
    check_layout(figure)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("episodes=0",), "episodes=0 is too small"),
        (("seed=-1",), "seed=-1"),
        (("video=out.avi",), "the extension must be .gif or .mp4"),
        (("episode=2",), "did you mean 'episodes'"),
    ],
)
def test_mistakes_are_answered(words: tuple[str, ...], said: str, ckpt: Path, terminal: Terminal) -> None:
    assert said in terminal.mistake(play.main, f"ckpt={ckpt}", *words)


def test_who_plays_nothing_and_what_cannot_be_drawn_say_so(terminal: Terminal, tmp_path: Path) -> None:
    run(tmp_path / "table", "model=mlp", *table_words(tmp_path))
    assert "is not an agent" in terminal.mistake(play.main, f"ckpt={tmp_path / 'table' / 'checkpoints' / 'best.ckpt'}")
    words: Any = ("data=gym", "data.id=Chain-v0", "data.max_episode_steps=5")
    run(tmp_path / "chain", "model=dqn", *words, *SMALL, "callbacks=[checkpoint,agents]")
    best = tmp_path / "chain" / "checkpoints" / "best.ckpt"
    assert not list(best.parents[1].glob("film*"))
    assert "cannot render images" in terminal.mistake(play.main, f"ckpt={best}", f"video={tmp_path / 'out.gif'}")
    assert made.Chain.__name__ == "Chain"


def test_predicting_with_an_agent_names_the_right_command(ckpt: Path, terminal: Terminal, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("a,b\n1,2\n")
    assert "use dlzoo play" in terminal.mistake(predict.main, f"ckpt={ckpt}", f"input={tmp_path / 'rows.csv'}")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"id": "FrozenLake-v1", "options": {"map_name": "no"}}, "does not accept these"),
        ({"id": "FrozenLake-v1", "options": {"desc": 5}}, "does not accept these"),
        ({"id": "GymV21Environment-v0", "options": {"env_id": "os:X"}}, "data.id=GymV21Environment-v0"),
        ({"id": 5}, "must be text"),
        ({"options": [1]}, "data.options=[1]"),
        ({"frame_skip": -3}, "too small"),
        ({"frame_stack": 10**9}, "must not exceed"),
    ],
)
def test_an_environment_of_a_stranger_is_a_sentence(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    node = {"_target_": "dlzoo.data.environments.Gym", "id": "CartPole-v1", **options}
    with pytest.raises(UserError) as caught:
        loading.data_of(OmegaConf.create({"data": node}), tmp_path / "a.ckpt", seed=0).recipe.make()
    assert message in str(caught.value)
