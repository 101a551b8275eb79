"""Nets of torchvision by name, with their published ImageNet weights.

- vgg16, vgg19 (and _bn, with BatchNorm): K. Simonyan, A. Zisserman, "Very Deep Convolutional Networks for Large-Scale
  Image Recognition", 2014.
- resnet18, resnet34, resnet50, resnet101: K. He, X. Zhang, S. Ren, J. Sun, "Deep Residual Learning for Image
  Recognition", 2015; resnet20 is the one of its section 4.2, for small images, from torchvision's blocks (projection
  shortcuts; the paper pads with zeros), and there are no published weights for it.
- googlenet: C. Szegedy et al., "Going Deeper with Convolutions", 2014. inception_v3: C. Szegedy et al., "Rethinking the
  Inception Architecture for Computer Vision", 2015. Both have auxiliary heads for training.
- densenet121: G. Huang, Z. Liu, L. van der Maaten, K. Weinberger, "Densely Connected Convolutional Networks", 2016.
- mobilenet_v3_large: A. Howard et al., "Searching for MobileNetV3", 2019.
- efficientnet_b0: M. Tan, Q. Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", 2019;
  efficientnet_v2_s: the same, "EfficientNetV2: Smaller Models and Faster Training", 2021.
- convnext_tiny: Z. Liu et al., "A ConvNet for the 2020s", 2022.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from dlzoo.errors import UserError
from dlzoo.layers.pretrained import Weights
from dlzoo.nets.backbone import Backbone, Body
from dlzoo.specs.inputs import ImageSpec
from dlzoo.specs.resize import Preprocessing, Resize
from dlzoo.utils.download import damaged, download

NetName = Literal[
    "vgg16",
    "vgg16_bn",
    "vgg19",
    "vgg19_bn",
    "resnet18",
    "resnet20",
    "resnet34",
    "resnet50",
    "resnet101",
    "googlenet",
    "inception_v3",
    "densenet121",
    "mobilenet_v3_large",
    "efficientnet_b0",
    "efficientnet_v2_s",
    "convnext_tiny",
]
SMALL_STEM = ("vgg", "resnet", "densenet")
"""Families with a stem for small images."""
AUXILIARY = {
    "googlenet": {"auxiliary_2": "aux2", "auxiliary_1": "aux1"},
    "inception_v3": {"auxiliary": "AuxLogits"},
}
"""Nets with outputs in training only: their names in the order of the library, with the child that each comes from."""


class TorchvisionNet(Backbone):
    """A net of torchvision.

    Args:
        name: torchvision's model name.
        options: those of `Backbone`.
    """

    def __init__(self, spec: ImageSpec, *, name: NetName = "resnet20", **options: Any) -> None:
        self.name = name  # before nn.Module.__init__: a plain string
        super().__init__(spec, **options)

    @property
    def has_small_stem(self) -> bool:
        return self.name.startswith(SMALL_STEM)

    def build_body(self, small: bool, num_outputs: int) -> Body:
        net = _resnet20() if self.name == "resnet20" else _library_net(self.name, num_outputs)
        auxiliary = AUXILIARY.get(self.name, {})
        last_layer = [name for name, module in net.named_modules() if isinstance(module, nn.Linear)][-1]
        last = net.get_submodule(last_layer)
        assert isinstance(last, nn.Linear)
        num_features = last.in_features
        net.set_submodule(last_layer, nn.Identity())
        if small:
            num_features = _adapt_to_small_images(net, num_features)
        size = 32 if self.name == "resnet20" else 299 if self.name == "inception_v3" else 224
        # Below it the maps of Inception's auxiliary head, or those after VGG's five poolings, would be empty.
        least = 299 if self.name == "inception_v3" else 32 if self.name.startswith("vgg") else 1
        return Body(net, num_features, last_layer, size, auxiliary=auxiliary, least=least)

    @classmethod
    def published_preprocessing_of(cls, name: str = "resnet20") -> Preprocessing | None:
        if name == "resnet20":
            return None
        transform = _published_weights(name).transforms()
        (crop,), (resize,) = transform.crop_size, transform.resize_size
        # Weights of the Inception nets came from TensorFlow, where pixels lie in [-1, 1]: torchvision converts
        # ImageNet's standardisation to theirs within the net (transform_input).
        centred = ((0.5,) * 3, (0.5,) * 3) if name in ("googlenet", "inception_v3") else None
        mean, std = centred or (tuple(transform.mean), tuple(transform.std))
        how = Resize("crop", transform.interpolation.value, (resize, resize))
        return Preprocessing((crop, crop), how, mean, std)

    def published(self) -> Weights:
        if self.name == "resnet20":
            raise UserError("net.weights=imagenet: there are no published weights for resnet20; resnet18 has them")
        enum = _published_weights(self.name)
        source = f"net.weights=imagenet ({self.name}, {enum.name})"
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        mirror, _, name = enum.url.rpartition("/")
        if not (folder / name).is_file():
            checksum = Path(name).stem.rpartition("-")[
                2
            ]  # torch hub's convention: the file name contains the hash prefix
            instead = "give net.weights=<file>, or net.weights=none"
            download(name, sha256=checksum, folder=folder, key="TORCH_HOME", mirrors=[mirror], instead=instead)
        try:
            tensors = enum.get_state_dict(progress=False, weights_only=True)
        except Exception as error:  # torch.load raises many error types for damaged files
            raise damaged(folder / name, f"{type(error).__name__} when it is read") from None
        return Weights(tensors, source, tuple(enum.meta["categories"]))


def imagenet_classes() -> tuple[str, ...]:
    """The names of ImageNet's 1,000 classes, in order."""
    return tuple(_published_weights("resnet18").meta["categories"])


def _published_weights(name: str) -> Any:
    """Torchvision's entry of the weights: address, classes and the transform that they were evaluated with."""
    from torchvision import models

    return models.get_model_weights(name).DEFAULT


def _library_net(name: str, num_outputs: int) -> nn.Module:
    from torchvision import models

    options: dict[str, Any] = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
    return models.get_model(name, weights=None, num_classes=num_outputs, **options)


def _resnet20() -> nn.Module:
    """A 3x3 convolution and three groups of three blocks with 16, 32 and 64 channels; 6n + 2 layers with n = 3."""
    from torchvision.models.resnet import BasicBlock, conv1x1

    def group(before: int, channels: int, stride: int) -> nn.Sequential:
        shortcut = None
        if stride > 1:
            shortcut = nn.Sequential(conv1x1(before, channels, stride), nn.BatchNorm2d(channels))
        rest = (BasicBlock(channels, channels) for _ in range(2))
        return nn.Sequential(BasicBlock(before, channels, stride, shortcut), *rest)

    net = nn.Sequential()
    net.add_module("conv1", nn.Conv2d(3, 16, 3, padding=1, bias=False))
    net.add_module("bn1", nn.BatchNorm2d(16))
    net.add_module("relu", nn.ReLU())
    for i, (before, channels, stride) in enumerate(((16, 16, 1), (16, 32, 2), (32, 64, 2)), 1):
        net.add_module(f"layer{i}", group(before, channels, stride))
    net.add_module("avgpool", nn.AdaptiveAvgPool2d(1))
    net.add_module("flatten", nn.Flatten())
    net.add_module("fc", nn.Linear(64, 1))
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return net


def _adapt_to_small_images(net: Any, num_features: int) -> int:
    """Replace the downsampling stem, as is usual on CIFAR; returns the new number of features."""
    if hasattr(net, "maxpool"):  # ResNet
        net.conv1 = nn.Conv2d(3, net.conv1.out_channels, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(net.conv1.weight, mode="fan_out", nonlinearity="relu")
        net.maxpool = nn.Identity()
    elif hasattr(net, "features") and hasattr(net.features, "conv0"):  # DenseNet
        net.features.conv0 = nn.Conv2d(3, net.features.conv0.out_channels, 3, padding=1, bias=False)
        net.features.pool0 = nn.Identity()
    elif hasattr(net, "classifier"):  # VGG: no fully connected layers, which expect maps of 7x7
        net.avgpool = nn.AdaptiveAvgPool2d(1)
        net.classifier = nn.Identity()
        return 512
    return num_features
