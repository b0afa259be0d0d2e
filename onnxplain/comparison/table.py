"""A table of pictures: heads with the inputs, cells with their explanations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from textwrap import fill
from typing import Any

from matplotlib.axes import Axes
from matplotlib.layout_engine import ConstrainedLayoutEngine

from ..errors import InputError
from ..explanation import Explanation
from ..plot import show
from ..plot.draw import Sheet, drawing_of, set_title
from ..plot.images import ImageDrawing

WIDTH = 1.75
"""Of a square cell, in inches."""
GAP = 0.1
"""Between cells."""
LINE = 0.15
"""A line of text, in height."""
DPI = 130
LARGEST = 2**16 - 1
"""Pixels that Matplotlib draws at most to a side."""
LETTERS = 22
"""So many fit into a line over a cell, or beside it …"""
BESIDE = 1.5
"""… which takes this width."""


@dataclass(frozen=True, eq=False)
class Cell:
    """What is drawn in one place, as `onnxplain.plot.show` takes it."""

    explanation: Explanation
    sample: int
    options: Mapping[str, Any]
    title: str = ""

    def of_input(self) -> Cell | None:
        """The input alone, if it is a picture."""
        drawing = drawing_of(self.explanation, sample=self.sample, **self.options)
        drawn = isinstance(drawing, ImageDrawing) and drawing.scene.picture is not None
        return replace(self, options={**self.options, "visual": "input"}, title="") if drawn else None

    def inches(self) -> tuple[float, float]:
        """Width and height."""
        drawing = drawing_of(self.explanation, sample=self.sample, **self.options)
        if type(drawing) is not ImageDrawing:
            return drawing.inches
        aspect = drawing.size[1] / drawing.size[0]
        width = WIDTH * max(1.0, aspect) ** 0.5
        return width, width / aspect


@dataclass(frozen=True, eq=False)
class Head:
    """What stands before a row or over a column: a name, perhaps a picture, and what is said below."""

    text: str
    below: str = ""
    picture: Cell | None = None

    @property
    def said(self) -> str:
        """All of it, where there is no picture between."""
        return "\n".join(filter(None, [self.text, self.below]))


@dataclass(frozen=True, eq=False)
class Table:
    """Cells in rows, with a head for each row and column, and perhaps one input that is common to all."""

    rows: Sequence[Head]
    columns: Sequence[Head]
    cells: Sequence[Sequence[Cell | None]]
    corner: Head | None = None

    def transposed(self) -> Table:
        return replace(self, rows=self.columns, columns=self.rows, cells=list(zip(*self.cells)))

    def figure(self) -> Sheet:
        """Draw it."""
        top = int(self.corner is not None or any(h.picture for h in self.columns))
        left = int(any(h.picture for h in self.rows))
        figure = Sheet(figsize=self._size(top, left), layout=ConstrainedLayoutEngine(compress=True), dpi=DPI)
        axes = figure.subplots(top + len(self.rows), left + len(self.columns), squeeze=False)
        for ax in axes.flat:
            ax.set_axis_off()
        for ax, head in [*zip(axes[0, left:], self.columns), *zip(axes[top:, 0], self.rows), (axes[0, left], self.corner)]:
            if head is not None and head.picture is not None:
                _paint(ax, head.picture, _wrapped(head.text))
                _below(ax, head.below)
        for i, row in enumerate(self.cells):
            for j, cell in enumerate(row):
                over = _wrapped(self.columns[j].said) if i == 0 and self.columns[j].picture is None else ""
                if cell is not None:
                    _paint(axes[top + i, left + j], cell, "\n".join(filter(None, [over, cell.title])))
            if self.rows[i].picture is None:
                _beside(axes[top + i, left], _wrapped(self.rows[i].said))
        return figure

    def _size(self, top: int, left: int) -> tuple[float, float]:
        """Inches in which the cells keep their size."""
        width, height = next(cell for row in self.cells for cell in row if cell is not None).inches()
        lines = sum(max((_wrapped(t).count("\n") + 1 for t in texts if t), default=0) for texts in self._texts())
        size = (left + len(self.columns)) * (width + GAP) + BESIDE * (1 - left), (top + len(self.rows)) * (height + GAP) + LINE * lines
        if max(size) * DPI > LARGEST:
            raise InputError(f"{len(self.rows)} × {len(self.columns)} cells do not fit into one picture: compare fewer at once")
        return size

    def _texts(self) -> Iterator[list[str]]:
        """What takes height beside the cells: texts that lie side by side."""
        yield [h.text for h in (*self.columns, self.corner) if h is not None]
        yield [h.below for h in (*self.columns, self.corner) if h is not None]
        for head, cells in zip(self.rows, self.cells):
            yield [head.text if head.picture else "", *(c.title for c in cells if c is not None)]
            yield [head.below if head.picture else ""]


def _paint(ax: Axes, cell: Cell, title: str) -> None:
    ax.set_axis_on()
    show(cell.explanation, sample=cell.sample, ax=ax, title="", **cell.options)
    set_title(ax, title, fontsize="small")


def _below(ax: Axes, text: str) -> None:
    ax.annotate(text, (0.5, -0.04), xycoords="axes fraction", ha="center", va="top", fontsize="x-small", parse_math=False)


def _beside(ax: Axes, text: str) -> None:
    if ax.axison:  # the names of its ticks lie there
        both = "\n".join(filter(None, [text, ax.get_ylabel()]))
        ax.set_ylabel(both, rotation=0, ha="right", va="center", fontsize="small", parse_math=False)
    else:
        ax.annotate(text, (-0.06, 0.5), xycoords="axes fraction", ha="right", va="center", fontsize="small", parse_math=False)


def _wrapped(text: str) -> str:
    return "\n".join(fill(line, LETTERS) for line in text.split("\n"))
