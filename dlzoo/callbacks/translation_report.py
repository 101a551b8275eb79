"""What a net that writes token sequences has written in a test: scores, a table, and where it looked."""

from __future__ import annotations

from collections.abc import Sequence

import lightning.pytorch as pl
import torch
from torch import Tensor

from dlzoo.callbacks.base import Report, Step, data_of, eval_mode
from dlzoo.callbacks.sinks import publish, run_folder, run_name, tensorboard
from dlzoo.data.pairs.base import PairData, Table
from dlzoo.distributed.collectives import gather_objects
from dlzoo.errors import at_least, visible
from dlzoo.metrics import translation
from dlzoo.tasks.base import Task
from dlzoo.tasks.interfaces import Transducing
from dlzoo.tasks.transduction import shifted
from dlzoo.utils import csv_writer as csv_files
from dlzoo.utils.files import open_text
from dlzoo.visualization import attention as pictures


class TranslationReport(Report):
    """Test metrics bleu and chrf, from 0 to 100, where outputs are sentences. They compare texts, not token ids: a
    reference keeps the words that the vocabulary lacks.

    Writes translations.csv, source, reference and output of each test pair, to TensorBoard the first ones; and
    attention.png of nets that attend: where each token of some outputs looked, in each layer the mean over the heads.

    Args:
        num_shown: pairs in TensorBoard.
        num_maps: outputs whose attention is drawn, evenly spaced in the test split.
    """

    needs_data = True

    def __init__(self, *, num_shown: int = 20, num_maps: int = 4) -> None:
        at_least(0, "callbacks.translations", num_shown=num_shown, num_maps=num_maps)
        self.num_shown = num_shown
        self.num_maps = num_maps
        self.written: dict[int, list[int]] = {}
        """The tokens of the output by the test row."""

    def applies_to(self, task: Task) -> bool:
        return task.as_transducer() is not None

    def begin_test(self, trainer: pl.Trainer, task: Task) -> None:
        self.written = {}

    def collect(self, trainer: pl.Trainer, task: Task, step: Step) -> None:
        rows: Tensor = trainer.test_dataloaders.batches()[step.batch_idx]  # type: ignore[union-attr]
        self.written |= zip(rows.tolist(), step.outputs["output"].tolist(), strict=True)

    def measure(self, trainer: pl.Trainer, task: Task) -> None:
        model, data = task.as_transducer(), data_of(trainer)
        parts = gather_objects(self.written)
        self.written = dict(sorted(item for part in parts for item in part.items()))
        if model is None or not model.target.is_text or not isinstance(data, PairData) or not trainer.is_global_zero:
            return
        outputs, references = self.outputs(model), self.pairs(data).targets
        found = translation.scores(outputs, references, lower=model.target.tokenizer.lower)
        task.log_dict({"test/bleu": found.bleu, "test/chrf": found.chrf}, rank_zero_only=True)

    def write(self, trainer: pl.Trainer, task: Task) -> None:
        model, data = task.as_transducer(), data_of(trainer)
        if model is None or not isinstance(data, PairData) or not self.written:
            return
        rows = [*zip(*self.pairs(data), self.outputs(model), strict=True)]
        with open_text(run_folder(trainer) / "translations.csv", "w") as file:
            table = csv_files.Writer(file)
            table.writerow(["source", "reference", "output"])
            table.writerows([visible(cell, keep="") for cell in row] for row in rows)
        if writer := tensorboard(trainer):
            writer.add_text("translations", _markdown(rows[: self.num_shown]), trainer.global_step)
        if model.net.attends and self.num_maps:
            with eval_mode(task):
                examples = self.examples(model, data)
            publish(trainer, "attention", pictures.maps(examples, heading=f"attention, {run_name(trainer)}"))
        self.written = {}

    def outputs(self, model: Transducing) -> list[str]:
        return [model.target.decode(tokens) for tokens in self.written.values()]

    def pairs(self, data: PairData) -> Table:
        """The texts of the rows that were tested."""
        texts = data.texts("test")
        return Table(*([side[row] for row in self.written] for side in texts))

    def examples(self, model: Transducing, data: PairData) -> list[pictures.Map]:
        """Where the tokens of some outputs looked."""
        rows, found = [*self.written], []
        for place in torch.linspace(0, len(rows) - 1, min(self.num_maps, len(rows))).round().long().tolist():
            x = data.arrays("test").sources.padded(torch.tensor([rows[place]])).to(model.device)
            outputs = model.target.tokens(self.written[rows[place]])
            y = torch.tensor([self.written[rows[place]][: len(outputs) + 1]], device=model.device)
            _, _, weights = model.net.decode(shifted(y), model.net.encode(x), weights=True)
            assert weights is not None
            names = [*outputs, "<end>"][: y.shape[1]]
            sources = [model.spec.vocabulary[i] for i in x[0].tolist()]
            found.append(pictures.Map(sources, names, weights[:, 0].float().cpu()))
        return found


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    """A table of sources, references and outputs."""
    lines = ["| source | reference | output |", "| --- | --- | --- |"]
    for row in rows:
        cells = (visible(cell, keep="").replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;") for cell in row)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
