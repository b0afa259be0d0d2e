"""Random masks, weighed by the scores that they leave."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import array_for, count_fits, is_list, is_real, positive_if_given, require, seed_fits
from ..tensors import Tensors
from .perturbation import Perturbation, baseline_of, settled
from .places import placed, reading

if TYPE_CHECKING:
    from ..probe import Probe


@dataclass(frozen=True)
class Rise(Perturbation, name="rise"):
    """The mean of random masks, weighed by the scores they leave (Petsiuk, Das and Saenko 2018, eq. 6).

    A mask is a grid of cells, each kept with some probability, enlarged bilinearly to one cell more than the input and shifted at random
    (section 3.2). It lies along the spatial axes, the channels share it; every sample of the batch gets the same masks.

    Parameters
    ----------
    samples : int, default 4000
        Number of masks. They are made as they are needed, never all at once.
    cells : int, sequence of int, or dict by tensor, default 8
        Cells of the grid along each spatial axis.
    density : float, default 0.5
        The probability that a cell is kept.
    baseline : float, "blur", "mean", array or dict of these by tensor, default 0
        What shows where a mask is 0.
    tolerance : float, optional
        Stop as soon as 95 % confidence intervals (1.96 standard errors to each side) are narrower than this share of the map's range;
        not before 30 masks. The batch's samples stop together.
    seed : int, default 0
    probability : bool, default True
        Ask for the probability of the explained class, as the paper does. False asks for the score itself: for models that
        answer with a quantity, not with classes.
    """

    samples: int = 4000
    cells: Any = 8
    density: float = 0.5
    baseline: Any = 0.0
    tolerance: float | None = None
    seed: int = 0
    probability: bool = True

    def __post_init__(self) -> None:
        count_fits(self.samples, "samples")
        require(is_real(self.density) and 0 < self.density < 1, f"density must lie between 0 and 1, got {self.density!r}")
        positive_if_given(self.tolerance, "tolerance")
        seed_fits(self.seed)

    def attribution(self, f: Probe) -> Tensors:
        draws = {n: self._draws(f, n, k) for k, n in enumerate(f.x)}
        masks = lru_cache(maxsize=1)(lambda steps: {n: d.masks(steps) for n, d in draws.items()})
        sums = {n: np.zeros([len(f.score), d.size]) for n, d in draws.items()}
        squares, count = {n: np.zeros_like(s) for n, s in sums.items()}, 0
        for steps, scores in f.masked(self.samples, masks, baseline_of(f, self.baseline)):
            count, weights = steps.stop, (scores / self.density).T.astype(np.float32)
            for n, mask in masks(steps).items():
                flat = mask.reshape(len(steps), -1)
                # Not @: the threads of NumPy's BLAS and of ONNX Runtime would wait for each other.
                sums[n] += np.einsum("nk,kp->np", weights, flat)
                if self.tolerance:
                    squares[n] += np.einsum("nk,kp->np", weights**2, flat**2)
            if self.tolerance and all(settled(s / count, squares[n] / count - (s / count) ** 2, count, self.tolerance) for n, s in sums.items()):
                break
        return Tensors({n: placed(s / count, f.x[n].shape, f.question.axis(n), draws[n].axes) for n, s in sums.items()})

    def _draws(self, f: Probe, name: str, index: int) -> _Draws:
        x = f.x[name]
        axes = f.places(name)
        require(bool(axes), f"rise lays masks along a sample's axes; {name!r} holds one number a sample: take feature_ablation")
        cells = array_for(self.cells, name, "cells")
        cells = list(cells) if is_list(cells) else [cells] * len(axes)
        require(len(cells) == len(axes), f"cells must be one number, or one for each of {len(axes)} axes of {name!r}; got {cells}")
        for c in cells:
            count_fits(c, "cells")
        random = np.random.default_rng([self.seed, index])
        grids = random.random([self.samples, *cells]) < self.density
        shifts = np.stack([random.integers(-(-x.shape[a] // c), size=self.samples) for a, c in zip(axes, cells)])
        return _Draws(x.shape, axes, grids.astype(np.float32), shifts)


@dataclass(frozen=True, eq=False)
class _Draws:
    """The masks of one tensor: grids of cells [samples, *cells], and how far each is shifted along each axis."""

    shape: tuple[int, ...]
    axes: list[int]
    grids: np.ndarray
    shifts: np.ndarray

    @property
    def size(self) -> int:
        return prod(self.shape[a] for a in self.axes)

    def masks(self, steps: range) -> np.ndarray:
        """Some of the masks, [k, *shape or 1]."""
        chosen = slice(steps.start, steps.stop)
        masks = self.grids[chosen]
        for a, shift in zip(self.axes, self.shifts):
            masks = np.moveaxis(masks, 1, -1)
            rows = np.lib.stride_tricks.sliding_window_view(_enlarging(masks.shape[-1], self.shape[a]), self.shape[a], 0)[shift[chosen]]
            masks = (masks.reshape(len(steps), -1, masks.shape[-1]) @ rows).reshape(*masks.shape[:-1], -1)
        return masks.reshape(len(steps), *(d if a in self.axes else 1 for a, d in enumerate(self.shape)))


def _enlarging(cells: int, extent: int) -> np.ndarray:
    """What makes of cells, linearly, one cell more than a whole extent: [(cells + 1) · ⌈extent / cells⌉, cells]."""
    return reading(cells, (cells + 1) * -(-extent // cells), "linear").astype(np.float32)
