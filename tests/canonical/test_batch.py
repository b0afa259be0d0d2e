"""Models of fixed batch size are freed only where nothing mixes samples."""

import numpy as np
import pytest
from helpers import draw, parse, plain, rewritten, unchanged

import onnxplain

ONE_NUMBER = {"zero": np.array([0]), "one": np.array([1]), "two": np.array([2]), "minus": np.array([-1])}


def freed(model, shape, **options):
    """Whether the model was freed; and if it was, that each sample still gets what it got."""
    x = draw(*shape)
    graph = unchanged(model, {"x": x}, rewrites=["fold_constants", "symbolic_batch"], atol=1e-4)
    symbolic = isinstance(graph.inputs["x"].shape[0], str)
    if symbolic:
        whole = plain(model).run(None, {"x": x})
        _, compute = rewritten(model, rewrites=["fold_constants", "symbolic_batch"])
        for rows in ([0], list(range(shape[0]))[::-1] * 2):
            for got, expected in zip(compute(x=x[rows]).values(), whole):
                np.testing.assert_allclose(got, expected[rows], atol=1e-4)
        assert graph.rewrites[-1] == f"symbolic_batch: the batch of {shape[0]} is symbolic"
    return symbolic


APART = [
    ("g (float[4,3] x) => (float[4,2] y) { h = Gemm(x, w, b)\n y = Softmax(h) }", {"w": draw(3, 2), "b": draw(2)}),
    (
        "g (float[4,2,5,5] x) => (float[4,3] y) { c = Conv(x, w)\n r = Relu(c)\n f = Reshape(r, to)\n y = MatMul(f, v) }",
        {"w": draw(2, 2, 3, 3), "to": np.array([4, 18]), "v": draw(18, 3)},
    ),
    (
        "g (float[4,6] x) => (float[4,2] y) { r = Reshape(x, to)\n t = Transpose<perm=[1,0,2]>(r)\n "
        "u = Transpose<perm=[1,0,2]>(t)\n m = ReduceMax<keepdims=0>(u, one)\n y = Neg(m) }",
        {"to": np.array([4, 3, 2])},
    ),
    ("g (float[4,6] x) => (float[4,6] y) { s = Shape(x)\n r = Reshape(x, s)\n y = Neg(r) }", {}),
    ("g (float[4,3] x) => (float[4,6] y) { u = Unsqueeze(x, zero)\n v = Squeeze(u, zero)\n y = Concat<axis=-1>(v, v) }", {}),
    ("g (float[4,3] x) => (float[4,2] y) { t = Transpose(x)\n m = MatMul(w, t)\n y = Transpose(m) }", {"w": draw(2, 3)}),
    ("g (float[4,3,2] x) => (float[4,3,3] y) { t = Transpose<perm=[0,2,1]>(x)\n y = MatMul(x, t) }", {}),
    ("g (float[4,3] x) => (float[4,2] y) { y = Gather<axis=1>(x, places) }", {"places": np.array([0, 2])}),
    ("g (float[4,3] x) => (float[4,2] y) { y = Slice(x, zero, two, one) }", {}),
    ("g (float[4,3] x) => (float[4,5] y) { y = Pad(x, pads) }", {"pads": np.array([0, 1, 0, 1])}),
    ("g (float[4,1,2,2] x) => (float[4,1,4,4] y) { y = Resize(x, , , sizes) }", {"sizes": np.array([4, 1, 4, 4])}),
    ("g (float[4,3] x) => (float[4,3] y) { m = Mul(x, row)\n y = Add(m, scalar) }", {"row": draw(1, 3), "scalar": np.float32(2)}),
    ("g (float[4,3,2] x) => (float[4,3,2] y) { y = LayerNormalization<axis=1>(x, s) }", {"s": draw(3, 2)}),
]
MIXED = [
    ("g (float[4,4] x) => (float[4] y) { y = ReduceMax<keepdims=0>(x, zero) }", {}),
    ("g (float[4,4] x) => (float[4,4] y) { t = Transpose(x)\n y = Reshape(t, to) }", {"to": np.array([4, 4])}),
    ("g (float[4,4] x) => (float[4,4] y) { y = MatMul(x, x) }", {}),
    ("g (float[4,3] x) => (float[4,3] y) { m = ReduceMean<keepdims=1>(x, zero)\n y = Sub(x, m) }", {}),
    ("g (float[4,3] x) => (float[4,3] y) { y = Softmax<axis=0>(x) }", {}),
    ("g (float[4,6] x) => (float[4,6] y) { r = Reshape(x, to)\n s = Softmax(r)\n y = Reshape(s, back) }", {"to": np.array([2, 12]), "back": np.array([4, 6])}),
    ("g (float[4,4] x) => (float[4,4] y) { t = Transpose(x)\n y = MatMul(x, t) }", {}),
    ("g (float[4,4] x) => (float[4,4] y) { y = Transpose(x) }", {}),
    ("g (float[4,3] x) => (float[4,3] y) { y = Add(x, each) }", {"each": draw(4, 3)}),
    ("g (float[4,3] x) => (float[4,2] y) { y = Gemm(x, w, each) }", {"w": draw(3, 2), "each": draw(4, 2)}),
    ("g (float[4,3] x) => (float[4,3] y) { y = Gather<axis=0>(x, places) }", {"places": np.array([3, 2, 1, 0])}),
    ("g (float[4,3] x) => (float[3,3] y) { y = Slice(x, one, four, zero) }", {"four": np.array([4])}),
    ("g (float[4,3] x) => (float[8,3] y) { y = Concat<axis=0>(x, x) }", {}),
    ("g (float[4,3] x) => (float[6,3] y) { y = Pad(x, pads) }", {"pads": np.array([1, 0, 1, 0])}),
    ("g (float[4,3] x) => (float[4,5] y) { y = Pad(x, pads, , axes) }", {"pads": np.array([0, 1, 1, 0]), "axes": np.array([0, 1])}),
    ("g (float[4,3] x) => (float[5,3] y) { y = MatMul(w, x) }", {"w": draw(5, 4)}),
    ("g (float[4,4] x) => (float[4] y) { t = Transpose(x)\n y = MatMul(v, t) }", {"v": draw(4)}),
    ("g (float[4,3] x) => (float[4,3] y) { y = CumSum(x, axis0) }", {"axis0": np.array(0)}),
    ("g (float[4,3,2] x) => (float[4,3,2] y) { y = LayerNormalization<axis=0>(x, s) }", {"s": draw(4, 3, 2)}),
    ("g (float[4,3,2] x) => (float[4,3,2] y) { y = LayerNormalization<axis=2>(x, s) }", {"s": draw(4, 1, 2)}),
    ("g (float[4,1,4] x) => (float[4,1,2] y, int64[4,1,2] i) { y, i = MaxPool<kernel_shape=[2],strides=[2]>(x) }", {}),
    ("g (float[4,3] x) => (float[4,3] y) { q = QuantizeLinear<axis=0>(x, s, z)\n "
        "y = DequantizeLinear<axis=0>(q, s, z) }", {"s": np.abs(draw(4)), "z": np.zeros(4, np.int8)}),
    ("g (float[1,3] x) => (float[1,3] y) { z = If(yes) <then_branch = a () => (float[1,3] o) { o = CumSum(x, axis0) }, "
        "else_branch = b () => (float[1,3] p) { p = Relu(x) }>\n "
        ""
        "y = Add(x, z) }", {"yes": np.array(True), "axis0": np.array(0)}),
    ("g (float[4,1,2,2] x) => (float[8,1,2,2] y) { y = Resize(x, , scales) }", {"scales": np.array([2, 1, 1, 1], np.float32)}),
    ("g (float[4,3] x) => (float[8,3] y) { y = Tile(x, twice) }", {"twice": np.array([2, 1])}),
    ("g (float[4,3] x) => (float[4,3] y) { h = Hardmax<axis=-2>(x)\n y = Mul(x, h) }", {}),
    ("g (float[4,3] x) => (float[12,1] y) { y = Flatten<axis=2>(x) }", {}),
]  # fmt: skip


@pytest.mark.parametrize(("text", "weights"), APART, ids=range(len(APART)))
def test_freed(text, weights):
    model = parse(text, **weights, **ONE_NUMBER)
    assert freed(model, [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim])


@pytest.mark.parametrize(("text", "weights"), MIXED, ids=range(len(MIXED)))
def test_bound(text, weights):
    model = parse(text, **weights, **ONE_NUMBER)
    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    assert not isinstance(rewritten(model)[0].inputs["x"].shape[0], str)
    unchanged(model, {"x": draw(*shape)}, atol=1e-4)


def test_a_symbol_that_the_model_has_is_not_taken():
    model = parse("g (float[4,batch] x) => (float[4,batch] y) { y = Relu(x) }")
    batch, other = rewritten(model)[0].inputs["x"].shape
    assert other == "batch"
    assert isinstance(batch, str)
    assert batch != other


def test_inputs_that_differ_in_their_first_axis():
    model = parse("g (float[4,3] x, float[2,3] z) => (float[4,2] y) { t = Transpose(z)\n y = MatMul(x, t) }")
    assert rewritten(model)[0].inputs["x"].shape == (4, 3)


@pytest.mark.parametrize("join", ["c = Add(a, d)", "c = Concat<axis=1>(a, d)", "e = Concat<axis=1>(k, a)\n c = Concat<axis=1>(e, d)"])
@pytest.mark.parametrize("method", ["gradient", "integrated_gradients", "feature_ablation"])
def test_batches_with_a_name_for_each_input_are_one(join, method):
    """As tf2onnx names them."""
    text = (
        "g (float[{},4] x, float[{},2] z, float[{},3] k) => (float[M,1] y) {{ a = MatMul(x, w)\n d = MatMul(z, u)\n {}\n b = Tanh(c)\n y = ReduceSum(b, one) }}"
    )
    w, u, feeds = draw(4, 5), draw(2, 5), {n: draw(20, d, seed=d) for n, d in (("x", 4), ("z", 2), ("k", 3))}
    got, expected = (
        onnxplain.explain(parse(text.format(*names, join), w=w, u=u, one=np.array([1])), feeds, method, target=0, wrt=["x", "z"]).attributions
        for names in (("p", "q", "r"), "NNN")
    )
    for n in ("x", "z"):
        np.testing.assert_allclose(got[n], expected[n], atol=1e-5)


def test_batches_that_never_meet_stay_apart():
    model = parse("g (float[N,4] i, float[M,4] t) => (float[N,M] y) { u = Transpose(t)\n y = MatMul(i, u) }")
    assert [t.shape for t in onnxplain.load(model).graph().inputs.values()] == [("N", 4), ("M", 4)]
