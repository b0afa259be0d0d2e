"""The table of operators and the decorators that fill it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

KINDS = {
    "linear": "Conv, ConvTranspose, Gemm, and products with one constant",
    "batch_norm": "BatchNormalization",
    "sum": "adds tensors that both depend on the input",
    "avg_pool": "averages over windows or over the spatial axes",
    "activation": "elementwise, monotone or gate-like",
    "product": "multiplies tensors that both depend on the input",
    "selection": "passes some elements on and drops the others",
    "movement": "elements change place, never magnitude",
    "softmax": "normalised exponentials",
    "normalization": "divides by a statistic of the input",
    "reduction": "reduces along axes",
    "recurrent": "LSTM, GRU, RNN",
    "control": "If, Loop, Scan",
    "quantization": "rounds to a grid",
    "zero": "derivative zero almost everywhere",
}


@dataclass(frozen=True)
class Operator:
    """An operator: `vjp(g, y, *inputs, **attributes)`, its kind, the position of its bias, and whether `g` and `y` are tuples."""

    name: str
    vjp: Callable
    kind: str
    bias: int | None = None
    many: bool = False

    @property
    def elementwise(self) -> bool:
        """Whether each element of y is made of those in its place."""
        return self.kind in ("activation", "sum", "product") and self.name not in ("MatMul", "Einsum", "Det")

    @cached_property
    def defaults(self) -> dict[str, object]:
        """The attributes' defaults: those of the function's keywords."""
        parameters = inspect.signature(self.vjp).parameters.values()
        return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is not p.empty}


OPS: dict[str, Operator] = {}


def register(vjp: Callable, *names: str, kind: str, bias: int | None = None, many: bool = False) -> Callable:
    """Enter one VJP under the operators' names."""
    assert kind in KINDS, kind
    for name in names or (vjp.__name__,):
        assert name not in OPS, f"{name} already has an entry"
        OPS[name] = Operator(name, vjp, kind, bias, many)
    return vjp


def _decorator(kind: str) -> Callable:
    """`@movement`, `@movement("Reshape", "Flatten")` or `@linear(bias=2)`: one line says where an operator belongs."""

    def decorate(*names, **facts):
        if len(names) == 1 and callable(names[0]):
            return register(names[0], kind=kind)
        return lambda vjp: register(vjp, *names, kind=kind, **facts)

    return decorate


linear = _decorator("linear")
batch_norm = _decorator("batch_norm")
total = _decorator("sum")
avg_pool = _decorator("avg_pool")
activation = _decorator("activation")
product = _decorator("product")
selection = _decorator("selection")
movement = _decorator("movement")
softmax = _decorator("softmax")
normalization = _decorator("normalization")
reduction = _decorator("reduction")
quantization = _decorator("quantization")
recurrent = _decorator("recurrent")
control = _decorator("control")


def zero(*names: str) -> None:
    """Operators whose derivative is zero wherever it exists: said, not guessed."""
    for name in names:
        register(lambda g, y, *xs, **attributes: [None] * len(xs), name, kind="zero")
