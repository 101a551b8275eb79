"""``dlzoo new``: what it writes trains at once, passes the usual checks, and replaces nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import own_package
import pytest
from small_runs import Terminal, Train

from dlzoo.commands import evaluate, new
from dlzoo.config import source

ROOT = Path(__file__).parents[2]
SMOKE = ("trainer=smoke", "trainer.accelerator=cpu", "callbacks=checkpoint", "logger=none")
WRITTEN = {
    "net": ["nets/my_net.py", "nets/__init__.py", "configs/model/my_net.yaml"],
    "data": ["data/my_data.py", "data/__init__.py", "configs/data/my_data.yaml"],
    "task": ["tasks/my_task.py", "tasks/__init__.py", "configs/model/my_task.yaml"],
    "experiment": ["configs/experiment/my_experiment.yaml"],
}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project with one part of each kind, as good as installed; its folder."""
    folder = tmp_path_factory.mktemp("lab")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        created("project", "made_lab")
        patch.chdir("made_lab")
        for kind in ("net", "data", "task"):
            created(kind, f"my_{kind}")
        own_package.install(Path("src").resolve(), "made_lab")
        patch.syspath_prepend(str(Path("src").resolve()))
        created("experiment", "my_experiment", "model=my_net", "data=my_data")
        source.find.cache_clear()
        source.module.cache_clear()
        yield folder / "made_lab"


def created(*words: str) -> None:
    new.create([f"{key}={word}" for key, word in zip(("kind", "name"), words, strict=False)] + [*words[2:]])


def test_a_project_holds_what_it_needs(lab: Path) -> None:
    package = lab / "src" / "made_lab"
    written = {str(path.relative_to(lab)) for path in lab.rglob("*") if path.is_file() and "dist-info" not in str(path)}
    assert written == {
        "pyproject.toml", "README.md", ".gitignore", ".github/workflows/ci.yml", "tests/test_training.py",
        "src/made_lab/__init__.py", "src/made_lab/nets/made_lab_net.py", "src/made_lab/configs/model/made_lab_net.yaml",
        "src/made_lab/configs/experiment/made_lab_net_digits.yaml",
        *(f"src/made_lab/{file}" for files in WRITTEN.values() for file in files),
    }  # fmt: skip
    assert 'made_lab = "made_lab"' in (lab / "pyproject.toml").read_text()
    assert "seed: ${seed}" in (package / "configs" / "data" / "my_data.yaml").read_text()
    assert not any("%{" in path.read_text() for path in lab.rglob("*.*") if path.is_file())


@pytest.mark.parametrize(
    "word", ["model=made_lab_net", "model=my_task", "experiment=made_lab_net_digits", "experiment=my_experiment"]
)
def test_each_part_trains_and_its_checkpoint_loads(
    word: str, lab: Path, here: Path, train: Train, terminal: Terminal
) -> None:
    done = train(word, *SMOKE, f"hydra.run.dir={here / 'run'}")
    assert done.code == 0, done.err
    assert terminal(evaluate.main, f"ckpt={here / 'run' / 'checkpoints' / 'best.ckpt'}").code == 0


def test_its_code_passes_the_linter(lab: Path) -> None:
    for words in (["check"], ["format", "--check", "--diff"]):
        done = subprocess.run(["ruff", *words, "--no-cache", "."], cwd=lab, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_its_code_passes_the_type_checker(lab: Path) -> None:
    words = ["-m", "mypy", "--follow-imports=silent", "--ignore-missing-imports", "--cache-dir=/dev/null", "src"]
    done = subprocess.run(
        [sys.executable, *words],
        cwd=lab, env=os.environ | {"MYPYPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_its_own_tests_pass(lab: Path) -> None:
    path = os.pathsep.join([str(lab / "src"), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q"],
        cwd=lab, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "6 passed" in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "dlzoo new net my_net; choose from: data, experiment, net, project, task"),
        (["net"], "say what to write, and its name"),
        (["nett", "a"], "kind=nett is unknown; did you mean 'net'?"),
        (["net", "my-net"], "did you mean 'my_net'?"),
        (["net", "MyNet"], "did you mean 'my_net'?"),
        (["net", "class"], "for example my_net"),
        (["task", "true"], "for example my_task"),
        (["net", "../../x"], "cannot name a net"),
        (["net", "lenet"], "model=lenet exists already, in"),
        (["data", "wine"], "data=wine exists already, in"),
        (["project", "torch"], "a package torch is installed already"),
        (["project", "json"], "a package json is installed already"),
        (["net", "a", "model=mlp"], "model=mlp would be ignored"),
        (["net", "a"], "belongs to no project: start one with dlzoo new project"),
    ],
)
def test_mistakes(words: list[str], said: str, here: Path, terminal: Terminal) -> None:
    assert said in terminal.mistake(new.main, *words)
    assert [*here.iterdir()] == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[project]\nname = 'my-lab'\n", '[project.entry-points."dlzoo.plugins"] and my_lab = "my_lab"'),
        ("[project.entry-points.'dlzoo.plugins']\nx = 'x'\n", "neither a folder src/x nor x"),
        ("[project.entry-points.'dlzoo.plugins']\nx = '../x'\n", "declares no plugin"),
        ("[project.entry-points]\n'dlzoo.plugins' = 3\n", "declares no plugin"),
        ("project = 3\n", "declares no plugin"),
        ("[project", "is not TOML"),
    ],
)
def test_a_project_that_is_none(text: str, said: str, here: Path, terminal: Terminal) -> None:
    (here / "pyproject.toml").write_text(text)
    assert said in terminal.mistake(new.main, "net", "a")


DAMAGED = {
    "nested arrays": "x = " + "[" * 50_000,
    "a number of thousands of digits": "x = " + "9" * 6_000,
    "a dotted key without end": "[" + ".".join(["a"] * 200_000) + "]",
    "a dotted key of many parts": ".".join(["a"] * 40_000) + " = 1",  # took minutes and gigabytes
    "a long name": f'[project.entry-points."dlzoo.plugins"]\nx = "{"a" * 300}"',
    "packages in packages": f'[project.entry-points."dlzoo.plugins"]\nx = "{".".join(["a"] * 300)}"',
}


@pytest.mark.parametrize("what", DAMAGED)
def test_a_strangers_project_that_is_damaged(what: str, here: Path, terminal: Terminal) -> None:
    (here / "pyproject.toml").write_text(DAMAGED[what])
    assert "pyproject.toml" in terminal.mistake(new.main, "net", "their_net")


@pytest.mark.parametrize("place", ["nets", "configs", "configs/model"])
def test_a_file_in_place_of_a_folder_of_a_project(place: str, here: Path, terminal: Terminal) -> None:
    (here / "src" / "lab" / place).parent.mkdir(parents=True)
    (here / "src" / "lab" / place).write_text("")
    (here / "pyproject.toml").write_text('[project.entry-points."dlzoo.plugins"]\nx = "lab"')
    done = terminal(new.main, "net", "their_net")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "cannot be written" in done.err


@pytest.mark.parametrize("link", ["src/lab", "src/lab/nets", "src/lab/configs", "src/lab/configs/model"])
def test_nothing_is_written_through_a_link_of_a_strangers_project(link: str, here: Path, terminal: Terminal) -> None:
    (here / "elsewhere").mkdir()
    (here / "theirs" / link).parent.mkdir(parents=True)
    (here / "theirs" / link).symlink_to(here / "elsewhere")
    (here / "theirs" / "pyproject.toml").write_text('[project.entry-points."dlzoo.plugins"]\nx = "lab"')
    os.chdir("theirs")
    assert "links outside the project" in terminal.mistake(new.main, "net", "their_net")
    assert not [*(here / "elsewhere").iterdir()]


def test_a_project_is_not_started_where_a_link_is(here: Path, terminal: Terminal) -> None:
    (here / "my_lab").symlink_to(here / "nowhere")
    assert "exists already" in terminal.mistake(new.main, "project", "my_lab")
    assert "cannot name a project" in terminal.mistake(new.main, "project", "a" * 300)


def test_nothing_is_overwritten(here: Path, terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    assert terminal(new.main, "project", "kept_lab").code == 0
    assert "exists already" in terminal.mistake(new.main, "project", "kept_lab")
    monkeypatch.chdir(here / "kept_lab")
    configs = here / "kept_lab" / "src" / "kept_lab" / "configs" / "model"
    (configs / "mine.yaml").symlink_to(here / "elsewhere.yaml")
    assert "mine.yaml exists already" in terminal.mistake(new.main, "net", "mine")
    assert not (configs.parents[1] / "nets" / "mine.py").exists()
    assert not (here / "elsewhere.yaml").exists()


def test_what_is_not_installed_says_so(here: Path, train: Train, terminal: Terminal) -> None:
    done = terminal(new.main, "project", "fresh_lab")
    assert "next: pip install -e fresh_lab && dlzoo train model=fresh_lab_net" in done.out
    refused = train("model=fresh_lab_net")
    assert refused.code == 2
    assert "its package is not an installed plugin: once, pip install -e fresh_lab" in refused.err


def test_a_flat_layout_and_a_package_in_a_package(
    here: Path, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "pyproject.toml").write_text("[project.entry-points.'dlzoo.plugins']\nx = 'flat_lab.zoo'\n")
    (here / "flat_lab" / "zoo").mkdir(parents=True)
    assert "next: pip install -e . && dlzoo train model=mine" in terminal(new.main, "net", "mine").out
    assert "flat_lab.zoo.nets.mine.Mine" in (here / "flat_lab" / "zoo" / "configs" / "model" / "mine.yaml").read_text()
    own_package.install(here, "flat_lab.zoo")
    monkeypatch.syspath_prepend(here)
    assert "next: dlzoo train model=other data=digits" in terminal(new.main, "net", "other").out
