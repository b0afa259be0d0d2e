"""Linear layers that exporters take apart, put together again."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx_ir as ir

from .registry import (
    attribute,
    bypass,
    constant,
    describe,
    floating,
    is_op,
    names_parameter,
    new_constant,
    replace_value,
    rewrite,
    sole_user,
    trailing,
    where_moved,
)


@rewrite
def matmul_add(model: ir.Model, keep: Collection[str], log: list[str]) -> None:
    """MatMul, or Gemm without a bias, with a constant matrix plus a constant vector is one Gemm, even where a Reshape splits rows or columns between."""
    for node in list(model.graph):
        if not (is_op(node, "MatMul") or _unbiased(node)) or _rank(node.inputs[0]) != 2 or _rank(node.inputs[1]) != 2 or not _is_weight(node.inputs[1]):
            continue
        value = node.outputs[0]
        add = sole_user(value, keep)
        while is_op(add, "Reshape", "Squeeze", "Unsqueeze") and add.inputs[0] is value:
            value = add.outputs[0]
            add = sole_user(value, keep)
        if not is_op(add, "Add") or not floating(node.inputs[1]):
            continue
        addend = add.inputs[1] if add.inputs[0] is value else add.inputs[0]
        transposed = attribute(node, "transB", 0) if node.op_type == "Gemm" else 0
        bias = _columns(model, addend, value, int(node.inputs[1].shape[0 if transposed else 1]), keep)
        if bias is None:
            continue
        attributes = {k: a.value for k, a in node.attributes.items() if k != "beta"}
        gemm = ir.node("Gemm", [node.inputs[0], node.inputs[1], bias], attributes, name=node.name, num_outputs=1)
        describe(gemm, node.outputs[0], f"{node.outputs[0].name}/gemm")
        model.graph.insert_before(node, gemm)
        log.append(f"matmul_add: {node.name or node.outputs[0].name} and its Add are one Gemm")
        last = gemm.outputs[0] if value is node.outputs[0] else value
        replace_value(model, node.outputs[0], gemm.outputs[0])
        bypass(model, add, last)
        model.graph.remove(node, safe=True)


def _columns(model: ir.Model, addend: ir.Value, value: ir.Value, width: int, keep: Collection[str]) -> ir.Value | None:
    """What is added to a value whose last axes are the columns of a matrix, as a Gemm takes it; None if it differs from row to row."""
    array, shape = constant(addend), list(value.shape or ())
    last = next((shape[k:] for k in range(len(shape) - 1, -1, -1) if all(isinstance(d, int) for d in shape[k:]) and np.prod(shape[k:]) == width), None)
    numbers = trailing(array, len(shape), last) if last is not None else None
    if array is None or array.ndim == 0 or last is None or numbers is None:
        return None
    if array.ndim <= 2 and len(last) == 1:
        return addend
    return None if addend.name in keep else new_constant(model, f"{addend.name}/columns", numbers.reshape(-1))


@rewrite
def bias_add(model: ir.Model, keep: Collection[str], log: list[str]) -> None:
    """A constant added to each channel of a convolution, even behind Transpose, Squeeze or Unsqueeze, is its bias."""
    for node in list(model.graph):
        if not is_op(node, "Conv", "ConvTranspose") or not _is_weight(node.inputs[1]) or _rank(node.inputs[1]) is None:
            continue
        channels = int(node.inputs[1].shape[0 if node.op_type == "Conv" else 1]) * (1 if node.op_type == "Conv" else attribute(node, "group", 1))
        given = node.inputs[2] if len(node.inputs) > 2 else None
        if (given is not None and constant(given) is None) or names_parameter(node, keep):
            continue
        value, axis = where_moved(node.outputs[0], 1, keep)
        user = sole_user(value, keep)
        if not is_op(user, "Add") or user.inputs[0] is user.inputs[1]:
            continue
        addend = user.inputs[1] if user.inputs[0] is value else user.inputs[0]
        bias = constant(addend) if addend.name not in keep else None
        rank = _rank(value)
        if bias is None or rank is None or bias.ndim > rank or bias.size not in (1, channels):
            continue
        spread = (1,) * (rank - bias.ndim) + bias.shape
        if any(d != 1 for a, d in enumerate(spread) if a != axis):
            continue
        old = constant(given) if given is not None else np.zeros(channels, bias.dtype)
        node.resize_inputs(3)
        node.replace_input_with(2, new_constant(model, f"{node.inputs[1].name}/bias", (old + bias.reshape(-1)).astype(bias.dtype)))
        log.append(f"bias_add: {user.name or user.outputs[0].name} is the bias of {node.op_type} {node.name or node.outputs[0].name}")
        bypass(model, user, value)


def _unbiased(node: ir.Node) -> bool:
    """Whether a node is a Gemm that adds nothing: JAX's exporter writes the bias as an Add behind it."""
    if not is_op(node, "Gemm"):
        return False
    given = node.inputs[2] if len(node.inputs) > 2 else None
    return given is None or attribute(node, "beta", 1.0) == 0 or ((bias := constant(given)) is not None and not bias.any())


def _rank(value: ir.Value | None) -> int | None:
    return None if value is None or value.shape is None else len(value.shape)


def _is_weight(value: ir.Value | None) -> bool:
    return value is not None and value.is_initializer()
