"""Shapley values against the mean over all orders, written out."""

from __future__ import annotations

import itertools
from math import comb

import numpy as np
import pytest
from helpers import cnn, draw, fixed, mlp, parse, time_major, tokens, two_inputs
from onnx import helper

import onnxplain
from onnxplain import InputError
from onnxplain.methods.shapley import _kernel
from onnxplain.session import Session

MASK = np.array([[0, 0, 1, 1, 1], [0, 0, 1, 1, 1], [2, 2, 2, 3, 3], [2, 2, 2, 3, 3], [4, 4, 4, 4, 4]])
METHODS = ["exact_shapley", "kernel_shap"]


def value(score, x, baseline, ids, present):
    """Score of one sample with the features in `present`."""
    return score(np.where(np.isin(ids, list(present)), x, baseline))


def over_orders(score, x, baseline, ids, orders=None):
    """Each feature's gain when it arrives, over all orders (or those given)."""
    features = np.unique(ids)
    gains = np.zeros(len(features))
    orders = list(itertools.permutations(range(len(features)))) if orders is None else orders
    known = {}

    def v(s):
        if s not in known:
            known[s] = value(score, x, baseline, ids, features[list(s)])
        return known[s]

    for order in orders:
        for k, feature in enumerate(order):
            gains[feature] += v(tuple(sorted(order[: k + 1]))) - v(tuple(sorted(order[:k])))
    return gains / len(orders)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("batch_size", [None, 5])
def test_exact_values_of_a_picture(method, batch_size):
    known, target = cnn(), [2, 0, 1]
    e = onnxplain.explain(known.model, known.x, method, mask=MASK, baseline=0.3, target=target, batch_size=batch_size)
    for n, t in enumerate(target):
        score = lambda x, t=t: known.forward(x[None])[0, t]
        expected = over_orders(score, known.x[n].astype(float), 0.3, np.broadcast_to(MASK, (2, 5, 5)))
        np.testing.assert_allclose(e.attribution[n], np.broadcast_to(expected[MASK], (2, 5, 5)), atol=1e-5)
    assert np.abs(e.delta).max() < 1e-5


@pytest.mark.parametrize("features", [62, 63, 64])
def test_more_features_than_a_number_has_bits(features):
    """A linear model's values are w · x, from as many coalitions as there are features."""
    w, x = draw(features, 1), draw(2, features, seed=1)
    model = parse(f"g (float[N,{features}] x) => (float[N,1] y) {{ y = MatMul(x, w) }}", w=w)
    e = onnxplain.explain(model, x, "kernel_shap", samples=4 * features)
    np.testing.assert_allclose(e.attribution, x * w[:, 0], atol=1e-4)
    assert np.abs(e.delta).max() < 1e-4
    coalitions = np.random.default_rng(0).random((2 * features, features)) < 0.5
    e = onnxplain.explain(model, x, "kernel_shap", coalitions=coalitions.astype(int))
    np.testing.assert_allclose(e.attribution, x * w[:, 0], atol=1e-4)


def test_weights_of_many_features_do_not_vanish():
    np.testing.assert_allclose(_kernel(np.array([1, 2, 3]), 4), [1, comb(4, 1) * 3 / (comb(4, 2) * 4), 1])
    np.testing.assert_allclose(_kernel(np.array([2500, 2501]), 5000), [2499 / 2500, 1])


@pytest.mark.parametrize("method", METHODS)
def test_groups_that_differ_from_sample_to_sample(method):
    known = mlp()
    mask = np.array([[0, 0, 1], [0, 1, 1], [0, 1, 2], [3, 3, 3], [1, 0, 1]])
    e = onnxplain.explain(known.model, known.x, method, mask=mask, target=1)
    for n, x in enumerate(known.x.astype(float)):
        ids = np.unique(mask[n], return_inverse=True)[1]
        np.testing.assert_allclose(e.attribution[n], over_orders(lambda v: known.forward(v[None])[0, 1], x, 0.0, ids)[ids], atol=1e-5)
    assert np.abs(e.delta).max() < 1e-5


@pytest.mark.parametrize("method", [*METHODS, "shapley_sampling"])
def test_a_samples_numbers_are_its_own_whatever_else_is_in_the_batch(method):
    known = mlp()
    mask = np.array([[0, 0, 1], [0, 1, 1], [0, 1, 2], [3, 3, 3], [1, 0, 1]])
    params = {"samples": 5, "target": 1}
    if method == "exact_shapley":
        del params["samples"]
    together = onnxplain.explain(known.model, known.x, method, mask=mask, **params).attribution
    for n, x in enumerate(known.x):
        alone = onnxplain.explain(known.model, x[None], method, mask=mask[n], **params).attribution
        np.testing.assert_allclose(together[n], alone[0], atol=1e-6)


@pytest.mark.parametrize("method", [*METHODS, "shapley_sampling"])
def test_completeness(method):
    known = cnn()
    for params in ({"mask": MASK}, {"mask": {"by": "grid", "cells": 3}, "baseline": "mean"}):
        e = onnxplain.explain(known.model, known.x, method, target=1, **params)
        assert np.abs(e.delta).max() < 1e-4
        baseline = known.x.mean((2, 3), keepdims=True) if "baseline" in params else 0 * known.x
        gap = known.forward(known.x)[:, 1] - known.forward(np.broadcast_to(baseline, known.x.shape))[:, 1]
        ids = MASK if "baseline" not in params else (np.arange(5) * 3 // 5)[:, None] * 3 + np.arange(5) * 3 // 5
        firsts = [np.flatnonzero(ids.ravel() == i)[0] for i in np.unique(ids)]
        np.testing.assert_allclose(e.attribution[:, 0].reshape(3, -1)[:, firsts].sum(1), gap, atol=1e-4)


# ---- sampled orders ----


def test_given_permutations():
    known, target = cnn(), [2, 0, 1]
    orders = np.array([[4, 0, 2, 1, 3], [1, 2, 3, 4, 0], [0, 1, 2, 3, 4]])
    for batch_size in (None, 4):
        e = onnxplain.explain(known.model, known.x, "shapley_sampling", mask=MASK, permutations=orders, target=target, batch_size=batch_size)
        for n, t in enumerate(target):
            expected = over_orders(lambda x, t=t: known.forward(x[None])[0, t], known.x[n].astype(float), 0.0, np.broadcast_to(MASK, (2, 5, 5)), orders)
            np.testing.assert_allclose(e.attribution[n, 0], expected[MASK], atol=1e-5)
        assert np.abs(e.delta).max() < 1e-5


def test_drawn_orders_come_near_and_do_not_depend_on_the_split():
    known = cnn()
    exact = onnxplain.explain(known.model, known.x, "exact_shapley", mask=MASK, target=1).attribution
    run = lambda **p: onnxplain.explain(known.model, known.x, "shapley_sampling", mask=MASK, target=1, **p).attribution
    assert np.abs(run(samples=300) - exact).max() < 0.05 * np.abs(exact).max()
    np.testing.assert_allclose(run(samples=7, batch_size=2), run(samples=7), atol=1e-6)
    assert np.abs(run(samples=7, seed=1) - run(samples=7)).max() > 1e-3


def test_it_stops_when_the_intervals_are_narrow(monkeypatch):
    asked, plain = [], Session.run
    monkeypatch.setattr(Session, "run", lambda self, feeds, *a: asked.append(len(feeds.get("mask:x", ()))) or plain(self, feeds, *a))
    known = cnn()
    exact = onnxplain.explain(known.model, known.x[:1], "exact_shapley", mask=MASK, target=1).attribution

    def run(tolerance):
        asked.clear()
        params = {"mask": MASK, "samples": 4000, "tolerance": tolerance, "batch_size": 8}
        return onnxplain.explain(known.model, known.x[:1], "shapley_sampling", target=1, **params), sum(asked)

    e, passes = run(0.05)
    assert 120 <= passes < 16000
    assert np.abs(e.attribution - exact).max() < 0.1 * np.ptp(exact)
    assert np.abs(e.delta).max() < 1e-5
    assert 120 <= run(0.3)[1] < passes


def test_one_feature_and_two():
    known = mlp()
    for method in (*METHODS, "shapley_sampling"):
        one = onnxplain.explain(known.model, known.x, method, mask=np.zeros((1, 3), int), target=2)
        gap = known.forward(known.x)[:, 2] - known.forward(0 * known.x)[:, 2]
        np.testing.assert_allclose(one.attribution, np.repeat(gap[:, None], 3, 1), atol=1e-5)
        assert np.abs(one.delta).max() < 1e-6


# ---- coalitions ----


def test_given_coalitions_with_weights():
    """Against the constrained least squares, solved with a multiplier."""
    known = mlp()
    z = np.random.default_rng(3).integers(0, 2, (12, 3))
    for weights in (None, np.linspace(0.5, 2, 12)):
        e = onnxplain.explain(known.model, known.x, "kernel_shap", coalitions=z, weights=weights, baseline=0.1, target=1)
        proper = (z.sum(1) > 0) & (z.sum(1) < 3)
        own, sizes = z[proper].astype(float), z[proper].sum(1)
        w = np.array([2 / (comb(3, s) * s * (3 - s)) for s in sizes]) if weights is None else weights[proper]
        for n, x in enumerate(known.x.astype(float)):
            score = lambda x: known.forward(x[None])[0, 1]
            y = np.array([score(np.where(r, x, 0.1)) for r in own]) - score(np.full(3, 0.1))
            system = np.block([[own.T @ (w[:, None] * own), np.ones((3, 1))], [np.ones((1, 3)), np.zeros((1, 1))]])
            total = score(x) - score(np.full(3, 0.1))
            np.testing.assert_allclose(e.attribution[n], np.linalg.solve(system, np.r_[own.T @ (w * y), total])[:3], atol=1e-5)
        assert np.abs(e.delta).max() < 1e-5


def test_too_few_coalitions_leave_equal_shares():
    model = parse("g (float[N,4] x) => (float[N,1] y) { y = ReduceSum(x, axes) }", axes=np.array([1]))
    x = np.array([[1, 2, 3, 6]], np.float32)
    e = onnxplain.explain(model, x, "kernel_shap", coalitions=[[1, 1, 0, 0]])
    np.testing.assert_allclose(e.attribution, [[1.5, 1.5, 4.5, 4.5]], atol=1e-5)


def test_drawn_coalitions():
    known = parse(
        "g (float[N,16] x) => (float[N,1] y) { t = Tanh(x)\n s = Mul(t, w)\n z = ReduceSum(s, axes)\n y = Tanh(z) }",
        w=0.3 * draw(16, seed=4),
        axes=np.array([1]),
    )
    x = draw(2, 16, seed=5)
    run = lambda **p: onnxplain.explain(known, x, "kernel_shap", **p)
    exact = onnxplain.explain(known, x, "exact_shapley").attribution
    for samples in (300, 301, 3000):
        e = run(samples=samples)
        assert np.abs(e.delta).max() < 1e-5
        assert np.abs(e.attribution - exact).max() < (0.05 if samples < 1000 else 0.01)
    np.testing.assert_allclose(run(samples=300, batch_size=7).attribution, run(samples=300).attribution, atol=1e-5)
    assert np.abs(run(samples=300, seed=1).attribution - run(samples=300).attribution).max() > 1e-5


def test_coalitions_are_drawn_by_the_kernel():
    """Sizes come as often as their weights say, each coalition with its complement, and within a size every feature alike."""
    from onnxplain.methods.shapley import KernelShap

    z, w = KernelShap(samples=20000)._table(15, 15)
    assert (w == 1).all()
    np.testing.assert_array_equal(z[:10000] + z[10000:], 1)
    chance = np.array([14 / (k * (15 - k)) for k in range(1, 15)])
    np.testing.assert_allclose(np.bincount(z.sum(1).astype(int), minlength=15)[1:] / 20000, chance / chance.sum(), atol=0.01)
    np.testing.assert_allclose(z.mean(0), 0.5, atol=0.02)


# ---- other models ----


def test_other_axes_shared_inputs_and_fixed_batches():
    known = time_major()
    ids = np.broadcast_to(np.arange(4)[:, None], (4, 3))
    e = onnxplain.explain(known.model, known.x, "kernel_shap", mask="tokens", target=[1, 0, 1])
    for n, t in enumerate([1, 0, 1]):
        expected = over_orders(lambda v, t=t: known.forward(v[:, None])[0, t], known.x[:, n].astype(float), 0.0, ids)
        np.testing.assert_allclose(e.attribution[:, n], expected[ids], atol=1e-5)
    known = fixed()
    e = onnxplain.explain(known.model, known.x, "kernel_shap", target=1)
    for n, x in enumerate(known.x.astype(float)):
        np.testing.assert_allclose(e.attribution[n], over_orders(lambda v: known.forward(v[None])[0, 1], x, 0.0, np.arange(3)), atol=1e-5)
    assert e.delta.shape == (5,)
    feeds = {"a": draw(2, 3), "b": draw(2, 4), "rate": np.array(0.5, np.float32)}
    shared = onnxplain.explain(two_inputs(), feeds, "shapley_sampling", target=2, wrt="rate")
    assert shared.attribution.shape == ()
    assert shared.delta.shape == (1,)
    np.testing.assert_allclose(shared.attribution, (np.tanh(feeds["a"] @ draw(3, 4, seed=70)) * feeds["b"] * 0.5)[:, 2].sum(), rtol=1e-5)


def test_embeddings_inside():
    ids = np.array([[3, 1, 4], [5, 9, 2]])
    table, w = draw(10, 3, seed=80).astype(float), draw(3, 2, seed=81).astype(float)
    e = onnxplain.explain(tokens(), ids, "kernel_shap", mask="tokens", target=1)
    for n in range(2):
        score = lambda v: (np.tanh(v).mean(0) @ w)[1]
        expected = over_orders(score, table[ids[n]], 0.0, np.broadcast_to(np.arange(3)[:, None], (3, 3)))
        np.testing.assert_allclose(e.attribution[n], np.broadcast_to(expected[:, None], (3, 3)), atol=1e-6)


def trees():
    """y = 1 + [x₀ > 0] · (2 + 3 [x₁ > 1]) − 4 [x₂ > 0.5], as two trees."""
    node = lambda *rows: {k: list(v) for k, v in zip(("treeids", "nodeids", "featureids", "values", "modes", "truenodeids", "falsenodeids"), zip(*rows))}
    nodes = node(
        (0, 0, 0, 0.0, "BRANCH_LEQ", 1, 2),
        (0, 1, 0, 0.0, "LEAF", 0, 0),
        (0, 2, 1, 1.0, "BRANCH_LEQ", 3, 4),
        (0, 3, 0, 0.0, "LEAF", 0, 0),
        (0, 4, 0, 0.0, "LEAF", 0, 0),
        (1, 0, 2, 0.5, "BRANCH_LEQ", 1, 2),
        (1, 1, 0, 0.0, "LEAF", 0, 0),
        (1, 2, 0, 0.0, "LEAF", 0, 0),
    )
    leaves = {"target_treeids": [0, 0, 0, 1, 1], "target_nodeids": [1, 3, 4, 1, 2], "target_ids": [0] * 5, "target_weights": [0.0, 2.0, 5.0, 0.0, -4.0]}
    renamed = {f"nodes_{k}": v for k, v in nodes.items()}
    ensemble = helper.make_node("TreeEnsembleRegressor", ["x"], ["y"], domain="ai.onnx.ml", n_targets=1, base_values=[1.0], **renamed, **leaves)
    info = helper.make_tensor_value_info
    graph = helper.make_graph([ensemble], "g", [info("x", 1, ["N", 3])], [info("y", 1, ["N", 1])])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 1)], ir_version=9)


def test_tree_ensembles():
    x = np.array([[1, 2, 1], [1, 0, 0], [-1, 2, 1]], np.float32)
    score = lambda v: 1 + (v[0] > 0) * (2 + 3 * (v[1] > 1)) - 4 * (v[2] > 0.5)
    for method in (*METHODS, "shapley_sampling"):
        e = onnxplain.explain(trees(), x, method, **({"samples": 400} if method == "shapley_sampling" else {}))
        expected = np.stack([over_orders(score, row, 0.0, np.arange(3)) for row in x])
        np.testing.assert_allclose(e.attribution, expected, atol=0.2 if method == "shapley_sampling" else 1e-5)
    drops = onnxplain.explain(trees(), x, "feature_ablation").attribution
    np.testing.assert_allclose(drops, [[5, 3, -4], [2, 0, 0], [0, 0, -4]], atol=1e-6)


def test_too_many_features_for_a_linear_model():
    model = parse("g (float[N,3,60,60] x) => (float[N,3] y) { y = ReduceMean<keepdims=0>(x, axes) }", axes=np.array([2, 3]))
    for method in ("kernel_shap", "lime"):
        with pytest.raises(InputError, match="coarser"):
            onnxplain.explain(model, draw(1, 3, 60, 60), method, mask="elements")


@pytest.mark.parametrize(
    ("method", "params", "word"),
    [
        ("exact_shapley", {"mask": np.arange(25).reshape(5, 5)}, "at most 20"),
        ("shapley_sampling", {"permutations": [[0, 1]]}, "permutations"),
        ("shapley_sampling", {"permutations": [[0, 1, 2, 3, 3]], "mask": MASK}, "each row"),
        ("shapley_sampling", {"samples": 0}, "samples"),
        ("shapley_sampling", {"tolerance": -1}, "tolerance"),
        ("kernel_shap", {"coalitions": [[1, 0]], "mask": MASK}, "one column a feature"),
        ("kernel_shap", {"coalitions": [[1, 1, 1, 1, 1]], "mask": MASK}, "a part of the features"),
        ("kernel_shap", {"coalitions": [[1, 0, 0, 0, 0]], "weights": [1, 2], "mask": MASK}, "1 numbers"),
        ("kernel_shap", {"weights": [1, 2]}, "coalitions= too"),
        ("kernel_shap", {"seed": -1}, "seed"),
        ("kernel_shap", {"coalitions": [[1, 0], [1]], "mask": MASK}, "coalitions must be zeros and ones"),
        ("kernel_shap", {"coalitions": [[1, 0, 0, 0, 0]], "weights": ["a"], "mask": MASK}, "weights must be numbers"),
        ("shapley_sampling", {"tolerance": "a"}, "tolerance"),
        ("shapley_sampling", {"permutations": np.zeros((0, 5), int), "mask": MASK}, r"permutations must be .* got shape \[0, 5\]"),
        ("kernel_shap", {"coalitions": np.zeros((0, 5)), "mask": MASK}, "coalitions must be zeros and ones"),
        ("kernel_shap", {"coalitions": [[1, 0, 0, 0, 0]], "weights": [np.inf], "mask": MASK}, "weights holds NaN or infinity"),
    ],
)
def test_wrong_parameters(method, params, word):
    with pytest.raises(InputError, match=word):
        onnxplain.explain(cnn().model, cnn().x, method, **params)
