"""Numbers on a grid, by the saturating straight-through estimate: rounding passes the cotangent on, saturation stops it.

At the explained score itself (`saturates=False`) not even saturation stops it, lest a certain answer have no explanation.
Integer tensors between these operators carry cotangents as the real numbers that they stand for. Scales and zero points that
were found from the data (DynamicQuantizeLinear) count as settings, so that quantising and dequantising is the identity.
"""

from __future__ import annotations

import ml_dtypes
import numpy as np
from onnx import helper

from ..tape import Var, op
from .linear import Conv, MatMul
from .registry import quantization
from .shapes import cast, dim, pad, reshape_like, shape_of, unbroadcast


@quantization
def Round(g, y, x):
    return (g,)


@quantization
def QuantizeLinear(g, y, x, scale, zero_point=None, *, axis=1, block_size=0, output_dtype=0, saturate=1, precision=0, saturates=True):
    """y = saturate(round(x / scale) + zero_point)"""
    s, z = _spread(scale, x, axis, block_size), _spread(zero_point, x, axis, block_size)
    dtype = zero_point.dtype if zero_point is not None else np.dtype(helper.tensor_dtype_to_np_dtype(output_dtype)) if output_dtype else np.dtype(np.uint8)
    pulled = _unround(g, x, s, z, dtype, saturates)
    return pulled, lambda: _collect(-pulled * x / s, scale, axis, block_size), None


@quantization
def DequantizeLinear(g, y, x, scale, zero_point=None, *, axis=1, block_size=0):
    """y = (x − zero_point) · scale"""

    def d_scale():
        code = cast(x, scale) if zero_point is None else cast(x, scale) - cast(_spread(zero_point, x, axis, block_size), scale)
        return _collect(g * code, scale, axis, block_size)

    return g * _spread(scale, x, axis, block_size), d_scale, None


@quantization(many=True)
def DynamicQuantizeLinear(g, y, x):
    """The range of x is the grid's range, so nothing saturates."""
    return (None if g[0] is None else g[0] / y[1],)


@quantization
def MatMulInteger(g, y, a, b, a_zero_point=None, b_zero_point=None):
    """a's zero point may go by rows, b's by columns."""
    rows = None if a_zero_point is None else op.Unsqueeze(a_zero_point, [-1]) if a_zero_point.rank == 1 and a.rank > 1 else a_zero_point
    return *MatMul(g, y, _real(a, rows, g), _real(b, b_zero_point, g)), None, None


@quantization
def ConvInteger(g, y, x, w, x_zero_point=None, w_zero_point=None, **window):
    return *Conv(g, y, _real(x, x_zero_point, g), _real(w, _per_kernel(w_zero_point, w), g), **window)[:2], None, None


@quantization
def QLinearMatMul(g, y, a, a_scale, a_zero_point, b, b_scale, b_zero_point, y_scale, y_zero_point, *, saturates=True):
    """b's scale may go by columns."""
    sa, sb = cast(a_scale, g), cast(b_scale, g)
    real_a, real_b = _real(a, a_zero_point, g) * sa, _real(b, b_zero_point, g) * sb
    exact = real_a @ real_b
    da, db = MatMul(_unround(g, exact, y_scale, y_zero_point, y_zero_point.dtype, saturates), exact, real_a, real_b)
    return lambda: da() * sa, None, None, lambda: db() * sb, None, None, None, None


@quantization
def QLinearConv(g, y, x, x_scale, x_zero_point, w, w_scale, w_zero_point, y_scale, y_zero_point, b=None, *, saturates=True, **window):
    sx, sw = cast(x_scale, g), cast(_per_kernel(w_scale, w), g)
    real_x, real_w = _real(x, x_zero_point, g) * sx, _real(w, _per_kernel(w_zero_point, w), g) * sw
    real_b = None if b is None else cast(b, g) * sx * cast(w_scale, g)
    exact = op.Conv(real_x, real_w, real_b, **window)
    dx, dw, *_ = Conv(_unround(g, exact, y_scale, y_zero_point, y_zero_point.dtype, saturates), exact, real_x, real_w, **window)
    call = lambda d: d() if callable(d) else d
    return lambda: call(dx) * sx, None, None, lambda: call(dw) * sw, *[None] * 5


# ---- scales ----


def _real(v: Var, zero_point: Var | None, g: Var) -> Var:
    """An integer tensor as what it stands for, in units of its scale."""
    return cast(v, g) if zero_point is None else cast(v, g) - cast(zero_point, g)


def _per_kernel(v: Var | None, w: Var) -> Var | None:
    """One number for all, or one for each output channel of a kernel."""
    return v if v is None or v.rank == 0 else op.Reshape(v, [-1] + [1] * (w.rank - 1))


def _unround(g: Var, exact: Var, scale: Var, zero_point: Var | None, dtype: np.dtype, saturates: bool) -> Var:
    """Back through the rounding of an exact result to a type, where it saturates and where that counts."""
    if saturates:
        low, high = _limits(dtype)
        s, z = cast(scale, exact), 0.0 if zero_point is None else cast(zero_point, exact)
        g = g * cast((exact >= (low - z) * s) & (exact <= (high - z) * s), g)
    return g / cast(scale, g)


def _limits(dtype: np.dtype) -> tuple[float, float]:
    """Beyond which real numbers, in units of the scale, a type saturates."""
    try:
        info = ml_dtypes.iinfo(dtype)
        return info.min - 0.5, info.max + 0.5
    except ValueError:
        return -float(ml_dtypes.finfo(dtype).max), float(ml_dtypes.finfo(dtype).max)


def _spread(v: Var | None, x: Var, axis: int, block_size: int) -> Var | None:
    """A scale or zero point (one for all, one for each index of an axis, or one a block) against the shape of x."""
    if v is None or v.rank == 0 or x.rank == 0:
        return v if v is None or v.rank == 0 else op.Reshape(v, np.zeros(0, np.int64))
    axis = axis % x.rank if axis < x.rank else x.rank - 1
    if not block_size:
        return op.Reshape(v, [-1 if a == axis else 1 for a in range(x.rank)])
    wide = op.Expand(op.Unsqueeze(v, [axis + 1]), [1] * (axis + 1) + [block_size] + [1] * (x.rank - 1 - axis))
    merged = op.Reshape(wide, op.Concat(shape_of(v, 0, axis), [-1], shape_of(v, axis + 1), axis=0))
    return op.Slice(merged, [0], dim(x, axis), [axis])


def _collect(d: Var, scale: Var, axis: int, block_size: int) -> Var:
    """The sum of d over all that shares a number of `scale`."""
    if scale.rank == 0:
        return op.ReduceSum(d, keepdims=0)
    axis = axis % d.rank if axis < d.rank else d.rank - 1
    if not block_size:
        each = op.ReduceSum(d, [a for a in range(d.rank) if a != axis], keepdims=0, noop_with_empty_axes=1)
        return reshape_like(unbroadcast(each, scale), scale)
    whole = dim(scale, axis) * block_size
    full = pad(d, op.Concat([0], whole - dim(d, axis), axis=0), [axis])
    blocks = op.Reshape(full, op.Concat(shape_of(d, 0, axis), dim(scale, axis), [block_size], shape_of(d, axis + 1), axis=0))
    return op.ReduceSum(blocks, [axis + 1], keepdims=0)
