"""Batch normalisation merged into a linear layer beside it."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx_ir as ir

from .registry import attribute, bypass, constant, describe, is_op, names_parameter, new_constant, per_channel, rewrite, sole_user, take_over

LINEAR = ("Conv", "ConvTranspose", "Gemm")


@rewrite
def batch_norm(model: ir.Model, keep: Collection[str], log: list[str]) -> None:
    """Times a constant plus a constant for each channel, right behind a linear layer, is a BatchNormalization."""
    for node in list(model.graph):
        if not is_op(node, "Mul"):
            continue
        add = sole_user(node.outputs[0], keep)
        x = next((v for v in node.inputs if v is not None and is_op(v.producer(), *LINEAR)), None)
        if x is None or not is_op(add, "Add") or x.shape is None:
            continue
        scale, shift = (_per_channel(n, {x, node.outputs[0]}, x, keep) for n in (node, add))
        if scale is None or shift is None or scale.size != shift.size:
            continue
        name = node.outputs[0].name
        parameters = {"scale": scale, "shift": shift, "mean": np.zeros_like(scale), "var": np.ones_like(scale)}
        values = [new_constant(model, f"{name}/{k}", v) for k, v in parameters.items()]
        new = ir.node("BatchNormalization", [x, *values], {"epsilon": 0.0}, name=node.name, num_outputs=1)
        log.append(f"batch_norm: {node.name or name} and its Add are a BatchNormalization")
        take_over(model, new, add, [node])


def _per_channel(node: ir.Node, variable: set[ir.Value | None], x: ir.Value, keep: Collection[str]) -> np.ndarray | None:
    """The constant operand as one number for each channel of x, if it is that and nobody named it."""
    array = next((a for v in node.inputs if v not in variable and v is not None and v.name not in keep and (a := constant(v)) is not None), None)
    numbers = per_channel(array, x)
    return numbers if numbers is not None and x.shape is not None and numbers.size == x.shape[1] else None


@rewrite
def fuse_batch_norm(model: ir.Model, keep: Collection[str], log: list[str]) -> None:
    """BatchNormalization merges into the linear layer that makes its input, else into an unpadded one that alone reads it."""
    for node in list(model.graph):
        if not is_op(node, "BatchNormalization") or attribute(node, "training_mode", 0) or names_parameter(node, keep):
            continue
        affine = _affine(node)
        if affine is None:
            continue
        before = node.inputs[0].producer() if node.inputs[0] is not None else None
        after = sole_user(node.outputs[0], keep)
        if (
            is_op(before, *LINEAR)
            and not names_parameter(before, keep)
            and sole_user(before.outputs[0], keep) is node
            and _scale_outputs(model, before, *affine)
        ):
            log.append(f"fuse_batch_norm: {node.name or node.outputs[0].name} into {before.op_type} {before.name or before.outputs[0].name}")
            bypass(model, node, before.outputs[0])
        elif is_op(after, *LINEAR) and not names_parameter(after, keep) and after.inputs[0] is node.outputs[0] and _scale_inputs(model, after, *affine):
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
    b = _bias(node, len(k))
    if w is None or b is None:
        return False
    axis, group = _output_axis(node), attribute(node, "group", 1)
    if node.op_type == "ConvTranspose" and group > 1:
        grouped = w.reshape(group, -1, *w.shape[1:]) * k.reshape(group, 1, w.shape[1], *[1] * (w.ndim - 2))
        scaled = grouped.reshape(w.shape)
    else:
        scaled = w * k.reshape([-1 if a == axis else 1 for a in range(w.ndim)])
    _set(model, node, scaled.astype(w.dtype), (b * k + c).astype(w.dtype))
    return True


def _scale_inputs(model: ir.Model, node: ir.Node, k: np.ndarray, c: np.ndarray) -> bool:
    """W(k·x + c) + b as one layer; not where padding adds zeros that c would not reach."""
    w = constant(node.inputs[1])
    padded = any(attribute(node, "pads", ())) or attribute(node, "auto_pad", "NOTSET") not in ("NOTSET", "VALID")
    if w is None or padded or node.op_type == "ConvTranspose" or attribute(node, "transA", 0):
        return False
    if node.op_type == "Gemm":
        if attribute(node, "alpha", 1.0) != 1.0:
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
    b = _bias(node, len(shift))
    if b is None:
        return False
    _set(model, node, scaled.astype(w.dtype), (b + shift).astype(w.dtype))
    return True


def _bias(node: ir.Node, channels: int) -> np.ndarray | None:
    """The layer's bias for each channel; None if it is no constant, or not one number a channel."""
    if attribute(node, "beta", 1.0) != 1.0:
        return None
    if len(node.inputs) < 3 or node.inputs[2] is None:
        return np.zeros(channels)
    b = constant(node.inputs[2])
    fits = b is not None and (b.size == 1 or b.size == channels == b.shape[-1])
    return np.broadcast_to(b.reshape(-1), channels) if b is not None and fits else None


def _output_axis(node: ir.Node) -> int:
    """The axis of the weight that counts the layer's outputs."""
    if node.op_type == "Gemm":
        return 0 if attribute(node, "transB", 0) else 1
    return 1 if node.op_type == "ConvTranspose" else 0


def _set(model: ir.Model, node: ir.Node, w: np.ndarray, b: np.ndarray) -> None:
    """New parameters for one layer; others that share the old ones keep them."""
    old = node.inputs[1].name
    value = new_constant(model, f"{old}/fused", w)
    value.const_value.meta["origin"] = node.inputs[1].const_value.meta.get("origin", old)  # what the model's file calls it
    node.replace_input_with(1, value)
    node.resize_inputs(3)
    node.replace_input_with(2, new_constant(model, f"{old}/fused_bias", b))


@rewrite
def split_batch_norm(model: ir.Model, keep: Collection[str], log: list[str]) -> None:
    """BatchNormalization as two linear layers, each one again: centre, then scale and shift (what `fuse="two"` asks for)."""
    for node in list(model.graph):
        if not is_op(node, "BatchNormalization") or attribute(node, "training_mode", 0) or node.inputs[0] is None:
            continue
        parameters = [constant(v) for v in node.inputs[1:5]]
        if any(p is None for p in parameters):
            continue
        scale, shift, mean, var = (np.asarray(p) for p in parameters)
        name, one, zero = node.outputs[0].name, np.ones_like(scale), np.zeros_like(scale)
        k = (scale / np.sqrt(var + attribute(node, "epsilon", 1e-5))).astype(scale.dtype)
        inner = {f"{name}/{n}": v for n, v in {"one": one, "centre": -mean, "zero": zero, "unit": one, "k": k, "shift": shift}.items()}
        v = {n.rpartition("/")[2]: new_constant(model, n, a) for n, a in inner.items()}
        centred = ir.node("BatchNormalization", [node.inputs[0], v["one"], v["centre"], v["zero"], v["unit"]], {"epsilon": 0.0}, num_outputs=1)
        describe(centred, node.outputs[0], f"{name}/centred")
        scaled = ir.node("BatchNormalization", [centred.outputs[0], v["k"], v["shift"], v["zero"], v["unit"]], {"epsilon": 0.0}, name=node.name, num_outputs=1)
        describe(scaled, node.outputs[0], f"{name}/scaled")
        model.graph.insert_before(node, [centred, scaled])
        log.append(f"split_batch_norm: {node.name or name} centres, then scales")
        bypass(model, node, scaled.outputs[0])
