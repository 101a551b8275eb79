"""Several yes/no labels, from training to predictions, evaluation and export."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from small_runs import Terminal, run

from dlzoo.checkpoint.load import load_task
from dlzoo.commands import evaluate, predict
from dlzoo.export.views import view_of as export_view

MAIL = "a,b,spam,urgent\n" + "".join(
    f"{i % 7},{i % 5},{'yes' if i % 7 > 3 else 'no'},{int(i % 5 > 1)}\n" for i in range(70)
)


def test_labels_are_predicted_each_with_its_probability(terminal: Terminal, tmp_path: Path) -> None:
    """From training to the commands: evaluate gives the run's figures, export the probabilities of predict."""
    (tmp_path / "mail.csv").write_text(MAIL)
    words = ["model=mlp", "data=csv", f"data.path={tmp_path}/mail.csv", "data.target=[spam,urgent]"]
    results = run(tmp_path / "run", *words)
    ckpt = results["checkpoints"]["best"]
    assert {"test/loss", "test/accuracy", "test/spam/accuracy", "test/exact_match", "test/f1"} <= {*results["metrics"]}
    rows = (tmp_path / "rows.csv").write_text("b,a\n1,6\n4,0\n") and tmp_path / "rows.csv"
    task = load_task(ckpt)[0]
    expected = task.net(task.standardize(torch.tensor([[6.0, 1.0], [0.0, 4.0]]))).sigmoid()
    found = json.loads(terminal(predict.main, f"ckpt={ckpt}", f"input={rows}", "format=json").out)
    assert [record["input"] for record in found] == [1, 2]
    torch.testing.assert_close(torch.tensor([[*record["labels"].values()] for record in found]), expected)
    shown = terminal(predict.main, f"ckpt={ckpt}", f"input={rows}").out.splitlines()
    assert shown[0].split() == ["input", "spam", "urgent"]
    assert shown[1].split() == ["1", *(f"{p:.2%}" for p in expected[0].tolist())]
    assert terminal(predict.main, f"ckpt={ckpt}", f"input={rows}", "format=csv").out.startswith("input,spam,urgent\n")
    said = terminal.mistake(predict.main, f"ckpt={ckpt}", f"input={rows}", "top_k=2")
    assert "top_k does not apply: this checkpoint predicts labels (spam, urgent), not classes" in said
    again = json.loads(terminal(evaluate.main, f"ckpt={ckpt}", "json=true").out)
    assert again["metrics"]["test/exact_match"] == results["metrics"]["test/exact_match"]
    view = export_view(task)
    torch.testing.assert_close(view(torch.tensor([[6.0, 1.0], [0.0, 4.0]]))[0], expected)
    assert task.spec.metadata()["labels"] == ["spam", "urgent"]
