"""Ifs whose branch is known before anything runs: the branch takes their place, so that the ranks behind it are known.

Exporters write `if x.dim() == 2` and `if x.size(0) == 1` as If nodes, and ONNX's inference knows no rank behind one whose
branches differ. Conditions that follow from constants and shapes are computed here. Where a branch gives a rank with which some
later node could never run, the other one is taken; a Squeeze of whatever has an extent of one is judged in the same way.
"""

from __future__ import annotations

from collections import ChainMap, Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import count
from types import MappingProxyType

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from .errors import InvalidModelError
from .graph import graphs_of, made, nodes_of, subgraphs
from .tape import OPSET, RANDOM, SMALL, Type, output_types

MOVES = {"Identity", "Cast", "Gather", "Slice", "Concat", "Squeeze", "Unsqueeze", "Reshape", "Flatten", "Transpose"}
"""Operators that move elements: a shape of which some extents are unknown passes them."""
UNKNOWN = Type(None, None, onnx.TypeProto())


def decide(model: onnx.ModelProto) -> None:
    """Put branches that are known in the place of their Ifs, at every depth; the model, of opset `OPSET`, is changed."""
    graph = model.graph
    if not any(n.op_type == "If" or (n.op_type == "Squeeze" and len(n.input) == 1) for n in nodes_of(graph)):
        return
    scope = Scope(ChainMap(), ChainMap(), {})
    scope.tell({v.name: Type.of(v.type) for v in graph.input})
    scope.hold(graph.initializer)
    nodes = _Walk(Counter(made(graph))).settled(graph.node, scope)
    del graph.node[:]
    graph.node.extend(nodes)
    for v in graph.output:
        v.type.CopyFrom(scope.agreed.pop(v.name).proto if v.name in scope.agreed else v.type)
    graph.value_info.extend(onnx.ValueInfoProto(name=n, type=t.proto) for n, t in scope.agreed.items())


@dataclass(frozen=True, eq=False)
class Scope:
    """What is known of the values that a graph sees: types, and small arrays in which unknown elements are masked."""

    types: ChainMap[str, Type]
    values: ChainMap[str, np.ma.MaskedArray]
    agreed: dict[str, Type]
    """What values have in common whichever way an open If goes, though that of the If itself differs."""

    def inner(self) -> Scope:
        """The scope of a body, or of an assumption that may be dropped."""
        return Scope(self.types.new_child(), self.values.new_child(), self.agreed)

    def tell(self, types: Mapping[str, Type]) -> None:
        self.types.update((n, t if t.shape is not None else self.agreed.get(n, t)) for n, t in types.items())

    def hold(self, tensors: Iterable[onnx.TensorProto]) -> None:
        for t in tensors:
            self.types[t.name] = Type.of(helper.make_tensor_type_proto(t.data_type, t.dims))
            if np.prod(t.dims) <= SMALL and (value := numpy_helper.to_array(t)).dtype.kind in "biuf":
                self.values[t.name] = np.ma.array(value)

    def learn(self, node: onnx.NodeProto, strict: bool) -> None:
        """Find out about a node's outputs; where `strict`, one that cannot run at these shapes is an error."""
        types = {i: self._type(i) for i in node.input if i}
        data = {i: numpy_helper.from_array(v.data, i) for i in types if (v := self.values.get(i)) is not None and not np.ma.is_masked(v)}
        try:
            self.tell(dict.fromkeys(node.output, UNKNOWN) | output_types(node, types, data))
        except InvalidModelError:
            if strict and all(t.shape is not None for t in types.values()):
                raise
        self.values.update(self._computed(node))

    def _type(self, name: str) -> Type:
        return self.types.get(name, UNKNOWN)

    def _computed(self, node: onnx.NodeProto) -> dict[str, np.ma.MaskedArray]:
        """The outputs of a node that follow from its inputs and their shapes."""
        if node.op_type in ("Shape", "Size") and (shape := self._type(node.input[0]).shape) is not None:
            known = [d if isinstance(d, int) else -1 for d in shape]
            if node.op_type == "Size":
                return {} if -1 in known else {node.output[0]: np.ma.array(np.prod(known, dtype=np.int64))}
            bounds = {a.name: a.i for a in node.attribute}
            return {node.output[0]: np.ma.masked_equal(np.array(known[bounds.get("start", 0) : bounds.get("end")], np.int64), -1)}
        args = [self.values.get(i) for i in node.input if i]
        if node.domain or node.op_type in RANDOM or not all(map(self._is_small, filter(None, node.output))) or any(a is None for a in args):
            return {}
        masks = [np.ma.getmaskarray(a).astype(np.int64) for a in args]
        moved = len(args) if node.op_type == "Concat" else 1 if node.op_type in MOVES else 0
        if any(m.any() for m in masks[moved:]):
            return {}
        run = lambda arrays: ReferenceEvaluator(node, opsets={"": OPSET}).run(None, dict(zip(filter(None, node.input), arrays)))
        try:
            values = run([a.data for a in args])
            hidden = run([*masks[:moved], *(a.data for a in args[moved:])]) if any(m.any() for m in masks) else [False] * len(values)
        except Exception:  # a type that NumPy lacks; or the node cannot run at all, and then nothing is known
            return {}
        return {o: np.ma.array(v, mask=np.asarray(m, bool)) for o, v, m in zip(node.output, values, hidden) if o}

    def _is_small(self, name: str) -> bool:
        shape = self._type(name).shape
        return shape is not None and all(isinstance(d, int) for d in shape) and np.prod(shape, dtype=int) <= SMALL


@dataclass(frozen=True, eq=False)
class _Walk:
    """One pass over a model; `names` counts how often a name is given."""

    names: Counter[str]

    def settled(self, nodes: Iterable[onnx.NodeProto], scope: Scope, strict: bool = False) -> list[onnx.NodeProto]:
        """The nodes without the Ifs that are known. `scope` learns what they make; where `strict`, what cannot run is an error."""
        done, rest = [], deque(nodes)
        while rest:
            node = rest.popleft()
            if node.op_type == "If" and (branch := self._taken(node, rest, scope, strict)) is not None:
                unrolled = self._unrolled(node, branch)
                if not strict:
                    self.names.subtract(name for g in subgraphs(node) for name in made(g))
                    self.names.update(made(onnx.GraphProto(node=unrolled)))
                rest.extendleft(reversed(unrolled))
            elif subgraphs(node):
                done.append(self._with_bodies(node, scope, strict))
            else:
                if node.op_type == "Squeeze" and not strict:
                    self._agree(scope, self._squeezed(node, rest, scope))
                scope.learn(node, strict)
                done.append(node)
        return done

    def _squeezed(self, node: onnx.NodeProto, rest: Iterable[onnx.NodeProto], scope: Scope) -> Mapping[str, Type]:
        """The type of a Squeeze of all extents of one, where the later nodes can run with one rank only."""
        x = scope.types.get(node.input[0], UNKNOWN)
        if len(node.input) > 1 or x.dtype is None or x.shape is None:
            return {}
        most = sum(d != 1 for d in x.shape)
        least = most - sum(not isinstance(d, int) for d in x.shape)
        possible = [{node.output[0]: Type.tensor(x.dtype, [None] * rank)} for rank in range(least, most + 1)]
        able = [given for given in possible if least < most and self._assuming(rest, scope, given) is not None]
        return able[0] if len(able) == 1 else {}

    def _taken(self, node: onnx.NodeProto, rest: Iterable[onnx.NodeProto], scope: Scope, strict: bool) -> onnx.GraphProto | None:
        """The branch that an If takes in every run that reaches its end; None where that depends on the run."""
        condition, branches = scope.values.get(node.input[0]), {a.name: a.g for a in node.attribute}
        if condition is not None and not np.ma.is_masked(condition):
            return branches["then_branch" if condition.data.all() else "else_branch"]
        ranks = {}
        for name, body in branches.items():
            try:
                ranks[name] = [None if t.shape is None else len(t.shape) for t in self._body(body, scope, strict=True)[1]]
            except InvalidModelError:  # it can never run
                continue
        if strict or len(ranks) < 2 or ranks["then_branch"] == ranks["else_branch"]:
            return branches[next(iter(ranks))] if len(ranks) == 1 else None
        found = {name: t for name in ranks if (t := self._assuming([*self._unrolled(node, branches[name]), *rest], scope)) is not None}
        if len(found) == 2:
            one, other = found.values()
            self._agree(scope, {n: _common(one[n], other[n]) for n in one.keys() & other.keys()})
        return branches[next(iter(found))] if len(found) == 1 else None

    def _agree(self, scope: Scope, types: Mapping[str, Type]) -> None:
        """Note what is certain of values, by names that no other body gives to values of its own."""
        scope.agreed.update((n, t) for n, t in types.items() if t.shape is not None and self.names[n] == 1)

    def _assuming(self, nodes: Iterable[onnx.NodeProto], scope: Scope, given: Mapping[str, Type] = MappingProxyType({})) -> Mapping[str, Type] | None:
        """The types of what nodes make, if some values have the given types; None if they cannot run."""
        inner = scope.inner()
        inner.tell(given)
        try:
            self.settled(nodes, inner, strict=True)
        except InvalidModelError:
            return None
        return inner.types.maps[0]

    def _with_bodies(self, node: onnx.NodeProto, scope: Scope, strict: bool) -> onnx.NodeProto:
        """An If that depends on the run, or a loop, with settled bodies. Of an If's outputs is known what both branches say."""
        if strict:
            return node
        copy, types = onnx.NodeProto(), []
        copy.CopyFrom(node)
        for a in copy.attribute:
            if a.HasField("g"):
                body, outputs = self._body(a.g, scope, strict)
                a.g.CopyFrom(body)
                types.append(outputs)
        if node.op_type == "If":
            scope.tell({o: _common(t, e) for o, t, e in zip(node.output, *types)})
        return copy

    def _body(self, body: onnx.GraphProto, scope: Scope, strict: bool) -> tuple[onnx.GraphProto, list[Type]]:
        """A settled copy of a body, and the types of its outputs."""
        inner, copy = scope.inner(), onnx.GraphProto()
        inner.hold(body.initializer)
        copy.CopyFrom(body)
        nodes = self.settled(body.node, inner, strict)
        del copy.node[:]
        copy.node.extend(nodes)
        return copy, [inner.types.get(o.name, UNKNOWN) for o in body.output]

    def _unrolled(self, node: onnx.NodeProto, branch: onnx.GraphProto) -> list[onnx.NodeProto]:
        """The branch as nodes that make what the If makes; names that are given elsewhere too are changed."""
        fresh = {name: next(free for k in count() if (free := f"{name}_{k}") not in self.names) for name in made(branch) if self.names[name] > 1}
        copy = onnx.GraphProto()
        copy.CopyFrom(branch)
        for g in graphs_of(copy):
            for v in (*g.input, *g.initializer, *g.output, *g.value_info):
                v.name = fresh.get(v.name, v.name)
            for n in g.node:
                for names in (n.input, n.output):
                    names[:] = [fresh.get(name, name) for name in names]
        constants = [helper.make_node("Constant", [], [t.name], value=t) for t in copy.initializer]
        return [*constants, *copy.node, *(helper.make_node("Identity", [v.name], [o]) for v, o in zip(copy.output, node.output) if o)]


def _common(a: Type, b: Type) -> Type:
    """What two types have in common."""
    if a.dtype is None or a.dtype != b.dtype or a.shape is None or b.shape is None or len(a.shape) != len(b.shape):
        return UNKNOWN
    return Type.tensor(a.dtype, [d if d == e else None for d, e in zip(a.shape, b.shape)])
