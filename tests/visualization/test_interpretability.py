"""Figures that interpret a net: their layout, and the position of heatmaps."""

import pytest
import torch
from figure_texts import check_layout, words
from matplotlib.backends.backend_agg import FigureCanvasAgg

from dlzoo.inference.activations import Layer
from dlzoo.inference.receptive_field import spread
from dlzoo.visualization import interpretability as net_plots
from dlzoo.visualization import layout, plots


def layer(maps, name="conv"):
    return Layer(name, "Conv2d", maps, False, (spread(maps.shape[2], 28), spread(maps.shape[3], 28)))


def pixels(figure):
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return torch.tensor(canvas.buffer_rgba().tolist())[..., :3]


def test_heatmaps_are_drawn_in_place():
    x = torch.rand(2, 1, 10, 20)
    heat = torch.zeros(2, 10, 20)
    heat[0, 7:, 16:] = 5.0
    plain = torch.from_numpy(plots.as_rgb(x)).permute(0, 3, 1, 2) / 255
    changed = ((net_plots.overlaid(x, heat) - plain).abs() > 1e-6).any(1)
    assert not changed[1].any()
    rows, columns = changed[0].nonzero().T
    factor = plain.shape[2] // 10
    assert rows.min() >= 6 * factor  # half a pixel of the picture is between hot and cold
    assert columns.min() >= 15 * factor
    assert changed[0, 7 * factor :, 16 * factor :].all()
    hottest = net_plots.overlaid(x, heat * 100)[0, :, -1, -1]  # each heat has its own scale
    torch.testing.assert_close(hottest, net_plots.overlaid(x, heat)[0, :, -1, -1])


def test_feature_maps_show_those_that_vary_most():
    maps = torch.rand(1, 12, 6, 6) * 0.01
    maps[:, [3, 8]] = torch.rand(1, 2, 6, 6)
    few = torch.rand(1, 2, 14, 14)
    layers = [layer(few, "early"), layer(maps)]
    figure = net_plots.feature_maps(torch.rand(1, 1, 28, 28), layers, max_items=2, title="is 7")
    assert sorted(words(figure)) == [
        "#0", "#1", "#3", "#8", "conv  Conv2d  12 of 6x6", "early  Conv2d  2 of 14x14", "input image", "is 7",
    ]  # fmt: skip
    check_layout(figure)


def test_each_map_goes_from_black_to_white():
    maps = torch.stack([torch.full((7, 7), -3.0), torch.rand(7, 7) * 1e-3, 40 + torch.rand(7, 7)])[None]
    figure = net_plots.feature_maps(torch.zeros(1, 1, 28, 28), [layer(maps)])
    shown = pixels(figure)[-14 - 140 : -14, 14:, 0]
    for i, (low, high) in enumerate([(0, 0), (0, 255), (0, 255)]):
        cell = shown[:, i * 154 : i * 154 + 140]
        assert (cell.min(), cell.max()) == (low, high)


@pytest.mark.parametrize("size", [(1, 28, 28), (3, 64, 48), (3, 224, 224), (1, 8, 8)])
def test_grad_cam_keeps_an_image_and_its_heatmaps_in_a_row(size):
    titles = [["is 7", "7\t99%", "a class with a long name\t1%", "1\t0%", "2\t0%", "3\t0%"]] * 3
    figure = net_plots.grad_cam(
        torch.rand(3, *size), torch.rand(3, 5, *size[1:]), titles, [[False, True, *[False] * 4]] * 3,
        heading="evidence", row_headings=["a.png", "b.png", "a very long name " * 20],
    )  # fmt: skip
    check_layout(figure)
    at = {t.get_text(): t.get_position() for t in figure.texts}
    assert [text.get_color() for text in figure.texts if text.get_text() == "7  99%"] == [layout.WRONG] * 3
    assert len({round(y, 6) for text, (_, y) in at.items() if text.startswith(("is 7", "3  0%"))}) == 1


@pytest.mark.parametrize(("right", "start"), [((100, 100), 0.95), ((100, 97), 0.95), ((93, 88), 0.85), ((50, 0), 0.0)])
def test_the_axis_of_class_accuracies(right, start):
    """It starts at a round number, and what is drawn is the distance from the accuracy of all."""
    counts = torch.tensor([[right[0], 100 - right[0]], [100 - right[1], right[1]]])
    figure = net_plots.class_accuracies(counts, ["cat", "dog"])
    (ax,) = figure.axes
    check_layout(figure)
    assert ax.get_xlim() == (start, 1.0)
    assert ax.get_xlabel() == "accuracy of the class; dashed: of all images"
    stems = [line.get_xdata().tolist() for line in ax.get_lines() if len(set(line.get_ydata())) == 1][::2]
    assert stems == [pytest.approx([sum(right) / 200, share / 100]) for share in sorted(right, reverse=True)]
    labels = [text for text in words(figure) if text.endswith("%")]
    assert len(labels) == len(set(labels))  # as "100%, 100%, 100%" once was


@pytest.mark.parametrize("size", [28, 224])
def test_mistakes_are_in_groups_of_three(size):
    titles = [("4\t100%\nis 6", "for 4", "for 6")] * 7
    figure = net_plots.mistakes(torch.rand(7, 1, size, size), torch.rand(7, 2, size, size), titles, heading="seven")
    check_layout(figure)
    columns = sorted({round(t.get_position()[0], 4) for t in figure.texts if t.get_text() == "for 4"})
    assert len(columns) == (3 if size == 28 else 2)
    first = min(round(t.get_position()[0], 4) for t in figure.texts if t.get_text() == "for 6")
    assert columns[0] < first < columns[1]


def test_class_accuracies_are_sorted_and_name_confusions():
    counts = torch.tensor([[8, 2, 0, 0], [0, 10, 0, 0], [3, 6, 1, 0], [0, 0, 0, 0]])
    figure = net_plots.class_accuracies(counts, ["ant", "bee", "cat", "dog"])
    (ax,) = figure.axes
    assert [t.get_text() for t in ax.get_yticklabels()] == ["bee", "ant", "cat"]  # dogs were not tested
    assert [t.get_text() for t in ax.texts] == [
        "100.00% of 10", "80.00% of 10; else bee (2)", "10.00% of 10; else bee (6), ant (3)",
    ]  # fmt: skip
    points = [line.get_xydata()[0].tolist() for line in ax.get_lines() if line.get_marker() == "o"]
    assert points == [pytest.approx([share, y]) for y, share in enumerate((1.0, 0.8, 0.1))]
    assert "63.33% of 30 correct" in words(figure)
    check_layout(figure)


def test_of_many_classes_the_best_and_the_worst_are_shown():
    counts = torch.diag(torch.arange(1000)) + torch.ones(1000, 1000, dtype=torch.long)
    names = [f"a class with a long name, number {i}" for i in range(1000)]
    figure = net_plots.class_accuracies(counts, names, max_items=9)
    shown = [t.get_text() for t in figure.axes[0].texts]
    assert len(shown) == 9
    assert shown[4].startswith(f"{996 / 1995:.2%}")
    assert shown[5].startswith(f"{4 / 1003:.2%}")
    assert "991 classes in between" in figure.axes[0].get_title("left")
    check_layout(figure)
