"""What codes are worth, beside those of PCA with as many numbers."""

from __future__ import annotations

import warnings
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor

from dlzoo.callbacks.observer import Observer, at_rest
from dlzoo.specs import Classes
from dlzoo.tasks.generative import Encoding

BATCH_SIZE = 512


class CodeMeasures(Observer):
    """Metrics of the test of a task that encodes: test/probe_accuracy, of a linear classifier on the codes;
    baseline/mse_pca and baseline/probe_accuracy_pca, of principal components, as many as the code has numbers.

    PCA and classifiers are fitted on training pictures, and PCA is given what the net is given: the noisy picture
    where the net cleans pictures. A code of as many numbers as there are pixels has no such baseline.

    Args:
        num_train: so many training pictures at most.
        probe_steps: of L-BFGS, for the classifiers.
    """

    def __init__(self, *, num_train: int = 20_000, probe_steps: int = 200) -> None:
        self.num_train = num_train
        self.probe_steps = probe_steps
        self.kept: list[tuple[Tensor, Tensor]] = []

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.kept = []

    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if isinstance(pl_module, Encoding):
            self.kept.append((batch[0], batch[1]))

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        if not isinstance(pl_module, Encoding) or data is None or not self.kept:
            return
        rows = data.arrays("train")
        some = torch.randperm(rows.num_rows, generator=torch.Generator().manual_seed(0))[: self.num_train]
        train = rows.take(some.to(rows.y.device))
        x_train = train.x.float() / 255 if train.x.dtype == torch.uint8 else train.x
        x_test, y_test = (torch.cat(parts) for parts in zip(*self.kept, strict=True))
        self.kept = []
        with at_rest(pl_module):
            found = measure(pl_module, (x_train, train.y), (x_test, y_test), self.probe_steps)
        pl_module.log_dict(found, rank_zero_only=True)


def measure(
    task: Encoding, train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], probe_steps: int
) -> dict[str, float]:
    """The metrics of `CodeMeasures`. train, test: pictures (N, C, H, W) in [0, 1] and their targets."""
    from sklearn.decomposition import PCA

    target, found = task.spec.target, {}
    codes = [encode_all(task, *split) for split in (train, test)]
    labels = [y.cpu().numpy() for _, y in (train, test)]
    if isinstance(target, Classes):
        found["test/probe_accuracy"] = probe(codes, labels, probe_steps)
    num = codes[0].shape[1]
    if num < min(train[0][0].numel(), len(train[0])):
        clean, given = (x.flatten(1).cpu().numpy() for x in (test[0], corrupted(task, test[0])))
        pca = PCA(num, random_state=0).fit(train[0].flatten(1).cpu().numpy())
        components = pca.transform(given)
        made = pca.inverse_transform(components).clip(0, 1)
        found["baseline/mse_pca"] = float(np.square(made - clean).mean())
        if isinstance(target, Classes):
            fitted = pca.transform(corrupted(task, train[0]).flatten(1).cpu().numpy())
            found["baseline/probe_accuracy_pca"] = probe([fitted, components], labels, probe_steps)
    return found


def encode_all(task: Encoding, x: Tensor, y: Tensor) -> np.ndarray:
    """The codes (N, D) of pictures as the net is given them."""
    parts = zip(corrupted(task, x).split(BATCH_SIZE), y.split(BATCH_SIZE), strict=True)
    return torch.cat([task.encode(a.to(task.device), b.to(task.device)).float().cpu() for a, b in parts]).numpy()


def corrupted(task: Encoding, x: Tensor) -> Tensor:
    return task.corrupt(x, torch.Generator(x.device).manual_seed(0))


def probe(codes: list[np.ndarray], labels: list[np.ndarray], steps: int) -> float:
    """Accuracy on the second pair of a softmax regression that was fitted on the first."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=steps))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a probe need not be the very best one
        model.fit(codes[0], labels[0])
    return float(model.score(codes[1], labels[1]))
