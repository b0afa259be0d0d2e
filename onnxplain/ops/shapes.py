"""Helpers of the VJPs: shapes that are constants where they can be, and masks that are cheap."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from onnx import helper

from ..tape import Dim, Formula, Operand, Var, op


def typed(v: Var, like: Var) -> Var:
    """`v` with the shape of `like`, which is known to be its own."""
    return v if v.type.shape == like.type.shape or like.type.shape is None else v.shaped(like.shape)


def to_channels_last(x: Var) -> Var:
    """An image [N, C, H, …] as [N, H, …, C]."""
    return op.Transpose(x, perm=[0, *range(2, x.rank), 1])


def to_channels_first(x: Var, extents: Sequence[int] | None = None) -> Var:
    """An image [N, H, …, C] as [N, C, H, …]; what lies beyond `extents` is cut off."""
    if extents is not None and x.shape[1:-1] != tuple(extents):
        n = len(extents)
        x = op.Slice(x, [0] * n, list(extents), list(range(1, 1 + n)))
    return op.Transpose(x, perm=[0, x.rank - 1, *range(1, x.rank - 1)])


def same_shape(a: Sequence[Dim] | None, b: Sequence[Dim] | None) -> bool:
    """Whether two shapes are provably equal: equal numbers, equal symbols."""
    return a is not None and b is not None and len(a) == len(b) and all(d is not None and d == e for d, e in zip(a, b))


def shape_of(x: Var, start: int = 0, end: int | None = None) -> Var:
    """The shape of x, from axis `start` to `end`: a constant where all of it is known."""
    if x.type.shape is not None:
        dims = x.shape[start:end]
        if all(isinstance(d, int) for d in dims):
            return x.tape.constant(np.array(dims, np.int64))
    return op.Shape(x, start=start or None, end=end)


def dim(x: Var, axis: int) -> Var:
    """One dimension of x, as a tensor of shape [1]."""
    axis = axis % x.rank
    return shape_of(x, axis, axis + 1)


def ratio(x: Var, y: Var, axes: Sequence[int] | None = None) -> Var | float:
    """How many elements of x each element of y stands for; along `axes` of x where they are known."""
    if axes is not None and all(isinstance(x.shape[a], int) for a in axes):
        return float(math.prod(int(x.shape[a] or 0) for a in axes))
    wide = np.dtype(np.float64 if x.dtype == np.float64 else np.float32)
    return cast(op.Size(x), wide) / cast(op.Size(y), wide)


SINGLE = np.dtype(np.float32)


def is_half(v: Var) -> bool:
    """Whether a tensor holds 16-bit floats."""
    return v.type.is_float and v.dtype.itemsize == 2


def in_single(v: Var) -> Var:
    """v in 32 bits where it has 16."""
    return cast(v, SINGLE) if is_half(v) else v


def to_winners(g: Var, x: Var, top: Var, axes: Operand) -> Var:
    """g to the elements of x that are the top along the axes; ties share it equally."""
    won = cast(op.Equal(x, top), g)
    return g * won / op.ReduceSum(won, axes, keepdims=1)


def over(g: Var, count: Var | float) -> Var:
    """g divided by a count, in 32 bits where g has 16: these hold none above 65504."""
    wide = in_single(g)
    return cast(wide / (cast(count, wide) if isinstance(count, Var) else count), g)


def reshape_like(v: Var, x: Var) -> Var:
    """v in the shape of x: with a constant shape if at most one dimension of x is unknown."""
    if same_shape(v.type.shape, x.type.shape):
        return v
    dims = x.type.shape
    if dims is not None and sum(not isinstance(d, int) for d in dims) <= 1 and all(d != 0 for d in dims):
        shape = x.tape.constant(np.array([d if isinstance(d, int) else -1 for d in dims], np.int64))
        return typed(op.Reshape(v, shape), x)
    return typed(op.Reshape(v, op.Shape(x), allowzero=1), x)


def reshape(v: Var, *parts: Var | int) -> Var:
    """v with the dimensions that the parts name one after the other; its rank is known where they themselves are not."""
    many = [1 if isinstance(p, int) else p.shape[0] for p in parts]
    dims = [d for p, n in zip(parts, many) for d in ([p] if isinstance(p, int) else [None] * int(n or 0) if p.value is None else p.value.tolist())]
    if None not in dims and None not in many:
        return op.Reshape(v, np.array(dims, np.int64))
    r = op.Reshape(v, op.Concat(*([p] if isinstance(p, int) else p for p in parts), axis=0))
    return r if None in many else r.shaped([d if d is not None and d > 0 else None for d in dims])


def expand_like(v: Var, x: Var) -> Var:
    """v broadcast to the shape of x."""
    if same_shape(v.type.shape, x.type.shape):
        return v
    if v.type.shape is not None and x.type.shape is not None:
        own: list[Dim] = [1] * (x.rank - v.rank) + list(v.shape)
        dims = [e if isinstance(e, int) else 1 if e is not None and d == e else None for d, e in zip(own, x.shape)]
        if None not in dims:
            return typed(op.Expand(v, np.array(dims, np.int64)), x)
    return typed(op.Expand(v, op.Shape(x)), x)


def pad(x: Var, pads: Var | np.ndarray, axes: Var | Sequence[int] | None, mode: str | None = None) -> Var:
    """x padded along axes: those before, those behind. All axes are told, since ONNX Runtime mistakes which are meant when it moves a Transpose past a Pad."""
    axes = axes.value.tolist() if isinstance(axes, Var) and axes.value is not None else axes
    if axes is None or isinstance(axes, Var) or x.type.shape is None:
        return op.Pad(x, pads, None, axes, mode=mode)
    places = np.full(2 * x.rank, 2 * len(axes))
    for k, a in enumerate(axes):
        places[[a % x.rank, x.rank + a % x.rank]] = k, len(axes) + k
    known = pads.value if isinstance(pads, Var) else pads
    return op.Pad(x, op.Gather(op.Concat(pads, [0], axis=0), places) if known is None else np.append(known, 0)[places], mode=mode)


def filled(x: Var, value: float) -> Var:
    """A constant in the shape of x; unlike 0 * x it does not spread NaN."""
    return expand_like(x.tape.constant(float(value), x), x)


def zeros(x: Var) -> Var:
    return filled(x, 0)


def cast(v: Var, like: Var | np.dtype) -> Var:
    """v in the dtype of `like`."""
    dtype = like.dtype if isinstance(like, Var) else np.dtype(like)
    return v if v.dtype == dtype else typed(op.Cast(v, to=helper.np_dtype_to_tensor_dtype(dtype)), v)


def counted(n: Var) -> Var:
    """0, 1 … n − 1 for n in a tensor of shape [1]."""
    return op.Range(np.int64(0), op.Squeeze(n, [0]), np.int64(1))


def unit_vectors(n: Var, like: Var | np.dtype) -> Var:
    """The unit matrix of n rows."""
    i = counted(n)
    return cast(op.Equal(op.Unsqueeze(i, [0]), op.Unsqueeze(i, [1])), like)


def positions(x: Var) -> Var:
    """Each element's place in the flattened x, in x's shape: moved like x, it says where every element went."""
    return reshape_like(op.Range(np.int64(0), op.Size(x), np.int64(1)), x)


def add_at(x: Var, places: Var, g: Var) -> Var:
    """Zeros in the shape of x, with g added at places of the flattened x."""
    flat = op.ScatterElements(op.Reshape(zeros(x), [-1]), op.Reshape(places, [-1]), op.Reshape(g, [-1]), axis=0, reduction="add")
    added = reshape_like(flat, x)
    g.tape.meant[added.name] = Formula("add_at", [g, places, x], {})
    return added


def step(v: Var) -> Var:
    """1 where v > 0, else 0. A product with it is several times faster on CPU than Where."""
    return cast(v > 0, v)


def mT(x: Var) -> Var:
    """Swap the last two axes."""
    *rest, i, j = range(x.rank)
    return op.Transpose(x, perm=[*rest, j, i])


def unbroadcast(g: Var, x: Var) -> Var:
    """Sum g over the axes along which x was broadcast to it."""
    if same_shape(g.type.shape, x.type.shape):
        return g
    if g.type.shape is None or x.type.shape is None:
        return _unbroadcast_at_run_time(g, x, op.Expand(np.int64(1), op.Unsqueeze(op.Size(op.Shape(g)) - op.Size(op.Shape(x)), [0])))
    lead = g.rank - x.rank
    pairs = list(enumerate(zip(g.shape[lead:], x.shape), lead))
    if any(not isinstance(e, int) and not (isinstance(e, str) and d == e) for _, (d, e) in pairs):
        return _unbroadcast_at_run_time(g, x, g.tape.constant(np.ones(lead, np.int64)))
    axes = [*range(lead), *(i for i, (d, e) in pairs if e == 1 and d != 1)]
    return reshape_like(op.ReduceSum(g, axes, keepdims=1) if axes else g, x)


def _unbroadcast_at_run_time(g: Var, x: Var, lead: Var) -> Var:
    """Only the run knows which axes were broadcast: those where x has one element and g has not."""
    padded = op.Concat(lead, op.Shape(x), axis=0)
    broadcast = op.And(op.Equal(padded, np.int64(1)), op.Not(op.Equal(op.Shape(g), np.int64(1))))
    axes = op.Reshape(op.NonZero(broadcast), [-1])
    return reshape_like(op.ReduceSum(g, axes, keepdims=1, noop_with_empty_axes=1), x)


def axes_of(axes: Var | None, x: Var) -> list[int] | None:
    """Axes as non-negative numbers where they are known while writing."""
    if axes is None:
        return list(range(x.rank))
    return None if axes.value is None else sorted(int(a) % x.rank for a in axes.value.ravel())
