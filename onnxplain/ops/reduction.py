"""Reductions along axes, and running sums."""

from __future__ import annotations

from ..tape import Var, op
from .registry import reduction, register, selection, zero
from .shapes import axes_of, cast, expand_like, ratio, typed


def keep(v: Var, x: Var, axes: Var | None, keepdims: int) -> Var:
    """Put the axes that a reduction of x dropped back into v, as axes of one element."""
    if keepdims or v.type.shape is not None and v.rank == x.rank:
        return v
    if axes is None:
        return op.Reshape(v, [1] * x.rank)
    return op.Unsqueeze(v, axes)


# y = r(x) along axes: the share of g that each element takes, written with x and y, both in x's rank.
REDUCTIONS = {
    "ReduceSum": lambda x, y: 1,
    "ReduceL1": lambda x, y: op.Sign(x),
    "ReduceL2": lambda x, y: x / op.Where(op.Equal(y, 0), 1, y),
    "ReduceSumSquare": lambda x, y: 2 * x,
    "ReduceLogSum": lambda x, y: op.Exp(-y),
    "ReduceLogSumExp": lambda x, y: op.Exp(x - y),
}


def _reduce(g, y, x, axes=None, *, keepdims=1, noop_with_empty_axes=0, _share):
    if _nothing_to_reduce(axes, noop_with_empty_axes):
        kept_g, kept_y = g, y
    else:
        kept_g, kept_y = keep(g, x, axes, keepdims), keep(y, x, axes, keepdims)
    share = _share(x, kept_y)
    return (expand_like(kept_g, x) if isinstance(share, int) else kept_g * share), None


def _nothing_to_reduce(axes: Var | None, noop_with_empty_axes: int) -> bool:
    return bool(noop_with_empty_axes) and (axes is None or axes.type.shape == (0,))


for _name, _formula in REDUCTIONS.items():

    def _vjp(g, y, x, axes=None, *, keepdims=1, noop_with_empty_axes=0, _share=_formula):
        axes = None if axes is not None and axes.type.shape == (0,) and not noop_with_empty_axes else axes
        return _reduce(g, y, x, axes, keepdims=keepdims, noop_with_empty_axes=noop_with_empty_axes, _share=_share)

    register(_vjp, _name, kind="reduction")


@reduction
def ReduceMean(g, y, x, axes=None, *, keepdims=1, noop_with_empty_axes=0):
    if _nothing_to_reduce(axes, noop_with_empty_axes):
        return g, None
    axes = None if axes is not None and axes.type.shape == (0,) else axes
    return expand_like(keep(g, x, axes, keepdims) / ratio(x, y, axes_of(axes, x)), x), None


@selection("ReduceMax", "ReduceMin")
def ReduceMax(g, y, x, axes=None, *, keepdims=1, noop_with_empty_axes=0):
    if _nothing_to_reduce(axes, noop_with_empty_axes):
        return g, None
    axes = None if axes is not None and axes.type.shape == (0,) else axes
    chosen = cast(op.Equal(x, keep(y, x, axes, keepdims)), x)
    return keep(g, x, axes, keepdims) * chosen / op.ReduceSum(chosen, axes, keepdims=1), None


@reduction
def ReduceProd(g, y, x, axes=None, *, keepdims=1, noop_with_empty_axes=0):
    if _nothing_to_reduce(axes, noop_with_empty_axes):
        return g, None
    axes = None if axes is not None and axes.type.shape == (0,) else axes
    # Zeros apart: with one zero only its own slot has a slope, with two none has.
    is_zero = cast(op.Equal(x, 0), x)
    zeros = op.ReduceSum(is_zero, axes, keepdims=1)
    others = op.ReduceProd(x + is_zero, axes, keepdims=1)
    slope = op.Where(op.Equal(zeros, 0), keep(y, x, axes, keepdims) / (x + is_zero), is_zero * cast(op.Equal(zeros, 1), x) * others)
    return keep(g, x, axes, keepdims) * slope, None


@reduction
def CumSum(g, y, x, axis, *, exclusive=0, reverse=0):
    return typed(op.CumSum(g, axis, exclusive=exclusive, reverse=1 - reverse), x), None


zero("ArgMax", "ArgMin")
