"""Sequences of known length are taken apart; gradients pass what reads them."""

import numpy as np
import onnx
import pytest
from helpers import draw, parse, plain, unchanged

import onnxplain

BODIES = {
    "construct and at": """s = SequenceConstruct(a, b, x)
        i = Constant<value = int64 {-1}>() p = SequenceAt(s, i) j = Constant<value = int64 {1}>() q = SequenceAt(s, j) y = Mul(p, q)""",
    "split, in pieces": """n = Constant<value = int64 {2}>() s = SplitToSequence<axis = 1>(x, n)
        i = Constant<value = int64 {1}>() p = SequenceAt(s, i) t = Tanh(p) r = SequenceErase(s, i)
        u = SequenceInsert(r, t, o) y = ConcatFromSequence<axis = 1>(u)""",
    "split, at places": """n = Constant<value = int64[2] {1, 2}>() s = SplitToSequence<axis = -1>(x, n) m = ConcatFromSequence<axis = 1>(s) y = Mul(m, b)""",
    "split, one by one": "s = SplitToSequence<axis = 1, keepdims = 0>(x) m = ConcatFromSequence<axis = 0, new_axis = 1>(s) t = Sin(m) y = Transpose(t)",
    "inserted": """e = SequenceEmpty() f = SequenceInsert(e, a) g = SequenceInsert(f, b, o) h = Identity(g) l = SequenceLength(h)
        m = ConcatFromSequence<axis = 0>(h) k = Cast<to = 1>(l) y = Mul(m, k)""",
    "erased at the end": "s = SequenceConstruct(a, x, b) r = SequenceErase(s) y = ConcatFromSequence<axis = -1>(r)",
}


def model(body: str) -> onnx.ModelProto:
    before = "w = Constant<value = float[3] {0.5, -2.0, 1.5}>() o = Constant<value = int64 {0}>() a = Mul(x, w) b = Sin(x)"
    return parse(f"g (float[2, 3] x) => (float[P, Q] y) {{ {before} {body} }}")


@pytest.mark.parametrize("name", BODIES)
def test_gradients_pass_sequences(name):
    m, x = model(BODIES[name]), draw(2, 3)
    graph = unchanged(m, {"x": x})
    assert not any("Sequence" in n.op_type for n in graph.nodes)
    y = plain(m).run(None, {"x": x})[0]
    g = draw(*y.shape, seed=1)
    got = plain(onnxplain.vjp(m)).run(["grad_x"], {"x": x, "grad_y": g})[0]
    score = lambda v: float((plain(m).run(None, {"x": v.astype(np.float32)})[0].astype(np.float64) * g).sum())
    slopes = np.zeros_like(x)
    for i in np.ndindex(*x.shape):
        h = np.zeros_like(x)
        h[i] = 1e-2
        slopes[i] = (score(x + h) - score(x - h)) / 2e-2
    np.testing.assert_allclose(got, slopes, atol=2e-3)


def test_keepdims_counts_only_without_sizes():
    """ONNX Runtime 1.31 fails on such a node, so that only the graph can be looked at."""
    body = """n = Constant<value = int64 {2}>() s = SplitToSequence<keepdims = 0>(x, n)
        y = ConcatFromSequence<axis = 0>(s)"""
    m = parse(f"g (float[2, 3] x) => (float[P, Q] y) {{ {body} }}")
    assert [n.op_type for n in onnxplain.load(m).graph().nodes] == ["Split", "Concat"]


def test_a_place_known_only_at_run_time_is_refused():
    m = parse("g (float[2, 3] x, int64 i) => (float[P, Q] y) { s = SplitToSequence<axis = 1>(x) y = SequenceAt(s, i) }")
    with pytest.raises(onnxplain.UnsupportedModelError, match="SequenceAt"):
        onnxplain.vjp(m)


def test_an_optional_tensor_is_the_tensor():
    m = parse("g (float[2, 3] x) => (float[2, 3] y) { o = Optional(x) e = OptionalGetElement(o) y = Sin(e) }")
    x = draw(2, 3)
    got = plain(onnxplain.vjp(m)).run(["grad_x"], {"x": x, "grad_y": np.ones_like(x)})[0]
    np.testing.assert_allclose(got, np.cos(x), atol=1e-6)
