"""Operators that are spelled out when a graph is written: those born after the emitted opset, which a canonical graph may hold
as one node that rules know by its kind, and forms that ONNX Runtime's CPU provider lacks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..tape import Var, op
from .registry import activation, normalization
from .shapes import cast


def rms_norm(x: Var, axis: int, epsilon: float) -> tuple[Var, Var, list[int]]:
    """x over its root mean square, one over that, and the axes it is taken along."""
    axes = list(range(axis % x.rank, x.rank))
    inverse = 1 / op.Sqrt(op.ReduceMean(x * x, axes, keepdims=1) + epsilon)
    return x * inverse, inverse, axes


def softplus(x: Var) -> Var:
    """log(1 + eˣ), of float64 too."""
    return op.Max(x, 0) + op.Log(1 + op.Exp(-op.Abs(x))) if x.dtype == np.float64 else op.Softplus(x)


SPELLED_OUT: dict[str, Callable[..., Var]] = {
    "Swish": lambda x, alpha=1.0: x * op.Sigmoid(alpha * x),
    "RMSNormalization": lambda x, scale, axis=-1, epsilon=1e-5, stash_type=1: rms_norm(x, axis, epsilon)[0] * scale,
    # Of floats only the remainder with the dividend's sign (fmod=1) has a kernel.
    "Mod": lambda x, d, fmod=0: x - d * op.Floor(x / d) if x.type.is_float and not fmod else op.Mod(x, d, fmod=fmod),
    # Unsigned exponents have none.
    "Pow": lambda x, p: op.Pow(x, cast(p, x) if p.dtype.kind == "u" else p),
}

IN_DOUBLE: dict[str, Callable[..., Var]] = {
    "LeakyRelu": lambda x, alpha=0.01: op.Max(x, 0) + alpha * op.Min(x, 0),
    "PRelu": lambda x, slope: op.Max(x, 0) + slope * op.Min(x, 0),
    "Softplus": softplus,
    "Mish": lambda x: x * op.Tanh(softplus(x)),
}
"""Those whose kernels of the emitted opset take no float64."""


def spelled_out(op_type: str, x: Var | None) -> Callable[..., Var] | None:
    """What an operator is written as instead, if it is."""
    return SPELLED_OUT.get(op_type) or (IN_DOUBLE.get(op_type) if x is not None and x.type.dtype == np.float64 else None)


@activation
def Swish(g, y, x, *, alpha=1.0):
    s = op.Sigmoid(alpha * x)
    return (g * (s + alpha * x * s * (1 - s)),)


@normalization
def RMSNormalization(g, y, x, scale, *, axis=-1, epsilon=1e-5, stash_type=1):
    unit, inverse, axes = rms_norm(x, axis, epsilon)
    gs = g * scale
    return inverse * (gs - unit * op.ReduceMean(gs * unit, axes, keepdims=1)), lambda: g * unit
