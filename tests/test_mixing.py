"""Batches whose samples meet are answered whole, by every method."""

import numpy as np
import pytest
from helpers import draw, parse, plain

import onnxplain

W, V, Q, ONE, ZERO = draw(4, 5), draw(5, 3), draw(4, 4), np.array([1]), np.array([0])
ATTENTION = """g (float[T,4] x) => (float[T,3] y) {
    q = MatMul(x, q0)  t = Transpose<perm=[1,0]>(x)  s = MatMul(q, t)  p = Softmax<axis=-1>(s)
    c = MatMul(p, x)  a = MatMul(c, w)  b = Tanh(a)  y = MatMul(b, v) }"""
CENTRED = "g (float[T,4] x) => (float[T,3] y) { m = ReduceMean(x, zero)  d = Sub(x, m)  a = MatMul(d, w)  b = Tanh(a)  y = MatMul(b, v) }"
LEADING = """g (float[T,4] x) => (float[T,3] y) {
    s = Slice(x, zero, one, zero)  d = Mul(x, s)  a = MatMul(d, w)  b = Tanh(a)  y = MatMul(b, v) }"""
GRAM = "g (float[T,4] x) => (float[T,3] y) { t = Transpose(x)  c = MatMul(t, x)  d = MatMul(x, c)  a = MatMul(d, w)  b = Tanh(a)  y = MatMul(b, v) }"
RANKED = "g (float[T,4] x) => (float[T,3] y) { p = Softmax<axis=0>(x)  a = MatMul(p, w)  b = Tanh(a)  y = MatMul(b, v) }"
MIXED = {"attention": ATTENTION, "centred": CENTRED, "a first row": LEADING, "covariance": GRAM, "ranked": RANKED}
APART = {
    "dense": "g (float[T,4] x) => (float[T,3] y) { a = MatMul(x, w)  y = MatMul(a, v) }",
    "transposed": "g (float[T,4] x) => (float[T,3] y) { t = Transpose(x)  u = Transpose(t)  s = Softmax(u)  a = MatMul(s, w)  y = MatMul(a, v) }",
    "reduced": "g (float[T,4] x) => (float[T,1] y) { s = Softmax<axis=1>(x)  y = ReduceSum(s, one) }",
    "attention of each": "g (float[T,6,4] x) => (float[T,6,4] y) { t = Transpose<perm=[0,2,1]>(x)  s = MatMul(x, t)  p = Softmax(s)  y = MatMul(p, x) }",
}


def made(text):
    return parse(text, w=W, v=V, q0=Q, one=ONE, zero=ZERO)


@pytest.mark.parametrize("text", MIXED.values(), ids=MIXED)
def test_the_split_does_not_matter(text):
    x = draw(20, 4)
    for method, params in (("gradient", {}), ("integrated_gradients", {"steps": 6}), ("smoothgrad", {"samples": 3}), ("feature_ablation", {})):
        got, whole = (onnxplain.explain(made(text), x, method, target=1, batch_size=k, **params) for k in (7, 1000))
        np.testing.assert_allclose(got.output["y"], plain(made(text)).run(None, {"x": x})[0], atol=1e-5)
        np.testing.assert_allclose(got.attribution, whole.attribution, atol=1e-5)


@pytest.mark.parametrize(("text", "mixed"), [*((t, True) for t in MIXED.values()), *((t, False) for t in APART.values())], ids=[*MIXED, *APART])
def test_who_mixes(text, mixed):
    question = onnxplain.Explainer(made(text), "gradient").question
    assert (question.mixed, question.folds) == (mixed, not mixed)


def test_time_is_no_batch_where_there_is_one():
    """A recurrent network's time, which its outputs share, comes first."""
    text = "g (float[T,N,3] x) => (float[T,N,2] y) { h = GRU<hidden_size=2>(x, w, r)  y = Squeeze(h, one) }"
    model = parse(text, w=draw(1, 6, 3), r=draw(1, 6, 2), one=ONE)
    question = onnxplain.Explainer(model, "gradient").question
    assert (question.batch, question.mixed) == ("N", False)
    x = draw(4, 3, 3)
    got = onnxplain.explain(model, x, "integrated_gradients", target=(3, 0), steps=20)
    alone = onnxplain.explain(model, x[:, 1:2], "integrated_gradients", target=(3, 0), steps=20)
    np.testing.assert_allclose(got.attribution[:, 1:2], alone.attribution, atol=1e-5)
    assert np.abs(got.delta).max() < 1e-4
