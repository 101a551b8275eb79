"""Receptive fields by layer options, against the pixels that outputs depend on."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dlzoo.inference.receptive_field import Place, Places, put_in_place, spread, window

STACKS = {
    "lenet": [nn.Conv2d(1, 1, 5, padding=2), nn.AvgPool2d(2), nn.Conv2d(1, 1, 5), nn.AvgPool2d(2)],
    "strides": [nn.Conv2d(1, 1, 7, 2, padding=3), nn.AvgPool2d(3, 2, 1), nn.Conv2d(1, 1, 3, 2, padding=1)],
    "dilated": [nn.Conv2d(1, 1, 3, dilation=2), nn.Conv2d(1, 1, 3, padding="same"), nn.Conv2d(1, 1, 4, 3)],
    "even, lopsided": [nn.Conv2d(1, 1, (4, 1), (2, 1), padding=(0, 2)), nn.Conv2d(1, 1, 2)],
}


@pytest.mark.parametrize("name", STACKS)
def test_cells_are_centred_on_their_receptive_fields(name):
    net = nn.Sequential(*STACKS[name])
    for layer in net:
        if isinstance(layer, nn.Conv2d):
            nn.init.ones_(layer.weight)
    x = torch.rand(1, 1, 60, 50, requires_grad=True)
    places, out = Places(x.shape[2:]), x
    for layer in net:
        before, out = out, layer(out)
        places.note(layer, before, out)
    rows, columns = out.shape[2] // 2, out.shape[3] // 2  # far from the border, which would cut off pixels
    for i, j in ((rows, columns), (rows - 1, columns + 1)):
        (seen,) = torch.autograd.grad(out[0, 0, i, j], x, retain_graph=True)
        for axis, cell, place in zip((1, 0), (i, j), places.of(*out.shape[2:]), strict=True):
            pixels = seen[0, 0].sum(axis).nonzero().float()
            assert place.start + cell * place.step == pytest.approx(pixels.mean().item())


def test_a_layer_with_internal_padding_is_assumed_to_cover_the_image():
    """timm's convolutions with TensorFlow's padding have padding 0 and give ceil(n / stride)."""
    x, places = torch.rand(1, 1, 32, 32), Places(torch.Size((32, 32)))
    assert window(nn.Conv2d(1, 1, 3, 2), 0, 32, 16) is None
    places.note(nn.Conv2d(1, 1, 3, 2), x, torch.rand(1, 4, 16, 16))
    assert places.of(16, 16) == (spread(16, 32),) * 2 == (Place(0.5, 2.0),) * 2
    assert window(nn.MaxPool2d(2, ceil_mode=True), 0, 5, 3) == (0.5, 2)
    assert window(nn.ReLU(), 0, 32, 32) is None


def test_resizing_inside_the_net_keeps_positions():
    places = Places(torch.Size((32, 16)))
    places.note(nn.Conv2d(3, 8, 3, 2, padding=1), torch.rand(1, 3, 224, 224), torch.rand(1, 8, 112, 112))
    rows, columns = places.of(112, 112)
    assert (rows.step, columns.step) == pytest.approx((2 / 7, 1 / 7))
    assert rows.start == pytest.approx((1 / 7 - 1) / 2)  # the first cell looks at the first of the enlarged pixels


def test_evenly_spaced_cells_match_image_resizing():
    maps = torch.rand(2, 3, 7, 5)
    out = put_in_place(maps, (spread(7, 30), spread(5, 24)), torch.Size((30, 24)))
    torch.testing.assert_close(out, F.interpolate(maps, (30, 24), mode="bilinear"))


def test_values_are_placed_at_their_cells():
    cells = torch.arange(4.0)
    rows, columns = Place(6.0, 4.0), Place(3.0, 2.0)
    maps = ((6 + 4 * cells)[:, None] + 100 * (3 + 2 * cells)).expand(1, 1, 4, 4)  # each holds its own pixel
    out = put_in_place(maps, (rows, columns), torch.Size((24, 16)))[0, 0]
    y, x = torch.meshgrid(torch.arange(6.0, 19), torch.arange(3.0, 10), indexing="ij")
    torch.testing.assert_close(out[6:19, 3:10], y + 100 * x)
    assert (out[:3] == 0).all()  # three quarters of a step before the first cell, and farther
    assert (out[:, 12:] == 0).all()
    assert (out[4:21, 2:11] > 0).all()
