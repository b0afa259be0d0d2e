"""The table of formulas: what operators outside ai.onnx mean, in operators of ai.onnx."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..tape import Type, Var

Result = Var | tuple[Var | None, ...]
FORMULAS: dict[tuple[str, str], Callable[..., Result]] = {}
"""By domain and operator: inputs positional, attributes keywords, the outputs returned. None for an output leaves it to the node itself."""
WHY = "onnxplain.why"
"""The node's metadata that says why it was left as it is."""


class UnsaidError(Exception):
    """Why a formula cannot say what a node does; the types of the results may be known all the same."""

    def __init__(self, why: str, types: Sequence[Type | None] = ()):
        super().__init__(why)
        self.types = types


def unless(condition: Any, why: str) -> None:
    """Leave a node as it is unless `condition` holds."""
    if not condition:
        raise UnsaidError(why)


MICROSOFT = "com.microsoft"
NCHWC = "com.microsoft.nchwc"
"""The domain of the operators that ONNX Runtime makes for its blocked layout."""


def _decorator(domain: str) -> Callable:
    """`@microsoft`, or `@microsoft("MatMulInteger", …)` for several operators with one formula."""

    def decorate(*given):
        if callable(given[0]):
            FORMULAS[domain, given[0].__name__] = given[0]
            return given[0]

        def enter(formula):
            FORMULAS.update({(domain, name): formula for name in given})
            return formula

        return enter

    return decorate


microsoft = _decorator(MICROSOFT)
blocked = _decorator(NCHWC)
ml = _decorator("ai.onnx.ml")
