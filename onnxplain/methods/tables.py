"""What a table's columns look like, learned from training data: where perturbed values come from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..checks import require
from ..question import Question


@dataclass(frozen=True, eq=False, repr=False)
class Table:
    """Columns in bins, each with its share and its values' mean, deviation and bounds (arrays [features, bins], padded with empty ones).

    Columns that are not `binned` are described by their mean and deviation alone.
    """

    edges: np.ndarray
    """Upper edges of all bins but the last; infinite where a column has fewer."""
    share: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray
    low: np.ndarray
    high: np.ndarray
    binned: np.ndarray
    center: np.ndarray
    scale: np.ndarray

    def __repr__(self) -> str:
        return f"Table of {len(self.center)} columns"

    @classmethod
    def of(cls, question: Question, batches: Iterable[Mapping[str, np.ndarray]], gaussian: bool, categorical: Sequence[int]) -> Table:
        """The columns of the attributed input: in quartiles, or as normal distributions; those of categories value by value."""
        name = question.wrt[0]
        shape = question.graph.types[name].shape
        fits = len(question.wrt) == 1 and name in question.graph.inputs and shape is not None and len(shape) == 2 and question.axis(name) == 0
        require(fits, f"training statistics are those of a table, one input [N, features]; attributed to are {', '.join(map(repr, question.wrt))}")
        parts = [np.asarray(b[name], np.float64) for b in batches]
        require(bool(parts), "fit got no data: wanted at least one batch")
        x = np.concatenate(parts)
        wrong = [c for c in categorical if not 0 <= c < x.shape[1]]
        require(not wrong, f"categorical={list(categorical)}: the table has {x.shape[1]} columns, 0 to {x.shape[1] - 1}")
        columns = [_bins(column, k in categorical) for k, column in enumerate(x.T)]
        width = max(len(c[1]) for c in columns)
        padded = lambda k, fill, size: np.stack([np.pad(c[k], (0, size - len(c[k])), constant_values=fill) for c in columns])
        binned = np.array([not gaussian or k in categorical for k in range(x.shape[1])])
        scale = np.where(x.std(0) > 0, x.std(0), 1)
        share, mean, deviation, low, high = (padded(k, 0, width) for k in range(1, 6))
        return cls(padded(0, np.inf, width - 1), share, mean, deviation, low, high, binned, x.mean(0), scale)

    def around(self, x: np.ndarray, samples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Perturbed rows [samples, N, features], x the first of each, and what the linear model sees of them, of the same shape.

        That is, for a column in bins, whether it is in the same as x, and its standardised value for the others.
        """
        features = len(self.center)
        require(x.shape[1] == features, f"the training data had {features} columns, the inputs have {x.shape[1]}")
        random, columns = np.random.default_rng(seed), np.arange(features)
        last = self.share.shape[1] - 1 - np.argmax(self.share[:, ::-1] > 0, 1)
        chosen = np.minimum((random.random([samples, features, 1]) > self.share.cumsum(1)).sum(2), last)
        mean, deviation, low, high = (v[columns, chosen] for v in (self.mean, self.deviation, self.low, self.high))
        inside = _truncated(random.random([samples, features]), mean, deviation, low, high)
        drawn = np.where(self.binned, inside, self.center + self.scale * random.standard_normal([samples, features]))
        points = np.broadcast_to(drawn[:, None], [samples, *x.shape]).copy()
        points[0] = x
        same = chosen[:, None] == (x[..., None] > self.edges).sum(2)
        same[0] = True
        return points, np.where(self.binned, same, (points - self.center) / self.scale)


def _bins(column: np.ndarray, categorical: bool) -> tuple[np.ndarray, ...]:
    """A column's edges, and its bins' shares, means, deviations and bounds."""
    if categorical:
        known = np.unique(column)
        edges = (known[1:] + known[:-1]) / 2
    else:
        edges = np.unique(np.percentile(column, [25, 50, 75]))
    places = np.searchsorted(edges, column)
    count = np.bincount(places, minlength=len(edges) + 1)
    mean = np.bincount(places, column, len(edges) + 1) / np.maximum(count, 1)
    deviation = np.sqrt(np.bincount(places, (column - mean[places]) ** 2, len(edges) + 1) / np.maximum(count, 1))
    return edges, count / len(column), mean, deviation, np.r_[column.min(), edges], np.r_[edges, column.max()]


def _truncated(u: np.ndarray, mean: np.ndarray, deviation: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Normal values between bounds, from uniform ones by the inverse distribution function."""
    from scipy.special import ndtr, ndtri

    spread = np.where(deviation > 0, deviation, 1)
    a, b = ndtr((low - mean) / spread), ndtr((high - mean) / spread)
    return np.where(deviation > 0, np.clip(mean + spread * ndtri(a + u * (b - a)), low, high), mean)
