"""Several named tensors that a formula treats as one, like the inputs of a model that has more than one."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any


class Tensors(dict):
    """name → Var or array; arithmetic goes tensor by tensor, with another `Tensors` or one operand for all."""

    def map(self, f: Callable, *others: Any) -> Tensors:
        """`f` applied to each tensor, and to its namesakes in `others`."""
        return Tensors({k: f(v, *(o[k] if isinstance(o, Tensors) else o for o in others)) for k, v in self.items()})

    # fmt: off
    def __add__(self, other): return self.map(operator.add, other)
    def __sub__(self, other): return self.map(operator.sub, other)
    def __mul__(self, other): return self.map(operator.mul, other)
    def __truediv__(self, other): return self.map(operator.truediv, other)
    def __radd__(self, other): return self.map(lambda v, o: o + v, other)
    def __rsub__(self, other): return self.map(lambda v, o: o - v, other)
    def __rmul__(self, other): return self.map(lambda v, o: o * v, other)
    # fmt: on
