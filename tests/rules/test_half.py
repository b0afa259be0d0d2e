"""16-bit models: rules divide and square in float32, relevance stays in the tensors' own type."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import halved, parse
from networks import build

import onnxplain

X = np.random.default_rng(0).standard_normal((3, 3, 8, 8)).astype(np.float32)


OPTIONS = {
    "epsilon": {"method": "lrp", "composite": "epsilon"},
    "epsilon_plus_flat": {"method": "lrp", "composite": "epsilon_plus_flat"},
    "epsilon_alpha2_beta1": {"method": "lrp", "composite": "epsilon_alpha2_beta1"},
    "epsilon_gamma_box": {"method": "lrp", "composite": "epsilon_gamma_box", "low": -4, "high": 4},
    "innvestigate": {"method": "lrp", "composite": "preset_b", "convention": "innvestigate"},
    "deep_taylor": {"method": "deep_taylor"},
    "deeplift": {"method": "deeplift"},
    "reveal_cancel": {"method": "deeplift", "rule": "reveal_cancel"},
}


@pytest.mark.filterwarnings("ignore:deep_taylor")
@pytest.mark.parametrize("name", ["vgg", "resnet", "densenet"])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_the_twin_s_map_is_the_same(name, options):
    model = build(name)
    whole = onnxplain.explain(model, X, **options)
    half = onnxplain.explain(halved(model), X.astype(np.float16), **options)
    assert half.attribution.dtype == np.float16
    error = np.abs(half.attribution - whole.attribution).max() / np.abs(whole.attribution).max()
    assert error < 0.06


def dense(w):
    return parse(f"g (float16[N,{len(w)}] x) => (float16[N,1] y) {{ y = MatMul(x, w) }}", w=w)


def test_squares_of_small_weights_are_not_lost():
    w = np.array([[1e-4], [2e-4], [-3e-4]], np.float16)  # their squares are nothing in 16 bits
    got = onnxplain.explain(dense(w), np.full((1, 3), 3000, np.float16), "lrp", composite="w_square", stabilizer=1e-12, relevance="one_hot", target=0)
    squares = w[:, 0].astype(np.float64) ** 2
    np.testing.assert_allclose(got.attribution[0], squares / squares.sum(), rtol=2e-3)


def test_a_quotient_beyond_the_range_of_16_bits_is_no_infinity():
    w, x = np.array([[1], [-1]], np.float16), np.array([[0.02, 0.01999]], np.float16)
    model = parse(
        "g (float16[N,2] x) => (float16[N,1] y) { a = MatMul(x, w)\n b = MatMul(a, c)\n y = MatMul(b, d) }", w=w, c=np.float16([[1e4]]), d=np.float16([[100]])
    )
    got = onnxplain.explain(model, x, "lrp", composite="epsilon", epsilon=0, target=0).attribution
    np.testing.assert_allclose(got, x.astype(np.float64) * [1, -1] * 1e6, rtol=5e-3)


def test_a_node_that_is_asked_at_several_outputs():
    model = parse(
        "g (float16[N,4] x) => (float16[N,2] y) { a = MatMul(x, w)\n b, c = Split<axis = 1>(a, sizes)\n y = Add(b, c) }",
        w=np.eye(4, dtype=np.float16),
        sizes=np.array([2, 2]),
    )
    got = onnxplain.explain(model, np.array([[1, 2, 3, 4]], np.float16), "lrp", composite="epsilon", target=1).attribution
    np.testing.assert_allclose(got, [[0, 2, 0, 4]], atol=1e-2)
