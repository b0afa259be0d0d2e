"""guided_backprop and deconvnet, by hand."""

import numpy as np
import pytest
from helpers import draw, mlp, parse
from onnx import numpy_helper

import onnxplain


def network():
    w1, w2, w3 = draw(4, 8, seed=1), draw(8, 6, seed=2), draw(6, 3, seed=3)
    text = "g (float[N,4] x) => (float[N,3] y) { a = MatMul(x, w1)\n b = Relu(a)\n c = MatMul(b, w2)\n d = Relu(c)\n y = MatMul(d, w3) }"
    return parse(text, w1=w1, w2=w2, w3=w3), (w1, w2, w3)


@pytest.mark.parametrize("relevance", ["one_hot", "logit"])
@pytest.mark.parametrize("batch_size", [None, 2])
def test_by_hand(relevance, batch_size):
    model, (w1, w2, w3) = network()
    x = draw(5, 4, seed=4)
    a = x @ w1
    c = np.maximum(a, 0) @ w2
    y = np.maximum(c, 0) @ w3
    seed = np.eye(3)[[1] * 5] * (y if relevance == "logit" else 1)
    d = seed @ w3.T
    pos = lambda g: np.maximum(g, 0)
    expected = {
        "guided_backprop": (pos((pos(d) * (c > 0)) @ w2.T) * (a > 0)) @ w1.T,
        "deconvnet": pos(pos(d) @ w2.T) @ w1.T,
    }
    for method, wanted in expected.items():
        got = onnxplain.explain(model, x, method, target=1, relevance=relevance, batch_size=batch_size).attribution
        np.testing.assert_allclose(got, wanted, atol=1e-4 * np.abs(wanted).max())
    with pytest.raises(onnxplain.InputError, match="relevance"):
        onnxplain.explain(model, x, "deconvnet", relevance="twice")


def test_without_a_relu_it_is_the_gradient_and_says_so():
    known = mlp()
    for method in ("guided_backprop", "deconvnet"):
        with pytest.warns(UserWarning, match="plain gradient"):
            got = onnxplain.explain(known.model, known.x, method, target=0)
        np.testing.assert_array_equal(got.attribution, onnxplain.explain(known.model, known.x, "gradient", target=0).attribution)


def test_a_relu_that_is_used_twice():
    w = draw(3, 3, seed=5)
    model = parse("g (float[N,3] x) => (float[N,3] y) { r = Relu(x)\n a = MatMul(r, w)\n n = Neg(r)\n y = Add(a, n) }", w=w)
    x = draw(4, 3, seed=6)
    w = numpy_helper.to_array(model.graph.initializer[0])
    arrived = w[:, 0] - np.eye(3)[0]  # the sum of both users, then rectified once
    got = onnxplain.explain(model, x, "guided_backprop", target=0).attribution
    np.testing.assert_allclose(got, np.maximum(arrived, 0) * (x > 0), atol=1e-6)
