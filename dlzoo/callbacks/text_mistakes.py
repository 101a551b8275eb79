"""Texts that a classifier took for something else."""

from __future__ import annotations

import textwrap
from typing import Any

import lightning.pytorch as pl
from torch import Tensor

from dlzoo.callbacks.base import Observer
from dlzoo.callbacks.sinks import run_folder, spec_of, tensorboard
from dlzoo.distributed.collectives import gathered
from dlzoo.errors import visible
from dlzoo.specs.inputs import TextSpec
from dlzoo.specs.targets import Classes

Mistake = tuple[float, int, int, int]  # probability of the wrong class, row, the class it is, the class said


class TextMistakes(Observer):
    """After a test: mistakes.txt, the texts whose wrong class was given the highest probability, and the longest ones.

    Args:
        num_mistakes: texts of each of the two lists.
        most: characters shown of a text.
    """

    def __init__(self, *, num_mistakes: int = 20, most: int = 1500) -> None:
        self.num_mistakes = num_mistakes
        self.most = most
        self.mistakes: list[Mistake] = []

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.mistakes = []

    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        spec = spec_of(pl_module)
        if not isinstance(spec, TextSpec) or not isinstance(spec.target, Classes) or not isinstance(outputs, dict):
            return
        rows = trainer.test_dataloaders.batches()[batch_idx]  # type: ignore[union-attr]
        shares, said = outputs["output"].float().softmax(1).max(1)
        target: Tensor = outputs["target"]
        wrong = (said != target).nonzero().flatten().cpu()
        columns = (t.cpu()[wrong].tolist() for t in (shares, rows, target, said))
        self.mistakes += zip(*columns, strict=True)

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        spec, data = spec_of(pl_module), trainer.datamodule  # type: ignore[attr-defined]
        self.mistakes = [mistake for own in gathered(self.mistakes) for mistake in own]
        if not self.mistakes or not hasattr(data, "texts") or not trainer.is_global_zero:
            return
        assert isinstance(spec, TextSpec)
        texts, names = data.texts("test"), spec.target.names
        surest = sorted(self.mistakes, reverse=True)[: self.num_mistakes]
        longest = sorted(self.mistakes, key=lambda mistake: -len(texts[mistake[1]]))[: self.num_mistakes]
        parts = []
        for heading, mistakes in {"most confident": surest, "longest": longest}.items():
            parts.append(f"The {heading} of {len(self.mistakes):,} mistakes\n")
            for share, row, is_, said in mistakes:
                text = textwrap.shorten(texts[row], self.most, placeholder=" …")
                verdict = f"{names[is_]}, taken for {names[said]} with {share:.1%}"
                parts.append(f"{verdict}:\n{textwrap.fill(text, 116, initial_indent='  ', subsequent_indent='  ')}\n")
        report = visible("\n".join(parts))
        (run_folder(trainer) / "mistakes.txt").write_text(report, encoding="utf-8")
        if writer := tensorboard(trainer):
            writer.add_text("mistakes", "\n".join(f"    {line}" for line in report.split("\n")), trainer.global_step)
        self.mistakes = []
