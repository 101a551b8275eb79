"""Nets that predict samples: what is counted, that they learn, sample, resume and export."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from small_runs import Outcome
from sound_stand_ins import tone, write, write_folder

import dlzoo
from dlzoo.commands import export, predict, sample
from dlzoo.errors import UserError
from dlzoo.inference.sound import Options, generate
from dlzoo.layers import mu_law
from dlzoo.metrics.linear_prediction import LinearPredictor
from dlzoo.nets.wavenet import WaveNet
from dlzoo.specs import AudioSpec, Classes
from dlzoo.specs.batch import Batch
from dlzoo.tasks.sound import SampleLevels, with_previous

SPEC = AudioSpec(8000, 40, Classes(("low", "high")))
NET = ["net.num_units=8", "net.num_skip=8", "net.num_layers=3", "net.num_blocks=1"]
TONES = ["data=tones", "data.num_recordings=80", "data.seconds=0.02", "data.batch_size=16"]
QUICK = ["trainer=cpu", "logger=none", "callbacks=[history,checkpoint]", "deterministic=true"]


def task_of(**options: Any) -> SampleLevels:
    torch.manual_seed(0)
    return SampleLevels(WaveNet(SPEC, num_units=8, num_skip=8, num_layers=3, num_blocks=1), SPEC, **options)


def batch(lengths: list[int]) -> Batch:
    x = torch.rand(len(lengths), 1, 40) - 0.5
    for row, length in zip(x, lengths, strict=True):
        row[:, length:] = 0
    return Batch(x, torch.arange(len(lengths)) % 2)


def test_bits_are_those_of_the_samples_of_a_recording_alone() -> None:
    task, rows = task_of(), batch([40, 7, 0])
    bits = task.measure(rows)["bits"]
    logits = task.net(rows.inputs, task.condition(rows.target))
    levels = mu_law.encode(rows.inputs[:, 0])
    each = -logits.log_softmax(-1).gather(-1, levels[..., None])[..., 0] / math.log(2)
    torch.testing.assert_close(bits, torch.stack([each[0].sum(), each[1, :7].sum(), each[2, :0].sum()]))
    torch.testing.assert_close(task.eval_loss.compute() * 47 / math.log(2), bits.sum(), check_dtype=False)


def test_windows_are_pieces_of_the_recordings() -> None:
    task, (x, _, _) = task_of(), batch([40, 12, 3])
    before, levels, lengths = with_previous(x)
    for _ in range(20):
        cut_before, cut, is_sample = task.cut(before, levels, lengths, 8)
        assert cut.shape == (3, 8)
        assert is_sample.sum(1).tolist() == [8, 8, 3]
        assert torch.equal(cut[:, :-1][is_sample[:, 1:] > 0], cut_before[:, 1:][is_sample[:, 1:] > 0])
        start = (levels[0].unfold(0, 8, 1) == cut[0]).all(1).nonzero()
        assert len(start) >= 1


def test_linear_prediction_finds_a_recursion_and_codes_what_is_left() -> None:
    """A resonance driven by noise: the coefficients are found, and the bits are near the entropy of the noise."""
    draw, scale, x = np.random.default_rng(0), 0.02, np.zeros((8, 4000))
    noise = scale * draw.logistic(size=x.shape)
    for t in range(2, x.shape[1]):
        x[:, t] = 1.6 * x[:, t - 1] - 0.9 * x[:, t - 2] + noise[:, t]
    sound = torch.from_numpy(x / abs(x).max()).float()[:, None]
    model = LinearPredictor(sound[:6])
    assert not model.is_compressed
    assert model.name == "logistic"
    np.testing.assert_allclose(model.weights, [1.6, -0.9], atol=0.02)
    assert model.scale == pytest.approx(scale / abs(x).max(), rel=0.05)
    levels, amplitude = mu_law.encode(sound[6:, 0]), sound[6:, 0].abs()
    widths = torch.log2(2 / mu_law.MU * math.log(256) * (1 / mu_law.MU + amplitude))
    expected = (math.log2(math.e) * 2 + math.log2(model.scale)) - widths.mean()  # of a logistic: 2 nats + log of scale
    assert model.bits_per_sample(sound[6:]) == pytest.approx(float(expected), abs=0.1)
    assert levels.unique().numel() > 50
    assert model.bits_per_sample(sound[6:]) < LinearPredictor(sound[:6], 1).bits_per_sample(sound[6:]) - 0.5


def test_a_small_wavenet_learns_tones_samples_and_exports(
    train: Callable[..., Outcome], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    words = ["model=wavenet", *NET, *TONES, *QUICK, "trainer.max_epochs=4", "optimizer.lr=0.02"]
    done = train(*words, f"hydra.run.dir={run}", "callbacks=[history,checkpoint,linear_prediction,sound_samples]")
    assert done.code == 0, done.err
    metrics = json.loads((run / "results.json").read_text())["metrics"]
    assert metrics["test/bits_per_sample"] < 7.5, "a uniform distribution has 8"
    assert 0 < metrics["baseline/bits_per_sample_linear"] < 6
    assert (run / "samples.png").is_file()
    assert len([*(run / "samples").glob("*.wav")]) == 8
    ckpt = f"ckpt={run / 'checkpoints' / 'best.ckpt'}"
    for folder in ("a", "b"):
        sample.command([ckpt, "n=2", "class=A", "seconds=0.01", f"output={tmp_path / folder}"])
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == ["00000.wav", "00001.wav", "samples.png"]
    x, rate = soundfile.read(tmp_path / "a" / "00000.wav")
    assert (len(x), rate) == (80, 8000)
    assert np.array_equal(x, soundfile.read(tmp_path / "b" / "00000.wav")[0])
    with pytest.raises(UserError, match="class=H is unknown"):
        sample.command([ckpt, "n=2", "class=H", "seconds=0.01"])
    model = dlzoo.load(run)
    sounds = model.sample_sound(2, label="A", seconds=0.01)
    assert np.allclose(np.asarray(sounds)[0], x, atol=1e-4)
    assert sounds.titles == ["A", "A"]
    with pytest.raises(UserError, match="does not generate"):
        model.sample(2)
    capsys.readouterr()
    export.command([ckpt, f"output={tmp_path / 'net.onnx'}"])
    assert (tmp_path / "net.onnx").stat().st_size > 1000


@pytest.mark.parametrize("model", ["wavenet", pytest.param("audio_lstm", marks=pytest.mark.slow)])
def test_a_killed_run_continues_as_if_nothing_had_happened(model: str, tmp_path: Path) -> None:
    from continuing import Undisturbed

    net = NET if model == "wavenet" else ["net.num_units=8"]
    words = [
        f"model={model}",
        *net,
        *TONES,
        *QUICK,
        "trainer.max_epochs=2",
        "callbacks.last_checkpoint.every_n_steps=2",
    ]
    whole = Undisturbed(tmp_path, words)
    assert whole.broken_by_kill(-2) == []


def test_a_classifier_of_sound_predicts_files(
    train: Callable[..., Outcome], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, run = write_folder(tmp_path / "sounds", 12), tmp_path / "run"
    data = ["data=audio_folder", f"data.path={folder}", "data.sample_rate=8000", "data.seconds=0.15", "augment=sound"]
    done = train(
        "model=audio_cnn", "net.channels=[8,16,16]", *data, *QUICK, "data.batch_size=8", "trainer.max_epochs=12",
        "optimizer.lr=0.01", "callbacks=[history,checkpoint,recordings]", f"hydra.run.dir={run}",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert (run / "recordings.png").is_file()
    assert (run / "training_recordings.png").is_file()
    ckpt = f"ckpt={run / 'checkpoints' / 'best.ckpt'}"
    stereo = write(tmp_path / "low.wav", np.stack([tone(330, rate=16000)] * 2, 1), 16000, "PCM_24")
    capsys.readouterr()
    predict.command([ckpt, f"input={stereo}", "format=json"])
    assert json.loads(capsys.readouterr().out)[0]["predictions"][0]["class"] == "low"
    model = dlzoo.load(run)
    high = write(tmp_path / "high.wav", tone(1600))
    assert model.predict([str(stereo), str(high)])["class"].tolist() == ["low", "high"]
    assert model.predict(tone(1600))["class"].tolist() == ["high"]
    different = [tone(1600, 0.1), torch.from_numpy(tone(330, 0.2)), tone(1500).tolist(), np.stack([tone(350)] * 2)]
    alone = [label for x in different for label in model.predict(x)["class"]]
    assert model.predict(different)["class"].tolist() == alone
    assert alone[1:] == ["low", "high", "low", "low"]
    assert model.predict(tone(1600).tolist())["class"].tolist() == ["high"]
    with pytest.raises(UserError, match="recording 1 cannot be used: it has samples that are not finite"):
        model.predict([tone(330), tone(330, 0.1) * np.nan])
    with pytest.raises(UserError, match="there are no recordings: give at least one"):
        model.predict([])
    (tmp_path / "text.wav").write_text("not sound")
    with pytest.raises(UserError, match=r"text\.wav cannot be read as sound"):
        predict.command([ckpt, f"input={tmp_path / 'text.wav'}"])
    with pytest.raises(UserError, match="is no recording"):
        model.predict(np.zeros((3, 2, 5)))
    export.command([ckpt, f"output={tmp_path / 'net.onnx'}"])
    assert (tmp_path / "net.onnx").is_file()


def test_other_data_than_sound_is_refused_and_images_are_not_augmented_as_sound(train: Callable[..., Outcome]) -> None:
    done = train("model=wavenet", "data=digits")
    assert done.code == 2
    assert "wavenet takes recordings, but data=digits gives images" in done.err
    done = train("model=softmax", "data=digits", "augment=sound")
    assert done.code == 2
    assert "data.augment changes recordings, but data=digits gives images" in done.err


def test_a_checkpoint_does_not_generate_for_hours() -> None:
    """Its weights say nothing of the length of its recordings, which may be ten million samples."""
    spec = AudioSpec(8000, 100_001, Classes(("low", "high")))
    task = SampleLevels(WaveNet(spec, num_units=2, num_skip=2, num_layers=1, num_blocks=1), spec)
    with pytest.raises(UserError, match=r"recordings last 12\.5 seconds: .*100,001 samples.*such as seconds=12$"):
        generate(task, Options(n=1))
    assert generate(task, Options(n=1, seconds=0.01)).shape == (1, 80)
