"""Builds the parts of a run from its config, and refuses a model that does not fit the data."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import nn

from dlzoo.config import memory_check, plugins, unused_options
from dlzoo.config.allowlist import Trust
from dlzoo.config.introspection import locate
from dlzoo.config.run_config import Node, RunConfig
from dlzoo.config.yaml_files import ERRORS
from dlzoo.data.augmentation import Augmentation
from dlzoo.data.base import DataModule
from dlzoo.errors import MISTAKES, SpecError, UserError
from dlzoo.nets.base import Net, missing_members
from dlzoo.optim.lr_schedules import Plan
from dlzoo.specs.base import Spec, Target
from dlzoo.specs.inputs import ImageSpec
from dlzoo.specs.named import Targets
from dlzoo.specs.resize import Preprocessing
from dlzoo.tasks.base import Task


def build_data(node: Node) -> DataModule:
    """The data; nothing is read yet."""
    return instantiate(node)


def build_run_data(config: RunConfig, stored: Spec | None = None) -> DataModule:
    """The data of a run, with image files preprocessed as for the net's pretrained weights.

    Args:
        stored: the spec of the checkpoint to resume from, whose preprocessing is kept.

    Raises:
        UserError: the weights do not exist.
    """
    data = build_data(config.data)
    if stored is None:
        data.preprocessing = pretrained_preprocessing(config.net)
    elif stored.images is not None:
        data.preprocessing = stored.images.preprocessing
    return data


def pretrained_preprocessing(node: Node) -> Preprocessing | None:
    """The preprocessing of the images that the pretrained weights of a net's config were trained with, if any."""
    return net_class(node).pretrained_preprocessing(node)


def build_task(config: RunConfig, spec: Spec) -> Task:
    """The task with its net for this spec.

    Raises:
        SpecError: the net or the task cannot work with the spec; the message names the models that can.
    """
    try:
        # Partials, because instantiate(node, spec=spec) would turn the dataclass into a DictConfig.
        net = build_net(config.net, config.task, spec)
        optimizer = instantiate(config.optimizer, _partial_=True) if config.optimizer else None
        scheduler = instantiate(config.scheduler, _partial_=True) if config.scheduler else None
        task = instantiate(config.task, _partial_=True)(net, spec, optimizer=optimizer, scheduler=scheduler)
        if task.uses_optimizer and optimizer is None:
            raise UserError(f"optimizer: model={config.names.model} needs one, such as optimizer=adam")
    except SpecError as error:
        model, data = config.names.model, config.names.data
        raise SpecError(f"model={model} does not fit data={data}: {error}; {_fitting(spec)}") from None
    if config.compile:
        net.compile()
    return task


def build_net(node: Node, task: Node, spec: Spec) -> Net:
    """The net for this spec.

    Args:
        node: the net's config.
        task: the config of the task that trains it.

    Raises:
        UserError: it lacks a method or an attribute that the task needs.
    """
    net = instantiate(node, _partial_=True)(spec.of_net)
    kind = task_class(task).net_type
    if missing := missing_members(net, kind):
        raise UserError(
            f"net._target_={node['_target_']} lacks {', '.join(missing)}, which task._target_={task['_target_']} "
            f"uses: derive the net from {kind.__module__}.{kind.__name__}, which documents them"
        )
    return net


def task_class(node: Node) -> type[Task]:
    """The class that a task's config names.

    Raises:
        UserError: it is not a task, so commands and callbacks could not use it.
    """
    located = locate(node["_target_"], "task._target_")
    if not (isinstance(located, type) and issubclass(located, Task)):
        raise UserError(
            f"task._target_={node['_target_']} is not a task: derive it from dlzoo.tasks.base.Task, or from a class of "
            "dlzoo.tasks.interfaces"
        )
    return located


def net_class(node: Node) -> type[Net]:
    """The class that a net's config names.

    Raises:
        UserError: it is not a net.
    """
    located = locate(node["_target_"], "net._target_")
    if not (isinstance(located, type) and issubclass(located, Net)):
        raise UserError(f"net._target_={node['_target_']} is not a net: derive it from dlzoo.nets.base.Net")
    return located


LONG_PLAN = Plan(total_steps=10**6, steps_per_epoch=1, monitor="val/loss", mode="min")
"""For trying the options of a schedule before the data, and so the plan of the run, are known."""


def check_fit(config: RunConfig, data: DataModule, overrides: Sequence[str] = ()) -> None:
    """Refuse, before anything is downloaded, a model that cannot learn from these data.

    Args:
        overrides: those of the command line.

    Raises:
        SpecError: names what the model takes, what the data gives and which models would fit.
        UserError: parts that cannot be built, an option without effect, or insufficient memory.
    """
    spec = data.declare()
    net_cls, task_cls = net_class(config.net), task_class(config.task)
    model, data_name = config.names.model, config.names.data
    if not isinstance(spec, net_cls.accepts):
        takes = " and ".join(kind.what for kind in net_cls.accepts)
        raise SpecError(f"{model} takes {takes}, but data={data_name} gives {spec.describe()}; {_fitting(spec)}")
    if not isinstance(spec.target, task_cls.targets):
        learns = " or ".join(kind.what for kind in task_cls.targets)
        given = spec.target.what + spec.target.remedy
        raise SpecError(f"{model} learns {learns}, but data={data_name} gives {given}; {_fitting(spec)}")
    changed = data.augment.accepts if isinstance(data.augment, Augmentation) else (ImageSpec,)
    if data.augment is not None and not isinstance(spec, changed):
        raise SpecError(
            f"data.augment changes {changed[0].what}, but data={data_name} gives {spec.describe()}; use augment=none"
        )
    spec = spec.with_target(_counted(spec.target))
    try:
        with torch.device("meta"):
            task = build_task(config, spec)
        make_optimizer = instantiate(config.optimizer, _partial_=True) if task.uses_optimizer else None
        if make_optimizer is not None:
            optimizer = make_optimizer([nn.Parameter(torch.zeros(1))])
            if task.scheduler is not None:
                task.scheduler(optimizer, LONG_PLAN)
    except UserError:
        raise
    except MISTAKES as error:
        raise UserError(f"model={model} or its optimizer cannot be built with these options: {error}") from None
    if config.ckpt is None:  # a resumed run keeps its options
        uses = {
            "net": task.net.option_uses(),
            "task": task.option_uses(),
            "data": data.option_uses() | task.data_option_uses(),
        }
        unused_options.check(config, uses, overrides)
    memory_check.check(
        task,
        make_optimizer,
        accelerator=config.accelerator,
        precision=config.precision,
        strategy=config.strategy,
        averages_weights=config.averages_weights,
    )


def _counted(target: Target) -> Target:
    """The target with class counts, which are unknown until the data are read."""
    if target.named is not None:
        return Targets.of({name: _counted(part) for name, part in target.named.by_name.items()})
    if target.classes is None or target.classes.counts:
        return target
    return dataclasses.replace(target.classes, counts=(1,) * target.num_outputs)


def fitting_models(spec: Spec) -> list[str]:
    """The models whose net accepts this kind of spec and whose task learns this kind of target."""
    return [name for name, file in plugins.config_files("model").items() if _fits(file, spec)]


def _fits(file: Path, spec: Spec) -> bool:
    """Whether the model of a file can learn from data of this kind; not if it cannot be imported, as one of a plugin
    that needs a package which is missing."""
    try:
        model = OmegaConf.load(file)
        for key, part in {"net": model.net, "task": model.task}.items():
            Trust().check_target(part._target_, f"{key}._target_")
        net, task = net_class(model.net), task_class(model.task)
    except (OSError, *ERRORS):
        return False
    return isinstance(spec, net.accepts) and isinstance(spec.target, task.targets)


def _fitting(spec: Spec) -> str:
    return f"models for {spec.what} with {spec.target.what}: {', '.join(fitting_models(spec))}"


def num_parameters(net: nn.Module) -> int:
    """The number of parameters of the whole net, including frozen ones."""
    return sum(p.numel() for p in net.parameters())
