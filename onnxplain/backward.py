"""The one reverse sweep. From method to method only the rule changes with which each node answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from .errors import UnsupportedModelError
from .graph import Graph, Node, reads
from .ops.shapes import cast, typed, unbroadcast, zeros
from .tape import Var

Cotangent = Var | None
Rule = Callable[[Var, "Call"], Sequence[Cotangent]]
"""A rule gets what arrived at the output and the call, and answers what to send to each active input."""


@dataclass(frozen=True, eq=False)
class Call:
    """A node at the point where the model was evaluated: the `f` of the rules."""

    node: Node
    inputs: tuple[Var | None, ...]
    outputs: tuple[Var | None, ...]
    active: tuple[int, ...]
    """Positions of the inputs that depend on the tensors which are attributed to."""

    @property
    def x(self) -> list[Var]:
        """The active inputs."""
        return [v for i in self.active if (v := self.inputs[i]) is not None]

    @property
    def y(self) -> Var:
        """The first output."""
        assert self.outputs[0] is not None
        return self.outputs[0]

    def vjp(self, g: Var | Sequence[Cotangent]) -> list[Cotangent]:
        """Pull the cotangent back to the active inputs: the gradient's own rule."""
        operator = self.node.operator
        assert operator is not None
        given = tuple(g) if isinstance(g, (tuple, list)) else (g,)
        answer = operator.vjp(*((given, self.outputs) if operator.many else (given[0], self.y)), *self.inputs, **self.node.attributes)
        pulled = []
        for i in self.active:
            d, x = answer[i], self.inputs[i]
            d = d() if callable(d) else d
            pulled.append(None if d is None or x is None else typed(unbroadcast(cast(d, x), x), x))
        return pulled


def gradient(g: Var | Sequence[Cotangent], f: Call) -> Sequence[Cotangent]:
    """The rule that every other one replaces."""
    return f.vjp(g)


def active_values(graph: Graph, wrt: Iterable[str]) -> set[str]:
    """The float values that depend on `wrt` through operators with a derivative."""
    active = set(wrt)
    for node in graph.nodes:
        if node.kind != "zero" and not active.isdisjoint(reads(node)):
            active.update(o for o in node.outputs if o and (graph.types[o].dtype is None or graph.types[o].is_float))
    return active


def path(graph: Graph, outputs: Iterable[str], wrt: Iterable[str]) -> list[Node]:
    """The nodes between `wrt` and `outputs`, in the graph's order."""
    active, need, nodes = active_values(graph, wrt), set(outputs), []
    for node in reversed(graph.nodes):
        reached = [i for i in reads(node) if i in active]
        if reached and not need.isdisjoint(node.outputs):
            nodes.append(node)
            need.update(reached)
    return nodes[::-1]


def missing(graph: Graph, outputs: Iterable[str], wrt: Iterable[str]) -> list[Node]:
    """The nodes on the way that have no entry in `onnxplain.ops`."""
    return [n for n in path(graph, outputs, wrt) if n.operator is None]


def refuse(nodes: Sequence[Node], what: str) -> None:
    """Name every node without a rule, and what helps."""
    if nodes:
        listed = "; ".join(map(str, nodes[:20])) + (f"; and {len(nodes) - 20} more" if len(nodes) > 20 else "")
        remedy = "explain a tensor behind them (wrt=…) or before them (output=…), or re-export the model with standard ai.onnx operators"
        raise UnsupportedModelError(f"{what} has no rule for {len(nodes)} node{'s' * (len(nodes) > 1)}: {listed}. Remedy: {remedy}.")


def backward(
    graph: Graph,
    env: Mapping[str, Var],
    seeds: Mapping[str, Var],
    wrt: Sequence[str],
    rules: Callable[[Graph, Node], Rule] = lambda graph, node: gradient,
) -> dict[str, Var]:
    """Carry `seeds` (output → what it starts with) down to `wrt`, asking `rules(graph, node)` at each node on the way.

    What reaches a value from several users is summed; a tensor that nothing reaches gets zeros.
    """
    nodes = path(graph, seeds, wrt)
    refuse([n for n in nodes if n.operator is None], "the backward sweep")
    active = active_values(graph, wrt)
    carried: dict[str, Var] = dict(seeds)
    for node in reversed(nodes):
        arrived = [carried.get(o) for o in node.outputs]
        if all(g is None for g in arrived) or arrived[0] is None and not node.operator.many:
            continue
        inputs = tuple(env[i] if i else None for i in node.inputs)
        outputs = tuple(env[o] if o else None for o in node.outputs)
        f = Call(node, inputs, outputs, tuple(k for k, i in enumerate(node.inputs) if i in active))
        for k, r in zip(f.active, rules(graph, node)(arrived if node.operator.many else arrived[0], f), strict=True):
            if r is not None:
                name = node.inputs[k]
                carried[name] = carried[name] + r if name in carried else r
    return {name: typed(carried[name], env[name]) if name in carried else zeros(env[name]) for name in wrt}
