"""Ratings after a test: simple methods on the same ratings, a picture, and recommendations."""

from __future__ import annotations

import lightning.pytorch as pl
import torch
from torch import Tensor

from dlzoo.callbacks.base import Report, data_of, eval_mode
from dlzoo.callbacks.sinks import publish, run_folder
from dlzoo.data.tables.ratings import Ratings
from dlzoo.errors import at_least
from dlzoo.metrics import ratings as methods
from dlzoo.tasks.base import Task
from dlzoo.utils import csv_writer as csv_files
from dlzoo.utils.files import open_text
from dlzoo.visualization import ratings as pictures


class RatingsReport(Report):
    """Test metrics baseline/rmse_mean, the mean rating of each item, baseline/rmse_biases, with how users differ from
    the mean as well, and baseline/rmse_factorization, matrix factorisation whose rank is chosen on validation ratings.

    Writes ratings.png, training ratings and predictions, and recommendations.csv: for each user the items with the
    highest expected ratings among those that they have not rated.

    Args:
        num_recommended: items for each user.
        num_users: in recommendations.csv, at most, the first ones.
    """

    needs_data = True

    def __init__(self, *, num_recommended: int = 5, num_users: int = 1000) -> None:
        at_least(0, "callbacks.ratings", num_recommended=num_recommended, num_users=num_users)
        self.num_recommended = num_recommended
        self.num_users = num_users

    def applies_to(self, task: Task) -> bool:
        return task.spec.ratings is not None

    def measure(self, trainer: pl.Trainer, task: Task) -> None:
        data = data_of(trainer)
        if not trainer.is_global_zero or not isinstance(data, Ratings):
            return
        train, val, test = (values_of(data.parts[split], data.known.scale) for split in ("train", "val", "test"))
        product, rank = methods.factorization(train, val)
        rivals = {"mean": methods.item_means(train), "biases": methods.biases(train), "factorization": product}
        metrics = {f"baseline/rmse_{name}": methods.rmse(predicted, test) for name, predicted in rivals.items()}
        task.log_dict(metrics | {"baseline/rank_factorization": float(rank)}, rank_zero_only=True)

    def write(self, trainer: pl.Trainer, task: Task) -> None:
        data = data_of(trainer)
        if not isinstance(data, Ratings):
            return
        known, asked = (values_of(data.parts[split], data.known.scale) for split in ("train", "test"))
        with eval_mode(task):
            parts = [task.predict(x.to(task.device)) for x in data.parts["train"].split(data.eval_batch_size)]
        predicted = torch.cat([torch.as_tensor(part) for part in parts]).double().cpu()
        publish(trainer, "ratings", pictures.ratings(known, predicted, asked, data.known.scale))
        rated = sum(part > 0 for part in data.parts.values())
        open_items = predicted.masked_fill(torch.as_tensor(rated) > 0, -torch.inf)
        best = open_items.topk(min(self.num_recommended, predicted.shape[1]), dim=1)
        with open_text(run_folder(trainer) / "recommendations.csv", "w") as file:
            writer = csv_files.Writer(file)
            writer.writerow(["user", "item", "expected_rating"])
            for user, values, items in zip(
                data.known.user_names[: self.num_users], *map(Tensor.tolist, best), strict=False
            ):
                rows = zip(items, values, strict=True)
                writer.writerows([user, data.known.item_names[i], f"{v:.3f}"] for i, v in rows if v > -torch.inf)


def values_of(levels: Tensor, scale: tuple[float, ...]) -> Tensor:
    """Levels (U, M) -> ratings in double precision, NaN where there is none."""
    return torch.tensor((torch.nan, *scale), dtype=torch.float64)[levels.long()]
