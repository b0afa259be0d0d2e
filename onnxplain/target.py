"""What is explained of the output: one number for each sample, chosen by index, or any weighting.

As an index the target has one coordinate for each axis of the output except the batch's; −1 stands for the argmax and −2 for
the sum over that axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .errors import InputError
from .ops.shapes import cast, counted, dim, shape_of
from .tape import Type, Var, op

ARGMAX, SUM = -1, -2


# ---- in Python: what a caller may give ----


def parse(target: Any, shape: Sequence[int], axis: int | None) -> np.ndarray:
    """The target as int64 [N] or [N, rank − 1] coordinates, or as float weights of the output's shape.

    `shape` is that of the output for the batch at hand, `axis` its batch axis.
    """
    n = 1 if axis is None else shape[axis]
    sizes = [d for a, d in enumerate(shape) if a != axis]
    if target is None:
        return np.full((n, len(sizes)) if len(sizes) != 1 else n, ARGMAX, np.int64)
    array = np.asarray(target) if not isinstance(target, (list, tuple)) or _regular(target) else None
    if array is not None and array.dtype.kind == "f":
        if array.shape != tuple(shape):
            raise InputError(f"a target of floats weighs the output's elements: wanted shape {list(shape)}, got {list(array.shape)}")
        if not np.isfinite(array).all():
            raise InputError("the target's weights hold NaN or infinity")
        return array
    rows = _rows(target, n, len(sizes), sizes)
    for row in rows:
        for coordinate, extent in zip(row, sizes):
            if coordinate not in (SUM, ARGMAX) and not 0 <= coordinate < extent:
                raise InputError(f"target {coordinate} is out of range: that axis of the output has {extent} elements, 0 to {extent - 1}")
    coordinates = np.array(rows, np.int64).reshape(n, len(sizes))
    return coordinates[:, 0] if len(sizes) == 1 else coordinates


def again(target: np.ndarray) -> Any:
    """A resolved target as a caller gives it: sums over an axis as None."""
    if target.dtype.kind != "i" or target.ndim != 2 or SUM not in target:
        return target
    return [tuple(None if i == SUM else int(i) for i in row) for row in target]


def _regular(value: Any) -> bool:
    try:
        return np.asarray(value).dtype.kind in "iufb"
    except ValueError:
        return False


def _rows(target: Any, n: int, rank: int, sizes: list[int]) -> list[list[int]]:
    """One list of coordinates for each sample."""
    wanted = f"wanted an integer, {n} integers (one a sample)"
    if rank != 1:
        wanted = f"wanted a tuple of {rank} indices (None sums over an axis), or one for each of the {n} samples"
    if isinstance(target, np.ndarray):
        target = target.tolist()
    if _is_index(target):
        if rank == 0:
            if target != 0:
                raise InputError(f"target {target} is out of range: the output is one number a sample, its first axis being the batch")
            return [[] for _ in range(n)]
        if rank > 1 and sum(d != 1 for d in sizes) > 1:
            raise InputError(f"target {target} does not tell an element of an output with {rank} axes beside the batch: {wanted}")
        wide = next((i for i, d in enumerate(sizes) if d != 1), 0)
        return [[_index(target) if i == wide else 0 for i in range(rank)]] * n
    if isinstance(target, tuple) and len(target) == rank and all(t is None or _is_index(t) for t in target) and rank > 1:
        return [[_index(t) for t in target]] * n
    if isinstance(target, (list, tuple)) and len(target) == n:
        if any(t is None for t in target):
            rest = iter(_rows(given, len(given), rank, sizes) if (given := [t for t in target if t is not None]) else [])
            return [[ARGMAX] * rank if t is None else next(rest) for t in target]
        rows = [[t] if not isinstance(t, (list, tuple)) else list(t) for t in target]
        if rank != 1 and all(len(r) == 1 for r in rows) and sum(d != 1 for d in sizes) < 2:
            return [_rows(r[0], 1, rank, sizes)[0] for r in rows]
        if all(len(r) == rank for r in rows) and all(t is None or _is_index(t) for r in rows for t in r):
            return [[_index(t) for t in r] for r in rows]
    raise InputError(f"target {str(target)[:80]} does not fit: {wanted}")


def _is_index(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _index(value: Any) -> int:
    if value is None:
        return SUM
    if value < 0:
        raise InputError(f"target {value} is negative: count from 0; without a target it is the argmax")
    return int(value)


# ---- in the graph ----


def index_type(score: Type, axis: int | None) -> Type:
    """The type of the input "target"."""
    assert score.shape is not None
    n = 1 if axis is None else score.shape[axis]
    rank = len(score.shape) - (axis is not None)
    return Type.tensor(np.int64, [n] if rank == 1 else [n, rank])


def resolve(y: Var, target: Var, axis: int | None) -> Var:
    """The target with every −1 replaced by that coordinate of the sample's argmax; [N, rank − 1]."""
    free = [a for a in range(y.rank) if a != axis]
    if not free:
        return op.Reshape(target, op.Concat(_batch(y, axis), [0], axis=0), allowzero=1)
    target = listed(target, y, axis)
    moved = op.Transpose(y, perm=[*([] if axis is None else [axis]), *free]) if axis not in (None, 0) else y
    best = op.ArgMax(op.Reshape(moved, op.Concat(_batch(y, axis), [-1], axis=0)), axis=1, keepdims=1)
    coordinates = []
    for a in reversed(free):
        coordinates.insert(0, best - best / dim(y, a) * dim(y, a))
        best = best / dim(y, a)
    best = op.Concat(*coordinates, axis=1) if len(coordinates) > 1 else coordinates[0]
    return op.Where(op.Equal(target, np.int64(ARGMAX)), best, target)


def listed(target: Var, y: Var, axis: int | None) -> Var:
    """The target as [N, rank − 1] coordinates."""
    return op.Reshape(target, [-1, 1]) if y.rank - (axis is not None) == 1 else target


def _batch(y: Var, axis: int | None) -> Var:
    return y.tape.constant(np.array([1])) if axis is None else dim(y, axis)


def mask(y: Var, coordinates: Var, axis: int | None) -> Var:
    """One at the chosen elements of each sample, zero elsewhere."""
    free = [a for a in range(y.rank) if a != axis]
    whole = None
    for k, a in enumerate(free):
        wanted = op.Gather(coordinates, np.int64(k), axis=1)  # [N]
        shape = [-1 if b == axis else 1 for b in range(y.rank)]
        wanted = op.Reshape(wanted, shape if axis is not None else [1] * y.rank)
        extent = y.shape[a]
        places = y.tape.constant(np.arange(extent)) if isinstance(extent, int) else counted(dim(y, a))
        places = op.Reshape(places, [-1 if b == a else 1 for b in range(y.rank)])
        here = op.Or(op.Equal(places, wanted), op.Equal(wanted, np.int64(SUM)))
        whole = here if whole is None else op.And(whole, here)
    if whole is None:
        return op.Expand(y.tape.constant(1.0, y), shape_of(y))
    return op.Expand(cast(whole, y), shape_of(y)) if len(free) > 1 else cast(whole, y)
