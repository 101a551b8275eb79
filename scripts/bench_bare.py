"""The bare side of the benchmark: in-memory data, a net, PyTorch, and training steps."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from scripts.bench_data import read_hours, read_mnist

Batches = Iterable[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Work:
    """``batches(epoch)`` yields an epoch's batches for ``learn``; ``validate`` evaluates the validation rows."""

    net: Any
    batches: Callable[[int], Batches]
    learn: Callable[[Tensor, Tensor], None]
    validate: Callable[[], None]


def work(cfg: DictConfig) -> Work:
    """Build the work of `bench.run_bare` for a config."""
    builder = {"series": hours, "text_csv": texts}.get(cfg.names.data, pictures)
    torch.manual_seed(cfg.seed)
    return builder(cfg)


# Data


def pictures(cfg: DictConfig) -> Work:
    from dlzoo.specs.inputs import ImageSpec
    from dlzoo.specs.targets import Classes

    x, y = read_mnist(Path(cfg.data_dir))
    num_train, limits = len(x) - cfg.data.val_size, cfg.trainer
    net = construct(cfg.net, ImageSpec(1, 28, 28, Classes(tuple("0123456789"))))
    learn, measure = {"vae": vae, "dcgan": gan}.get(cfg.names.model, classifier)(net, cfg.optimizer)
    held_out = [t[num_train:].split(cfg.data.eval_batch_size)[: limits.get("limit_val_batches")] for t in (x, y)]

    def batches(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        for rows in torch.randperm(num_train).split(cfg.data.batch_size)[: limits.get("limit_train_batches")]:
            yield x.index_select(0, rows), y.index_select(0, rows)

    def validate() -> None:
        for inputs, target in zip(*held_out, strict=True):
            measure(inputs, target)

    return Work(net, batches, learn, validate)


def texts(cfg: DictConfig) -> Work:
    """Two classes, on the same batches as ours; validation computes the loss and the number of correct predictions."""
    from hydra.utils import instantiate

    data = instantiate(cfg.data)
    data.setup("fit")
    train, val = data.train_dataloader(), data.val_dataloader()
    net = construct(cfg.net, data.spec)

    def batches(epoch: int) -> Batches:
        train.set_epoch(epoch)
        return train

    def validate() -> None:
        val_loss, num_right = torch.zeros(()), torch.zeros(())
        for x, y in val:
            z = net(x)[:, 0]
            val_loss += F.binary_cross_entropy_with_logits(z, y.float(), reduction="sum")
            num_right += ((z > 0) == y.bool()).sum()

    def loss_of(x: Tensor, y: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(net(x)[:, 0], y.float())

    return Work(net, batches, gradient_step(loss_of, construct(cfg.optimizer, net.parameters())), validate)


def hours(cfg: DictConfig) -> Work:
    """Windows of daily changes; validation computes the loss one day ahead, and a forecast of that day."""
    from dlzoo.specs.inputs import SeriesSpec
    from dlzoo.specs.targets import Values

    window, day = cfg.data.window, 24
    windows = read_hours(Path(cfg.data.path), window, day)
    x, y = windows[:-day, :-1].contiguous(), windows[:-day, -1].contiguous()
    net = construct(cfg.net, SeriesSpec(Values(("load",)), window, day))

    def batches(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        for rows in torch.randperm(len(x)).split(cfg.data.batch_size):
            yield x.index_select(0, rows), y.index_select(0, rows)

    def validate() -> None:
        F.mse_loss(net(windows[-day:, :-1]), windows[-day:, -1])
        known = windows[-day - 1 : -day, 1:]
        for _ in range(day):
            known = torch.cat([known, net(known[:, -window:])[:, None]], dim=1)

    learn = gradient_step(lambda a, b: F.mse_loss(net(a), b), construct(cfg.optimizer, net.parameters()))
    return Work(net, batches, learn, validate)


# Training steps and validation measures of image models


def classifier(net: Any, optimizer: DictConfig) -> tuple[Callable[..., None], Callable[..., Any]]:
    val_loss, num_right = torch.zeros(()), torch.zeros(())

    def measure(x: Tensor, y: Tensor) -> None:
        output = net(x)
        val_loss.add_(F.cross_entropy(output, y, reduction="sum"))
        num_right.add_((output.argmax(1) == y).sum())

    return gradient_step(lambda x, y: F.cross_entropy(net(x), y), construct(optimizer, net.parameters())), measure


def vae(net: Any, optimizer: DictConfig) -> tuple[Callable[..., None], Callable[..., Any]]:
    def loss_of(x: Tensor, y: Tensor) -> Tensor:
        mean, log_var = net.encode(x)
        z = mean + (log_var / 2).exp() * torch.randn_like(mean)
        bce = F.binary_cross_entropy_with_logits(net.decode(z), x, reduction="sum")
        return (bce + (mean.square() + log_var.exp() - 1 - log_var).sum() / 2) / len(x)

    return gradient_step(loss_of, construct(optimizer, net.parameters())), loss_of


def gan(net: Any, optimizer: DictConfig) -> tuple[Callable[..., None], Callable[..., Any]]:
    """Like PyTorch's DCGAN example, but with one backward pass for both halves of the discriminator's loss."""
    d_optimizer, g_optimizer = (construct(optimizer, part.parameters()) for part in (net.discriminator, net.generator))

    def learn(x: Tensor, y: Tensor) -> None:
        fake = net.generate(torch.randn(len(x), net.latent_dim))
        loss = F.softplus(-net.discriminate(x)).mean() + F.softplus(net.discriminate(fake.detach())).mean()
        d_optimizer.zero_grad()
        loss.backward()
        d_optimizer.step()
        g_optimizer.zero_grad()
        F.softplus(-net.discriminate(fake)).mean().backward()
        g_optimizer.step()

    return learn, lambda x, y: net.discriminate(x)


def gradient_step(loss_of: Callable[..., Tensor], optimizer: Any) -> Callable[..., None]:
    """A training step with one optimizer."""

    def learn(x: Tensor, y: Tensor) -> None:
        loss = loss_of(x, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return learn


def construct(node: DictConfig, first: Any) -> Any:
    """Instantiate a ``_target_`` with its options, without Hydra."""
    options: Any = OmegaConf.to_container(node, resolve=True)
    module, _, name = options.pop("_target_").rpartition(".")
    return getattr(importlib.import_module(module), name)(first, **options)
