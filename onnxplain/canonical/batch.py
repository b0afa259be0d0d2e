"""The batch of a model: one name for it where inputs have several, and freed of a fixed size where that provably changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection
from itertools import count

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from ..ops import OPS
from .registry import attribute, constant, is_op, new_constant, rewrite

SYMBOL = "batch"


class _Bound(Exception):  # noqa: N818  (not an error: the model keeps its batch size)
    """A node mixes samples, or nothing here says that it does not."""


@rewrite
def joined_batches(model: ir.Model, keep: Collection[str], log: list[str]) -> None:
    """First axes of inputs that have different names are one batch where they meet: exporters such as tf2onnx name each anew."""
    while (met := _meeting(model)) is not None:
        one, other = met
        names = {s: s for v in model.graph.inputs if v.shape is not None for d in v.shape if (s := _symbol(d))} | {other: one}
        for value in (*model.graph.inputs, *(o for n in model.graph.all_nodes() for o in n.outputs)):
            if value.shape is not None:  # names that no input has were made up where the two met
                value.shape = ir.Shape([d if isinstance(d, int) else names.get(_symbol(d) or "") for d in value.shape])
        ShapeInferencePass()(model)
        log.append(f"joined_batches: the batch {other} is the batch {one}")


def _meeting(model: ir.Model) -> tuple[str, str] | None:
    """The names of two inputs' first axes that lie on one axis of a node."""
    leads = list(dict.fromkeys(s for v in model.graph.inputs if v.shape is not None and len(v.shape) and (s := _symbol(v.shape[0]))))
    for node in model.graph if len(leads) > 1 else ():
        if is_op(node, *ELEMENTWISE, "MatMul", "Concat") and all(v is not None and v.shape is not None for v in node.inputs):
            rank = max(len(v.shape) for v in node.inputs)
            alone = {rank - 1, rank - 2} if is_op(node, "MatMul") else {attribute(node, "axis", 0) % rank} if is_op(node, "Concat") else set()
            for axis in set(range(rank)) - alone:
                found = {_symbol(v.shape[axis - rank]) for v in node.inputs if len(v.shape) >= rank - axis} & {*leads}
                if len(found) > 1:
                    one, other, *_ = sorted(found, key=leads.index)
                    return one, other
    return None


def _symbol(d: int | ir.SymbolicDim) -> str | None:
    return None if isinstance(d, int) else d.value


@rewrite
def symbolic_batch(model: ir.Model, keep: Collection[str], log: list[str]) -> None:
    """Axis 0 of the inputs becomes symbolic where every node treats the samples alike and apart.

    The batch axis is followed from the inputs through every node to the outputs; a node that reshapes, reduces, slices or
    gathers along it, or that is not known here, leaves the model as it is.
    """
    inputs = [v for v in model.graph.inputs if v.shape is None or len(v.shape)]
    sizes = {v.shape[0] if v.shape is not None else None for v in inputs}
    if len(sizes) != 1 or not isinstance(size := next(iter(sizes)), int):
        return
    axis: dict[ir.Value, int] = dict.fromkeys(inputs, 0)
    changes: list[Callable[[], None]] = []
    try:
        for node in model.graph:
            if any(a.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for a in node.attributes.values()):
                raise _Bound  # a body may read any value
            if any(v in axis for v in node.inputs if v is not None):
                where = _follow(node, axis, size, model, changes)
                for o in node.outputs:
                    if o.name and (o.shape is None or o.shape[where] != size):
                        raise _Bound
                    axis[o] = where
        if any(axis.get(o) != 0 for o in model.graph.outputs):
            raise _Bound
    except (_Bound, TypeError, IndexError, AttributeError, ValueError):
        return
    for change in changes:
        change()
    taken = {d.value for v in model.graph.inputs if v.shape is not None for d in v.shape if not isinstance(d, int)}
    symbol = next(s for k in count() if (s := f"{SYMBOL}_{k}" if k else SYMBOL) not in taken)
    for value, a in axis.items():
        if value.shape is not None:
            value.shape = ir.Shape([symbol if i == a else d for i, d in enumerate(value.shape)])
    log.append(f"symbolic_batch: the batch of {size} is symbolic")


ALIKE = {
    *("Conv", "ConvTranspose", "MaxPool", "AveragePool", "LpPool", "GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"),
    *("BatchNormalization", "InstanceNormalization", "GroupNormalization", "LRN", "DepthToSpace", "SpaceToDepth"),
}
"""Their axis 0 is the batch by definition."""
ELEMENTWISE = {
    *(name for name, o in OPS.items() if o.elementwise),
    *("Max", "Min", "Where", "Identity", "Cast", "Sign", "Floor", "Ceil", "Round", "QuantizeLinear", "DequantizeLinear"),
    *("Greater", "Less", "Equal", "GreaterOrEqual", "LessOrEqual", "And", "Or", "Not"),
}
ALONG = {"Softmax": -1, "LogSoftmax": -1, "Hardmax": -1, "Concat": None, "Split": 0, "ArgMax": 0, "TopK": -1, "LayerNormalization": -1, "LpNormalization": -1}
"""Operators that work along the axis of their attribute, with its default."""


def _follow(node: ir.Node, axis: dict[ir.Value, int], size: int, model: ir.Model, changes: list[Callable[[], None]]) -> int:
    """Where the batch axis of a node's inputs comes out."""
    if node.domain not in ("", "ai.onnx"):
        raise _Bound
    first = node.inputs[0]
    own = axis.get(first) if first is not None else None
    rank = len(first.shape) if first is not None and first.shape is not None else 0
    others = [v for v in node.inputs[1:] if v in axis]
    if is_op(node, *ELEMENTWISE):
        return _aligned(node, axis)
    if is_op(node, "MatMul"):
        return _matmul(node, axis)
    if is_op(node, "Concat"):
        if any(v not in axis or axis[v] != own for v in node.inputs) or attribute(node, "axis", 0) % rank == own:
            raise _Bound
        return own if own is not None else -1
    if own is None or others:
        raise _Bound
    if is_op(node, *ALIKE):
        counts_all = is_op(node, "MaxPool") and len(node.outputs) > 1 and node.outputs[1].uses()  # indices into the whole batch
        if own != 0 or attribute(node, "training_mode", 0) or counts_all or any(o.is_graph_output() for o in node.outputs[1:]):
            raise _Bound
        return 0
    if is_op(node, *ALONG):
        a = attribute(node, "axis", ALONG[node.op_type]) % rank
        dropped = is_op(node, "ArgMax") and not attribute(node, "keepdims", 1)
        if a == own or (is_op(node, "LayerNormalization") and (a <= own or _reaches_batch(node, own))):
            raise _Bound
        return own - (dropped and a < own)
    if is_op(node, "Gemm"):
        if attribute(node, "transA", 0) or own != 0 or _reaches_batch(node, 0, after=2):
            raise _Bound
        return 0
    if is_op(node, "Transpose"):
        return list(attribute(node, "perm", list(range(rank))[::-1])).index(own)
    if is_op(node, "Flatten"):
        if own != 0 or attribute(node, "axis", 1) != 1:
            raise _Bound
        return 0
    if is_op(node, "Reshape"):
        return _reshape(node, own, size, model, changes)
    if is_op(node, "Squeeze", "Unsqueeze"):
        axes = _known(node, 1)
        if is_op(node, "Squeeze"):
            dropped = {int(a) % rank for a in axes}
            if own in dropped:
                raise _Bound
            return own - sum(a < own for a in dropped)
        new = {int(a) % (rank + len(axes)) for a in axes}
        return [a for a in range(rank + len(axes)) if a not in new][own]
    if node.op_type.startswith("Reduce"):
        axes = {int(a) % rank for a in _known(node, 1)}
        if own in axes or not axes:
            raise _Bound
        return own if attribute(node, "keepdims", 1) else own - sum(a < own for a in axes)
    if is_op(node, "Slice"):
        axes = {int(a) % rank for a in (_known(node, 3) if len(node.inputs) > 3 and node.inputs[3] is not None else range(len(_known(node, 1))))}
        if own in axes:
            raise _Bound
        return own
    if is_op(node, "Gather"):
        a, index = attribute(node, "axis", 0) % rank, _known(node, 1)
        if a == own:
            raise _Bound
        return own if own < a else own - 1 + index.ndim
    if is_op(node, "Pad"):
        pads = _known(node, 1)
        if len(pads) != 2 * rank or pads[own] or pads[own + rank] or (len(node.inputs) > 3 and node.inputs[3] is not None):
            raise _Bound
        return own
    if is_op(node, "Tile", "Expand"):
        repeats = _known(node, 1)
        if len(repeats) != rank or repeats[own] != 1:
            raise _Bound
        return own
    if is_op(node, "Resize"):
        return _resize(node, own, rank, size, model, changes)
    raise _Bound


def _known(node: ir.Node, k: int) -> np.ndarray:
    array = constant(node.inputs[k]) if len(node.inputs) > k else None
    if array is None:
        raise _Bound
    return array


def _aligned(node: ir.Node, axis: dict[ir.Value, int]) -> int:
    """Broadcasting aligns shapes at the end: the batch must meet itself, or an extent of one."""
    rank = max(len(v.shape) for v in node.inputs if v is not None)
    places = {axis[v] + rank - len(v.shape) for v in node.inputs if v in axis}
    if len(places) != 1:
        raise _Bound
    place = places.pop()
    if is_op(node, "QuantizeLinear", "DequantizeLinear"):
        if any(len(v.shape) > 1 or (len(v.shape) == 1 and attribute(node, "axis", 1) % rank == place) for v in node.inputs[1:] if v is not None):
            raise _Bound
        return place
    for v in node.inputs:
        if v is not None and v not in axis:
            a = place - rank + len(v.shape)
            if a >= 0 and v.shape[a] != 1:
                raise _Bound
    return place


def _reaches_batch(node: ir.Node, own: int, after: int = 1) -> bool:
    """Whether a parameter broadcasts as far as the batch, with more than one element there."""
    rank = len(node.outputs[0].shape)
    return any(len(v.shape) >= rank - own and v.shape[own - rank] != 1 for v in node.inputs[after:] if v is not None)


def _matmul(node: ir.Node, axis: dict[ir.Value, int]) -> int:
    a, b = node.inputs
    rank = max(len(a.shape), len(b.shape))
    if a in axis and b in axis:
        place = _aligned(node, axis)
        if place >= rank - 2:
            raise _Bound
        return place
    moving, fixed = (a, b) if a in axis else (b, a)
    own = axis[moving]
    contracted = len(moving.shape) - 1 if moving is a else max(0, len(moving.shape) - 2)
    if own == contracted or len(moving.shape) < 2 or (len(fixed.shape) != 2 and own < len(moving.shape) - 2) or (len(fixed.shape) < 2 and moving is b):
        raise _Bound
    return own + rank - len(moving.shape)


def _reshape(node: ir.Node, own: int, size: int, model: ir.Model, changes: list[Callable[[], None]]) -> int:
    """A target shape that begins with the batch size says 0, "as it was", instead."""
    shape, before, after = _known(node, 1), node.inputs[0].shape, node.outputs[0].shape
    static = lambda dims: all(isinstance(d, int) for d in dims)
    if own != 0 or after is None or not static(before) or not static(after) or after[0] != size or attribute(node, "allowzero", 0):
        raise _Bound
    if shape[0] == 0 or shape[0] == -1:
        return 0
    freed = np.concatenate([[0], shape[1:]]).astype(np.int64)
    changes.append(lambda: node.replace_input_with(1, new_constant(model, f"{node.inputs[1].name}/batch", freed)))
    return 0


def _resize(node: ir.Node, own: int, rank: int, size: int, model: ir.Model, changes: list[Callable[[], None]]) -> int:
    given = lambda k: len(node.inputs) > k and node.inputs[k] is not None and tuple(node.inputs[k].shape) != (0,)
    if given(1) or "axes" in node.attributes or attribute(node, "keep_aspect_ratio_policy", "stretch") != "stretch":
        raise _Bound
    if given(2):
        if _known(node, 2)[own] != 1:
            raise _Bound
        return own
    sizes = _known(node, 3)
    if sizes[own] != size:
        raise _Bound
    rest = [a for a in range(rank) if a != own]

    def free() -> None:
        node.replace_input_with(3, new_constant(model, f"{node.inputs[3].name}/batch", sizes[rest]))
        node.attributes["axes"] = ir.AttrInt64s("axes", rest)

    changes.append(free)
    return own
