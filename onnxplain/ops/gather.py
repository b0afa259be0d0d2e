"""Gathering and scattering: the cotangent goes to, or comes from, the places that were read or written."""

from __future__ import annotations

import numpy as np

from ..tape import op
from .movement import dims, put_back
from .registry import selection
from .shapes import add_at, cast, expand_like, filled, positions, reshape, reshape_like, shape_of, zeros


@selection
def Gather(g, y, x, indices, *, axis=0):
    axis = axis % x.rank
    if indices.value is not None and indices.value.size == 1:
        extent, index = dims(x, [axis]), indices.value.reshape(1)
        one = reshape(g, shape_of(x, 0, axis), 1, shape_of(x, axis + 1))
        return put_back(one, x, [axis], index + extent if index[0] < 0 else index, [1]), None
    if indices.type.shape is None or indices.rank != 1:
        g, indices = reshape(g, shape_of(x, 0, axis), -1, shape_of(x, axis + 1)), op.Reshape(indices, [-1])
    # Scatter along the axis: every index holds for the whole slice.
    where = expand_like(op.Reshape(indices, [-1, *[1] * (x.rank - axis - 1)]), g)
    return op.ScatterElements(zeros(x), where, g, axis=axis, reduction="add"), None


@selection
def GatherElements(g, y, x, indices, *, axis=0):
    return op.ScatterElements(zeros(x), indices, g, axis=axis, reduction="add"), None


@selection
def GatherND(g, y, x, indices, *, batch_dims=0):
    # Not ScatterND(add): several threads of ONNX Runtime's CPU kernel race where places repeat.
    return add_at(x, op.GatherND(positions(x), indices, batch_dims=batch_dims), g), None


@selection
def ScatterElements(g, y, x, indices, updates, *, axis=0, reduction="none"):
    def read(v):
        return op.GatherElements(v, indices, axis=axis)

    def write(into, v, how="none"):
        return op.ScatterElements(into, indices, v, axis=axis, reduction=how)

    return _scatter(g, y, x, updates, read, write, reduction)


@selection
def ScatterND(g, y, x, indices, updates, *, reduction="none"):
    def read(v):
        return op.GatherND(v, indices)

    def write(into, v, how="none"):
        # By flat positions: ScatterND(add) races on ONNX Runtime's CPU where places repeat.
        flat = [op.Reshape(t, [-1]) for t in (into, op.GatherND(positions(x), indices), v)]
        return reshape_like(op.ScatterElements(*flat, axis=0, reduction=how), x)

    return _scatter(g, y, x, updates, read, write, reduction)


def _scatter(g, y, x, updates, read, write, reduction):
    """The cotangents of x, the indices and the updates: `read` gathers at the indices, `write` scatters to them."""
    if reduction == "none":
        return write(g, zeros(updates)), None, lambda: read(g)
    if reduction == "add":
        return g, None, lambda: read(g)
    if reduction == "mul":

        def d_updates():
            # The product of the others, as in ReduceProd: a zero among them counts, one's own does not.
            is_zero = cast(op.Equal(updates, 0), g)
            zero_count = read(write(zeros(x), is_zero, "add"))
            others = read(g * write(x, updates + is_zero, "mul")) / (updates + is_zero)
            return others * cast(op.Equal(zero_count, is_zero), g)

        return g * write(filled(x, 1), updates, "mul"), None, d_updates
    # Maxima and minima: ties share equally.
    kept, won = cast(op.Equal(x, y), g), cast(op.Equal(updates, read(y)), g)
    share = g / (kept + write(zeros(x), won, "add"))
    return kept * share, None, lambda: won * read(share)


@selection(many=True)
def TopK(g, y, x, k, *, axis=-1, largest=1, sorted=1):
    return op.ScatterElements(zeros(x), y[1], g[0], axis=axis), None


@selection
def Compress(g, y, x, condition, *, axis=None):
    kept = op.Reshape(op.NonZero(condition), [-1])
    return (add_at(x, kept, g) if axis is None else Gather(g, y, x, kept, axis=axis)[0]), None


@selection(many=True)
def Unique(g, y, x, *, axis=None, sorted=1):
    _, kept = op.Unique(x, outputs=2, axis=axis, sorted=sorted)  # of equal ones the first
    return ((add_at(x, kept, g[0]) if axis is None else Gather(g[0], y[0], x, kept, axis=axis)[0]),)


@selection
def OneHot(g, y, indices, depth, values, *, axis=-1):
    def d_values():
        hot = cast(op.OneHot(indices, depth, np.array([0, 1], np.float32), axis=axis), g)
        on, whole = (op.Unsqueeze(op.ReduceSum(v, keepdims=0), [0]) for v in (g * hot, g))
        return op.Concat(whole - on, on, axis=0)

    return None, None, d_values
