"""Generate text with a language model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dlzoo.config.introspection import check_number
from dlzoo.errors import UserError, at_least

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from dlzoo.nets.base import RecurrentNet
    from dlzoo.specs.inputs import TextSpec


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of the sample command for text."""

    prompt: str = ""
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    length: int = 500
    seed: int = 0

    def __post_init__(self) -> None:
        if self.temperature < 0:
            raise UserError(f"temperature={self.temperature} must be at least 0, which means greedy decoding")
        at_least(1, top_k=self.top_k, length=self.length)
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise UserError(f"top_p={self.top_p} must be above 0 and at most 1: it is a probability")
        check_number("seed", self.seed)


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

    draw = torch.Generator().manual_seed(options.seed)
    logits, state = net.step(prompt)
    for _ in range(options.length):
        scores = logits[0, -1].float().cpu()
        scores[: len(SPECIAL)] = float("-inf")
        token = choose(scores, draw, temperature=options.temperature, top_k=options.top_k, top_p=options.top_p)
        yield token
        logits, state = net.step(torch.tensor([[token]], device=prompt.device), state)


def choose(
    scores: Tensor, draw: Generator, *, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None
) -> int:
    """Sample a token id from scores (V,); options as in `distribution`."""
    import torch

    probabilities = distribution(scores, temperature=temperature, top_k=top_k, top_p=top_p)
    if temperature == 0:
        return int(probabilities.argmax())
    return int(torch.multinomial(probabilities, 1, generator=draw))


def distribution(
    scores: Tensor, *, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None
) -> Tensor:
    """The probabilities to sample with, of scores (…, V).

    Args:
        temperature: 0: all on the most likely token.
        top_k: sample from the k most likely tokens.
        top_p: of these, from the fewest most likely ones that have this probability together, at the temperature
            (A. Holtzman et al., "The Curious Case of Neural Text Degeneration", 2020).
    """
    import torch

    if top_k is not None:
        least = scores.topk(min(top_k, scores.shape[-1])).values[..., -1:]
        scores = scores.where(scores >= least, float("-inf"))
    if temperature == 0:
        return torch.zeros_like(scores).scatter(-1, scores.argmax(-1, keepdim=True), 1.0)
    probabilities = ((scores - scores.amax(-1, keepdim=True)) / temperature).softmax(-1)
    if top_p is not None:
        ordered, tokens = probabilities.sort(descending=True, stable=True)
        before = ordered.cumsum(-1) - ordered
        before[..., 0] = 0.0  # the most likely one is always among them
        probabilities = probabilities.scatter(-1, tokens, ordered.where(before < top_p, 0.0))
    return probabilities
