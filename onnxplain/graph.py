"""The canonical model as a graph to ask and to write: nodes in topological order, values by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from math import prod
from typing import Any

import onnx
import onnx_ir as ir
from onnx import helper

from .foreign import WHY
from .ops import OPS, Operator
from .ops.newer import spelled_out
from .tape import Tape, Type, Var


@dataclass(frozen=True, eq=False)
class Node:
    """One node of the model."""

    proto: onnx.NodeProto

    @cached_property
    def op_type(self) -> str:
        return self.proto.op_type

    @cached_property
    def domain(self) -> str:
        return "" if self.proto.domain == "ai.onnx" else self.proto.domain

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        return tuple(self.proto.input)

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        return tuple(self.proto.output)

    @cached_property
    def sources(self) -> tuple[str, ...]:
        """The inputs, and behind them the outer values that subgraphs capture."""
        return (*self.inputs, *captures(*subgraphs(self.proto)))

    @cached_property
    def attributes(self) -> dict[str, Any]:
        values = {a.name: helper.get_attribute_value(a) for a in self.proto.attribute}
        return {k: v.decode() if isinstance(v, bytes) else v for k, v in values.items()}

    @property
    def operator(self) -> Operator | None:
        """What we know of its operator; None where there is no entry."""
        return OPS.get(self.op_type) if not self.domain else OPS.get(f"{self.domain}:{self.op_type}")

    @property
    def why(self) -> str | None:
        """Why a node of another domain could not be spelled out in operators of ai.onnx."""
        return next((p.value for p in self.proto.metadata_props if p.key == WHY), None)

    @property
    def kind(self) -> str | None:
        return self.operator.kind if self.operator else None

    def __call__(self, *xs: Var | None) -> Any:
        """Write this node at other inputs; one Var, or a tuple for several outputs."""
        tape = next(x.tape for x in xs if x is not None)
        if (written := spelled_out(self.op_type, xs[0])) is not None:
            return written(*xs, **self.attributes)
        return tape.emit(self.op_type, xs, len(self.outputs), self.proto.attribute, domain=self.proto.domain)

    def __str__(self) -> str:
        op_type = f"{self.domain}:{self.op_type}" if self.domain else self.op_type
        return f"{op_type} {self.proto.name or self.outputs[0]!r}"


@dataclass(frozen=True, eq=False)
class Graph:
    """A model after canonicalisation. `rewrites` says what was changed, in words."""

    inputs: Mapping[str, Type]
    outputs: Mapping[str, Type]
    nodes: Sequence[Node]
    constants: Mapping[str, ir.TensorProtocol]
    types: Mapping[str, Type]
    rewrites: Sequence[str] = field(default=())
    imports: Mapping[str, int] = field(default_factory=dict)
    """The versions of the other domains that nodes belong to."""

    @classmethod
    def of(cls, model: ir.Model, rewrites: Sequence[str] = ()) -> Graph:
        """Read an in-memory model; weights stay where they are."""
        g = model.graph
        constants = {v.name: v.const_value for v in g.initializers.values()}
        nodes = [Node(_nameless(ir.serde.serialize_node(n))) for n in g]
        types = {v.name: _type(v) for v in (*g.inputs, *g.initializers.values(), *(o for n in g for o in n.outputs))}
        return cls(
            {v.name: types[v.name] for v in g.inputs if v.name not in constants},
            {v.name: _type(v) for v in g.outputs},
            nodes,
            constants,
            types,
            rewrites,
            {n.domain: model.opset_imports.get(n.domain, 1) for n in g.all_nodes() if n.domain not in ("", "ai.onnx")},
        )

    @cached_property
    def sizes(self) -> Mapping[tuple[str, ...], int]:
        """How many bytes all values but the weights take, by the symbols in their shapes: what these stand for multiplies a number."""
        sizes: Counter[tuple[str, ...]] = Counter()
        for name, t in self.types.items():
            if name not in self.constants and t.shape is not None and t.dtype is not None:
                sizes[tuple(d for d in t.shape if isinstance(d, str))] += prod(d for d in t.shape if isinstance(d, int)) * t.dtype.itemsize
        return sizes

    @cached_property
    def producer(self) -> dict[str, Node]:
        """The node that makes a value."""
        return {o: n for n in self.nodes for o in n.outputs if o}

    @cached_property
    def users(self) -> dict[str, list[Node]]:
        """The nodes that read a value."""
        users: dict[str, list[Node]] = {}
        for n in self.nodes:
            for i in dict.fromkeys(reads(n)):
                users.setdefault(i, []).append(n)
        return users

    @cached_property
    def inside(self) -> set[str]:
        """The names that the bodies of Ifs, Loops and Scans define."""
        return {o for n in self.nodes for g in subgraphs(n.proto) for o in made(g)}

    def downstream(self, names: Iterable[str], *, through: Any = None) -> set[str]:
        """`names` and every value computed from them; `through(node)` may stop the flood."""
        reached = set(names)
        for n in self.nodes:
            if not reached.isdisjoint(reads(n)) and (through is None or through(n)):
                reached.update(o for o in n.outputs if o)
        return reached

    def write(self, tape: Tape, given: Mapping[str, Var], *, prefix: str = "") -> dict[str, Var]:
        """Write the graph on `tape` with some values given (its inputs at least); every value, by name."""
        env = dict(given)
        tape.imports.update(self.imports)
        tape.names.update(self.inside)  # bodies keep their names
        tape.claimed.update(prefix + o for n in self.nodes for o in n.outputs if o)
        env.update({n: tape.weight(n, t) for n, t in self.constants.items() if n not in env})
        here = self._types_at(given, prefix)
        env.update({n: _named(v, here(n)) for n, v in given.items()})
        for node in self.nodes:
            if all(o in env or not o for o in node.outputs):
                continue
            if spelled_out(node.op_type, env.get(node.inputs[0]) if node.inputs else None) is not None:
                env[node.outputs[0]] = node(*(env[i] if i else None for i in node.inputs))
                continue
            ys = tape.emit(
                node.op_type,
                [env[i] if i else None for i in node.inputs],
                len(node.outputs),
                node.proto.attribute if not subgraphs(node.proto) else _capture(node.proto, env).attribute,
                names=[prefix + o if o else "" for o in node.outputs],
                types=[here(o) for o in node.outputs],
                domain=node.proto.domain,
            )
            ys = (ys,) if len(node.outputs) == 1 else ys
            env.update({o: y for o, y in zip(node.outputs, ys) if o and o not in env})
        return env

    def _types_at(self, given: Mapping[str, Var], prefix: str) -> Callable[[str], Type | None]:
        """What the values are where some are given: a symbol that stands for another extent there has another name."""
        pairs = [(t.shape, v.type.shape or [None] * len(t.shape)) for n, v in given.items() if (t := self.types.get(n)) is not None and t.shape is not None]
        kept = {d for known, here in pairs for d, e in zip(known, here) if d == e}
        if all(d in kept for known, _ in pairs for d in known if isinstance(d, str)):
            return self.types.get
        other = {d for known, here in pairs for d, e in zip(known, here) if d != e}
        rename = lambda d: d if isinstance(d, int) or d is None or d in kept - other else None if d in kept else f"{prefix}{d}"
        moved = lambda t: t if t is None or t.shape is None or t.dtype is None else Type.tensor(t.dtype, [rename(d) for d in t.shape])
        return lambda name: moved(self.types.get(name))


def _named(v: Var, known: Type | None) -> Var:
    """v with the names of its extents: ONNX Runtime reuses memory, and adds in place, only where it sees that shapes agree."""
    if known is None or known.shape is None or v.type.shape is None or None not in v.shape:
        return v
    return v.shaped([d if e is None else e for d, e in zip(known.shape, v.shape)])


def subgraphs(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    """The bodies of If, Loop and Scan."""
    return [g for a in node.attribute for g in (*a.graphs, *([a.g] if a.HasField("g") else ()))]


def graphs_of(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """The graph and all that its nodes hold."""
    yield graph
    for n in graph.node:
        for g in subgraphs(n):
            yield from graphs_of(g)


def nodes_of(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """All nodes, those of subgraphs included."""
    for g in graphs_of(graph):
        yield from g.node


def reads(node: Node) -> list[str]:
    """What a node reads, the values that its subgraphs capture included."""
    return [i for i in node.sources if i]


def made(graph: onnx.GraphProto) -> list[str]:
    """Every name that a graph defines, at any depth."""
    return [name for g in graphs_of(graph) for name in (*(v.name for v in (*g.input, *g.initializer)), *(o for n in g.node for o in n.output))]


def attribute(node: onnx.NodeProto, name: str, default: Any = None) -> Any:
    """An attribute's plain value."""
    return next((helper.get_attribute_value(a) for a in node.attribute if a.name == name), default)


def captures(*bodies: onnx.GraphProto) -> list[str]:
    """The outer values that bodies read, each once, in an order that does not depend on that of the bodies."""
    return sorted({c for g in bodies for c in captured(g)})


def captured(graph: onnx.GraphProto) -> list[str]:
    """The outer values that a subgraph reads."""
    own = {i.name for i in graph.input} | {t.name for t in graph.initializer}
    found: dict[str, None] = {}
    for n in graph.node:
        for name in (*n.input, *(c for g in subgraphs(n) for c in captured(g))):
            if name and name not in own:
                found[name] = None
        own.update(n.output)
    found.update({o.name: None for o in graph.output if o.name not in own})
    return list(found)


def _nameless(node: onnx.NodeProto) -> onnx.NodeProto:
    """The node, its bodies without symbols: what the model calls its batch has another extent where points are folded into it."""
    for body in subgraphs(node):
        for g in graphs_of(body):
            for v in (*g.input, *g.output, *g.value_info):
                for d in v.type.tensor_type.shape.dim:
                    d.ClearField("dim_param")
    return node


def _capture(node: onnx.NodeProto, env: Mapping[str, Var]) -> onnx.NodeProto:
    """A copy of `node` whose subgraphs read the values of `env`, under the names they have on the tape."""
    copy = onnx.NodeProto()
    copy.CopyFrom(node)

    def rename(graph: onnx.GraphProto, names: dict[str, str]) -> None:
        own = {i.name for i in graph.input} | {t.name for t in graph.initializer} | {o for n in graph.node for o in n.output}
        names = {k: v for k, v in names.items() if k not in own}
        for n in graph.node:
            for k, i in enumerate(n.input):
                n.input[k] = names.get(i, i)
            for g in subgraphs(n):
                rename(g, names)
        for o in graph.output:
            o.name = names.get(o.name, o.name)

    outer = {k: v.name for g in subgraphs(node) for k in captured(g) if (v := env.get(k)) is not None}
    for g in subgraphs(copy):
        rename(g, outer)
    return copy


def _type(value: ir.Value) -> Type:
    if isinstance(value.type, ir.TensorType) and value.dtype is not None:
        dims = None if value.shape is None else tuple(d if isinstance(d, int) else d.value for d in value.shape)
        return _tensor_type(int(value.dtype), dims)
    proto = onnx.TypeProto()
    if value.type is not None:
        ir.serde.serialize_type_into(proto, value.type)
    return Type.of(proto)


@cache
def _tensor_type(elem_type: int, dims: tuple[int | str | None, ...] | None) -> Type:
    return Type.of(helper.make_tensor_type_proto(elem_type, dims))
