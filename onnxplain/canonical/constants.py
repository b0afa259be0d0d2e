"""Constants: wherever an exporter hid a weight or a shape, it becomes an initializer."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from math import prod

import numpy as np
import onnx_ir as ir

from ..graph import Graph, Node, subgraphs
from ..session import Session
from ..tape import RANDOM, Tape
from .registry import is_op, new_constant, replace_value, rewrite

LARGEST = 1 << 20
"""Folding may make constants of so many bytes, or as large as what they are made from."""


@rewrite
def constants(model: ir.Model, keep: Collection[str], log: list[str]) -> None:
    """Constant nodes become initializers, and an Identity of an initializer is that initializer."""
    for node in list(model.graph):
        if is_op(node, "Constant") and (tensor := _tensor(node)) is not None:
            _replace(model, node, tensor)
        elif is_op(node, "Identity") and (v := node.inputs[0]) is not None and v.is_initializer() and v.const_value is not None and v.name not in keep:
            log.append(f"constants: {node.outputs[0].name} is {v.name}")
            v.const_value.meta.setdefault("origin", v.name)
            _replace(model, node, v.const_value)


def _tensor(node: ir.Node) -> ir.TensorProtocol | None:
    for name, dtype in {"value": None, "value_float": np.float32, "value_int": np.int64, "value_floats": np.float32, "value_ints": np.int64}.items():
        if name in node.attributes:
            value = node.attributes[name].value
            return value if dtype is None else ir.tensor(np.array(value, dtype))
    return None


def _replace(model: ir.Model, node: ir.Node, tensor: ir.TensorProtocol) -> None:
    """Put an initializer of the same name in the place of a node's output."""
    old = node.outputs[0]
    name, old.name = old.name, f"{old.name}/gone"
    value = ir.Value(name=name, type=ir.TensorType(tensor.dtype), shape=ir.Shape([int(d) for d in tensor.shape]), const_value=tensor)
    model.graph.register_initializer(value)
    replace_value(model, old, value)
    model.graph.remove(node, safe=True)


@rewrite
def fold_constants(model: ir.Model, keep: Collection[str], log: list[str]) -> None:
    """What depends on constants and known shapes alone is computed now, by ONNX Runtime."""
    graph = Graph.of(model)
    known = set(graph.constants) - set(keep)
    shapes, extents, foldable = {}, {}, []
    for node in graph.nodes:
        extents[node.outputs[0]] = told = _extents(graph, node, extents)
        if told is not None and all(isinstance(d, int) for d in told.flat):
            shapes[node.outputs[0]] = told.astype(np.int64)
            known.update(node.outputs)
        elif _folds(graph, node, known):
            foldable.append(node)
            known.update(node.outputs)
    if not foldable and not shapes:
        return
    tape = Tape()
    env = {n: tape.weight(n, t) for n, t in graph.constants.items()} | {n: tape.constant(v, name=n) for n, v in shapes.items()}
    for node in foldable:
        args = [env.get(i) for i in node.inputs]
        if node.op_type == "CastLike":
            results = tape.emit("Cast", args[:1], attributes={"to": _elem_type(graph, node.inputs[1])}, names=node.outputs)
        else:
            results = tape.emit(node.op_type, args, len(node.outputs), node.proto.attribute, names=node.outputs)
        env |= dict(zip(node.outputs, [results] if len(node.outputs) == 1 else results))
    inner = set(foldable)
    wanted = [o for n in foldable for o in n.outputs if o and (o in keep or any(u not in inner for u in graph.users.get(o, ())))]
    values = dict(shapes)
    if wanted:
        tape.reserve(f"folded/{o}" for o in wanted)
        run = Session(tape.build({f"folded/{o}": env[o] for o in wanted}), ["CPUExecutionProvider"]).run({})
        values |= {o: run[f"folded/{o}"] for o in wanted}
    for node in list(model.graph):
        for output in node.outputs:
            if output.name in values and (output.uses() or output.is_graph_output()):
                name, output.name = output.name, f"{output.name}/gone"
                replace_value(model, output, new_constant(model, name, values[name]))
    log.append(f"fold_constants: {len(foldable) + len(shapes)} nodes computed beforehand")
    _sweep_unused(model)


def _elem_type(graph: Graph, name: str) -> int:
    """ONNX's number of a value's type, 0 where it is not known."""
    return graph.types[name].proto.tensor_type.elem_type


def _extents(graph: Graph, node: Node, before: Mapping[str, np.ndarray | None]) -> np.ndarray | None:
    """The extents that a Shape tells, or that a Gather takes of one, numbers where they are known; None where nothing is told."""
    if node.op_type == "Shape" and not node.domain and (shape := graph.types[node.inputs[0]].shape) is not None:
        return np.array(shape, object)[node.attributes.get("start", 0) : node.attributes.get("end")]
    whole = before.get(node.inputs[0]) if node.op_type == "Gather" and not node.domain else None
    places = graph.constants.get(node.inputs[1]) if whole is not None else None
    return np.asarray(whole[places.numpy()], object) if whole is not None and places is not None else None


def _folds(graph: Graph, node: Node, known: set[str]) -> bool:
    read = node.inputs[:1] if node.op_type == "CastLike" and _elem_type(graph, node.inputs[1]) else node.inputs  # the other only tells the type
    if node.domain or node.op_type in RANDOM or not node.inputs or any(i and i not in known for i in read):
        return False
    if node.op_type == "DequantizeLinear":  # ONNX Runtime quantises a float weight between two scales anew, all of it by one scale
        return False
    if subgraphs(node.proto):
        return False
    sizes = []
    for o in node.outputs:
        t = graph.types.get(o)
        if t is None or t.dtype is None:
            return False
        sizes.append(prod(d if isinstance(d, int) else 1 for d in t.shape or ()) * t.dtype.itemsize)
    own = sum(graph.constants[i].nbytes for i in node.inputs if i in graph.constants)
    return max(sizes) <= max(LARGEST, own)


def _sweep_unused(model: ir.Model) -> None:
    for node in reversed(list(model.graph)):
        if not any(o.uses() or o.is_graph_output() for o in node.outputs):
            model.graph.remove(node, safe=True)
