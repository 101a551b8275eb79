"""Nets that make images: every one of dlzoo/nets that encodes or generates, on images of every size."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from net_classes import GENERATIVE as NETS
from torch import Tensor, nn

from dlzoo.errors import UserError
from dlzoo.nets.autoencoder import Autoencoder
from dlzoo.nets.base import AdversarialPair
from dlzoo.nets.cgan import CGAN
from dlzoo.nets.conv_autoencoder import ConvAutoencoder
from dlzoo.nets.conv_vae import ConvVAE
from dlzoo.nets.cvae import CVAE
from dlzoo.nets.dcgan import DCGAN
from dlzoo.nets.gan import GAN
from dlzoo.nets.vae import VAE
from dlzoo.specs.inputs import ImageSpec
from dlzoo.specs.targets import Classes, Values

TEN = Classes(tuple("0123456789"))
MNIST = ImageSpec(1, 28, 28, TEN)
SPECS = {
    "grey8": ImageSpec(1, 8, 8, TEN),
    "grey28": MNIST,
    "colour32": ImageSpec(3, 32, 32, TEN),
    "colour64": ImageSpec(3, 64, 64, TEN),
    "odd": ImageSpec(2, 13, 22, TEN),
    "tiny": ImageSpec(1, 3, 3, TEN),
}
every_net = pytest.mark.parametrize("cls", NETS)
every_size = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)


def outputs(net: Any, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """All outputs of a net for images x of classes y."""
    condition = [nn.functional.one_hot(y, 10).float()] if net.num_conditions else []
    if isinstance(net, AdversarialPair):
        codes = torch.randn(len(x), net.latent_dim, generator=torch.Generator().manual_seed(1))
        return {"made": net.generate(codes, *condition), "judged": net.discriminate(x, *condition)}
    codes = net.encode(x, *condition)
    parts = dict(zip(("mean", "log_var"), codes, strict=True)) if isinstance(codes, tuple) else {"mean": codes}
    return {**parts, "logits": net.decode(parts["mean"], *condition), "reconstruction": net(x, *condition)}


def test_discovery_finds_the_nets() -> None:
    assert {Autoencoder, ConvAutoencoder, VAE, CVAE, ConvVAE, GAN, CGAN, DCGAN} <= {*NETS}


@every_size
@every_net
def test_output_shapes_and_ranges(cls: Any, spec: ImageSpec) -> None:
    net = cls(spec).eval()
    x, y = spec.example(4)
    results = outputs(net, x, y)
    for name in results.keys() & {"made", "logits", "reconstruction"}:
        assert results[name].shape == x.shape, name
    for name in results.keys() & {"made", "reconstruction"}:
        assert results[name].min() >= 0, name
        assert results[name].max() <= 1, name
    if "judged" in results:
        assert results["judged"].shape == (4,)
    else:
        assert results["mean"].ndim == 2
        assert results.get("log_var", results["mean"]).shape == results["mean"].shape
    first = outputs(net, x[:1], y[:1])  # an image's output does not depend on its neighbours
    for name in results.keys() - {"made"}:
        torch.testing.assert_close(results[name][:1], first[name])


@pytest.mark.parametrize("size", ["grey8", "odd"])
@every_net
def test_every_parameter_gets_a_gradient(cls: Any, size: str) -> None:
    net = cls(SPECS[size]).train()
    sum(
        (output.float() * torch.randn_like(output)).sum() for output in outputs(net, *SPECS[size].example(16)).values()
    ).backward()
    assert not [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]


@every_net
def test_reload_gives_equal_outputs(cls: Any) -> None:
    one, other = cls(SPECS["grey8"]), cls(SPECS["grey8"])
    for p in one.buffers():
        p.add_(1)  # statistics of BatchNorm
    x, y = SPECS["grey8"].example(5)
    before = outputs(one.eval(), x, y)
    assert any(not torch.equal(before[name], t) for name, t in outputs(other.eval(), x, y).items())
    other.load_state_dict(one.state_dict())
    for name, t in outputs(other, x, y).items():
        assert torch.equal(before[name], t), name


@pytest.mark.parametrize("cls", [CVAE, CGAN])
def test_a_conditional_net_depends_on_its_condition(cls: Any) -> None:
    net = cls(SPECS["grey8"]).eval()
    x, y = SPECS["grey8"].example(6)
    same, other = outputs(net, x, y), outputs(net, x, (y + 1) % 10)
    assert not any(torch.equal(same[name], other[name]) for name in same)


@pytest.mark.parametrize("cls", [cls for cls in NETS if cls not in (CVAE, CGAN)])
def test_unconditional_nets_accept_regression_data(cls: Any) -> None:
    spec = ImageSpec(1, 8, 8, Values(("angle",)))
    assert cls(spec)(spec.example(3)[0]).shape[0] == 3


def test_latent_size_of_the_convolutional_autoencoder() -> None:
    net, x = ConvAutoencoder(MNIST), MNIST.example(2)[0]
    assert net.encode(x).shape == (2, 16 * 4 * 4)
    sizes = []
    for layer in net.decoder:
        layer.register_forward_hook(lambda _m, _x, out: sizes.append(out.shape[-1]))
    net(x)
    assert list(dict.fromkeys(sizes)) == [4, 7, 14, 28]
    assert ConvAutoencoder(MNIST, num_pools=2).encode(x).shape == (2, 16 * 7 * 7)
    assert ConvAutoencoder(MNIST, num_pools=0).encode(x).shape == (2, 16 * 28 * 28)


def test_dcgan_keeps_the_rules_of_its_paper() -> None:
    net = DCGAN(SPECS["colour64"], width=64)
    kinds = {type(module) for module in net.modules()}
    assert not kinds & {nn.Linear, nn.MaxPool2d, nn.AvgPool2d, nn.Upsample, nn.AdaptiveAvgPool2d}
    up = [(m.in_channels, m.out_channels) for m in net.generator if isinstance(m, nn.ConvTranspose2d)]
    down = [(m.in_channels, m.out_channels) for m in net.discriminator if isinstance(m, nn.Conv2d)]
    assert up == [(100, 512), (512, 256), (256, 128), (128, 64), (64, 3)]  # the paper's, of half its width
    assert down == [(3, 64), (64, 128), (128, 256), (256, 512), (512, 1)]
    assert [type(m) for m in net.generator[-3:]] == [nn.ReLU, nn.ConvTranspose2d, nn.Tanh]
    assert not any(isinstance(m, nn.BatchNorm2d) for m in net.discriminator[:2])
    assert not any(isinstance(m, nn.BatchNorm2d) for m in DCGAN(MNIST, discriminator_norm="none").discriminator)
    stds = [m.weight.std().item() for m in net.modules() if isinstance(m, nn.ConvTranspose2d)]
    assert stds == pytest.approx([0.02] * len(stds), rel=0.05)


@pytest.mark.parametrize(
    ("cls", "options", "message"),
    [
        (VAE, {"latent_dim": 0}, r"net\.latent_dim=0"),
        (ConvVAE, {"latent_dim": 0}, r"net\.latent_dim=0"),
        (ConvVAE, {"width": 0}, r"net\.width=0"),
        (Autoencoder, {"encoder": []}, r"net\.encoder=\[\]"),
        (Autoencoder, {"decoder": [0]}, r"net\.decoder=\[0\]"),
        (ConvAutoencoder, {"num_filters": []}, r"net\.num_filters=\[\]"),
        (ConvAutoencoder, {"num_pools": 4}, r"net\.num_pools=4"),
        (GAN, {"generator": [0]}, r"net\.generator=\[0\]"),
        (GAN, {"dropout": 1.0}, r"net\.dropout=1\.0"),
        (DCGAN, {"width": 0}, r"net\.width=0"),
    ],
)
def test_wrong_options_are_reported_with_their_key(cls: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        cls(MNIST, **options)


@pytest.mark.parametrize("decoder", [None, [], [7, 9]])
def test_the_layers_of_an_autoencoder(decoder: Any) -> None:
    net = Autoencoder(MNIST, encoder=[64, 32, 5], decoder=decoder)
    sizes = [(m.in_features, m.out_features) for m in net.modules() if isinstance(m, nn.Linear)]
    back = {None: [(5, 32), (32, 64), (64, 784)], "[]": [(5, 784)], "[7, 9]": [(5, 7), (7, 9), (9, 784)]}
    assert sizes == [(784, 64), (64, 32), (32, 5), *back[None if decoder is None else str(decoder)]]
    assert net.encode(MNIST.example(2)[0]).shape == (2, 5)
