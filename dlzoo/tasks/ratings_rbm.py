"""Collaborative filtering by a restricted Boltzmann machine with softmax visible units.

R. Salakhutdinov, A. Mnih, G. Hinton, "Restricted Boltzmann Machines for Collaborative Filtering", ICML 2007.
Contrastive divergence runs for each user over the items that they rated; the ratings of the others are predicted from
one update of the hidden units, as in section 2.2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric

from dlzoo.distributed.noise import Noise
from dlzoo.errors import UserError
from dlzoo.layers.boltzmann import BoltzmannLayer
from dlzoo.losses.functional import widen
from dlzoo.nets.ratings_rbm import RatingsRBM
from dlzoo.specs.base import Target
from dlzoo.specs.batch import Batch
from dlzoo.specs.ratings import ItemRatings, RatingsSpec
from dlzoo.tasks.contrastive import ContrastiveDivergence, Phase
from dlzoo.tasks.prediction_view import Prediction
from dlzoo.tasks.views import View


class CollaborativeFiltering(ContrastiveDivergence):
    """Contrastive divergence on ratings, whose held-out ones it predicts by their expected value.

    Metrics: rmse and mae of held-out ratings, in units of the scale; loss, their mean negative log-likelihood in nats;
    in training loss is the squared error of one reconstruction per unit of a rated item.
    """

    targets = (ItemRatings,)
    monitor = ("val/rmse", "min")
    net_type = RatingsRBM
    net: RatingsRBM
    spec: RatingsSpec

    def __init__(self, net: RatingsRBM, spec: RatingsSpec, **options: Any) -> None:
        super().__init__(net, spec, **options)
        if self.num_chains:
            raise UserError(
                f"task.num_chains={self.num_chains}: persistent chains have all visible units, but each user has those "
                "of the items that they rated; omit it, and raise task.num_steps"
            )
        self.scale: Tensor
        self.register_buffer("scale", torch.tensor(spec.scale), persistent=False)
        self.mask = torch.ones(())
        """Of the units that take part in the current update, (B, V)."""
        self.means: Any = nn.ModuleDict({name: MeanMetric(nan_strategy="disable") for name in ("loss", "mse", "mae")})

    @property
    def layer(self) -> BoltzmannLayer:
        return self.net.layer

    # ------------------------------------------------------------------ steps

    def inputs(self, x: Tensor) -> Tensor:
        return self.net.units.states(x)

    def update(self, layer: BoltzmannLayer, v: Tensor, batch_idx: int) -> None:
        self.mask = self.net.units.mask(v)
        super().update(layer, v, batch_idx)

    def visible_states(self, layer: BoltzmannLayer, h: Tensor, noise: Noise) -> Tensor:
        return super().visible_states(layer, h, noise) * self.mask

    def reconstruction_error(self, layer: BoltzmannLayer, data: Phase) -> Tensor:
        error = layer.units.mean(layer.visible_input(data.hidden)) - data.visible
        return ((error * self.mask).square().sum(1) / self.mask.sum(1).clamp(min=1)).mean()

    # ------------------------------------------------------------------ prediction and evaluation

    @property
    def predicted_target(self) -> Target:
        return self.spec.target

    def predict(self, inputs: Tensor) -> Tensor:
        """Levels (B, M), 0 for none -> the expected rating of each item, (B, M), in units of the scale."""
        return widen(self(inputs)) @ self.scale

    def export_views(self) -> Mapping[str, Callable[[], View]]:
        return {"model": lambda: Prediction(self)}

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        x, target, _ = Batch(*batch)
        probabilities = widen(self(x))
        predicted = probabilities @ self.scale
        asked = target > 0
        level = (target[asked] - 1).long()
        error = predicted[asked] - self.scale[level]
        likelihood = probabilities[asked].gather(1, level[:, None])
        for name, each in (("mse", error.square()), ("mae", error.abs()), ("loss", -likelihood.clamp(min=1e-30).log())):
            if len(level):
                self.means[name].update(each)
        return {"output": predicted}

    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        return self.validation_step(batch, batch_idx)

    def log_split(self, split: str) -> None:
        values = {name: metric.compute() for name, metric in self.means.items()}
        for metric in self.means.values():
            metric.reset()
        values["rmse"] = values.pop("mse").sqrt()
        self.log_dict({f"{split}/{name}": value for name, value in values.items()})
