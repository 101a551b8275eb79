"""Looking into a checkpoint: which pictures come out, that they show this net and its data; mistakes are sentences."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from figure_texts import words as words_in
from PIL import Image
from small_runs import Terminal, changed, diverge, run, table_words
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dlzoo.api import evidence
from dlzoo.checkpoint.load import load_task
from dlzoo.commands import inspect_model as inspection
from dlzoo.config import compose as config
from dlzoo.config.instantiate import build_data
from dlzoo.errors import UserError
from dlzoo.inference import activations as trace
from dlzoo.inference.predict import predict
from dlzoo.inference.recognition import Recognised, recognise
from dlzoo.metrics.examples import BalancedSample
from dlzoo.tasks.supervised import Supervised
from dlzoo.training import results
from dlzoo.training.run import run as run_training

ROOT = Path(__file__).resolve().parents[2]
ALL = ["kernels", "feature_maps", "grad_cam", "classes", "mistakes"]


@pytest.fixture(scope="module")
def lenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run."""
    folder = tmp_path_factory.mktemp("run")
    plain = ["callbacks=checkpoint", "logger=none", "trainer=cpu", "trainer.max_epochs=3", "seed=3"]
    run_training(config.compose([*plain, "model=lenet", "data=digits"]), folder, [])
    return folder


@pytest.fixture(scope="module")
def ckpt(lenet: Path) -> Path:
    return lenet / "checkpoints" / "best.ckpt"


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a command draws, by name, instead of files."""
    kept: dict[str, Any] = {}
    monkeypatch.setattr(inspection, "write", lambda made, folder: kept.update(made))
    return kept


@pytest.fixture
def no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("data were opened")

    monkeypatch.setattr(inspection, "open_data", refuse)


def lines(said: str) -> dict[str, str]:
    """What a command says, by the first word of each line."""
    return {line.split()[0]: line[14:] for line in said.splitlines()}


def pngs(folder: Path) -> set[str]:
    return {path.stem for path in folder.glob("*.png")}


def test_all_pictures_beside_the_checkpoints_and_in_tensorboard(lenet: Path, ckpt: Path, terminal: Terminal) -> None:
    code, out, err = terminal(inspection.main, f"ckpt={ckpt}")
    folder = lenet / "inspect"
    assert (code, err) == (0, "")
    assert pngs(folder) == {*ALL}
    said = lines(out)
    assert [said[name] for name in ALL] == [f"{folder / name}.png" for name in ALL]
    assert said["look"] == f"tensorboard --logdir {folder}"
    accuracy = results.read(lenet)["metrics"]["test/accuracy"]
    assert said["recognised"] == f"{accuracy:.2%} of 359 test images"
    events = EventAccumulator(str(folder)).Reload()
    assert {*events.Tags()["images"]} == {*ALL}
    with Image.open(folder / "grad_cam.png") as image:
        assert (events.Images("grad_cam")[0].width, events.Images("grad_cam")[0].height) == image.size


def test_the_pictures_are_of_this_net_and_these_data(ckpt: Path, terminal: Terminal, drawn: dict[str, Any]) -> None:
    assert terminal(inspection.main, f"ckpt={ckpt}", "num=5", "top_k=2", "depths=2").code == 0
    task, cfg = load_task(ckpt)
    x, y, _ = build_data(cfg.data).arrays("test")
    logits = task(x / 255).detach()
    sample = BalancedSample(5)
    sample.add((x,), y)
    rows = sample.positions
    top = logits[rows].softmax(1).topk(2)
    shown = words_in(drawn["grad_cam"])
    for label, shares, classes in zip(y[rows].tolist(), top.values.tolist(), top.indices.tolist(), strict=False):
        for word in (f"is {label}", *(f"{k}  {p:.0%}" for k, p in zip(classes, shares, strict=True))):
            shown.remove(word)
    shown = [word for word in shown if word != "no evidence"]
    assert sorted(shown) == sorted(["evidence (Grad-CAM) in layers.5", *(f"test image {i + 1}" for i in rows)])
    assert "weights of layers.0  Conv2d: 6 of 1x5x5" in words_in(drawn["kernels"])
    depths = [word for word in words_in(drawn["feature_maps"]) if " of " in word]
    assert depths == ["layers.1  ReLU  6 of 28x28", "layers.5  MaxPool2d  16 of 5x5"]
    right = (logits.argmax(1) == y).float().mean()
    assert f"{right:.2%} of 359 correct" in words_in(drawn["classes"])
    wrong = (logits.argmax(1) != y).nonzero()[:, 0]
    surest = wrong[logits[wrong].softmax(1).amax(1).argmax()]
    first = {text.get_text() for text in drawn["mistakes"].texts[:4]}
    assert {f"is {y[surest]}", f"for {y[surest]}", f"for {logits[surest].argmax()}"} <= first


def test_recognise(ckpt: Path) -> None:
    task, cfg = load_task(ckpt)
    data = build_data(cfg.data)
    data.eval_batch_size = 50
    x, y, _ = data.arrays("test")
    logits = task(x / 255).detach()
    assert isinstance(task, Supervised)
    found = recognise(task, data, num_examples=70, num_mistakes=4)
    torch.testing.assert_close(found.examples[0], x[found.positions] / 255)
    assert torch.equal(found.examples[1], y[found.positions])
    torch.testing.assert_close(found.examples[2], logits[found.positions])
    assert found.examples[1].bincount(minlength=10).tolist() == [7] * 10
    for i in range(10):
        for j in range(10):
            assert found.counts[i, j] == ((y == i) & (logits.argmax(1) == j)).sum()
    shares, guesses = logits.softmax(1).max(1)
    surest = sorted(((guesses != y) * shares).tolist(), reverse=True)[:4]
    assert found.mistakes[2].softmax(1).amax(1).tolist() == pytest.approx(surest)
    few = recognise(task, data, num_examples=70, num_mistakes=4, limit=60)
    assert (few.counts.sum(), len(few.examples[0])) == (60, 60)
    assert torch.equal(few.counts.sum(1), y[:60].bincount(minlength=10))


def test_an_image_needs_no_data(
    ckpt: Path, terminal: Terminal, drawn: dict[str, Any], no_data: None, tmp_path: Path
) -> None:
    pixels = torch.randint(0, 256, (8, 8), dtype=torch.uint8)
    Image.fromarray(pixels.numpy()).save(tmp_path / "photo.png")
    words = [f"ckpt={ckpt}", f"input={tmp_path / 'photo.png'}"]
    assert terminal(inspection.main, *words).code == 0
    assert [*drawn] == ALL[:3]
    p = predict(load_task(ckpt)[0], pixels[None, None] / 255)[0].topk(3)
    told = [f"{k}  {share:.0%}" for share, k in zip(p.values.tolist(), p.indices.tolist(), strict=True)]
    assert {"photo.png", *told} <= {*words_in(drawn["grad_cam"])}
    terminal(inspection.main, *words, "invert=true")
    p = predict(load_task(ckpt)[0], 1 - pixels[None, None] / 255)[0].topk(1)
    assert f"{p.indices.item()}  {p.values.item():.0%}" in words_in(drawn["grad_cam"])


def test_a_folder_of_images_and_other_data(
    ckpt: Path, terminal: Terminal, drawn: dict[str, Any], tmp_path: Path
) -> None:
    for name in ("b", "a", "c"):
        Image.new("L", (9, 9), 200).save(tmp_path / f"{name}.png")
    (tmp_path / "bad.png").write_bytes(b"none")
    code, out, err = terminal(inspection.main, f"ckpt={ckpt}", f"input={tmp_path}", "num=2", "data.test_fraction=0.1")
    assert code == 2
    assert [*drawn] == ALL
    assert {"a.png", "b.png"} < {*words_in(drawn["grad_cam"])}
    assert "c.png" not in words_in(drawn["grad_cam"])
    assert f"error: {tmp_path}/bad.png cannot be read as an image" in err
    assert "of 180 test images" in lines(out)["recognised"]


def test_pictures_that_were_learned_from_are_not_recognised(ckpt: Path, terminal: Terminal) -> None:
    code, _, err = terminal(inspection.main, f"ckpt={ckpt}", "data.test_fraction=0.5")
    assert code == 2
    assert "was trained or validated on 60% of these test rows" in err


def test_the_layer_that_is_asked(ckpt: Path, terminal: Terminal, drawn: dict[str, Any]) -> None:
    assert terminal(inspection.main, f"ckpt={ckpt}", "layer=layers.4", "limit=9").code == 0
    assert "evidence (Grad-CAM) in layers.4" in words_in(drawn["grad_cam"])


def test_a_net_without_maps(terminal: Terminal, tmp_path: Path) -> None:
    stored = run(tmp_path / "run", "data=digits")["checkpoints"]["best"]
    code, out, _ = terminal(inspection.main, f"ckpt={stored}", f"output={tmp_path / 'new' / 'looks'}")
    assert code == 0
    assert pngs(tmp_path / "new" / "looks") == {"kernels", "classes", "mistakes"}
    said = lines(out)
    assert said["grad_cam"] == said["feature_maps"] == "skipped: this net has no layer with feature maps"


def test_no_mistakes(ckpt: Path, terminal: Terminal, drawn: dict[str, Any]) -> None:
    terminal(inspection.main, f"ckpt={ckpt}", "mistakes=0")
    assert drawn["mistakes"] == "mistakes=0"
    none, counts = (torch.zeros(0, 1, 8, 8), torch.zeros(0), torch.zeros(0, 10)), torch.eye(10, dtype=torch.long)
    task, options = load_task(ckpt)[0], inspection.Options(ckpt="")
    assert isinstance(task, Supervised)
    said = inspection.draw_mistakes(task, Recognised(none, [], none, counts), options, with_heat=True)
    assert said == "there are none among 10 test images"
    one = torch.rand(1, 1, 8, 8), torch.tensor([3]), torch.eye(10)[:1]
    for with_heat in (True, False):
        figure = inspection.draw_mistakes(task, Recognised(one, [0], one, counts), options, with_heat=with_heat)
        assert words_in(figure)[-1].startswith("the only mistake")


def test_a_class_without_evidence_says_so(ckpt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image without a heatmap looks as if the heatmap were missing."""
    task = load_task(ckpt)[0]
    assert isinstance(task, Supervised)
    x = task.spec.example(1)[0]
    heat = torch.stack([torch.zeros(x.shape[2:]), torch.ones(x.shape[2:])])[None]
    layer = SimpleNamespace(name="conv")
    monkeypatch.setattr(trace, "grad_cam", lambda *_: SimpleNamespace(maps=heat, layer=layer))
    figure = evidence.figure(task, evidence.Subjects(x, ["a"], None), top_k=2)
    assert words_in(figure).count("no evidence") == 1


def test_other_checkpoints_are_refused(terminal: Terminal, tmp_path: Path) -> None:
    for name, words in {"wine": ["data=wine"], "houses": table_words(tmp_path)}.items():
        stored = run(tmp_path / name, *words)["checkpoints"]["best"]
        message = terminal.mistake(inspection.main, f"ckpt={stored}")
        assert "only image classifiers can be inspected, but this takes a table of" in message
        assert f"and predicts {'classes' if name == 'wine' else 'values'}" in message
        assert not (tmp_path / name / "inspect").exists()


MISTAKES = {
    "ckpt=nothing.ckpt": "there is no such file",
    "num=0": "num=0 is out of range: it must be at least 1",
    "top_k=6": "top_k=6 is out of range: it must be from 1 to 5",
    "depths=x": "depths=x must be an integer",
    "mistakes=-1": "mistakes=-1 is out of range: it must be at least 0",
    "limit=0": "limit=0 is out of range",
    "layer=layers.44": "layer=layers.44: no such layer with maps; did you mean 'layers.4'?",
    "input=nothing.png": "input=nothing.png: there is no such file or folder",
    "invert=true": "invert applies to the images of input=…",
    "fit=crop": "fit applies to the images of input=…",
    "data=mnits": "did you mean 'mnist'",
    "data=wine": "data=wine does not fit this checkpoint: it was trained on images of 1x8x8",
    "data.batch_sise=3": "did you mean 'batch_size'",
    "output=/dev/null": "output=/dev/null: /dev/null is not a writable folder",
    "output=/dev/null/x": "/dev/null is not a writable folder",
    "ouptut=x": "did you mean 'output'",
}


@pytest.mark.parametrize(("word", "message"), MISTAKES.items())
def test_mistakes(word: str, message: str, ckpt: Path, terminal: Terminal) -> None:
    words = [word] if word.startswith("ckpt=") else [f"ckpt={ckpt}", word]
    assert message in terminal.mistake(inspection.main, *words)


def test_unreadable_images_and_a_diverged_net(ckpt: Path, terminal: Terminal, tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(b"none")
    message = terminal.mistake(inspection.main, f"ckpt={ckpt}", f"input={tmp_path / 'photo.png'}")
    assert "photo.png cannot be read as an image" in message
    broken = changed(ckpt, tmp_path / "x.ckpt", diverge)
    assert "the net's output is not finite" in terminal.mistake(inspection.main, f"ckpt={broken}")


SCRIPTS = [
    pytest.param(path, id=path.stem, marks=[] if path.stem in ("inspect_model", "reproduce") else [pytest.mark.slow])
    for path in sorted((ROOT / "scripts").glob("*.py"))
    if "__main__" in path.read_text()
]


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_starts_from_anywhere(script: Path, tmp_path: Path) -> None:
    """scripts/inspect_model.py has the name of a module of Python, which dataclasses and many others import."""
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    program = [sys.executable, script, "--help"]
    said = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120, env=env)
    assert (said.returncode, said.stderr) == (0, "")
    command = f"dlzoo {script.stem.removesuffix('_model')}"
    assert script.name in said.stdout or command in said.stdout, "tools of the repository, and thin calls of commands"


def test_chunks_keep_layers_of_one_kind(ckpt: Path) -> None:
    """More pictures than are traced at once."""
    task, cfg = load_task(ckpt)
    x = build_data(cfg.data).arrays("test").x[: trace.CHUNK + 3] / 255
    assert len(trace.grad_cam(task, x, torch.zeros(len(x), 1, dtype=torch.long)).maps) == len(x)


def test_figures_are_not_written_through_a_link_of_a_run(tmp_path: Path) -> None:
    """The run folder may be a stranger's, and its ``inspect`` lead anywhere."""
    victim, run = tmp_path / "victim", tmp_path / "run"
    victim.mkdir()
    run.mkdir()
    ckpt = run / "checkpoints" / "last.ckpt"
    assert inspection.folder_for(None, ckpt) == run / "inspect"
    for target in (victim, run / "inspect", tmp_path / "new"):
        (run / "inspect").symlink_to(target)
        with pytest.raises(UserError, match="links outside the run folder and is not written to"):
            inspection.folder_for(None, ckpt)
        (run / "inspect").unlink()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(UserError, match="is not a writable folder"):
        inspection.folder_for(str(tmp_path / "loop"), ckpt)
    assert inspection.folder_for(str(victim), ckpt) == victim
