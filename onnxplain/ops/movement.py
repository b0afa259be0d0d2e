"""Movement: elements change place, never magnitude."""

from __future__ import annotations

import numpy as np

from ..tape import Var, op
from .registry import movement, selection, zero
from .shapes import add_at, cast, dim, pad, positions, reshape, reshape_like, shape_of, typed, zeros

zero("Shape", "Size", "ConstantOfShape", "NonZero", "EyeLike", "NonMaxSuppression", "SequenceLength", "OptionalHasElement")


@movement
def Identity(g, y, x):
    return (g,)


@movement
def Cast(g, y, x, *, to, saturate=1):
    return (cast(g, x),)


@movement
def CastLike(g, y, x, like, *, saturate=1):
    return cast(g, x), None


@movement("Reshape", "Flatten", "Squeeze", "Unsqueeze")
def Reshape(g, y, x, *rest, **attributes):
    return [reshape_like(g, x), *(None for _ in rest)]


@movement
def Transpose(g, y, x, *, perm=None):
    return (op.Transpose(g, perm=[perm.index(i) for i in range(len(perm))] if perm else None),)


@movement
def Expand(g, y, x, shape):
    return g, None


@movement
def Concat(g, y, *xs, axis):
    if len(xs) == 1:
        return (g,)
    sizes = [dim(x, axis) for x in xs]
    known = all(s.value is not None for s in sizes)
    return op.Split(g, [int(s.value.item()) for s in sizes] if known else op.Concat(*sizes, axis=0), axis=axis, outputs=len(xs))


@movement(many=True)
def Split(g, y, x, split=None, *, axis=0, num_outputs=None):
    parts = [zeros(part) if d is None else d for d, part in zip(g, y)]
    return (parts[0] if len(parts) == 1 else op.Concat(*parts, axis=axis)), None


@movement
def Slice(g, y, x, starts, ends, axes=None, steps=None):
    if any(v is not None and v.value is None for v in (axes, steps)) or (axes is None and not starts.is_static):
        return add_at(x, op.Slice(positions(x), starts, ends, axes, steps), g), *[None] * 4
    along = list(range(int(starts.shape[0] or 0))) if axes is None else [int(a) % x.rank for a in axes.value]
    stride = [1] * len(along) if steps is None else steps.value.tolist()
    first, extent = cast(starts, np.dtype(np.int64)) if starts.value is None else starts.value.astype(np.int64), dims(x, along)
    where, largest, least = choosers(first, extent)
    first = where(first < 0, first + extent, first)
    first = least(largest(first, 0), extent - np.array([int(s < 0) for s in stride]))
    return put_back(g, x, along, first, stride), *[None] * 4


def dims(x: Var, axes: list[int]) -> np.ndarray | Var:
    """The dimensions of x along the axes, as numbers where all are known."""
    known = [x.shape[a] for a in axes] if x.type.shape is not None else [None]
    return np.array(known, np.int64) if all(isinstance(d, int) for d in known) else op.Gather(op.Shape(x), np.array(axes, np.int64))


def choosers(*values: np.ndarray | Var):
    """where, max and min, of NumPy as long as all values are known."""
    known = all(isinstance(v, np.ndarray) for v in values)
    return (np.where, np.maximum, np.minimum) if known else (op.Where, op.Max, op.Min)


def put_back(g: Var, x: Var, axes: list[int], first: np.ndarray | Var, steps: list[int]) -> Var:
    """Zeros in the shape of x, with g at first, first + step, … along each of the axes: padding, faster than scattering."""
    if not axes:
        return g
    backwards = [a for a, s in zip(axes, steps) if s < 0]
    if backwards:
        n = len(backwards)
        g = op.Slice(g, [-1] * n, [-(2**62)] * n, backwards, [-1] * n)
    for axis, s in zip(axes, steps):
        if abs(s) > 1:  # zeros between the elements
            spaced = pad(op.Unsqueeze(g, [axis + 1]), np.array([0, abs(s) - 1]), [axis + 1])
            g = reshape(spaced, shape_of(g, 0, axis), -1, shape_of(g, axis + 1))
    length = dims(g, axes)
    low = first - np.array([int(s < 0) for s in steps]) * (length - np.abs(np.array(steps)))
    rest = dims(x, axes) - low - length
    pads = np.concatenate([low, rest]) if isinstance(rest, np.ndarray) else op.Concat(low, rest, axis=0)
    return typed(pad(g, pads, axes), x)


@movement
def Pad(g, y, x, pads, constant_value=None, axes=None, *, mode="constant"):
    if mode != "constant":
        return add_at(x, pad(positions(x), pads, axes, mode), g), None, None, None
    back = typed(pad(g, op.Neg(pads) if pads.value is None else -pads.value, axes), x)

    def d_value():
        # What fell on the padding is all that did not fall on x.
        return op.ReduceSum(g, keepdims=0) - op.ReduceSum(back, keepdims=0)

    return back, None, d_value, None


@movement
def CenterCropPad(g, y, x, shape, *, axes=None):
    # Odd differences are split alike when cropping and when padding, so that each undoes the other.
    extent = shape_of(x) if axes is None else op.Gather(shape_of(x), np.array(axes))
    return typed(op.CenterCropPad(g, extent, axes=axes), x), None


@movement
def Tile(g, y, x, repeats):
    # [r·d] as [r, d] on every axis; the copies add up.
    pairs = [part for a in range(x.rank) for part in (op.Gather(repeats, [a]) if repeats.value is None else int(repeats.value[a]), dim(x, a))]
    return reshape_like(op.ReduceSum(reshape(g, *pairs), list(range(0, 2 * x.rank, 2)), keepdims=0), x), None


@movement
def DepthToSpace(g, y, x, *, blocksize, mode="DCR"):
    back = op.SpaceToDepth(g, blocksize=blocksize)
    if mode == "DCR":
        return (typed(back, x),)
    # CRD keeps a channel's cells together: [b·b, c] → [c, b·b].
    split = reshape(back, 0, blocksize * blocksize, -1, shape_of(back, 2))
    return (reshape_like(op.Transpose(split, perm=[0, 2, 1, 3, 4]), x),)


@movement
def SpaceToDepth(g, y, x, *, blocksize):
    return (typed(op.DepthToSpace(g, blocksize=blocksize), x),)


@movement
def ReverseSequence(g, y, x, sequence_lens, *, time_axis=0, batch_axis=1):
    return op.ReverseSequence(g, sequence_lens, time_axis=time_axis, batch_axis=batch_axis), None


@selection
def Trilu(g, y, x, k=None, *, upper=1):
    return op.Trilu(g, k, upper=upper), None


@movement
def Range(g, y, start, limit, delta):
    # y = start + i · delta
    steps = cast(op.Range(np.int64(0), op.Size(g), np.int64(1)), g)
    return op.ReduceSum(g, keepdims=0), None, lambda: op.ReduceSum(g * steps, keepdims=0)
