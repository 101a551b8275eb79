"""Predictions over the plane of two features: at the right places, in the right colours."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from figure_texts import check_layout, words
from matplotlib.colors import to_rgb
from torch import Tensor

from dlzoo.visualization import layout, regions

POINTS = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 4.0], [10.0, 4.0]])
NAMES = ("left", "right")


def right_of_seven(x: Tensor) -> Tensor:
    right = torch.sigmoid(x[:, 0] - 7)
    return torch.stack([1 - right, right], 1)


def test_the_grid_covers_the_points() -> None:
    plane = regions.Plane.around(POINTS)
    assert plane.extent == pytest.approx((-0.8, 10.8, -0.32, 4.32))
    sums = plane.predictions(lambda x: 100 * x[:, :1] + x[:, 1:])
    assert sums.shape == (regions.SIDE, regions.SIDE, 1)
    assert sums[-1, 0, 0] == pytest.approx(-80 + 4.32)  # the first feature across, the second upwards


def test_a_constant_feature_has_a_plane() -> None:
    plane = regions.Plane.around(torch.tensor([[1.0, 3.0], [2.0, 3.0]]))
    assert plane.extent[2:] == (2.5, 3.5)


def test_regions_of_classes() -> None:
    plane = regions.Plane.around(POINTS)
    labels = torch.tensor([0, 1, 1, 1])
    figure = regions.class_regions(
        plane, plane.predictions(right_of_seven), POINTS, features=("width", "height"), names=NAMES, labels=labels,
        wrong=right_of_seven(POINTS).argmax(1) != labels,
    )  # fmt: skip
    (ax,) = figure.axes
    colours = [to_rgb(colour) for colour in layout.class_colours(2)]
    (image,) = ax.get_images()
    shown = np.asarray(image.get_array())
    for column, k in ((0, 0), (-1, 1)):  # the hue of the class, paler
        tint = 1 - shown[0, column]
        assert np.allclose(tint / tint.max(), (1 - np.array(colours[k])) / (1 - np.array(colours[k])).max(), atol=1e-6)
    certain, unsure = 1 - shown[0, -1], 1 - shown[0, np.argmin(np.abs(plane.across.numpy() - 7))]
    assert certain.max() > 2 * unsure.max()
    boundaries = [path.vertices for each in ax.collections for path in each.get_paths() if len(path.vertices) > 50]
    assert any(np.allclose(vertices[:, 0], 7, atol=0.1) for vertices in boundaries)
    drawn = {tuple(map(float, at)): edge for each in ax.collections for at, edge in zip(
        each.get_offsets().tolist(), each.get_edgecolors().tolist(), strict=False
    )}  # fmt: skip
    assert np.allclose(drawn[0.0, 4.0][:3], to_rgb(layout.WRONG))
    assert np.allclose(drawn[10.0, 4.0][:3], 1)
    assert {"width", "height", "left", "right", "mistakes: 1"} <= set(words(figure))
    check_layout(figure)


@pytest.mark.parametrize("probabilities", [torch.nan, 0.5])
def test_a_net_that_says_nothing_is_drawn(probabilities: float) -> None:
    plane = regions.Plane.around(POINTS[:1])
    answer = torch.full((regions.SIDE, regions.SIDE, 2), probabilities)
    for labels in (None, torch.zeros(1, dtype=torch.long)):
        figure = regions.class_regions(plane, answer, POINTS[:1], features=("a", "b"), names=NAMES, labels=labels)
        assert {*NAMES} <= set(words(figure))


def test_surfaces_of_values_and_their_points_share_a_scale() -> None:
    plane = regions.Plane.around(POINTS)
    surface = plane.predictions(lambda x: torch.stack([x[:, 0], torch.full_like(x[:, 0], torch.nan)], 1))
    truth = torch.tensor([[0.0, 1.0], [20.0, 1.0], [0.0, 1.0], [10.0, 1.0]])
    figure = regions.value_surfaces(plane, surface, POINTS, truth, features=("a", "b"), names=("price", "rooms"))
    first, second = figure.axes[:2]
    (image,), (points,) = first.get_images(), first.collections
    assert image.get_clim() == points.get_clim() == pytest.approx((-0.8, 20))
    assert points.get_array().tolist() == [0, 20, 0, 10]
    assert np.ma.masked_invalid(second.get_images()[0].get_array()).count() == 0
    check_layout(figure)
