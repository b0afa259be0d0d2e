"""Reductions along axes, and running sums."""

from __future__ import annotations

from ..tape import Var, op
from .registry import reduction, register, zero
from .shapes import axes_of, cast, expand_like, in_single, over, ratio, to_winners, typed


def keep(v: Var, x: Var, axes: Var | None, keepdims: int) -> Var:
    """Put the axes that a reduction of x dropped back into v, as axes of one element."""
    if keepdims or (v.type.shape is not None and v.rank == x.rank):
        return v
    if axes is None:
        return op.Reshape(v, [1] * x.rank)
    return op.Unsqueeze(v, axes)


def _spread(axes: Var | None, noop_with_empty_axes: int) -> tuple[Var | None, bool]:
    """The axes to reduce, None for all of them; and whether nothing is reduced."""
    empty = axes is None or axes.type.shape == (0,)
    return None if empty else axes, empty and bool(noop_with_empty_axes)


# y = r(x) along axes: what each element receives, written with g, x and y, all in x's rank.
REDUCTIONS = {
    "ReduceSum": lambda g, x, y: g,
    "ReduceL1": lambda g, x, y: g * op.Sign(x),
    "ReduceL2": lambda g, x, y: g / op.Where(op.Equal(y, 0), 1, y) * x,
    "ReduceSumSquare": lambda g, x, y: 2 * g * x,
    "ReduceLogSum": lambda g, x, y: g * op.Exp(-y),
    "ReduceLogSumExp": lambda g, x, y: g * op.Exp(x - y),
}
for _name, _received in REDUCTIONS.items():

    def _vjp(g, y, x, axes=None, *, keepdims=1, noop_with_empty_axes=0, _received=_received):
        axes, keeps_all = _spread(axes, noop_with_empty_axes)
        g, y = (v if keeps_all else keep(v, x, axes, keepdims) for v in (g, y))
        return expand_like(_received(g, x, y), x), None

    register(_vjp, _name, kind="reduction")


@reduction
def ReduceMean(g, y, x, axes=None, *, keepdims=1, noop_with_empty_axes=0):
    axes, keeps_all = _spread(axes, noop_with_empty_axes)
    if keeps_all:
        return g, None
    return expand_like(over(keep(g, x, axes, keepdims), ratio(x, y, axes_of(axes, x))), x), None


for _name in ("ReduceMax", "ReduceMin"):

    def _to_winners(g, y, x, axes=None, *, keepdims=1, noop_with_empty_axes=0, _extreme=_name):
        axes, keeps_all = _spread(axes, noop_with_empty_axes)
        if keeps_all:
            return g, None
        wide = in_single(x)  # see Max
        return to_winners(keep(g, x, axes, keepdims), wide, getattr(op, _extreme)(wide, axes, keepdims=1), axes), None

    register(_to_winners, _name, kind="selection")


@reduction
def ReduceProd(g, y, x, axes=None, *, keepdims=1, noop_with_empty_axes=0):
    axes, keeps_all = _spread(axes, noop_with_empty_axes)
    if keeps_all:
        return g, None
    # The product of the others: with one zero only its own slot has a slope, with two none has.
    is_zero = cast(op.Equal(x, 0), x)
    zeros = op.ReduceSum(is_zero, axes, keepdims=1)
    others = op.ReduceProd(x + is_zero, axes, keepdims=1) / (x + is_zero)
    return keep(g, x, axes, keepdims) * others * cast(op.Equal(zeros, is_zero), x), None


@reduction
def CumSum(g, y, x, axis, *, exclusive=0, reverse=0):
    return typed(op.CumSum(g, axis, exclusive=exclusive, reverse=1 - reverse), x), None


zero("ArgMax", "ArgMin", "Hardmax")
