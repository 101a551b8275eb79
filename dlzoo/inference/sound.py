"""Generate sound with a net that predicts it sample by sample."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dlzoo.config.introspection import check_number
from dlzoo.errors import UserError, at_least, nearest
from dlzoo.inference.text import distribution

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from dlzoo.nets.base import SampleNet
    from dlzoo.tasks.interfaces import SoundModel

MAX_SAMPLES = 100_000_000
"""Of all recordings together."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of the sample command for sound."""

    n: int = 10
    class_name: str | None = None
    seconds: float | None = None
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.temperature < 0:
            raise UserError(f"temperature={self.temperature} must be at least 0, which means the most likely sample")
        at_least(1, n=self.n, top_k=self.top_k)
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise UserError(f"top_p={self.top_p} must be above 0 and at most 1: it is a probability")
        if self.seconds is not None and not self.seconds > 0:
            raise UserError(f"seconds={self.seconds} must be above 0")
        check_number("seed", self.seed)


def generate(task: SoundModel, options: Options) -> Tensor:
    """(n, T) samples in [-1, 1]: a pure function of the weights and the options."""
    import torch

    from dlzoo.layers import mu_law

    spec = task.spec
    length = spec.length if options.seconds is None else max(1, round(options.seconds * spec.sample_rate))
    if options.n * length > MAX_SAMPLES:
        raise UserError(
            f"n={options.n} recordings of {length:,} samples are more than {MAX_SAMPLES:,} in total: lower n or seconds"
        )
    labels = labels_of(task, options)
    device = next(task.net.parameters()).device
    with torch.inference_mode():
        condition = task.condition(labels.to(device))
        levels = torch.stack([*sample_levels(task.net, options, length, condition)], 1)
    return mu_law.decode(levels)


def sample_levels(net: SampleNet, options: Options, length: int, condition: Tensor | None = None) -> Iterator[Tensor]:
    """The levels (n,) of each sample, one after the other; each costs one step of the net."""
    import torch

    from dlzoo.layers.mu_law import SILENCE

    draw = torch.Generator().manual_seed(options.seed)
    device = next(net.parameters()).device
    state = net.start(options.n, condition)
    levels = torch.full((options.n,), SILENCE)
    for _ in range(length):
        logits, state = net.step(levels[:, None].to(device), state)
        levels = draw_levels(logits[:, -1], draw, options)
        yield levels


def draw_levels(logits: Tensor, draw: Generator, options: Options) -> Tensor:
    """logits: (n, V) -> a level of each, (n,)."""
    import torch

    if not logits.isfinite().all():
        raise UserError("the net's output is not finite: the training of this checkpoint diverged")
    probabilities = distribution(
        logits.float().cpu(), temperature=options.temperature, top_k=options.top_k, top_p=options.top_p
    )
    if options.temperature == 0:
        return probabilities.argmax(1)
    return torch.multinomial(probabilities, 1, generator=draw)[:, 0]


def labels_of(task: SoundModel, options: Options) -> Tensor:
    """The class of each recording, (n,): all in turn, or the one that is asked for."""
    import torch

    names = task.spec.target.names
    if options.class_name is None:
        return torch.arange(options.n) % max(len(names), 1)
    if not task.net.num_conditions:
        raise UserError(f"class={options.class_name}: this model was trained without classes; omit it")
    if options.class_name not in names:
        raise UserError(f"class={options.class_name} is unknown; {nearest(options.class_name, names)}")
    return torch.full((options.n,), names.index(options.class_name))
