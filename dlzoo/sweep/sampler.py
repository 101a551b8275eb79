"""Optuna's samplers and pruners, built from the settings of a search."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from optuna import pruners, samplers
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from dlzoo.sweep.settings import SamplerName, Settings
from dlzoo.sweep.space import Choice, Range


class PerTrialSeed(samplers.BaseSampler):
    """A sampler that is reseeded for each trial from the trial's number.

    Two processes working on one study therefore draw different values, and an interrupted search does not restart its
    sequence. Trial n of a random search depends only on the seed and n.

    Args:
        distributions: all parameters of a trial, in drawing order: a trial whose process died partway redraws the
            first ones, so that the rest come out the same.
    """

    def __init__(self, name: SamplerName, seed: int, distributions: dict[str, BaseDistribution] | None = None) -> None:
        self.name = name
        self.seed = seed
        self.distributions = distributions or {}
        self._drawn: dict[str, object] = {}
        self._sampler: samplers.BaseSampler = samplers.RandomSampler(seed)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        seed = int(np.random.SeedSequence([self.seed, trial.number]).generate_state(1)[0])
        self._sampler = make_sampler(self.name, seed)
        self._drawn = {}
        self._sampler.before_trial(study, trial)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, object]:
        return self._sampler.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> object:
        for name, distribution in {**self.distributions, param_name: param_distribution}.items():
            if param_name in self._drawn:
                break
            if name not in self._drawn:
                self._drawn[name] = self._sampler.sample_independent(study, trial, name, distribution)
        return self._drawn[param_name]

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        self._sampler.after_trial(study, trial, state, values)


def make_sampler(name: SamplerName, seed: int) -> samplers.BaseSampler:
    if name == "random":
        return samplers.RandomSampler(seed)
    if name == "gp":
        return samplers.GPSampler(seed=seed, warn_independent_sampling=False)
    return samplers.TPESampler(seed=seed, constant_liar=True)  # avoid values that other processes are trying


def make_pruner(settings: Settings, max_epochs: int) -> pruners.BasePruner:
    min_epochs, factor = settings.min_epochs, settings.factor
    if settings.pruner == "hyperband":
        return pruners.HyperbandPruner(min_resource=min_epochs, max_resource=max_epochs, reduction_factor=factor)
    if settings.pruner == "halving":
        return pruners.SuccessiveHalvingPruner(min_resource=min_epochs, reduction_factor=factor)
    if settings.pruner == "median":
        return pruners.MedianPruner(n_warmup_steps=min_epochs)
    return pruners.NopPruner()


def to_optuna(entry: Range | Choice) -> BaseDistribution:
    """The Optuna distribution of an entry of the search space."""
    if isinstance(entry, Choice):
        return CategoricalDistribution(entry.values)
    if entry.is_integer:
        return IntDistribution(int(entry.low), int(entry.high), log=entry.log, step=int(entry.step or 1))
    return FloatDistribution(entry.low, entry.high, log=entry.log, step=entry.step)
