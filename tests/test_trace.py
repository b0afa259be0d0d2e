"""Traces: sums per node, what is absorbed, and the first node that breaks."""

from __future__ import annotations

import numpy as np
import onnx.parser
import pytest

import onnxplain

MODEL = onnx.parser.parse_model(
    """
    <ir_version: 8, opset_import: ["" : 17]>
    net (float[N, 3] x) => (float[N, 2] y)
    <float[3, 4] w = {1, -2, 3, 1, 0.5, 1, -1, 2, -1, 1, 2, -3}, float[4] b = {0.5, -0.25, 0.1, 1}, float[4, 2] v = {1, -1, 2, 1, -1, 3, 1, 1}>
    { h = MatMul(x, w)  a = Add(h, b)  r = Relu(a)  y = MatMul(r, v) }
    """
)
X = np.array([[1.0, -2.0, 0.5], [0.3, 0.7, -1.1]], np.float32)


def test_relevance_of_every_tensor_and_its_way_down():
    explainer = onnxplain.Explainer(MODEL, "lrp", composite="epsilon")
    trace, explanation = explainer.trace(X, [1, 0]), explainer.explain(X, [1, 0])
    w, b, v = (onnx.numpy_helper.to_array(t).astype(np.float64) for t in MODEL.graph.initializer)
    r = np.maximum(X @ w + b, 0)
    score = (r @ v)[[0, 1], [1, 0]]
    hidden = r * v[:, [1, 0]].T  # LRP-0 of a layer without bias
    np.testing.assert_allclose(trace.relevance["r"], hidden, rtol=1e-4, atol=1e-5)
    top, *_, bottom = trace.steps
    np.testing.assert_allclose(top.arrived, score, rtol=1e-5)
    np.testing.assert_allclose(bottom.sent, explanation.attribution.sum(1), rtol=1e-5)
    np.testing.assert_allclose(bottom.absorbed, -explanation.delta, rtol=1e-3, atol=1e-5)
    assert [s.op_type for s in trace.steps] == ["MatMul", "Relu", "Gemm"]
    assert trace.first_not_finite is None
    head, *rows = (line.split() for line in str(trace).splitlines())
    assert head == ["node", "operator", "kind", "arrived", "sent", "absorbed"]
    np.testing.assert_allclose([float(row[-3]) for row in rows], [s.arrived.sum() for s in trace.steps], rtol=1e-3)  # of the batch, whether told apart or not


def test_the_first_node_that_breaks_is_named():
    def broken(R, f):
        return [R / 0.0]

    trace = onnxplain.Explainer(MODEL, "lrp", composite=[(lambda flow, node: node.op_type == "Relu", broken), (lambda flow, node: True, "gradient")]).trace(X)
    assert trace.first_not_finite == "r"


def test_averages_have_no_single_sweep():
    with pytest.raises(onnxplain.InputError, match="averages many sweeps"):
        onnxplain.Explainer(MODEL, "smoothgrad").trace(X)


def test_forward_passes_have_no_sweep():
    with pytest.raises(onnxplain.InputError, match="occlusion asks the model by forward passes: there is no sweep to trace"):
        onnxplain.Explainer(MODEL, "occlusion", window=1).trace(X)
