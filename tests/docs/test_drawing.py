"""Drawings of nets: the layers with their shapes, blocks of deep nets, and the SVG made of them."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
import torch
from torch import nn

from dlzoo.nets.base import Net
from dlzoo.nets.dcgan import DCGAN
from dlzoo.nets.kmeans import KMeans
from dlzoo.nets.lenet import LeNet
from scripts.docs import drawing
from scripts.docs.doctests import fenced
from scripts.docs.layer_table import MAX_ROWS, observe
from scripts.docs.mathml import mathml, with_mathml
from scripts.docs.specs import named_specs

SPECS = named_specs()


def test_the_layers_of_lenet_have_their_shapes() -> None:
    start, layers = observe(LeNet(SPECS["mnist"]), SPECS["mnist"])  # type: ignore[arg-type]
    assert start == (1, 28, 28)
    assert [layer.shape for layer in layers if layer.kind == "Conv2d"] == [(6, 28, 28), (16, 10, 10)]
    assert sum(layer.num_parameters for layer in layers) == 61_706


def test_both_nets_of_an_adversarial_pair_are_drawn() -> None:
    start, layers = observe(DCGAN(SPECS["mnist"]), SPECS["mnist"])  # type: ignore[arg-type]
    assert start == (100,)
    assert [layer.path.split(".")[0] for layer in layers][:: len(layers) - 1] == ["generator", "discriminator"]


def test_a_net_without_layers_is_one_row() -> None:
    _, (layer,) = observe(KMeans(SPECS["iris"]), SPECS["iris"])  # type: ignore[arg-type]
    assert (layer.kind, layer.num_parameters) == ("KMeans", 120)


class Tower(nn.Module):
    """Two branches side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.branches = nn.ModuleList([nn.Conv2d(4, 2, 1), nn.Conv2d(4, 2, 3, padding=1)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


class Deep(Net):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3)
        self.towers = nn.Sequential(*(Tower() for _ in range(MAX_ROWS)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.towers(self.stem(x))


def test_equal_blocks_of_a_deep_net_are_one_row_with_the_shape_of_the_block() -> None:
    _, layers = observe(Deep(), SPECS["mnist"])
    assert [(layer.kind, layer.shape) for layer in layers] == [("Conv2d", (4, 26, 26)), ("Tower", (4, 26, 26))]
    assert layers[1].about.endswith(f"× {MAX_ROWS}")


def test_a_drawing_is_xml_that_names_layers_and_shapes() -> None:
    start, layers = observe(LeNet(SPECS["mnist"]), SPECS["mnist"])  # type: ignore[arg-type]
    for svg in (found := drawing.drawing(start, layers, "LeNet <5>"), drawing.standing_alone(found)):
        texts = [text.text for text in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]
        assert "Conv2d 5×5, 1 → 6" in texts
        assert "16 × 10 × 10" in texts
        assert "\n" not in found


@pytest.mark.parametrize("tex", [r"x^\ast", r"\frac{a_1}{b} * c", r"\begin{cases} 1 & a \\ 2 & b \end{cases}"])
def test_an_equation_is_one_line_of_xml_without_markdown(tex: str) -> None:
    found = mathml(tex, display="block")
    ElementTree.fromstring(found)
    assert "\n" not in found
    assert not {"*", "_", "|"} & {*found}


def test_equations_in_code_stay() -> None:
    code = "```bash\necho $HOME $x$\n```\n`$x$`\n"
    assert with_mathml(code) == code
    assert with_mathml("$x$ and $$y$$").count("<math") == 2


def test_doctests_are_fenced_without_their_directives() -> None:
    text = "Adds.\n\n>>> 1 + 1  # doctest: +SKIP\n2\n>>> 3\n3\n\nArgs:\n    x: a number.\n"
    assert fenced(text) == "Adds.\n\n```pycon\n>>> 1 + 1\n2\n>>> 3\n3\n```\n\nArgs:\n    x: a number.\n"
