"""Results: tidy rows that print, plot, and go to a file or to pandas."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import cycle
from typing import Any

import numpy as np

from ..errors import InputError, choose
from ..files import replacing
from .metric import METRICS, Curve
from .store import Row, write_csv

LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's colours, told apart with any kind of colour vision."""
DASHES = ("-", "--", ":", "-.")


@dataclass(frozen=True)
class Mean:
    """The mean over samples with its standard error; samples without a finite value are left out."""

    value: float
    error: float
    count: int

    @classmethod
    def of(cls, values: np.ndarray) -> Mean:
        finite = values[np.isfinite(values)]
        n = len(finite)
        return cls(float(finite.mean()) if n else np.nan, float(finite.std(ddof=1) / np.sqrt(n)) if n > 1 else np.nan, n)

    def __str__(self) -> str:
        if not self.count:
            return "–"
        return f"{self.value:.4g}" if np.isnan(self.error) else f"{self.value:.4g} ± {self.error:.2g}"


@dataclass(frozen=True, eq=False)
class Result:
    """A row for each method, metric and sample.

    Attributes
    ----------
    records : list of dict
        With the columns "method", "metric", "sample", "target", "value", and for metrics that have a curve "at" and "curve", lists
        of numbers. Some results have more columns, such as "layer" or "class".
    rows : str, default "method"
        The column that tells apart what is measured; the printed table has a row, the plot a line or bar for each, with means over
        the samples.
    along : str, optional
        A column that the results follow, such as "layer".
    worst_first : bool, default False
        The order of the printed table.
    """

    records: list[Row] = field(repr=False)
    rows: str = "method"
    along: str | None = None
    worst_first: bool = False

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.records)

    @property
    def metrics(self) -> list[str]:
        """The metrics, in the order of their first rows."""
        return list(dict.fromkeys(r["metric"] for r in self.records))

    def where(self, **wanted: Any) -> Result:
        """The rows whose columns have these values."""
        return replace(self, records=[r for r in self.records if all(r.get(k) == v for k, v in wanted.items())])

    def values(self, metric: str) -> dict[str, np.ndarray]:
        """Row of the table → its samples' values of one metric."""
        choose("metric", metric, self.metrics)
        groups: dict[str, list[float]] = {}
        for r in self.records:
            if r["metric"] == metric:
                groups.setdefault(r[self.rows], []).append(r["value"])
        return {k: np.array(v, np.float64) for k, v in groups.items()}

    def means(self, metric: str) -> dict[str, Mean]:
        """Row of the table → its mean, the best first."""
        means = {k: Mean.of(v) for k, v in self.values(metric).items()}
        better = METRICS[metric].better if metric in METRICS else None
        sign = {"higher": -1, "lower": 1, None: 0}[better]
        return dict(sorted(means.items(), key=lambda item: np.inf if np.isnan(item[1].value) else sign * item[1].value))

    def best(self, metric: str | None = None) -> str:
        """The row of the table with the best mean of a metric, by default the first one's."""
        metric = choose("metric", metric, self.metrics) if metric else self.metrics[0]
        if metric not in METRICS or METRICS[metric].better is None:
            raise InputError(f"{metric} has no better and worse")
        return next(iter(self.means(metric)))

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write the rows to a .csv file; lists are JSON."""
        with replacing(path) as temporary:
            temporary.write_bytes(write_csv(self.records))

    def to_pandas(self) -> Any:
        """The rows as a pandas.DataFrame, where pandas is installed."""
        try:
            import pandas  # pyright: ignore[reportMissingImports]  (optional)
        except ImportError:
            raise InputError("pandas is not installed (pip install pandas); .records and .to_csv need nothing") from None
        return pandas.DataFrame(self.records)

    def __str__(self) -> str:
        if not self.records:
            return "no results"
        samples = len({r["sample"] for r in self.records})
        over = f"mean ± standard error over {samples} sample{'s' * (samples != 1)}"
        if self.along is None:
            return f"{self._table(self.rows, {m + _arrow(m): self.means(m) for m in self.metrics})}\n{over}"
        return "\n".join(f"{self._table(self.along, self._steps(m))}\n{m}{_arrow(m)}, {over}" for m in self.metrics)

    def _table(self, head: str, columns: dict[str, dict[str, Mean]]) -> str:
        """A row for each key of the columns, which are in order; those without a value come last."""
        means: dict[str, Mean] = {k: m for column in reversed(columns.values()) for k, m in column.items()}
        rows = list(dict.fromkeys(k for column in columns.values() for k in column))[:: -1 if self.worst_first else 1]
        rows.sort(key=lambda row: means[row].count == 0)
        return aligned([[head, *columns], *([row, *(str(column.get(row, "–")) for column in columns.values())] for row in rows)])

    def _steps(self, metric: str) -> dict[str, dict[str, Mean]]:
        """Row → step along the results → its mean."""
        assert self.along is not None
        own = self.where(metric=metric)
        steps = replace(own, rows=self.along, along=None)
        return {row: steps.where(**{self.rows: row}).means(metric) for row in own.values(metric)}

    def plot(self, metric: str | None = None, *, ax: Any = None) -> Any:
        """Draw one metric: its mean curves where it has them, else a bar for each row of the table.

        Parameters
        ----------
        metric : str, optional
            By default the first.
        ax : matplotlib.axes.Axes, optional
            Where to draw; by default a figure of its own, which is `result.figure`.

        Returns
        -------
        matplotlib.axes.Axes
        """
        if not self.records:
            raise InputError("there are no results to draw")
        metric = choose("metric", metric, self.metrics) if metric is not None else self.metrics[0]
        ax = axes(ax)
        if self.along is not None:
            self._lines(ax, metric)
        elif any(r.get("curve") for r in self.records if r["metric"] == metric):
            self._curves(ax, metric)
        else:
            means = self.means(metric)
            ax.barh(list(means), [m.value for m in means.values()], xerr=[m.error for m in means.values()], color=LINES[0])
            ax.invert_yaxis()
            ax.set_xlabel(f"{metric}, mean ± standard error")
        return ax

    def _lines(self, ax: Any, metric: str) -> None:
        for style, (row, means) in zip(styles(), self._steps(metric).items()):
            ax.errorbar(list(means), [m.value for m in means.values()], [m.error for m in means.values()], label=row, capsize=2, **style)
        ax.tick_params("x", rotation=90)
        ax.set_xlabel(self.along)
        ax.set_ylabel(metric)
        ax.legend(fontsize="small")

    def _curves(self, ax: Any, metric: str) -> None:
        for style, (row, mean) in zip(styles(), self.means(metric).items()):
            curves = [r for r in self.where(metric=metric).records if r[self.rows] == row]
            at = np.array(curves[0]["at"])
            each = np.array([np.interp(at, r["at"], r["curve"]) for r in curves])
            line = np.nanmean(each, 0)
            ax.plot(at, line, label=f"{row} ({mean.value:.3g})", **style)
            if len(each) > 1:
                error = np.nanstd(each, 0, ddof=1) / np.sqrt(len(each))
                ax.fill_between(at, line - error, line + error, color=style["color"], alpha=0.15, linewidth=0)
        ax.set_xlabel("fraction of the units")
        ax.set_ylabel("score" if metric.endswith("_auc") else metric.replace("_", " "))
        ax.legend(fontsize="small")


def styles() -> Iterator[dict[str, Any]]:
    """Colours, and when they are used up, the next sort of dashes."""
    return cycle({"color": color, "linestyle": dash} for dash in DASHES for color in LINES)


def _arrow(metric: str) -> str:
    """Which way is better."""
    better = METRICS[metric].better if metric in METRICS else None
    return {"higher": " ↑", "lower": " ↓", None: ""}[better]


def axes(ax: Any = None) -> Any:
    """Axes to draw on, by default on a figure of their own."""
    from matplotlib.figure import Figure

    return Figure(figsize=(6.4, 4.4), layout="constrained").add_subplot() if ax is None else ax


def aligned(table: Sequence[Sequence[str]]) -> str:
    """Rows of text in columns."""
    widths = [max(map(len, column)) for column in zip(*table)]
    return "\n".join("  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths)).rstrip() for row in table)


def rows_of(names: Sequence[str], targets: Sequence[str], columns: Mapping[str, Any], measured: Any) -> list[Row]:
    """What was measured of some samples, as rows."""
    value = measured.value if isinstance(measured, Curve) else measured
    rows = []
    for k, (name, target) in enumerate(zip(names, targets)):
        row: Row = {**columns, "sample": name, "target": target, "value": float(value[k])}
        if isinstance(measured, Curve):
            row |= {"at": measured.at.tolist(), "curve": measured.values[:, k].tolist()}
        rows.append(row)
    return rows
