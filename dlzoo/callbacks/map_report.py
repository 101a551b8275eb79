"""What the units of a map represent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import lightning.pytorch as pl
import torch
from torch import Tensor

from dlzoo.callbacks.base import Report, data_of
from dlzoo.callbacks.sinks import publish, publish_pixels
from dlzoo.data.base import DataModule
from dlzoo.distributed.collectives import all_reduce_max, all_reduce_sum, gather_rows
from dlzoo.nets.base import MapNet
from dlzoo.specs.batch import Batch
from dlzoo.tasks.base import Task
from dlzoo.visualization import image_grid, unit_maps

MAX_IMAGES = 900
"""Units whose weights are shown as images."""


class Rows(NamedTuple):
    """What is drawn of the rows, on the CPU."""

    hits: Tensor
    """(U,) number of training rows that each unit wins."""
    low: Tensor
    """(F,) smallest values in the training rows as the net compares them."""
    high: Tensor
    winners: dict[str, int]
    """The unit that wins each named row."""


class MapReport(Report):
    """After a test of a net whose units lie on a grid, such as a self-organising map:

    - map.png: the units, coloured by their weights if the data have three numeric features, by their classes if the
      data have classes, or else by their distance from their neighbours; with names, at the units that win the rows;
    - u_matrix.png: the mean distance of each unit's weights from those of its neighbours;
    - hits.png: how many training rows each unit wins;
    - component_planes.png of tables, a panel for each feature, or prototypes.png of images, the weights as images.
    """

    needs_data = True

    def __init__(self) -> None:
        self.rows: Rows | None = None

    def applies_to(self, task: Task) -> bool:
        return task.net.as_map() is not None

    def begin_test(self, trainer: pl.Trainer, task: Task) -> None:
        self.rows = None

    def measure(self, trainer: pl.Trainer, task: Task) -> None:
        net, data = task.net.as_map(), data_of(trainer)
        assert net is not None
        hits = torch.zeros(net.grid.num_units, device=task.device)
        low, high = (torch.full_like(net.weights[0].detach(), sign * torch.inf) for sign in (1, -1))
        numbers, units = [], []
        splits = ("train", "val", "test") if data.row_names else ("train",)
        for split in splits:
            for x, winners, target in assigned(task, net, data, split):
                if split == "train":
                    hits += winners.bincount(minlength=len(hits))
                    low, high = torch.minimum(low, x.amin(0)), torch.maximum(high, x.amax(0))
                numbers.append(target)
                units.append(winners)
        names: dict[str, int] = {}
        if data.row_names:
            pairs = zip(gather_rows(torch.cat(numbers)).tolist(), gather_rows(torch.cat(units)).tolist(), strict=True)
            names = {data.row_names[number]: unit for number, unit in pairs}
        hits, low, high = all_reduce_sum(hits), -all_reduce_max(-low), all_reduce_max(high)
        self.rows = Rows(hits.cpu(), low.cpu(), high.cpu(), names)

    def write(self, trainer: pl.Trainer, task: Task) -> None:
        net, rows = task.net.as_map(), self.rows
        if net is None or rows is None:
            return
        grid, weights = net.grid, net.weights.detach().float().cpu()
        distances = unit_maps.u_matrix(grid, weights)
        publish(trainer, "map", self.draw_map(task, net, weights, rows, distances))
        publish(
            trainer,
            "u_matrix",
            unit_maps.units_as_values(
                grid, distances, title="U-matrix: mean distance from the neighbouring units", cmap="bone_r"
            ),
        )
        idle = int((rows.hits == 0).sum())
        title = f"hits: training rows of each unit; {idle:,} of {grid.num_units:,} units win none"
        publish(trainer, "hits", unit_maps.units_as_values(grid, rows.hits, title=title))
        if (images := task.spec.images) is not None:
            shown = unscaled(task, weights[:MAX_IMAGES].unflatten(1, images.shape))
            publish_pixels(trainer, "prototypes", image_grid.tile(shown, grid.columns))
        elif (table := task.spec.table) is not None:
            names = [f"{c.name} ({c.unit})" if c.unit else name for c in table.columns for name in c.feature_names]
            publish(trainer, "component_planes", unit_maps.component_planes(grid, unscaled(task, weights), names))
        self.rows = None

    @staticmethod
    def draw_map(task: Task, net: MapNet, weights: Tensor, rows: Rows, distances: Tensor) -> unit_maps.Figure:
        table, classes = task.spec.table, task.spec.target.classes
        if classes is not None:
            colours, title = unit_maps.class_shares(net.labels.detach().float().cpu()), "units by majority class"
        elif table is not None and len(table.columns) == table.num_features == 3:
            extent = (rows.high - rows.low).clamp(min=1e-12)
            colours = ((weights - rows.low) / extent).clamp(0, 1).numpy()
            title = f"units by {', '.join(c.name for c in table.columns)} as red, green and blue"
        else:
            colours, title = unit_maps.greys(distances), "units, the darker the farther from their neighbours"
        names = classes.names if classes is not None else ()
        return unit_maps.named_map(net.grid, colours, rows.winners, title=title, classes=names)


def assigned(task: Task, net: MapNet, data: DataModule, split: str) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """This rank's rows of a split in chunks: as the net compares them (B, F), their winners and targets."""
    for batch in data.batches(split):  # type: ignore[arg-type]
        x, target, _ = data.prepared(data.transfer_batch_to_device(Batch(*batch), task.device, 0))
        with torch.no_grad():
            rows = task.standardize(x).flatten(1).to(net.weights.dtype)
            yield rows, net.nearest(rows, 1)[1][:, 0], target


def unscaled(task: Task, weights: Tensor) -> Tensor:
    """Weights in the units of the data: (U, F), or (U, C, H, W) in [0, 1]."""
    if not task.spec.mean:
        return weights
    shape = (-1, *(1 for _ in weights.shape[2:]))
    mean, std = (torch.tensor(values).view(shape) for values in (task.spec.mean, task.spec.std))
    return weights * std + mean
