"""Tokens in the colours of their attribution: on axes, as HTML, and for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.font_manager import FontProperties
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.textpath import TextPath
from matplotlib.transforms import Affine2D

from ..errors import InputError
from ..explanation import Explanation
from .drawing import Drawing, Subject, scale_of, signed_scale
from .series import vector
from .visuals import COLORS, Colors

COLUMNS = 64
"""Letters in a line of text on axes."""
ADVANCE = 0.602
"""Width of a letter of the monospaced font, by its size."""
LEADING = 1.9
"""From line to line, by the letters' size."""


@dataclass(frozen=True, eq=False)
class Tokens(Drawing):
    """Words on the colours of their attribution; positions with an empty token are left out."""

    values: np.ndarray
    tokens: Sequence[str]
    cmap: Colors = COLORS

    @cached_property
    def places(self) -> list[tuple[int, int]]:
        """Line and column where each token begins; one that does not fit begins a line, and a line break ends one."""
        places, line, column = [], 0, 0
        for token in self.tokens:
            if column and column + len(token.strip("\n")) > COLUMNS:
                line, column = line + 1, 0
            places.append((line, column))
            column += len(token.strip("\n")) + 1 if token else 0
            if "\n" in token:
                line, column = line + 1, 0
        return places

    @property
    def lines(self) -> int:
        return self.places[-1][0] + 1

    @property
    def inches(self) -> tuple[float, float]:
        return 6.0, 0.6 + 0.3 * self.lines

    def paint(self, ax: Axes, top: float) -> ScalarMappable:
        scale = signed_scale(self.cmap, top)
        font = FontProperties(family="DejaVu Sans Mono")
        # Letters are drawn as shapes, so that they fit their boxes at any size of the axes.
        for ground, token, (line, column) in zip(scale.to_rgba(self.values), self.tokens, self.places):
            letters = token.strip("\n")
            if letters:
                left, base = column * ADVANCE, (line + 0.68) * LEADING
                ax.add_patch(Rectangle((left - 0.15, line * LEADING + 0.2), len(letters) * ADVANCE + 0.3, LEADING - 0.4, color=ground, linewidth=0))
                path = TextPath((0, 0), letters.replace("$", r"\$"), size=1, prop=font)
                ax.add_patch(PathPatch(path.transformed(Affine2D().scale(1, -1).translate(left, base)), color=_ink(ground[:3]), linewidth=0, snap=False))
        widest = max(column + len(token) for token, (_, column) in zip(self.tokens, self.places))
        ax.set(xlim=(-0.4, max(widest, COLUMNS // 2) * ADVANCE + 0.4), ylim=(self.lines * LEADING, 0), aspect="equal", anchor="NW")
        ax.set_axis_off()
        return scale


def tokens(s: Subject, texts: Sequence[str], channels: str, cmap: Colors) -> Tokens:
    """A token for each position of a text."""
    values = vector(s.a, channels)
    if len(texts) != len(values):
        raise InputError(f"{len(texts)} tokens were given for {len(values)} positions of {s.name!r}: give one for each, '' for padding")
    return Tokens(values, [str(t) for t in texts], cmap)


def html(
    explanation: Explanation,
    tokens: Sequence[str],
    *,
    sample: int = 0,
    tensor: str | None = None,
    channels: str = "sum",
    percentile: float = 99.5,
    limit: float | None = None,
    cmap: Colors = COLORS,
    separator: str = " ",
) -> str:
    """A text in the colours of its attribution, as an HTML fragment.

    Parameters
    ----------
    explanation : Explanation
    tokens : list of str
        A token for each position; '' for padding, which is left out.
    sample, tensor, channels, percentile, limit, cmap
        As in `show`.
    separator : str, default " "
        Between tokens; "" for pieces of words that bring their own spaces.

    Returns
    -------
    str
        A <div> whose spans carry their values as titles. It needs no style sheet.
    """
    drawing, colors = _colored(explanation, tokens, sample, tensor, channels, percentile, limit, cmap)
    spans = []
    for value, token, ground in zip(drawing.values, drawing.tokens, colors):
        if token:
            style = f"background:{_hex(ground)};color:{_ink(ground)};padding:.1em .15em;border-radius:.2em;white-space:pre-wrap"
            ending = "<br>" * token.count("\n")
            spans.append(f'<span style="{style}" title="{float(value):.4g}">{escape(token.strip(chr(10)))}</span>{ending}')
    return f'<div style="line-height:1.8">{escape(separator).join(spans)}</div>'


def terminal(
    explanation: Explanation,
    tokens: Sequence[str],
    *,
    sample: int = 0,
    tensor: str | None = None,
    channels: str = "sum",
    percentile: float = 99.5,
    limit: float | None = None,
    cmap: Colors = COLORS,
    separator: str = " ",
) -> str:
    """A text in the colours of its attribution, for a terminal of 24-bit colours: print it.

    Parameters
    ----------
    explanation, tokens, sample, tensor, channels, percentile, limit, cmap, separator
        As in `html`.

    Returns
    -------
    str
        With ANSI escape codes around each token.
    """
    drawing, colors = _colored(explanation, tokens, sample, tensor, channels, percentile, limit, cmap)
    pieces = []
    for token, ground in zip(drawing.tokens, colors):
        if token:
            back = ";".join(str(round(255 * c)) for c in ground)
            letters = "".join(c for c in token if c.isprintable())
            pieces.append(f"\x1b[48;2;{back};{30 if _ink(ground) == 'black' else 97}m{letters}\x1b[0m" + "\n" * token.count("\n"))
    return separator.join(pieces)


def _colored(
    explanation: Explanation, texts: Sequence[str], sample: int, tensor: str | None, channels: str, percentile: float, top: float | None, cmap: Colors
) -> tuple[Tokens, np.ndarray]:
    """The tokens, and the colour [T, 3] of each."""
    drawing = tokens(Subject.of(explanation, sample, tensor), texts, channels, cmap)
    scale = signed_scale(cmap, scale_of(drawing, percentile, top))
    return drawing, scale.to_rgba(drawing.values)[:, :3]


def _ink(ground: Any) -> str:
    """Black or white, whichever is read better on a colour (WCAG's relative luminance)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in ground]
    return "black" if 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] > 0.179 else "white"


def _hex(color: Any) -> str:
    return "#" + "".join(f"{round(255 * c):02x}" for c in color)
