"""`com.microsoft`: quantised operators, as what they compute between dequantising and quantising."""

from __future__ import annotations

import numpy as np

from ..ops.shapes import cast, to_channels_first, to_channels_last
from ..tape import Var, op
from .registry import microsoft, unless
from .transformer import Attention, EmbedLayerNormalization


def real(x: Var, scale: Var, zero: Var | None, axis: int = -1) -> Var:
    """What the integers stand for."""
    return op.DequantizeLinear(x, scale, zero, axis=axis)


def rounded(y: Var, scale: Var, zero: Var) -> Var:
    """The integers that stand for y."""
    return op.QuantizeLinear(y, scale, zero)


# ---- elementwise ----


@microsoft
def QLinearAdd(a, a_scale, a_zero, b, b_scale, b_zero, scale, zero):
    return rounded(real(a, a_scale, a_zero) + real(b, b_scale, b_zero), scale, zero)


@microsoft
def QLinearMul(a, a_scale, a_zero, b, b_scale, b_zero, scale, zero):
    return rounded(real(a, a_scale, a_zero) * real(b, b_scale, b_zero), scale, zero)


@microsoft
def QLinearSigmoid(x, x_scale, x_zero, scale, zero):
    return rounded(op.Sigmoid(real(x, x_scale, x_zero)), scale, zero)


@microsoft
def QLinearLeakyRelu(x, x_scale, x_zero, scale, zero, *, alpha=0.01):
    return rounded(op.LeakyRelu(real(x, x_scale, x_zero), alpha=alpha), scale, zero)


@microsoft
def QLinearSoftmax(x, x_scale, x_zero, scale, zero, *, opset, axis=-1):
    y = real(x, x_scale, x_zero)
    if opset >= 13:
        return rounded(op.Softmax(y, axis=axis), scale, zero)
    flat = op.Softmax(op.Flatten(y, axis=axis % x.rank), axis=-1)
    return rounded(op.Reshape(flat, op.Shape(y)), scale, zero)


@microsoft
def QLinearConcat(scale, zero, *parts, axis):
    values = [real(*parts[k : k + 3]) for k in range(0, len(parts), 3)]
    return rounded(op.Concat(*values, axis=axis), scale, zero)


@microsoft
def QLinearWhere(condition, x, x_scale, x_zero, y, y_scale, y_zero, scale, zero):
    return rounded(op.Where(condition, real(x, x_scale, x_zero), real(y, y_scale, y_zero)), scale, zero)


# ---- windows ----


@microsoft
def QLinearAveragePool(x, x_scale, x_zero, scale, zero, *, channels_last=0, **window):
    y = real(x, x_scale, x_zero)
    y = to_channels_last(op.AveragePool(to_channels_first(y), **window)) if channels_last else op.AveragePool(y, **window)
    return rounded(y, scale, zero)


@microsoft
def QLinearGlobalAveragePool(x, x_scale, x_zero, scale, zero, *, channels_last=0):
    y = real(x, x_scale, x_zero)
    return rounded(to_channels_last(op.GlobalAveragePool(to_channels_first(y))) if channels_last else op.GlobalAveragePool(y), scale, zero)


@microsoft
def QLinearConv(x, x_scale, x_zero, w, w_scale, w_zero, scale, zero, b=None, *, channels_last=0, **window):
    y = op.QLinearConv(to_channels_first(x) if channels_last else x, x_scale, x_zero, w, w_scale, w_zero, scale, zero, b, **window)
    return to_channels_last(y) if channels_last else y


@microsoft
def NhwcMaxPool(x, **window):
    return to_channels_last(op.MaxPool(to_channels_first(x), **window))


# ---- products ----


@microsoft
def QGemm(a, a_scale, a_zero, b, b_scale, b_zero, c=None, scale=None, zero=None, *, alpha=1.0, transA=0, transB=0):
    y = op.Gemm(real(a, a_scale, a_zero), real(b, b_scale, b_zero, 0 if transB else 1), alpha=alpha, transA=transA, transB=transB)
    if c is not None:  # its unit is that of the products
        y = y + cast(c, y) * (alpha * a_scale * b_scale)
    return y if scale is None else rounded(y, scale, zero)


@microsoft
def DynamicQuantizeMatMul(a, b, b_scale, b_zero=None, bias=None):
    code, a_scale, a_zero = op.DynamicQuantizeLinear(a, outputs=3)
    return MatMulIntegerToFloat(code, b, a_scale, b_scale, a_zero, b_zero, bias)


@microsoft
def MatMulIntegerToFloat(a, b, a_scale, b_scale, a_zero=None, b_zero=None, bias=None):
    if a_scale.rank == 1 and a_scale.shape != (1,):
        unless(a.rank == 2, "it has a scale for each row of a stack of matrices")
        a_scale = op.Unsqueeze(a_scale, [1])
    y = cast(op.MatMulInteger(a, b, a_zero, b_zero), a_scale) * (a_scale * b_scale)
    return y if bias is None else y + bias


@microsoft
def MatMulNBits(a, codes, scales, zeros=None, groups=None, bias=None, *, K, N, block_size, bits=4, accuracy_level=0, weight_prepacked=0):
    """a Wᵀ where blocks of W's rows have a scale and a zero point each, and a byte holds 8 / bits numbers, the lowest bits first."""
    unless(groups is None, "its columns are permuted (g_idx)")
    unless(not weight_prepacked, "its weights are packed for one GPU (weight_prepacked)")
    blocks = -(-K // block_size)
    scale = op.Reshape(scales, [N, blocks, 1])
    if zeros is None:
        zero = a.tape.constant(float(1 << bits - 1), scale)
    elif zeros.type.is_float:
        zero = op.Reshape(zeros, [N, blocks, 1])
    else:
        zero = op.Slice(op.Reshape(cast(_unpacked(zeros, bits), scale), [N, -1, 1]), [0], [blocks], [1])
    w = (op.Reshape(cast(_unpacked(codes, bits), scale), [N, blocks, block_size]) - zero) * scale
    rows = op.Slice(op.Reshape(w, [N, blocks * block_size]), [0], [K], [1])
    y = a @ op.Transpose(rows, perm=[1, 0])
    return y if bias is None else y + bias


@microsoft
def GatherBlockQuantized(codes, indices, scales, zeros=None, *, bits=4, block_size=128, gather_axis=0, quantize_axis=1):
    """Rows of a table whose rows are stored as those of `MatMulNBits`."""
    unless(codes.rank == 2 and gather_axis == 0 and quantize_axis in (1, -1), "it gathers along another axis than that of a table's rows")
    unless(codes.dtype == np.uint8 and codes.is_static and scales.is_static, "its table is of another type than uint8, or its size is not known")
    blocks, width = scales.shape[1], codes.shape[1]
    unless(isinstance(blocks, int) and isinstance(width, int) and width * (8 // bits) == blocks * block_size, "its last block is cut off")
    row = lambda table: op.Gather(table, indices, axis=0)
    flat, shape = (op.Concat(op.Shape(indices), end, axis=0) for end in ([-1], [blocks, block_size]))
    scale = op.Unsqueeze(row(scales), [-1])
    numbers = lambda table: op.Reshape(cast(_unpacked(row(table), bits), scale), flat)
    zero = float(1 << bits - 1) if zeros is None else op.Unsqueeze(op.Slice(numbers(zeros), [0], [blocks], [-1]), [-1])
    return op.Reshape((op.Reshape(numbers(codes), shape) - zero) * scale, flat)


def _unpacked(codes: Var, bits: int) -> Var:
    """The numbers that bytes hold, along a new last axis."""
    if bits == 8:
        return codes
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    return op.BitwiseAnd(op.BitShift(op.Unsqueeze(codes, [-1]), shifts, direction="RIGHT"), np.uint8((1 << bits) - 1))


# ---- transformers ----


@microsoft
def QAttention(x, weights, bias, x_scale, w_scale, mask=None, x_zero=None, w_zero=None, past=None, **attributes):
    return Attention(real(x, x_scale, x_zero), real(weights, w_scale, w_zero), bias, mask, past, **attributes)


@microsoft
def QEmbedLayerNormalization(ids, segments, *given, epsilon=1e-12):
    codes, mask, rest = given[:5], given[5], given[6:]
    tables = [None if c is None else real(c, s, z) for c, s, z in zip(codes, rest[:5], rest[5:])]
    return EmbedLayerNormalization(ids, segments, *tables, mask, epsilon=epsilon)[:2]


# ---- the two themselves ----


@microsoft
def QuantizeLinear(x, scale, zero=None, *, axis=1):
    return op.QuantizeLinear(x, scale, zero, axis=axis)


@microsoft
def DequantizeLinear(x, scale, zero=None, *, axis=1):
    return op.DequantizeLinear(x, scale, zero, axis=axis)
