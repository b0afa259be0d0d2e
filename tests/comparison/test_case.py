"""What a model answers, in words."""

from __future__ import annotations

import numpy as np
import pytest

from onnxplain import Explanation
from onnxplain.comparison.case import class_of, probabilities, short


def answering(y, target=(0,)):
    return Explanation({}, {"y": np.asarray(y, np.float32)}, np.asarray(target), "gradient")


def test_probabilities_are_the_models_own_or_the_softmax_of_scores():
    np.testing.assert_allclose(probabilities(answering([[0.25, 0.75]])), [[0.25, 0.75]])
    np.testing.assert_allclose(probabilities(answering([[1000.0, 1000.0 + np.log(3)]])), [[0.25, 0.75]], atol=1e-4)
    assert probabilities(answering([[0.9, 0.8, 0.1]])) is None  # each for itself
    assert probabilities(answering([[3.0]])) is None
    assert probabilities(answering([[np.nan, 1.0]])) is None


@pytest.mark.parametrize(("target", "index"), [([7], 7), ([[4, 0, 0]], 4), ([[0, 0]], 0), ([[3, 2]], None), ([[1, -2]], None)])
def test_the_explained_class(target, index):
    assert class_of(answering([[0.0]], target), 0) == index


def test_weights_are_no_class():
    assert class_of(answering([[0.0]], np.ones((1, 2), np.float32)), 0) is None


def test_short_names():
    assert short("n02124075 Egyptian cat, mau") == "Egyptian cat"
    assert short("great white shark of the sea") == "great white shark of\nthe sea"
