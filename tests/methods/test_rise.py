"""RISE against its masks, enlarged and shifted pixel by pixel."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from helpers import cnn, draw, mlp, parse, time_major

import onnxplain
from onnxplain import Explainer, InputError
from onnxplain.methods.rise import Rise
from onnxplain.session import Session


def enlarged(grid, size):
    """Bilinear interpolation with pixel centres at halves, the border repeated."""
    out = np.zeros(size)
    for i, j in np.ndindex(*size):
        y = np.clip((i + 0.5) * grid.shape[0] / size[0] - 0.5, 0, grid.shape[0] - 1)
        x = np.clip((j + 0.5) * grid.shape[1] / size[1] - 0.5, 0, grid.shape[1] - 1)
        top, left = int(y), int(x)
        low, right = min(top + 1, grid.shape[0] - 1), min(left + 1, grid.shape[1] - 1)
        v, u = y - top, x - left
        out[i, j] = (1 - v) * ((1 - u) * grid[top, left] + u * grid[top, right]) + v * ((1 - u) * grid[low, left] + u * grid[low, right])
    return out


def drawn(model, x, **params):
    method = Rise(**params)
    f = Explainer(model, method).probe(x)
    return method._draws(f, next(iter(f.x)), 0), f


@pytest.mark.parametrize(("size", "cells"), [((12, 12), (4, 4)), ((11, 7), (3, 2)), ((5, 9), (5, 8))])
def test_masks(size, cells):
    model = parse(f"g (float[N,2,{size[0]},{size[1]}] x) => (float[N,2] y) {{ y = ReduceMean<keepdims=0>(x, axes) }}", axes=np.array([2, 3]))
    draws, _ = drawn(model, draw(2, 2, *size), samples=30, cells=cells)
    masks = draws.masks(range(4, 30))
    assert masks.shape == (26, 1, 1, *size)
    for k, mask in zip(range(4, 30), masks[:, 0, 0]):
        cell = [-(-d // c) for d, c in zip(size, cells)]
        whole = enlarged(draws.grids[k], [(c + 1) * d for c, d in zip(cells, cell)])
        i, j = draws.shifts[:, k]
        assert 0 <= i < cell[0]
        assert 0 <= j < cell[1]
        np.testing.assert_allclose(mask, whole[i : i + size[0], j : j + size[1]], atol=1e-5)


def test_the_draws():
    draws, _ = drawn(cnn().model, cnn().x, samples=4000, cells=2, density=0.3)
    assert abs(draws.grids.mean() - 0.3) < 0.01
    assert set(draws.shifts.ravel()) == {0, 1, 2}
    np.testing.assert_allclose(draws.masks(range(4000)).mean(), 0.3, atol=0.01)


@pytest.mark.parametrize("probability", [True, False])
@pytest.mark.parametrize("batch_size", [None, 10])
def test_the_weighted_mean(probability, batch_size):
    known, target = cnn(), [2, 0, 1]
    params = {"samples": 50, "cells": 3, "density": 0.4, "seed": 3}
    draws, _ = drawn(known.model, known.x, **params)
    baseline = draw(1, 2, 1, 1, seed=8).astype(float)
    got = onnxplain.explain(
        known.model, known.x, "rise", target=target, baseline=baseline, probability=probability, batch_size=batch_size, **params
    ).attribution
    expected = np.zeros((3, 5, 5))
    for mask in draws.masks(range(50))[:, 0, 0].astype(float):
        y = known.forward(baseline + mask * (known.x - baseline))
        y = np.exp(y - y.max(1, keepdims=True)) / np.exp(y - y.max(1, keepdims=True)).sum(1, keepdims=True) if probability else y
        expected += y[range(3), target][:, None, None] * mask / (0.4 * 50)
    np.testing.assert_allclose(got, np.broadcast_to(expected[:, None], got.shape), atol=1e-5 * np.abs(expected).max() + 1e-6)


def test_sequences_vectors_and_volumes():
    known = time_major()
    draws, _ = drawn(known.model, known.x, samples=20, cells=2, probability=False)
    got = onnxplain.explain(known.model, known.x, "rise", samples=20, cells=2, probability=False, target=1).attribution
    masks = draws.masks(range(20))
    assert masks.shape == (20, 4, 1, 1)
    expected = sum(known.forward(m * known.x)[:, 1][None, :, None] * m for m in masks.astype(float)) / 10
    np.testing.assert_allclose(got, np.broadcast_to(expected, got.shape), atol=1e-5)
    assert onnxplain.explain(mlp().model, mlp().x, "rise", samples=5, cells=2).attribution.shape == (5, 3)
    model = parse("g (float[N,1,4,5,6] x) => (float[N,1] y) { y = ReduceMean<keepdims=0>(x, axes) }", axes=np.array([2, 3, 4]))
    draws, _ = drawn(model, draw(1, 1, 4, 5, 6), samples=3, cells=(2, 2, 3))
    masks = draws.masks(range(3))
    assert masks.shape == (3, 1, 1, 4, 5, 6)
    for k in range(3):  # linear along each axis: one plane of a volume whose other grids are constant is the picture's mask
        draws.grids[k] = draws.grids[k][:1]
    flat = draws.masks(range(3))
    np.testing.assert_allclose(flat[:, 0, 0, :1].repeat(4, 1), flat[:, 0, 0], atol=1e-6)


def test_it_stops_when_the_intervals_are_narrow(monkeypatch):
    asked, plain = [], Session.run
    monkeypatch.setattr(Session, "run", lambda self, feeds, *a: asked.append(len(feeds.get("mask:x", ()))) or plain(self, feeds, *a))
    model, counts = parse("g (float[N,1,6,6] x) => (float[N,1] y) { y = ReduceMax<keepdims=0>(x, axes) }", axes=np.array([2, 3])), []
    x = np.zeros((1, 1, 6, 6), np.float32)
    x[..., 1, 1] = 1
    for tolerance in (0.1, 0.3):
        asked.clear()
        explanation = onnxplain.explain(model, x, "rise", cells=2, samples=20000, tolerance=tolerance, probability=False)
        counts.append(sum(asked))
        assert explanation.attribution[0, 0, 1, 1] > 1.3 * explanation.attribution[0, 0, 4, 4]
    assert 30 <= counts[1] < counts[0] < 20000


def test_memory_is_bounded():
    """4000 masks of 64 × 64 would be 65 MB."""
    model = parse("g (float[N,3,64,64] x) => (float[N,3] y) { y = ReduceMean<keepdims=0>(x, axes) }", axes=np.array([2, 3]))
    explainer = Explainer(model, "rise", samples=4000, batch_size=16)
    x = draw(1, 3, 64, 64)
    explainer.explain(x, 0)
    tracemalloc.start()
    try:
        explainer.explain(x, 0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 6e6


@pytest.mark.parametrize(
    ("params", "word"),
    [
        ({"density": 0}, "density"),
        ({"density": "a"}, "density"),
        ({"tolerance": "a"}, "tolerance"),
        ({"cells": 0}, "cells"),
        ({"cells": (2, 2, 2)}, "cells"),
        ({"samples": 0}, "samples"),
        ({"samples": True}, "samples must be an integer of at least 1, got True"),
        ({"density": np.nan}, "density"),
    ],
)
def test_wrong_parameters(params, word):
    with pytest.raises(InputError, match=word):
        onnxplain.explain(cnn().model, cnn().x, "rise", **params)


def test_one_number_a_sample_has_no_places():
    with pytest.raises(InputError, match="'x' holds one number a sample"):
        onnxplain.explain(parse("g (float[N] x) => (float[N] y) { y = Exp(x) }"), np.ones(2, np.float32), "rise")
