"""Groups the models by what their tasks do and by the data that their nets accept, as the classes declare it."""

from __future__ import annotations

from collections.abc import Iterable

from dlzoo.config import source
from dlzoo.config.group_files import File

INTERFACES = {
    "dlzoo.tasks.interfaces.Acting": "agents",
    "dlzoo.tasks.interfaces.Detecting": "anomalies",
    "dlzoo.tasks.interfaces.LanguageModel": "text generation",
    "dlzoo.tasks.interfaces.Forecasting": "forecasts",
    "dlzoo.tasks.interfaces.Decoding": "generative",
}
"""What the models do whose task implements an interface; the others predict."""
BACKBONES = {
    "dlzoo.nets.torchvision_net.TorchvisionNet": "backbones of torchvision and timm",
    "dlzoo.nets.timm_net.TimmNet": "backbones of torchvision and timm",
}
"""Nets of other packages, which come in large numbers."""
OTHER = "other"


def models(files: Iterable[File]) -> dict[str, list[str]]:
    """The names of models by family, the largest family first: ``{"images": ["cnn", …], …}``. Those that are alone in
    their family come last, as other ones."""
    found: dict[str, list[str]] = {}
    for file in files:
        found.setdefault(_of_model(file), []).append(file.name)
    large = {family: names for family, names in found.items() if len(names) > 1 and family != OTHER}
    rest = sorted(name for family, names in found.items() if family not in large for name in names)
    return dict(sorted(large.items(), key=lambda item: (-len(item[1]), item[0]))) | ({OTHER: rest} if rest else {})


def _of_model(file: File) -> str:
    targets = dict(file.targets())
    bases = {located.name for located in source.lineage(targets.get("task", "")) if located is not None}
    does = next((what for name, what in INTERFACES.items() if name in bases), None)
    return does or BACKBONES.get(targets.get("net", "")) or _accepted(targets.get("net"))


def _accepted(net: str | None) -> str:
    """The data that a net accepts, in words: "images, tables"."""
    specs = source.declared_classes(net, "accepts") if net is not None else None
    return ", ".join(source.text_attribute(spec, "what") or OTHER for spec in specs) if specs else OTHER
