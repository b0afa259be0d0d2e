"""Replace nodes by what their formulas write."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import onnx
from onnx import helper

from ..errors import InvalidModelError, UnsupportedModelError, one_line
from ..tape import Tape, Type, output_types
from .registry import FORMULAS, MICROSOFT, WHY, Result, UnsaidError

EARLY = {"LayerNormalization": 17, "SimplifiedLayerNormalization": 1 << 30}
"""What ONNX Runtime calls operators of ai.onnx before ONNX has them: the opset from which they are, if any."""


def is_foreign(node: onnx.NodeProto) -> bool:
    """Whether the node is known here."""
    return (node.domain, node.op_type) in FORMULAS


def move_early(nodes: Iterable[onnx.NodeProto], version: int) -> bool:
    """Give operators that ONNX's `version` lacks the domain of those who wrote them; whether there were any."""
    found = [n for n in nodes if n.domain == "" and version < EARLY.get(n.op_type, 0)]
    for n in found:
        n.domain = MICROSOFT
    return bool(found)


@dataclass
class Writer:
    """Walks along a graph's nodes and knows the types of their results."""

    types: dict[str, onnx.TypeProto]
    constants: dict[str, onnx.TensorProto]
    read: Collection[str]
    """The names that somebody reads."""
    opsets: list[onnx.OperatorSetIdProto]
    initializers: list[onnx.TensorProto] = field(default_factory=list)

    def spell_out(self, graph: onnx.GraphProto) -> None:
        """Replace the nodes that have a formula, in place."""
        nodes = [new for n in graph.node for new in self.nodes(n)]
        self.declare(graph)
        del graph.node[:]
        graph.node.extend(nodes)

    def declare(self, graph: onnx.GraphProto) -> None:
        """Note the types of what foreign nodes compute, where they are known: ONNX's own tools do not know them."""
        told = {v.name for v in (*graph.value_info, *graph.output)}
        made = dict.fromkeys(o for n in graph.node if is_foreign(n) for o in n.output if o in self.types and o not in told)
        graph.value_info.extend(onnx.ValueInfoProto(name=o, type=self.types[o]) for o in made)

    def nodes(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        """What stands for the node: itself, where it has no formula or its formula says why not."""
        if not is_foreign(node):
            self._infer(node)
            return [node]
        try:
            return self._written(node)
        except (UnsaidError, UnsupportedModelError) as error:
            if not any(p.key == WHY for p in node.metadata_props):
                node.metadata_props.add(key=WHY, value=one_line(error))
            if isinstance(error, UnsaidError):
                self.types.update({o: t.proto for o, t in zip(node.output, error.types) if o and t is not None})
            return [node]

    def _written(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        formula = FORMULAS[node.domain, node.op_type]
        attributes = {a.name: _plain(helper.get_attribute_value(a)) for a in node.attribute}
        tape = Tape()
        inputs = [tape.input(i, Type.of(self.types.get(i, onnx.TypeProto()))) if i else None for i in node.input]
        try:
            inspect.signature(formula).bind(*inputs, **attributes)
        except TypeError as error:
            raise UnsaidError(f"its form is unknown: {error}") from None
        results: Result = formula(*inputs, **attributes)
        results = results if isinstance(results, tuple) else (results,)
        spelled = {o: y for o, y in zip(node.output, results) if o and y is not None}
        self.types.update({o: y.type.proto for o, y in spelled.items()})
        tape.reserve(spelled)
        graph = tape.build(spelled).to_proto().graph
        kept = []
        if any(o and o in self.read and o not in spelled for o in node.output):
            kept = [onnx.NodeProto()]
            kept[0].CopyFrom(node)
            kept[0].output[:] = [f"{o}/own" if o in spelled else o for o in node.output]
        return [*kept, *self._named(graph, node, list(spelled))]

    def _named(self, graph: onnx.GraphProto, node: onnx.NodeProto, public: list[str]) -> list[onnx.NodeProto]:
        """The nodes of a formula, their values named after the node; results keep their names."""
        body, ends = list(graph.node), []
        made = {o for n in body for o in n.output} - set(public)
        names: dict[str, str] = {}
        while body and body[-1].output[0] in public:
            end = body.pop()
            if end.input[0] in made and end.input[0] not in names:
                names[end.input[0]] = end.output[0]
            else:
                ends.append(end)
        prefix = next(o for o in node.output if o)
        read = {i for n in body + ends for i in n.input} | names.keys()
        for n in body:
            while n.op_type == "LayerNormalization" and n.output[-1] not in read:
                n.output.pop()
        names |= {n: f"{prefix}/{n}" for n in (*made, *(t.name for t in graph.initializer)) if n not in names}
        for t in graph.initializer:
            t.name = names[t.name]
            self.initializers.append(t)
        for k, n in enumerate(body + ends):
            n.input[:] = [names.get(i, i) for i in n.input]
            n.output[:] = [names.get(o, o) for o in n.output]
            if node.name:
                n.name = node.name if n.output[0] == prefix else f"{node.name}/{n.op_type}_{k}"
        return body + ends

    def _infer(self, node: onnx.NodeProto) -> None:
        """The types of the results of a standard node, where ONNX's inference had to stop at a foreign one before it."""
        if any(a.HasField("g") for a in node.attribute):
            return
        version = next((o.version for o in self.opsets if o.domain == node.domain), 1)
        types = {i: Type.of(self.types.get(i, onnx.TypeProto())) for i in node.input if i}
        data = {i: self.constants[i] for i in node.input if i in self.constants}
        with suppress(onnx.defs.SchemaError, InvalidModelError):
            found = output_types(node, types, data, version)
            self.types.update({o: t.proto for o, t in found.items() if o and _says(t.proto) > _says(self.types.get(o))})


def _says(t: onnx.TypeProto | None) -> int:
    """How much a type tells of a shape: the extents that are numbers, if there is one at all."""
    return -1 if t is None or not t.tensor_type.HasField("shape") else sum(d.HasField("dim_value") for d in t.tensor_type.shape.dim)


def _plain(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value
