"""WaveNet sees its receptive field, and nothing of the future; generation with kept states is the same, and faster."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from dlzoo.errors import UserError
from dlzoo.inference.sound import Options, sample_levels
from dlzoo.layers import mu_law
from dlzoo.nets.audio_lstm import AudioLSTM
from dlzoo.nets.base import SampleNet
from dlzoo.nets.wavenet import WaveNet
from dlzoo.specs import AudioSpec, Classes, Unlabelled

SPEC = AudioSpec(8000, 60, Classes(("low", "high")))


def make(cls: type[SampleNet] = WaveNet, spec: AudioSpec = SPEC, **options: Any) -> Any:
    torch.manual_seed(0)
    small = {"num_units": 8, "num_skip": 8, "num_layers": 3, "num_blocks": 2} if cls is WaveNet else {"num_units": 8}
    net = cls(spec, **small | options).double().eval()
    for weight in net.parameters():  # with the initial ones, all predictions are much alike
        torch.nn.init.normal_(weight, std=0.3)
    return net


@pytest.mark.parametrize(("kernel", "num_layers", "num_blocks"), [(2, 3, 2), (3, 2, 2), (2, 4, 1)])
def test_the_receptive_field_is_what_gradients_reach(kernel: int, num_layers: int, num_blocks: int) -> None:
    net = make(kernel=kernel, num_layers=num_layers, num_blocks=num_blocks)
    assert net.receptive_field == 1 + num_blocks * (kernel - 1) * (2**num_layers - 1)
    levels, reached = torch.randint(256, (1, 50)), []
    net.embedding.register_forward_hook(lambda _m, _x, out: reached.append(out.requires_grad_()) or out.retain_grad())
    net.read(levels)[0, -1].sum().backward()
    depends = reached[0].grad[0].abs().sum(1) > 0
    assert depends.nonzero().min() == 50 - net.receptive_field
    assert depends[-1]


@pytest.mark.parametrize("cls", [WaveNet, AudioLSTM])
def test_predictions_depend_only_on_samples_before(cls: type[SampleNet]) -> None:
    net, x = make(cls), torch.rand(2, 1, 40, dtype=torch.float64) * 2 - 1
    before = net(x)
    x[:, 0, 20] = -x[:, 0, 20]
    after = net(x)
    torch.testing.assert_close(after[:, :21], before[:, :21], atol=0, rtol=0)
    assert not torch.isclose(after[:, 21], before[:, 21]).all(1).any()


@pytest.mark.parametrize("cls", [WaveNet, AudioLSTM])
@pytest.mark.parametrize("sizes", [[1] * 40, [7, 1, 32], [40]])
def test_reading_in_pieces_equals_reading_at_once(cls: type[SampleNet], sizes: list[int]) -> None:
    net, levels, condition = make(cls), torch.randint(256, (3, 40)), torch.eye(2)[[0, 1, 1]].double()
    whole, state, pieces = net.read(levels, condition), net.start(3, condition), []
    for part in levels.split(sizes, 1):
        logits, state = net.step(part, state)
        pieces.append(logits)
    torch.testing.assert_close(torch.cat(pieces, 1), whole)


def naive(net: WaveNet, options: Options, length: int, condition: Tensor | None) -> Tensor:
    """Each sample by a pass over all those before it, of which the receptive field is enough."""
    draw, levels = torch.Generator().manual_seed(options.seed), torch.full((options.n, 1), mu_law.SILENCE)
    for _ in range(length):
        logits = net.read(levels[:, -net.receptive_field :], condition)
        levels = torch.cat([levels, options.draw(logits[:, -1], draw)[:, None]], 1)
    return levels[:, 1:]


@pytest.mark.parametrize("options", [Options(n=3), Options(n=2, temperature=0), Options(n=2, top_k=20, top_p=0.9)])
def test_generation_with_kept_states_equals_the_naive_one(options: Options) -> None:
    net, condition = make(), torch.eye(2)[torch.arange(options.n) % 2].double()
    with torch.no_grad():
        fast = torch.stack([*sample_levels(net, options, 60, condition)], 1)
        assert torch.equal(fast, naive(net, options, 60, condition))
    assert len(fast.unique()) > 2


def test_the_class_changes_what_is_predicted() -> None:
    net, levels = make(), torch.randint(256, (1, 10))
    low, high = (net.read(levels, row[None]) for row in torch.eye(2).double())
    assert not torch.isclose(low, high).all(-1).any()


def test_without_classes_there_is_no_condition() -> None:
    for net in (make(conditional=False), make(spec=AudioSpec(8000, 60, Unlabelled()))):
        assert net.num_conditions == 0
        assert not any("condition" in name for name, _ in net.named_parameters())
        assert net.read(torch.randint(256, (2, 5))).shape == (2, 5, 256)


@pytest.mark.parametrize("cls", [WaveNet, AudioLSTM])
def test_every_parameter_gets_a_gradient(cls: type[SampleNet]) -> None:
    net = make(cls)
    net.read(torch.arange(256).repeat(2, 1), torch.eye(2).double())[..., :7].square().sum().backward()
    assert all((p.grad != 0).any() for p in net.parameters())


def test_a_receptive_field_is_what_can_be_held() -> None:
    """The inputs of each layer as far back are held, and copied for each sample: few weights could take gigabytes."""
    assert make(num_layers=16, num_blocks=3).receptive_field == 1 + 3 * 65_535
    with pytest.raises(UserError, match=r"net\.kernel=64 are a receptive field of 4,128,706 samples.*at most 262,144"):
        make(num_layers=16, num_blocks=1, kernel=64)
