"""Names of earlier versions, which configs, run folders and checkpoints of theirs still hold.

A ``_target_`` or an option under an old name is read as the new one; where the user wrote it, a line says so.
"""

from __future__ import annotations

import re
from typing import Any

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
"""The modules of parts that were moved."""

CLASSES = {"dlzoo.nets.uniform_policy.Dice": "dlzoo.nets.uniform_policy.UniformPolicy"}
"""Renamed classes, by their old name in the current module."""

OPTIONS = {
    "dlzoo.tasks.rl.dqn.DQN": {
        "learn_after": "learning_starts",
        "learn_every": "train_freq",
        "updates": "gradient_steps",
        "target_every": "target_update_interval",
    },
}
"""By part (under its present name): the options that were renamed."""

_KEYS = {f"task.{old}": f"task.{new}" for renamed in OPTIONS.values() for old, new in renamed.items()}
_NAME = re.compile(r"dlzoo(?:\.\w+)+")


def current(target: str) -> str:
    """The name that a ``_target_`` has now.

    >>> current("dlzoo.nets.dice.Dice"), current("dlzoo.nets.mlp.MLP")
    ('dlzoo.nets.uniform_policy.UniformPolicy', 'dlzoo.nets.mlp.MLP')
    """
    module, _, name = target.rpartition(".")
    moved = f"{MODULES[module]}.{name}" if module in MODULES else target
    return CLASSES.get(moved, moved)


def updated(node: Any) -> Any:
    """A nest of dicts and lists with every ``_target_`` and every option under its present name."""
    if isinstance(node, dict):
        new = {
            key: current(value) if key == "_target_" and isinstance(value, str) else updated(value)
            for key, value in node.items()
        }
        renamed = options_of(new)
        return {renamed.get(key, key): value for key, value in new.items()} if renamed else new
    return [updated(item) for item in node] if isinstance(node, list) else node


def options_of(node: dict[str, Any]) -> dict[str, str]:
    """The options of a part that stand under an old name, with their new names.

    Args:
        node: with its ``_target_`` under its present name.

    Raises:
        UserError: an option is given under both names.
    """
    target = node.get("_target_")
    known = OPTIONS.get(target, {}) if isinstance(target, str) else {}
    renamed = {old: new for old, new in known.items() if old in node}
    for old, new in renamed.items():
        if new in node:
            raise UserError(f"{old} is now called {new}, and both are given ({node[old]} and {node[new]}): keep {new}")
    return renamed


def updated_override(override: str) -> str:
    """An override under the present names, also of the ``_target_`` that its value may hold.

    >>> updated_override("++callbacks.mine={_target_: dlzoo.callbacks.film.Film}")
    '++callbacks.mine={_target_: dlzoo.callbacks.sample_animation.Film}'
    >>> updated_override("task.learn_every=8")
    'task.train_freq=8'
    """
    key, equals, value = override.partition("=")
    name = key.lstrip("+~")
    override = key[: len(key) - len(name)] + _KEYS.get(name, name) + equals + value
    return _NAME.sub(lambda match: current(match[0]), override) if "_target_" in override else override
