"""Pictures of explanations. Everything is drawn on figures of its own: no window opens, and no global state is touched."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from ..errors import InputError, choose
from ..explanation import Explanation
from ..files import replacing
from ..prediction import answers, explained
from .maps import limit, picture_of, reduced

COLORS = "RdBu_r"
"""Red speaks for, blue against; told apart with any kind of colour vision."""
BARS = 40
"""Up to so many values are a table's, drawn as bars; more are a signal's."""


def show(
    explanation: Explanation,
    *,
    sample: int = 0,
    tensor: str | None = None,
    ax: Axes | None = None,
    channels: str = "sum",
    percentile: float = 99.5,
    layout: str | None = None,
    features: Sequence[str] | None = None,
    labels: Sequence[str] | None = None,
    title: str | None = None,
) -> Axes:
    """Draw the attribution of one sample: a heat map, a coloured signal, or bars.

    Parameters
    ----------
    explanation : Explanation
    sample : int, default 0
        Which sample of the batch.
    tensor : str, optional
        Which attribution, where there are several.
    ax : Axes, optional
        Where to draw; by default a figure of its own, which is `result.figure`.
    channels : "sum", "norm" or "max", default "sum"
        How an image's channels become one value.
    percentile : float, default 99.5
        Of the magnitudes; what lies above it has the full colour.
    layout : "NCHW" or "NHWC", optional
        By default guessed from the shape.
    features : list of str, optional
        Names of a table's columns.
    labels : list of str, optional
        Names of the classes.
    title : str, optional
        By default the method and the explained class.

    Returns
    -------
    matplotlib.axes.Axes
    """
    name, a = _chosen(explanation, sample, tensor)
    hidden = name not in explanation.inputs
    if hidden and a.ndim == 2:  # embeddings: one value for each token
        a = reduced(a[None].transpose(2, 1, 0), channels, "NCHW")
    values = reduced(a, channels, layout)
    ax = Figure(figsize=(4, 4), layout="constrained").add_subplot() if ax is None else ax
    top = limit(values, percentile)
    if values.ndim == 2:
        ax.imshow(values, cmap=COLORS, vmin=-top, vmax=top, interpolation="nearest")
        ax.set_axis_off()
    elif values.size <= BARS:
        _bars(ax, values, features)
    else:
        _signal(ax, values, None if hidden else explanation.inputs[name][sample].reshape(-1), top)
    ax.set_title(f"{explanation.method}\n{explained(explanation, sample, labels)}" if title is None else title, fontsize="medium")
    return ax


def _chosen(explanation: Explanation, sample: int, tensor: str | None) -> tuple[str, np.ndarray]:
    name = choose("tensor", tensor, explanation.attributions) if tensor is not None else next(iter(explanation.attributions))
    a = explanation.attributions[name]
    if not 0 <= sample < len(a):
        raise InputError(f"sample {sample} is out of range: there are {len(a)}, 0 to {len(a) - 1}")
    return name, a[sample]


def _bars(ax: Axes, values: np.ndarray, features: Sequence[str] | None) -> None:
    """A table's row: one bar a feature, the first on top."""
    if features is not None and len(features) != values.size:
        raise InputError(f"{len(features)} feature names were given for {values.size} features")
    places = np.arange(values.size)
    ax.barh(places, values, color=np.where(values >= 0, "#b2182b", "#2166ac"))
    ax.axvline(0, color="0.3", linewidth=0.8)
    ax.set_yticks(places, labels=list(features) if features is not None else [str(k) for k in places])
    ax.invert_yaxis()
    ax.set_xlabel("attribution")


def _signal(ax: Axes, values: np.ndarray, x: np.ndarray | None, top: float) -> None:
    """A signal's line in the colours of its attribution, or the attribution itself where the signal is not at hand."""
    steps = np.arange(values.size)
    line = values if x is None else x.astype(np.float64)
    # White lines cannot be seen on white: the ground is gray.
    ax.set_facecolor("0.75")
    points = np.stack([steps, line], 1)
    segments = LineCollection(list(np.stack([points[:-1], points[1:]], 1)), cmap=COLORS, linewidths=1.5)
    segments.set_array((values[:-1] + values[1:]) / 2)
    segments.set_clim(-top, top)
    ax.add_collection(segments)
    ax.autoscale_view()
    ax.set_xlabel("step")


# ---- several inputs and methods ----


def grid(
    explanations: Sequence[Explanation] | Explanation,
    *,
    pictures: Sequence[np.ndarray] | None = None,
    names: Sequence[str] | None = None,
    labels: Sequence[str] | None = None,
    tensor: str | None = None,
    output: str | None = None,
    samples: Sequence[int] | None = None,
    **options: Any,
) -> Figure:
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
    **options
        See `show`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    columns = [explanations] if isinstance(explanations, Explanation) else list(explanations)
    if not columns:
        raise InputError("there are no explanations to draw")
    name, _ = _chosen(columns[0], 0, tensor)
    rows = list(samples) if samples is not None else list(range(len(columns[0].attributions[name])))
    shown = [_picture(columns[0], name, k, pictures, options.get("layout")) for k in rows]
    left = int(any(p is not None for p in shown))
    width = 2.3 if left else 3 if columns[0].attributions[name][0].size <= BARS else 5
    figure = Figure(figsize=(width * (left + len(columns)) + 0.4, 2.55 * len(rows) + 0.3), layout=ConstrainedLayoutEngine(h_pad=0.08), dpi=110)
    axes = figure.subplots(len(rows), left + len(columns), squeeze=False)
    for i, (k, picture) in enumerate(zip(rows, shown)):
        heading = _heading(columns[0], k, names, labels, output)
        if picture is not None:
            axes[i, 0].imshow(picture, cmap="gray", vmin=0, vmax=1)
            axes[i, 0].set_axis_off()
            axes[i, 0].set_title(heading, fontsize="small")
        for ax, e in zip(axes[i, left:], columns):
            title = e.method.replace("_", " ") if i == 0 or not left else ""
            show(e, sample=k, tensor=tensor, ax=ax, title="\n".join([*([] if left else [heading]), title]).strip(), labels=labels, **options)
    return figure


def _picture(e: Explanation, name: str, sample: int, pictures: Sequence[np.ndarray] | None, layout: str | None) -> np.ndarray | None:
    if pictures is not None:
        return picture_of(np.asarray(pictures[sample]), "NHWC")
    return picture_of(e.inputs[name][sample], layout) if name in e.inputs else None


def _heading(e: Explanation, sample: int, names: Sequence[str] | None, labels: Sequence[str] | None, output: str | None) -> str:
    """The sample's name, the answer, and what is explained where that is not the answer."""
    best = answers(e, sample, labels, output=output, top=1)
    lines = ([names[sample]] if names is not None else []) + [str(replace(a, label=_short(a.label))) for a in best]
    what = explained(e, sample, labels, output=output)
    return "\n".join(lines + ([f"explained: {_short(what)}"] if not best or what != best[0].label else []))


def _short(label: str, width: int = 22) -> str:
    """The first of several names, cut where it would not fit over a picture."""
    label = label.split(",")[0] if not label[:1].isdigit() else label
    return label if len(label) <= width else label[: width - 1] + "…"


def check_name(path: str | os.PathLike[str]) -> None:
    """Refuse a picture's name that Matplotlib has no format for."""
    known = FigureCanvasAgg.get_supported_filetypes()
    if Path(path).suffix.lower().lstrip(".") not in known:
        raise InputError(f"cannot write {path}: a picture's name ends in one of {', '.join('.' + k for k in sorted(known))}")


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a figure: .png, .pdf, .svg, or what else Matplotlib knows."""
    check_name(path)
    with replacing(path) as temporary:
        figure.savefig(temporary)
