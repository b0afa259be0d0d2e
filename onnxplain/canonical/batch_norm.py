"""Batch normalisation merged into a linear layer beside it."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx_ir as ir

from .registry import attribute, bypass, constant, is_op, new_constant, rewrite, sole_user

LINEAR = ("Conv", "ConvTranspose", "Gemm")


@rewrite
def fuse_batch_norm(model: ir.Model, keep: Collection[str], log: list[str]) -> None:
    """BatchNormalization merges into the linear layer that makes its input, else into an unpadded one that alone reads it."""
    for node in list(model.graph):
        if not is_op(node, "BatchNormalization") or attribute(node, "training_mode", 0):
            continue
        affine = _affine(node)
        if affine is None:
            continue
        before = node.inputs[0].producer() if node.inputs[0] is not None else None
        after = sole_user(node.outputs[0], keep)
        if is_op(before, *LINEAR) and sole_user(before.outputs[0], keep) is node and _scale_outputs(model, before, *affine):
            log.append(f"fuse_batch_norm: {node.name or node.outputs[0].name} into {before.op_type} {before.name or before.outputs[0].name}")
            bypass(model, node, before.outputs[0])
        elif is_op(after, *LINEAR) and after.inputs[0] is node.outputs[0] and _scale_inputs(model, after, *affine):
            log.append(f"fuse_batch_norm: {node.name or node.outputs[0].name} into {after.op_type} {after.name or after.outputs[0].name} behind it")
            after.replace_input_with(0, node.inputs[0])
            model.graph.remove(node, safe=True)


def _affine(node: ir.Node) -> tuple[np.ndarray, np.ndarray] | None:
    """Inference is k·x + c for each channel."""
    parameters = [constant(v) for v in node.inputs[1:5]]
    if any(p is None for p in parameters):
        return None
    scale, bias, mean, var = (np.asarray(p, np.float64) for p in parameters)
    k = scale / np.sqrt(var + attribute(node, "epsilon", 1e-5))
    return k, bias - mean * k


def _scale_outputs(model: ir.Model, node: ir.Node, k: np.ndarray, c: np.ndarray) -> bool:
    """k·(Wx + b) + c as one layer."""
    w = constant(node.inputs[1])
    has_bias = len(node.inputs) > 2 and node.inputs[2] is not None
    b = constant(node.inputs[2]) if has_bias else np.zeros(())
    if w is None or b is None or attribute(node, "beta", 1.0) != 1.0 and has_bias:
        return False
    axis, group = _output_axis(node), attribute(node, "group", 1)
    if node.op_type == "ConvTranspose" and group > 1:
        grouped = w.reshape(group, -1, *w.shape[1:]) * k.reshape(group, 1, w.shape[1], *[1] * (w.ndim - 2))
        scaled = grouped.reshape(w.shape)
    else:
        scaled = w * k.reshape([-1 if a == axis else 1 for a in range(w.ndim)])
    _set(model, node, scaled.astype(w.dtype), (np.broadcast_to(b, k.shape) * k + c).astype(w.dtype))
    return True


def _scale_inputs(model: ir.Model, node: ir.Node, k: np.ndarray, c: np.ndarray) -> bool:
    """W(k·x + c) + b as one layer; not where padding adds zeros that c would not reach."""
    w = constant(node.inputs[1])
    has_bias = len(node.inputs) > 2 and node.inputs[2] is not None
    b = constant(node.inputs[2]) if has_bias else np.zeros(())
    padded = any(attribute(node, "pads", ())) or attribute(node, "auto_pad", "NOTSET") not in ("NOTSET", "VALID")
    if w is None or b is None or padded or node.op_type == "ConvTranspose" or attribute(node, "transA", 0):
        return False
    if node.op_type == "Gemm":
        if attribute(node, "alpha", 1.0) != 1.0 or attribute(node, "beta", 1.0) != 1.0 and has_bias:
            return False
        rows = w if attribute(node, "transB", 0) else w.T
        shift = rows @ c
        scaled = rows * k if attribute(node, "transB", 0) else (rows * k).T
    else:
        group = attribute(node, "group", 1)
        per_group = k.reshape(group, 1, w.shape[1]), c.reshape(group, 1, w.shape[1])
        grouped = w.reshape(group, w.shape[0] // group, w.shape[1], -1)
        scaled = (grouped * per_group[0][..., None]).reshape(w.shape)
        shift = (grouped * per_group[1][..., None]).sum((2, 3)).reshape(-1)
    _set(model, node, scaled.astype(w.dtype), (b + shift).astype(w.dtype))
    return True


def _output_axis(node: ir.Node) -> int:
    """The axis of the weight that counts the layer's outputs."""
    if node.op_type == "Gemm":
        return 0 if attribute(node, "transB", 0) else 1
    return 1 if node.op_type == "ConvTranspose" else 0


def _set(model: ir.Model, node: ir.Node, w: np.ndarray, b: np.ndarray) -> None:
    """New parameters for one layer; others that share the old ones keep them."""
    old = node.inputs[1].name
    node.replace_input_with(1, new_constant(model, f"{old}/fused", w))
    node.resize_inputs(3)
    node.replace_input_with(2, new_constant(model, f"{old}/fused_bias", b))
