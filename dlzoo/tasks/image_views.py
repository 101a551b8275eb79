"""Export views of tasks whose nets produce images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dlzoo.data.base import DataModule
from dlzoo.specs.base import Port
from dlzoo.specs.batch import TensorOrDict, first_tensor
from dlzoo.tasks.views import Tensors, View, as_bytes, typical_batch

if TYPE_CHECKING:
    from dlzoo.tasks.interfaces import Decoding, Encoding


class Reconstructor(View["Encoding"]):
    """Exported autoencoder: from images to their latents and reconstructions."""

    def __init__(self, task: Encoding) -> None:
        super().__init__(task)
        spec, labels = task.spec, label_ports(task)
        self.inputs = (*spec.ports(), *labels)
        one = torch.zeros(1, dtype=torch.long) if labels else None
        size = task.encode(torch.zeros(1, *spec.shape), one).shape[1]
        self.outputs = (
            Port("code", "float32", ("batch", size), "the latent of each image"),
            Port("reconstruction", "float32", ("batch", *spec.shape), "images in [0, 1]"),
        )

    def labels(self, target: TensorOrDict) -> Tensors:
        return (first_tensor(target),) if self.trained.is_conditional else ()

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensors:  # type: ignore[override]
        latents = self.task.encode(self.pixels(x), labels)
        return latents, self.task.decode(latents, labels)

    def expected(self, x: Tensor, labels: Tensor | None = None) -> Tensors:  # type: ignore[override]
        x = self.pixels(x)
        with torch.inference_mode():
            return self.trained.encode(x, labels), self.trained.reconstruct(x, labels)


class Generator(View["Decoding"]):
    """Exported decoder: from latents to images."""

    def __init__(self, task: Decoding) -> None:
        super().__init__(task)
        labels = label_ports(task)
        one = torch.zeros(1, dtype=torch.long) if labels else None
        size = example_latents(task, torch.zeros(1, *task.spec.shape), one).shape[1]
        generator = task.as_generator()
        meaning = "a latent of the encoder" if generator is None else generator.latents
        self.inputs = (Port("code", "float32", ("batch", size), meaning), *labels)
        self.outputs = (Port("picture", "float32", ("batch", *task.spec.shape), "images in [0, 1]"),)

    def real_inputs(self, data: DataModule, num: int) -> Tensors:
        x, target, *_ = typical_batch(data)
        labels = (target[:num],) if self.trained.is_conditional else ()
        with torch.no_grad():
            return (example_latents(self.trained, self.pixels(as_bytes(x[:num])), *labels), *labels)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensors:  # type: ignore[override]
        return (self.task.decode(latents, labels),)

    def expected(self, latents: Tensor, labels: Tensor | None = None) -> Tensors:  # type: ignore[override]
        with torch.inference_mode():
            return (self.trained.decode(latents, labels),)


def example_latents(task: Decoding, x: Tensor, labels: Tensor | None = None) -> Tensor:
    """Typical latents (B, D): sampled if the task is generative, else those of the images x."""
    generator, encoder = task.as_generator(), task.as_encoder()
    if generator is not None:
        return generator.draw(len(x), seed=0)
    if encoder is None:
        raise NotImplementedError(f"{type(task).__name__} derives from Decoding, but not from Encoding or Generating")
    return encoder.encode(x, labels)


def label_ports(task: Decoding) -> tuple[Port, ...]:
    """The label input of a conditional net."""
    return (Port("label", "int64", ("batch",), "the class index"),) if task.is_conditional else ()
