"""Agents play from a checkpoint, are filmed and drawn, and mistakes are answered."""

from __future__ import annotations

import importlib
import io
from pathlib import Path
from typing import Any

import made_environments as made
import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image, ImageSequence
from small_runs import Terminal, imported, run, table_words

from dlzoo.commands import cli, evaluate, play, predict
from dlzoo.errors import UserError
from dlzoo.inference import episodes as filming
from dlzoo.rl.environments import Recipe
from dlzoo.visualization import returns as return_plots

SMALL = ("data.steps_per_epoch=300", "data.val_episodes=2", "data.test_episodes=30", "task.epsilon_steps=100")


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(monkeypatch, capsys)


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
    assert "scripts/play.py" in terminal.mistake(predict.main, f"ckpt={ckpt}", f"input={tmp_path / 'rows.csv'}")


def test_a_typo_is_answered_without_torch() -> None:
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "-c", imported("dlzoo.commands.play", ["ckpt=x", "episods=3"])], capture_output=True
    )
    assert done.stdout.decode().split() == ["2"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"id": "FrozenLake-v1", "options": {"map_name": "no"}}, "does not accept these"),
        ({"id": "FrozenLake-v1", "options": {"desc": 5}}, "does not accept these"),
        ({"id": "GymV21Environment-v0", "options": {"env_id": "os:X"}}, "data.id=GymV21Environment-v0"),
        ({"id": 5}, "this must be text"),
        ({"options": [1]}, "data.options=[1]"),
        ({"frame_skip": -3}, "too small"),
        ({"frame_stack": 10**9}, "at most"),
    ],
)
def test_an_environment_of_a_stranger_is_a_sentence(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    node = {"_target_": "dlzoo.data.environments.Gym", "id": "CartPole-v1", **options}
    with pytest.raises(UserError) as caught:
        cli.data_of(OmegaConf.create({"data": node}), tmp_path / "a.ckpt", seed=0).recipe.make()
    assert message in str(caught.value)
