"""Samples of a language model after each epoch."""

from __future__ import annotations

import lightning.pytorch as pl

from dlzoo.callbacks.base import Report, eval_mode
from dlzoo.callbacks.sinks import run_folder, tensorboard
from dlzoo.errors import visible
from dlzoo.inference.text import Options, generate
from dlzoo.tasks.base import Task
from dlzoo.utils.files import open_text


class TextSamples(Report):
    """Writes a sample to samples.txt and TensorBoard after each epoch of a language model.

    Args:
        length: tokens to generate: characters, words or pieces of words.
        prompt, temperature, top_k, top_p: as in dlzoo sample.
    """

    def __init__(
        self,
        *,
        length: int = 300,
        prompt: str = "",
        temperature: float = 0.8,
        top_k: int | None = None,
        top_p: float | None = None,
    ) -> None:
        self.options = Options(prompt=prompt, length=length, temperature=temperature, top_k=top_k, top_p=top_p)

    def applies_to(self, task: Task) -> bool:
        return task.as_language_model() is not None

    def write_epoch(self, trainer: pl.Trainer, task: Task) -> None:
        model = task.as_language_model()
        assert model is not None
        with eval_mode(model.net):
            text = visible(generate(model.net, model.spec, self.options))
        epoch = trainer.current_epoch + 1
        with open_text(run_folder(trainer) / "samples.txt", "w" if epoch == 1 else "a") as file:
            file.write(f"--- epoch {epoch} ---\n{text}\n\n")
        if writer := tensorboard(trainer):
            # four spaces: a code block in Markdown
            writer.add_text("sample", "\n".join(f"    {line}" for line in text.split("\n")), trainer.global_step)
