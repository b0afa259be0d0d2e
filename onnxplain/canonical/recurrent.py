"""Recurrent nodes as ONNX Runtime and the VJPs want them: time first, and the states of all steps at hand."""

from __future__ import annotations

import onnx_ir as ir

from .registry import attribute, is_op

SEQUENCE, STATE = [1, 0, 2], [1, 0, 2]
BACK = {0: [2, 0, 1, 3], 1: STATE, 2: STATE}
"""From [T, directions, B, H], and from [directions, B, H], to the batch-first layout."""


def time_first(model: ir.Model) -> None:
    """Transposes around nodes of layout 1, which ONNX Runtime refuses; and a name for Y where only the last state was asked for."""
    for node in list(model.graph.all_nodes()):
        if not is_op(node, "LSTM", "GRU", "RNN"):
            continue
        if attribute(node, "layout", 0):
            node.attributes.pop("layout")
            for k, perm in ((0, SEQUENCE), (5, STATE), (6, STATE)):
                if k < len(node.inputs) and node.inputs[k] is not None:
                    node.replace_input_with(k, _transpose(node, node.inputs[k], perm))
            for k, output in enumerate(node.outputs):
                if output.name:
                    _transpose_back(node, output, BACK[k])
        if not node.outputs[0].name:
            node.outputs[0].name = f"{next(o.name for o in node.outputs if o.name)}/all_steps"


def _transpose(node: ir.Node, value: ir.Value, perm: list[int]) -> ir.Value:
    turned = ir.Node("", "Transpose", [value], [ir.Attr("perm", ir.AttributeType.INTS, perm)])
    turned.outputs[0].name, turned.outputs[0].type = f"{node.outputs[0].name or node.outputs[1].name}/{value.name}/time_first", value.type
    turned.outputs[0].shape = None if value.shape is None else ir.Shape([value.shape[i] for i in perm])
    node.graph.insert_before(node, turned)
    return turned.outputs[0]


def _transpose_back(node: ir.Node, output: ir.Value, perm: list[int]) -> None:
    """The node's output under another name, and behind it a Transpose that makes what was there."""
    turned = ir.Node("", "Transpose", [output], [ir.Attr("perm", ir.AttributeType.INTS, perm)])
    result = turned.outputs[0]
    result.type, result.shape = output.type, output.shape
    ir.convenience.replace_all_uses_with(output, result, replace_graph_outputs=True)
    turned.replace_input_with(0, output)
    result.name, output.name = output.name, f"{output.name}/time_first"
    output.shape = None if result.shape is None else ir.Shape([result.shape[perm.index(i)] for i in range(len(perm))])
    node.graph.insert_after(node, turned)
