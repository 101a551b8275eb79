"""Renamed parts and options: configs, run folders and checkpoints of earlier versions contain the old names.

An old ``_target_`` or option is read as the new one; if the user wrote it, a notice says so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from dlzoo.errors import UserError

MODULES = {
    "dlzoo.callbacks.adversaries": "dlzoo.callbacks.gan_curves",
    "dlzoo.callbacks.agents": "dlzoo.callbacks.agent_report",
    "dlzoo.callbacks.baselines": "dlzoo.callbacks.text_baselines",
    "dlzoo.callbacks.classification": "dlzoo.callbacks.classification_report",
    "dlzoo.callbacks.codes": "dlzoo.callbacks.linear_probe",
    "dlzoo.callbacks.epochs": "dlzoo.callbacks.epoch_metrics",
    "dlzoo.callbacks.film": "dlzoo.callbacks.sample_animation",
    "dlzoo.callbacks.finite": "dlzoo.training.nan_guard.guard",
    "dlzoo.callbacks.forecast": "dlzoo.callbacks.forecast_report",
    "dlzoo.callbacks.generative": "dlzoo.callbacks.latent_report",
    "dlzoo.callbacks.history": "dlzoo.callbacks.csv_history",
    "dlzoo.callbacks.observer": "dlzoo.callbacks.base",
    "dlzoo.callbacks.problems": "dlzoo.callbacks.diagnostics",
    "dlzoo.callbacks.regression": "dlzoo.callbacks.regression_report",
    "dlzoo.callbacks.samples": "dlzoo.callbacks.prediction_grid",
    "dlzoo.callbacks.skipped": "dlzoo.training.nan_guard.skip",
    "dlzoo.callbacks.trial": "dlzoo.sweep.reporter",
    "dlzoo.callbacks.weights": "dlzoo.callbacks.weight_histograms",
    "dlzoo.callbacks.writing": "dlzoo.callbacks.sinks",
    "dlzoo.data.air_passengers": "dlzoo.data.series.air_passengers",
    "dlzoo.data.augment": "dlzoo.data.images.augment",
    "dlzoo.data.cells": "dlzoo.data.csv_reader",
    "dlzoo.data.counting": "dlzoo.data.sequences.counting",
    "dlzoo.data.csv_series": "dlzoo.data.series.csv",
    "dlzoo.data.csv_table": "dlzoo.data.tables.csv",
    "dlzoo.data.decode": "dlzoo.data.images.decode",
    "dlzoo.data.digits": "dlzoo.data.images.digits",
    "dlzoo.data.gates": "dlzoo.data.tables.gates",
    "dlzoo.data.gym": "dlzoo.data.environments",
    "dlzoo.data.image_folder": "dlzoo.data.images.folder",
    "dlzoo.data.images": "dlzoo.data.images.published",
    "dlzoo.data.plain_text": "dlzoo.data.text_reader",
    "dlzoo.data.policies": "dlzoo.data.images.augment_policies",
    "dlzoo.data.published_text": "dlzoo.data.text.published",
    "dlzoo.data.series": "dlzoo.data.series.base",
    "dlzoo.data.stream": "dlzoo.data.text.stream",
    "dlzoo.data.synthetic": "dlzoo.data.tables.synthetic",
    "dlzoo.data.tables": "dlzoo.data.tables.base",
    "dlzoo.data.text": "dlzoo.data.text.base",
    "dlzoo.data.text_cache": "dlzoo.data.text.cache",
    "dlzoo.data.text_csv": "dlzoo.data.text.csv",
    "dlzoo.data.text_loaders": "dlzoo.data.text.loaders",
    "dlzoo.folders": "dlzoo.config.run_dir",
    "dlzoo.nets.dice": "dlzoo.nets.uniform_policy",
    "dlzoo.nets.forecaster": "dlzoo.nets.rnn_forecaster",
    "dlzoo.nets.reader": "dlzoo.nets.rnn_reader",
    "dlzoo.schedulers": "dlzoo.optim.lr_schedules",
    "dlzoo.tasks.alternating": "dlzoo.tasks.manual",
    "dlzoo.tasks.dqn": "dlzoo.tasks.rl.dqn",
    "dlzoo.tasks.exploring": "dlzoo.tasks.rl.epsilon_greedy",
    "dlzoo.tasks.generative": "dlzoo.tasks.interfaces",
    "dlzoo.tasks.objectives": "dlzoo.losses.objectives",
    "dlzoo.tasks.play": "dlzoo.tasks.rl.agent",
    "dlzoo.tasks.q_learning": "dlzoo.tasks.rl.q_learning",
    "dlzoo.tasks.random_play": "dlzoo.tasks.rl.random_agent",
    "dlzoo.tasks.stacked": "dlzoo.tasks.stacked_autoencoder",
    "dlzoo.tasks.transfer": "dlzoo.tasks.finetuning",
}
"""Moved modules of parts, by their old name."""

CLASSES = {
    "dlzoo.config.run_dir.OwnFolder": "dlzoo.config.run_dir.RunFolder",
    "dlzoo.callbacks.agent_report.Agents": "dlzoo.callbacks.agent_report.AgentReport",
    "dlzoo.callbacks.diagnostics.Problems": "dlzoo.callbacks.diagnostics.Diagnostics",
    "dlzoo.callbacks.gan_curves.AdversaryCurves": "dlzoo.callbacks.gan_curves.GANCurves",
    "dlzoo.callbacks.latent_report.GenerativePictures": "dlzoo.callbacks.latent_report.LatentReport",
    "dlzoo.callbacks.linear_probe.CodeMeasures": "dlzoo.callbacks.linear_probe.LinearProbe",
    "dlzoo.callbacks.prediction_grid.SamplePictures": "dlzoo.callbacks.prediction_grid.PredictionGrid",
    "dlzoo.callbacks.sample_animation.Film": "dlzoo.callbacks.sample_animation.SampleAnimation",
    "dlzoo.data.tables.base.CaliforniaHousing": "dlzoo.data.tables.published.CaliforniaHousing",
    "dlzoo.data.tables.base.Iris": "dlzoo.data.tables.published.Iris",
    "dlzoo.data.tables.base.Wine": "dlzoo.data.tables.published.Wine",
    "dlzoo.nets.uniform_policy.Dice": "dlzoo.nets.uniform_policy.UniformPolicy",
    "dlzoo.tasks.rl.random_agent.RandomPlay": "dlzoo.tasks.rl.random_agent.RandomAgent",
}
"""Renamed classes, by their old name in the current module."""

OPTIONS = {
    "dlzoo.tasks.rl.dqn.DQN": {
        "learn_after": "learning_starts",
        "learn_every": "train_freq",
        "updates": "gradient_steps",
        "target_every": "target_update_interval",
    },
}
"""Renamed options, by the current name of their part."""

OUTPUTS = {
    "dlzoo.nets.wide_deep.WideDeep": ("main", "auxiliary"),
    "googlenet": ("", "auxiliary_2", "auxiliary_1"),
    "inception_v3": ("", "auxiliary"),
}
"""Nets, by ``_target_`` or library name, whose ``task.loss_weights`` were a list in this order. They are now by name;
an empty name is that of an output which is not weighted unless a weight other than 1 was given."""

_KEYS = {f"task.{old}": f"task.{new}" for renamed in OPTIONS.values() for old, new in renamed.items()}
_NAME = re.compile(r"dlzoo(?:\.\w+)+")


def current(target: str) -> str:
    """The current name of a ``_target_``.

    >>> current("dlzoo.nets.dice.Dice"), current("dlzoo.nets.mlp.MLP")
    ('dlzoo.nets.uniform_policy.UniformPolicy', 'dlzoo.nets.mlp.MLP')
    """
    module, _, name = target.rpartition(".")
    moved = f"{MODULES[module]}.{name}" if module in MODULES else target
    return CLASSES.get(moved, moved)


def updated(node: object) -> object:
    """Nested dicts and lists with every ``_target_`` and every option under its current name."""
    if isinstance(node, dict):
        new: dict[str, object] = {
            key: current(value) if key == "_target_" and isinstance(value, str) else updated(value)
            for key, value in node.items()
        }
        renamed = options_of(new)
        new = {renamed.get(key, key): value for key, value in new.items()} if renamed else new
        weights, task = named_loss_weights(new), new.get("task")
        return (
            new | {"task": task | {"loss_weights": weights}} if weights is not None and isinstance(task, dict) else new
        )
    return [updated(item) for item in node] if isinstance(node, list) else node


def options_of(node: Mapping[str, object]) -> dict[str, str]:
    """The options of a part that have an old name, with their new names.

    Args:
        node: with the current name of its ``_target_``.

    Raises:
        UserError: an option is given under both names.
    """
    target = node.get("_target_")
    known = OPTIONS.get(target, {}) if isinstance(target, str) else {}
    renamed = {old: new for old, new in known.items() if old in node}
    for old, new in renamed.items():
        if new in node:
            raise UserError(f"{old} is now called {new}, but both are given ({node[old]} and {node[new]}): omit {old}")
    return renamed


def named_loss_weights(config: Mapping[str, object]) -> dict[str, float] | None:
    """The loss weights of a config that has them as a list, or by position, by the names of the net's outputs.

    None: it has none, or all have names.

    Raises:
        UserError: there is not one weight for each output.

    >>> net = {"_target_": "dlzoo.nets.torchvision_net.TorchvisionNet", "name": "inception_v3"}
    >>> named_loss_weights({"net": net, "task": {"loss_weights": [1.0, 0.4]}})
    {'auxiliary': 0.4}
    """
    net, task = config.get("net"), config.get("task")
    given = task.get("loss_weights") if isinstance(net, dict) and isinstance(task, dict) else None
    weights = positioned_weights(given)
    if not weights or not isinstance(net, dict):
        return None
    names = OUTPUTS.get(str(net.get("_target_"))) or OUTPUTS.get(str(net.get("name")), ("",))
    if len(weights) != len(names):
        raise UserError(
            f"task.loss_weights={weights}: these are {len(weights)} weights for {len(names)} outputs; give them by "
            f"name, task.loss_weights={{{names[-1] or '<output>'}: 0.5}}"
        )
    return {name: weight for name, weight in zip(names, weights, strict=True) if name or weight != 1}


def positioned_weights(given: object) -> list[float]:
    """The weights of a list, or of a mapping those under numbers."""
    if isinstance(given, dict):
        return [value for key, value in sorted(given.items(), key=str) if type(key) is int]
    return given if isinstance(given, list) else []


def with_positions(config: object) -> object:
    """A file's config with a list of loss weights by position: Hydra merges no list with the names of a model's file.

    >>> with_positions({"task": {"loss_weights": [0.7, 0.3]}})
    {'task': {'loss_weights': {0: 0.7, 1: 0.3}}}
    """
    task = config.get("task") if isinstance(config, dict) else None
    if not isinstance(config, dict) or not isinstance(task, dict) or not isinstance(task.get("loss_weights"), list):
        return config
    return config | {"task": task | {"loss_weights": dict(enumerate(task["loss_weights"]))}}


def override_with_positions(override: str) -> str:
    """The same for an override.

    >>> override_with_positions("task.loss_weights=[0.7, 0.3]")
    'task.loss_weights={0:0.7,1:0.3}'
    """
    key, _, value = override.partition("=")
    if key.lstrip("+") != "task.loss_weights" or not value.startswith("["):
        return override
    weights = [weight.strip() for weight in value.strip("[]").split(",") if weight.strip()]
    return f"{key}={{{','.join(f'{i}:{weight}' for i, weight in enumerate(weights))}}}"


def updated_override(override: str) -> str:
    """An override with current names, including any ``_target_`` in its value.

    >>> updated_override("++callbacks.mine={_target_: dlzoo.callbacks.film.Film}")
    '++callbacks.mine={_target_: dlzoo.callbacks.sample_animation.SampleAnimation}'
    >>> updated_override("task.learn_every=8")
    'task.train_freq=8'
    """
    key, equals, value = override.partition("=")
    name = key.lstrip("+~")
    override = key[: len(key) - len(name)] + _KEYS.get(name, name) + equals + value
    return _NAME.sub(lambda match: current(match[0]), override) if "_target_" in override else override


def added_overrides(spec: object) -> list[str]:
    """Overrides that give options added since the value which keeps what an earlier version did.

    Args:
        spec: as its checkpoint stores it.

    >>> added_overrides({"type": "TableSpec", "target": {"type": "Values", "names": ["y"], "units": []}})
    ['data.target_transform=none']
    """
    if not isinstance(spec, dict) or spec.get("type") not in ("TableSpec", "NamedSpec"):
        return []
    target = spec.get("target")
    parts = target.get("parts", [target]) if isinstance(target, dict) else []
    unscaled = any(isinstance(part, dict) and part.get("type") == "Values" and "scaling" not in part for part in parts)
    return ["data.target_transform=none"] if unscaled else []
