"""Reading images at points between the pixels: GridSample and DeformConv.

Images are [B, C, cells], space flattened. A point reads a few cells (`Taps`); its cotangent is added to the same cells, and
reaches the coordinates through the slopes of the weights. Sums use ScatterElements: ONNX Runtime's ScatterND(add) is racy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import and_, mul

import numpy as np

from ..errors import UnsupportedModelError
from ..tape import Var, op
from .registry import linear, selection
from .shapes import cast, counted, dim, reshape_like, shape_of, zeros


@dataclass(frozen=True)
class Taps:
    """The cells that each point reads, how much of each, and the weights' slopes along each coordinate; all [B, T, P]."""

    index: Var
    weight: Var
    slopes: Sequence[Var]
    count: int

    def read(self, cells: Var) -> Var:
        """What lies in the cells [B, C, cells], as [B, C, T, P]."""
        return op.Reshape(op.GatherElements(cells, self._spread(cells), axis=2), [0, 0, self.count, -1])

    def add(self, cells: Var, g: Var) -> Var:
        """The cotangent of the cells, where each point sends g [B, C, P]."""
        sent = op.Reshape(op.Unsqueeze(g, [2]) * op.Unsqueeze(self.weight, [1]), [0, 0, -1])
        return op.ScatterElements(zeros(cells), self._spread(cells), sent, axis=2, reduction="add")

    def pull(self, cells: Var, g: Var) -> list[Var]:
        """The cotangents [B, P] of the coordinates, where each point has g [B, C, P]."""
        seen = op.ReduceSum(self.read(cells) * op.Unsqueeze(g, [2]), [1], keepdims=0)
        return [op.ReduceSum(seen * slope, [1], keepdims=0) for slope in self.slopes]

    def _spread(self, cells: Var) -> Var:
        """The index, the same for all channels."""
        return op.Expand(op.Reshape(self.index, [0, 1, -1]), op.Concat([1], dim(cells, 1), [1], axis=0))


def taps(points: Sequence[Var], extents: Sequence[Var], mode: str, padding: str, borders: Sequence[tuple[Var, Var]]) -> Taps:
    """The taps of points given by one coordinate [B, P] an axis, first axis first, in pixels."""
    n, index, weights, slopes, inside = len(points), None, [], [], []
    for k, (u, extent) in enumerate(zip(points, extents)):
        i, w, dw = (op.Unsqueeze(v, [a for a in range(1, n + 1) if a != k + 1]) for v in KERNELS[mode](u))
        last = extent - 1
        if padding == "zeros":
            inside.append((i >= 0) & (i <= last))
        elif padding == "reflection":
            i = op.Round(_reflect(i, *borders[k])[0])
        i = op.Min(op.Max(i, 0), last)
        index = i if index is None else index * extent + i
        weights, slopes = [*weights, w], [*slopes, dw]
    seen = [cast(reduce(and_, inside), points[0])] if inside else []
    count = {"nearest": 1, "linear": 2, "cubic": 4}[mode] ** n
    flat = lambda v: op.Reshape(v, [0, count, -1])
    return Taps(
        flat(op.Cast(index, to=7)),
        flat(reduce(mul, weights + seen)),
        [flat(reduce(mul, [slopes[j] if j == k else w for j, w in enumerate(weights)] + seen)) for k in range(n)],
        count,
    )


# ---- along one axis: the positions a coordinate [B, P] reads, with weights and slopes, [B, t, P] ----


def _nearest(u):
    at = op.Unsqueeze(op.Round(u), [1])
    return at, at * 0 + 1, at * 0


def _linear(u):
    low = op.Unsqueeze(op.Floor(u), [1])
    f = op.Unsqueeze(u, [1]) - low
    return op.Concat(low, low + 1, axis=1), op.Concat(1 - f, f, axis=1), u.tape.constant(np.array([[[-1.0], [1.0]]]), u)


def _cubic(u, a=-0.75):
    """Keys' convolution kernel, as two cubics of the distance t: up to one cell away, and from one to two."""
    low = op.Unsqueeze(op.Floor(u), [1])
    f = op.Unsqueeze(u, [1]) - low
    near, d_near = lambda t: ((a + 2) * t - (a + 3)) * t * t + 1, lambda t: (3 * (a + 2) * t - 2 * (a + 3)) * t
    far, d_far = lambda t: ((a * t - 5 * a) * t + 8 * a) * t - 4 * a, lambda t: (3 * a * t - 10 * a) * t + 8 * a
    return (
        op.Concat(low - 1, low, low + 1, low + 2, axis=1),
        op.Concat(far(1 + f), near(f), near(1 - f), far(2 - f), axis=1),
        op.Concat(d_far(1 + f), d_near(f), -d_near(1 - f), -d_far(2 - f), axis=1),
    )


KERNELS = {"nearest": _nearest, "linear": _linear, "cubic": _cubic}


def _reflect(u, low, high):
    """u mirrored at the borders until it lies between them, and the slope of that, ±1."""
    span = op.Max(high - low, 1e-6)
    t = u - low - op.Floor((u - low) / (2 * span)) * (2 * span)
    return low + span - op.Abs(t - span), 1 - 2 * cast(t > span, u)


def _flat(x: Var, images: int | None = None) -> Var:
    """[N, C, …] as [N, C, cells]; with several groups of channels to an image, each group is an image."""
    if not images or images == 1:
        return op.Reshape(x, [0, 0, -1])
    n, c = dim(x, 0) * images, dim(x, 1) / images
    return op.Reshape(x, op.Concat(n, c, [-1], axis=0))


# ---- the operators ----


@selection
def GridSample(g, y, x, grid, *, align_corners=0, mode="linear", padding_mode="zeros"):
    mode = {"bilinear": "linear", "bicubic": "cubic"}.get(mode, mode)
    n = x.rank - 2
    extents = [cast(dim(x, 2 + k), x) for k in range(n)]
    points, rates, borders = [], [], []
    for k, extent in enumerate(extents):
        v = cast(op.Reshape(op.Gather(grid, np.int64(n - 1 - k), axis=-1), [0, -1]), x)  # the grid names the last axis first
        scale = (extent - 1 if align_corners else extent) / 2
        u = (v + 1) * scale - (0.0 if align_corners else 0.5)
        u = op.Round(u) if mode == "nearest" else u
        low = extent * 0 - (0.0 if align_corners else 0.5)
        borders.append((low, extent - 1 - low))
        if padding_mode == "border" and mode != "cubic":  # cubic clamps its taps only, in ONNX Runtime as in torch
            outside = (u < low) | (u > borders[k][1])
            u, scale = op.Where(outside, op.Min(op.Max(u, 0), extent - 1), u), scale * cast(~outside, u)
        elif padding_mode == "reflection":
            u, slope = _reflect(u, *borders[k])
            scale = scale * slope
        points, rates = [*points, u], [*rates, scale]
    at, cells, g = taps(points, extents, mode, padding_mode, borders), _flat(x), _flat(g)

    def d_grid():
        if mode == "nearest":
            return zeros(grid)
        pulled = [op.Unsqueeze(d * rate, [2]) for d, rate in zip(at.pull(cells, g), rates)]
        return reshape_like(op.Concat(*pulled[::-1], axis=2), grid)

    return lambda: reshape_like(at.add(cells, g), x), d_grid


@linear(bias=3)
def DeformConv(g, y, x, w, offset, b=None, mask=None, *, dilations=None, group=1, kernel_shape=None, offset_group=1, pads=None, strides=None):
    """A convolution whose window reads at shifted points: columns = mask · x(points), y = w @ columns."""
    n = x.rank - 2
    kernel = list(kernel_shape or w.shape[2:])
    if not all(isinstance(k, int) for k in kernel):
        raise UnsupportedModelError(f"DeformConv {y.name!r} has a window known only at run time. Remedy: export it with kernel_shape.")
    strides, dilations, pads = strides or [1] * n, dilations or [1] * n, pads or [0] * 2 * n
    cells, extents, taken = _flat(x, offset_group), [cast(dim(x, 2 + k), x) for k in range(n)], math.prod(kernel)
    # Offsets are [N, group · taken · axis, …]: the group goes to the images, the window's cells before the places.
    per_image = [dim(x, 0) * offset_group, [taken]]
    shifts = op.Reshape(offset, op.Concat(*per_image, [n], shape_of(y, 2), axis=0))
    points = []
    for k in range(n):
        place = counted(dim(y, 2 + k)) * strides[k] - pads[k]
        window = np.arange(kernel[k]).reshape([-1 if j == k else 1 for j in range(n)]) * dilations[k]
        window = np.broadcast_to(window, kernel).reshape(1, taken, *[1] * n).astype(np.int64)
        regular = op.Reshape(place, [-1 if j == k else 1 for j in range(n)]) + window
        points.append(op.Reshape(op.Gather(shifts, np.int64(k), axis=2) + cast(regular, x), [0, -1]))
    at = taps(points, extents, "linear", "zeros", [])
    m = None if mask is None else op.Reshape(mask, op.Concat(per_image[0], [1, -1], axis=0))

    # [N, group, channels · taken, places] ↔ [images, channels, points]
    rows = op.Reshape(g, op.Concat(dim(x, 0), [group, -1], op.ReduceProd(shape_of(y, 2), keepdims=1), axis=0))
    kernels = op.Reshape(w, op.Concat([group], dim(w, 0) / group, [-1], axis=0))
    d_columns = op.Reshape(op.Transpose(kernels, perm=[0, 2, 1]) @ rows, op.Concat(per_image[0], dim(x, 1) / offset_group, [-1], axis=0))
    d_read = d_columns if m is None else d_columns * m

    def read():
        return op.ReduceSum(at.read(cells) * op.Unsqueeze(at.weight, [1]), [2], keepdims=0)

    def d_w():
        columns = read() if m is None else read() * m
        columns = op.Reshape(columns, op.Concat(dim(x, 0), [group, -1], dim(rows, 3), axis=0))
        return reshape_like(op.ReduceSum(rows @ op.Transpose(columns, perm=[0, 1, 3, 2]), [0], keepdims=0), w)

    def d_offset():
        pulled = [op.Unsqueeze(op.Reshape(d, [0, taken, -1]), [2]) for d in at.pull(cells, d_read)]
        return reshape_like(op.Concat(*pulled, axis=2), offset)

    return (
        lambda: reshape_like(at.add(cells, d_read), x),
        d_w,
        d_offset,
        lambda: op.ReduceSum(g, [0, *range(2, g.rank)], keepdims=0),
        lambda: reshape_like(op.ReduceSum(d_columns * read(), [1], keepdims=0), mask),
    )
