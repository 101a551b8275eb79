"""Inspect an image classifier: what its layers respond to, where the evidence lies, and where it fails.

    dlzoo inspect ckpt=<run>/checkpoints/best.ckpt
    dlzoo inspect ckpt=… input=photo.png top_k=5
    dlzoo inspect ckpt=… data=image_folder data.path=photos num=12 output=looks

Options:
    ckpt            the checkpoint, whose run is not needed, or the folder of a run or of a published model
    input           an image or a folder of images; default: random test images of each class of the checkpoint's
                    data, the same in each call
    data            a name in configs/data; default: the data of the checkpoint's config
    data.<option>   overrides an option of the data, such as data.data_dir=/elsewhere
    num             number of images (6)
    top_k           classes of each image to show evidence for, the most probable first, from 1 to 5 (3)
    depths          number of layers to show feature maps of, from the first to the last (4)
    layer           the layer for Grad-CAM; default: the last one with feature maps larger than 1x1
    mistakes        misclassified test images to show, the most confident first (12)
    limit           number of test images to classify; default: all
    invert, fit     of input, as in dlzoo predict
    trust           a package of your own that the checkpoint uses
    output          the folder for the figures; default: inspect/ in the run's folder

It writes, there and to TensorBoard:
    kernels.png         the weights of the first layer: zero is grey, positive light, negative dark
    feature_maps.png    feature maps of the first image, at several depths
    grad_cam.png        the images, overlaid with the evidence for their top classes (Selvaraju et al., 2017)
    classes.png         accuracy of each class, the best first, and what the errors are mistaken for
    mistakes.png        the most confident mistakes, with the evidence for the predicted and for the true class

With input= and without data= no data set is read, and the last two are skipped. A net without feature maps, such as
mlp, has neither feature maps nor evidence to show. Exit code 0 on success, 2 on an error.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from dlzoo.api import evidence
from dlzoo.api.evidence import Subjects
from dlzoo.commands import cli, places
from dlzoo.errors import UserError, visible
from dlzoo.inference import loading
from dlzoo.utils import files as paths
from dlzoo.utils import model_folders

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from omegaconf import DictConfig

    from dlzoo.data.base import DataModule
    from dlzoo.inference.recognition import Recognised
    from dlzoo.tasks.interfaces import Predicting

RANGES: dict[str, tuple[int, int | None]] = {
    "num": (1, None), "top_k": (1, 5), "depths": (1, None), "mistakes": (0, None), "limit": (1, None),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Options:
    ckpt: str
    input: str | None = None
    data: str | None = None
    num: int = 6
    top_k: int = 3
    depths: int = 4
    layer: str | None = None
    mistakes: int = 12
    limit: int | None = None
    invert: bool = False
    fit: Literal["crop", "squash"] | None = None
    trust: str | None = None
    output: str | None = None


def main() -> None:
    """The command."""
    cli.execute(command, __doc__)


def command(argv: Sequence[str]) -> None:
    """Inspect as the arguments specify."""
    from dlzoo.config.prepare import prepare

    options, overrides = cli.parse(Options, argv, others=("data.",))
    check_ranges(options)
    prepare([*([f"data={options.data}"] if options.data else []), *overrides])  # typos, before torch is imported
    ckpt = model_folders.checkpoint(options.ckpt, "ckpt")
    source = None if options.input is None else paths.existing(options.input, "input")
    inspect(options, overrides, ckpt, source, folder_for(options.output, ckpt))


def inspect(options: Options, overrides: Sequence[str], ckpt: Path, source: Path | None, folder: Path) -> None:
    """Draw the figures, and print where they are.

    Args:
        overrides: ``data.<option>=…``.
        source: of the images to inspect; None is the test split.
    """
    from dlzoo.inference import activations as trace
    from dlzoo.inference.recognition import recognise
    from dlzoo.specs.batch import first_tensor

    task, cfg = load_classifier(ckpt, options.trust)
    if options.layer:  # find a typo before the test split is read
        trace.find(trace.look(task, first_tensor(task.spec.example(1)[0]).to(task.device)).layers, options.layer)
    problems: list[str] = []
    subjects = None if source is None else read_input(task, cfg, source, options, problems)
    result = None
    if subjects is None or options.data or overrides:
        data = open_data(ckpt, task, cfg, options.data, overrides, options.trust)
        result = recognise(task, data, num_examples=options.num, num_mistakes=options.mistakes, limit=options.limit)
        print(visible("\n".join(result.summary_lines(task.spec.target.names))))
    write(draw(task, subjects or examples_of(result), result, options), folder)
    print(f"{'look':14}tensorboard --logdir {folder}")
    if problems:
        raise UserError("; ".join(problems))


def check_ranges(options: Options) -> None:
    for key, (least, most) in RANGES.items():
        value = getattr(options, key)
        if value is not None and (value < least or (most is not None and value > most)):
            allowed = f"at least {least}" if most is None else f"from {least} to {most}"
            raise UserError(f"{key}={value} is out of range: it must be {allowed}")
    if options.input is None and (options.invert or options.fit):
        raise UserError(
            f"{'invert' if options.invert else 'fit'} applies to the images of input=…: give input=, or omit it"
        )


def folder_for(output: str | None, ckpt: Path) -> Path:
    """Where the figures go; the folder is created when the first one is written."""
    folder = places.default_path("inspect", "output", ckpt) if output is None else Path(output).expanduser()
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(path))
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise UserError(f"output={folder}: {existing} is not a writable folder; give another output=…")
    return folder


def load_classifier(ckpt: Path, trust: str | None = None) -> tuple[Predicting, DictConfig]:
    """The trained task, on the GPU if there is one, and its config. `UserError` if it does not classify images."""
    import torch

    task, cfg = loading.load(ckpt, trust)
    if task.spec.images is None or task.spec.target.classes is None:
        raise UserError(
            f"ckpt={ckpt}: only image classifiers can be inspected, but this takes {task.spec.describe()} and "
            f"predicts {task.spec.target.what}"
        )
    classifier = task.as_predictor()
    if classifier is None:
        raise UserError(f"ckpt={ckpt}: {type(task).__name__} does not predict classes, so there is nothing to inspect")
    return classifier.to("cuda" if torch.cuda.is_available() else "cpu"), cfg


def open_data(
    ckpt: Path,
    task: Predicting,
    stored: DictConfig,
    data: str | None,
    overrides: Sequence[str],
    trust: str | None = None,
) -> DataModule:
    """The data whose test split is to be classified; none of its rows was trained on."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from dlzoo.api.evaluation import is_own
    from dlzoo.checkpoint import data_changes as changed_data
    from dlzoo.config import hydra_composition
    from dlzoo.config.run_config import RunConfig
    from dlzoo.inference import datasets

    try:
        cfg = datasets.composed(stored, data, overrides, trust)
        source = datasets.build_data(cfg, task.spec)
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(hydra_composition.explain(error)) from None
    source.prepare_data()
    changed_data.check_unseen(ckpt, RunConfig.from_hydra(cfg), source, is_run_data=is_own(data, overrides))
    return source


def read_input(
    task: Predicting, cfg: DictConfig, source: Path, options: Options, problems: list[str]
) -> Subjects:  # fmt: skip
    """The first images of a file or a folder, as predict reads them; errors of unreadable ones go to ``problems``."""
    from dlzoo.commands import inputs

    input_options = inputs.Options(ckpt=options.ckpt, input=str(source), invert=options.invert, fit=options.fit)
    names, x = next(inputs.batches(input_options, task.spec, cfg, source, problems), ([], None))
    if x is None:
        raise UserError(problems[0])
    return Subjects(x[: options.num].to(task.device), [Path(str(name)).name for name in names[: options.num]], None)


def examples_of(result: Recognised | None) -> Subjects:
    """Images of the test split, named by their position in it."""
    assert result is not None
    x, y, _ = result.examples
    return Subjects(x, [f"test image {i + 1:,}" for i in result.positions], y.tolist())


def draw(
    task: Predicting, subjects: Subjects, result: Recognised | None, options: Options
) -> Iterator[tuple[str, Figure | str]]:
    """The name of each figure with the figure, or the reason why there is none."""
    from dlzoo.inference import activations as trace
    from dlzoo.visualization import interpretability as net_plots
    from dlzoo.visualization import plots

    names, no_maps = task.spec.target.names, "this net has no layer with feature maps"
    activations = trace.look(task, subjects.x[:1])
    if activations.kernels is None:
        yield (
            "kernels",
            f"the weights of the first layer ({activations.first or 'no layer has weights'}) cannot be shown as images",
        )
    else:
        num, *shape = activations.kernels.shape
        heading = f"weights of {activations.first}: {num:,} of {'x'.join(map(str, shape))}"
        yield "kernels", plots.filters(activations.kernels, heading=heading)
    if not activations.layers:
        yield "feature_maps", no_maps
        yield "grad_cam", no_maps
    else:
        layers = trace.at_depths(activations.layers, options.depths)
        yield (
            "feature_maps",
            net_plots.feature_maps(subjects.x[:1], layers, title=evidence.titles_of(subjects, names)[0]),
        )
        yield "grad_cam", evidence.figure(task, subjects, top_k=options.top_k, layer=options.layer)
    if result is not None:
        yield "classes", net_plots.class_accuracies(result.counts, names)
        yield "mistakes", draw_mistakes(task, result, options, with_heat=bool(activations.layers))


def draw_mistakes(task: Predicting, result: Recognised, options: Options, *, with_heat: bool) -> Figure | str:
    import torch

    from dlzoo.inference import activations as trace
    from dlzoo.metrics.examples import mistakes_heading
    from dlzoo.visualization import interpretability as net_plots
    from dlzoo.visualization import plots

    x, labels, logits = result.mistakes
    if not len(x):
        return f"there are none among {result.counts.sum():,} test images" if options.mistakes else "mistakes=0"
    names, heading = task.spec.target.names, mistakes_heading(len(x))
    if not with_heat:
        return plots.predictions(x, labels, logits, names, heading=heading)
    probabilities, predicted = logits.float().softmax(1).max(1)
    heat = trace.grad_cam(task, x, torch.stack([predicted, labels], 1), options.layer)
    titles = [
        (f"{names[g]}\t{p:.0%}\nis {names[k]}", f"for {names[g]}", f"for {names[k]}")
        for g, p, k in zip(predicted.tolist(), probabilities.tolist(), labels.tolist(), strict=True)
    ]
    return net_plots.mistakes(x, heat.maps, titles, heading=f"{heading}, and the evidence for both classes")


def write(figures: Iterator[tuple[str, Figure | str]], folder: Path) -> None:
    """Write each figure as a PNG and to TensorBoard, and print where it is, or why there is none."""
    import numpy as np
    from PIL import Image
    from torch.utils.tensorboard import SummaryWriter

    from dlzoo.visualization.figures import render

    folder.mkdir(parents=True, exist_ok=True)
    with SummaryWriter(str(folder)) as writer:
        for name, figure in figures:
            if isinstance(figure, str):
                print(f"{name:14}skipped: {visible(figure)}")
                continue
            content = io.BytesIO()
            render(figure, content, "png")
            path = folder / f"{name}.png"
            paths.write(path, content.getvalue())
            with Image.open(content) as image:
                writer.add_image(name, np.asarray(image.convert("RGB")), dataformats="HWC")
            print(f"{name:14}{path}")
