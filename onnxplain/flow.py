"""The part of a graph between the attributed tensors and the score, and what rules may ask of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from .graph import Graph, Node, reads

LINEAR = ("Conv", "ConvTranspose", "Gemm", "MatMul", "Einsum")
SHAPING = ("Identity", "Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Cast")
GATES = ("Softmax", "Sigmoid", "HardSigmoid", "Swish", "Gelu")
SPATIAL_MEANS = ("AveragePool", "GlobalAveragePool", "ReduceMean")


@dataclass(frozen=True, eq=False)
class Flow:
    """Which nodes lead from `wrt` to `outputs`, and which values depend on the input (they are active), by whatever way."""

    graph: Graph
    outputs: tuple[str, ...]
    wrt: tuple[str, ...]
    final: Collection[Node] = ()
    """Nodes that put the explained score itself on a grid: that it saturates stops nothing."""
    sources: Collection[str] = ()
    """Where the input enters beside `wrt`: an operand that depends on it is no constant, even if nobody attributes to it."""
    _memo: dict[Hashable, Any] = field(default_factory=dict, repr=False)

    @cached_property
    def active(self) -> set[str]:
        """The values that depend on `wrt` or the other sources."""
        return self._reached({*self.wrt, *self.sources})

    def _reached(self, active: set[str]) -> set[str]:
        """The float values that depend on some through operators with a derivative, and the quantised ones."""
        types = self.graph.types
        real = lambda v: types[v].dtype is None or types[v].is_float
        for node in self.graph.nodes:
            through = [i for i in reads(node) if i in active]
            if through and node.kind != "zero":
                quantised = node.kind == "quantization" or not all(map(real, through))
                active.update(o for o in node.outputs if o and (quantised or real(o)))
        return active

    @cached_property
    def nodes(self) -> list[Node]:
        """The nodes on the way, in the graph's order."""
        need, nodes, behind = set(self.outputs), [], self._reached(set(self.wrt)) if self.sources else self.active
        for node in reversed(self.graph.nodes):
            reached = [i for i in reads(node) if i in behind]
            if reached and not need.isdisjoint(node.outputs):
                nodes.append(node)
                need.update(reached)
        return nodes[::-1]

    @cached_property
    def missing(self) -> list[Node]:
        """The nodes on the way that have no entry in `onnxplain.ops`."""
        return [n for n in self.nodes if n.operator is None]

    def __getstate__(self) -> dict[str, Any]:
        """All but what was computed once: its keys may be conditions, which are functions."""
        return self.__dict__ | {"_memo": {}}

    def memo(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """A value computed once for this flow."""
        if key not in self._memo:
            self._memo[key] = make()
        return self._memo[key]

    # ---- kinds, which depend on what is active ----

    def kind(self, node: Node) -> str | None:
        """The kind by which rules go: a product with a constant is linear, a sum with one is none."""
        active = [i for i in node.inputs if i in self.active]
        if node.op_type in LINEAR and not node.domain:
            if len(active) == 1 and active[0] not in node.inputs[2:]:
                return "linear" if node.op_type != "Einsum" or len(node.inputs) == 2 else None  # a product of constants has no sign of its own
            return "product"
        if (node.kind in ("sum", "product") and len(active) < 2) or node.kind == "linear":  # DeformConv's offsets are no weights
            return None
        if node.op_type in SPATIAL_MEANS:
            return "avg_pool" if node.op_type != "ReduceMean" or self._spatial(node) else node.kind
        return node.kind

    def is_kind(self, node: Node, name: str) -> bool:
        """Whether a row for this kind means the node; `conv`, `dense` and `relu` are finer names."""
        if name in ("conv", "dense"):
            return self.kind(node) == "linear" and (node.op_type in ("Conv", "ConvTranspose")) == (name == "conv")
        if name == "relu":
            return node.op_type == "Relu"
        return self.kind(node) == name

    def _spatial(self, node: Node) -> bool:
        """Whether a mean runs over the spatial axes; one that is subtracted again normalises."""
        shape = self.graph.types[node.inputs[0]].shape
        axes = self.graph.constants.get(node.inputs[1]) if len(node.inputs) > 1 else None
        rank = 0 if shape is None else len(shape)
        if axes is None or rank < 3:
            return False
        over = {int(a) % rank for a in np.ravel(axes.numpy()).tolist()}
        x = next(iter(node.inputs))
        centred = any(u.op_type == "Sub" and x in u.inputs for u in self.graph.users.get(node.outputs[0], []))
        first, last = set(range(2, rank)), set(range(1, rank - 1))
        return not centred and (over == first or (rank > 3 and over == last))

    # ---- places ----

    @cached_property
    def linear(self) -> list[Node]:
        """The linear layers in forward order."""
        return [n for n in self.nodes if self.kind(n) == "linear"]

    def first(self, fits: Callable[[Flow, Node], bool]) -> set[Node]:
        """The nodes that fit and have none that fits before them along the data flow."""

        def find() -> set[Node]:
            behind: set[str] = set()
            found = set()
            for node in self.nodes:
                after = not behind.isdisjoint(reads(node))
                if fits(self, node):
                    if not after:
                        found.add(node)
                    after = True
                if after:
                    behind.update(node.outputs)
            return found

        return self.memo(("first", fits), find)

    def last(self, fits: Callable[[Flow, Node], bool]) -> set[Node]:
        """The nodes that fit and have none that fits behind them."""

        def find() -> set[Node]:
            before: set[str] = set()
            found = set()
            for node in reversed(self.nodes):
                ahead = not before.isdisjoint(node.outputs)
                if fits(self, node):
                    if not ahead:
                        found.add(node)
                    ahead = True
                if ahead:
                    before.update(reads(node))
            return found

        return self.memo(("last", fits), find)

    def outsider(self, nodes: Collection[Node], last: Node) -> str | None:
        """What keeps connected nodes from being one region that ends in `last`: a reader of their inside, or a name for it; None if nothing does."""
        inside = [o for n in nodes if n is not last for o in n.outputs if o]
        named = next((o for o in inside if o in self.outputs or o in self.wrt), None)
        if named is not None:
            return f"the question about {named!r}"
        reader = next((u for o in inside for u in self.graph.users.get(o, ()) if u not in nodes and u in self.members), None)
        return None if reader is None else str(reader)

    @cached_property
    def members(self) -> set[Node]:
        return set(self.nodes)

    def fed_by_input(self, node: Node) -> bool:
        """Whether a graph input reaches the node through nodes that only change the shape."""
        name = next((i for i in node.inputs if i in self.active), None)
        while name is not None and name not in self.graph.inputs:
            maker = self.graph.producer.get(name)
            if maker is None or maker.op_type not in SHAPING:
                return False
            name = maker.inputs[0]
        return name is not None

    def is_gate(self, name: str) -> bool:
        """Whether a value is made by a Softmax or a sigmoid-like activation, seen through nodes that do not change its values."""
        maker = self.graph.producer.get(name)
        while maker is not None and maker.op_type in (*SHAPING, "Dropout", "Expand", "Clip"):
            maker = self.graph.producer.get(maker.inputs[0])
        return maker is not None and maker.op_type in GATES

    def bias(self, node: Node) -> str | None:
        """What the only reader of a product with a constant adds to it: its bias, where a Gemm cannot hold it."""
        if node.op_type not in ("MatMul", "Einsum") or self.kind(node) != "linear" or node.outputs[0] in self.outputs:
            return None
        reader, *others = self.graph.users[node.outputs[0]]
        shapes = [self.graph.types[n.outputs[0]].shape for n in (node, reader)]
        if others or reader.op_type != "Add" or self.kind(reader) is not None or shapes[0] is None or shapes[0] != shapes[1]:
            return None
        return reader.inputs[1] if reader.inputs[0] == node.outputs[0] else reader.inputs[0]

    def biased(self, node: Node) -> Node | None:
        """The product whose bias a node adds."""
        makers = [p for i in node.inputs if (p := self.graph.producer.get(i)) is not None] if node.op_type == "Add" else []
        return next((p for p in makers if self.bias(p) is not None), None)

    # ---- signs ----

    @cached_property
    def nonnegative(self) -> set[str]:
        """The values that cannot be negative, as the operators' definitions tell: they need no negative half.

        An attributed tensor is never one: path and noise methods move it anywhere.
        """
        known = {n for n, t in self.graph.constants.items() if t.size <= 1 << 16 and t.dtype.is_floating_point() and (t.numpy() >= 0).all()}
        for node in self.graph.nodes:
            keeps = node.op_type in KEEP_SIGN and all(i in known for i in _data(node))
            if keeps or node.op_type in RECTIFIED or (node.op_type == "Clip" and len(node.inputs) > 1 and node.inputs[1] in known):
                known.update(set(node.outputs).difference(self.wrt))
        return known


RECTIFIED = {"Relu", "Sigmoid", "Softmax", "Softplus", "HardSigmoid", "Abs", "Exp", "Sqrt", "ReduceL1", "ReduceL2", "ReduceSumSquare"}
KEEP_SIGN = {
    *("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "LpPool", "Add", "Mul", "Div", "Sum", "Mean", "Max", "Min", "Pow"),
    *("Concat", "Split", "Slice", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Identity", "Expand", "Tile", "Gather", "Dropout", "Cast"),
    *("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "DepthToSpace", "SpaceToDepth", "Pad"),
}


def _data(node: Node) -> tuple[str, ...]:
    """The inputs that hold values, not settings."""
    if node.op_type in ("Add", "Mul", "Div", "Sum", "Mean", "Max", "Min", "Concat"):
        return node.inputs
    return node.inputs[:1] if node.op_type != "Pad" else tuple(i for k, i in enumerate(node.inputs) if k in (0, 2) and i)
