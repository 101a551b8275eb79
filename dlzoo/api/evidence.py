"""Where a classifier of images sees the evidence for a class (Grad-CAM; R. Selvaraju et al., ICCV 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

    from dlzoo.tasks.interfaces import Predicting


class Subjects(NamedTuple):
    """The images to inspect."""

    x: Tensor
    """(N, C, H, W) in [0, 1]"""
    names: list[str]
    labels: list[int] | None
    """Their classes, if known."""


def titles_of(subjects: Subjects, names: Sequence[str]) -> list[str]:
    """The title of each image: its class, if known."""
    return ["" if subjects.labels is None else f"is {names[k]}" for k in subjects.labels or range(len(subjects.x))]


def figure(task: Predicting, subjects: Subjects, *, top_k: int, layer: str | None = None) -> Figure:
    """Each image beside where a classifier sees the evidence for its most probable classes.

    Args:
        top_k: number of classes.
        layer: whose feature maps are used; None: the last one that has any.

    Raises:
        UserError: there is no such layer.
    """
    from dlzoo.inference import activations as trace
    from dlzoo.inference import predict as inference_predict
    from dlzoo.visualization import interpretability as net_plots

    names = task.spec.target.names
    best = inference_predict.predict(task, subjects.x).topk(min(top_k, len(names)), dim=1)
    heat = trace.grad_cam(task, subjects.x, best.indices, layer)
    titles, wrong = [], []
    for i, title in enumerate(titles_of(subjects, names)):
        probabilities, classes = best.values[i].tolist(), best.indices[i].tolist()
        none = ["" if each.any() else "\nno evidence" for each in heat.maps[i]]
        answers = zip(classes, probabilities, none, strict=True)
        titles.append([title, *(f"{names[k]}\t{p:.0%}{without}" for k, p, without in answers)])
        is_wrong = subjects.labels is not None and subjects.labels[i] != classes[0]
        wrong.append([False, is_wrong, *[False] * (len(classes) - 1)])
    heading = f"evidence (Grad-CAM) in {heat.layer.name}"
    return net_plots.grad_cam(subjects.x, heat.maps, titles, wrong, heading=heading, row_headings=subjects.names)
