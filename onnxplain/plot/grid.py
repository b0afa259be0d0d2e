"""Many explanations side by side, and figures as files."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from ..errors import InputError, choose
from ..explanation import Explanation
from ..files import replacing
from ..prediction import answers, explained, first_name
from .draw import Sheet, add_colorbar, drawing_of, paint, set_title
from .drawing import Drawing, count_of, scale_of
from .images import ImageDrawing
from .visuals import Input

SHARING: dict[str, Callable[[int, int], Any]] = {
    "own": lambda row, column: (row, column),
    "row": lambda row, column: row,
    "column": lambda row, column: column,
    "all": lambda row, column: None,
}
"""What shares a scale of colours: cells of one group."""
CELL = 2.3
"""Width of a square cell in inches."""


def grid(
    explanations: Sequence[Explanation] | Explanation,
    *,
    pictures: Sequence[np.ndarray] | None = None,
    names: Sequence[str] | None = None,
    labels: Sequence[str] | None = None,
    tensor: str | None = None,
    output: str | None = None,
    samples: Sequence[int] | None = None,
    scale: str = "own",
    colorbar: bool = False,
    percentile: float = 99.5,
    limit: float | None = None,
    boxes: Sequence[Any] | None = None,
    contours: Sequence[Any] | None = None,
    tokens: Sequence[Sequence[str]] | None = None,
    **options: Any,
) -> Sheet:
    """Inputs × methods: a row for each sample, the input at left, then what each explanation says of it.

    Parameters
    ----------
    explanations : list of Explanation
        Of the same inputs, one a column.
    pictures : list of arrays [H, W, C], optional
        How to show the inputs; by default the inputs themselves, stretched to the full range.
    names, labels : list of str, optional
        Names of the samples and of the classes.
    tensor, output : str, optional
        Which attribution and which output of the model, where there are several.
    samples : list of int, optional
        Which samples; by default all.
    scale : "own", "row", "column" or "all", default "own"
        What shares a scale of colours: nothing, the methods of an input, the inputs of a method, or everything.
    colorbar : bool, default False
        A bar beside whatever has a scale.
    percentile, limit : float, optional
        As in `show`; of what shares a scale the largest decides.
    boxes, contours, tokens : list, optional
        One for each sample; see `show`.
    **options
        See `show`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    columns = [explanations] if isinstance(explanations, Explanation) else list(explanations)
    if not columns:
        raise InputError("there are no explanations to draw")
    group = SHARING[choose("scale", scale, SHARING)]
    rows = list(range(count_of(columns[0], tensor)) if samples is None else samples)
    if not rows:
        raise InputError("there are no samples to draw")
    each = {k: v for k, v in {"picture": pictures, "boxes": boxes, "contours": contours, "tokens": tokens}.items() if v is not None}
    for name, given in {**each, "names": names}.items():
        if given is not None and len(given) <= max(rows):
            raise InputError(f"{name}: {len(given)} were given, sample {max(rows)} has none")

    def drawing(i: int, j: int) -> Drawing:
        k = rows[i]
        return drawing_of(columns[j], sample=k, tensor=tensor, **options | {name: given[k] for name, given in each.items()})

    def key(d: Drawing, i: int, j: int) -> Any:
        # What is drawn in another way, such as a signal among attributions, has another unit.
        return group(i, j), type(d.visual) if isinstance(d, ImageDrawing) else None

    cells = [(i, j) for i in range(len(rows)) for j in range(len(columns))]
    tops: dict[Any, float] = defaultdict(float)
    if scale != "own" and limit is None:
        for cell in cells:
            d = drawing(*cell)
            tops[key(d, *cell)] = max(tops[key(d, *cell)], scale_of(d, percentile, None))
    first = drawing(0, 0)
    left = int(isinstance(first, ImageDrawing) and first.scene.picture is not None)
    bars = 0 if not colorbar else 1 if scale in ("row", "all") else len(columns)
    figure, axes = _sheet(first, len(rows), left + len(columns), bars)
    colored = defaultdict(list)
    for i, j in cells:
        d, ax = drawing(i, j), axes[i, left + j]
        heading = _heading(columns[0], rows[i], names, labels, output)
        if left and j == 0:
            assert isinstance(d, ImageDrawing)
            replace(d, visual=Input()).paint(axes[i, 0], 1.0)
            set_title(axes[i, 0], heading, fontsize="small")
        mappable = paint(d, ax, scale_of(d, percentile, tops.get(key(d, i, j), limit)))
        colored[key(d, i, j)].append((ax, mappable))
        title = columns[j].method.replace("_", " ") if i == 0 or not left else ""
        set_title(ax, title if left else f"{heading}\n{title}".strip())
    if colorbar:
        for members in colored.values():
            add_colorbar([ax for ax, _ in members], members[0][1])
    return figure


def _sheet(first: Drawing, rows: int, columns: int, bars: int) -> tuple[Sheet, np.ndarray]:
    """A figure of so many cells in a drawing's proportions, with room for so many colour bars side by side."""
    wide, high = first.inches
    width = CELL * max(1.0, wide / high) ** 0.5
    height = max(width * high / wide, first.least)
    figure = Sheet(figsize=(width * columns + 0.7 * bars + 0.1, (height + 0.2) * rows + 0.1), layout=ConstrainedLayoutEngine(compress=True), dpi=110)
    return figure, figure.subplots(rows, columns, squeeze=False)


def _heading(e: Explanation, sample: int, names: Sequence[str] | None, labels: Sequence[str] | None, output: str | None) -> str:
    """The sample's name, the answer, and what is explained where that is not the answer."""
    best = answers(e, sample, labels, output=output, top=1)
    lines = ([names[sample]] if names is not None else []) + [str(replace(a, label=_short(a.label))) for a in best]
    what = explained(e, sample, labels, output=output)
    return "\n".join(lines + ([f"explained: {_short(what)}"] if not best or what != best[0].label else []))


def _short(label: str, width: int = 22) -> str:
    """The first of several names, cut where it would not fit over a picture."""
    label = first_name(label)
    return label if len(label) <= width else label[: width - 1] + "…"


def check_name(path: str | os.PathLike[str]) -> None:
    """Refuse a picture's name that Matplotlib has no format for, or none that other programs open."""
    known = set(FigureCanvasAgg.get_supported_filetypes()) - {"raw", "rgba", "pgf"}
    if Path(path).suffix.lower().lstrip(".") not in known:
        raise InputError(f"cannot write {path}: a picture's name ends in one of {', '.join('.' + k for k in sorted(known))}")


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a figure: .png, .pdf, .svg, or what else Matplotlib knows."""
    check_name(path)
    with replacing(path) as temporary:
        figure.savefig(temporary)
