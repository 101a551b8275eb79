"""Figures: their content, that nothing is cut off or overlaps, and that images are pixel-exact."""

import math
import os
import subprocess
import sys
from pathlib import Path

import matplotlib.figure
import matplotlib.image
import numpy as np
import pytest
import torch
from figure_texts import check_layout, texts, words

from dlzoo.visualization import curves, layout, plots
from dlzoo.visualization.image_grid import write_gif, write_png

ROWS = [
    {"epoch": e, "lr": 0.1 / e, "train/loss": 1 / e, "val/loss": 1 + (e - 4) ** 2, "val/accuracy": 1 - 0.5 / e}
    for e in range(1, 8)
]


def lines(axes):
    return {line.get_label(): line.get_xydata() for line in axes.get_lines()}


def test_learning_curves_show_every_split_and_the_best_epoch():
    figure = curves.learning_curves(ROWS)
    loss, accuracy, rate = figure.axes
    assert [ax.get_title("left") for ax in figure.axes] == ["loss", "accuracy", "learning rate"]
    assert lines(loss)["train"].tolist() == [[e, 1 / e] for e in range(1, 8)]
    assert lines(loss)["val"][:, 1].tolist() == [row["val/loss"] for row in ROWS]
    assert lines(loss)["epoch 4: 1 (best)"].tolist() == [[4, 1]]
    assert lines(accuracy)["epoch 4: 87.50%"].tolist() == [[4, 0.875]]
    assert np.allclose(lines(rate)["_child0"][:, 1], [0.1 / e for e in range(1, 8)])
    check_layout(figure)


def test_the_best_epoch_follows_the_monitor():
    assert curves.best_epoch(ROWS, "val/loss", "min") == 4
    assert curves.best_epoch(ROWS, "val/loss", "max") == 1
    assert curves.best_epoch(ROWS, "val/f1", "max") is None
    assert "epoch 7: 92.86% (best)" in lines(curves.learning_curves(ROWS, ("val/accuracy", "max")).axes[1])


@pytest.mark.parametrize(
    "rows",
    [
        ROWS[:1],
        [{"epoch": 1, "lr": float("nan"), "train/loss": float("nan")}, {"epoch": 2, "train/loss": math.inf}],
        [{"epoch": 1, "lr": 0.1}],
        [{"epoch": e, "lr": 0.0, "train/loss": 10.0**-e, **{f"val/m{i}": e for i in range(9)}} for e in range(1, 60)],
    ],
    ids=["one epoch", "not finite", "no metric", "many"],
)
def test_learning_curves_of_odd_runs(rows):
    check_layout(curves.learning_curves(rows))


def test_a_metric_that_is_sometimes_missing_keeps_its_epochs():
    rows = [{"epoch": 1, "val/loss": 3.0}, {"epoch": 2, "val/loss": ""}, {"epoch": 3}, {"epoch": 4, "val/loss": 1.0}]
    assert curves.curve(rows, "val/loss") == ([1.0, 4.0], [3.0, 1.0])


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("titles", [False, True])
def test_image_grid_keeps_every_pixel(tmp_path, channels, titles):
    x = torch.rand(5, channels, 7, 10)
    plots.save(plots.image_grid(x, ["a"] * 5 if titles else (), num_columns=3), tmp_path / "grid.png")
    seen = (matplotlib.image.imread(tmp_path / "grid.png")[..., :3] * 255).round().astype(int)
    wanted = (x if channels != 2 else x.mean(1, keepdim=True)).mul(255).round().int().expand(-1, 3, -1, -1)
    block, gap, line = 14, 14, 20 if titles else 0  # 10 pixels wide: enlarged 14 times
    for i in range(5):
        row, column = divmod(i, 3)
        top, left = gap + line + row * (7 * block + gap + line), gap + column * (10 * block + gap)
        cell = seen[top : top + 7 * block, left : left + 10 * block]
        small = cell.reshape(7, block, 10, block, 3)
        assert (small == small[:, :1, :, :1]).all()
        assert np.array_equal(small[:, 0, :, 0].transpose(2, 0, 1), wanted[i].numpy())


@pytest.mark.parametrize("num", [1, 3])
def test_the_heading_of_few_images_is_not_cut(num, tmp_path):
    heading = "3 random test images, balanced by class; then the only mistake"
    figure = plots.image_grid(torch.rand(num, 1, 8, 8), ["a"] * num, heading=heading, row_headings=["test image 1,234"])
    assert heading in words(figure)
    check_layout(figure)
    assert figure.get_figwidth() * figure.dpi <= 1600
    plots.save(figure, tmp_path / "a.png")


def test_image_grid_takes_uint8_and_shrinks_large_images():
    row = plots.as_rgb(torch.tensor([[[[0, 128, 255]]]], dtype=torch.uint8))[0, 0, :, 0]
    assert row.tolist() == [0] * 47 + [128] * 47 + [255] * 47
    assert plots.as_rgb(torch.full((1, 3, 600, 300), 0.5)).shape == (1, 256, 128, 3)
    assert (plots.as_rgb(torch.tensor([float("nan"), -3.0, 7.0]).view(1, 3, 1, 1))[0, 0, 0] == [0, 0, 255]).all()


def test_predictions_mark_mistakes(tmp_path):
    names = ["cat", "dog", "a name that is far too long for a title"]
    logits = torch.tensor([[0.8, 0.1, 0.1], [0.25, 0.7, 0.05], [0.1, 0.0, 0.9]]).log()
    figure = plots.predictions(torch.rand(3, 1, 28, 28), torch.tensor([0, 0, 1]), logits, names, heading="first")
    found = {t.get_text(): t.get_color() for t in texts(figure)}
    assert found["cat  80%"] == layout.RIGHT
    assert found["dog  70%"] == found["is cat"] == found["is dog"] == layout.WRONG
    assert any(text.startswith("a name") and text.endswith("…  90%") for text in found)
    assert "first" in found
    assert "is a name" not in found
    check_layout(figure)
    plots.save(figure, tmp_path / "predictions.png")
    seen = (matplotlib.image.imread(tmp_path / "predictions.png")[..., :3] * 255).round().astype(int)
    red = (seen == layout.rgb(layout.WRONG)).all(-1).any(0)
    frames = np.flatnonzero(np.diff(red.astype(int)) == 1)
    assert len(frames) >= 2
    assert frames[0] > 140


def test_predictions_take_probabilities_as_targets():
    soft = torch.tensor([[0.1, 0.9], [0.6, 0.4]])
    figure = plots.predictions(torch.rand(2, 3, 8, 8), soft, torch.tensor([[0.0, 5.0], [0.0, 5.0]]), ["a", "b"])
    assert words(figure).count("b  99%") == 2
    assert "is a" in words(figure)
    assert "is b" not in words(figure)


def confused(num):
    generator = torch.Generator().manual_seed(0)
    true = torch.randint(num, (100 * num,), generator=generator)
    noise = torch.randint(num, true.shape, generator=generator)
    guess = torch.where(torch.rand(true.shape, generator=generator) < 0.9, true, noise)
    return torch.bincount(true * num + guess, minlength=num * num).view(num, num)


@pytest.mark.parametrize(("num", "times"), [(1, 1), (2, 1), (10, 1000), (20, 100), (100, 1), (250, 1)])
def test_confusion_matrix_is_readable(num, times):
    counts = times * confused(num)
    figure = plots.confusion_matrix(counts, [f"class name {i}" for i in range(num)])
    check_layout(figure)
    written = [text for text in words(figure) if text.isdigit() and text != "0"]
    assert sorted(map(int, written)) == (sorted(counts[counts > 0].tolist()) if num <= 20 else [])
    assert max(figure.get_size_inches()) < 16


def test_confusion_matrix_colours_are_fractions_of_the_true_class():
    counts = torch.tensor([[8, 2, 0], [0, 0, 0], [5, 0, 15]])
    figure = plots.confusion_matrix(counts, ["a", "b", "c"])
    shares = figure.axes[0].get_images()[0].get_array()
    assert np.allclose(shares, [[0.8, 0.2, 0], [0, 0, 0], [0.25, 0, 0.75]])
    assert "76.67% of 30 correct" in words(figure)


def test_predicted_against_true_states_the_errors():
    true = torch.tensor([[0.0, 10.0], [2.0, 20.0], [4.0, 30.0]])
    figure = plots.predicted_against_true(true + torch.tensor([1.0, 0.0]), true, ["price", "room_count"], ["$", ""])
    found = words(figure)
    assert "RMSE 1   MAE 1   R² 0.6250" in found
    assert "RMSE 0   MAE 0   R² 1.0000" in found
    assert {"true ($)", "predicted ($)", "room count", "true", "predicted"} <= set(found)
    check_layout(figure)


@pytest.mark.parametrize("num", [500, 5000])
def test_an_outlier_does_not_hide_the_rest(num):
    true = torch.linspace(0, 1, num)[:, None]
    pred = true.clone()
    pred[0] = 1e6
    figure = plots.predicted_against_true(pred, true, ["value"])
    assert figure.axes[0].get_xlim()[1] < 1.2
    assert any("of" in text and text.endswith("not shown") for text in words(figure))
    tame = plots.predicted_against_true(true, true, ["value"])
    assert not any("not shown" in text for text in words(tame))


def test_predicted_against_true_of_constants_and_infinities():
    plots.predicted_against_true(torch.tensor([1.0, float("inf")]), torch.ones(2), ["value"])


@pytest.mark.parametrize("shape", [(4, 1, 5, 5), (80, 3, 7, 7), (6, 16, 3, 3)])
def test_filters_centre_zero_at_grey(shape):
    weight = torch.randn(shape)
    weight[0] = 0
    seen = plots.filters(weight).images[0].get_array()
    size = 140 // shape[-1] * shape[-1]
    first = seen[14 : 14 + size, 14 : 14 + size]
    assert (first == 128).all()
    assert seen[14 : 14 + size, 28 + size : 28 + 2 * size].max() in range(128, 256)


def test_no_pyplot_state_is_left():
    import matplotlib.pyplot as plt

    assert plt.get_fignums() == []


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_a_figure_is_not_written_through_a_link(tmp_path, suffix):
    """The current folder may be that of a shared run, with a link in it that has the name of a command's output."""
    victim, figure = tmp_path / "victim", tmp_path / f"compare.{suffix}"
    victim.write_text("precious")
    figure.symlink_to(victim)
    plots.save(layout.new_panels(1, width=2, height=2)[0], figure)
    assert victim.read_text() == "precious"
    assert figure.is_file()
    assert not figure.is_symlink()


@pytest.mark.parametrize("write", [write_png, lambda pixels, path: write_gif([pixels, pixels], path)])
def test_pixels_are_not_written_through_a_link(tmp_path, write):
    victim, figure = tmp_path / "victim", tmp_path / "a.png"
    victim.write_text("precious")
    figure.symlink_to(victim)
    write(np.zeros((2, 2, 3), np.uint8), figure)
    assert victim.read_text() == "precious"


def test_a_matplotlibrc_in_the_current_folder_starts_no_latex(tmp_path):
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\n")
    code = (
        "import sys, torch\n"
        "started = []\n"
        "sys.addaudithook(lambda event, args: started.append(args[1]) if event == 'subprocess.Popen' else None)\n"
        "from dlzoo.visualization import plots\n"
        "plots.save(plots.image_grid(torch.zeros(2, 1, 8, 8), ['a', 'b']), 'a.png')\n"
        "print([command for command in started if 'latex' in str(command)])"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(plots.__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.returncode) == ("[]\n", 0), done.stderr


def test_names_are_not_parsed_as_formulas(tmp_path):
    figure = matplotlib.figure.Figure()
    ax = figure.add_subplot()
    ax.set_title("a$x^{$")
    ax.semilogy([1, 1000], label="$\\frac{$")
    ax.set_xticks([0, 1], ["$_{$", "b"])
    ax.legend()
    plots.save(figure, tmp_path / "a.png")
    powers = [label for label in ax.yaxis.get_majorticklabels() if "10^" in label.get_text()]
    assert powers
    assert all(label.get_parse_math() for label in powers)


def test_characters_that_the_font_lacks_are_drawn_without_a_warning(tmp_path, recwarn):
    figure, (ax,) = layout.new_panels(1, width=3, height=3, heading="\x1b[2J")
    layout.style(ax, title="猫", x="a\x07")
    ax.plot([0, 1], label="犬")
    layout.legend_above(ax)
    plots.save(figure, tmp_path / "a.png")
    assert [str(warning.message) for warning in recwarn] == []
