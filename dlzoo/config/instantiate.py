"""The only place that joins data, net, task and trainer, and that refuses a pair that does not fit."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import nn

from dlzoo.config import memory_check as training_memory
from dlzoo.config import unused_options
from dlzoo.config.compose import CONFIG_DIR
from dlzoo.config.introspection import locate
from dlzoo.data.base import DataModule
from dlzoo.errors import MISTAKES, SpecError, UserError
from dlzoo.nets.base import Net, missing_members
from dlzoo.specs.base import Spec, Target
from dlzoo.specs.inputs import ImageSpec
from dlzoo.specs.named import Targets
from dlzoo.tasks.base import Task


def build_data(cfg: DictConfig) -> DataModule:
    """The source of batches; nothing is read yet."""
    return instantiate(cfg.data)


def build_task(cfg: DictConfig, spec: Spec) -> Task:
    """The net for this spec, and how it learns.

    Raises:
        SpecError: the net or the task cannot work with the spec; the message names the models that can.
    """
    try:
        # As partials: instantiate(cfg.net, spec=spec) would turn the dataclass into a DictConfig.
        net = build_net(cfg, spec)
        optimizer = instantiate(cfg.optimizer, _partial_=True) if cfg.get("optimizer") else None
        scheduler = instantiate(cfg.scheduler, _partial_=True) if cfg.get("scheduler") else None
        task = instantiate(cfg.task, _partial_=True)(net, spec, optimizer=optimizer, scheduler=scheduler)
        if task.uses_optimizer and optimizer is None:
            raise UserError(f"optimizer: model={cfg.names.model} needs one, such as optimizer=adam")
    except SpecError as error:
        model, data = cfg.names.model, cfg.names.data
        raise SpecError(f"model={model} does not fit data={data}: {error}; {_fitting(spec)}") from None
    if cfg.compile:
        net.compile()
    return task


def build_net(cfg: DictConfig, spec: Spec) -> Net:
    """The net for this spec.

    Raises:
        UserError: it lacks a method or an attribute that the task of the config needs.
    """
    net = instantiate(cfg.net, _partial_=True)(spec)
    kind = task_class(cfg).net_type
    if missing := missing_members(net, kind):
        raise UserError(
            f"net._target_={cfg.net._target_} lacks {', '.join(missing)}, which task._target_={cfg.task._target_} "
            f"uses: derive the net from {kind.__module__}.{kind.__name__}, which says what each of these must be"
        )
    return net


def task_class(cfg: DictConfig) -> type[Task]:
    """What the config says how the net learns.

    Raises:
        UserError: it is no task; commands and callbacks would not know what to do with it.
    """
    found = locate(cfg.task._target_, "task._target_")
    if not (isinstance(found, type) and issubclass(found, Task)):
        raise UserError(
            f"task._target_={cfg.task._target_} is no task: derive it from dlzoo.tasks.base.Task, or from a class of "
            "dlzoo.tasks.interfaces"
        )
    return found


def check_fit(cfg: DictConfig, data: DataModule, overrides: Sequence[str] = ()) -> None:
    """Refuse, before anything is downloaded, a model that cannot learn from these data.

    Args:
        overrides: what was typed.

    Raises:
        SpecError: names what the model takes, what the data gives and which models would fit.
        UserError: parts that cannot be built, an option without an effect, or more memory than there is.
    """
    spec = data.declare()
    net_class, learner = locate(cfg.net._target_, "net._target_"), task_class(cfg)
    model, data_name = cfg.names.model, cfg.names.data
    if not isinstance(spec, net_class.accepts):
        takes = " and ".join(kind.what for kind in net_class.accepts)
        raise SpecError(f"{model} takes {takes}, but data={data_name} gives {spec.describe()}; {_fitting(spec)}")
    if not isinstance(spec.target, learner.targets):
        learns = " or ".join(kind.what for kind in learner.targets)
        raise SpecError(f"{model} learns {learns}, but data={data_name} gives {spec.target.what}; {_fitting(spec)}")
    if data.augment is not None and not isinstance(spec, ImageSpec):
        raise SpecError(f"data.augment changes images, but data={data_name} gives {spec.describe()}; use augment=none")
    spec = spec.with_target(_counted(spec.target))
    try:
        with torch.device("meta"):
            task = build_task(cfg, spec)
        make_optimizer = instantiate(cfg.optimizer, _partial_=True) if task.uses_optimizer else None
        if make_optimizer is not None:
            make_optimizer([nn.Parameter(torch.zeros(1))])
    except UserError:
        raise
    except MISTAKES as error:
        raise UserError(f"model={model} or its optimizer cannot be built with these options: {error}") from None
    if cfg.get("ckpt") is None:  # a run that is continued keeps its options
        unused_options.check(cfg, {"net": task.net, "task": task, "data": data}, overrides)
    training_memory.check(task, make_optimizer, cfg)


def _counted(target: Target) -> Target:
    """With numbers of training rows, which are known only once the data are read."""
    if target.named is not None:
        return Targets.of({name: _counted(part) for name, part in target.named.by_name.items()})
    if target.classes is None or target.classes.counts:
        return target
    return dataclasses.replace(target.classes, counts=(1,) * target.num_outputs)


def fitting_models(spec: Spec) -> list[str]:
    """The models whose net takes this kind of spec and whose task learns this kind of target."""
    found = []
    for file in sorted((CONFIG_DIR / "model").glob("*.yaml")):
        model = OmegaConf.load(file)
        net, task = locate(model.net._target_, "net._target_"), locate(model.task._target_, "task._target_")
        if isinstance(spec, net.accepts) and isinstance(spec.target, task.targets):
            found.append(file.stem)
    return found


def _fitting(spec: Spec) -> str:
    return f"{spec.what} with {spec.target.what} go to: {', '.join(fitting_models(spec))}"


def num_parameters(net: nn.Module) -> int:
    """Of the whole net, frozen ones included."""
    return sum(p.numel() for p in net.parameters())
