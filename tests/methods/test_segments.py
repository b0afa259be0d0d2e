"""What a mask means, and the coalitions that it makes."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import cnn, draw, mlp, parse, time_major, tokens, two_inputs

import onnxplain
from onnxplain import Explainer, InputError
from onnxplain.methods.places import spatial_axes
from onnxplain.methods.segments import SEGMENTATIONS, Game


def game(model, feeds, mask, baseline=0.0, **options):
    return Game.of(Explainer(model, "feature_ablation", **options).probe(feeds), mask, baseline)


def shape_ids(name, shape, axis=0, **options):
    return SEGMENTATIONS[name](np.zeros(shape), axis, spatial_axes(np.zeros(shape), axis), **options)


def test_segments_by_name():
    np.testing.assert_array_equal(shape_ids("elements", (2, 2, 3)), [[[0, 1, 2], [3, 4, 5]]])
    grid = shape_ids("grid", (2, 3, 5, 4), cells=(2, 3))
    assert grid.shape == (1, 1, 5, 4)
    np.testing.assert_array_equal(grid[0, 0], [[0, 0, 1, 2]] * 3 + [[3, 3, 4, 5]] * 2)
    assert len(np.unique(shape_ids("grid", (1, 3, 5, 4)))) == 20  # no more cells than elements
    np.testing.assert_array_equal(shape_ids("channels", (2, 3, 8, 8)).ravel(), [0, 1, 2])
    np.testing.assert_array_equal(shape_ids("channels", (2, 8, 8, 3)).ravel(), [0, 1, 2])
    np.testing.assert_array_equal(shape_ids("tokens", (2, 4, 7)).ravel(), [0, 1, 2, 3])
    np.testing.assert_array_equal(shape_ids("tokens", (4, 2, 7), axis=1).ravel(), [0, 1, 2, 3])
    np.testing.assert_array_equal(shape_ids("time", (2, 3, 6), pieces=4).ravel(), [0, 0, 1, 2, 2, 3])


@pytest.mark.parametrize("name", ["slic", "quickshift", "felzenszwalb"])
@pytest.mark.parametrize(
    ("layout", "channels"), [((0, 1, 2, 3), 1), ((0, 1, 2, 3), 3), ((0, 1, 2, 3), 5), ((0, 2, 3, 1), 1), ((0, 2, 3, 1), 3), ((1, 2, 0, 3), 3)]
)
def test_superpixels_follow_the_picture(name, layout, channels):
    """Two halves of different brightness, at another place in each picture, are never in one segment."""
    x = 0.01 * draw(2, channels, 24, 24)
    for n, edge in enumerate((8, 16)):
        x[n, :, :, edge:] += 1
    options = {"scale": 1, "min_size": 5} if name == "felzenszwalb" else {"max_dist": 6} if name == "quickshift" else {"n_segments": 9}
    moved, axis = x.transpose(layout), layout.index(0)
    ids = SEGMENTATIONS[name](moved, axis, spatial_axes(moved, axis), **options)
    ids = ids.transpose(np.argsort(layout))[:, 0]
    assert ids.shape == (2, 24, 24)
    for n, edge in enumerate((8, 16)):
        left, right = set(ids[n, :, : edge - 1].ravel()), set(ids[n, :, edge + 1 :].ravel())
        assert not left & right
        assert 2 <= len(np.unique(ids[n])) < 100


def test_masks_and_what_is_told():
    known = cnn()
    mask = np.array([[7, 7, 2, 2, 2]] * 5)
    g = game(known.model, known.x, mask)
    assert (g.most, list(g.counts)) == (2, [2])
    masks = g.masks(np.array([[1, 0], [0, 1], [1, 1]]))["x"]
    np.testing.assert_array_equal(masks[:, 0, 0, 0], [[0, 0, 1, 1, 1], [1, 1, 0, 0, 0], [1] * 5])  # numbered by size: 2, then 7
    told = g.told(np.array([[1.0, 2], [3, 4], [5, 6]]))["x"]
    assert told.shape == known.x.shape
    np.testing.assert_array_equal(told[:, 1, 3], [[2, 2, 1, 1, 1], [4, 4, 3, 3, 3], [6, 6, 5, 5, 5]])


def test_masks_that_differ_from_sample_to_sample():
    known = time_major()
    mask = np.zeros((4, 3, 3), int)
    mask[2:, 0], mask[1:, 1, 1:], mask[:, 2] = 5, 8, np.arange(3)
    g = game(known.model, known.x, mask)
    assert list(g.counts) == [2, 2, 3]
    masks = g.masks(np.array([[0, 1, 1]]))["x"][0]
    np.testing.assert_array_equal(masks, np.stack([mask[:, 0] == 5, mask[:, 1] == 8, mask[:, 2] > 0], 1))
    own = np.array([[[1, 0, 0], [0, 1, 0], [1, 0, 1]]])
    np.testing.assert_array_equal(g.masks(own)["x"][0], np.stack([mask[:, 0] == 0, mask[:, 1] == 8, mask[:, 2] != 1], 1))
    told = g.told(np.arange(9.0).reshape(3, 3))["x"]
    np.testing.assert_array_equal(told, np.stack([mask[:, 0] == 5, 3 + (mask[:, 1] == 8), 6 + mask[:, 2]], 1))


def test_the_mean_of_each_segment():
    known = cnn()
    mask = np.array([[0, 0, 1, 1, 1]] * 5)
    baseline = game(known.model, known.x, mask, "segments").baseline["x"]
    np.testing.assert_allclose(baseline[:, :, 2, 1], known.x[..., :2].mean((2, 3)), rtol=1e-5)
    np.testing.assert_allclose(baseline[:, :, 0, 4], known.x[..., 2:].mean((2, 3)), rtol=1e-5)
    with pytest.raises(InputError, match="unknown baseline"):
        game(tokens(), np.array([[1, 2, 3]]), "tokens", "segments", wrt="ids")
    squares = game(known.model, known.x, mask, 0.5).away()
    np.testing.assert_allclose(squares[:, 0], ((known.x[..., :2].astype(float) - 0.5) ** 2).sum((1, 2, 3)), rtol=1e-6)


@pytest.mark.parametrize(
    ("mask", "word"),
    [
        ("slik", "did you mean 'slic'"),
        ("slic", "pictures"),
        ("channels", "no channels"),
        ({"cells": 2}, "by"),
        ({"by": "time", "pieces": 2, "cells": 3}, "cells"),
        ({"by": "grid", "cells": 0}, "cells"),
        ({"by": "time", "pieces": 0}, "pieces"),
        ([[0, 1], [2]], "mask for 'x' must be non-negative integers"),
        (np.array([0.5, 1, 2]), "integers"),
        (np.array([0, -1, 2]), "non-negative"),
        (np.array([0, 1]), "broadcast"),
        (np.zeros((2, 3), int), "2 samples"),
        (np.zeros((9, 3), int), "9 samples"),
    ],
)
def test_wrong_masks(mask, word):
    with pytest.raises(InputError, match=word):
        onnxplain.explain(mlp().model, mlp().x, "feature_ablation", mask=mask)


def test_wrong_superpixels():
    with pytest.raises(InputError, match=r"n_segments.*division by zero"):
        onnxplain.explain(cnn().model, cnn().x, "feature_ablation", mask={"by": "slic", "n_segments": 0})


@pytest.mark.parametrize("mask", ["tokens", "time", "channels"])
def test_one_number_a_sample_has_no_groups(mask):
    model = parse("g (float[N] x) => (float[N] y) { y = Exp(x) }")
    np.testing.assert_allclose(onnxplain.explain(model, np.ones(2, np.float32), "feature_ablation").attribution, [np.e - 1] * 2, rtol=1e-6)
    with pytest.raises(InputError, match=r"a tensor of shape \[2\] holds one number a sample"):
        onnxplain.explain(model, np.ones(2, np.float32), "feature_ablation", mask=mask)


@pytest.mark.parametrize("mask", ["tokens", {"by": "grid", "cells": 5}])
def test_few_tokens_are_places_all_the_same(mask):
    """Of embeddings [N, T, E] in the model tokens are the places, however few there are."""
    ids, table, w = np.array([[1, 5, 2, 7, 3]]), draw(10, 16, seed=80), draw(16, 2, seed=81)
    text = "g (int64[N,S] ids) => (float[N,2] y) { e = Gather(table, ids)\n t = Tanh(e)\n m = ReduceMean<keepdims=0>(t, axes)\n y = Gemm(m, w) }"
    got = onnxplain.explain(parse(text, table=table, w=w, axes=np.array([1])), ids, "feature_ablation", mask=mask, target=1).attribution
    np.testing.assert_allclose(got[0], np.broadcast_to((np.tanh(table[ids[0]]) @ w[:, 1:]) / 5, (5, 16)), atol=1e-6)


def test_one_feature_in_two_tensors():
    feeds = {"a": draw(2, 3), "b": draw(2, 4), "rate": np.array(0.5, np.float32)}
    w = draw(3, 4, seed=70).astype(float)
    f = lambda a, b: (np.tanh(a @ w) * b * 0.5)[:, 2]
    masks = {"a": np.array([[4, 4, 0]]), "b": np.array([[1, 1, 4, 1]])}
    got = onnxplain.explain(two_inputs(), feeds, "feature_ablation", target=2, wrt=["a", "b"], mask=masks).attributions
    both = f(feeds["a"], feeds["b"]) - f(feeds["a"] * [0, 0, 1], feeds["b"] * [1, 1, 0, 1])
    np.testing.assert_allclose(got["a"][:, 0], both, atol=1e-6)
    np.testing.assert_allclose(got["b"][:, 2], both, atol=1e-6)
    np.testing.assert_allclose(got["a"][:, 2], f(feeds["a"], feeds["b"]) - f(feeds["a"] * [1, 1, 0], feeds["b"]), atol=1e-6)
    apart = game(two_inputs(), feeds, {"a": masks["a"], "b": "elements"}, wrt=["a", "b"])
    assert apart.most == 6
    assert not set(apart.ids["a"].ravel()) & set(apart.ids["b"].ravel())
