"""Values over one axis: the bars of a table, and signals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.ticker import MaxNLocator

from ..checks import count_fits
from ..errors import InputError
from .drawing import Drawing, Subject, signed_scale
from .maps import reduced, shrunk
from .visuals import COLORS, Colors, colors_of

BARS = 40
"""Up to so many values are a table's, drawn as bars; more are a signal's."""
TOP = 20
"""So many bars are drawn of a table that is longer."""
STRIPS = 256
"""So many colours at most are told apart along a signal."""


@dataclass(frozen=True, eq=False)
class BarsDrawing(Drawing):
    """A table's row: one bar a feature."""

    values: np.ndarray
    names: Sequence[str]
    cmap: Colors = COLORS

    @property
    def inches(self) -> tuple[float, float]:
        return 5.0, 1.0 + 0.25 * len(self.values)

    @property
    def least(self) -> float:
        return 1.0 + 0.16 * len(self.values)

    def paint(self, ax: Axes, top: float) -> ScalarMappable | None:
        places = np.arange(len(self.values))
        against, speaks_for = colors_of(self.cmap)([0.1, 0.9])
        ax.barh(places, self.values, color=np.where((self.values >= 0)[:, None], speaks_for, against))
        ax.axvline(0, color="0.3", linewidth=0.8)
        ax.set_yticks(places, labels=list(self.names), parse_math=False)
        ax.set_ylim(len(places) - 0.4, -0.6)
        ax.xaxis.set_major_locator(MaxNLocator(5))
        ax.spines[["top", "right"]].set_visible(False)
        ax.set_xlabel("attribution")
        return None


@dataclass(frozen=True, eq=False)
class SignalDrawing(Drawing):
    """Lines over the colours of their attribution, a strip for each channel."""

    values: np.ndarray
    """[C, strips]: where there are more steps than can be told apart, the mean over a strip's."""
    lines: np.ndarray
    """[C, L]: the signal, or the attribution itself where the signal is not at hand."""
    names: Sequence[str]
    """What the lines are called."""
    cmap: Colors = COLORS

    @property
    def inches(self) -> tuple[float, float]:
        return 6.0, 1.8 + 0.4 * len(self.values)

    def paint(self, ax: Axes, top: float) -> ScalarMappable | None:
        channels, length = self.lines.shape
        scale = signed_scale(self.cmap, top)
        if channels == 1:
            low, high = float(self.lines.min()), float(self.lines.max())
            margin = 0.05 * ((high - low) or 1.0)
            extent, lines = (-0.5, length - 0.5, low - margin, high + margin), self.lines
            ax.set_ylabel(self.names[0])
        else:
            span = np.maximum(np.ptp(self.lines, 1, keepdims=True), np.finfo(float).tiny)
            middle = (self.lines.max(1, keepdims=True) + self.lines.min(1, keepdims=True)) / 2
            extent, lines = (-0.5, length - 0.5, channels - 0.5, -0.5), np.arange(channels)[:, None] - 0.9 * (self.lines - middle) / span
            ax.set_yticks(range(channels), labels=list(self.names), parse_math=False)
        ax.imshow(self.values, cmap=scale.cmap, vmin=-top, vmax=top, extent=extent, aspect="auto", interpolation="nearest")
        ax.plot(lines.T, color="0.1", linewidth=0.7)
        ax.set_xlim(extent[:2])
        ax.set_ylim(extent[2:])
        ax.set_xlabel("step")
        return scale


# ---- from a subject ----


def vector(a: np.ndarray, channels: str = "sum") -> np.ndarray:
    """One value for each of a row's features or tokens: [T], or [T, D] over the embedding's axis."""
    if a.ndim == 2 and a.size != max(a.shape):
        return reduced(a, channels)
    if a.size != max(a.shape, default=1):
        raise InputError(f"a table or a text has one value, or one embedding, for each feature or token; got {list(a.shape)} a sample")
    return a.reshape(-1)


def bars(s: Subject, values: np.ndarray, features: Sequence[str] | None, top: int | None, cmap: Colors) -> BarsDrawing:
    """The bars in their order, or the largest first and the others summed up."""
    if features is not None and len(features) != len(values):
        raise InputError(f"{len(features)} feature names were given for {len(values)} features")
    if top is not None:
        count_fits(top, "top")
    names = [str(k) for k in range(len(values))] if features is None else [str(f) for f in features]
    if s.x is not None and features is not None:
        names = [f"{name} = {float(v):.4g}" for name, v in zip(names, s.x.reshape(-1))]
    count = top if top is not None else len(values) if len(values) <= BARS else TOP
    order = np.arange(len(values)) if top is None and count == len(values) else np.argsort(-np.abs(values), kind="stable")
    first, others = order[:count], order[count:]
    shown, called = values[first], [names[k] for k in first]
    if len(others):
        shown, called = np.append(shown, values[others].sum()), [*called, f"{len(others)} others, summed"]
    return BarsDrawing(shown, called, cmap)


def signal(s: Subject, values: np.ndarray, features: Sequence[str] | None, cmap: Colors) -> SignalDrawing:
    """A signal [L], or several channels [C, L] or [L, C]."""
    values = np.atleast_2d(values)
    turn = len(values) > values.shape[1]
    values = values.T if turn else values
    x = None
    if s.x is not None:
        x = s.x.reshape(values.shape[::-1]).T if turn else s.x.reshape(values.shape)
    if features is not None and len(features) != len(values):
        raise InputError(f"{len(features)} names were given for {len(values)} channels")
    single = ["attribution" if x is None else "signal"]
    names = [str(f) for f in features] if features is not None else single if len(values) == 1 else [str(k) for k in range(len(values))]
    return SignalDrawing(shrunk(values.T, STRIPS).T, values if x is None else x.astype(np.float64), names, cmap)
