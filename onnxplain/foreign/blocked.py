"""`com.microsoft.nchwc`: convolutions over channels in blocks, as ONNX Runtime lays them out for one kind of CPU.

Values are written with their channels in order. Only kernels hold numbers that were stored in blocks: they are put back.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper

from ..ops.shapes import to_channels_first, to_channels_last
from ..tape import Var, op
from .fused import conv
from .registry import NCHWC, blocked, unless


@cache
def block_size() -> int:
    """How many channels a block holds on this machine; 0 where ONNX Runtime has no such kernels."""
    graph = helper.make_graph(
        [helper.make_node("ReorderInput", ["x"], ["y"], domain=NCHWC)],
        "probe",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 64, 1, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13), helper.make_opsetid(NCHWC, 1)], ir_version=8)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception:
        return 0
    y = np.ravel(session.run(None, {"x": np.arange(128, dtype=np.float32).reshape(1, 64, 1, 2)})[0])
    return int(np.flatnonzero(y == 1)[0])  # the second place of the first channel stands behind the first place of the block


def _kernel(w: Var) -> Var:
    """A kernel with its channels in order; blocks of outputs are innermost, blocks of inputs, if there are any, around them."""
    n = block_size()
    unless(n, "ONNX Runtime has no kernels for blocks of channels on this machine")
    unless(w.is_static, "its kernel's shape is not known")
    outputs, inputs, *extents = (int(d or 0) for d in w.shape)
    if inputs < n:
        stored, order = [outputs // n, inputs, *extents, n], [0, len(extents) + 2, *range(1, len(extents) + 2)]
    else:
        rank = len(extents)
        stored, order = [outputs // n, inputs // n, *extents, n, n], [0, rank + 3, 1, rank + 2, *range(2, rank + 2)]
    return op.Reshape(op.Transpose(op.Reshape(w, stored), perm=order), [outputs, inputs, *extents])


@blocked
def Conv(x, w, b=None, z=None, *, activation=None, activation_params=(), **window):
    return conv(x, _kernel(w), b, z, activation, activation_params, window)


@blocked
def ReorderInput(x, *, channels_last=0):
    x = to_channels_first(x) if channels_last else x
    channels = x.shape[1]
    unless(isinstance(channels, int), "the number of its channels is not known")
    missing = -channels % block_size()
    return op.Pad(x, [0, missing], None, [1]) if missing else x


@blocked
def ReorderOutput(x, *, channels, channels_last=0):
    y = x if x.shape[1] == channels else op.Slice(x, [0], [channels], [1])
    return to_channels_last(y) if channels_last else y


@blocked
def MaxPool(x, **window):
    return op.MaxPool(x, **window)


@blocked
def AveragePool(x, **window):
    return op.AveragePool(x, **window)


@blocked
def GlobalMaxPool(x):
    return op.GlobalMaxPool(x)


@blocked
def GlobalAveragePool(x):
    return op.GlobalAveragePool(x)


@blocked
def Upsample(x, *, scales, mode="nearest", coordinate_transformation_mode="half_pixel"):
    given = {"mode": mode, "coordinate_transformation_mode": coordinate_transformation_mode, "nearest_mode": "floor" if mode == "nearest" else None}
    return op.Resize(x, None, np.array(scales, np.float32), **given)
