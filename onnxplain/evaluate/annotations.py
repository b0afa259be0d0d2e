"""Where objects are in images: COCO JSON, Pascal VOC XML, CSV; and the same places in what a network sees."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from ..errors import InputError, one_line
from ..preprocess import Preprocessing

COLUMNS = ("file", "class", "xmin", "ymin", "xmax", "ymax")
"""Of a .csv file; coordinates are in pixels, the first pixel reaches from 0 to 1."""

IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp")
"""Suffixes of images, for annotations that name a file without one."""


@dataclass(frozen=True)
class Annotation:
    """All boxes of one class in one image."""

    file: str
    name: str
    """The class."""
    boxes: tuple[tuple[float, float, float, float], ...]
    """Left, top, right, bottom in pixels."""
    size: tuple[int, int] | None = None
    """The image's width and height, where the annotation says them."""

    def inside(self, image: Path, preprocessing: Preprocessing) -> np.ndarray:
        """The boxes in the picture that the network sees, bool [H, W]."""
        from PIL import Image, ImageOps

        with Image.open(image) as opened:
            width, height = ImageOps.exif_transpose(opened).size
        if self.size is not None and self.size != (width, height):
            raise InputError(f"{image.name} has {width} × {height} pixels, its boxes are for {self.size[0]} × {self.size[1]}")
        mask = np.zeros((height, width), np.uint8)
        for left, top, right, bottom in self.boxes:
            mask[max(0, round(top)) : max(0, round(bottom)), max(0, round(left)) : max(0, round(right))] = 255
        # The image's own way of scaling and cropping; a pixel belongs to the object if most of it does.
        return np.asarray(preprocessing._resized(Image.fromarray(mask))) > 127


def read_annotations(path: str | os.PathLike[str]) -> list[Annotation]:
    """Boxes from a COCO .json, a .csv with a box in a row, a Pascal VOC .xml, or a folder of these.

    Raises
    ------
    InputError
        There is no such file, it is none of these, or it holds no boxes.
    """
    path = Path(path)
    files = sorted(path.glob("*.xml")) if path.is_dir() else [path]
    readers = {".json": _coco, ".csv": _csv, ".xml": _voc}
    if not files:
        raise InputError(f"{path} holds no .xml files")
    boxes = []
    for file in files:
        if not file.is_file():
            raise InputError(f"no such file: {file}")
        if file.suffix.lower() not in readers:
            raise InputError(f"{file}: boxes are in COCO's .json, Pascal VOC's .xml or a .csv with the columns {', '.join(COLUMNS)}")
        try:
            found = list(readers[file.suffix.lower()](file))
        except (KeyError, TypeError, ValueError, AttributeError, ElementTree.ParseError, OSError) as error:
            raise InputError(f"{file} does not hold boxes as {file.suffix} files do: {type(error).__name__} {one_line(error)}") from None
        for number, (image, name, box, _) in enumerate(found, 1):
            left, top, right, bottom = box
            if not (np.isfinite(box).all() and left <= right and top <= bottom):
                got = f"({left:g}, {top:g}) to ({right:g}, {bottom:g})"
                raise InputError(f"{file}, box {number}, {name} in {image}: wanted xmin ≤ xmax and ymin ≤ ymax, got {got}")
        boxes += found
    if not boxes:
        raise InputError(f"{path} holds no boxes")
    return _grouped(boxes)


Box = tuple[str, str, tuple[float, float, float, float], tuple[int, int] | None]
"""File, class, left top right bottom, size of the image."""


def _grouped(boxes: Iterable[Box]) -> list[Annotation]:
    """The boxes of one class in one image together."""
    groups: dict[tuple[str, str], Annotation] = {}
    for file, name, box, size in boxes:
        known = groups.get((file, name))
        groups[file, name] = Annotation(file, name, (*(known.boxes if known else ()), box), size)
    return list(groups.values())


def _coco(path: Path) -> Iterator[Box]:
    data = json.loads(path.read_text(encoding="utf-8"))
    images = {image["id"]: image for image in data["images"]}
    names = {category["id"]: category["name"] for category in data["categories"]}
    for annotation in data["annotations"]:
        image = images[annotation["image_id"]]
        left, top, width, height = map(float, annotation["bbox"])
        size = (image["width"], image["height"]) if "width" in image and "height" in image else None
        yield image["file_name"], names[annotation["category_id"]], (left, top, left + width, top + height), size


def _voc(path: Path) -> Iterator[Box]:
    """Pixels are counted from 1 there, and the last one belongs to the box."""
    root = ElementTree.parse(path).getroot()
    text = lambda name, node=root: node.findtext(name) or ""
    size = (int(text("size/width")), int(text("size/height"))) if root.find("size") is not None else None
    for item in root.iter("object"):
        left, top, right, bottom = (float(text(f"bndbox/{k}", item)) for k in COLUMNS[2:])
        yield text("filename"), text("name", item), (left - 1, top - 1, right, bottom), size


def _csv(path: Path) -> Iterator[Box]:
    with open(path, newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file)
        lacking = [c for c in COLUMNS if c not in (rows.fieldnames or [])]
        if lacking:
            raise InputError(f"{path} lacks the column {', '.join(lacking)}; wanted {', '.join(COLUMNS)}")
        for row in rows:
            left, top, right, bottom = (float(row[k]) for k in COLUMNS[2:])
            yield row["file"], row["class"], (left, top, right, bottom), None


def found_in(folder: Path, annotations: Sequence[Annotation]) -> dict[Annotation, Path]:
    """The image of each annotation: by its name, or by its stem where the annotation has no suffix."""
    if not folder.is_dir():
        raise InputError(f"no such folder: {folder}")
    stems = {p.stem: p for p in sorted(folder.iterdir()) if p.suffix.lower() in IMAGES}
    places = {a: folder / a.file if (folder / a.file).is_file() else stems.get(Path(a.file).name, folder / a.file) for a in annotations}
    lost = [a.file for a, place in places.items() if not place.is_file()]
    if lost:
        raise InputError(f"{len(lost)} of the images with boxes are not in {folder}, such as {lost[0]}")
    return places
