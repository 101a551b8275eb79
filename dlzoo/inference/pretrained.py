"""A library's net with its published weights and classes, used without training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dlzoo.config import introspection as signatures
from dlzoo.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from dlzoo.nets.backbone import Backbone
    from dlzoo.tasks.base import Task


def load_pretrained(model: str, overrides: Sequence[str]) -> tuple[Task, DictConfig]:
    """The task on the CPU in evaluation mode, and its config.

    Args:
        model: a config name from configs/model.
        overrides: overrides ``net.<option>=…``, ``net.weights`` among them.

    Raises:
        UserError: a model that is not a library's, no weights, or weights whose last layer does not match.
    """
    import torch

    from dlzoo.config import compose as config
    from dlzoo.config import instantiate as build
    from dlzoo.config import schema
    from dlzoo.config.run_config import RunConfig
    from dlzoo.specs.inputs import ImageSpec
    from dlzoo.specs.resize import Preprocessing
    from dlzoo.specs.targets import Classes

    cfg = config.compose([f"model={model}", *overrides])
    schema.check(cfg, overrides)
    net_class = signatures.locate(cfg.net._target_, "net._target_")
    if "weights" not in signatures.arguments(net_class):
        raise UserError(f"model={model} has no published weights: train it, then give ckpt=<run>/checkpoints/best.ckpt")
    if cfg.net.get("weights", "none") == "none":
        raise UserError(f"model={model} needs trained weights to predict: give net.weights=imagenet, or a file")
    run_config = RunConfig.from_hydra(cfg)
    with torch.device("meta"):
        probe: Any = build.build_task(run_config, ImageSpec(3, 224, 224, Classes(("a", "b")))).net
    found = build.pretrained_preprocessing(run_config.net) or Preprocessing(probe.size, None)
    height, width = found.size
    task = build.build_task(run_config, ImageSpec(3, height, width, Classes(_classes(probe)), resize=found.resize))
    net: Any = task.net
    if any("the last layer is new" in line for line in net.load_pretrained()):
        raise UserError(f"net.weights={cfg.net.weights} has no matching last layer: train one with transfer=features")
    return task.eval(), cfg


def _classes(net: Backbone) -> tuple[str, ...]:
    """The classes of the weights; numbered if their names are unknown."""
    from dlzoo.layers.pretrained import read_weights
    from dlzoo.nets.torchvision_net import imagenet_classes

    if net.weights == "imagenet":
        return imagenet_classes()
    weights = read_weights(net.weights)
    num = weights.num_outputs(net.last_layer)
    if not (weights.classes or num):
        raise UserError(f"{weights.source} has no last layer: {net.name} calls it {net.last_layer}")
    return weights.classes or (imagenet_classes() if num == 1000 else tuple(f"class {i}" for i in range(num)))
