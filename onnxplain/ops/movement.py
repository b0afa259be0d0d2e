"""Movement: elements change place, never magnitude. And gathering, which selects."""

from __future__ import annotations

import numpy as np

from ..tape import Var, op
from .registry import movement, selection, zero
from .shapes import cast, dim, reshape_like, shape_of, typed, unbroadcast, zeros

zero("Shape", "Size", "ConstantOfShape", "NonZero", "EyeLike", "OneHot", "Range", "NonMaxSuppression")


@movement("Identity")
def Identity(g, y, x):
    return (g,)


@movement
def Cast(g, y, x, *, to, saturate=1, round_mode="up"):
    return (cast(g, x),)


@movement
def CastLike(g, y, x, like, *, saturate=1, round_mode="up"):
    return cast(g, x), None


@movement("Reshape", "Flatten", "Squeeze", "Unsqueeze")
def Reshape(g, y, x, *rest, **attributes):
    return [reshape_like(g, x), *(None for _ in rest)]


@movement
def Transpose(g, y, x, *, perm=None):
    return (op.Transpose(g, perm=[perm.index(i) for i in range(len(perm))] if perm else None),)


@movement
def Expand(g, y, x, shape):
    return unbroadcast(g, x), None


@movement
def Concat(g, y, *xs, axis):
    if len(xs) == 1:
        return (g,)
    sizes = [dim(x, axis) for x in xs]
    if all(s.value is not None for s in sizes):
        parts = op.Split(g, [int(s.value.item()) for s in sizes], axis=axis, outputs=len(xs))
    else:
        parts = op.Split(g, op.Concat(*sizes, axis=0), axis=axis, outputs=len(xs))
    return list(parts)


@movement(many=True)
def Split(g, y, x, split=None, *, axis=0, num_outputs=None):
    parts = [zeros(part) if d is None else d for d, part in zip(g, y)]
    return (parts[0] if len(parts) == 1 else op.Concat(*parts, axis=axis)), None


@movement
def Slice(g, y, x, starts, ends, axes=None, steps=None):
    if x.is_static and all(v is None or v.value is not None for v in (starts, ends, axes, steps)):
        padded = _unslice(g, x, *(None if v is None else v.value for v in (starts, ends, axes, steps)))
        if padded is not None:
            return padded, *[None] * 4
    # Read the positions instead of the values, and write back to them.
    n = op.Size(x)
    positions = op.Reshape(op.Range(np.int64(0), n, np.int64(1)), shape_of(x))
    taken = op.Slice(positions, starts, ends, axes, steps)
    flat = op.ScatterElements(op.Reshape(zeros(x), [-1]), op.Reshape(taken, [-1]), op.Reshape(g, [-1]), axis=0)
    return reshape_like(flat, x), *[None] * 4


def _unslice(g: Var, x: Var, starts, ends, axes, steps) -> Var | None:
    """Pad g back to x's shape, for steps of one; of other steps None."""
    if steps is not None and not (steps == 1).all():
        return None
    begin, end = [0] * x.rank, [0] * x.rank
    for k, (start, stop) in enumerate(zip(starts.tolist(), ends.tolist())):
        axis = int(axes[k]) % x.rank if axes is not None else k
        extent = int(x.shape[axis] or 0)
        first, last, _ = slice(start, stop).indices(extent)
        begin[axis], end[axis] = first, extent - max(first, last)
    return typed(op.Pad(g, [*begin, *end]), x)


@movement
def Pad(g, y, x, pads, constant_value=None, axes=None, *, mode="constant"):
    if mode != "constant":
        # Pad the positions alike and add what landed on each.
        positions = op.Reshape(op.Range(np.int64(0), op.Size(x), np.int64(1)), shape_of(x))
        source = op.Cast(op.Pad(op.Cast(positions, to=11), pads, None, axes, mode=mode), to=7)
        flat = op.ScatterElements(op.Reshape(zeros(x), [-1]), op.Reshape(source, [-1]), op.Reshape(g, [-1]), axis=0, reduction="add")
        return reshape_like(flat, x), None, None, None
    back = typed(op.Pad(g, op.Neg(pads) if pads.value is None else -pads.value, None, axes), x)

    def d_value():
        # What fell on the padding is all that did not fall on x.
        return op.ReduceSum(g, keepdims=0) - op.ReduceSum(back, keepdims=0)

    return back, None, d_value, None


@movement
def Tile(g, y, x, repeats):
    # [r·d] as [r, d] on every axis; the copies add up.
    interleaved = op.Reshape(op.Concat(op.Unsqueeze(repeats, [1]), op.Unsqueeze(shape_of(x), [1]), axis=1), [-1])
    return reshape_like(op.ReduceSum(op.Reshape(g, interleaved), list(range(0, 2 * x.rank, 2)), keepdims=0), x), None


@movement("DepthToSpace")
def DepthToSpace(g, y, x, *, blocksize, mode="DCR"):
    back = op.SpaceToDepth(g, blocksize=blocksize)
    if mode == "DCR":
        return (typed(back, x),)
    # CRD keeps a channel's cells together: [b·b, c] → [c, b·b].
    cells = blocksize * blocksize
    split = op.Reshape(back, op.Concat([0, cells, -1], shape_of(back, 2), axis=0))
    return (reshape_like(op.Transpose(split, perm=[0, 2, 1, 3, 4]), x),)


@movement
def SpaceToDepth(g, y, x, *, blocksize, mode="DCR"):
    return (typed(op.DepthToSpace(g, blocksize=blocksize, mode=mode), x),)


@movement
def ReverseSequence(g, y, x, sequence_lens, *, time_axis=0, batch_axis=1):
    return op.ReverseSequence(g, sequence_lens, time_axis=time_axis, batch_axis=batch_axis), None


@selection
def Trilu(g, y, x, k=None, *, upper=1):
    return op.Trilu(g, k, upper=upper), None


# ---- gathering and scattering: the cotangent goes to, or comes from, the places that were read or written ----


@selection
def Gather(g, y, x, indices, *, axis=0):
    axis = axis % x.rank
    if indices.type.shape is not None and indices.rank != 1:
        flat = op.Concat(shape_of(x, 0, axis), [-1], shape_of(x, axis + 1), axis=0) if x.rank > 1 else x.tape.constant(np.array([-1]))
        g, indices = op.Reshape(g, flat), op.Reshape(indices, [-1])
    # Scatter along the axis: every index holds for the whole slice.
    shape = [1] * x.rank
    shape[axis] = -1
    extent = [shape_of(x, 0, axis), shape_of(indices), shape_of(x, axis + 1)]
    where = op.Expand(op.Reshape(indices, shape), op.Concat(*extent, axis=0))
    return op.ScatterElements(zeros(x), where, g, axis=axis, reduction="add"), None


@selection
def GatherElements(g, y, x, indices, *, axis=0):
    return op.ScatterElements(zeros(x), indices, g, axis=axis, reduction="add"), None


@selection
def GatherND(g, y, x, indices, *, batch_dims=0):
    if batch_dims:
        positions = op.Reshape(op.Range(np.int64(0), op.Size(x), np.int64(1)), shape_of(x))
        source = op.GatherND(positions, indices, batch_dims=batch_dims)
        flat = op.ScatterElements(op.Reshape(zeros(x), [-1]), op.Reshape(source, [-1]), op.Reshape(g, [-1]), axis=0, reduction="add")
        return reshape_like(flat, x), None
    return op.ScatterND(zeros(x), indices, g, reduction="add"), None


@selection
def ScatterElements(g, y, x, indices, updates, *, axis=0, reduction="none"):
    taken = op.GatherElements(g, indices, axis=axis)
    if reduction == "none":
        return op.ScatterElements(g, indices, zeros(updates), axis=axis), None, taken
    if reduction == "add":
        return g, None, taken
    here, back = (lambda v: op.GatherElements(v, indices, axis=axis)), (lambda v: op.ScatterElements(zeros(x), indices, v, axis=axis, reduction="add"))
    return _scatter_reduced(g, y, x, updates, taken, here, back, reduction)


@selection
def ScatterND(g, y, x, indices, updates, *, reduction="none"):
    taken = op.GatherND(g, indices)
    if reduction == "none":
        return op.ScatterND(g, indices, zeros(updates)), None, taken
    if reduction == "add":
        return g, None, taken
    here, back = (lambda v: op.GatherND(v, indices)), (lambda v: op.ScatterND(zeros(x), indices, v, reduction="add"))
    return _scatter_reduced(g, y, x, updates, taken, here, back, reduction)


def _scatter_reduced(g, y, x, updates, taken, here, back, reduction):
    """Products (away from zeros), and maxima and minima, whose ties share equally."""
    if reduction == "mul":
        return g * y / x, None, taken * here(y) / updates
    kept, won = cast(op.Equal(x, y), g), cast(op.Equal(updates, here(y)), g)
    ties = kept + back(won)
    return g * kept / ties, None, taken * won / here(ties)


@selection(many=True)
def TopK(g, y, x, k, *, axis=-1, largest=1, sorted=1):
    return op.ScatterElements(zeros(x), y[1], g[0], axis=axis), None


@selection
def Compress(g, y, x, condition, *, axis=None):
    kept = op.Reshape(op.NonZero(condition), [-1])
    if axis is None:
        flat = op.ScatterElements(op.Reshape(zeros(x), [-1]), kept, g, axis=0)
        return reshape_like(flat, x), None
    return Gather(g, y, x, kept, axis=axis)[0], None


# ---- interpolation ----


@movement
def Resize(g, y, x, roi=None, scales=None, sizes=None, *, mode="nearest", **attributes):
    """Linear in x: the transpose of its weight matrix, axis by axis, applied to g."""
    axes = attributes.get("axes")
    axes = [a % x.rank for a in axes] if axes is not None else list(range(x.rank))
    moved = [a for a in axes if not _unit_scale(scales, sizes, x, axes.index(a), a)]
    given = dict(attributes, mode=mode)
    given.pop("axes", None)
    for axis in moved:
        k = axes.index(axis)
        m = _resize_matrix(x, axis, k, len(axes), roi, scales, sizes, given)
        # g along the axis times the matrix [out, in].
        order = [i for i in range(x.rank) if i != axis] + [axis]
        back = [order.index(i) for i in range(x.rank)]
        g = op.Transpose(op.Transpose(g, perm=order) @ m, perm=back)
    return typed(g, x), None, None, None


def _unit_scale(scales, sizes, x, k, axis) -> bool:
    if scales is not None and scales.type.shape != (0,):
        return scales.value is not None and float(scales.value[k]) == 1.0
    return sizes is not None and sizes.value is not None and x.shape[axis] == int(sizes.value[k])


def _resize_matrix(x: Var, axis: int, k: int, n: int, roi, scales, sizes, attributes) -> Var:
    """How each output cell along the axis reads the input cells, [out, in]: the operator applied to unit vectors."""
    extent = dim(x, axis)
    i = op.Range(np.int64(0), op.Squeeze(extent, [0]), np.int64(1))
    eye = cast(op.Equal(op.Unsqueeze(i, [0]), op.Unsqueeze(i, [1])), x)
    eye = op.Unsqueeze(eye, [0, 1])  # [1, 1, in (samples), in (axis)]
    pick = lambda v: op.Gather(v, [k])
    ones = np.ones(3, np.float32)
    some = lambda v: v is not None and v.type.shape != (0,)
    out_scales = op.Concat(ones, cast(pick(scales), np.dtype(np.float32)), axis=0) if some(scales) else None
    out_sizes = op.Concat(shape_of(eye, 0, 3), pick(sizes), axis=0) if not some(scales) else None
    if out_sizes is not None and attributes.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        attributes = {a: v for a, v in attributes.items() if a != "keep_aspect_ratio_policy"}
        raise NotImplementedError("Resize with keep_aspect_ratio_policy")
    out_roi = None
    if attributes.get("coordinate_transformation_mode") == "tf_crop_and_resize" and some(roi):
        ends = op.Gather(roi, [k + n])
        start = op.Gather(roi, [k])
        zero, one = start * 0, start * 0 + 1
        out_roi = op.Concat(zero, zero, zero, start, one, one, one, ends, axis=0)
    m = op.Resize(eye, out_roi, out_scales, out_sizes, **attributes)
    return op.Transpose(op.Squeeze(m, [0, 1]), perm=[1, 0])
