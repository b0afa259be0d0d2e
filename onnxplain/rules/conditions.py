"""Conditions: which nodes a row of a composite means. Any function of (flow, node) is one.

A condition may also answer with nodes: the connected region that ends in `node` and that the row's rule treats as one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection

from ..flow import SHAPING, Flow
from ..graph import Node

Condition = Callable[[Flow, Node], bool | Collection[Node]]


def is_a(*op_types: str) -> Condition:
    """The node's operator is one of these."""
    return lambda flow, node: node.op_type in op_types


def kind(name: str) -> Condition:
    """The node is of this kind; `conv`, `dense` and `relu` are finer than `linear` and `activation`."""
    return lambda flow, node: flow.is_kind(node, name)


def named(pattern: str) -> Condition:
    """A regular expression matches the node's name or that of an output."""
    return lambda flow, node: any(re.search(pattern, n) for n in (node.proto.name, *node.outputs))


def makes(*tensors: str) -> Condition:
    """The node makes one of these tensors."""
    return lambda flow, node: not set(tensors).isdisjoint(node.outputs)


def index(*numbers: int) -> Condition:
    """The linear layers of these numbers in forward order; negative from the end."""
    return lambda flow, node: node in flow.linear and not {k := flow.linear.index(node), k - len(flow.linear)}.isdisjoint(numbers)


def first(fits: Condition) -> Condition:
    """The node fits, and none before it along the data flow does."""
    return lambda flow, node: node in flow.first(fits) and fits(flow, node)


def last(fits: Condition) -> Condition:
    """The node fits, and none behind it does."""
    return lambda flow, node: node in flow.last(fits) and fits(flow, node)


def fed_by_input(flow: Flow, node: Node) -> bool:
    """A graph input reaches the node through nodes that only change the shape."""
    return flow.fed_by_input(node)


def before(*op_types: str) -> Condition:
    """Some user of the node's output is one of these operators."""
    return lambda flow, node: any(u.op_type in op_types for o in node.outputs for u in flow.graph.users.get(o, ()))


def after(*op_types: str) -> Condition:
    """Some input of the node is made by one of these operators."""
    return lambda flow, node: any((p := flow.graph.producer.get(i)) is not None and p.op_type in op_types for i in node.inputs)


def by_constant(flow: Flow, node: Node) -> bool:
    """The node adds, multiplies or divides, and only one of its operands depends on the input."""
    return node.kind in ("sum", "product") and node.op_type != "Pow" and flow.kind(node) is None


def adds_bias(flow: Flow, node: Node) -> bool:
    """The node adds what already counts as the bias of the linear layer before it."""
    return flow.biased(node) is not None


def all_of(conditions: Collection[Condition]) -> Condition:
    """Every condition holds; if some answer with nodes, the last such answer counts."""

    def fits(flow: Flow, node: Node) -> bool | Collection[Node]:
        found: bool | Collection[Node] = True
        for condition in conditions:
            answer = condition(flow, node)
            if not answer:
                return False
            found = found if answer is True else answer
        return found

    return fits


def anything(flow: Flow, node: Node) -> bool:
    """Every node."""
    return True


# ---- connected regions ----

WEIGHING = (*SHAPING, "Softmax", "Add", "Sub", "Mul", "Div", "Where", "Clip", "Tanh", "Dropout", "Expand")
"""What stands between the two products of an attention: scales, masks, caps."""


def chain(*conditions: Condition) -> Condition:
    """The last of several nodes in a row, nothing else reading what is between them: one region."""

    def fits(flow: Flow, node: Node) -> bool | Collection[Node]:
        if not conditions[-1](flow, node):
            return False
        nodes = [node]
        for condition in conditions[-2::-1]:
            makers = [p for i in nodes[-1].inputs if i in flow.active and (p := flow.graph.producer.get(i)) is not None]
            before = next((p for p in makers if condition(flow, p)), None)
            if before is None:
                return False
            nodes.append(before)
        return nodes if flow.outsider(nodes, node) is None else False

    return fits


def attention(flow: Flow, node: Node) -> bool | Collection[Node]:
    """Softmax attention, from the product of queries and keys to that with the values: one region."""
    if not _mixes(flow, node):
        return False
    for weights in node.inputs:
        nodes, open_ = {node}, [weights]
        while open_:
            maker = flow.graph.producer.get(open_.pop())
            if maker is not None and maker in flow.members and (maker.op_type in WEIGHING or _mixes(flow, maker)):
                nodes.add(maker)
                open_ += maker.inputs if maker.op_type in WEIGHING else ()
        if {"Softmax", "MatMul"} <= {n.op_type.replace("Einsum", "MatMul") for n in nodes - {node}} and flow.outsider(nodes, node) is None:
            return nodes
    return False


def _mixes(flow: Flow, node: Node) -> bool:
    """A matrix product of two tensors that both depend on the input."""
    return node.op_type in ("MatMul", "Einsum") and flow.kind(node) == "product"


PATTERNS: dict[str, Condition] = {"attention": attention}
"""Regions that a row in JSON names."""
