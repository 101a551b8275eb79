"""The bare side of the benchmark: how a net learns from a batch, and is measured on one, in plain PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

MakeOptimizer = Callable[[Iterable[nn.Parameter]], Optimizer]


class Steps(NamedTuple):
    """Called with pictures in [0, 1] and labels."""

    learn: Callable[[Tensor, Tensor], None]
    measure: Callable[[Tensor, Tensor], Any]


def classifier(net: Any, make_optimizer: MakeOptimizer) -> Steps:
    optimizer = make_optimizer(net.parameters())
    val_loss, num_right = torch.zeros(()), torch.zeros(())

    def learn(x: Tensor, y: Tensor) -> None:
        loss = F.cross_entropy(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def measure(x: Tensor, y: Tensor) -> None:
        output = net(x)
        val_loss.add_(F.cross_entropy(output, y, reduction="sum"))
        num_right.add_((output.argmax(1) == y).sum())

    return Steps(learn, measure)


def vae(net: Any, make_optimizer: MakeOptimizer) -> Steps:
    optimizer = make_optimizer(net.parameters())

    def loss_of(x: Tensor, y: Tensor) -> Tensor:
        mean, log_var = net.encode(x)
        z = mean + (log_var / 2).exp() * torch.randn_like(mean)
        bce = F.binary_cross_entropy_with_logits(net.decode(z), x, reduction="sum")
        return (bce + (mean.square() + log_var.exp() - 1 - log_var).sum() / 2) / len(x)

    def learn(x: Tensor, y: Tensor) -> None:
        loss = loss_of(x, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return Steps(learn, loss_of)


def gan(net: Any, make_optimizer: MakeOptimizer) -> Steps:
    """As PyTorch's own DCGAN example, but both halves of the discriminator's loss go back at once."""
    judge, make = make_optimizer(net.discriminator.parameters()), make_optimizer(net.generator.parameters())

    def learn(x: Tensor, y: Tensor) -> None:
        made = net.generate(torch.randn(len(x), net.latent_dim))
        loss = F.softplus(-net.discriminate(x)).mean() + F.softplus(net.discriminate(made.detach())).mean()
        judge.zero_grad()
        loss.backward()
        judge.step()
        make.zero_grad()
        F.softplus(-net.discriminate(made)).mean().backward()
        make.step()

    return Steps(learn, lambda x, y: net.discriminate(x))


STEPS: dict[str, Callable[[Any, MakeOptimizer], Steps]] = {"vae": vae, "dcgan": gan}
"""By model; all others learn classes."""
