"""Operators that are spelled out when a graph is written: those born after the emitted opset, which a canonical graph may hold
as one node that rules know by its kind, and forms that ONNX Runtime's CPU provider lacks."""

from __future__ import annotations

from collections.abc import Callable

from ..tape import Var, op
from .registry import activation
from .shapes import cast

SPELLED_OUT: dict[str, Callable[..., Var]] = {
    "Swish": lambda x, alpha=1.0: x * op.Sigmoid(alpha * x),
    # Of floats only the remainder with the dividend's sign (fmod=1) has a kernel.
    "Mod": lambda x, d, fmod=0: x - d * op.Floor(x / d) if x.type.is_float and not fmod else op.Mod(x, d, fmod=fmod),
    # Unsigned exponents have none.
    "Pow": lambda x, p: op.Pow(x, cast(p, x) if p.dtype.kind == "u" else p),
}


@activation
def Swish(g, y, x, *, alpha=1.0):
    s = op.Sigmoid(alpha * x)
    return (g * (s + alpha * x * s * (1 - s)),)
