"""Where pools find their winners: by Indices in a session, by comparing cells in a file."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from helpers import parse

import onnxplain

WINDOWS = {
    "kernel_shape=[2,2], strides=[2,2]": [6, 5],
    "kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1]": [7, 8],
    "kernel_shape=[3,2], strides=[2,3], pads=[0,1,2,0], ceil_mode=1": [7, 6],
    "kernel_shape=[2,3], strides=[1,2], dilations=[2,2], pads=[1,1,0,2]": [7, 8],
    "kernel_shape=[3], strides=[2], pads=[1,1], dilations=[2]": [8],
    "kernel_shape=[2,3,2], strides=[2,1,1], pads=[1,0,1,0,1,0]": [5, 4, 3],
    'kernel_shape=[3,2], strides=[2,2], auto_pad="SAME_UPPER"': [6, 5],
}


@pytest.mark.parametrize("symbolic", [False, True])
@pytest.mark.parametrize("window", WINDOWS)
def test_the_first_of_equal_cells_wins_in_files_as_in_sessions(window, symbolic):
    extents = WINDOWS[window]
    if symbolic and "auto_pad" in window:
        pytest.skip("the winners of padding that only the run knows have other places")
    dims = ",".join("abc"[i] if symbolic else str(d) for i, d in enumerate(extents))
    model = parse(f"g (float[N,2,{dims}] x) => (float[{','.join('nkdef'[: 2 + len(extents)])}] y) {{ y = MaxPool<{window}>(x) }}")
    x = np.random.default_rng(0).integers(-2, 1, [2, 2, *extents]).astype(np.float32)
    explainer = onnxplain.Explainer(model, "gradient", providers=["CPUExecutionProvider"])
    output = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
    weights = np.arange(1, output.size + 1, dtype=np.float32).reshape(output.shape)
    by_indices = explainer.explain(x, weights).attribution
    file = explainer.model
    assert not any(n.op_type == "MaxPool" and len(n.output) > 1 for n in file.graph.node)
    session = ort.InferenceSession(file.SerializeToString(), providers=["CPUExecutionProvider"])
    for k in range(0, output[0].size, 5):
        place = np.array(np.unravel_index(k, output.shape[1:]))
        (got,) = session.run(["attribution"], {"x": x, "target": np.tile(place, (2, 1))})
        one = np.zeros_like(output)
        one[(slice(None), *place)] = 1
        np.testing.assert_array_equal(got, explainer.explain(x, one).attribution)
    assert by_indices.sum() == weights.sum()


CEIL = [(op, size, include) for op in ("MaxPool", "AveragePool", "LpPool") for size in (8, 9) for include in ((0, 1) if op == "AveragePool" else (None,))]


@pytest.mark.parametrize(("op_type", "size", "include"), CEIL)
def test_a_window_that_would_begin_in_the_padding_is_dropped(op_type, size, include):
    more = "" if include is None else f", count_include_pad={include}"
    text = f"p = {op_type}<kernel_shape=[2,2], strides=[2,2], pads=[1,1,1,1], ceil_mode=1{more}>(x)\n q = Relu(p)\n y = GlobalAveragePool(q)"
    known, open_ = (parse(f"g (float[N,2,{d}] x) => (float[N,2,1,1] y) {{ {text} }}") for d in (f"{size},{size}", "h,w"))
    x = np.random.default_rng(0).random((2, 2, size, size), dtype=np.float32)
    for method in ("gradient", "lrp"):
        got, wanted = (onnxplain.explain(m, x, method, target=(0, 0, 0)) for m in (known, open_))
        np.testing.assert_allclose(got.attribution, wanted.attribution, atol=1e-6)
    assert list(got.attribution.shape) == [2, 2, size, size]
    assert onnx.shape_inference.infer_shapes(onnxplain.Explainer(known, "gradient").model, strict_mode=True)
