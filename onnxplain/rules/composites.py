"""Composites: ordered tables of (condition, rule); the first row that fits a node decides, and gradient is written as a row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..backward import Rule, gradient
from ..errors import UnsupportedModelError
from ..graph import Graph, Node
from .guided import deconvnet, guided

Condition = Callable[[Graph, Node], bool]


def is_a(*op_types: str) -> Condition:
    """The node's operator is one of these."""
    return lambda graph, node: node.op_type in op_types


def anything(graph: Graph, node: Node) -> bool:
    """Every node."""
    return True


@dataclass(frozen=True)
class Composite:
    """`rules(graph, node)` for the sweep: the rule of the first row whose condition holds."""

    rows: tuple[tuple[Condition, Rule], ...]
    summary: str = ""

    def __call__(self, graph: Graph, node: Node) -> Rule:
        for fits, rule in self.rows:
            if fits(graph, node):
                return rule
        raise UnsupportedModelError(f"no row of the composite fits {node}; add a row for it, such as (anything, gradient)")


COMPOSITES = {
    "guided_backprop": Composite(((is_a("Relu"), guided), (anything, gradient)), "positive values only, through active ReLUs; gradient elsewhere"),
    "deconvnet": Composite(((is_a("Relu"), deconvnet), (anything, gradient)), "positive values only, through every ReLU; gradient elsewhere"),
}
