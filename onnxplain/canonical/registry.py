"""The table of rewrites, and what they share."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

import numpy as np
import onnx_ir as ir
from onnx_ir import convenience

Rewrite = Callable[[ir.Model, Collection[str], list[str]], None]
REWRITES: dict[str, Rewrite] = {}
ORDER = (
    *("constants", "fold_constants", "sequences", "joined_batches", "symbolic_batch", "activations", "layer_norm", "group_norm"),
    *("guarded_softmax", "sink_transposes", "matmul_add", "bias_add", "batch_norm", "fuse_batch_norm", "split_batch_norm"),
)


def rewrite(function: Rewrite) -> Rewrite:
    """Enter a rewrite under its function's name."""
    assert function.__name__ in ORDER, function.__name__
    REWRITES[function.__name__] = function
    return function


def constant(value: ir.Value | None) -> np.ndarray | None:
    """A value's array, if it is an initializer."""
    return value.const_value.numpy() if value is not None and value.is_initializer() and value.const_value is not None else None


def new_constant(model: ir.Model, name: str, array: np.ndarray) -> ir.Value:
    """A new initializer with a free name made from `name`."""
    taken, free, k = model.graph.initializers, name, 1
    while free in taken:
        free, k = f"{name}_{k}", k + 1
    value = ir.Value(name=free, type=ir.TensorType(ir.DataType.from_numpy(array.dtype)), shape=ir.Shape(array.shape), const_value=ir.tensor(array, name=free))
    model.graph.register_initializer(value)
    return value


def replace_value(model: ir.Model, old: ir.Value, new: ir.Value) -> None:
    """Everything that reads `old`, the graph's outputs included, reads `new`."""
    convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)


def bypass(model: ir.Model, node: ir.Node, value: ir.Value) -> None:
    """Remove `node`: its only output is from now on `value`, which takes over its name."""
    old = node.outputs[0]
    name, shape = old.name, old.shape
    replace_value(model, old, value)
    model.graph.remove(node, safe=True)
    old.name, value.name = f"{name}/gone", name
    value.shape = shape if shape is not None else value.shape


def take_over(model: ir.Model, new: ir.Node, last: ir.Node, others: Iterable[ir.Node]) -> None:
    """Put one node in the place of several: it takes over the output of the last, and the others go where nobody reads them any more."""
    end = last.outputs[0]
    describe(new, end, f"{end.name}/whole")
    model.graph.insert_before(last, new)
    bypass(model, last, new.outputs[0])
    for node in others:
        if node.graph is not None and not any(o.uses() for o in node.outputs):
            model.graph.remove(node, safe=True)


def per_channel(array: np.ndarray | None, x: ir.Value, axis: int = 1) -> np.ndarray | None:
    """A constant beside x that differs from channel to channel alone: one number, or one for each channel."""
    rank = len(x.shape or ())
    if array is None or array.ndim > rank or rank < 2:
        return None
    spread = (1,) * (rank - array.ndim) + array.shape
    alone = all(d == 1 for a, d in enumerate(spread) if a != axis)
    return array.reshape(-1) if alone and array.size in (1, x.shape[axis]) else None


def trailing(array: np.ndarray | None, rank: int, extents: Sequence[int]) -> np.ndarray | None:
    """A constant beside a value of a rank, as one number for each element of its last axes, of these extents; None if it differs along others."""
    if array is None or array.ndim > rank:
        return None
    spread = (1,) * (rank - array.ndim) + array.shape
    if any(d not in (1, whole) for d, whole in zip(spread, [1] * (rank - len(extents)) + list(extents))):
        return None
    return np.ascontiguousarray(np.broadcast_to(array.reshape(spread[rank - len(extents) :]), extents))


def sole_user(value: ir.Value, keep: Collection[str]) -> ir.Node | None:
    """The only node that reads a value which nobody named."""
    users = list(value.uses())
    return users[0][0] if len(users) == 1 and value.name not in keep and not value.is_graph_output() else None


def where_moved(value: ir.Value, axis: int, keep: Collection[str]) -> tuple[ir.Value, int]:
    """What a value becomes through nodes that only move its axes, read by nobody else; and where an axis of it is there."""
    user = sole_user(value, keep)
    while user is not None and (moved := _through(user, axis)) is not None:
        value, axis = user.outputs[0], moved
        user = sole_user(value, keep)
    return value, axis


def _through(node: ir.Node, axis: int) -> int | None:
    """Where an axis goes through a node that only moves axes; None if the node does more."""
    shape = node.inputs[0].shape if node.inputs and node.inputs[0] is not None else None
    if shape is None:
        return None
    rank = len(shape)
    if is_op(node, "Transpose"):
        perm = attribute(node, "perm", list(range(rank))[::-1])
        return list(perm).index(axis)
    if is_op(node, "Squeeze", "Unsqueeze") and len(node.inputs) > 1 and (axes := constant(node.inputs[1])) is not None:
        if is_op(node, "Squeeze"):
            dropped = {int(a) % rank for a in axes}
            return None if axis in dropped else axis - sum(a < axis for a in dropped)
        whole = rank + axes.size
        new = {int(a) % whole for a in axes}
        return [a for a in range(whole) if a not in new][axis]
    return None


def names_parameter(node: ir.Node, keep: Collection[str]) -> bool:
    """Whether somebody named one of the node's parameters, which then stays as it is."""
    return any(v is not None and v.name in keep for v in node.inputs[1:])


def attribute(node: ir.Node, name: str, default):
    """An attribute's plain value."""
    return node.attributes[name].value if name in node.attributes else default


def describe(new: ir.Node, old: ir.Value, name: str) -> None:
    """Say what the output of a node is that stands for a value: of its type and shape, under another name."""
    (value,) = new.outputs
    value.type, value.shape, value.name = old.type, old.shape, name


def floating(value: ir.Value | None) -> bool:
    """Whether a value is known to be of a floating type."""
    return value is not None and value.dtype is not None and value.dtype.is_floating_point()


def is_op(node: ir.Node | None, *op_types: str) -> bool:
    """Whether the node is one of these standard operators."""
    return node is not None and node.domain in ("", "ai.onnx") and node.op_type in op_types
