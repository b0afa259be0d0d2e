"""Pictures of explanations. Everything is drawn on figures of its own: no window opens, and no global state is touched."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from ..errors import InputError, choose
from ..explanation import Explanation
from ..prediction import explained
from .drawing import Drawing, Subject, scale_of
from .images import image, series, volume
from .maps import COLORS
from .series import BARS, bars, signal, vector
from .text import tokens as token_drawing
from .visuals import COLORS as COLOR_MAP
from .visuals import SIGNALS, Visual, visual

KINDS = {
    "image": "height × width: an image, or a layer's map over the image",
    "volume": "slices of depth × height × width",
    "series": "features × time as a map, such as a spectrogram",
    "signal": "a line for each channel, over the colours of its attribution",
    "table": "a bar for each feature",
    "text": "tokens on coloured ground",
}
"""What a sample can be drawn as."""
CHANNELS_AT_MOST = 16
"""A sample of two axes is a signal of several channels if one axis is no longer than this, and the other …"""
LONGER = 8
"""… so many times as long."""


class Sheet(Figure):
    """A figure that notebooks show by themselves."""

    def png(self, dpi: float | Literal["figure"] = "figure") -> bytes:
        """The figure as a file's content."""
        file = BytesIO()
        self.savefig(file, format="png", dpi=dpi)
        return file.getvalue()

    def _repr_png_(self) -> bytes:
        return self.png()


def show(
    explanation: Explanation,
    *,
    sample: int = 0,
    tensor: str | None = None,
    ax: Axes | None = None,
    visual: str | Visual | None = None,
    kind: str | None = None,
    channels: str = "sum",
    percentile: float = 99.5,
    limit: float | None = None,
    colorbar: bool = False,
    title: str | None = None,
    labels: Sequence[str] | None = None,
    **options: Any,
) -> Axes:
    """Draw the attribution of one sample.

    Parameters
    ----------
    explanation : Explanation
    sample : int, default 0
        Which sample of the batch.
    tensor : str, optional
        Which attribution, where there are several.
    ax : Axes, optional
        Where to draw; by default a figure of its own, which is `result.figure`.
    visual : str, optional
        How a map becomes a picture: one of `onnxplain.plot.visuals()`. By default "projection" for pattern_net's signals, else "heatmap".
    kind : str, optional
        "image", "volume", "series", "signal", "table" or "text". By default seen from the shape, the names and the tokens.
    channels : "sum", "norm" or "max", default "sum"
        How an image's channels, or an embedding's elements, become one value. Techniques that show magnitudes take them before reducing.
    percentile : float, default 99.5
        The percentile of the magnitudes that has the full colour; larger ones are clipped to it.
    limit : float, optional
        The magnitude that has the full colour, in the attribution's unit, in place of the percentile.
    colorbar : bool, default False
        Beside it a bar that says which colour is which number; for techniques in which a colour is a number.
    title : str, optional
        By default the method and the explained class.
    labels : list of str, optional
        Names of the classes.
    **options
        Of images: `picture` (array [H, W, C], shown in place of the input under the map; integers of 0 to 255 or floats of 0 to 1),
        `boxes` ([K, 4]: left, top, right, bottom in the input's pixels), `contours` (mask or labels [h, w], whose regions are
        outlined).
        Of images and volumes: `layout` ("NCHW" or "NHWC": where the model's input has its channels, by default guessed from the
        shape), `color` ("RGB" or "BGR", the order of these channels).
        Of volumes: `slices` (how many, or a list of indices along the first axis; default 9).
        Of series: `layout` ("FT" or "TF": features or time first), `features`.
        Of signals: `features` (names of the channels).
        Of tables: `features`, `top` (how many of the largest are shown, the others as their sum; default 20 beyond 40 features).
        Of texts: `tokens` (a string for each position, '' for padding).
        `cmap`, and the technique's other parameters: see `onnxplain.plot.VISUALS`.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InputError
        If the attribution holds NaN or infinity, or does not fit what is asked for.
    """
    drawing = drawing_of(explanation, sample=sample, tensor=tensor, visual=visual, kind=kind, channels=channels, **options)
    top = scale_of(drawing, percentile, limit)
    ax = Sheet(figsize=drawing.inches, layout="constrained").add_subplot() if ax is None else ax
    mappable = paint(drawing, ax, top)
    if colorbar:
        add_colorbar([ax], mappable)
    set_title(ax, f"{explanation.method}\n{explained(explanation, sample, labels)}" if title is None else title)
    return ax


def drawing_of(
    explanation: Explanation,
    *,
    sample: int = 0,
    tensor: str | None = None,
    visual: str | Visual | None = None,
    kind: str | None = None,
    channels: str = "sum",
    picture: np.ndarray | None = None,
    boxes: Any = None,
    contours: Any = None,
    layout: str | None = None,
    color: str = "RGB",
    slices: int | Sequence[int] = 9,
    features: Sequence[str] | None = None,
    top: int | None = None,
    tokens: Sequence[str] | None = None,
    **style: Any,
) -> Drawing:
    """What `show` is to paint; its options are explained there."""
    s = Subject.of(explanation, sample, tensor)
    kind = _kind(s, layout, features, tokens) if kind is None else choose("kind", kind, KINDS)
    if kind in ("image", "volume", "series"):
        technique = _technique(s, explanation.method, visual, style)
        if kind == "image":
            return image(s, technique, channels, layout, color, picture, boxes, contours)
        return volume(s, technique, channels, layout, color, slices) if kind == "volume" else series(s, technique, layout, features)
    if visual not in (None, "heatmap"):
        raise InputError(f"visual={visual!r} draws maps; this sample of shape {list(s.a.shape)} is drawn as a {kind}: leave it out, or say kind=")
    cmap = style.pop("cmap", COLOR_MAP)
    for name in style:
        choose(f"option of a {kind}", name, ["cmap"])
    if kind == "text":
        if tokens is None:
            raise InputError("a text needs tokens=, a string for each position")
        return token_drawing(s, tokens, channels, cmap)
    if kind == "signal":
        return signal(s, vector(s.a, channels) if _embedded(s) else _lines(s), features, cmap)
    return bars(s, vector(s.a, channels), features, top, cmap)


def _technique(s: Subject, method: str, chosen: str | Visual | None, style: dict[str, Any]) -> Visual:
    if isinstance(chosen, Visual):
        for name in style:
            choose(f"option beside {type(chosen).__name__}(…)", name, [])
        return chosen
    colors = s.x is not None and (s.x.ndim == 2 or not {1, 3}.isdisjoint((s.x.shape[0], s.x.shape[-1])))
    return visual("projection" if chosen is None and method in SIGNALS and colors else chosen or "heatmap", style)


def _embedded(s: Subject) -> bool:
    """Whether a tensor inside the model has an embedding for each of a text's positions."""
    return s.x is None and s.a.ndim == 2


def _lines(s: Subject) -> np.ndarray:
    """[C, L], or [L] of one channel."""
    values = s.a.reshape([d for d in s.a.shape if d != 1] or [1])
    if values.ndim > 2:
        raise InputError(f"a signal has channels and steps, got {list(s.a.shape)} a sample")
    return values


def _kind(s: Subject, layout: str | None, features: Sequence[str] | None, tokens: Sequence[str] | None) -> str:
    """What a sample looks like."""
    if tokens is not None:
        return "text"
    sides = sorted(d for d in s.a.shape if d != 1)
    if s.a.ndim >= 4 and len(sides) > 2:
        return "volume"
    if _embedded(s) or (len(sides) <= 1 and not _pixel(s)):
        count = len(s.a) if _embedded(s) else s.a.size
        return "table" if count <= BARS or features is not None else "signal"
    if s.a.ndim == 2 and sides[0] <= CHANNELS_AT_MOST and sides[1] >= LONGER * sides[0]:
        return "signal"
    return "series" if layout in ("FT", "TF") or (s.a.ndim == 2 and features is not None) else "image"


def _pixel(s: Subject) -> bool:
    """Whether it is an image of one pixel."""
    return s.a.ndim == 3 and s.a.shape[1] == 1 and s.a.size in COLORS


def paint(drawing: Drawing, ax: Axes, top: float) -> ScalarMappable | None:
    """Draw; what says which colour is which number, if one does."""
    mappable = drawing.paint(ax, top)
    if not drawing.values.any():
        ax.annotate(
            "all zero", (0.5, 0.5), xycoords="axes fraction", ha="center", va="center", fontsize="small", bbox={"facecolor": "white", "edgecolor": "0.5"}
        )
    return mappable


def add_colorbar(axes: Sequence[Axes], mappable: ScalarMappable | None) -> None:
    """Say beside axes which colour is which number, where one is."""
    if mappable is not None:
        axes[0].figure.colorbar(mappable, ax=list(axes), shrink=0.8)


def set_title(ax: Axes, text: str, fontsize: str = "medium") -> None:
    """A title as it is written: a dollar sign begins no formula."""
    ax.set_title(text, fontsize=fontsize).set_parse_math(False)
