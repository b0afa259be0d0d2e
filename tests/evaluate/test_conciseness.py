"""Sparseness, complexity and max-sensitivity against NumPy."""

import numpy as np
import pytest
from helpers import draw

import onnxplain
from onnxplain import evaluate

from .known import FLAT, IMAGES, KERNEL, LINEAR, W, X, values


def gini(v):
    """Half the mean difference of all pairs, over the mean: another way to write the index."""
    v = np.abs(np.ravel(v)).astype(np.float64)
    return np.abs(v[:, None] - v).mean() / (2 * v.mean())


def test_sparseness():
    a = draw(4, 2, 4, 6, seed=1)
    got = values(evaluate.sparseness(FLAT, IMAGES, {"a": a}))
    np.testing.assert_allclose(got, [gini(v) for v in a], rtol=1e-6)
    one, even = np.zeros_like(a), -np.ones_like(a)
    one[:, 0, 2, 3] = -5
    np.testing.assert_allclose(values(evaluate.sparseness(FLAT, IMAGES, {"a": one})), 1 - 1 / 48)
    np.testing.assert_allclose(values(evaluate.sparseness(FLAT, IMAGES, {"a": even})), 0, atol=1e-12)
    assert np.isnan(values(evaluate.sparseness(FLAT, IMAGES, {"a": 0 * a}))).all()


def test_complexity():
    a = draw(4, 2, 4, 6, seed=1)
    p = np.abs(a.reshape(4, -1)) / np.abs(a.reshape(4, -1)).sum(1, keepdims=True)
    np.testing.assert_allclose(values(evaluate.complexity(FLAT, IMAGES, {"a": a})), -(p * np.log(p)).sum(1), rtol=1e-6)
    one = np.zeros_like(a)
    one[:, 1, 0, 5] = 3
    np.testing.assert_allclose(values(evaluate.complexity(FLAT, IMAGES, {"a": one})), 0, atol=1e-12)
    np.testing.assert_allclose(values(evaluate.complexity(FLAT, IMAGES, {"a": np.ones_like(a)})), np.log(48))


def test_max_sensitivity_of_a_linear_model():
    """The gradient never changes; input times gradient changes by (y − x) w, of which every draw gives a lower bound."""
    result = evaluate.max_sensitivity(LINEAR, X, ["gradient", "input_x_gradient"], target=1, radius=0.1, samples=200)
    np.testing.assert_allclose(values(result, method="gradient"), 0, atol=1e-6)
    r = 0.1 * (X.max(1) - X.min(1))
    most = r * np.linalg.norm(W[:, 1]) / np.linalg.norm(X * W[:, 1], axis=1)
    got = values(result, method="input_x_gradient")
    assert (got <= most * (1 + 1e-5)).all()
    assert (got > 0.6 * most).all()
    fewer = values(evaluate.max_sensitivity(LINEAR, X, "input_x_gradient", target=1, radius=0.1, samples=20))
    assert (fewer <= got).all()


def test_max_sensitivity_keeps_the_target():
    """Near the boundary of two classes the argmax changes; the explained class does not."""
    x = np.zeros((1, 2, 4, 6), np.float32)
    x[0, 0, 0, 0] = 1e-4
    best = int((np.tanh(x.reshape(1, -1)) @ KERNEL).argmax())
    got = values(evaluate.max_sensitivity(FLAT, x, "gradient", radius=100, samples=20))
    assert got[0] < 1e-3, best


def test_what_was_explained_before_is_refused():
    with pytest.raises(onnxplain.InputError, match="give a method, not what it explained before"):
        evaluate.max_sensitivity(LINEAR, X, onnxplain.explain(LINEAR, X, "gradient"))
