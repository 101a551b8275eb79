"""What a run says while it trains, and that watching costs a step nothing."""

import io
import re
import sys

from tiny_runs import Tiny, make

from dlzoo.callbacks.classification_report import ClassificationReport
from dlzoo.callbacks.csv_history import History
from dlzoo.callbacks.graph import ModelGraph
from dlzoo.callbacks.prediction_grid import PredictionGrid
from dlzoo.callbacks.progress import Progress
from dlzoo.callbacks.regression_report import RegressionReport
from dlzoo.callbacks.weight_histograms import WeightHistograms

LINE = r"  {}/3( +\d\.\d+){{2}} +\d+\.\d"


def test_progress_off_a_terminal_is_a_header_and_one_line_an_epoch(tmp_path, capsys):
    trainer, task, data = make(tmp_path, Progress(refresh_seconds=0), epochs=3, num_sanity_val_steps=2)
    trainer.fit(task, data)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    assert (lines[0].split(), lines[1].split()) == (["train", "val"], ["epoch", "loss", "loss", "seconds"])
    for number, line in enumerate(lines[2:], 1):
        assert re.fullmatch(LINE.format(number), line)
    trainer.test(task, data, verbose=False)
    assert capsys.readouterr().out == ""


def test_progress_reads_the_loss_only_when_it_draws(tmp_path, monkeypatch):
    """On a terminal: bars within the epochs, the same lasting lines; at a slow refresh, no bar at all."""
    for refresh, drawn in ((0.0, True), (1000.0, False)):
        reads = []
        monkeypatch.setattr(Tiny, "running_loss", property(lambda task, reads=reads: reads.append(1) or 0.5))
        text = on_a_terminal(tmp_path, refresh, monkeypatch)
        assert len(re.findall(r"  \d/3    0\.5000 ", text)) == 3
        assert (
            ("epoch 2/3:" in text) == ("loss 0.5000]" in text) == ("validation:" in text) == ("test:" in text) == drawn
        )
        assert (len(reads) > 3) == drawn  # the task itself reads it three times, to log it


class Terminal(io.StringIO):
    def isatty(self):
        return True


def on_a_terminal(folder, refresh, monkeypatch):
    """What fit and test write to a terminal."""
    terminal = Terminal()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", terminal)
        trainer, task, data = make(folder, Progress(refresh_seconds=refresh), epochs=3)
        trainer.fit(task, data)
        trainer.test(task, data, verbose=False)
    return terminal.getvalue()


def test_a_step_calls_only_what_has_something_to_do():
    kinds = [Progress, History, ClassificationReport, RegressionReport, PredictionGrid, WeightHistograms, ModelGraph]
    hooks = ["on_before_zero_grad", "on_before_backward", "on_after_backward", "on_before_optimizer_step"]
    hooks += ["on_train_batch_start", "on_train_batch_end"]
    called = {(kind, hook) for kind in kinds for hook in hooks if callable(getattr(kind(), hook))}
    assert called == {(Progress, "on_train_batch_end"), (WeightHistograms, "on_train_batch_end")}
