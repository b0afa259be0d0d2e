"""The Transposes that exporters of channels-last models put around convolutions, moved out of the way."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx_ir as ir

from ..ops import OPS
from .registry import attribute, bypass, constant, is_op, names_parameter, new_constant, replace_value, rewrite

ELEMENTWISE = {name for name, o in OPS.items() if o.elementwise} | {"Max", "Min", "Identity", "Cast"}
REDUCTIONS = {f"Reduce{how}" for how in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")}


@rewrite
def sink_transposes(model: ir.Model, keep: Collection[str], log: list[str]) -> None:
    """Transposes sink through elementwise nodes until they meet their inverse, or a reduction that may ask for other axes, and vanish."""
    cancelled, found = 0, True
    while found:
        found = False
        for node in list(model.graph):
            if node.graph is None or not is_op(node, "Transpose") or node.outputs[0].name in keep or not _perm(node):
                continue
            _reduce(model, node, keep, log)
            cancelled += _cancel(model, node, keep)
            if node.graph is not None and _sinks(model, node, keep):
                found = True
    if cancelled:
        log.append(f"sink_transposes: {cancelled} pairs of Transposes cancelled")


def _perm(node: ir.Node) -> list[int]:
    value = node.inputs[0]
    rank = len(value.shape) if value is not None and value.shape is not None else 0
    return list(attribute(node, "perm", list(range(rank))[::-1]))


def _reduce(model: ir.Model, node: ir.Node, keep: Collection[str], log: list[str]) -> None:
    """A reduction that leaves the other axes in their order reads what this Transpose reads."""
    perm = _perm(node)
    for user in [u for u, k in node.outputs[0].uses() if k == 0 and _drops_axes(u)]:
        axes = constant(user.inputs[1]) if len(user.inputs) > 1 and not names_parameter(user, keep) else None
        if axes is None or not axes.size:
            continue
        reduced = [perm[a] for a in axes.reshape(-1)]
        rest = [a for a in perm if a not in reduced]
        if rest == sorted(rest):
            user.replace_input_with(0, node.inputs[0])
            user.replace_input_with(1, new_constant(model, f"{user.outputs[0].name}/axes", np.array(reduced, np.int64)))
            log.append(f"sink_transposes: {user.name or user.outputs[0].name} reduces the axes of {node.inputs[0].name}")


def _drops_axes(node: ir.Node) -> bool:
    return is_op(node, *REDUCTIONS) and not attribute(node, "keepdims", 1)


def _cancel(model: ir.Model, node: ir.Node, keep: Collection[str]) -> int:
    """A Transpose behind this one that undoes it reads what this one reads."""
    count, perm = 0, _perm(node)
    for user in [u for u, _ in node.outputs[0].uses()]:
        if is_op(user, "Transpose") and [perm[i] for i in _perm(user)] == list(range(len(perm))) and user.outputs[0].name not in keep:
            replace_value(model, user.outputs[0], node.inputs[0])
            model.graph.remove(user, safe=True)
            count += 1
    if not node.outputs[0].uses() and not node.outputs[0].is_graph_output():
        model.graph.remove(node, safe=True)
    return count


def _sinks(model: ir.Model, node: ir.Node, keep: Collection[str]) -> bool:
    """Move a Transpose behind the one elementwise node that reads it."""
    perm, output = _perm(node), node.outputs[0]
    users = list(output.uses())
    if len(users) != 1 or output.is_graph_output() or not perm:
        return False
    user = users[0][0]
    if not is_op(user, *ELEMENTWISE) or len(user.outputs) != 1 or not _leads_out(user):
        return False
    inputs = []
    for value in user.inputs:
        moved = _unmoved(model, value, perm, user, keep)
        if moved is False:
            return False
        inputs.append(moved)
    # Same name and value behind the new Transpose; the node itself now works on the other layout.
    inverse = [perm.index(i) for i in range(len(perm))]
    old = user.outputs[0]
    shape = None if old.shape is None else ir.Shape([old.shape[i] for i in inverse])
    attributes = {a.name: a.value for a in user.attributes.values()}
    inner = ir.node(user.op_type, [v() if callable(v) else v for v in inputs], attributes, name=user.name, num_outputs=1)
    inner.outputs[0].type, inner.outputs[0].shape, inner.outputs[0].name = old.type, shape, f"{old.name}/moved"
    back = ir.node("Transpose", [inner.outputs[0]], {"perm": perm}, num_outputs=1)
    back.outputs[0].type, back.outputs[0].shape = old.type, old.shape
    model.graph.insert_before(user, [inner, back])
    old_inputs = list(user.inputs)
    bypass(model, user, back.outputs[0])
    for value in {output, *(v for v in old_inputs if v is not None)}:
        producer = value.producer()
        if producer is not None and producer.graph is not None and is_op(producer, "Transpose") and not value.uses() and not value.is_graph_output():
            model.graph.remove(producer, safe=True)
    return True


def _leads_out(node: ir.Node) -> bool:
    """Whether sinking is worth it: some Transpose or reduction lies below, beyond elementwise nodes only."""
    todo, seen = [node], set()
    while todo:
        n = todo.pop()
        for user, _ in n.outputs[0].uses():
            if is_op(user, "Transpose") or _drops_axes(user):
                return True
            if is_op(user, *ELEMENTWISE) and user not in seen:
                seen.add(user)
                todo.append(user)
    return False


def _unmoved(model: ir.Model, value: ir.Value | None, perm: list[int], user: ir.Node, keep: Collection[str]):
    """An operand in the layout before the Transpose: a function or value that gives it, or False."""
    if value is None:
        return None
    producer = value.producer()
    if is_op(producer, "Transpose") and _perm(producer) == perm and value.name not in keep:
        return producer.inputs[0]
    array = constant(value)
    if array is None or value.name in keep:
        return False
    if array.ndim == 0 or (array.size == 1 and array.ndim <= 1) or user.op_type == "Clip":
        return value
    if array.ndim > len(perm):
        return False
    inverse = [perm.index(i) for i in range(len(perm))]
    return lambda: new_constant(model, f"{value.name}/moved", np.transpose(array.reshape((1,) * (len(perm) - array.ndim) + array.shape), inverse))
