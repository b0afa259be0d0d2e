"""Constant nodes and constant arithmetic become initializers."""

import numpy as np
from helpers import draw, parse, rewritten, unchanged
from onnx import helper


def test_constants_and_identities_of_weights():
    model = parse("g (float[N,3] x) => (float[N,3] y, float[3] c) { v = Identity(w)\n a = Add(x, v)\n c = Identity(w)\n y = Neg(a) }", w=draw(3))
    model.graph.node.insert(0, helper.make_node("Constant", [], ["two"], value_float=2.0))
    model.graph.node.append(helper.make_node("Mul", ["y", "two"], ["z"]))
    model.graph.output.append(helper.make_tensor_value_info("z", 1, None))
    graph = unchanged(model, {"x": draw(2, 3)}, rewrites=["constants"])
    assert any("v is w" in r for r in graph.rewrites)
    assert [n.op_type for n in graph.nodes] == ["Add", "Neg", "Mul"]


def test_folding():
    model = parse(
        """g (float[2,3] x) => (float[2,3] y) {
            t = Transpose(w)
            m = MatMul(x, t)
            s = Shape(x)
            z = ConstantOfShape(s)
            a = Add(m, z)
            r = Reshape(a, s)
            y = Relu(r) }""",
        w=draw(3, 3),
    )
    graph = unchanged(model, {"x": draw(2, 3)}, rewrites=["fold_constants"])
    assert {n.op_type for n in graph.nodes} == {"MatMul", "Add", "Reshape", "Relu"}
    np.testing.assert_array_equal(graph.constants["t"].numpy(), draw(3, 3).T)
    assert graph.rewrites == ["fold_constants: 3 nodes computed beforehand"]
    off = unchanged(model, {"x": draw(2, 3)}, rewrites=[])
    assert len(off.nodes) == 7
    assert not off.rewrites


def test_what_is_named_or_random_or_symbolic_stays():
    model = parse(
        """g (float[N,3] x) => (float[N,3] y) {
            t = Transpose(w)
            m = MatMul(x, t)
            s = Shape(m)
            z = ConstantOfShape(s)
            noise = RandomNormal<shape=[3]>()
            a = Add(m, z)
            n = Mul(noise, zero)
            y = Add(a, n) }""",
        w=draw(3, 3),
        zero=np.float32(0),
    )
    kinds = {n.op_type for n in unchanged(model, {"x": draw(2, 3)}, rewrites=["fold_constants"]).nodes}
    assert {"Shape", "ConstantOfShape", "RandomNormal"} <= kinds
    graph = unchanged(model, {"x": draw(2, 3)}, rewrites=["fold_constants"], keep=["w", "t"])
    assert graph.producer["t"].inputs == ("w",)


def test_a_large_constant_is_not_made_from_a_small_one():
    model = parse(
        "g (float[N,1] x) => (float[N,600000] y) { z = Expand(one, big)\n y = MatMul(x, z) }", one=np.ones((1, 1), np.float32), big=np.array([1, 600000])
    )
    assert "Expand" in {n.op_type for n in rewritten(model, rewrites=["fold_constants"])[0].nodes}


def test_quantised_weights_keep_their_scales():
    """ONNX Runtime quantises a float weight between two scales anew, by one scale for all channels; nor does its quantised mean know dilations."""
    model = parse(
        """g (float[N,2,4,4] x) => (float[N,2,2,2] y) {
            a = QuantizeLinear(x, scale, zero)
            b = DequantizeLinear(a, scale, zero)
            k = DequantizeLinear<axis = 0>(w, scales)
            c = Conv<pads = [1,1,1,1]>(b, k)
            d = QuantizeLinear(c, scale, zero)
            e = DequantizeLinear(d, scale, zero)
            m = AveragePool<kernel_shape = [2,2], strides = [2,2]>(e)
            f = QuantizeLinear(m, scale, zero)
            y = DequantizeLinear(f, scale, zero) }""",
        w=np.random.default_rng(0).integers(-127, 128, (2, 2, 3, 3), np.int8),
        scale=np.float32(0.02),
        zero=np.uint8(128),
        scales=np.float32([0.0001, 0.004]),
    )
    assert "k" not in unchanged(model, {"x": draw(3, 2, 4, 4)}).constants


def test_a_number_cast_like_a_tensor_is_a_number():
    model = parse("g (float16[N,3] x) => (float16[N,3] y) { n = CastLike(two, x) y = Mul(x, n) }", two=np.float32(2))
    graph, _ = rewritten(model, rewrites=["fold_constants"])
    assert [n.op_type for n in graph.nodes] == ["Mul"]
    assert graph.constants["n"].numpy().dtype == np.float16


def test_known_extents_of_a_shape_that_is_not_known():
    """Gathered one by one or several at once; the batch is not known, nor what is gathered from anything else than a whole shape."""
    model = parse(
        """g (float[N,3,4] x) => (float[N,3,4] y, int64[2] p, int64[2] m, int64[1] l) {
            s = Shape(x)
            p = Gather(s, last)
            one = Gather(s, middle)
            m = Gather(s, some)
            part = Shape<start=1>(x)
            l = Gather(part, zero)
            f = Cast<to=1>(one)
            y = Mul(x, f) }""",
        last=np.array([-1, 1]),
        middle=np.array(2),
        some=np.array([0, 1]),
        zero=np.array([0]),
    )
    graph = unchanged(model, {"x": draw(2, 3, 4)}, rewrites=["fold_constants"])
    assert graph.constants["p"].numpy().tolist() == [4, 3]
    assert graph.constants["f"].numpy() == 4
    assert graph.producer["m"].op_type == "Gather"
