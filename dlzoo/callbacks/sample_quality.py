"""Quality of samples, measured by a classifier of real images."""

from __future__ import annotations

import lightning.pytorch as pl
import torch
from torch import Tensor

from dlzoo.callbacks.base import Report, data_of, eval_mode
from dlzoo.callbacks.sinks import publish, warn
from dlzoo.data.base import InMemoryData
from dlzoo.data.loaders import as_float
from dlzoo.metrics.generative import ClassifierOutput, class_fractions, measures
from dlzoo.metrics.reference_classifier import load_reference_classifier
from dlzoo.tasks.base import Task
from dlzoo.tasks.interfaces import Generating
from dlzoo.visualization import latent as latent_plots

SEED = 1
RARE = 0.01
"""A class with a smaller fraction of the samples is missing."""
MAX_CLASSES = 20
"""With more classes the fractions are drawn, but are not metrics."""
BATCH_SIZE = 500


class SampleQuality(Report):
    """After a test on data with classes: test/frechet, inception_score, precision, recall and confident_share of
    samples compared with test images, smallest_share and largest_share of a class, and sample_classes.png with all
    fractions.

    Each has a baseline with the suffix ``_real``: as many real training images in place of samples, compared with the
    same test images. A Fréchet distance below it, or a score above it, is chance. The classifier is described in
    dlzoo/metrics/reference_classifier.py; it is trained in the first run on a data set, and cached.

    Args:
        num_samples: also of test images, if there are as many.
        everything: measure all generative tasks; else only adversarial ones, which have no likelihood.
    """

    needs_data = True

    def __init__(self, *, num_samples: int = 10_000, everything: bool = False) -> None:
        self.num_samples = num_samples
        self.everything = everything

    def applies_to(self, task: Task) -> bool:
        generator = task.as_generator()
        is_wanted = generator is not None and (self.everything or generator.is_adversarial)
        return is_wanted and task.spec.target.classes is not None

    def measure(self, trainer: pl.Trainer, task: Task) -> None:
        generator, data = task.as_generator(), data_of(trainer)
        if generator is None or not isinstance(data, InMemoryData) or not trainer.is_global_zero:
            return  # the other ranks would measure the same
        # Lightning tests in inference mode, whose tensors cannot require gradients
        with torch.inference_mode(False), torch.no_grad():
            self.evaluate(trainer, generator, data)

    def evaluate(self, trainer: pl.Trainer, task: Generating, data: InMemoryData) -> None:
        """Log the metrics, and draw the classes."""
        rows, test = data.read(data.load("train")), data.arrays("test")
        if rows.x.ndim != 4:
            warn(
                trainer, "sample quality is not measured: the images do not fit into memory, and are decoded by workers"
            )
            return
        classifier = load_reference_classifier(task.spec, rows, task.device)
        target, num = task.spec.target, self.num_samples
        with eval_mode(task):
            generated = ClassifierOutput(*classifier.read(samples(task, num)))
        order = torch.randperm(rows.num_rows, generator=torch.Generator().manual_seed(SEED))[:num]
        real = ClassifierOutput(*classifier.read(as_float(test.x[:num])))
        train = ClassifierOutput(*classifier.read(as_float(rows.x[order.to(rows.x.device)])))
        metrics = {f"test/{name}": value for name, value in measures(generated, real).items()}
        metrics |= {f"baseline/{name}_real": value for name, value in measures(train, real).items()}
        fractions = class_fractions(generated.logits)
        metrics |= {"test/smallest_share": float(fractions.min()), "test/largest_share": float(fractions.max())}
        if len(target.names) <= MAX_CLASSES:
            metrics |= {f"samples/share_{name}": p for name, p in zip(target.names, fractions.tolist(), strict=True)}
        correct = real.logits.argmax(1) == test.y[:num].cpu()
        metrics["baseline/ruler_accuracy"] = float(correct.float().mean())
        task.log_dict(metrics, rank_zero_only=True)
        figure = latent_plots.class_fractions(fractions, class_fractions(real.logits), target.names)
        publish(trainer, "sample_classes", figure)
        rare = [name for name, p in zip(target.names, fractions.tolist(), strict=True) if p < RARE]
        if rare and not task.is_conditional and len(target.names) * RARE < 0.5:
            warn(trainer, collapse_warning(rare, num))


def samples(task: Generating, num: int) -> Tensor:
    """Generated images, on the CPU; a class-conditional net generates all classes equally often."""
    latents = task.draw(num, SEED)
    labels = torch.arange(num, device=task.device) % task.spec.target.num_outputs
    parts = zip(latents.split(BATCH_SIZE), labels.split(BATCH_SIZE), strict=True)
    return torch.cat([task.decode(z, y).float().cpu() for z, y in parts])


def collapse_warning(rare: list[str], num: int) -> str:
    shown = ", ".join(rare[:10]) + (", …" if len(rare) > 10 else "")
    return (
        f"mode collapse: fewer than {RARE:.0%} of {num:,} samples are of class {shown}; train longer, try "
        "another seed, model=wgan_gp, task.label_smoothing=0.1, or a lower task.discriminator_lr"
    )
