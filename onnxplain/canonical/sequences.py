"""Sequences of tensors, as exporters write lists: taken apart where their length is known, so that rules see tensors only.

An optional tensor is a sequence of one.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import onnx_ir as ir

from .registry import attribute, constant, is_op, new_constant, rewrite


@rewrite
def sequences(model: ir.Model, keep: Collection[str], log: list[str]) -> None:
    """What reads an element of a sequence reads the tensor; SplitToSequence is Split, ConcatFromSequence is Concat."""
    parts: dict[ir.Value | None, list[ir.Value]] = {}
    for node in list(model.graph):
        source = node.inputs[0] if node.inputs else None
        if is_op(node, "SequenceEmpty"):
            parts[node.outputs[0]] = []
        elif is_op(node, "SequenceConstruct"):
            parts[node.outputs[0]] = [v for v in node.inputs if v is not None]
        elif is_op(node, "SplitToSequence") and (sizes := _sizes(node)) is not None:
            parts[node.outputs[0]] = _split(model, node, sizes)
        elif is_op(node, "Optional") and source is not None and isinstance(source.type, ir.TensorType):
            parts[node.outputs[0]] = [source]
        elif is_op(node, "OptionalGetElement") and source is not None and isinstance(source.type, ir.TensorType):
            _turn(node, "Identity", source)
        elif is_op(node, "Identity") and source in parts:
            parts[node.outputs[0]] = parts[source]
        elif source in parts and (changed := _changed(node, parts[source])) is not None:
            parts[node.outputs[0]] = changed
        elif source in parts and _read(model, node, parts[source]):
            log.append(f"sequences: {node.outputs[0].name} reads tensors")


def _changed(node: ir.Node, tensors: list[ir.Value]) -> list[ir.Value] | None:
    """The sequence with an element more or less; None where the place is known only at run time."""
    if is_op(node, "SequenceInsert") and (new := node.inputs[1]) is not None and (at := _position(node, 2, len(tensors))) is not None:
        return [*tensors[:at], new, *tensors[at:]]
    if is_op(node, "SequenceErase") and (at := _position(node, 1, -1)) is not None:
        return [t for k, t in enumerate(tensors) if k != at % len(tensors)]
    return None


def _read(model: ir.Model, node: ir.Node, tensors: list[ir.Value]) -> bool:
    """Let a node that makes a tensor from the sequence make it from the tensors."""
    if is_op(node, "OptionalGetElement"):
        _turn(node, "Identity", tensors[0])
    elif is_op(node, "SequenceAt") and (at := _position(node, 1, None)) is not None:
        _turn(node, "Identity", tensors[at])
    elif is_op(node, "SequenceLength"):
        _turn(node, "Identity", new_constant(model, f"{node.outputs[0].name}/length", np.array(len(tensors), np.int64)))
    elif is_op(node, "ConcatFromSequence") and tensors:
        axis, stack = attribute(node, "axis", 0), attribute(node, "new_axis", 0)
        if stack:
            axes = new_constant(model, f"{node.outputs[0].name}/axis", np.array([axis], np.int64))
            tensors = [_before(node, "Unsqueeze", [t, axes], f"{node.outputs[0].name}/{k}") for k, t in enumerate(tensors)]
        _turn(node, "Concat", *tensors, axis=axis)
    else:
        return False
    return True


def _position(node: ir.Node, k: int, default: Any) -> int | None:
    """The constant at input k; the default where there is no such input, None where the run makes it."""
    if len(node.inputs) <= k or node.inputs[k] is None:
        return default
    given = constant(node.inputs[k])
    return None if given is None else int(given.item())


def _sizes(node: ir.Node) -> list[int] | None:
    """The extents of SplitToSequence's pieces, where they are known."""
    x, axis = node.inputs[0], attribute(node, "axis", 0)
    given = constant(node.inputs[1]) if len(node.inputs) > 1 and node.inputs[1] is not None else np.array(1)
    if given is None or x is None or x.shape is None:
        return None
    if given.ndim:
        return given.tolist()
    extent, size = x.shape[axis], int(given)
    return [min(size, extent - k) for k in range(0, extent, size)] if isinstance(extent, int) else None


def _split(model: ir.Model, node: ir.Node, sizes: list[int]) -> list[ir.Value]:
    name, axis = node.outputs[0].name, attribute(node, "axis", 0)
    pieces = [ir.Value(name=f"{name}/piece_{k}") for k in range(len(sizes))]
    given = new_constant(model, f"{name}/sizes", np.array(sizes, np.int64))
    split = ir.Node("", "Split", [node.inputs[0], given], [ir.AttrInt64("axis", axis)], outputs=pieces)
    model.graph.insert_before(node, split)
    if (len(node.inputs) > 1 and node.inputs[1] is not None) or attribute(node, "keepdims", 1):
        return pieces
    axes = new_constant(model, f"{name}/axis", np.array([axis], np.int64))
    return [_before(node, "Squeeze", [p, axes], f"{p.name}/squeezed") for p in pieces]


def _before(node: ir.Node, op_type: str, inputs: list[ir.Value | None], name: str) -> ir.Value:
    """A new node's output, written in front of `node`."""
    made = ir.Node("", op_type, inputs, outputs=[ir.Value(name=name)])
    assert node.graph is not None
    node.graph.insert_before(node, made)
    return made.outputs[0]


def _turn(node: ir.Node, op_type: str, *inputs: ir.Value, **attributes: int) -> None:
    """Make another node of it, whose output keeps its name."""
    node.op_type = op_type
    node.resize_inputs(len(inputs))
    for k, v in enumerate(inputs):
        node.replace_input_with(k, v)
    node.attributes.clear()
    node.attributes.update({k: ir.AttrInt64(k, v) for k, v in attributes.items()})
