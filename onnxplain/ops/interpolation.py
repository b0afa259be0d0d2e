"""Resizing, and grids of coordinates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..tape import Var, op
from .registry import movement
from .shapes import cast, dim, expand_like, mT, reshape, same_shape, typed, unit_vectors

F32 = np.dtype(np.float32)


@movement
def Resize(
    g,
    y,
    x,
    roi=None,
    scales=None,
    sizes=None,
    *,
    mode="nearest",
    axes=None,
    antialias=0,
    coordinate_transformation_mode="half_pixel",
    cubic_coeff_a=-0.75,
    exclude_outside=0,
    extrapolation_value=0.0,
    keep_aspect_ratio_policy="stretch",
    nearest_mode="round_prefer_floor",
):
    """Linear in x, axis by axis: the transpose of each axis's weight matrix, applied to g."""
    along = list(range(x.rank)) if axes is None else [a % x.rank for a in axes]
    scales, sizes, roi = (v if v is not None and v.type.shape != (0,) else None for v in (scales, sizes, roi))
    # What is extrapolated is a constant, and has no share in the derivative: left at 0.
    how = {
        "mode": mode,
        "antialias": antialias,
        "coordinate_transformation_mode": coordinate_transformation_mode,
        "cubic_coeff_a": cubic_coeff_a,
        "exclude_outside": exclude_outside,
        "nearest_mode": nearest_mode,
    }
    crops, fits = coordinate_transformation_mode == "tf_crop_and_resize", keep_aspect_ratio_policy != "stretch"
    if scales is not None and not crops:
        # ONNX Runtime merely copies where no extent changes, whatever the scales.
        if same_shape(x.type.shape, y.type.shape):
            return g, None, None, None
        if not (x.is_static and y.is_static):
            changed = op.ReduceMax(op.Abs(op.Shape(x) - op.Shape(y)), keepdims=0) > 0
            scales = op.Where(changed, scales, np.array(1, F32))
    for k, axis in enumerate(along):
        if not crops and not fits and _stays(x, axis, k, scales, sizes):
            continue
        window = _window(roi, k, len(along)) if crops else None
        if scales is not None:
            m = _matrix(x, axis, window, op.Gather(scales, [k]), None, how)
        elif not fits:
            m = _matrix(x, axis, window, None, op.Gather(sizes, [k]), how)
        else:
            m = _matrix_of_plane(x, axis, k, along, sizes, dict(how, keep_aspect_ratio_policy=keep_aspect_ratio_policy))
        order = [i for i in range(x.rank) if i != axis] + [axis]
        g = op.Transpose(op.Transpose(g, perm=order) @ cast(m, x), perm=[order.index(i) for i in range(x.rank)])
    return typed(g, x), None, None, None


def _stays(x: Var, axis: int, k: int, scales: Var | None, sizes: Var | None) -> bool:
    """Whether the axis keeps its extent, so that its matrix is the identity."""
    if scales is not None:
        return scales.value is not None and float(scales.value[k]) == 1
    return sizes is not None and sizes.value is not None and x.shape[axis] == int(sizes.value[k])


def _window(roi: Var, k: int, n: int) -> Var:
    """The region of interest of one axis, the others whole."""
    start, end = (cast(op.Gather(roi, [i]), F32) for i in (k, k + n))
    return op.Concat(np.zeros(3, F32), start, np.ones(3, F32), end, axis=0)


def _matrix(x: Var, axis: int, window: Var | None, scale: Var | None, size: Var | None, how: Mapping[str, Any]) -> Var:
    """How each output cell along the axis reads the input cells, [out, in]: the operator applied to unit vectors.

    They are doubled along another axis, so that some extent changes.
    """
    eye = op.Unsqueeze(unit_vectors(dim(x, axis), np.dtype(F32)), [1, 2])
    scales = None if scale is None else op.Concat(np.array([1, 1, 2], F32), cast(scale, F32), axis=0)
    sizes = None if size is None else op.Concat(dim(x, axis), [1, 2], size, axis=0)
    return _read(op.Resize(eye, window, scales, sizes, **how))


def _read(resized: Var) -> Var:
    """[in, 1, equal cells, out] as [out, in]."""
    return mT(op.Squeeze(op.Gather(resized, [0], axis=2), [1, 2]))


def _matrix_of_plane(x: Var, axis: int, k: int, along: list[int], sizes: Var, how: Mapping[str, Any]) -> Var:
    """The same where one axis decides upon the scale of all: that axis comes along, with equal cells."""
    extents = op.Gather(op.Shape(x), along)
    pick = op.ArgMin if how["keep_aspect_ratio_policy"] == "not_larger" else op.ArgMax
    leader = pick(cast(sizes, F32) / cast(extents, F32), axis=0)
    plane = op.Expand(op.Unsqueeze(unit_vectors(dim(x, axis), np.dtype(F32)), [1, 2]), op.Concat([1, 1], op.Gather(extents, leader), [1], axis=0))
    resized = op.Resize(plane, None, None, op.Concat(op.Gather(sizes, leader), op.Gather(sizes, [k]), axis=0), axes=[2, 3], **how)
    return _read(resized)


@movement
def AffineGrid(g, y, theta, size, *, align_corners=0):
    # The grid of the identity holds the coordinates themselves: y = [coordinates, 1] · thetaᵀ.
    d = g.rank - 2
    identity = expand_like(g.tape.constant(np.eye(d, d + 1, dtype=np.float32), g), theta)
    points = op.AffineGrid(identity, size, align_corners=align_corners)
    points = op.Pad(points, [0] * (2 * d + 3) + [1], g.tape.constant(1.0, g))
    rows = [reshape(v, dim(theta, 0), -1, k) for v, k in ((g, d), (points, d + 1))]
    return mT(rows[0]) @ rows[1], None
