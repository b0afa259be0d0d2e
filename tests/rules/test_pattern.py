"""PatternNet's and PatternAttribution's sweeps, written out in NumPy's float64."""

import numpy as np
import pytest
from helpers import draw, parse

import onnxplain

METHODS = {"pattern_net": lambda a, w: a, "pattern_attribution": lambda a, w: a * w}


def explain(method, model, x, patterns, **params):
    return onnxplain.explain(model, x, method, patterns=patterns, **params).attribution


@pytest.mark.parametrize("relevance", ["one_hot", "logit"])
@pytest.mark.parametrize("batch_size", [None, 2])
@pytest.mark.parametrize("method", METHODS)
def test_dense_layers(method, batch_size, relevance):
    w1, w2, w3 = draw(4, 8, seed=1), draw(6, 8, seed=2), draw(6, 3, seed=3)
    b1, b2, b3 = draw(8, seed=4), draw(6, seed=5), draw(3, seed=6)
    text = """g (float[N,4] x) => (float[N,3] p) {
        a = MatMul(x, w1)\n b = Add(a, b1)\n c = Relu(b)\n d = Gemm<transB=1>(c, w2, b2)\n e = Relu(d)\n y = Gemm(e, w3, b3)\n p = Softmax(y) }"""
    model = parse(text, w1=w1, w2=w2, w3=w3, b1=b1, b2=b2, b3=b3)
    a1, a2, a3 = patterns = [draw(*w.shape, seed=7).astype(np.float64) for w in (w1, w2, w3)]
    x, of = draw(5, 4, seed=8), METHODS[method]
    h1 = x.astype(np.float64) @ w1 + b1
    h2 = np.maximum(h1, 0) @ w2.T + b2
    y = np.maximum(h2, 0) @ w3 + b3
    r = np.eye(3)[[2, 0, 1, 1, 2]] * (y if relevance == "logit" else 1)
    r = ((r @ of(a3, w3).T) * (h2 > 0)) @ of(a2, w2)
    want = (r * (h1 > 0)) @ of(a1, w1).T
    got = explain(method, model, x, dict(zip(["w1", "w2", "w3"], patterns)), target=[2, 0, 1, 1, 2], relevance=relevance, batch_size=batch_size)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5 * np.abs(want).max())


@pytest.mark.parametrize("method", METHODS)
def test_convolutions_and_what_lies_between(method):
    """A grouped, strided, padded convolution, max pooling and a residual sum: each kernel's places are looped over."""
    w1, b1, w2, w3 = draw(4, 1, 3, 3, seed=1), draw(4, seed=2), draw(4, 4, 1, 1, seed=3), draw(16, 2, seed=4)
    text = """g (float[N,2,9,9] x) => (float[N,2] y) {
        c = Conv<group=2,strides=[2,2],pads=[1,1,1,1]>(x, w1, b1)\n r = Relu(c)\n d = Conv(r, w2)\n s = Add(d, r)
        m = MaxPool<kernel_shape=[2,2],strides=[2,2]>(s)\n f = Flatten(m)\n y = Gemm(f, w3) }"""
    model = parse(text, w1=w1, b1=b1, w2=w2, w3=w3)
    patterns = {"w1": draw(*w1.shape, seed=5), "w2": draw(*w2.shape, seed=6), "w3": draw(*w3.shape, seed=7)}
    x = draw(3, 2, 9, 9, seed=8)
    v1, v2, v3 = (METHODS[method](patterns[k].astype(np.float64), w) for k, w in [("w1", w1), ("w2", w2), ("w3", w3)])

    wide = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1)))
    c = np.zeros((3, 4, 5, 5))
    for o, i, j in np.ndindex(4, 5, 5):
        c[:, o, i, j] = (wide[:, o // 2, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3] * w1[o, 0]).sum((1, 2)) + b1[o]
    r = np.maximum(c, 0)
    s = np.einsum("oi,nihw->nohw", w2[:, :, 0, 0], r) + r
    back = np.tile(v3[:, 1], (3, 1)).reshape(3, 4, 2, 2)
    at_s = np.zeros_like(s)
    for n, o, i, j in np.ndindex(3, 4, 2, 2):
        window = s[n, o, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
        p, q = np.unravel_index(window.argmax(), (2, 2))
        at_s[n, o, 2 * i + p, 2 * j + q] = back[n, o, i, j]
    at_c = (np.einsum("oi,nohw->nihw", v2[:, :, 0, 0], at_s) + at_s) * (c > 0)
    want = np.zeros_like(wide)
    for o, i, j in np.ndindex(4, 5, 5):
        want[:, o // 2, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3] += at_c[:, o, i, j, None, None] * v1[o, 0]
    want = want[:, :, 1:-1, 1:-1]
    np.testing.assert_allclose(explain(method, model, x, patterns, target=1), want, rtol=1e-4, atol=1e-5 * np.abs(want).max())


def test_weights_as_patterns_give_the_gradient():
    w1, w2 = draw(3, 4, 3, seed=1), draw(4, 2, seed=2)
    text = "g (float[N,4,6] x) => (float[N,2] y) { c = Conv(x, w1)\n t = Tanh(c)\n m = ReduceMean<keepdims=0>(t, axes)\n y = MatMul(m, w2) }"
    model = parse(text, w1=w1, w2=w2[:3], axes=np.array([2]))
    x = draw(3, 4, 6, seed=3)
    gradient = onnxplain.explain(model, x, "gradient", target=0).attribution
    np.testing.assert_allclose(explain("pattern_net", model, x, {"w1": w1, "w2": w2[:3]}, target=0), gradient, rtol=1e-5, atol=1e-6)
    ones = {"w1": np.ones_like(w1), "w2": np.ones_like(w2[:3])}
    np.testing.assert_allclose(explain("pattern_attribution", model, x, ones, target=0), gradient, rtol=1e-5, atol=1e-6)


def test_normalisation_that_is_not_merged_takes_the_gradient():
    w, scale, var = draw(2, 1, 2, 2, seed=1), draw(2, seed=2), np.abs(draw(2, seed=3)) + 0.5
    text = "g (float[N,1,3,3] x) => (float[N,2,2,2] y) { c = Conv(x, w)\n y = BatchNormalization<epsilon=0.0>(c, s, b, b, v) }"
    model = parse(text, w=w, s=scale, v=var, b=np.zeros(2, np.float32))
    x, a = draw(2, 1, 3, 3, seed=4), draw(2, 1, 2, 2, seed=5)
    got = explain("pattern_net", model, x, {"w": a}, target=(1, 0, 0), fuse=False)
    want = np.zeros((2, 1, 3, 3))
    want[:, 0, :2, :2] = a[1, 0] * scale[1] / np.sqrt(var[1])
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
