"""The bare side of the benchmark: data in memory, a net, PyTorch, and how it learns from a batch."""

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
    """``batches(epoch)`` are those of an epoch, each of which ``learn`` takes; ``validate`` goes over the held-out."""

    net: Any
    batches: Callable[[int], Batches]
    learn: Callable[[Tensor, Tensor], None]
    validate: Callable[[], None]


def work(cfg: DictConfig) -> Work:
    """What the loop of `bench.run_bare` does for a config."""
    make = {"series": hours, "text_csv": texts}.get(cfg.names.data, pictures)
    torch.manual_seed(cfg.seed)
    return make(cfg)


# Data


def pictures(cfg: DictConfig) -> Work:
    from dlzoo.specs.inputs import ImageSpec
    from dlzoo.specs.targets import Classes

    x, y = read_mnist(Path(cfg.data_dir))
    num_train, limits = len(x) - cfg.data.val_size, cfg.trainer
    net = construct(cfg.net, ImageSpec(1, 28, 28, Classes(tuple("0123456789"))))
    learn, measure = {"vae": vae, "dcgan": gan}.get(cfg.names.model, classifier)(net, cfg.optimizer)
    held = [t[num_train:].split(cfg.data.eval_batch_size)[: limits.get("limit_val_batches")] for t in (x, y)]

    def batches(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        for rows in torch.randperm(num_train).split(cfg.data.batch_size)[: limits.get("limit_train_batches")]:
            yield x.index_select(0, rows), y.index_select(0, rows)

    def validate() -> None:
        for inputs, target in zip(*held, strict=True):
            measure(inputs, target)

    return Work(net, batches, learn, validate)


def texts(cfg: DictConfig) -> Work:
    """Two classes, on the very batches of ours; validation gives the loss and the number of right answers."""
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

    return Work(net, batches, descend(loss_of, construct(cfg.optimizer, net.parameters())), validate)


def hours(cfg: DictConfig) -> Work:
    """Windows of daily changes; validation gives the loss of a day ahead, and a forecast of it from the last."""
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

    learn = descend(lambda a, b: F.mse_loss(net(a), b), construct(cfg.optimizer, net.parameters()))
    return Work(net, batches, learn, validate)


# Steps of nets for pictures: how they learn from a batch, and what is measured on one


def classifier(net: Any, optimizer: DictConfig) -> tuple[Callable[..., None], Callable[..., Any]]:
    val_loss, num_right = torch.zeros(()), torch.zeros(())

    def measure(x: Tensor, y: Tensor) -> None:
        output = net(x)
        val_loss.add_(F.cross_entropy(output, y, reduction="sum"))
        num_right.add_((output.argmax(1) == y).sum())

    return descend(lambda x, y: F.cross_entropy(net(x), y), construct(optimizer, net.parameters())), measure


def vae(net: Any, optimizer: DictConfig) -> tuple[Callable[..., None], Callable[..., Any]]:
    def loss_of(x: Tensor, y: Tensor) -> Tensor:
        mean, log_var = net.encode(x)
        z = mean + (log_var / 2).exp() * torch.randn_like(mean)
        bce = F.binary_cross_entropy_with_logits(net.decode(z), x, reduction="sum")
        return (bce + (mean.square() + log_var.exp() - 1 - log_var).sum() / 2) / len(x)

    return descend(loss_of, construct(optimizer, net.parameters())), loss_of


def gan(net: Any, optimizer: DictConfig) -> tuple[Callable[..., None], Callable[..., Any]]:
    """As PyTorch's own DCGAN example, but both halves of the discriminator's loss go back at once."""
    judge, make = (construct(optimizer, part.parameters()) for part in (net.discriminator, net.generator))

    def learn(x: Tensor, y: Tensor) -> None:
        made = net.generate(torch.randn(len(x), net.latent_dim))
        loss = F.softplus(-net.discriminate(x)).mean() + F.softplus(net.discriminate(made.detach())).mean()
        judge.zero_grad()
        loss.backward()
        judge.step()
        make.zero_grad()
        F.softplus(-net.discriminate(made)).mean().backward()
        make.step()

    return learn, lambda x, y: net.discriminate(x)


def descend(loss_of: Callable[..., Tensor], optimizer: Any) -> Callable[..., None]:
    """A step of one optimizer."""

    def learn(x: Tensor, y: Tensor) -> None:
        loss = loss_of(x, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return learn


def construct(node: DictConfig, first: Any) -> Any:
    """What a ``_target_`` makes of its options, without Hydra."""
    options: Any = OmegaConf.to_container(node, resolve=True)
    module, _, name = options.pop("_target_").rpartition(".")
    return getattr(importlib.import_module(module), name)(first, **options)
