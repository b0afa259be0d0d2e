"""Pooling over regions of interest; the regions themselves are settings and get no cotangent."""

from __future__ import annotations

import numpy as np

from ..tape import Var, op
from .registry import selection
from .shapes import cast, counted, dim, expand_like, shape_of, zeros


@selection
def RoiAlign(
    g, y, x, rois, image, *, coordinate_transformation_mode="half_pixel", mode="avg", output_height=1, output_width=1, sampling_ratio=0, spatial_scale=1.0
):
    """Bilinear samples on a regular grid in each bin of each region: their mean, or the largest weighted tap."""
    aligned = coordinate_transformation_mode == "half_pixel"
    corners = rois * spatial_scale - (0.5 if aligned else 0.0)
    sides = [_samples(x, corners, axis, bins, aligned, sampling_ratio) for axis, bins in enumerate((output_height, output_width))]
    if mode == "max":
        (iy, wy, there_y, _), (ix, wx, there_x, _) = sides
        return _to_winners(g, x, image, iy, ix, there_y, there_x, (wy, wx)), None, None

    # y[r] = A[r] · x[image of r] · Bᵀ[r] with a row of A, of B, for each bin; the regions of an image add up in one product.
    a, b = (_matrix(x, 2 + axis, i, w / n) for axis, (i, w, _, n) in enumerate(sides))
    images = counted(dim(x, 0))
    mine = cast(op.Equal(op.Unsqueeze(images, [1]), op.Unsqueeze(image, [0])), x)
    regions = dim(y, 0) * output_height
    left = op.Transpose(op.Unsqueeze(mine, [2, 3]) * op.Unsqueeze(a, [0]), perm=[0, 3, 1, 2])  # [N, H, R, bins]
    left = op.Reshape(left, op.Concat(dim(x, 0), dim(x, 2), regions, axis=0), allowzero=1)
    right = op.Transpose(g @ op.Unsqueeze(b, [1]), perm=[0, 2, 1, 3])  # [R, bins, C, W]
    right = op.Reshape(right, op.Concat(regions, dim(x, 1) * dim(x, 3), axis=0), allowzero=1)
    back = op.Reshape(left @ right, op.Concat(dim(x, 0), dim(x, 2), dim(x, 1), dim(x, 3), axis=0))
    return op.Transpose(back, perm=[0, 2, 1, 3]), None, None


def _samples(x: Var, corners: Var, axis: int, bins: int, aligned: bool, sampling_ratio: int):
    """Along an axis, for each region and bin: cells, weights, which of them count, [R, bins, 2·samples]; and how many samples."""
    extent = cast(dim(x, 2 + axis), x)
    start, end = op.Gather(corners, [1 - axis], axis=1), op.Gather(corners, [3 - axis], axis=1)
    step = op.Unsqueeze((end - start if aligned else op.Max(end - start, 1)) / float(bins), [2])
    n = expand_like(x.tape.constant(float(sampling_ratio), x), step) if sampling_ratio > 0 else op.Ceil(step)
    number = _range(n)
    there, n = op.Expand(number, [1, bins, 1]) < n, op.Max(n, 1)
    u = op.Unsqueeze(start, [2]) + _bins(x, bins) * step + (number + 0.5) * step / n
    seen = cast((u >= -1) & (u <= extent) & there, x)
    u = op.Min(op.Max(u, 0), extent - 1)
    low = op.Floor(u)
    f = u - low
    cells = op.Cast(op.Concat(low, op.Min(low + 1, extent - 1), axis=2), to=7)
    return cells, op.Concat((1 - f) * seen, f * seen, axis=2), op.Concat(there, there, axis=2), n


def _matrix(x: Var, axis: int, cells: Var, weights: Var) -> Var:
    """How much each bin reads of each cell along an axis of x, [R, bins, extent]."""
    empty = op.Expand(x.tape.constant(0.0, x), op.Concat(shape_of(cells, 0, 2), dim(x, axis), axis=0))
    return op.ScatterElements(empty, cells, weights, axis=2, reduction="add")


@selection
def MaxRoiPool(g, y, x, rois, *, pooled_shape, spatial_scale=1.0):
    """The maximum over each bin's cells, whole pixels; an empty bin is 0."""
    image = op.Cast(op.Squeeze(op.Gather(rois, [0], axis=1), [1]), to=7)
    scaled = op.Gather(rois, [1, 2, 3, 4], axis=1) * spatial_scale
    corners = op.Sign(scaled) * op.Floor(op.Abs(scaled) + 0.5)  # halves away from zero
    (iy, there_y), (ix, there_x) = (_cells(x, corners, axis, bins) for axis, bins in enumerate(pooled_shape))
    return _to_winners(g, x, image, iy, ix, there_y, there_x), None


def _cells(x: Var, corners: Var, axis: int, bins: int):
    """Along an axis, for each region and bin: cells, and which of them count; [R, bins, most]."""
    extent = cast(dim(x, 2 + axis), x)
    start, end = op.Gather(corners, [1 - axis], axis=1), op.Gather(corners, [3 - axis], axis=1)
    step, start = op.Unsqueeze(op.Max(end - start + 1, 1) / float(bins), [2]), op.Unsqueeze(start, [2])
    inside = lambda v: op.Min(op.Max(v + start, 0), extent)
    first, stop = inside(op.Floor(_bins(x, bins) * step)), inside(op.Ceil((_bins(x, bins) + 1) * step))
    cells = first + _range(stop - first)
    return op.Cast(op.Min(cells, extent - 1), to=7), cells < stop


def _bins(x: Var, bins: int) -> Var:
    return x.tape.constant(np.arange(float(bins)).reshape(1, -1, 1), x)


def _range(n: Var) -> Var:
    """0, 1, … up to the largest n, at least one number: there may be no regions."""
    most = op.ReduceMax(op.Concat(op.Reshape(n, [-1]), n.tape.constant(np.ones(1), n), axis=0), keepdims=0)
    return op.Range(most * 0, most, most * 0 + 1)


def _to_winners(g: Var, x: Var, image: Var, iy: Var, ix: Var, there_y: Var, there_x: Var, weights: tuple[Var, Var] | None = None) -> Var:
    """Send g [R, C, bins, bins] to the largest of each bin's (weighted) cells."""
    down, right = lambda v: op.Unsqueeze(v, [2, 4]), lambda v: op.Unsqueeze(v, [1, 3])  # [R, bins, bins, taps, taps]
    index = (op.Unsqueeze(image, [1, 2, 3, 4]) * dim(x, 2) + down(iy)) * dim(x, 3) + right(ix)
    there = down(there_y) & right(there_x)
    taps = op.Concat(shape_of(index, 0, 3), op.ReduceProd(shape_of(index, 3), keepdims=1), axis=0)
    merge = lambda v: op.Reshape(v, taps, allowzero=1)
    weight = cast(there, x) if weights is None else down(weights[0]) * right(weights[1]) * cast(there, x)
    index, weight, there = merge(index), merge(weight), merge(there)

    planes = op.Transpose(x, perm=[1, 0, 2, 3])
    cells = op.Reshape(planes, op.Concat(dim(x, 1), [-1], axis=0))
    read = op.Where(there, op.Gather(cells, index, axis=1) * weight, float("-inf"))
    best = op.ArgMax(read, axis=-1, keepdims=1)  # [C, R, bins, bins, 1]
    taken = lambda v: op.Reshape(op.GatherElements(expand_like(op.Unsqueeze(v, [0]), read), best, axis=4), op.Concat(dim(x, 1), [-1], axis=0))
    sent = op.Reshape(op.Transpose(g, perm=[1, 0, 2, 3]), op.Concat(dim(x, 1), [-1], axis=0)) * taken(weight)
    back = op.ScatterElements(zeros(cells), taken(index), sent, axis=1, reduction="add")
    return op.Transpose(op.Reshape(back, shape_of(planes)), perm=[1, 0, 2, 3])
