"""One sample under one method: a layer over its picture, a text, a table, or a drawing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.colors import Normalize
from PIL import Image

from ..explanation import Explanation
from ..plot import html, show
from ..plot.draw import drawing_of
from ..plot.drawing import scale_of
from ..plot.images import ImageDrawing
from ..plot.series import BarsDrawing
from .markup import Html, encoded, joined, png, table, tag

PERCENTILE = 99.5
COLORS = 256


def view(e: Explanation, sample: int, tensor: str, style: Mapping[str, Any], tokens: Sequence[str] | None, alt: str) -> Html:
    """What suits the sample."""
    if tokens is not None:
        return tag("div", Html(html(e, tokens, sample=sample, tensor=tensor)), class_="text")
    drawing = drawing_of(e, sample=sample, tensor=tensor, **style)
    if type(drawing) is ImageDrawing:
        return _over_picture(drawing, alt)
    if isinstance(drawing, BarsDrawing):
        return _bars(drawing, alt)
    figure: Any = show(e, sample=sample, tensor=tensor, title="", **style).figure
    return tag("img", src=encoded(figure._repr_png_()), alt=alt, class_="drawing")


def tokens_of(e: Explanation, sample: int, tensor: str, vocabulary: Mapping[int, str] | None) -> list[str] | None:
    """The text of token ids whose embeddings are attributed to; ids stand for themselves where there is no vocabulary."""
    a = e.attributions[tensor]
    ids = next((x for x in e.inputs.values() if x.dtype.kind in "iu" and x.ndim == 2 and a.shape[:2] == x.shape), None)
    if ids is None or tensor in e.inputs:
        return None
    return [str(int(i)) if vocabulary is None else vocabulary.get(int(i), f"[{int(i)}]") for i in ids[sample]]


def _over_picture(drawing: ImageDrawing, alt: str) -> Html:
    """The input, and over it the map, each as a picture in its own resolution."""
    h, w = drawing.size
    ground = drawing.scene.picture
    below = [] if ground is None else [_img(Image.fromarray(_bytes(ground)), "the input", "ground")]
    small = " small" if max(h, w) < 100 else ""
    return tag("div", *below, _img(layer(drawing), alt, "map"), class_=f"stack{small}", style=f"aspect-ratio:{w}/{h}")


def layer(drawing: ImageDrawing) -> Image.Image:
    """A map's colours, one pixel for each of its values; colours that stand for numbers as 256 steps from one end of the scale to the other."""
    top = scale_of(drawing, PERCENTILE, None)
    image, colors = drawing.visual.image(drawing.values / top, drawing.scene), drawing.visual.colors
    if image.ndim == 3 or colors is None:
        return Image.fromarray(_bytes(image))
    steps = np.clip(np.asarray(Normalize(drawing.visual.low, 1)(image)), 0, 1)
    paletted = Image.fromarray(np.round(steps * (COLORS - 1)).astype(np.uint8), "P")
    paletted.putpalette(_bytes(colors(np.linspace(0, 1, COLORS))[:, :3]).tobytes())
    return paletted


def _bars(drawing: BarsDrawing, caption: str) -> Html:
    """A row of a table, each feature with a bar."""
    top = float(np.abs(drawing.values).max()) or 1.0

    def bar(value: float) -> Html:
        return tag("span", class_="bar " + ("for" if value >= 0 else "against"), style=f"--part:{abs(value) / top:.4f}", aria_hidden="true")

    rows = [[name, f"{value:.4g}", bar(float(value))] for name, value in zip(drawing.names, drawing.values)]
    return joined(table(["feature", "attribution", ""], rows, caption))


def _img(image: Image.Image, alt: str, class_: str) -> Html:
    return tag("img", src=png(image), alt=alt, class_=class_, width=image.width, height=image.height)


def _bytes(colors: np.ndarray) -> np.ndarray:
    return np.round(np.clip(colors, 0, 1) * 255).astype(np.uint8)
