"""Exported nets that write token sequences: the encoder, and a step of the decoder."""

from __future__ import annotations

from itertools import chain

import torch
import torch.nn.functional as F
from torch import Tensor

from dlzoo.data.base import DataModule
from dlzoo.nets.base import Encoded
from dlzoo.specs.base import Port
from dlzoo.specs.token_sequences import END, START
from dlzoo.specs.tokenizer import PAD
from dlzoo.tasks.interfaces import Transducing
from dlzoo.tasks.views import Tensors, View, typical_batch

KEYS = "keys and values, (…, 0, …) before the first token"


class _Part(View[Transducing]):
    """What both have in common: how the tensors of `Encoded` are called."""

    def __init__(self, task: Transducing) -> None:
        super().__init__(task)
        with torch.no_grad():
            example = task.net.encode(torch.full((1, 2), START))
        self.num_memories = len(example.memory)
        self.grows = tuple(part.ndim == 4 for part in example.state)
        """Whether a part of the state has values of each token so far."""
        self.memory_ports = tuple(
            Port(f"memory_{i}", "float32", (len(part), "batch", "length", part.shape[3]), "of each input token")
            for i, part in enumerate(example.memory)
        )
        self.state_ports = tuple(_state_port(i, part) for i, part in enumerate(example.state))

    def first_states(self, encoded: Encoded) -> Tensors:
        """The state before the first token, without parts that are empty then."""
        return tuple(part for part, grows in zip(encoded.state, self.grows, strict=True) if not grows)


class Encoder(_Part):
    """Exported encoder: from tokens to what the decoder attends to, and the state that it starts from."""

    def __init__(self, task: Transducing) -> None:
        super().__init__(task)
        states = (port for port, grows in zip(self.state_ports, self.grows, strict=True) if not grows)
        self.inputs = task.spec.ports()
        self.outputs = (*self.memory_ports, *states)

    def forward(self, tokens: Tensor) -> Tensors:  # type: ignore[override]
        return self._encoded(self.task, tokens)

    def expected(self, tokens: Tensor) -> Tensors:  # type: ignore[override]
        with torch.inference_mode():
            return self._encoded(self.trained, tokens)

    def real_inputs(self, data: DataModule, num: int) -> Tensors:
        return (typical_batch(data)[0][:num],)

    def _encoded(self, task: Transducing, tokens: Tensor) -> Tensors:
        encoded = task.net.encode(tokens)
        return (*encoded.memory, *self.first_states(encoded))


class DecoderStep(_Part):
    """Exported step of the decoder: from the token before to the probabilities of the next one, and the state after."""

    def __init__(self, task: Transducing) -> None:
        super().__init__(task)
        token = Port("token", "int64", ("batch", 1), f"the token before, {START} at the beginning")
        inputs = task.spec.ports() if self.num_memories else ()
        self.inputs = (token, *inputs, *self.memory_ports, *self.state_ports)
        after = (
            Port(f"{port.name}_after", port.dtype, (*port.shape[:2], "past + 1", *port.shape[3:]), "to continue from")
            if grows
            else Port(f"{port.name}_after", port.dtype, port.shape, "to continue from")
            for port, grows in zip(self.state_ports, self.grows, strict=True)
        )
        self.outputs = (*task.target.ports(), *after)

    def real_inputs(self, data: DataModule, num: int) -> Tensors:
        """The second token of real targets, and the state after the first: two, since a size of 1 would be taken as
        fixed."""
        x, y = (part[:num] for part in typical_batch(data)[:2])
        y, net = F.pad(y, (0, 1), value=END), self.trained.net
        with torch.no_grad():
            _, encoded, _ = net.decode(torch.cat([torch.full_like(y[:, :1], START), y[:, :1]], 1), net.encode(x))
        inputs = (x,) if self.num_memories else ()
        return (y[:, 1:2].contiguous(), *inputs, *encoded.memory, *encoded.state)

    def forward(self, *inputs: Tensor) -> Tensors:
        return self._stepped(self.task, *inputs)

    def expected(self, *inputs: Tensor) -> Tensors:
        with torch.inference_mode():
            return self._stepped(self.trained, *inputs)

    def _stepped(self, task: Transducing, token: Tensor, *given: Tensor) -> Tensors:
        num = self.num_memories
        tokens, rest = (given[0], given[1:]) if num else (torch.ones_like(token), given)
        encoded = Encoded(rest[:num], rest[num:], (tokens != PAD)[None])
        logits, after, _ = task.net.decode(token, encoded)
        return (logits[:, 0].softmax(1), *chain(after.state))


def _state_port(number: int, part: Tensor) -> Port:
    """Of a part of the decoder's state."""
    name, num, size = f"state_{number}", part.shape[0], part.shape[-1]
    if part.ndim == 4:
        return Port(name, "float32", (num, "batch", "past", size), KEYS, least=0)
    return Port(name, "float32", (num, "batch", size), "of the decoder")
