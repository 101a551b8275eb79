"""What an exported file computes: from raw inputs to what the checkpoint answers.

A view joins what the house does around a net (pixels scaled, inputs standardised, logits turned into probabilities, the
steps of a forecast fed back) into one module of tensors in and tensors out. Beside it stands `View.expected`, the same
answers by the way that the house's own commands take, which every exported file is held against.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from dlzoo.errors import UserError
from dlzoo.export.scan_rnn import scanned
from dlzoo.inference.predict import predict
from dlzoo.specs.base import Port
from dlzoo.tasks.base import Task
from dlzoo.tasks.forecast import Forecast
from dlzoo.tasks.interfaces import Encoding, Generating, PictureTask
from dlzoo.tasks.language import Language
from dlzoo.tasks.rl.agent import Player
from dlzoo.tasks.rl.random_agent import RandomPlay
from dlzoo.tasks.supervised import Supervised

Part = Literal["decoder"]
Tensors = tuple[Tensor, ...]


class View(nn.Module):
    """One way to use a trained task: ``forward`` takes a tensor for each of ``inputs``, gives one for each output."""

    def __init__(self, task: Any) -> None:
        super().__init__()
        object.__setattr__(self, "trained", task)  # not as a submodule: the copy below is what is exported
        self.task: Any = scanned(task)
        self.spec = task.spec

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    trained: Any

    @abstractmethod
    def forward(self, *inputs: Tensor) -> Tensors:
        """The tensors of ``outputs``."""

    @abstractmethod
    def expected(self, *inputs: Tensor) -> Tensors:
        """The same, from the checkpoint itself."""

    def real_inputs(self, source: Any, num: int) -> Tensors:
        """Up to ``num`` real examples from a source of data."""
        batch = first_batch(source)
        x = batch[0][:num]
        return (as_bytes(x) if self.spec.images else x, *self.labels(batch[1][:num]))

    def labels(self, target: Tensor) -> Tensors:
        """Of a batch, for views that are told the class."""
        return ()

    def pixels(self, x: Tensor) -> Tensor:
        """Bytes as the net's task wants them; other inputs as they are."""
        return x.float() * (1 / 255) if self.spec.images else x


class Predictor(View):
    """Of a supervised task: probabilities of the classes, or values."""

    def __init__(self, task: Supervised) -> None:
        super().__init__(task)
        self.inputs = task.spec.ports()
        self.outputs = task.spec.target.ports()

    def forward(self, x: Tensor) -> Tensors:  # type: ignore[override]
        return (self.task.objective.answers(self.task(self.pixels(x))),)

    def expected(self, x: Tensor) -> Tensors:  # type: ignore[override]
        return (predict(self.trained, self.pixels(x)),)


class Reconstructor(View):
    """Of a task that encodes pictures: their codes, and the pictures that these stand for."""

    def __init__(self, task: Encoding) -> None:
        super().__init__(task)
        spec, told = task.spec, label_ports(task)
        self.inputs = (*spec.ports(), *told)
        code = ("batch", task.encode(torch.zeros(1, *spec.shape), *_zeros(told)).shape[1])
        self.outputs = (
            Port("code", "float32", code, "the code of each picture"),
            Port("reconstruction", "float32", ("batch", *spec.shape), "pictures in [0, 1]"),
        )

    def labels(self, target: Tensor) -> Tensors:
        return (target,) if self.trained.is_conditional else ()

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensors:  # type: ignore[override]
        code = self.task.encode(self.pixels(x), labels)
        return code, self.task.decode(code, labels)

    def expected(self, x: Tensor, labels: Tensor | None = None) -> Tensors:  # type: ignore[override]
        x = self.pixels(x)
        with torch.inference_mode():
            return self.trained.encode(x, labels), self.trained.reconstruct(x, labels)


class Generator(View):
    """Of a task that makes pictures from codes."""

    def __init__(self, task: PictureTask) -> None:
        super().__init__(task)
        told = label_ports(task)
        if isinstance(task, Generating):
            size, meaning = task.latent_dim, "drawn from a standard normal distribution"
        else:
            assert isinstance(task, Encoding)
            size, meaning = task.encode(torch.zeros(1, *task.spec.shape)).shape[1], "a code of the encoder"
        self.inputs = (Port("code", "float32", ("batch", size), meaning), *told)
        self.outputs = (Port("picture", "float32", ("batch", *task.spec.shape), "pictures in [0, 1]"),)

    def real_inputs(self, source: Any, num: int) -> Tensors:
        x, target = first_batch(source)[:2]
        told = (target[:num],) if self.trained.is_conditional else ()
        if isinstance(self.trained, Generating):
            return (self.trained.draw(len(x[:num]), seed=0), *told)
        with torch.no_grad():
            return (self.trained.encode(self.pixels(as_bytes(x[:num])), *told), *told)

    def forward(self, code: Tensor, labels: Tensor | None = None) -> Tensors:  # type: ignore[override]
        return (self.task.decode(code, labels),)

    def expected(self, code: Tensor, labels: Tensor | None = None) -> Tensors:  # type: ignore[override]
        with torch.inference_mode():
            return (self.trained.decode(code, labels),)


class Writer(View):
    """Of a language model: how likely each token is to come next, and the state to go on from."""

    def __init__(self, task: Language) -> None:
        super().__init__(task)
        spec, states = task.spec, _states(task, torch.ones(1, 1, dtype=torch.long))
        shape, names = (len(states[0]), "batch", states[0].shape[2]), ["h", "c"][: len(states)]
        before = (
            Port(name, "float32", shape, "state before the first token; zeros at a text's start") for name in names
        )
        after = (Port(f"{name}_after", "float32", shape, "state after the last token, to go on from") for name in names)
        self.inputs = (*spec.ports(), *before)
        self.outputs = (
            Port("probabilities", "float32", ("batch", "length", spec.num_tokens), "of the token after each"),
            *after,
        )

    def real_inputs(self, source: Any, num: int) -> Tensors:
        """A piece of real text, and the state that the piece before it leaves."""
        x = first_batch(source)[0][:num]
        half = min(x.shape[1] // 2, num)
        return (x[:, half : 2 * half], *_states(self.trained, x[:, :half]))

    def forward(self, tokens: Tensor, *state: Tensor) -> Tensors:  # type: ignore[override]
        return self._advanced(self.task, tokens, state)

    def expected(self, tokens: Tensor, *state: Tensor) -> Tensors:  # type: ignore[override]
        with torch.inference_mode():
            return self._advanced(self.trained, tokens, state)

    def _advanced(self, task: Any, tokens: Tensor, state: Tensors) -> Tensors:
        logits, after = task.advance(tokens, state if len(state) > 1 else state[0])
        return (logits.softmax(-1), *(after if isinstance(after, tuple) else (after,)))


class Forecaster(View):
    """Of a task that forecasts: from raw values to the next raw values, its own outputs fed back."""

    def __init__(self, task: Forecast) -> None:
        super().__init__(task)
        spec = task.spec
        length: int | str = "length" if task.stateful else spec.num_needed
        known = "all raw values until now" if task.stateful else "the last raw values until now"
        shape = ("batch", length, spec.num_columns)
        self.inputs = (Port("history", "float64", shape, known, least=spec.num_needed),)
        self.outputs = (Port("forecast", "float64", ("batch", spec.horizon, spec.num_columns), "the next raw values"),)

    def real_inputs(self, source: Any, num: int) -> Tensors:
        """Histories that end at the last known values and before."""
        history = first_batch(source)[0][0]
        longest = max(len(history) - num + 1, self.spec.num_needed + 1)
        length = longest if self.trained.stateful else self.spec.num_needed
        return (history.unfold(0, length, 1)[-num:].transpose(1, 2).contiguous(),)

    def forward(self, history: Tensor) -> Tensors:  # type: ignore[override]
        task, spec = self.task, self.spec
        raw = history.transpose(0, 1)  # (N, B, D): the transform works along the first dimension
        known = spec.transform.apply(raw).float().transpose(0, 1)
        if task.stateful:
            steps = task.read_on(known, spec.horizon)
        else:
            steps = task.feed_back(known[:, -spec.window :], spec.horizon)
        return (spec.transform.invert(steps.transpose(0, 1).double(), raw).transpose(0, 1),)

    def expected(self, history: Tensor) -> Tensors:  # type: ignore[override]
        return (torch.stack([predict(self.trained, one) for one in history]),)


class ActionValues(View):
    """Of an agent: what each action is worth in the long run; the greedy one takes the largest."""

    def __init__(self, task: Player) -> None:
        super().__init__(task)
        spec: Any = task.spec
        if spec.states:
            self.inputs = (Port("state", "int64", ("batch",), f"the number of the state, of {spec.num_states}"),)
        elif spec.is_picture:
            self.inputs = (Port("observation", "uint8", ("batch", *spec.shape), "pixels from 0 to 255, as wrapped"),)
        else:
            self.inputs = (Port("observation", "float32", ("batch", *spec.shape), "as the environment shows it"),)
        shape = ("batch", spec.target.num_outputs)
        self.outputs = (Port("values", "float32", shape, "of the actions, in their order"),)

    def real_inputs(self, source: Any, num: int) -> Tensors:
        """States in their order, or what is observed after 0, 1, 2, … steps at random."""
        if self.spec.states:
            return (torch.arange(min(num, self.spec.num_states)),)
        environments = source.environments(num)
        environments.reset(source.seeds("test", num))
        draw = np.random.default_rng(0)
        seen = environments.observations.copy()
        for _ in range(8):
            environments.step(draw.integers(self.spec.target.num_outputs, size=num))
            chosen = draw.random(num) < 0.5
            seen[chosen] = environments.observations[chosen]
        environments.close()
        return (torch.from_numpy(seen),)

    def forward(self, x: Tensor) -> Tensors:  # type: ignore[override]
        if self.spec.states:
            return (self.task(x),)
        return (self.task(x.float() * (1 / 255) if self.spec.is_picture else x),)

    def expected(self, x: Tensor) -> Tensors:  # type: ignore[override]
        with torch.inference_mode():
            return (self.trained(self.trained.as_input(x.numpy())),)


def view_of(task: Task, part: Part | None = None) -> View:
    """How the task is used outside.

    Raises:
        UserError: it has no such part, or is of a kind that this module does not know.
    """
    if part == "decoder" and not isinstance(task, PictureTask):
        raise UserError(f"part=decoder: the model ({type(task).__name__}) makes no pictures; leave part out")
    if isinstance(task, Encoding) and part is None:
        return Reconstructor(task)
    if isinstance(task, PictureTask):
        return Generator(task)
    if isinstance(task, Language):
        return Writer(task)
    if isinstance(task, Forecast):
        return Forecaster(task)
    if isinstance(task, RandomPlay):
        raise UserError("an agent that plays at random has learnt nothing: there is nothing to export")
    if isinstance(task, Player):
        return ActionValues(task)
    if isinstance(task, Supervised):
        return Predictor(task)
    raise UserError(f"{type(task).__name__} cannot be exported: it says nowhere what its net's outputs mean")


def label_ports(task: PictureTask) -> tuple[Port, ...]:
    """For a net that is told the class."""
    return (Port("label", "int64", ("batch",), "the number of the class"),) if task.is_conditional else ()


def first_batch(source: Any) -> Tensors:
    """Of the test split, as it is stored."""
    return next(iter(source.test_dataloader()))


def as_bytes(x: Tensor) -> Tensor:
    """Pictures as bytes: those of the data, or the nearest to pictures in [0, 1]."""
    return x if x.dtype == torch.uint8 else (x * 255).round().to(torch.uint8)


def _states(task: Any, tokens: Tensor) -> Tensors:
    with torch.no_grad():
        state = task.advance(tokens, None)[1]
    return state if isinstance(state, tuple) else (state,)


def _zeros(ports: Sequence[Port]) -> Tensors:
    return tuple(torch.zeros(1, dtype=torch.long) for _ in ports)
