"""Labelled sequences of one's own: both forms of files, their mistakes, and nets that learn them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from omegaconf import OmegaConf
from small_runs import Outcome, Terminal

import dlzoo
from dlzoo.commands import evaluate, predict
from dlzoo.data.csv_reader import read_table
from dlzoo.data.sequences.csv import SequenceCsv, read_sequences
from dlzoo.errors import UserError
from dlzoo.inference.inputs import sequence_batches
from dlzoo.nets.rnn_reader import Reader
from dlzoo.nets.sequence_cnn import SequenceCNN
from dlzoo.specs.inputs import SequenceSpec
from dlzoo.specs.targets import Classes
from dlzoo.training import results


def wave(shape: str, num: int, start: float) -> list[float]:
    turns = [start + t / 8 for t in range(num)]
    return [math.sin(2 * math.pi * x) if shape == "sine" else (2 * (x % 1) - 1) for x in turns]


def waves(folder: Path, num: int = 60) -> Path:
    """Sines and sawtooths of 12 to 20 steps beside a second value without meaning, in one file of shuffled rows."""
    rows = []
    for i in range(num):
        shape = ("sine", "saw")[i % 2]
        values = wave(shape, 12 + i % 9, i * 0.37)
        rows += [f"w{i},{t},{value:.3f},{(i * t) % 5},{shape}" for t, value in enumerate(values)]
    rows = rows[::2] + rows[1::2]
    path = folder / "waves.csv"
    path.write_text("\n".join(["trial,step,height,noise,shape", *rows]) + "\n")
    return path


LONG: dict[str, Any] = {"id": "trial", "time": "step", "target": "shape"}
WORDS = ["data=sequence_csv", "data.id=trial", "data.time=step", "data.target=shape"]


def test_a_row_for_each_step(tmp_path: Path) -> None:
    data = SequenceCsv(path=str(waves(tmp_path)), **LONG)
    data.setup()
    spec = data.spec
    assert (spec.names, spec.length, spec.is_padded) == (("height", "noise"), 20, True)
    assert spec.target.names == ("saw", "sine")
    rows = [data.arrays(split) for split in ("train", "val", "test")]
    assert sum(part.num_rows for part in rows) == 60
    assert rows[2].num_rows == 12
    train = rows[0]
    known = train.x[~train.x[..., 0].isnan()]
    torch.testing.assert_close(torch.tensor(spec.mean), known.mean(0))
    torch.testing.assert_close(torch.tensor(spec.std), known.std(0, correction=0))
    (first,) = [x for x in torch.cat([part.x for part in rows]) if x[12, 0].isnan() and x[1, 1] == 0][:1]
    assert first[:12, 0].tolist() == pytest.approx(wave("sine", 12, 0), abs=1e-3)


def test_a_row_for_each_sequence(tmp_path: Path) -> None:
    path = tmp_path / "wide.csv"
    lines = [f"{i},{i + 1},{i + 2 if i % 3 else ''},{'ab'[i % 2]}" for i in range(20)]
    path.write_text("\n".join(["t1,t2,t3,kind", *lines]))
    data = SequenceCsv(path=str(path))
    spec = data.declare()
    assert (spec.length, spec.num_inputs, spec.is_padded, spec.target.names) == (3, 1, True, ("a", "b"))
    assert data.sequences.values[3].flatten().tolist() == [3, 4]
    assert data.sequences.values[4].flatten().tolist() == [4, 5, 6]


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("t1,t2,y\n1,2,a\n1,x,b\n", {}, r"s\.csv, line 3: 'x' in t2 is not a finite number"),
        ("t1,t2,y\n1,2,a\n,2,b\n", {}, r"s\.csv, line 3: t1 is empty, but later steps are not"),
        ("5,2,a\n1,2,a\n1,2,b\n", {}, r"s\.csv: its first line \(5, 2\) does not name the columns.*data\.header=false"),
        ("t1,t2,y\n1,2,a\n,,b\n", {}, r"s\.csv, line 3: t1 is empty, and so are all steps"),
        ("t1,t2,y\n1,2,\n1,2,b\n", {}, r"s\.csv, line 2: y is empty"),
        ("t1,t2,y\n1,2,a\n1,2,a\n", {}, r"data\.target=y has only one class, 'a'.*data\.id"),
        ("t1,t2,y\n1,2,a\n1,2,b\n", {}, r"2 of 2 classes have a single sequence, such as 'a'.*data\.id"),
        ("t1,t2,y\n1,2,a\n", {"target": "z"}, r"no column z \(data\.id, data\.time or data\.target\)"),
        ("t1,t2,y\n1,2,a\n", {"values": ["t9"]}, r"no column t9 \(data\.values\)"),
        ("k,v,y\na,1,p\na,2,q\n", {"id": "k"}, r"s\.csv, line 3: k=a has the label 'q', but 'p' in an earlier row"),
        ("k,v,y\na,1,p\n,2,q\n", {"id": "k"}, r"s\.csv, line 3: k is empty"),
        ("k,v,y\na,1,p\na,,p\n", {"id": "k"}, r"s\.csv, line 3: v is empty"),
        ("k,t,v,y\na,1,1,p\na,1,2,p\n", {"id": "k", "time": "t"}, r"line 3: k=a has a second step with t=1"),
        ("k,t,v,y\na,1,1,p\na,x,2,p\n", {"id": "k", "time": "t"}, r"line 3: 'x' in t is neither a number nor a date"),
        ("t1,y\n1,a\n", {"time": "t"}, r"data\.time=t orders the rows of a sequence: give data\.id"),
    ],
)
def test_what_is_wrong_is_said_with_file_and_line(
    text: str, options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    (tmp_path / "s.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        SequenceCsv(path=str(tmp_path / "s.csv"), **options).declare()


@pytest.mark.parametrize("cls", [Reader, SequenceCNN])
def test_padding_changes_nothing(cls: Callable[..., Any]) -> None:
    net = cls(SequenceSpec(9, 2, Classes(("a", "b")), is_padded=True)).eval()
    x = torch.randn(1, 5, 2)
    longer = torch.cat([x, torch.full((1, 4, 2), torch.nan)], dim=1)
    others = torch.cat([longer, torch.randn(2, 9, 2)])
    torch.testing.assert_close(net(others)[:1], net(x))


@pytest.mark.parametrize("model", ["sequence_cnn", pytest.param("reader", marks=pytest.mark.slow)])
def test_waves_are_told_apart(model: str, train: Callable[..., Outcome], terminal: Terminal, tmp_path: Path) -> None:
    path = waves(tmp_path)
    nets = {"sequence_cnn": ["net.num_filters=[8,8]", "net.kernel_sizes=[5,3]"], "reader": ["net.num_units=16"]}
    words = [f"model={model}", *WORDS, *nets[model], f"data.path={path}", "data.batch_size=8", "optimizer.lr=1e-2"]
    done = train(*words, "callbacks=checkpoint", "logger=none", "trainer=cpu", "trainer.max_epochs=15")
    assert done.code == 0, done.err
    (folder,) = tmp_path.glob("outputs/*/*")
    stored = results.read(folder)
    assert stored["metrics"]["test/accuracy"] >= 0.9
    ckpt = folder / "checkpoints/best.ckpt"
    unlabelled = tmp_path / "new.csv"
    lines = path.read_text().splitlines()
    unlabelled.write_text("\n".join(line.rpartition(",")[0] for line in lines))
    answer = terminal(predict.main, f"ckpt={ckpt}", f"input={unlabelled}", "format=json")
    assert answer.code == 0, answer.err
    told = json.loads(answer.out)
    classes = [record["predictions"][0]["class"] for record in told]
    assert [record["input"] for record in told][:2] == ["w0", "w1"]
    assert sum(c == ("sine", "saw")[i % 2] for i, c in enumerate(classes)) >= 50
    trained = dlzoo.load(folder)
    by_trial = pd.read_csv(path).sort_values("step").groupby("trial")
    frames = [by_trial.get_group(f"w{i}")[["height", "noise"]] for i in range(60)]
    for given in (path, pd.read_csv(path), [frame.to_numpy() for frame in frames]):
        assert [*trained.predict(given)["class"]] == classes, "whatever form the sequences have"
    with pytest.raises(dlzoo.UserError, match=r"shape \(9, 3\) does not fit: the model takes sequences of at most"):
        trained.predict(np.zeros((9, 3)))
    again = terminal(evaluate.main, f"ckpt={ckpt}", "json=true")
    assert json.loads(again.out)["metrics"]["test/accuracy"] == stored["metrics"]["test/accuracy"]


def test_a_file_to_predict_does_not_lose_its_first_row(tmp_path: Path) -> None:
    spec, cfg = SequenceSpec(3, 1, Classes(("a", "b"))), OmegaConf.create({"data": {"path": "s.csv"}})

    def lengths(text: str, **style: Any) -> list[int]:
        (tmp_path / "s.csv").write_text(text)
        frame = read_table(tmp_path / "s.csv", **style)
        return [len(x) for _, x in sequence_batches(frame, "s.csv", spec, cfg, style)]  # type: ignore[arg-type]

    rows = "5,2,7\n1,2,3\n"
    with pytest.raises(UserError, match=r"s\.csv: its first line \(5, 2, 7\) does not name .* set header=false"):
        lengths(rows)
    assert lengths(rows, header=False) == [2]
    assert lengths("0,1,2\n" + rows) == lengths("t0,t1,t2,y\n5,2,7,a\n1,2,3,b\n") == [2]


def test_spellings_of_a_number_are_one_class(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("t1,t2,y\n" + "1,2,10\n3,4,9.0\n5,6,9\n7,8,10\n" * 3)
    data = SequenceCsv(path=str(tmp_path / "s.csv"))
    assert data.classes.names == ("9", "10")
    assert data.load("train").y.bincount().tolist() == [5, 5]
    other = SequenceCsv(path=str(tmp_path / "s.csv"))
    other.adopt(SequenceSpec(2, 1, Classes(("10", "8"))))
    with pytest.raises(UserError, match=r"sequence 2 has the label '9\.0', but the model's classes are 10, 8"):
        other.declare()


def test_batch_norm_learns_from_real_steps_alone() -> None:
    spec = SequenceSpec(9, 2, Classes(("a", "b")), is_padded=True)
    x = torch.randn(3, 9, 2)
    x[0, 4:] = torch.nan
    padded, alone = SequenceCNN(spec, num_filters=[4], kernel_sizes=[1]), torch.cat([x[0, :4], x[1], x[2]])
    padded(x)
    outputs = padded.convs[0](alone.T[None])[0]
    torch.testing.assert_close(padded.norms[0].running_mean, 0.1 * outputs.mean(1))
    torch.testing.assert_close(padded.norms[0].running_var, 0.9 + 0.1 * outputs.var(1))


def test_dates_of_several_time_zones_are_in_order(tmp_path: Path) -> None:
    path, times = tmp_path / "a.csv", ["2020-01-01T12:00:00+00:00", "2020-01-01T12:00:00+02:00", "2020-01-01T11:00:00"]
    path.write_text("id,t,v,label\n" + "".join(f"{i},{t},{k},{i % 2}\n" for i in range(4) for k, t in enumerate(times)))
    found = read_sequences(path, target="label", key="id", time="t")
    assert [values[:, 0].tolist() for values in found.values] == [[1.0, 2.0, 0.0]] * 4


def test_a_sequence_that_is_far_longer_than_the_others_takes_no_memory(tmp_path: Path) -> None:
    """60,000 sequences of a step, and one of as many, are a megabyte, and filled up 14 GB."""
    path = tmp_path / "a.csv"
    path.write_text("id,v\n" + "0,1\n" * 20_000 + "".join(f"{i},1\n" for i in range(20_000)))
    with pytest.raises(UserError, match=r"a\.csv: 20,000 sequences, .* 20,001 steps, are 400,020,000 values"):
        read_sequences(path, target=None, key="id")
