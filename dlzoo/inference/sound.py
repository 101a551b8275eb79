"""Generate sound with a net that predicts it sample by sample."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dlzoo.errors import UserError, at_least, nearest
from dlzoo.inference.sampling import Sampling

if TYPE_CHECKING:
    from torch import Tensor

    from dlzoo.nets.base import SampleNet
    from dlzoo.tasks.interfaces import SoundModel

MAX_SAMPLES = 100_000_000
"""Of all recordings together."""
MAX_DEFAULT_LENGTH = 100_000
"""Samples of a recording whose length nobody asked for, but the checkpoint: each is one pass through the net."""


@dataclass(frozen=True, kw_only=True)
class Options(Sampling):
    """Options of the sample command for sound."""

    n: int = 10
    class_name: str | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(1, n=self.n)
        if self.seconds is not None and not self.seconds > 0:
            raise UserError(f"seconds={self.seconds} must be above 0")


def generate(task: SoundModel, options: Options) -> Tensor:
    """(n, T) samples in [-1, 1]: a pure function of the weights and the options."""
    import torch

    from dlzoo.layers import mu_law

    spec = task.spec
    length = spec.length if options.seconds is None else max(1, round(options.seconds * spec.sample_rate))
    if options.seconds is None and length > MAX_DEFAULT_LENGTH:
        raise UserError(
            f"this model's recordings last {spec.seconds:,.4g} seconds: to generate these {length:,} samples takes "
            f"a pass through the net each; give a length, such as seconds={MAX_DEFAULT_LENGTH / spec.sample_rate:.2g}"
        )
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

    draw = options.generator()
    device = next(net.parameters()).device
    state = net.start(options.n, condition)
    levels = torch.full((options.n,), SILENCE)
    for _ in range(length):
        logits, state = net.step(levels[:, None].to(device), state)
        levels = options.draw(logits[:, -1], draw)
        yield levels


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
