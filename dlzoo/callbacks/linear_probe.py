"""What codes are worth, beside those of PCA with as many numbers."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor

from dlzoo.callbacks.base import Report, Step, at_rest, data_of
from dlzoo.data.base import InMemoryData
from dlzoo.data.loaders import Arrays, as_float
from dlzoo.distributed.collectives import gather_rows
from dlzoo.distributed.noise import EvalNoise
from dlzoo.tasks.base import Task
from dlzoo.tasks.interfaces import Encoding

BATCH_SIZE = 512
MOST_FEATURES = 4096
"""PCA of larger pictures takes too long."""


class CodeMeasures(Report):
    """Metrics of the test of a task that encodes: test/probe_accuracy, of a linear classifier on the codes;
    baseline/mse_pca and baseline/probe_accuracy_pca, of principal components, as many as the code has numbers.

    PCA and classifiers are fitted on training pictures. The classifiers are given codes of clean pictures (as in P.
    Vincent et al., "Stacked Denoising Autoencoders", JMLR 2010); where the net cleans pictures, PCA reconstructs from
    the noisy ones, too. A code of as many numbers as there are pixels has no such baseline, nor have pictures of more
    than 4,096 numbers.

    Args:
        num_train: so many training pictures at most.
        probe_steps: of L-BFGS, for the classifiers.
    """

    needs_data = True

    def __init__(self, *, num_train: int = 20_000, probe_steps: int = 200) -> None:
        self.num_train = num_train
        self.probe_steps = probe_steps
        self.kept: list[tuple[Tensor, Tensor]] = []

    def applies_to(self, task: Task) -> bool:
        return task.as_encoder() is not None

    def begin_test(self, trainer: pl.Trainer, task: Task) -> None:
        self.kept = []

    def collect(self, trainer: pl.Trainer, task: Task, step: Step) -> None:
        self.kept.append((step.batch[0], step.batch[1]))

    def measure(self, trainer: pl.Trainer, task: Task) -> None:
        encoder, data = task.as_encoder(), data_of(trainer)
        if encoder is None or not isinstance(data, InMemoryData) or not self.kept:
            return
        test = Arrays(*(gather_rows(torch.cat(parts)) for parts in zip(*self.kept, strict=True)))
        self.kept = []
        if not trainer.is_global_zero:  # it would do the same
            return
        rows = data.arrays("train")
        some = torch.randperm(rows.num_rows, generator=torch.Generator().manual_seed(0))[: self.num_train]
        train = rows.take(some.to(rows.y.device))
        with at_rest(encoder):
            found = measure(encoder, train, test, self.probe_steps)
        encoder.log_dict(found, rank_zero_only=True)


def measure(task: Encoding, train: Arrays, test: Arrays, probe_steps: int) -> dict[str, float]:
    """The metrics of `CodeMeasures`."""
    from sklearn.decomposition import PCA

    classes, found = task.spec.target.classes, {}
    codes = [encode(task, rows) for rows in (train, test)]
    labels = [rows.y.cpu().numpy() for rows in (train, test)]
    if classes is not None:
        found["test/probe_accuracy"] = probe(codes, labels, probe_steps)
    num = codes[0].shape[1]
    if num < min(task.spec.num_features, train.num_rows) and task.spec.num_features <= MOST_FEATURES:
        pca = PCA(num, random_state=0).fit(flat(train.x))
        noisy = np.concatenate([flat(x) for x in corrupted(task, test)])
        made = pca.inverse_transform(pca.transform(noisy)).clip(0, 1)
        found["baseline/mse_pca"] = float(np.square(made - flat(test.x)).mean())
        if classes is not None:
            components = [pca.transform(flat(rows.x)) for rows in (train, test)]
            found["baseline/probe_accuracy_pca"] = probe(components, labels, probe_steps)
    return found


def corrupted(task: Encoding, rows: Arrays) -> Iterator[Tensor]:
    """Pictures as the net is given them when it is judged by what it makes of them, in batches."""
    noise = EvalNoise(0)
    for x in rows.x.split(BATCH_SIZE):
        yield task.corrupt(as_float(x.to(task.device)), noise.of_next(len(x)))


def encode(task: Encoding, rows: Arrays) -> np.ndarray:
    """Codes (N, D) of the pictures as they are."""
    batches = zip(rows.x.split(BATCH_SIZE), rows.y.split(BATCH_SIZE), strict=True)
    codes = (task.encode(as_float(x.to(task.device)), y.to(task.device)) for x, y in batches)
    return torch.cat([code.float().cpu() for code in codes]).numpy()


def flat(x: Tensor) -> np.ndarray:
    return as_float(x).flatten(1).cpu().numpy()


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
