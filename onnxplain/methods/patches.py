"""What pieces of training samples look like: a normal distribution of blocks, and some whole samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from heapq import heappush, heapreplace

import numpy as np

from ..checks import require
from .occlusion import Windows

Content = Callable[[int], np.ndarray]
"""What a window, by its number, may hold: [samples, N or 1, elements]."""


@dataclass(frozen=True, eq=False)
class Blocks:
    """The places of a window, each in a block that reaches `padding` further to each side; at the border the window lies off its centre."""

    windows: Windows
    padding: int

    @cached_property
    def extents(self) -> tuple[int, ...]:
        """Of a block, along the window's axes."""
        widest = (int(cover.sum(1).max()) for cover in self.windows.cover.values())
        return tuple(min(w + 2 * self.padding, self.windows.shape[a]) for a, w in zip(self.windows.cover, widest))

    def arranged(self, x: np.ndarray, lead: int = 0) -> np.ndarray:
        """A view with the samples first, behind `lead` other axes, and the window's axes last."""
        axis, moved = self.windows.axis, self.windows.cover
        first = [] if axis is None else [axis]
        order = [*first, *(a for a in range(len(self.windows.shape)) if a not in (axis, *moved)), *moved]
        return x.transpose(*range(lead), *(a + lead for a in order))

    def window(self, number: int) -> tuple[slice, ...]:
        return tuple(self.windows.slices(number).values())

    def around(self, number: int) -> tuple[slice, ...]:
        """The block of a window."""
        wholes = (self.windows.shape[a] for a in self.windows.cover)
        starts = (int(np.clip(w.start - self.padding, 0, d - b)) for w, d, b in zip(self.window(number), wholes, self.extents))
        return tuple(slice(s, s + b) for s, b in zip(starts, self.extents))

    def drawn(self, sample: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
        """Blocks at random places of an arranged sample: [count, elements]."""
        rank = len(self.extents)
        every = np.lib.stride_tricks.sliding_window_view(sample, self.extents, tuple(range(-rank, 0)))
        corners = [random.integers(d - b + 1, size=count) for d, b in zip(sample.shape[-rank:], self.extents)]
        chosen = np.moveaxis(every, range(-2 * rank, -rank), range(rank))[tuple(corners)]
        return chosen.reshape(count, -1).astype(np.float64)


@dataclass(frozen=True, eq=False, repr=False)
class Patches:
    """What was learned from training samples.

    Attributes
    ----------
    count : int
        How many there were.
    mean, covariance : arrays [D], [D, D]
        Of blocks, D elements each, wherever they lie.
    low, high : float
        The smallest and the largest value.
    whole : array [S, *sample]
        Some of the samples, the window's axes last.
    """

    count: int
    mean: np.ndarray
    covariance: np.ndarray
    low: float
    high: float
    whole: np.ndarray

    def __repr__(self) -> str:
        return f"Patches of {self.count} samples"

    @classmethod
    def of(cls, data: Iterable[np.ndarray], blocks: Callable[[np.ndarray], Blocks], each: int, keep: int, seed: int) -> Patches:
        """Learn from `each` blocks of every sample, batch by batch; `keep` samples are kept."""
        count, total, squares, low, high = 0, np.zeros(1), np.zeros(1), np.inf, -np.inf
        kept: list[tuple[float, int, np.ndarray]] = []
        for x in data:
            layout = blocks(x)
            for sample in layout.arranged(x):  # one by one, each with chance of its own: no split of the data changes a digit
                random = np.random.default_rng([seed, count])
                drawn = layout.drawn(sample, each, random)
                count, total, squares = count + 1, total + drawn.sum(0), squares + drawn.T @ drawn
                # Each sample draws a number; those with the largest ones are kept, the smallest of them in front.
                number = random.random()
                if len(kept) < keep:
                    heappush(kept, (number, count, sample.copy()))
                elif number > kept[0][0]:
                    heapreplace(kept, (number, count, sample.copy()))
            low, high = min(low, float(x.min())), max(high, float(x.max()))
        require(count > 0, "fit got no data: wanted at least one batch")
        mean = total / (count * each)
        whole = np.stack([sample for *_, sample in sorted(kept, key=lambda k: k[1])])
        return cls(count, mean, squares / (count * each) - np.outer(mean, mean), low, high, whole)

    def elsewhere(self, blocks: Blocks, samples: int) -> Content:
        """What training samples hold at the window's place."""
        chosen = self.whole[np.arange(samples) % len(self.whole)]
        return lambda number: chosen[(..., *blocks.window(number))].reshape(samples, 1, -1)

    def given_surroundings(self, blocks: Blocks, x: np.ndarray, samples: int, seed: int) -> Content:
        """Draws from the normal distribution of the window's content, given what surrounds it in its block."""
        x = blocks.arranged(x)
        block = [*x.shape[1 : x.ndim - len(blocks.extents)], *blocks.extents]
        require(len(self.mean) == np.prod(block), "the training samples had another shape than the inputs: call fit(X) again")

        @cache
        def known(inside: tuple[tuple[int, int], ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            """For a place in the block: which elements are the window's, their regression on the others, and a root of what that leaves open."""
            place = np.zeros(block, bool)
            place[(..., *(slice(*ends) for ends in inside))] = True
            w = place.ravel()
            regression = self.covariance[np.ix_(w, ~w)] @ np.linalg.pinv(self.covariance[np.ix_(~w, ~w)], hermitian=True)
            values, vectors = np.linalg.eigh(self.covariance[np.ix_(w, w)] - regression @ self.covariance[np.ix_(~w, w)])
            return w, regression, vectors * np.sqrt(np.maximum(values, 0))

        @lru_cache(maxsize=1)
        def content(number: int) -> np.ndarray:
            window, around = blocks.window(number), blocks.around(number)
            w, regression, root = known(tuple((p.start - b.start, p.stop - b.start) for p, b in zip(window, around)))
            outside = x[(..., *around)].reshape(len(x), -1)[:, ~w]
            mean = self.mean[w] + (outside - self.mean[~w]) @ regression.T
            noise = np.random.default_rng([seed, number]).standard_normal([samples, 1, len(root)])
            return np.clip(mean + noise @ root.T, self.low, self.high)

        return content
