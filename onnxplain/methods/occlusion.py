"""A window slides over the input: what it covers is taken away, or kept alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import array_for, is_list, is_whole, one_of, require, told
from ..tensors import Tensors
from .perturbation import Perturbation, baseline_of
from .places import placed

if TYPE_CHECKING:
    from ..probe import Probe


@dataclass(frozen=True, eq=False)
class Windows:
    """Every place of a window that slides over a tensor, numbered row by row."""

    shape: tuple[int, ...]
    axis: int | None
    """The batch axis."""
    cover: Mapping[int, np.ndarray]
    """For each axis that it slides along, which of its positions covers which elements: [positions, extent] of ones and zeros."""

    @classmethod
    def over(cls, x: np.ndarray, axis: int | None, places: Sequence[int], window: Any, stride: Any) -> Windows:
        """By the parameters of occlusion; `places` are the spatial axes."""
        window = extents(window, "window")
        stride = window if stride is None else extents(stride, "stride")
        own = [a for a in range(x.ndim) if a != axis]
        stride = stride * len(window) if len(stride) == 1 else stride
        fits = len(window) == len(stride) <= len(own)
        require(fits, f"window {window} and stride {stride} must have the same number of axes, at most {len(own)} for a tensor of shape {list(x.shape)}")
        axes = places if len(places) == len(window) else own[-len(window) :]
        return cls(x.shape, axis, {a: _cover(x.shape[a], w, s) for a, w, s in zip(axes, window, stride)})

    @cached_property
    def sizes(self) -> list[int]:
        return [len(c) for c in self.cover.values()]

    @property
    def count(self) -> int:
        return prod(self.sizes)

    def slices(self, number: int) -> dict[int, slice]:
        """Where one window lies along each of its axes."""
        places = np.unravel_index(number, self.sizes)
        return {a: slice((ends := np.flatnonzero(cover[p]))[0], ends[-1] + 1) for (a, cover), p in zip(self.cover.items(), places)}

    def inside(self, steps: range) -> np.ndarray:
        """Ones where some of the windows lie, zeros elsewhere: [k, *shape or 1]."""
        whole = np.ones([1] * (1 + len(self.shape)), np.float32)
        for (axis, cover), places in zip(self.cover.items(), np.unravel_index(np.arange(steps.start, steps.stop), self.sizes)):
            whole = whole * cover[places].reshape(len(steps), *(d if a == axis else 1 for a, d in enumerate(self.shape)))
        return whole

    def mean(self, values: np.ndarray) -> np.ndarray:
        """For each element the mean of the values [count, N] of the windows that cover it; zero where there is none."""
        values = values.reshape(*self.sizes, -1)
        for cover in self.cover.values():
            values = np.tensordot(values, cover / np.maximum(cover.sum(0), 1), (0, 0))
        return placed(values, self.shape, self.axis, self.cover)


def _cover(extent: int, window: int, stride: int) -> np.ndarray:
    """The last window is cut at the border."""
    starts = np.arange(0, min(max(extent - window, 0) + stride, extent), stride)[:, None]
    places = np.arange(extent)
    return ((starts <= places) & (places < starts + window)).astype(np.float32)


def extents(value: Any, what: str) -> tuple[int, ...]:
    """A window or stride as positive integers."""
    given = tuple(value) if is_list(value) else (value,)
    require(bool(given) and all(is_whole(v) and v >= 1 for v in given), f"{what} must be positive integers, got {told(value)}")
    return tuple(int(v) for v in given)


@dataclass(frozen=True)
class Occlusion(Perturbation, name="occlusion"):
    """How much the score falls where a sliding window is replaced by a baseline, averaged over the windows (Zeiler and Fergus 2014, section 2).

    Parameters
    ----------
    window : int, sequence of int, or dict by tensor
        Extents of the window along the axes of a sample: along the spatial axes if there are as many, else along the last ones. The
        window covers the other axes whole.
    stride : like `window`, optional
        Steps between windows, along the same axes (one number for all); by default the window itself. The last window is cut at the border.
    baseline : float, "blur", "mean", array or dict of these by tensor, default 0
        What stands in a window's place.
    mode : "remove" or "keep", default "remove"
        Keep only the window instead, and tell how much the score rises from that of the baseline.
    probability : bool, default False
        Ask for the probability of the explained class instead of its score.
    """

    window: Any = None
    stride: Any = None
    baseline: Any = 0.0
    mode: str = "remove"

    def __post_init__(self) -> None:
        require(self.window is not None, "occlusion needs window=, the extents of the patch that is covered")
        one_of(self.mode, ("remove", "keep"), "mode")

    def attribution(self, f: Probe) -> Tensors:
        baseline = baseline_of(f, self.baseline)
        return Tensors({n: self._one(f, n, baseline) for n in f.x})

    def _one(self, f: Probe, name: str, baseline: Mapping[str, np.ndarray]) -> np.ndarray:
        given = (array_for(v, name, what) for v, what in ((self.window, "window"), (self.stride, "stride")))
        windows, keep = Windows.over(f.x[name], f.question.axis(name), f.places(name), *given), self.mode == "keep"

        def masks(steps: range) -> dict[str, np.ndarray]:
            others = {n: np.ones([len(steps), *[1] * v.ndim]) for n, v in f.x.items()}
            inside = windows.inside(steps)
            return others | {name: inside if keep else np.subtract(1, inside, out=inside)}

        scores = f.scores(windows.count, masks, baseline)
        if not keep:
            return windows.mean(f.score - scores)
        nothing = f.scores(1, lambda steps: masks(steps) | {name: np.zeros([1] * (f.x[name].ndim + 1))}, baseline)
        return windows.mean(scores - nothing)
