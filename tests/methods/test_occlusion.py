"""Sliding windows against windows cut by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from helpers import cnn, draw, fixed, mlp, parse, time_major, tokens, two_inputs

import onnxplain
from onnxplain import InputError


def slid(score, x, axes, window, stride, baseline=0.0, keep=False):
    """Zeiler and Fergus: every window by itself; each element gets the mean of those that cover it. `score(x)` is [N], axis 0 the batch."""
    total, covered = np.zeros(x.shape), np.zeros(x.shape)
    baseline = np.broadcast_to(baseline, x.shape)
    starts = [range(0, -(-max(x.shape[a] - w, 0) // s) * s + 1, s) for a, w, s in zip(axes, window, stride)]
    for corner in itertools.product(*starts):
        place = [slice(None)] * x.ndim
        for a, c, w in zip(axes, corner, window):
            place[a] = slice(c, c + w)
        place = tuple(place)
        inside, outside = baseline.copy(), x.astype(float)
        inside[place], outside[place] = x[place], baseline[place]
        change = score(inside) - score(baseline) if keep else score(x) - score(outside)
        total[place] += change.reshape(-1, *[1] * (x.ndim - 1))
        covered[place] += 1
    return total / np.maximum(covered, 1)


@pytest.mark.parametrize(
    ("window", "stride", "axes"),
    [
        ((2, 2), (1, 1), (2, 3)),
        (2, None, (2, 3)),
        ((2, 3, 2), (2, 2, 2), (1, 2, 3)),
        ((1, 2, 4), (1, 3, 3), (1, 2, 3)),
        ((4, 4), 2, (2, 3)),
        ((7, 2), (7, 3), (2, 3)),
    ],
)
@pytest.mark.parametrize("keep", [False, True])
def test_windows(window, stride, axes, keep):
    known = cnn()
    target = [0, 2, 1]
    score = lambda x: known.forward(x)[range(3), target]
    w = window if np.ndim(window) else (window,) * 2
    s = w if stride is None else stride if np.ndim(stride) else (stride,) * len(w)
    baseline = draw(1, 2, 1, 1, seed=3)
    params = {"window": w, "stride": stride, "baseline": baseline, "mode": "keep" if keep else "remove"}
    expected = slid(score, known.x, axes, w, s, baseline, keep)
    for batch_size in (None, 4):
        got = onnxplain.explain(known.model, known.x, "occlusion", target=target, batch_size=batch_size, **params).attribution
        np.testing.assert_allclose(got, expected, atol=2e-5)


def test_a_window_that_leaves_gaps():
    known = mlp()
    got = onnxplain.explain(known.model, known.x, "occlusion", window=1, stride=2, target=0).attribution
    assert (got[:, 1] == 0).all()
    assert np.abs(got[:, [0, 2]]).min() > 1e-4


def test_windows_over_channels_last_and_rows():
    from onnxplain.methods.occlusion import Windows

    assert list(Windows.over(np.zeros((2, 8, 8, 3)), 0, [1, 2], (2, 2), None).cover) == [1, 2]
    assert list(Windows.over(np.zeros((2, 8, 8, 3)), 0, [1, 2], 2, None).cover) == [3]
    assert list(Windows.over(np.zeros((8, 2, 3)), 1, [0], 2, None).cover) == [0]


def test_the_batch_on_another_axis():
    known = time_major()
    target = [1, 0, 1]
    score = lambda x: known.forward(np.moveaxis(x, 0, 1))[range(3), target]
    expected = np.moveaxis(slid(score, np.moveaxis(known.x, 1, 0), (1, 2), (2, 2), (1, 1)), 0, 1)
    got = onnxplain.explain(known.model, known.x, "occlusion", window=(2, 2), stride=(1, 1), target=target).attribution
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_a_model_of_fixed_batch_size():
    known = fixed()
    expected = slid(lambda x: known.forward(x)[:, 1], known.x, (1,), (2,), (1,))
    np.testing.assert_allclose(onnxplain.explain(known.model, known.x, "occlusion", window=2, stride=1, target=1).attribution, expected, atol=1e-5)


def test_several_inputs_one_after_the_other_and_one_for_the_whole_batch():
    feeds = {"a": draw(2, 3), "b": draw(2, 4), "rate": np.array(0.5, np.float32)}
    w = draw(3, 4, seed=70).astype(float)
    f = lambda a, b: (np.tanh(a @ w) * b * 0.5)[:, 2]
    got = onnxplain.explain(two_inputs(), feeds, "occlusion", target=2, wrt=["a", "b"], window={"a": 2, "b": 3}).attributions
    for name, width, score in (("a", 2, lambda a: f(a, feeds["b"])), ("b", 3, lambda b: f(feeds["a"], b))):
        np.testing.assert_allclose(got[name], slid(score, feeds[name], (1,), (width,), (width,)), atol=1e-6)
    shared = onnxplain.explain(two_inputs(), {**feeds, "rate": np.float32(2)}, "feature_ablation", target=2, wrt="rate", baseline=1.0)
    np.testing.assert_allclose(shared.attribution, 2 * f(feeds["a"], feeds["b"]).sum(), rtol=1e-5)


def test_a_tensor_inside_and_token_ids():
    model, ids = tokens(), np.array([[3, 1, 4, 1], [5, 9, 2, 6]])
    table, w = draw(10, 3, seed=80).astype(float), draw(3, 2, seed=81).astype(float)
    score = lambda ids: (np.tanh(table[ids.astype(int)]).mean(1) @ w)[:, 1]
    got = onnxplain.explain(model, ids, "occlusion", window=2, stride=1, wrt="ids", target=1, baseline=7).attribution
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, slid(score, ids, (1,), (2,), (1,), 7), atol=1e-6)
    embedded = onnxplain.explain(model, ids, "occlusion", window=(2, 3), target=1).attribution
    vectors = table[ids]
    score = lambda e: (np.tanh(e).mean(1) @ w)[:, 1]
    np.testing.assert_allclose(embedded, slid(score, vectors, (1, 2), (2, 3), (2, 3)), atol=1e-6)


def test_a_window_over_few_tokens():
    """It slides over them, not over the larger extent of their vectors."""
    ids, table, w = np.array([[1, 5, 2]]), draw(10, 8, seed=80), draw(8, 2, seed=81)
    text = "g (int64[N,S] ids) => (float[N,2] y) { e = Gather(table, ids)\n t = Tanh(e)\n m = ReduceSum<keepdims=0>(t, axes)\n y = Gemm(m, w) }"
    got = onnxplain.explain(parse(text, table=table, w=w, axes=np.array([1])), ids, "occlusion", window=1, target=1).attribution
    np.testing.assert_allclose(got[0], np.broadcast_to(np.tanh(table[ids[0]]) @ w[:, 1:], (3, 8)), atol=1e-5)


@pytest.mark.parametrize(
    ("params", "word"),
    [
        ({}, "window="),
        ({"window": 0}, "positive"),
        ({"window": 1.5}, "positive"),
        ({"window": (2, 2)}, "same number"),
        ({"window": 2, "mode": "k"}, "mode"),
        ({"window": 2, "stride": (1, 1)}, "same number"),
    ],
)
def test_wrong_parameters(params, word):
    with pytest.raises(InputError, match=word):
        onnxplain.explain(mlp().model, mlp().x, "occlusion", **params)
