"""Batch normalisation: recognised where it is spelled out, and merged into a linear layer beside it."""

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
    per_channel,
    rewrite,
    sole_user,
    take_over,
    where_moved,
)

LINEAR = ("Conv", "ConvTranspose", "Gemm")
NORMALISED = [f"{how}Normalization" for how in ("Batch", "Instance", "Layer", "Group", "RMS", "Lp", "MeanVariance")]
"""Their scale and shift are theirs."""


@rewrite
def batch_norm(model: ir.Model, keep: Collection[str], log: list[str]) -> None:
    """A scale and a shift of each channel, as exporters spell it out, is a BatchNormalization; right behind a linear layer, before its output moves."""
    for node in list(model.graph):
        found = _scaled(node, keep) if node.graph is not None else None
        if found is None:
            continue
        source, value, axis, first = found
        chain, k, c = _affine_chain(first, value, axis, keep)
        if not chain or (is_op(chain[0], "BatchNormalization") and value is source):
            continue
        name, dtype = chain[-1].outputs[0].name, source.dtype.numpy()
        parameters = {"scale": k, "shift": c, "mean": np.zeros_like(k), "var": np.ones_like(k)}
        values = [new_constant(model, f"{name}/{p}", v.astype(dtype)) for p, v in parameters.items()]
        new = ir.node("BatchNormalization", [source, *values], {"epsilon": 0.0}, name=chain[0].name, num_outputs=1)
        log.append(f"batch_norm: {', '.join(n.name or str(n.outputs[0].name) for n in chain)}: one BatchNormalization")
        if value is source:
            take_over(model, new, chain[-1], chain[-2::-1])
            continue
        describe(new, source, f"{name}/normalised")
        model.graph.insert_after(node, new)
        for user, at in [(u, at) for u, at in source.uses() if u is not new]:
            user.replace_input_with(at, new.outputs[0])
        for n in chain:
            bypass(model, n, value)


def _scaled(node: ir.Node, keep: Collection[str]) -> tuple[ir.Value, ir.Value, int, ir.Node | None] | None:
    """What may be scaled: a value, what it is behind nodes that move its axes, where its channels are there, and the first node that may do it."""
    layer = is_op(node, *LINEAR)
    source = node.outputs[0] if layer else next((v for v in node.inputs if v is not None and constant(v) is None), None) if is_op(node, "Mul") else None
    if source is None or not floating(source) or source.shape is None or len(source.shape) < 2 or not isinstance(source.shape[1], int):
        return None
    if layer:
        value, axis = where_moved(source, 1, keep)
        return source, value, axis, sole_user(value, keep)
    alone = is_op(source.producer(), *LINEAR, *NORMALISED) or source.shape[1] == 1
    return None if alone else (source, source, 1, node)


def _affine_chain(node: ir.Node | None, x: ir.Value, axis: int, keep: Collection[str]) -> tuple[list[ir.Node], np.ndarray, np.ndarray]:
    """The nodes from `node` on that together make k·x + c for each channel of x, k and c; no nodes if these do not both scale and shift."""
    chain: list[ir.Node] = []
    if node is not None and is_op(node, "BatchNormalization") and axis == 1 and node.inputs[0] is x and not attribute(node, "training_mode", 0):
        affine = None if names_parameter(node, keep) else _affine(node)
        return (chain, np.ones(0), np.zeros(0)) if affine is None else ([node], *affine)
    channels = int(x.shape[axis]) if x.shape is not None and isinstance(x.shape[axis], int) else 0
    k, c = np.ones(channels), np.zeros(channels)
    while node is not None and is_op(node, "Mul", "Div", "Add", "Sub") and node.inputs[0] is not node.inputs[1]:
        at = 0 if node.inputs[0] is x else 1
        operand = node.inputs[1 - at]
        numbers = per_channel(constant(operand), x, axis) if operand is not None and operand.name not in keep else None
        if numbers is None or numbers.size != channels or node.inputs[at] is not x or (node.op_type in ("Div", "Sub") and at == 1):
            break
        numbers = numbers.astype(np.float64)
        if node.op_type in ("Mul", "Div"):
            factor = numbers if node.op_type == "Mul" else 1 / numbers
            k, c = k * factor, c * factor
        else:
            c = c + (numbers if node.op_type == "Add" else -numbers)
        chain.append(node)
        x = node.outputs[0]
        node = sole_user(x, keep)
    return (chain if {n.op_type in ("Mul", "Div") for n in chain} == {True, False} else []), k, c


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
        if _is_layer(before) and not names_parameter(before, keep) and sole_user(before.outputs[0], keep) is node and _scale_outputs(model, before, *affine):
            log.append(f"fuse_batch_norm: {node.name or node.outputs[0].name} into {before.op_type} {before.name or before.outputs[0].name}")
            bypass(model, node, before.outputs[0])
        elif _is_layer(after) and not names_parameter(after, keep) and after.inputs[0] is node.outputs[0] and _scale_inputs(model, after, *affine):
            log.append(f"fuse_batch_norm: {node.name or node.outputs[0].name} into {after.op_type} {after.name or after.outputs[0].name} behind it")
            after.replace_input_with(0, node.inputs[0])
            model.graph.remove(node, safe=True)


def _is_layer(node: ir.Node | None) -> bool:
    """Whether a node is a linear layer that can hold a bias; a product of matrices can, as a Gemm."""
    if node is None or not is_op(node, "MatMul"):
        return is_op(node, *LINEAR)
    return all(v is not None and v.shape is not None and len(v.shape) == 2 for v in node.inputs)


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
    if node.op_type in ("Gemm", "MatMul"):
        rows = w if attribute(node, "transB", 0) else w.T
        shift = attribute(node, "alpha", 1.0) * (rows @ c)
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
    """What the layer adds to each channel; None if it is no constant, or not one number a channel."""
    if len(node.inputs) < 3 or node.inputs[2] is None:
        return np.zeros(channels)
    b = constant(node.inputs[2])
    fits = b is not None and (b.size == 1 or b.size == channels == b.shape[-1])
    return attribute(node, "beta", 1.0) * np.broadcast_to(b.reshape(-1), channels) if b is not None and fits else None


def _output_axis(node: ir.Node) -> int:
    """The axis of the weight that counts the layer's outputs."""
    if node.op_type in ("Gemm", "MatMul"):
        return 0 if attribute(node, "transB", 0) else 1
    return 1 if node.op_type == "ConvTranspose" else 0


def _set(model: ir.Model, node: ir.Node, w: np.ndarray, b: np.ndarray) -> None:
    """New parameters for one layer; others that share the old ones keep them."""
    old = node.inputs[1].name
    node.op_type = "Gemm" if node.op_type == "MatMul" else node.op_type
    value = new_constant(model, f"{old}/fused", w)
    value.const_value.meta["origin"] = node.inputs[1].const_value.meta.get("origin", old)  # what the model's file calls it
    node.replace_input_with(1, value)
    node.resize_inputs(3)
    node.replace_input_with(2, new_constant(model, f"{old}/fused_bias", b))
    node.attributes.pop("beta", None)  # it is in b


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
