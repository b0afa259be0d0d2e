"""Attributes that ONNX leaves to defaults, spelled out, so that rules need no defaults."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass
from onnx_ir.tape import Tape

from ..errors import UnsupportedModelError

PADDED = ("Conv", "MaxPool")
"""What padding in front leaves as it is; an average would count the padding."""
POOLS = ("MaxPool", "AveragePool", "LpPool")
WINDOWED = ("Conv", "ConvTranspose", "MaxPool", "AveragePool", "LpPool", "MaxUnpool", "ConvInteger", "QLinearConv")


def spell_out(model: ir.Model) -> None:
    """kernel_shape (where it is known), strides, dilations, pads (auto_pad resolved), group and output_padding of everything with a window."""
    for node in list(model.graph.all_nodes()):
        if node.domain == "" and node.op_type in WINDOWED:
            for name, value in _window(node).items():
                kind = ir.AttributeType.INTS if isinstance(value, list) else ir.AttributeType.INT
                node.attributes[name] = ir.Attr(name, kind, value)
            node.attributes.pop("auto_pad", None)
            node.attributes.pop("output_shape", None)
            if node.op_type == "AveragePool" and set(node.attributes["dilations"].value) == {1}:
                node.attributes.pop("dilations")  # the quantised kernel that ONNX Runtime makes of it between two scales knows none
        elif node.op_type == "Pad" and node.domain == "":
            _spell_out_axes(node)


def _spell_out_axes(pad: ir.Node) -> None:
    """Give a Pad its axes as an input: ONNX Runtime then leaves it alone.

    Without, it merges zeros that are padded before a pooling into the pooling's own pads, where they no longer count as
    zeros (seen in 1.31: wrong maxima, or a refusal to load where they are as wide as the window).
    """
    rank = len(pad.inputs[0].shape) if pad.inputs[0] is not None and pad.inputs[0].shape is not None else None
    fuses_well = all(user.op_type == "Conv" for user, _ in pad.outputs[0].uses())
    if rank is None or fuses_well or (len(pad.inputs) > 3 and pad.inputs[3] is not None) or pad.graph is None:
        return
    axes = ir.Value(name=f"{pad.outputs[0].name}/axes", const_value=ir.tensor(np.arange(rank)), type=ir.TensorType(ir.DataType.INT64), shape=ir.Shape([rank]))
    pad.graph.register_initializer(axes)
    pad.resize_inputs(4)
    pad.replace_input_with(3, axes)


def count_windows(model: ir.Model) -> None:
    """The number of windows under ceil_mode, and pads at the end in its place, wherever these do not count.

    A last window that would begin in the padding is dropped, but inference before opset 22 counts it: all shapes behind are inferred anew.
    """
    for node in list(model.graph):
        if node.domain == "" and node.op_type in POOLS and node.attributes.get_int("ceil_mode", 0) and _recount(node):
            behind = set(node.outputs)
            for later in model.graph:
                if not behind.isdisjoint(later.inputs):
                    behind.update(later.outputs)
                    for output in later.outputs:
                        if not output.is_graph_output():
                            output.shape = None
                        elif output.shape is not None:
                            output.shape = ir.Shape([None] * len(output.shape))
            ShapeInferencePass()(model)


def _recount(pool: ir.Node) -> bool:
    """Whether a pool's shape was told wrong."""
    known = pool.inputs[0].shape if pool.inputs[0] is not None else None
    extents = None if known is None else list(known)[2:]
    if extents is None or not all(isinstance(d, int) for d in extents):
        return False
    given, n, counts = _window(pool), len(extents), []
    dilations, kernel, pads = given["dilations"], given["kernel_shape"], list(given["pads"])
    for i, d in enumerate(extents):
        begin, stride, reach = pads[i], given["strides"][i], dilations[i] * (kernel[i] - 1) + 1
        padded = d + begin + pads[i + n]
        count = -(-(padded - reach) // stride) + 1
        counts.append(count - ((count - 1) * stride >= d + begin))
        pads[i + n] += max(0, (counts[i] - 1) * stride + reach - padded)
    allowed = all(p < k for p, k in zip(pads, kernel * 2)) and not pool.attributes.get_int("count_include_pad", 0)
    if allowed or pads == given["pads"]:
        pool.attributes.pop("ceil_mode")
        pool.attributes.pop("auto_pad", None)
        pool.attributes["pads"] = ir.AttrInt64s("pads", pads)
    wrong = [o for o in pool.outputs if o.shape is not None and list(o.shape)[2:] != counts]
    for output in wrong:
        output.shape = ir.Shape([*list(output.shape)[:2], *counts])
    return bool(wrong)


def _window(node: ir.Node) -> dict[str, Any]:
    given = {a.name: a.value for a in node.attributes.values()}
    kernel = list(given.get("kernel_shape") or _shape(node.inputs[3 if node.op_type == "QLinearConv" else 1], node)[2:])
    n = len(kernel)
    full = {"strides": list(given.get("strides") or [1] * n), "pads": list(given.get("pads") or [0] * 2 * n)}
    if all(isinstance(k, int) for k in kernel):
        full["kernel_shape"] = kernel
    elif node.outputs[0].shape is None:  # ONNX infers nothing then, though the rank stays
        node.outputs[0].shape = ir.Shape([None] * (n + 2))
    if node.op_type != "MaxUnpool":
        full["dilations"] = list(given.get("dilations") or [1] * n)
    if "Conv" in node.op_type:
        full["group"] = given.get("group", 1)
    if node.op_type == "ConvTranspose":
        full["output_padding"] = list(given.get("output_padding") or [0] * n)
    auto = given.get("auto_pad", "NOTSET")
    if auto == "VALID":
        full["pads"] = [0] * 2 * n
    if auto.startswith("SAME") and node.op_type in PADDED and all(isinstance(k, int) for k in kernel) and _is_open(node, full["strides"]):
        _pad_at_run_time(node, full, auto)
    elif auto.startswith("SAME") or (node.op_type == "ConvTranspose" and given.get("output_shape")):
        full["pads"] = _same(node, kernel, full, auto, given.get("output_shape"))
    return full


def _is_open(node: ir.Node, strides: list[int]) -> bool:
    """Whether strides run over an extent that only the run knows."""
    return any(s > 1 and not isinstance(d, int) for s, d in zip(strides, _shape(node.inputs[0], node)[2:]))


def _pad_at_run_time(node: ir.Node, full: dict[str, Any], auto: str) -> None:
    """A Pad in front of the node, wide enough that ⌈extent / stride⌉ windows fit."""
    x, name, tape = node.inputs[0], node.outputs[0].name, Tape()
    assert x is not None and x.dtype is not None and node.graph is not None
    n = len(full["strides"])

    def constant(what: str, value: Any) -> ir.Value:
        tensor = ir.tensor(np.asarray(value))
        made = ir.Value(name=f"{name}/{what}", const_value=tensor, type=ir.TensorType(tensor.dtype), shape=ir.Shape(tensor.shape))
        node.graph.register_initializer(made)
        return made

    # The last window begins (extent − 1) mod stride + 1 cells before the end: the rest of its reach is padding.
    one, reach = constant("one", [1]), [d * (k - 1) for k, d in zip(full["kernel_shape"], full["dilations"])]
    last = tape.op("Mod", [tape.op("Sub", [tape.op("Shape", [x], {"start": 2}), one]), constant("strides", full["strides"])])
    total = tape.op("Max", [tape.op("Sub", [constant("reach", reach), last]), constant("zero", [0])])
    small = tape.op("Div", [total, constant("two", [2])])
    large = tape.op("Sub", [total, small])
    pads = tape.op("Concat", [small, large] if auto == "SAME_UPPER" else [large, small], {"axis": 0})
    dtype = x.dtype.numpy()
    least = np.finfo(dtype).min if node.op_type == "MaxPool" else 0
    padded = tape.op("Pad", [x, pads, constant("fill", np.array(least, dtype)), constant("axes", np.arange(2, n + 2))])
    padded.type, padded.shape = x.type, ir.Shape([*_shape(x, node)[:2], *[None] * n])
    for k, made in enumerate(tape.nodes):
        made.outputs[0].name = f"{name}/{made.op_type.lower()}_{k}"
    node.graph.insert_before(node, tape.nodes)
    node.replace_input_with(0, padded)


def _same(node: ir.Node, kernel: list[Any], full: dict[str, Any], auto: str, output_shape: Any) -> list[int]:
    """Pads that keep the extent (or, for ConvTranspose, that reach the wanted one)."""
    totals = []
    extents = _shape(node.inputs[0], node)[2:]
    for i, (k, s, d) in enumerate(zip(kernel, full["strides"], full["dilations"])):
        reach = d * (_static(k, node, "the kernel's shape") - 1) + 1
        if node.op_type == "ConvTranspose":
            padding = full["output_padding"][i]
            if output_shape:
                extent = _static(extents[i], node, "the input's extent")
                totals.append(s * (extent - 1) + padding + reach - list(output_shape)[-len(full["strides"]) :][i])
            else:
                totals.append(padding + reach - s)
        elif s == 1:
            totals.append(reach - 1)
        else:
            extent = _static(extents[i], node, "the input's extent")
            totals.append(max(0, (-(-extent // s) - 1) * s + reach - extent))
    for i, t in enumerate(totals):
        if t < 0:  # the wanted extent reaches beyond what the windows cover
            full["output_padding"][i], totals[i] = full["output_padding"][i] - t, 0
    small, large = [t // 2 for t in totals], [t - t // 2 for t in totals]
    upper = auto == "SAME_UPPER" or (node.op_type != "ConvTranspose" and auto != "SAME_LOWER")
    return [*small, *large] if upper else [*large, *small]


def _shape(value: ir.Value | None, node: ir.Node) -> list[Any]:
    if value is None or value.shape is None:
        raise UnsupportedModelError(f"{node.op_type} {node.name or node.outputs[0].name!r}: the rank of its input is not known")
    return list(value.shape)


def _static(dim: Any, node: ir.Node, what: str) -> int:
    if not isinstance(dim, int):
        raise UnsupportedModelError(
            f"{node.op_type} {node.name or node.outputs[0].name!r} has auto_pad and strides over an extent known only at run time "
            f"({what} is {dim}). Remedy: export with explicit pads or a fixed size."
        )
    return dim
