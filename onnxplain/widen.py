"""bfloat16 models are computed in float32: opset 21 has no Conv in bfloat16, and ONNX Runtime's CPU provider no kernel at all."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper

from .graph import graphs_of

BFLOAT16 = helper.tensor_dtype_to_np_dtype(TensorProto.BFLOAT16)
"""NumPy's name of it, by ml_dtypes."""


def widen(model: onnx.ModelProto, weights: Collection[str]) -> None:
    """Turn bfloat16 into float32, but for the types of inputs and outputs: there Casts are put. The model is changed.

    Inputs named in `weights` are none: their data come later, as `wide` tensors.
    """
    graph = model.graph
    constant = {*weights, *(t.name for t in graph.initializer)}
    ends = [v for v in (*graph.input, *graph.output) if is_bfloat16(v) and v.name not in constant]
    to_float32(graph)
    if not ends:
        return
    wide = {v.name: f"{v.name}/float32" for v in ends}
    for g in graphs_of(graph):
        for n in g.node:
            for names in (n.input, n.output):
                names[:] = [wide.get(name, name) for name in names]
        for o in g.output if g is not graph else ():
            o.name = wide.get(o.name, o.name)
    for v in ends:
        v.type.tensor_type.elem_type = TensorProto.BFLOAT16
    nodes = [helper.make_node("Cast", [v.name], [wide[v.name]], to=TensorProto.FLOAT) for v in graph.input if v.name in wide]
    nodes += graph.node
    nodes += [helper.make_node("Cast", [wide[v.name]], [v.name], to=TensorProto.BFLOAT16) for v in graph.output if v.name in wide]
    del graph.node[:]
    graph.node.extend(nodes)


def wide(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    """A bfloat16 tensor in float32, made when it is asked for; others as they are."""
    if tensor.dtype != ir.DataType.BFLOAT16:
        return tensor
    convert = lambda: ir.Tensor(tensor.numpy().astype(np.float32), name=tensor.name)
    return ir.LazyTensor(convert, ir.DataType.FLOAT, ir.Shape(tensor.shape), cache=True, name=tensor.name)


def to_float32(graph: onnx.GraphProto) -> None:
    """Write float32 wherever a graph says bfloat16. Data that lie elsewhere stay there: whoever brings them converts them."""
    for g in graphs_of(graph):
        for v in (*g.input, *g.output, *g.value_info):
            if is_bfloat16(v):
                v.type.tensor_type.elem_type = TensorProto.FLOAT
        for n in g.node:
            for a in n.attribute:
                if a.name in ("to", "dtype", "output_dtype") and a.i == TensorProto.BFLOAT16:
                    a.i = TensorProto.FLOAT
        for t in (*g.initializer, *(a.t for n in g.node for a in n.attribute if a.HasField("t"))):
            if t.data_type == TensorProto.BFLOAT16:
                if t.data_location == TensorProto.EXTERNAL:
                    t.data_type = TensorProto.FLOAT
                else:
                    t.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(t).astype(np.float32), t.name))


def is_bfloat16(value: onnx.ValueInfoProto) -> bool:
    return value.type.tensor_type.elem_type == TensorProto.BFLOAT16
