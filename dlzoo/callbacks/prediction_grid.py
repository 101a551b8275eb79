"""Pictures that go in, with what comes out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor

from dlzoo.callbacks.base import Observer
from dlzoo.callbacks.sinks import publish, spec_of
from dlzoo.metrics.examples import Examples, join, take, worst
from dlzoo.specs.inputs import ImageSpec
from dlzoo.specs.targets import Classes
from dlzoo.visualization import plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class SamplePictures(Observer):
    """training_batch.png when the fit starts: what the net will see, augmented; predictions.png after a test.

    The training batch is taken from the run's own loader, whose worker processes then stand ready, and the random
    state is put back afterwards: the weights come out as in a run without this callback.

    Args:
        num_training: pictures of the training batch.
        num_first: pictures from the start of the test set.
        num_mistakes: further test pictures, those whose wrong class was given the highest probability.
    """

    def __init__(self, *, num_training: int = 24, num_first: int = 24, num_mistakes: int = 16) -> None:
        self.num_training = num_training
        self.num_first = num_first
        self.num_mistakes = num_mistakes
        self.first: Examples | None = None
        self.mistakes: Examples | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        data = trainer.datamodule  # type: ignore[attr-defined]
        spec = spec_of(pl_module)
        if data is None or not isinstance(spec, ImageSpec) or not trainer.is_global_zero:
            return
        with isolate_rng():
            batch = next(iter(trainer.train_dataloader))  # type: ignore[arg-type]
            batch = data.on_before_batch_transfer(batch, 0)
            batch = data.transfer_batch_to_device(batch, pl_module.device, 0)
            x, y = data.on_after_batch_transfer(batch, 0)[:2]
        if x.ndim != 4:
            return  # cached features of pictures
        x, y = x[: self.num_training], y[: self.num_training].cpu()
        figure = plots.image_grid(x, target_titles(y, spec), heading="training pictures as the net sees them")
        publish(trainer, "training_batch", figure)

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.first = self.mistakes = None

    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        spec = spec_of(pl_module)
        if not isinstance(spec, ImageSpec) or not isinstance(outputs, dict) or "output" not in outputs:
            return
        here = (batch[0], outputs["target"], outputs["output"].detach())
        if self.first is None or len(self.first[0]) < self.num_first:
            self.first = take(join(self.first, here), slice(self.num_first))
        if isinstance(spec.target, Classes):
            self.mistakes = worst(join(self.mistakes, worst(here, self.num_mistakes)), self.num_mistakes)

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        spec = spec_of(pl_module)
        if spec is None or self.first is None or not trainer.is_global_zero:
            return
        if isinstance(spec.target, Classes):
            figure = self.draw_classes(spec.target)
        else:
            x, target, output = self.first
            titles = [f"{a:.4g}\nis {b:.4g}" for a, b in zip(output[:, 0].tolist(), target[:, 0].tolist(), strict=True)]
            figure = plots.image_grid(x, titles, heading="the first of the test set")
        publish(trainer, "predictions", figure)
        self.first = self.mistakes = None

    def draw_classes(self, target: Classes) -> Figure:
        assert self.first is not None
        assert self.mistakes is not None
        heading = f"the first {len(self.first[0])} of the test set"
        if num := len(self.mistakes[0]):
            heading += f", then {'the only mistake' if num == 1 else f'the {num} most confident mistakes'}"
        return plots.predictions(*join(self.first, self.mistakes), target.names, heading=heading)


def target_titles(y: Tensor, spec: ImageSpec) -> list[str]:
    """What stands above a training picture: its class, the two largest shares after mixing, or its value."""
    if not isinstance(spec.target, Classes):
        return [f"{value:.4g}" for value in y[:, 0].tolist()]
    names = spec.target.names
    if y.ndim == 1:
        return [names[label] for label in y.tolist()]
    shares, labels = y.topk(min(2, y.shape[1]), dim=1)
    return [
        "\n".join(f"{names[k]}\t{p:.0%}" for p, k in zip(row, which, strict=True) if p >= 0.005)
        for row, which in zip(shares.tolist(), labels.tolist(), strict=True)
    ]
