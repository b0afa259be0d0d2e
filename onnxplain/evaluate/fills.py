"""What stands in the place of what is taken away from an input."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import array_for, require
from ..errors import choose
from ..methods.perturbation import BASELINES, baseline_of
from ..tape import is_float

if TYPE_CHECKING:
    from .case import Case

Fill = Callable[[np.ndarray], np.ndarray]
"""From what is gone, bool [k, N, *inner or 1], to what stands there, broadcastable to [k, N, *inner]."""


def noise(case: Case, name: str) -> Fill:
    """Gaussian noise with the mean and deviation of each channel of the sample."""
    x, axes = case.x[name], case.places(name)
    values = x.mean(axes, keepdims=True) + x.std(axes, keepdims=True) * case.drawn(x.shape[1:], 0, salt=name)
    return lambda gone: values


def inpaint(case: Case, name: str) -> Fill:
    """Averages of what is left nearby, from coarser and coarser copies (push-pull, Gortler et al. 1996)."""
    x, axes = case.x[name][None], [a + 1 for a in case.places(name)]
    last = range(-len(axes), 0)

    def fill(gone: np.ndarray) -> np.ndarray:
        known = np.moveaxis(np.broadcast_to(~gone, (len(gone), *x.shape[1:])), axes, last).astype(np.float64)
        return np.moveaxis(_pulled(np.moveaxis(x, axes, last) * known, known, len(axes)), last, axes)

    return fill


def _pulled(sums: np.ndarray, weights: np.ndarray, axes: int) -> np.ndarray:
    """Values on the last axes: where the weight is zero, those of the copy at half the resolution."""
    values = sums / np.maximum(weights, 1e-12)
    if (weights > 0).all() or max(weights.shape[-axes:]) == 1:
        return values
    coarse_sums, coarse_weights = _halved(sums, axes), _halved(weights, axes)
    enough = np.maximum(coarse_weights, 1)  # four known values together say no more than one
    coarse = _pulled(coarse_sums / enough, coarse_weights / enough, axes)
    for a in range(-axes, 0):
        coarse = np.take(coarse, np.arange(sums.shape[a]) // 2, a)
    return np.where(weights > 0, values, coarse)


def _halved(v: np.ndarray, axes: int) -> np.ndarray:
    """Sums over pairs along the last axes; an odd one at the end stays alone."""
    for a in range(-axes, 0):
        v = np.add.reduceat(v, np.arange(0, v.shape[a], 2), a)
    return v


MADE: dict[str, Callable[[Case, str], Fill]] = {"noise": noise, "inpaint": inpaint}
FILLS = (*BASELINES, *MADE)
"""The fills that have a name; beside them there are numbers, arrays, and dicts of all these by tensor."""


def fills_of(case: Case, given: Any) -> dict[str, Fill]:
    """The fill of each tensor."""
    each: dict[str, Any] = {n: array_for(given, n, "fill") for n in case.x}
    for name, fill in each.items():
        if isinstance(fill, str):
            choose("fill", fill, FILLS)
            require(is_float(case.x[name].dtype), f"fill {fill!r} needs floats, {name!r} has dtype {case.x[name].dtype}: give a number")
    made = {n: isinstance(fill, str) and fill in MADE for n, fill in each.items()}
    values = baseline_of(case.probe, {n: 0.0 if made[n] else fill for n, fill in each.items()})
    return {n: MADE[each[n]](case, n) if made[n] else _constant(case.first(values[n], n)) for n in case.x}


def _constant(values: np.ndarray) -> Fill:
    return lambda gone: values
