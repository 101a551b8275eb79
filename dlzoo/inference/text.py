"""Generate text with a language model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dlzoo.errors import at_least
from dlzoo.inference.sampling import Sampling

if TYPE_CHECKING:
    from torch import Tensor

    from dlzoo.nets.base import RecurrentNet
    from dlzoo.specs.inputs import TextSpec


@dataclass(frozen=True, kw_only=True)
class Options(Sampling):
    """Options of the sample command for text."""

    prompt: str = ""
    length: int = 500

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(1, length=self.length)


def generate(net: RecurrentNet, spec: TextSpec, options: Options) -> str:
    """A continuation of ``options.prompt``, including it; a pure function of the weights and the options.

    Without a prompt the model starts as after a line break, if in its vocabulary. ``<pad>`` and ``<unk>`` are never
    generated.
    """
    import torch

    prompt_ids = spec.encode(options.prompt) if options.prompt else [max(spec.encode("\n")[0], 1)]
    device = next(net.parameters()).device
    prompt = torch.tensor([prompt_ids], device=device)
    with torch.inference_mode():
        generated = list(_continue(net, prompt, options))
    if not spec.tokenizer.hides_characters:
        return options.prompt + spec.decode(generated)
    text = spec.decode([*prompt_ids, *generated] if options.prompt else generated)
    # keep the prompt's original case and spacing
    decoded_prompt = spec.decode(prompt_ids) if options.prompt else ""
    return options.prompt + text[len(decoded_prompt) :]


def _continue(net: RecurrentNet, prompt: Tensor, options: Options) -> Iterator[int]:
    """prompt: (1, T) -> token ids, one by one."""
    import torch

    from dlzoo.specs.tokenizer import SPECIAL

    draw = options.generator()
    logits, state = net.step(prompt)
    for _ in range(options.length):
        scores = logits[0, -1].float()
        scores[: len(SPECIAL)] = float("-inf")
        token = int(options.draw(scores, draw))
        yield token
        logits, state = net.step(torch.tensor([[token]], device=prompt.device), state)
