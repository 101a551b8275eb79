"""What a language model writes, epoch by epoch."""

from __future__ import annotations

import lightning.pytorch as pl
from torch import nn

from dlzoo.callbacks.base import Observer
from dlzoo.callbacks.sinks import run_folder, spec_of, tensorboard
from dlzoo.errors import visible
from dlzoo.inference.text import Options, generate
from dlzoo.specs.inputs import TextSpec
from dlzoo.specs.targets import NextTokens


class TextSamples(Observer):
    """A text into samples.txt and TensorBoard after each epoch, where the spec's target is `NextTokens`.

    Args:
        length: tokens of the text: characters, or words.
        temperature: as in scripts/sample.py; and so the others.
    """

    def __init__(
        self, *, length: int = 300, prompt: str = "", temperature: float = 0.8, top_k: int | None = None
    ) -> None:
        self.options = Options(prompt=prompt, length=length, temperature=temperature, top_k=top_k)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        spec = spec_of(pl_module)
        if not isinstance(spec, TextSpec) or not isinstance(spec.target, NextTokens) or not trainer.is_global_zero:
            return
        net = pl_module.net
        assert isinstance(net, nn.Module)
        training = net.training
        text = visible(generate(net.eval(), spec, self.options))
        net.train(training)
        epoch = trainer.current_epoch + 1
        with (run_folder(trainer) / "samples.txt").open("w" if epoch == 1 else "a", encoding="utf-8") as file:
            file.write(f"--- epoch {epoch} ---\n{text}\n\n")
        if writer := tensorboard(trainer):
            # four spaces: a block of code in Markdown
            writer.add_text("sample", "\n".join(f"    {line}" for line in text.split("\n")), trainer.global_step)
