"""Linear maps: products with matrices, and convolutions."""

from __future__ import annotations

import numpy as np

from ..tape import Var, op
from .registry import linear, movement, product
from .shapes import dim, mT, reshape, reshape_like, shape_of, typed, unit_vectors

# ---- matrices ----


@product
def MatMul(g, y, a, b):
    # A vector is a matrix of one row (a) or one column (b) whose extra axis is dropped from y.
    row, column = a.rank == 1, b.rank == 1
    if column:
        g, b = op.Unsqueeze(g, [-1]), op.Unsqueeze(b, [-1])
    if row:
        g, a = op.Unsqueeze(g, [-2]), op.Unsqueeze(a, [-2])

    def da():
        d = g @ mT(b)
        return op.Squeeze(d, [-2]) if row else d

    def db():
        if not column and b.rank == 2 and a.rank > 2:  # one matrix for all: one product, no sum over the batch
            rows, sent = (reshape(v, -1, dim(v, -1)) for v in (a, g))
            return mT(rows) @ sent
        d = mT(a) @ g
        return op.Squeeze(d, [-1]) if column else d

    return da, db


@linear(bias=2)
def Gemm(g, y, a, b, c=None, *, alpha=1.0, beta=1.0, transA=0, transB=0):
    def da():  # g·Bᵀ, or B·gᵀ where A is transposed
        return op.Gemm(b, g, alpha=alpha, transA=transB, transB=1) if transA else op.Gemm(g, b, alpha=alpha, transB=1 - transB)

    def db():
        return op.Gemm(g, a, alpha=alpha, transA=1, transB=transA) if transB else op.Gemm(a, g, alpha=alpha, transA=1 - transA)

    return da, db, (lambda: beta * g)


@product
def Det(g, y, x):
    # The cofactor of (i, j) is the determinant with row i replaced by the unit vector j: right for singular matrices too.
    eye = unit_vectors(dim(x, -1), x)
    row = op.Unsqueeze(eye, [1, 3])
    replaced = op.Unsqueeze(x, [-3, -4]) * (1 - row) + row * op.Unsqueeze(eye, [0, 2])
    return (op.Unsqueeze(g, [-1, -2]) * op.Det(replaced),)


@product
def Einsum(g, y, *xs, equation):
    left, right = _einsum_terms(equation, [x.rank for x in xs], y.rank)

    def pull(k: int):
        # g and the other operands, contracted to x's own letters; a letter of x alone was summed: broadcast.
        others = [j for j in range(len(xs)) if j != k]
        known = set(right).union(*(left[j] for j in others))
        own = "".join(dict.fromkeys(left[k]))
        kept = "".join(c for c in own if c in known)
        operands = [right] + [left[j] for j in others]
        d = op.Einsum(g, *(xs[j] for j in others), equation=f"{','.join(operands)}->{kept}")
        if kept != own:
            axes = [i for i, c in enumerate(own) if c not in kept]
            d = op.Unsqueeze(d, axes)
        repeats = [(left[k].index(c), i) for i, c in enumerate(left[k]) if left[k].index(c) != i]
        if repeats:
            d = op.Unsqueeze(d, [i for _, i in repeats])
        for i, j in repeats:  # a repeated letter reads a diagonal
            n = dim(xs[k], j)
            d = d * reshape(unit_vectors(n, d), *(n if axis in (i, j) else 1 for axis in range(len(left[k]))))
        # A letter of one element meets any number of them: what was broadcast is summed, what met one element is spread.
        extents = [{xs[j].shape[left[j].index(c)] for j in others if c in left[j]} for c in left[k]]
        single = [i for i, met in enumerate(extents) if xs[k].shape[i] == 1 and met - {1}]
        spread = any(met == {1} and c not in right and d != 1 for c, met, d in zip(left[k], extents, xs[k].shape))
        d = op.Expand(d, shape_of(xs[k])) if spread or kept != left[k] else d
        return op.ReduceSum(d, single, keepdims=1) if single else d

    return [lambda k=k: pull(k) for k in range(len(xs))]


def _einsum_terms(equation: str, ranks: list[int], out_rank: int) -> tuple[list[str], str]:
    """The letters of each operand and of the result; an ellipsis is spelled out with capitals from the end."""
    equation = equation.replace(" ", "")
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    spare = [c for c in "ZYXWVUTSRQPONMLKJIHGFEDCBA" if c not in equation]
    spelled = [t.replace("...", "".join(spare[: r - len(t) + 3][::-1])) if "..." in t else t for t, r in zip(terms, ranks)]
    if not arrow:
        letters = "".join(terms).replace(".", "")
        right = ("..." if "..." in left else "") + "".join(sorted(c for c in set(letters) if letters.count(c) == 1))
    if "..." in right:
        right = right.replace("...", "".join(spare[: out_rank - len(right) + 3][::-1]))
    return spelled, right


# ---- convolutions; the attributes are spelled out when a model is loaded ----


@linear(bias=2)
def Conv(g, y, x, w, b=None, *, kernel_shape=None, strides, pads, dilations, group):
    window = {"strides": strides, "pads": pads, "dilations": dilations}
    return (
        conv_transpose_to(g, w, x, kernel_shape=kernel_shape, group=group, **window),
        lambda: _kernel_cotangent(x, g, w, group=group, **window),
        lambda: _channel_sum(g),
    )


@linear(bias=2)
def ConvTranspose(g, y, x, w, b=None, *, kernel_shape=None, strides, pads, dilations, group, output_padding):
    window = {"strides": strides, "pads": pads, "dilations": dilations}
    return op.Conv(g, w, group=group, **window), lambda: _kernel_cotangent(g, x, w, group=group, **window), lambda: _channel_sum(g)


def conv_transpose_to(g: Var, w: Var, x: Var, *, kernel_shape, strides, pads, dilations, group=1) -> Var:
    """The transpose of a convolution, from its output's cotangent to the extent of its input x."""
    one_by_one, extent = all(s == 1 for s in strides), x.shape[2:]
    if kernel_shape is None or not (one_by_one or all(isinstance(d, int) for d in extent)):
        return _widen_and_cut(g, w, x, strides, pads, dilations, group)
    n = len(strides)
    reach = [d * (k - 1) for k, d in zip(kernel_shape, dilations)]
    skipped = [0] * n if one_by_one else [(int(d or 0) + p + q - r - 1) % s for d, p, q, r, s in zip(extent, pads[:n], pads[n:], reach, strides)]
    return typed(op.ConvTranspose(g, w, strides=strides, pads=pads, dilations=dilations, group=group, output_padding=skipped), x)


def _widen_and_cut(g: Var, w: Var, x: Var, strides, pads, dilations, group) -> Var:
    """For extents and kernels of any size: widen by stride - 1, the most that a strided convolution can have skipped at the end."""
    begin = list(pads[: len(strides)])
    wide = op.ConvTranspose(g, w, strides=strides, dilations=dilations, group=group, output_padding=[s - 1 for s in strides])
    return typed(op.Slice(wide, begin, shape_of(x, 2) + np.array(begin), list(range(2, x.rank))), x)


def _kernel_cotangent(x: Var, g: Var, w: Var, *, strides, pads, dilations, group) -> Var:
    """Correlate x with g: the samples take the channels' place, strides and dilations change roles."""
    n = len(strides)
    rest = list(range(2, 2 + n))
    swapped = op.Transpose(g, perm=[1, 0, *rest])
    if group == 1:
        planes = op.Transpose(x, perm=[1, 0, *rest])
    else:  # [N, g·I, …] → [I, g·N, …]
        split = reshape(x, 0, group, -1, shape_of(x, 2))
        planes = reshape(op.Transpose(split, perm=[2, 1, 0, *(r + 1 for r in rest)]), 0, -1, shape_of(x, 2))
    d = op.Conv(planes, swapped, strides=dilations, dilations=strides, pads=pads, group=group)
    return _crop(op.Transpose(d, perm=[1, 0, *rest]), w)


def _crop(v: Var, x: Var) -> Var:
    """Cut the spatial axes of v to those of x."""
    axes = list(range(2, x.rank))
    return typed(op.Slice(v, [0] * len(axes), shape_of(x, 2), axes), x)


def _channel_sum(g: Var) -> Var:
    return op.ReduceSum(g, [0, *range(2, g.rank)], keepdims=0)


@movement
def Col2Im(g, y, x, image_shape, block_shape, *, dilations=None, pads=None, strides=None):
    # Cut the image into blocks again: a convolution with one kernel for each of a block's cells.
    block = block_shape if block_shape.is_static else op.Reshape(block_shape, [g.rank - 2])
    cells = op.ReduceProd(block, keepdims=1)
    kernel = reshape(unit_vectors(cells, g), cells, 1, block)
    planes = reshape(g, -1, 1, shape_of(g, 2))
    return reshape_like(op.Conv(planes, kernel, dilations=dilations, pads=pads, strides=strides), x), None, None
