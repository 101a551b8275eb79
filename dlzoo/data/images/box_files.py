"""Images with boxes around their objects, as COCO or Pascal VOC write them.

COCO: T.-Y. Lin et al., "Microsoft COCO: Common Objects in Context", 2014, https://cocodataset.org/#format-data.
Pascal VOC: M. Everingham et al., "The Pascal Visual Object Classes (VOC) Challenge", 2010.
"""

from __future__ import annotations

import math
import os
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Unpack

import torch

from dlzoo.data.folders.files import File
from dlzoo.data.images.listed import ListedImages, Listing, Problems
from dlzoo.data.options import ImageFolderOptions
from dlzoo.errors import UserError, short
from dlzoo.specs.boxes import Boxes
from dlzoo.specs.named import Targets
from dlzoo.specs.targets import Classes, few_enough
from dlzoo.utils import untrusted
from dlzoo.utils.files import walk

ABSENT = "none"
MAX_BYTES = 2**29
"""Of a file of annotations; that of COCO's 118,000 training images has 448 million."""
TOLERANCE = 1.5
"""Pixels that a box may lie outside its image; it is then cut."""


class Object(NamedTuple):
    """An object in an image: its class and its edges in pixels, with the size of the image."""

    label: str
    edges: tuple[float, float, float, float]
    width: float
    height: float

    @property
    def area(self) -> float:
        left, top, right, bottom = self.edges
        return (right - left) * (bottom - top)

    def checked(self) -> Object:
        """The same cut to the image; `ValueError` if it has no area, or lies outside the image."""
        left, top, right, bottom = self.edges
        shown = f"[{left:g}, {top:g}, {right:g}, {bottom:g}]"
        if not all(map(math.isfinite, (*self.edges, self.width, self.height))) or min(self.width, self.height) <= 0:
            raise ValueError(
                f"the box {shown} in an image of {self.width:g}x{self.height:g} holds no numbers of pixels"
            )
        if right <= left or bottom <= top:
            raise ValueError(f"the box {shown} (left, top, right, bottom) has no area")
        if left < -TOLERANCE or top < -TOLERANCE or right > self.width + TOLERANCE or bottom > self.height + TOLERANCE:
            raise ValueError(f"the box {shown} lies outside its image of {self.width:g}x{self.height:g} pixels")
        inside = (max(left, 0.0), max(top, 0.0), min(right, self.width), min(bottom, self.height))
        return self._replace(edges=inside)

    @property
    def fractions(self) -> list[float]:
        left, top, right, bottom = self.edges
        return [left / self.width, top / self.height, right / self.width, bottom / self.height]


class BoxFiles(ListedImages):
    """Images with one object each, its class and its box: of several objects, the largest.

    Images are squashed to the size of the net's inputs, so that no part of a box is cut.

    Args:
        path: the folder of the images, or a zip archive of it.
        annotations: a JSON file as COCO has it, or a folder of XML files as Pascal VOC has them; None: XML files below
            ``path``, or its only JSON file.
        absent: keep images without an object, as a class "none"; otherwise they are left out.
    """

    def __init__(
        self,
        *,
        path: str | os.PathLike[str],
        annotations: str | None = None,
        absent: bool = False,
        **common: Unpack[ImageFolderOptions],
    ) -> None:
        if common.setdefault("fit", "squash") == "crop":
            raise UserError("data.fit=crop would cut boxes; use data.fit=squash, or omit it")
        super().__init__(path=path, **common)
        self.annotations = annotations
        self.absent = absent

    def listing(self) -> Listing:
        problems = Problems(self.on_error)
        place = self._place()
        found = self._coco(place, problems) if place.is_file() else self._voc(place, problems)
        files: list[File] = []
        objects: list[Object | None] = []
        num_several, num_empty = 0, 0
        for name, where, everything in found:
            try:
                file = self.images.find(name)
            except ValueError as error:
                problems.add(where, error)
                continue
            num_several += len(everything) > 1
            num_empty += not everything
            if everything or self.absent:
                files.append(file)
                objects.append(max(everything, key=lambda each: each.area, default=None))
        labels = [ABSENT if each is None else each.label for each in objects]
        names = self._names(labels, place)
        y = torch.tensor([names.index(label) for label in labels])
        nowhere = [math.nan] * 4
        box = torch.tensor([nowhere if each is None else each.fractions for each in objects], dtype=torch.float32)
        notes = [f"{place.name}: {len(files):,} images, {len(names)} classes", *problems.notes()]
        if num_several:
            notes.append(f"  {num_several:,} images have several objects, of which the largest is taken")
        if num_empty and not self.absent:
            notes.append(f"  {num_empty:,} images without an object are left out (data.absent=true keeps them)")
        absent = ABSENT if ABSENT in names and self.absent else None
        return Listing(
            files,
            Targets.of({"class": Classes(names), "box": Boxes(absent)}),
            {"class": y, "box": box},
            None,
            tuple(notes),
        )

    def _names(self, labels: list[str], place: Path) -> tuple[str, ...]:
        """Of the classes, in alphabetical order, that of images without an object last; or those of a trained model."""
        known = None if self.adopted is None else self.adopted.by_name.get("class")
        if known is not None:
            if new := {*labels} - {*known.names}:
                raise UserError(
                    f"{place}: {short(min(new))!r} is no class of the trained model: {', '.join(known.names)}"
                )
            return known.names
        counts = Counter(labels)
        names = sorted(name for name in counts if name != ABSENT) + [ABSENT] * (ABSENT in counts)
        if len(names) < 2:
            raise UserError(
                f"{place} has {'only the class ' + repr(names[0]) if names else 'no object'}: two are needed"
            )
        few_enough(len(names), str(place))
        if singles := [name for name in names if counts[name] == 1]:
            raise UserError(f"{place}: the class {singles[0]!r} has a single image; add some, or remove it")
        return tuple(names)

    def _place(self) -> Path:
        """The file or folder of annotations."""
        if self.annotations is not None:
            place = Path(self.annotations).expanduser()
            if not place.exists():
                raise UserError(f"data.annotations={place}: there is no such file or folder")
            return place
        if not self.path.is_dir():
            raise UserError(f"data.path={self.path} is no folder: say where its boxes are with data.annotations=")
        found = [*_files_of(self.path, ".json")]
        if len(found) == 1:
            return found[0]
        if not found and next(_files_of(self.path, ".xml"), None) is not None:
            return self.path
        has = f"{len(found)} JSON files" if found else "no JSON or XML file"
        raise UserError(f"data.path={self.path} contains {has}: say which one holds the boxes with data.annotations=")

    def _coco(self, path: Path, problems: Problems) -> Iterator[tuple[str, str, list[Object]]]:
        """The name of each image, where it stands in the file, and its objects."""
        content = untrusted.read_json(path, MAX_BYTES)
        if not isinstance(content, dict) or not all(
            isinstance(content.get(key), list) for key in ("images", "annotations")
        ):
            raise UserError(f"{path} is not as COCO writes boxes: it needs the lists images and annotations")
        names = {_key(each, "id"): str(_get(each, "name")) for each in content.get("categories") or []}
        sizes = {_key(each, "id"): (_number(each, "width"), _number(each, "height")) for each in content["images"]}
        objects: dict[object, list[Object]] = {}
        for i, each in enumerate(content["annotations"]):
            where = f"{path.name}, annotations[{i}]"
            try:
                image, category = _key(each, "image_id"), _key(each, "category_id")
                if image not in sizes:
                    raise ValueError(f"there is no image with the id {short(image)}")
                box = _get(each, "bbox")
                if not isinstance(box, list) or len(box) != 4:
                    raise ValueError(f"bbox={short(box)} must be [left, top, width, height]")
                left, top, width, height = map(_as_number, box)
                edges = (left, top, left + width, top + height)
                found = Object(names.get(category, str(category)), edges, *sizes[image]).checked()
                objects.setdefault(image, []).append(found)
            except ValueError as error:
                problems.add(where, error)
        for i, each in enumerate(content["images"]):
            yield str(_get(each, "file_name")), f"{path.name}, images[{i}]", objects.get(_key(each, "id"), [])

    def _voc(self, folder: Path, problems: Problems) -> Iterator[tuple[str, str, list[Object]]]:
        for path in sorted(_files_of(folder, ".xml")):
            root = _parse(path)
            name = (root.findtext("filename") or path.stem).strip()
            width, height = (_text_number(root, f"size/{side}", path) for side in ("width", "height"))
            objects = []
            for i, each in enumerate(root.findall("object"), 1):
                try:
                    left, top, right, bottom = (
                        _text_number(each, f"bndbox/{edge}", path) for edge in ("xmin", "ymin", "xmax", "ymax")
                    )
                    label = (each.findtext("name") or "").strip()
                    if not label:
                        raise ValueError("it has no name")
                    edges = (left - 1, top - 1, right, bottom)  # its pixels count from 1, and the last is inside
                    objects.append(Object(label, edges, width, height).checked())
                except ValueError as error:
                    problems.add(f"{path.name}, object {i}", error)
            yield name, path.name, objects


def _files_of(folder: Path, extension: str) -> Iterator[Path]:
    for root, _, names in walk(folder):
        yield from (Path(root) / name for name in sorted(names) if name.lower().endswith(extension) and name[0] != ".")


def _parse(path: Path) -> ET.Element:
    text = untrusted.read_text(path)
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise UserError(f"{path} declares entities, which annotations do not need: remove them")
    try:
        return ET.fromstring(text)
    except (ET.ParseError, RecursionError) as error:
        raise UserError(f"{path} is damaged or not XML: {short(error)}") from None


def _text_number(node: ET.Element, key: str, path: Path) -> float:
    try:
        return float((node.findtext(key) or "").strip())
    except ValueError:
        raise UserError(f"{path}: {key}={short(node.findtext(key))} must be a number of pixels") from None


def _get(node: Any, key: str) -> Any:
    if not isinstance(node, dict) or key not in node:
        raise UserError(f"the file of boxes has an entry without {key}: {short(node)}")
    return node[key]


def _key(node: Any, key: str) -> object:
    """An id, which may be a number or a text."""
    found = _get(node, key)
    if not isinstance(found, int | str):
        raise UserError(f"the file of boxes has {key}={short(found)}, which must be a number or a text")
    return found


def _number(node: Any, key: str) -> float:
    return _as_number(_get(node, key))


def _as_number(value: object) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
