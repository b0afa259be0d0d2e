"""Maps over two axes: images, slices of volumes, spectrograms and series; boxes and contours over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.patches import Rectangle

from ..checks import numbers
from ..errors import InputError
from .drawing import OUTLINE, Drawing, Subject
from .maps import COLORS, channels_last, chosen_slices, columns_of, given_picture, montage, picture_of, shrunk
from .visuals import Scene, Visual

LONG = 12
"""A picture more than so many times as long as it is wide is drawn wider than it is: it could not be seen."""


@dataclass(frozen=True, eq=False)
class ImageDrawing(Drawing):
    """A map over height and width, by one of the techniques."""

    scene: Scene
    size: tuple[int, int]
    """Height and width of what the map lies over, in its own pixels."""
    visual: Visual
    boxes: np.ndarray
    contours: np.ndarray | None

    @cached_property
    def values(self) -> np.ndarray:  # type: ignore[override]
        return self.visual.values(self.scene)

    @property
    def inches(self) -> tuple[float, float]:
        h, w = self.size
        return max(4 * w / max(h, w), 1.6), max(4 * h / max(h, w), 0.6) + 0.4

    def paint(self, ax: Axes, top: float) -> ScalarMappable | None:
        mappable = self._image(ax, top)
        ax.set_axis_off()
        return mappable

    def _image(self, ax: Axes, top: float, upwards: bool = False) -> ScalarMappable | None:
        """The picture in the input's own pixels, with what lies over it."""
        h, w = self.size
        image = self.visual.image(self.values / top, self.scene)
        scale, colors = Normalize(self.visual.low * top, top), self.visual.colors
        rows = (-0.5, h - 0.5) if upwards else (h - 0.5, -0.5)
        ax.imshow(
            image * top if image.ndim == 2 else image,
            cmap=colors,
            norm=scale,
            extent=(-0.5, w - 0.5, *rows),
            interpolation="nearest",
            origin="lower" if upwards else "upper",
            aspect="auto" if upwards or max(h, w) > LONG * min(h, w) else "equal",
        )
        outline(ax, self.boxes, self.contours, self.size)
        return None if colors is None else ScalarMappable(scale, colors)


@dataclass(frozen=True, eq=False)
class SeriesDrawing(ImageDrawing):
    """Time to the right, frequencies or features upwards."""

    features: Sequence[str] | None = None

    @property
    def inches(self) -> tuple[float, float]:
        return 6.0, 3.0

    def paint(self, ax: Axes, top: float) -> ScalarMappable | None:
        mappable = self._image(ax, top, upwards=True)
        ax.set_xlabel("time")
        if self.features is None:
            ax.set_ylabel("frequency")
        else:
            ax.set_yticks(range(self.size[0]), labels=list(self.features), fontsize="x-small", parse_math=False)
        return mappable


@dataclass(frozen=True, eq=False)
class VolumeDrawing(ImageDrawing):
    """Slices side by side, each with its number."""

    slices: Sequence[int] = ()

    def paint(self, ax: Axes, top: float) -> ScalarMappable | None:
        mappable = super().paint(ax, top)
        columns = columns_of(len(self.slices))
        h, w = self.size[0] / -(-len(self.slices) // columns), self.size[1] / columns
        for k, index in enumerate(self.slices):
            left, above = k % columns * w - 0.5, k // columns * h - 0.5
            ax.add_patch(Rectangle((left, above), w, h, fill=False, edgecolor="0.6", linewidth=0.8))
            ax.annotate(str(index), (left, above), (2, -2), textcoords="offset points", va="top", fontsize="x-small", color="white", path_effects=OUTLINE)
        return mappable


# ---- from a subject ----


def image(
    s: Subject, visual: Visual, channels: str, layout: str | None, color: str, picture: np.ndarray | None, boxes: object, contours: object
) -> ImageDrawing:
    """A map of a sample [C, H, W], [H, W, C] or [H, W]; one inside the model lies over the model's image, or the one that is given."""
    a = channels_last(s.a, 2, layout if s.x is not None else None)
    ground = s.x if s.x is not None else next((x for x in s.inputs.values() if _has_colors(x, layout)), None)
    under = None if ground is None else channels_last(ground, 2, layout)
    shown = None if under is None else picture_of(under, color)
    if picture is not None:
        shown = given_picture(picture, None if under is None else under.shape[:2])
    size = under.shape[:2] if under is not None else shown.shape[:2] if shown is not None else a.shape[:2]
    if color == "BGR" and a.shape[-1] == 3:
        a = a[..., ::-1]
    return ImageDrawing(Scene(shrunk(a), shown, channels), size, visual, boxes_of(boxes), labels_of(contours))


def _has_colors(x: np.ndarray, layout: str | None) -> bool:
    """Whether one of the model's inputs is a picture."""
    return x.ndim == 3 and x.size > 0 and channels_last(x, 2, layout).shape[-1] in COLORS


def volume(s: Subject, visual: Visual, channels: str, layout: str | None, color: str, slices: int | Sequence[int]) -> VolumeDrawing:
    """Slices of a sample [C, D, H, W], [D, H, W, C] or [D, H, W]."""
    a = channels_last(s.a, 3, layout)
    chosen = chosen_slices(len(a), slices)
    tiles = montage(a, chosen)
    shown = None if s.x is None else picture_of(montage(channels_last(s.x, 3, layout), chosen), color)
    return VolumeDrawing(Scene(shrunk(tiles), shown, channels), tiles.shape[:2], visual, boxes_of(None), None, chosen)


def series(s: Subject, visual: Visual, layout: str | None, features: Sequence[str] | None) -> SeriesDrawing:
    """A sample [F, T] of frequencies or features over time; [T, F] where `layout` or the number of features says so."""
    shape = [d for d in s.a.shape if d != 1] if s.a.ndim > 2 else list(s.a.shape)
    if len(shape) != 2:
        raise InputError(f"a series or spectrogram has two axes, features and time; got {list(s.a.shape)} a sample")
    turned = layout == "TF" or (layout != "FT" and features is not None and shape[0] != len(features) == shape[1])
    a, x = (None if v is None else (v.reshape(shape).T if turned else v.reshape(shape))[..., None] for v in (s.a, s.x))
    assert a is not None
    if features is not None and len(features) != len(a):
        raise InputError(f"{len(features)} feature names were given for a sample of shape {shape}")
    return SeriesDrawing(Scene(shrunk(a), None if x is None else picture_of(x)), a.shape[:2], visual, boxes_of(None), None, features)


# ---- over a picture ----


def boxes_of(boxes: object) -> np.ndarray:
    """[K, 4]: left, top, right, bottom."""
    wanted = "rows of left, top, right, bottom in the input's pixels"
    array = np.zeros((0, 4)) if boxes is None else np.atleast_2d(numbers(boxes, "boxes", wanted).astype(np.float64))
    if not array.size:
        return np.zeros((0, 4))
    if array.ndim != 2 or array.shape[1] != 4 or not np.isfinite(array).all() or (array[:, :2] > array[:, 2:]).any():
        raise InputError(f"boxes must be {wanted}, got {array.tolist()}")
    return array


def labels_of(contours: object) -> np.ndarray | None:
    """A mask, or labels, [h, w]."""
    wanted = "a mask or labels [h, w] of booleans or integers"
    labels = None if contours is None else numbers(contours, "contours", wanted)
    if labels is not None and (labels.ndim != 2 or labels.dtype.kind not in "biu"):
        raise InputError(f"contours must be {wanted}, got {labels.dtype} {list(labels.shape)}")
    return labels


def borders(labels: np.ndarray) -> np.ndarray:
    """[K, 2, 2]: from where to where (x, y) the lines between unlike cells go, in cells; outside is 0."""
    padded = np.pad(labels.astype(np.int64), 1)
    y, x = np.nonzero(np.diff(padded, axis=0))
    below = np.stack([np.stack([x - 1, y], 1), np.stack([x, y], 1)], 1)
    y, x = np.nonzero(np.diff(padded, axis=1))
    return np.concatenate([below, np.stack([np.stack([x, y - 1], 1), np.stack([x, y], 1)], 1)])


def outline(ax: Axes, boxes: np.ndarray, labels: np.ndarray | None, size: tuple[int, int]) -> None:
    """Boxes and the borders of regions, white on black lines."""
    for left, top, right, bottom in boxes:
        ax.add_patch(
            Rectangle((left - 0.5, top - 0.5), right - left, bottom - top, fill=False, edgecolor="white", linewidth=1.5, snap=False, path_effects=OUTLINE)
        )
    if labels is not None:
        lines = borders(labels) * [size[1] / labels.shape[1], size[0] / labels.shape[0]] - 0.5
        for width, color in ((3, "black"), (1.5, "white")):
            ax.add_collection(LineCollection(list(lines), linewidths=width, colors=color, capstyle="projecting"), autolim=False)
