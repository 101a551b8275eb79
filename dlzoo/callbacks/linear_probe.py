"""How useful latents are, compared with PCA of the same dimension."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor

from dlzoo.callbacks.base import Report, Step, data_of, eval_mode
from dlzoo.data.base import InMemoryData
from dlzoo.data.loaders import Arrays, as_float
from dlzoo.distributed.collectives import gather_rows
from dlzoo.distributed.noise import EvalNoise
from dlzoo.tasks.base import Task
from dlzoo.tasks.interfaces import Encoding

BATCH_SIZE = 512
MAX_FEATURES = 4096
"""PCA of larger images takes too long."""


class LinearProbe(Report):
    """Test metrics of an encoding task: test/probe_accuracy, of a linear classifier on the latents;
    baseline/mse_pca and baseline/probe_accuracy_pca, of PCA with as many components as the latent has dimensions.

    PCA and classifiers are fitted on training images. The classifiers get latents of clean images (as in P. Vincent et
    al., "Stacked Denoising Autoencoders", JMLR 2010); if the net denoises, PCA also reconstructs from noisy images.
    There is no PCA baseline for latents of at least as many dimensions as the images, nor for images of more than 4,096
    values.

    Args:
        num_train: number of training images, at most.
        probe_steps: L-BFGS steps for the classifiers.
    """

    needs_data = True

    def __init__(self, *, num_train: int = 20_000, probe_steps: int = 200) -> None:
        self.num_train = num_train
        self.probe_steps = probe_steps
        self.batches: list[tuple[Tensor, Tensor]] = []

    def applies_to(self, task: Task) -> bool:
        return task.as_image_encoder() is not None and task.as_memory() is None

    def begin_test(self, trainer: pl.Trainer, task: Task) -> None:
        self.batches = []

    def collect(self, trainer: pl.Trainer, task: Task, step: Step) -> None:
        self.batches.append((step.batch[0], step.batch[1]))

    def measure(self, trainer: pl.Trainer, task: Task) -> None:
        encoder, data = task.as_image_encoder(), data_of(trainer)
        if encoder is None or not isinstance(data, InMemoryData) or not self.batches:
            return
        test = Arrays(*(gather_rows(torch.cat(parts)) for parts in zip(*self.batches, strict=True)))
        self.batches = []
        if not trainer.is_global_zero:  # the other ranks would do the same
            return
        rows = data.arrays("train")
        some = torch.randperm(rows.num_rows, generator=torch.Generator().manual_seed(0))[: self.num_train]
        train = rows.take(some.to(rows.y.device))
        with eval_mode(encoder):
            metrics = measure(encoder, train, test, self.probe_steps)
        encoder.log_dict(metrics, rank_zero_only=True)


def measure(task: Encoding, train: Arrays, test: Arrays, probe_steps: int) -> dict[str, float]:
    """The metrics of `LinearProbe`."""
    from sklearn.decomposition import PCA

    classes, metrics = task.spec.target.classes, {}
    latents = [encode(task, rows) for rows in (train, test)]
    labels = [rows.y.cpu().numpy() for rows in (train, test)]
    if classes is not None:
        metrics["test/probe_accuracy"] = probe(latents, labels, probe_steps)
    num_dims = latents[0].shape[1]
    if num_dims < min(task.spec.num_features, train.num_rows) and task.spec.num_features <= MAX_FEATURES:
        pca = PCA(num_dims, random_state=0).fit(flat(train.x))
        noisy = np.concatenate([flat(x) for x in corrupted(task, test)])
        outputs = pca.inverse_transform(pca.transform(noisy)).clip(0, 1)
        metrics["baseline/mse_pca"] = float(np.square(outputs - flat(test.x)).mean())
        if classes is not None:
            components = [pca.transform(flat(rows.x)) for rows in (train, test)]
            metrics["baseline/probe_accuracy_pca"] = probe(components, labels, probe_steps)
    return metrics


def corrupted(task: Encoding, rows: Arrays) -> Iterator[Tensor]:
    """Images as the net receives them in a test: with noise if it denoises, in batches."""
    noise = EvalNoise(0)
    for x in rows.x.split(BATCH_SIZE):
        yield task.corrupt(as_float(x.to(task.device)), noise.of_next(len(x)))


def encode(task: Encoding, rows: Arrays) -> np.ndarray:
    """Latents (N, D) of the clean images."""
    batches = zip(rows.x.split(BATCH_SIZE), rows.y.split(BATCH_SIZE), strict=True)
    latents = (task.encode(as_float(x.to(task.device)), y.to(task.device)) for x, y in batches)
    return torch.cat([latent.float().cpu() for latent in latents]).numpy()


def flat(x: Tensor) -> np.ndarray:
    return as_float(x).flatten(1).cpu().numpy()


def probe(features: list[np.ndarray], labels: list[np.ndarray], steps: int) -> float:
    """Test accuracy of a softmax regression. features, labels: of train and of test."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=steps))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a probe need not converge fully
        model.fit(features[0], labels[0])
    return float(model.score(features[1], labels[1]))
