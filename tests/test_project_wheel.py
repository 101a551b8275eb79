"""A project of ``dlzoo new``, built as a wheel and installed beside dlzoo's own into a fresh environment."""

from __future__ import annotations

import fresh_environment
import pytest
from fresh_environment import Environment

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """With dlzoo, and with a project that holds a net of its own; its sources are gone."""
    made = fresh_environment.create(tmp_path_factory.mktemp("fresh"))
    for words, at in ((("project", "wheel_lab"), "work"), (("net", "wheel_net"), "work/wheel_lab")):
        done = made.call("new", *words, at=at)
        assert done.returncode == 0, done.stderr
    project = made.folder / "work" / "wheel_lab"
    made.install(project)
    project.rename(made.folder / "elsewhere")
    done = made.call("train", "model=wheel_net", "data=digits", "trainer.max_epochs=1", "hydra.run.dir=first", at="run")
    assert done.returncode == 0, done.stderr
    return made


CKPT = "ckpt=../run/first/checkpoints/best.ckpt"
COMMANDS = {
    "evaluate": ["evaluate", CKPT],
    "predict": ["predict", CKPT, "input=a.png"],
    "inspect": ["inspect", CKPT, "input=a.png", "output=looks"],
    "export": ["export", CKPT, "format=safetensors", "output=net.safetensors"],
    "report": ["report", "../run/first"],
    "compare": ["compare", "../run/first", "../run/first"],
    "resume": ["train", "ckpt=../run/first/checkpoints/last.ckpt", "trainer.max_epochs=2", "hydra.run.dir=longer"],
    "experiment": ["train", "experiment=wheel_lab_net_digits", "trainer=smoke"],
    "sweep": ["train", "-m", "model=glob(wheel*)", "trainer=smoke", "hydra.sweep.dir=grid"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_takes_its_models_without_further_options(name: str, environment: Environment) -> None:
    from PIL import Image

    folder = environment.folder / "other"
    folder.mkdir(exist_ok=True)
    Image.new("L", (8, 8), 128).save(folder / "a.png")
    done = environment.call(*COMMANDS[name], at="other")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


def test_what_is_no_longer_installed_is_no_longer_trusted(environment: Environment) -> None:
    environment.pip("uninstall", "-q", "-y", "wheel_lab")
    refused = environment.call(*COMMANDS["evaluate"], at="other")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1), refused.stderr
    assert "add trust=wheel_lab" in refused.stderr
