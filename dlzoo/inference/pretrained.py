"""A library's net with its published weights and classes, to be used as it is, without training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dlzoo.config import introspection as signatures
from dlzoo.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from dlzoo.nets.backbone import Backbone
    from dlzoo.tasks.base import Task


def load_pretrained(model: str, words: Sequence[str]) -> tuple[Task, DictConfig]:
    """The task on the CPU in evaluation mode, and its config.

    Args:
        model: a name of configs/model.
        words: overrides ``net.<option>=…``, ``net.weights`` among them.

    Raises:
        UserError: a model that is not a library's, no weights, or weights whose last layer does not fit.
    """
    from dlzoo.config import compose as config
    from dlzoo.config import instantiate as build
    from dlzoo.config import schema
    from dlzoo.specs.inputs import ImageSpec
    from dlzoo.specs.targets import Classes

    cfg = config.compose([f"model={model}", *words])
    schema.check(cfg, words)
    net_class = signatures.locate(cfg.net._target_, "net._target_")
    if "weights" not in signatures.arguments(net_class):
        raise UserError(f"model={model} has no published weights: train it, then give ckpt=<run>/checkpoints/best.ckpt")
    if cfg.net.get("weights", "none") == "none":
        raise UserError(f"model={model} would guess without weights: give net.weights=imagenet, or a file")
    probe: Any = build.build_task(cfg, ImageSpec(3, 224, 224, Classes(("a", "b")))).net
    task = build.build_task(cfg, ImageSpec(3, probe.size[0], probe.size[1], Classes(_classes(probe))))
    net: Any = task.net
    if any("the last layer is new" in line for line in net.load_pretrained()):
        raise UserError(f"net.weights={cfg.net.weights} has no last layer of its own: train one with transfer=features")
    return task.eval(), cfg


def _classes(net: Backbone) -> tuple[str, ...]:
    """What the weights tell apart; numbers where nobody says."""
    from dlzoo.layers.pretrained import read_weights
    from dlzoo.nets.torchvision_net import imagenet_classes

    if net.weights == "imagenet":
        return imagenet_classes()
    found = read_weights(net.weights)
    num = found.num_outputs(net.last_layer)
    if not (found.classes or num):
        raise UserError(f"{found.source} has no last layer: {net.name} calls it {net.last_layer}")
    return found.classes or (imagenet_classes() if num == 1000 else tuple(f"class {i}" for i in range(num)))
