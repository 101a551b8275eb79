"""Recordings as pictures, and to be heard in TensorBoard: those of training and test, and generated ones."""

from __future__ import annotations

from collections.abc import Sequence

import lightning.pytorch as pl
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor

from dlzoo.callbacks.base import Report, Step, data_of, eval_mode
from dlzoo.callbacks.prediction_grid import is_named, target_titles
from dlzoo.callbacks.sinks import publish, run_folder, tensorboard
from dlzoo.errors import at_least
from dlzoo.inference.sound import Options, generate, labels_of
from dlzoo.metrics.examples import BalancedSample, Examples, join, worst
from dlzoo.tasks.base import Task
from dlzoo.utils import files, sound_files
from dlzoo.visualization import sound as pictures


class RecordingsReport(Report):
    """training_recordings.png when the fit starts: augmented recordings, as the net receives them; recordings.png after
    a test of a classifier, its most confident mistakes first. Each with its samples and its spectrogram, and in
    TensorBoard to be heard.

    Args:
        num: recordings in each picture, at most twelve.
    """

    needs_data = True

    def __init__(self, *, num: int = 8) -> None:
        at_least(1, "callbacks.recordings", num=num)
        self.num = num
        self.first = BalancedSample(num)
        self.mistakes: Examples | None = None

    def applies_to(self, task: Task) -> bool:
        return task.spec.audio is not None

    def write_start(self, trainer: pl.Trainer, task: Task) -> None:
        data = data_of(trainer)
        with isolate_rng():
            batch = next(iter(trainer.train_dataloader))  # type: ignore[arg-type]
            batch = data.transfer_batch_to_device(batch, task.device, 0)
            x, y = data.on_after_batch_transfer(batch, 0)[:2]
        x, y = x[: self.num, 0], y[: self.num].cpu()
        titles = [""] * len(x) if not task.spec.target.names else target_titles(y, task.spec.target)
        _publish(trainer, task, "training_recordings", x, titles, "training recordings as the net gets them")

    def begin_test(self, trainer: pl.Trainer, task: Task) -> None:
        self.first, self.mistakes = BalancedSample(self.num), None

    def collect(self, trainer: pl.Trainer, task: Task, step: Step) -> None:
        if task.as_predictor() is None or task.spec.target.classes is None or is_named(task):
            return
        batch = (step.batch[0], step.outputs["target"], step.outputs["output"].detach())
        self.first.add(batch, batch[1])
        self.mistakes = worst(join(self.mistakes, worst(batch, self.num // 2)), self.num // 2)

    def write(self, trainer: pl.Trainer, task: Task) -> None:
        if not len(self.first):
            return
        first: Examples = self.first.stacked()  # type: ignore[assignment]
        num_wrong = 0 if self.mistakes is None else len(self.mistakes[0])
        x, target, output = (part[: self.num] for part in join(self.mistakes, first))
        names, probabilities = task.spec.target.names, output.float().softmax(1).max(1)
        titles = [
            f"{names[label]}: {names[k]} {p:.0%}"
            for label, k, p in zip(
                target.tolist(), probabilities.indices.tolist(), probabilities.values.tolist(), strict=True
            )
        ]
        heading = "test recordings: the class, and the predicted one with its probability"
        if num_wrong:
            heading += f"; the first {num_wrong} are the most confident mistakes"
        _publish(trainer, task, "recordings", x[:, 0], titles, heading)
        self.begin_test(trainer, task)


class SoundSamples(Report):
    """samples.png and WAV files in samples/ after a test of a net that generates sound; also in TensorBoard.

    Args:
        n: number of recordings, of all classes in turn.
        seconds: length of each; None: as in the data.
        temperature, top_k, top_p, seed: as in dlzoo sample.
    """

    def __init__(
        self,
        *,
        n: int = 8,
        seconds: float | None = 0.5,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int = 0,
    ) -> None:
        self.options = Options(n=n, seconds=seconds, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed)

    def applies_to(self, task: Task) -> bool:
        return task.as_sound_model() is not None

    def write(self, trainer: pl.Trainer, task: Task) -> None:
        model = task.as_sound_model()
        assert model is not None
        with eval_mode(model.net):
            x = generate(model, self.options)
        names = model.spec.target.names if model.net.num_conditions else ()
        titles = [names[label] if names else "" for label in labels_of(model, self.options).tolist()]
        folder = run_folder(trainer) / "samples"
        folder.mkdir(exist_ok=True)
        for name, content in sound_files.wav_files(x.numpy(), model.spec.sample_rate).items():
            files.write(folder / name, content)
        _publish(trainer, task, "samples", x, titles, "generated recordings")


def _publish(trainer: pl.Trainer, task: Task, name: str, x: Tensor, titles: Sequence[str], heading: str) -> None:
    """A picture of recordings x: (N, L), and in TensorBoard their sound."""
    spec = task.spec.audio
    assert spec is not None
    publish(trainer, name, pictures.recordings(x, spec.sample_rate, titles, heading=heading))
    if writer := tensorboard(trainer):
        for i, samples in enumerate(x[: pictures.MAX_RECORDINGS]):
            writer.add_audio(f"{name}/{i}", samples[None].cpu().float(), trainer.global_step, spec.sample_rate)
