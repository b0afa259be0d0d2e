"""The weight of evidence, with windows drawn from a known distribution."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import cnn, draw, mlp, parse

import onnxplain
from onnxplain import Explainer, InputError


def softmax(y):
    e = np.exp(y - y.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def evidence(p, q, count, classes):
    """log₂ odds(p) − log₂ odds(q), with Laplace's correction (Zintgraf et al. 2017, eqs. 4 and 5)."""
    p, q = ((v * count + 1) / (count + classes) for v in (p, q))
    return np.log2(p / (1 - p)) - np.log2(q / (1 - q))


def covered(values, shape, window):
    """The mean over the windows [rows, columns, N] that cover a pixel."""
    total, times = np.zeros(shape), np.zeros(shape)
    for i, j in np.ndindex(*values.shape[:2]):
        total[:, :, i : i + window, j : j + window] += values[i, j][:, None, None, None]
        times[:, :, i : i + window, j : j + window] += 1
    return total / times


def test_marginal_sampling():
    known, target, data = cnn(), [2, 0, 1], draw(7, 2, 5, 5, seed=5)
    explainer = Explainer(known.model, "prediction_difference", window=(2, 2), sampling="marginal", samples=7).fit(data)
    kept = explainer.method.patches.whole
    assert sorted(map(tuple, kept.reshape(7, -1))) == sorted(map(tuple, data.reshape(7, -1)))
    p = softmax(known.forward(known.x))[range(3), target]
    values = np.zeros((4, 4, 3))
    for i, j in np.ndindex(4, 4):
        for other in kept:
            x = known.x.astype(float)
            x[:, :, i : i + 2, j : j + 2] = other[:, i : i + 2, j : j + 2]
            values[i, j] += softmax(known.forward(x))[range(3), target] / 7
    expected = covered(evidence(p, values, 7, 3), known.x.shape, 2)
    for size in (None, 5):
        e = Explainer(known.model, explainer.method, batch_size=size).explain(known.x, target)
        np.testing.assert_allclose(e.attribution, expected, atol=1e-4)


def test_conditional_sampling_knows_what_surrounds_the_window():
    """Blocks of a known normal distribution: the mean and covariance of what is drawn are those of the textbook's conditional one."""
    random = np.random.default_rng(0)
    root = random.normal(size=(6, 6)) / 2
    data = (random.normal(size=(30000, 6)) @ root.T + 1).astype(np.float32)
    model = parse("g (float[N,6] x) => (float[N,2] y) { y = MatMul(x, w) }", w=draw(6, 2))
    method = Explainer(model, "prediction_difference", window=2, padding=1, samples=4000, blocks=4).fit([data[:10000], data[10000:]]).method
    # The data are no stationary sequence, so a block's distribution is the mixture over its three places.
    blocks = np.concatenate([data[:, i : i + 4] for i in range(3)]).astype(float)
    np.testing.assert_allclose(method.patches.mean, blocks.mean(0), atol=0.03)
    np.testing.assert_allclose(method.patches.covariance, np.cov(blocks.T, bias=True), atol=0.05)
    assert method.patches.count == 30000

    x = data[:2]
    contents = method.patches.given_surroundings(method._blocks(x, 0), x, 4000, 0)
    mean, cov = method.patches.mean, method.patches.covariance
    for number, start, inside in ((0, 0, [0, 1]), (2, 1, [1, 2]), (4, 2, [2, 3])):  # at the border the window lies off the centre
        outside = [k for k in range(4) if k not in inside]
        gain = cov[np.ix_(inside, outside)] @ np.linalg.inv(cov[np.ix_(outside, outside)])
        left = cov[np.ix_(inside, inside)] - gain @ cov[np.ix_(outside, inside)]
        got = contents(number)
        assert got.shape == (4000, 2, 2)
        for n in range(2):
            around = x[n, start : start + 4][outside].astype(float)
            np.testing.assert_allclose(got[:, n].mean(0), mean[inside] + gain @ (around - mean[outside]), atol=0.06)
            np.testing.assert_allclose(np.cov(got[:, n].T), left, atol=0.06)


def test_conditional_sampling_in_a_picture():
    known, data = cnn(), np.clip(draw(40, 2, 5, 5, seed=5), -1, 1)
    explainer = Explainer(known.model, "prediction_difference", window=(2, 2), padding=1, samples=6).fit(data)
    got = explainer.explain(known.x, [2, 0, 1]).attribution
    contents = explainer.method.patches.given_surroundings(explainer.method._blocks(known.x, 0), known.x, 6, 0)
    p = softmax(known.forward(known.x))[range(3), [2, 0, 1]]
    values = np.zeros((4, 4, 3))
    for i, j in np.ndindex(4, 4):
        for patch in contents(4 * i + j):
            x = known.x.astype(float)
            x[:, :, i : i + 2, j : j + 2] = patch.reshape(3, 2, 2, 2)
            values[i, j] += softmax(known.forward(x))[range(3), [2, 0, 1]] / 6
    np.testing.assert_allclose(got, covered(evidence(p, values, 40, 3), known.x.shape, 2), atol=1e-3)
    split = Explainer(known.model, explainer.method, batch_size=4).explain(known.x, [2, 0, 1]).attribution
    np.testing.assert_allclose(split, got, atol=1e-4)
    low, high = data.min(), data.max()
    drawn = np.concatenate([contents(k) for k in range(16)])
    assert drawn.min() >= low
    assert drawn.max() <= high


@pytest.mark.parametrize("sampling", ["conditional", "marginal"])
def test_no_split_of_the_data_changes_a_digit(sampling):
    known, data = cnn(), draw(9, 2, 5, 5, seed=5)
    learn = lambda X, **options: Explainer(known.model, "prediction_difference", window=2, padding=1, samples=4, sampling=sampling, **options).fit(X)
    whole = learn(data).method.patches
    for other in (learn([data[:2], data[2:]]), learn(np.split(data, 9)), learn(data, batch_size=2)):
        p = other.method.patches
        assert (p.count, p.low, p.high) == (whole.count, whole.low, whole.high)
        for key in ("mean", "covariance", "whole"):
            np.testing.assert_array_equal(getattr(p, key), getattr(whole, key))


def test_what_its_surroundings_tell_is_no_evidence():
    """Two equal columns: knowing one again changes nothing; a model that looks at one of two independent ones needs it."""
    random = np.random.default_rng(1)
    same, apart = np.repeat(random.normal(size=(3000, 1)), 2, 1), random.normal(size=(3000, 2))
    model = parse("g (float[N,2] x) => (float[N,2] y) { z = MatMul(x, w)\n y = Softmax(z) }", w=np.array([[3, 0], [0, 0]], np.float32))
    x = np.array([[1.5, 1.5]], np.float32)
    scores = []
    for data in (same, apart):
        explainer = Explainer(model, "prediction_difference", window=1, padding=1, samples=50).fit(data.astype(np.float32))
        scores.append(explainer.explain(x, 0).attribution[0])
    assert np.abs(scores[0]).max() < 0.05
    assert scores[1][0] > 2
    assert abs(scores[1][1]) < 0.05


@pytest.mark.parametrize(
    ("params", "word"),
    [
        ({}, "window="),
        ({"window": 1, "sampling": "normal"}, "sampling"),
        ({"window": 1, "padding": -1}, "padding"),
        ({"window": 1}, "fit"),
        ({"window": 1, "probability": False}, "odds"),
        ({"window": 1, "patches": 5}, "patches must be what fit.X. learned, or None, got 5"),
    ],
)
def test_wrong_parameters(params, word):
    with pytest.raises(InputError, match=word):
        onnxplain.explain(mlp().model, mlp().x, "prediction_difference", **params)


def test_wrong_targets_and_data():
    explainer = Explainer(mlp().model, "prediction_difference", window=1).fit(draw(10, 3))
    with pytest.raises(InputError, match="between 0 and 1"):
        explainer.explain(mlp().x, np.full((5, 4), 2, np.float32))
    with pytest.raises(InputError, match="at least one batch"):
        Explainer(mlp().model, "prediction_difference", window=1).fit(iter([]))
