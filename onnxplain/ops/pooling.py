"""Pooling over windows and over all of space."""

from __future__ import annotations

import math

import numpy as np

from ..tape import Var, op
from .linear import conv_transpose_to
from .registry import avg_pool, reduction, selection
from .shapes import add_at, counted, dim, expand_like, in_single, over, ratio, reshape, reshape_like, shape_of, to_winners, typed


@selection(many=True)
def MaxPool(g, y, x, *, kernel_shape, strides, pads, dilations, ceil_mode=0, storage_order=0):
    if x.tape.saved:
        winner = _winners(x, y[0], kernel_shape, strides, pads, dilations)
    else:
        _, winner = op.MaxPool(x, outputs=2, kernel_shape=kernel_shape, strides=strides, pads=pads, dilations=dilations, ceil_mode=ceil_mode or None)
    overlap = any((k - 1) * d >= s for k, d, s in zip(kernel_shape, dilations, strides))
    if overlap or x.dtype != np.float32 or (ceil_mode and not _hold_all_windows(x, g[0], kernel_shape, strides, pads)):
        return (add_at(x, winner, g[0]),)
    # Asking x itself for its shape would keep it in memory until here.
    shape = op.Concat(shape_of(g[0], 0, 2), shape_of(x, 2), axis=0)
    return (typed(op.MaxUnpool(g[0], winner, shape, kernel_shape=kernel_shape, strides=strides, pads=pads), x),)


def _winners(x: Var, y: Var, kernel_shape, strides, pads, dilations) -> Var:
    """The place in the flattened x of the first maximum of each window: what MaxPool's Indices are, which WebGPU's does not tell."""
    n, steps = len(kernel_shape), np.array(strides)
    offsets = np.array(list(np.ndindex(*kernel_shape))) * dilations
    room = [p + (k - 1) * d + s for p, k, d, s in zip(pads[n:], kernel_shape, dilations, strides)]  # for all windows that begin
    least = np.finfo(x.dtype).min if x.type.is_float else np.iinfo(x.dtype).min
    wide = op.Pad(x, [0, 0, *pads[:n], 0, 0, *room], x.tape.constant(least, x))
    axes, reach = list(range(2, 2 + n)), shape_of(y, 2) * steps
    cells = [op.Unsqueeze(op.Slice(wide, list(o), reach + o, axes, list(strides)), [0]) for o in offsets]
    first = op.ArgMax(op.Concat(*cells, axis=0), axis=0, keepdims=0)
    place = reshape(counted(dim(x, 0) * dim(x, 1)), dim(x, 0), dim(x, 1), *[1] * n)
    offset = x.tape.constant(np.zeros(len(offsets), np.int64))
    for a in range(n):
        corner = counted(dim(y, 2 + a)) * strides[a] - pads[a]
        place = place * dim(x, 2 + a) + op.Reshape(corner, [-1, *[1] * (n - 1 - a)])
        offset = offset * dim(x, 2 + a) + offsets[:, a]
    return place + op.Gather(offset, first)


def _hold_all_windows(x: Var, y: Var, kernel_shape, strides, pads) -> bool:
    """Whether no window of y reaches over the end of x: MaxUnpool knows whole windows alone."""
    n = len(kernel_shape)
    extents = zip(x.shape[2:], y.shape[2:], kernel_shape, strides, pads[:n], pads[n:])
    return all(isinstance(d, int) and isinstance(e, int) and (e - 1) * s + k - before - after <= d for d, e, k, s, before, after in extents)


@selection
def MaxUnpool(g, y, x, index, output_shape=None, *, kernel_shape, strides, pads):
    return reshape_like(op.GatherElements(op.Reshape(g, [-1]), op.Reshape(index, [-1])), x), None, None


@avg_pool
def AveragePool(g, y, x, *, kernel_shape, strides, pads, dilations=None, ceil_mode=0, count_include_pad=0):
    dilations = dilations or [1] * len(kernel_shape)
    share = over(g, _window_sizes(y, x, kernel_shape, strides, pads, dilations, ceil_mode, count_include_pad))
    return (window_sum_transpose(share, x, kernel_shape, strides, pads, dilations, ceil_mode),)


def _window_sizes(y, x, kernel_shape, strides, pads, dilations, ceil_mode, count_include_pad):
    """By what each window's sum is divided: a number, or a map where windows reach over the border."""
    area = float(math.prod(kernel_shape))
    if (not any(pads) and not ceil_mode) or (count_include_pad and not ceil_mode):
        return area
    # Ask the operator itself: the mean of an image of ones padded as it pads counts each window's cells.
    one = op.Expand(x.tape.constant(1.0, x), op.Concat([1, 1], shape_of(x, 2), axis=0))
    n = len(kernel_shape)
    if count_include_pad:
        one = op.Pad(one, [0, 0, *pads[:n], 0, 0, *pads[n:]], x.tape.constant(1.0, x))
        pads = [0] * 2 * n
    return window_sum(one, kernel_shape, strides, pads, dilations, y)


def window_sum(x: Var, kernel_shape, strides, pads, dilations, like: Var) -> Var:
    """The sum over each window of a [.., 1, …] map, as many windows as `like` has."""
    n = len(kernel_shape)
    box = op.Expand(x.tape.constant(1.0, x), [1, 1, *kernel_shape])
    reach = [d * (k - 1) + 1 for k, d in zip(kernel_shape, dilations)]
    wide = [*pads[:n], *(p + r + s for p, r, s in zip(pads[n:], reach, strides))]
    sums = op.Conv(x, box, strides=strides, pads=wide, dilations=dilations)
    return op.Slice(sums, [0] * n, shape_of(like, 2), list(range(2, 2 + n)))


def window_sum_transpose(g: Var, x: Var, kernel_shape, strides, pads, dilations, ceil_mode=0) -> Var:
    """Every window's cotangent to each of its cells: ConvTranspose with a box, channel by channel."""
    n = len(kernel_shape)
    box = op.Expand(g.tape.constant(1.0, g), [1, 1, *kernel_shape])
    planes, cells = (reshape(v, -1, 1, shape_of(v, 2)) for v in (g, x))
    if not ceil_mode:
        wide = conv_transpose_to(planes, box, cells, kernel_shape=kernel_shape, strides=strides, pads=pads, dilations=dilations)
        return reshape_like(wide, x)
    # With ceil_mode windows may begin or end beyond the padding: widen, and cut from the front only.
    wide = op.ConvTranspose(planes, box, strides=strides, dilations=dilations, output_padding=[s - 1 for s in strides])
    axes = list(range(2, 2 + n))
    return reshape_like(op.Slice(wide, list(pads[:n]), shape_of(cells, 2) + np.array(pads[:n]), axes), x)


@avg_pool
def GlobalAveragePool(g, y, x):
    return (expand_like(over(g, ratio(x, y, range(2, x.rank))), x),)


@selection
def GlobalMaxPool(g, y, x):
    wide = in_single(x)  # see Max
    return (to_winners(g, wide, op.GlobalMaxPool(wide), list(range(2, x.rank))),)


@reduction
def LpPool(g, y, x, *, kernel_shape, strides, pads, dilations, ceil_mode=0, p=2):
    # y = (Σ|x|^p)^(1/p): g·sign(x)·(|x|/y)^(p-1), zero where the window is all zero.
    safe = op.Where(op.Equal(y, 0), 1, y)
    pulled = window_sum_transpose(g / op.Pow(safe, float(p - 1)), x, kernel_shape, strides, pads, dilations, ceil_mode)
    return (pulled * op.Sign(x) * op.Pow(op.Abs(x), float(p - 1)),)


@reduction
def GlobalLpPool(g, y, x, *, p=2):
    safe = op.Where(op.Equal(y, 0), 1, y)
    return (g / op.Pow(safe, float(p - 1)) * op.Sign(x) * op.Pow(op.Abs(x), float(p - 1)),)
