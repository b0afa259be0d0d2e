"""Operators born after the emitted opset. A canonical graph may hold them, as one node that rules know by its kind; they are
spelled out when the graph is written."""

from __future__ import annotations

from collections.abc import Callable

from ..tape import Var, op
from .registry import activation

SPELLED_OUT: dict[str, Callable[..., Var]] = {
    "Swish": lambda x, alpha=1.0: x * op.Sigmoid(alpha * x),
}


@activation
def Swish(g, y, x, *, alpha=1.0):
    s = op.Sigmoid(alpha * x)
    return (g * (s + alpha * x * s * (1 - s)),)
