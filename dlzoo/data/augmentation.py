"""Base class of augmentations."""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from dlzoo.specs.base import Spec


class Augmentation(nn.Module):
    """Random, label-preserving changes of training batches, (inputs, targets) -> the same, on their device."""

    accepts: ClassVar[tuple[type[Spec], ...]]
    """The kinds of data that it changes; of a module that is no `Augmentation`, images."""
