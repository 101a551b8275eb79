"""Any net of timm by name: ``model=timm net.name=resnet50.a1_in1k``; see ``timm.list_models()``.

Three have their own model names here, since torchvision lacks them:

- xception: F. Chollet, "Xception: Deep Learning with Depthwise Separable Convolutions", 2016.
- inception_resnet_v2: C. Szegedy, S. Ioffe, V. Vanhoucke, A. Alemi, "Inception-v4, Inception-ResNet and the Impact of
  Residual Connections on Learning", 2016.
- nasnet: B. Zoph, V. Vasudevan, J. Shlens, Q. Le, "Learning Transferable Architectures for Scalable Image Recognition",
  2017 (NASNet-A-Large).
"""

from __future__ import annotations

import math
from typing import Any, get_args

from torch import nn

from dlzoo.errors import UserError, first_line, nearest
from dlzoo.layers.pretrained import Weights
from dlzoo.nets.backbone import Backbone, Body
from dlzoo.specs.inputs import ImageSpec
from dlzoo.specs.resize import Interpolation, Preprocessing, Resize
from dlzoo.utils import extras

SECONDS_TO_CONNECT = 10.0
WEIGHTS_FILE = "pytorch_model.bin"


class TimmNet(Backbone):
    """A net of timm.

    Args:
        name: timm's model name, with or without the tag of its weights.
        options: those of `Backbone`.
    """

    def __init__(self, spec: ImageSpec, *, name: str = "mobilenetv3_small_050", **options: Any) -> None:
        self.name = name  # before nn.Module.__init__: a plain string
        super().__init__(spec, **options)

    @property
    def has_small_stem(self) -> bool:
        architecture = self.name.partition(".")[0]
        return architecture in ("resnet18", "resnet34", "resnet50", "resnet101")

    def build_body(self, small: bool, num_outputs: int) -> Body:
        net: Any = _create(self.name, num_classes=0)
        published = net.pretrained_cfg
        last_layer = published["classifier"]
        if small:
            net.conv1 = nn.Conv2d(3, net.conv1.out_channels, 3, padding=1, bias=False)
            nn.init.kaiming_normal_(net.conv1.weight, mode="fan_out", nonlinearity="relu")
            net.maxpool = nn.Identity()
        return Body(
            net,
            getattr(net, "head_hidden_size", None) or net.num_features,
            last_layer if isinstance(last_layer, str) else last_layer[0],
            published["input_size"][-1],
        )

    @classmethod
    def published_preprocessing_of(cls, name: str = "mobilenetv3_small_050") -> Preprocessing | None:
        from timm import get_pretrained_cfg
        from timm.data import resolve_data_config

        _check_known(name)
        if not (published := get_pretrained_cfg(name)):
            return None
        found = resolve_data_config(pretrained_cfg=published.to_dict())
        mode, size = found["crop_mode"], found["input_size"][1:]
        if mode not in ("center", "squash") or found["interpolation"] not in get_args(Interpolation):
            raise UserError(
                f"net.name={name}: its published weights need images prepared by crop_mode={mode} and "
                f"interpolation={found['interpolation']}, which dlzoo does not have; use net.weights=none"
            )
        # As timm.data.create_transform.
        before_crop = (math.floor(size[0] / found["crop_pct"]), math.floor(size[1] / found["crop_pct"]))
        resize = Resize("squash" if mode == "squash" else "crop", found["interpolation"], before_crop)
        return Preprocessing(size, resize, found["mean"], found["std"])

    def published(self) -> Weights:
        source = f"net.weights=imagenet (timm, {self.name})"
        body: Any = self.body
        config = body.pretrained_cfg
        try:
            _check_reachable(config.get("hf_hub_id"))
            net = _create(self.name, pretrained=True)
        except UserError:
            raise
        except Exception as error:  # the hub client raises many unrelated error types
            file = f"model.safetensors of {config['hf_hub_id']}" if config.get("hf_hub_id") else config.get("url")
            raise UserError(
                f"{source} cannot be downloaded ({first_line(error, 160)}): fetch {file} elsewhere and give "
                "net.weights=<that file>, or net.weights=none"
            ) from None
        return Weights(net.state_dict(), source, imagenet_classes(net.num_classes))


def _check_reachable(hub_id: str | None) -> None:
    """Fail fast if the hub is unreachable: its client would retry for a minute."""
    if not hub_id:
        return
    from huggingface_hub import constants, get_session, try_to_load_from_cache

    if not any(isinstance(try_to_load_from_cache(hub_id, file), str) for file in ("model.safetensors", WEIGHTS_FILE)):
        get_session().head(constants.ENDPOINT, timeout=SECONDS_TO_CONNECT)


def imagenet_classes(num_classes: int) -> tuple[str, ...]:
    """The ImageNet class names, or none if there are not 1,000 classes."""
    from timm.data import ImageNetInfo

    if num_classes != 1000:
        return ()
    info = ImageNetInfo()
    return tuple(info.index_to_description(i) for i in range(num_classes))


def _check_known(name: str) -> None:
    extras.require(f"net.name={name}", "timm")
    import timm

    if ":" in name or "/" in name:  # timm would read hubs and folders of that name
        raise UserError(f"net.name={name}: give one of timm's model names, without a hub or folder prefix")
    if not timm.is_model(name.partition(".")[0]):
        raise UserError(f"net.name={name}: timm has no such net; {nearest(name, timm.list_models())[:200]}")


def _create(name: str, **options: Any) -> Any:
    _check_known(name)
    import timm

    try:
        return timm.create_model(name, **options)
    except RuntimeError as error:  # an unknown tag, or no weights
        known = timm.list_pretrained(f"{name.partition('.')[0]}*")
        raise UserError(f"net.name={name}: {error}; {nearest(name, known)[:300]}") from None
