"""Figures of tables with many columns or targets: an image may have at most 65,535 pixels a side."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
import torch

from dlzoo.visualization import plots, regions, unsupervised
from dlzoo.visualization.figures import render

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MANY = 1200
NAMES = [f"c{i}" for i in range(MANY)]


def features() -> Figure:
    return unsupervised.weights_of_features(torch.randn(2, MANY), ["a", "b"], NAMES, title="components")


def values() -> Figure:
    return plots.predicted_against_true(torch.randn(9, MANY), torch.randn(9, MANY), NAMES)


def surfaces() -> Figure:
    plane = regions.Plane.around(torch.rand(9, 2), 4)
    shown, truth = torch.rand(4, 4, MANY), torch.rand(9, MANY)
    return regions.value_surfaces(plane, shown, torch.rand(9, 2), truth, features=["x", "y"], names=NAMES)


@pytest.mark.parametrize(
    ("draw", "said"), [(features, "100 of 1,200"), (values, "first 30 of 1,200"), (surfaces, "first 30 of 1,200")]
)
def test_only_some_are_drawn(draw: Callable[[], Figure], said: str) -> None:
    figure = draw()
    assert max(figure.get_size_inches() * figure.dpi) < 2**16
    texts = [text.get_text() for text in figure.texts] + [ax.get_title(loc="left") for ax in figure.axes]
    assert any(said in text for text in texts), texts[:3]
    render(figure, io.BytesIO(), "png")
