"""Figures of probabilities: areas and curves by hand, and odd test splits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from figure_texts import check_layout, words
from sklearn import metrics

from dlzoo.metrics.calibration import reliability
from dlzoo.visualization import classifiers


def curves(ax):
    return {line.get_label(): line.get_xydata() for line in ax.get_lines()}


def test_the_curve_of_a_class_by_hand() -> None:
    """Scores 0.9, 0.8, 0.7, 0.1 of rows that are 1, 0, 1, 0: three of the four pairs are in order."""
    scores, true = torch.tensor([[0.9], [0.8], [0.7], [0.1]]), torch.tensor([[1], [0], [1], [0]])
    (found,) = classifiers.detections(scores, true, ["cat"])
    assert found.area == pytest.approx(3 / 4)
    assert found.average_precision == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    figure = classifiers.roc_and_precision_recall([found], 4)
    roc, recall = figure.axes
    assert curves(roc)["cat: AUC 0.7500"].tolist() == [[0, 0], [0, 0.5], [0.5, 0.5], [0.5, 1], [1, 1]]
    assert curves(recall)["cat: AP 0.8333"].tolist()[-1] == [0, 1]
    assert "ROC of class cat" in words(figure)
    check_layout(figure)


def test_each_class_against_the_rest() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(200, 20, generator=generator).softmax(1)
    true = torch.eye(20)[torch.arange(200) % 19]  # no row is of the last class
    found = classifiers.detections(scores, true, [f"class number {i}" for i in range(20)])
    assert [each.name for each in found] == [f"class number {i}" for i in range(19)]
    assert found[3].area == pytest.approx(metrics.roc_auc_score(true[:, 3], scores[:, 3]))
    figure = classifiers.roc_and_precision_recall(found, 200)
    check_layout(figure)
    assert len({line.get_color() for line in figure.axes[0].get_lines()}) == 20  # and the diagonal


@pytest.mark.parametrize("scores", [torch.full((4, 2), torch.nan), torch.zeros(0, 2), torch.full((4, 2), 0.5)])
def test_rows_that_say_nothing(scores: torch.Tensor) -> None:
    """NaN, no row, one class only."""
    true = torch.tensor([[1, 0]]).expand(len(scores), 2)
    assert classifiers.detections(scores, true, ["a", "b"]) == []


def test_calibration_shows_accuracy_by_confidence() -> None:
    bins = reliability(torch.tensor([0.55, 0.58, 0.95, 0.97]), torch.tensor([True, False, True, True]))
    figure = classifiers.calibration(bins)
    diagram, histogram = figure.axes
    bars = {round(bar.get_x(), 3): bar.get_height() for bar in diagram.patches}
    assert bars == {0.5: 0.5, 0.9: 1.0}  # an empty bin has no accuracy
    assert np.allclose(curves(diagram)["at the mean confidence"], [[0.565, 0.5], [0.96, 1.0]])
    assert [bar.get_height() for bar in histogram.patches][-1] == 0.5
    assert any("expected calibration error 5.25% of 4 test rows" in text for text in words(figure))
    check_layout(figure)
