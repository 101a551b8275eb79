"""How good samples are, measured by a classifier of real pictures."""

from __future__ import annotations

import lightning.pytorch as pl
import torch
from torch import Tensor

from dlzoo.callbacks.base import Report, at_rest, data_of
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
"""A class that is less of the samples is lost."""
MANY = 20
"""Of more classes the shares are drawn, but no metrics."""
BATCH_SIZE = 500


class SampleQuality(Report):
    """After a test on data with classes: test/frechet, inception_score, precision, recall and confident_share of
    samples beside test pictures, with smallest and largest share of a class, and sample_classes.png with all shares.

    Each has a baseline with the ending ``_real``: as many real training pictures in place of samples, beside the same
    test pictures. A Fréchet distance below that, or a score above it, is chance. The classifier is described in
    dlzoo/metrics/reference_classifier.py; it is trained on the first run on some data, and kept.

    Args:
        num_samples: and as many test pictures, where there are so many.
        everything: measure all tasks that sample; else adversarial ones only, which have no likelihood.
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
        # Lightning tests in inference mode, in which nothing that is made can learn
        with torch.inference_mode(False), torch.no_grad():
            self.judge(trainer, generator, data)

    def judge(self, trainer: pl.Trainer, task: Generating, data: InMemoryData) -> None:
        """Log the metrics, and draw the classes."""
        rows, test = data.read(data.load("train")), data.arrays("test")
        if rows.x.ndim != 4:
            print("samples are not measured: the images are decoded by workers, and do not fit into memory together")
            return
        ruler = load_reference_classifier(task.spec, rows, task.device)
        target, num = task.spec.target, self.num_samples
        with at_rest(task):
            made = ClassifierOutput(*ruler.read(samples(task, num)))
        order = torch.randperm(rows.num_rows, generator=torch.Generator().manual_seed(SEED))[:num]
        real = ClassifierOutput(*ruler.read(as_float(test.x[:num])))
        others = ClassifierOutput(*ruler.read(as_float(rows.x[order.to(rows.x.device)])))
        found = {f"test/{name}": value for name, value in measures(made, real).items()}
        found |= {f"baseline/{name}_real": value for name, value in measures(others, real).items()}
        shares = class_fractions(made.logits)
        found |= {"test/smallest_share": float(shares.min()), "test/largest_share": float(shares.max())}
        if len(target.names) <= MANY:
            found |= {f"samples/share_{name}": share for name, share in zip(target.names, shares.tolist(), strict=True)}
        right = real.logits.argmax(1) == test.y[:num].cpu()
        found["baseline/ruler_accuracy"] = float(right.float().mean())
        task.log_dict(found, rank_zero_only=True)
        publish(
            trainer, "sample_classes", latent_plots.class_fractions(shares, class_fractions(real.logits), target.names)
        )
        rare = [name for name, share in zip(target.names, shares.tolist(), strict=True) if share < RARE]
        if rare and not task.is_conditional and len(target.names) * RARE < 0.5:
            warn(trainer, collapse(rare, num))


def samples(task: Generating, num: int) -> Tensor:
    """So many new pictures, on the CPU; a net that is told the class makes all equally often."""
    codes = task.draw(num, SEED)
    labels = torch.arange(num, device=task.device) % task.spec.target.num_outputs
    parts = zip(codes.split(BATCH_SIZE), labels.split(BATCH_SIZE), strict=True)
    return torch.cat([task.decode(z, y).float().cpu() for z, y in parts])


def collapse(rare: list[str], num: int) -> str:
    shown = ", ".join(rare[:10]) + (", …" if len(rare) > 10 else "")
    return (
        f"mode collapse: fewer than {RARE:.0%} of {num:,} samples are of class {shown}; train longer, try "
        "another seed, model=wgan_gp, task.label_smoothing=0.1, or a lower task.discriminator_lr"
    )
