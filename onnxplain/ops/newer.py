"""Operators that are spelled out when a graph is written: those born after the emitted opset, which a canonical graph may hold
as one node that rules know by its kind, and forms that ONNX Runtime's CPU provider lacks."""

from __future__ import annotations

from collections.abc import Callable

from ..tape import Var, op
from .registry import activation, normalization
from .shapes import cast


def rms_norm(x: Var, axis: int, epsilon: float) -> tuple[Var, Var, list[int]]:
    """x over its root mean square, one over that, and the axes it is taken along."""
    axes = list(range(axis % x.rank, x.rank))
    inverse = 1 / op.Sqrt(op.ReduceMean(x * x, axes, keepdims=1) + epsilon)
    return x * inverse, inverse, axes


SPELLED_OUT: dict[str, Callable[..., Var]] = {
    "Swish": lambda x, alpha=1.0: x * op.Sigmoid(alpha * x),
    "RMSNormalization": lambda x, scale, axis=-1, epsilon=1e-5, stash_type=1: rms_norm(x, axis, epsilon)[0] * scale,
    # Of floats only the remainder with the dividend's sign (fmod=1) has a kernel.
    "Mod": lambda x, d, fmod=0: x - d * op.Floor(x / d) if x.type.is_float and not fmod else op.Mod(x, d, fmod=fmod),
    # Unsigned exponents have none.
    "Pow": lambda x, p: op.Pow(x, cast(p, x) if p.dtype.kind == "u" else p),
}


@activation
def Swish(g, y, x, *, alpha=1.0):
    s = op.Sigmoid(alpha * x)
    return (g * (s + alpha * x * s * (1 - s)),)


@normalization
def RMSNormalization(g, y, x, scale, *, axis=-1, epsilon=1e-5, stash_type=1):
    unit, inverse, axes = rms_norm(x, axis, epsilon)
    gs = g * scale
    return inverse * (gs - unit * op.ReduceMean(gs * unit, axes, keepdims=1)), lambda: g * unit
