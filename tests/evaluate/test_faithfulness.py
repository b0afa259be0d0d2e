"""Pixel flipping, sums against scores, completeness: on a linear model everything is known by hand."""

import itertools

import numpy as np
import pytest
from helpers import draw, fixed, mlp, time_major, tokens
from scipy.integrate import trapezoid

import onnxplain
from onnxplain import evaluate

from .known import FLAT, IMAGES, LINEAR, B, W, X, curves, flat, linear, values


def flipped(f, x, order, target, fill=0.0):
    """The score while more and more elements are replaced, one by one."""
    x, scores = np.array(x, np.float64), []
    for step in [[], *order]:
        x.ravel()[step] = np.ravel(np.broadcast_to(fill, x.shape))[step]
        scores.append(f(x[None], target)[0])
    return np.array(scores)


# ---- deletion and insertion ----


def test_deletion_of_a_linear_model():
    result = evaluate.deletion(LINEAR, X, "input_x_gradient", target=1, steps=6, fill=0.25)
    for k, (x, curve) in enumerate(zip(X, curves(result))):
        expected = flipped(linear, x, np.argsort(-x * W[:, 1]), 1, 0.25)
        np.testing.assert_allclose(curve, expected, atol=1e-5)
        np.testing.assert_allclose(result.records[k]["value"], ((expected[1:] + expected[:-1]) / 2).mean(), atol=1e-5)
    assert result.records[0]["at"] == pytest.approx(np.arange(7) / 6)


def test_no_order_beats_the_oracle():
    """With nothing in its place, a linear model falls fastest in the order of its exact contributions; the other end is slowest."""
    area = values(evaluate.deletion(LINEAR, X[:1], "input_x_gradient", target=0, steps=6))[0]
    put_back = values(evaluate.insertion(LINEAR, X[:1], "input_x_gradient", target=0, steps=6))[0]
    areas = [trapezoid(flipped(linear, X[0], order, 0), dx=1 / 6) for order in itertools.permutations(range(6))]
    assert area == pytest.approx(min(areas), abs=1e-5)
    assert put_back == pytest.approx(max(areas), abs=1e-5)
    least = values(evaluate.deletion(LINEAR, X[:1], "input_x_gradient", target=0, steps=6, order="least"))[0]
    gain = values(evaluate.relevance_gain(LINEAR, X[:1], "input_x_gradient", target=0, steps=6))[0]
    assert least == pytest.approx(put_back)
    assert gain == pytest.approx(max(areas) - min(areas), abs=1e-5)


def test_insertion_runs_from_nothing_to_everything():
    result = evaluate.insertion(LINEAR, X, "input_x_gradient", target=2, steps=6)
    for x, curve in zip(X, curves(result)):
        order = np.argsort(-x * W[:, 2])
        kept = [linear((x * np.isin(np.arange(6), order[:k]))[None], 2)[0] for k in range(7)]
        np.testing.assert_allclose(curve, kept, atol=1e-5)


def test_relative_and_absolute_and_fewer_steps():
    result = evaluate.deletion(LINEAR, X, "input_x_gradient", target=1, steps=4, absolute=True, relative=True)
    at = np.array([0, 2, 3, 4, 6])  # round(6 · k / 4), halves to even
    for x, curve, record in zip(X, curves(result), result):
        full = flipped(linear, x, np.argsort(-np.abs(x * W[:, 1])), 1)[at]
        expected = (full - full[-1]) / (full[0] - full[-1])
        np.testing.assert_allclose(curve, expected, atol=1e-4)
        assert record["at"] == pytest.approx(at / 6)
        assert record["value"] == pytest.approx(trapezoid(expected, at / 6), abs=1e-4)


def test_regions_are_ordered_by_their_sums():
    """Blocks of 3 × 4 places of a 4 × 6 image, the last ones cut; both channels go together."""
    explanation = onnxplain.explain(FLAT, IMAGES, "input_x_gradient", target=1)
    result = evaluate.deletion(FLAT, IMAGES, explanation, target=1, region=(3, 4), steps=99)
    blocks = [(slice(r, r + 3), slice(c, c + 4)) for r in (0, 3) for c in (0, 4)]
    for x, a, curve in zip(IMAGES, explanation.attribution, curves(result)):
        sums = [a[:, r, c].sum(dtype=np.float64) for r, c in blocks]
        x, expected = x.copy(), [flat(x[None], 1)[0]]
        for k in np.argsort(sums)[::-1]:
            x[:, *blocks[k]] = 0
            expected.append(flat(x[None], 1)[0])
        np.testing.assert_allclose(curve, expected, atol=1e-4)


def test_segments_as_regions():
    labels = np.repeat(np.array([[7, 7, 3, 3, 9, 9]]), 4, 0)
    blocks = evaluate.deletion(FLAT, IMAGES, "input_x_gradient", target=0, region=(4, 2))
    np.testing.assert_allclose(curves(evaluate.deletion(FLAT, IMAGES, "input_x_gradient", target=0, region=labels)), curves(blocks), atol=1e-5)


def test_a_map_of_another_resolution_is_stretched():
    coarse = draw(4, 1, 2, 3, seed=9)
    result = evaluate.deletion(FLAT, IMAGES, {"coarse": coarse}, target=0, region=2, steps=6)
    same = evaluate.deletion(FLAT, IMAGES, {"fine": coarse.repeat(2, 2).repeat(2, 3)}, target=0, region=2, steps=6)
    assert np.array(curves(result)).shape == (4, 7)
    np.testing.assert_allclose(curves(result)[:, [0, -1]], curves(same)[:, [0, -1]], atol=1e-6)


def test_equal_units_go_in_random_order():
    """A map of zeros is no better than chance, whatever the image's top left holds."""
    zeros = {"zeros": np.zeros_like(X)}
    first, again, other = (curves(evaluate.deletion(LINEAR, X, zeros, target=0, seed=s)) for s in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.01


def test_probability():
    result = evaluate.deletion(LINEAR, X, "input_x_gradient", target=1, steps=6, probability=True)
    for x, curve in zip(X, curves(result)):
        moved, expected = x.astype(np.float64), []
        for k in [None, *np.argsort(-x * W[:, 1])]:
            moved[[] if k is None else k] = 0
            y = np.exp(moved @ W + B)
            expected.append(y[1] / y.sum())
        np.testing.assert_allclose(curve, expected, atol=1e-5)


# ---- any layout ----


def test_batch_on_another_axis():
    known = time_major()
    a = onnxplain.explain(known.model, known.x, "input_x_gradient", target=1)
    got = curves(evaluate.deletion(known.model, known.x, a, target=1, region=1, steps=4))
    for n in range(3):
        sums = a.attribution[:, n].sum(1, dtype=np.float64)
        x, expected = known.x[:, n : n + 1].copy(), [known.forward(known.x[:, n : n + 1])[0, 1]]
        for step in np.argsort(-sums):
            x[step] = 0
            expected.append(known.forward(x)[0, 1])
        np.testing.assert_allclose(got[n], expected, atol=1e-5)


def test_a_model_of_fixed_batch_size():
    known = fixed()
    got = evaluate.deletion(known.model, known.x, "input_x_gradient", target=3, steps=3)
    assert [r["sample"] for r in got] == list("01234")
    for x, curve in zip(known.x, curves(got)):
        slope = (1 - np.tanh(x.astype(np.float64)) ** 2) * np.array(onnxplain.load(known.model).raw.constants["w"].numpy(), np.float64)[:, 3]
        expected = flipped(lambda v, t: known.forward(v)[:, t], x, np.argsort(-x * slope), 3)
        np.testing.assert_allclose(curve, expected, atol=1e-5)


def test_a_tokens_embedding_is_one_place():
    ids = np.array([[1, 2, 3, 4], [5, 6, 7, 8]])
    result = evaluate.deletion(tokens(), ids, "input_x_gradient", target=0, steps=9)
    assert all(len(c) == 5 for c in curves(result))


# ---- sensitivity-n, infidelity, completeness ----


def test_sensitivity_n_of_exact_attributions_is_one():
    result = evaluate.sensitivity_n(LINEAR, X, ["input_x_gradient", "random"], target=1, sizes=[1, 3, 5], subsets=30)
    np.testing.assert_allclose(values(result, method="input_x_gradient"), 1, atol=1e-5)
    assert np.abs(values(result, method="random")).max() < 0.95
    opposite = {"opposite": -onnxplain.explain(LINEAR, X, "input_x_gradient", target=1).attribution}
    np.testing.assert_allclose(values(evaluate.sensitivity_n(LINEAR, X, opposite, target=1, subsets=30)), -1, atol=1e-5)


def test_sensitivity_n_of_single_elements():
    """Subsets of one, or of all but one: with many draws every element comes up, and r is near that over the elements."""
    a = draw(5, 6, seed=8)
    expected = [np.corrcoef(r, x * W[:, 0])[0, 1] for r, x in zip(a, X)]
    for n in (1, 5):
        got = values(evaluate.sensitivity_n(LINEAR, X, {"a": a}, target=0, sizes=[n], subsets=800))
        np.testing.assert_allclose(got, expected, atol=0.12)


def test_infidelity_of_a_linear_models_gradient_is_zero():
    for params in ({}, {"perturbation": "remove"}, {"perturbation": "remove", "region": 2, "fill": "mean"}):
        result = evaluate.infidelity(LINEAR, X, ["gradient", "input_x_gradient"], target=2, **params)
        np.testing.assert_allclose(values(result, method="gradient"), 0, atol=1e-9)
        assert values(result, method="input_x_gradient").min() > 1e-3


def test_infidelity_by_hand():
    a = draw(5, 6, seed=8).astype(np.float64)
    for scaled in (False, True):
        got = values(evaluate.infidelity(LINEAR, X, {"a": a}, target=0, perturbation="remove", fill=0.5, scaled=scaled))
        moved, truth = (X - 0.5) * a, (X - 0.5) * W[:, 0]
        best = (moved * truth).sum(1) / (moved**2).sum(1) if scaled else np.ones(5)
        np.testing.assert_allclose(got, ((best[:, None] * moved - truth) ** 2).mean(1), rtol=1e-3)
    # Noise of the deviation σ: E[(Iᵀ (a − w))²] = σ² ‖a − w‖².
    got = values(evaluate.infidelity(LINEAR, X, {"a": a}, target=0, scale=0.3, samples=1500))
    sigma = 0.3 * (X.max(1) - X.min(1))
    np.testing.assert_allclose(got, sigma**2 * ((a - W[:, 0]) ** 2).sum(1), rtol=0.15)


def test_completeness():
    result = evaluate.completeness(LINEAR, X, ["input_x_gradient", "integrated_gradients", "gradient"], target=1)
    np.testing.assert_allclose(values(result, method="input_x_gradient"), 0, atol=1e-5)
    np.testing.assert_allclose(values(result, method="integrated_gradients"), 0, atol=1e-5)
    np.testing.assert_allclose(values(result, method="gradient"), np.abs(W[:, 1].sum() - X @ W[:, 1]), atol=1e-5)
    few = {"method": "integrated_gradients", "steps": 2, "baseline": 0.5}
    expected = onnxplain.explain(mlp().model, mlp().x, target=1, **few).delta
    np.testing.assert_allclose(values(evaluate.completeness(mlp().model, mlp().x, few, target=1)), np.abs(expected), rtol=1e-6)
    moved = evaluate.completeness(LINEAR, X, "input_x_gradient", target=1, baseline=2.0)
    np.testing.assert_allclose(values(moved), np.abs(2.0 * W[:, 1].sum()), atol=1e-5)


# ---- what is refused ----


@pytest.mark.parametrize(
    ("metric", "params", "message"),
    [
        ("deletion", {"order": "best"}, "order must be 'most' or 'least'"),
        ("deletion", {"steps": 0}, "steps must be an integer of at least 1"),
        ("deletion", {"region": 0}, "region must be a positive integer"),
        ("deletion", {"region": np.zeros((3, 3), int)}, "wanted integer labels"),
        ("deletion", {"fill": "blurr"}, "did you mean 'blur'"),
        ("deletion", {"fil": 0}, "unknown option 'fil'"),
        ("sensitivity_n", {"sizes": [7]}, "from 1 to the 6 units"),
        ("sensitivity_n", {"sizes": [[1], [1, 2]]}, "sizes must be integers"),
        ("infidelity", {"perturbation": "shake"}, "perturbation must be"),
        ("infidelity", {"scale": "a"}, "scale must be a finite number"),
        ("max_sensitivity", {"radius": -1}, "radius must be a finite number, not negative"),
        ("deletion", {"seed": -1}, "seed must be"),
    ],
)
def test_bad_parameters(metric, params, message):
    with pytest.raises(onnxplain.InputError, match=message):
        getattr(evaluate, metric)(LINEAR, X, "gradient", **params)


@pytest.mark.parametrize(
    ("metric", "params"), [("infidelity", {}), ("max_sensitivity", {}), ("deletion", {"fill": "noise"}), ("deletion", {"fill": "inpaint"})]
)
def test_noise_in_token_ids_is_refused(metric, params):
    method = {"method": "occlusion", "window": 1}
    with pytest.raises(onnxplain.InputError, match="needs floats, 'ids' has dtype int64"):
        getattr(evaluate, metric)(tokens(), np.array([[1, 2, 3, 4]]), method, target=0, wrt="ids", **params)


def test_nothing_orders_nan():
    a = draw(5, 6)
    a[2, 3] = np.nan
    got = values(evaluate.deletion(LINEAR, X, {"a": a}, target=0))
    assert np.flatnonzero(np.isnan(got)).tolist() == [2]


def test_attributions_of_another_shape():
    with pytest.raises(onnxplain.InputError, match=r"the attribution of 'x' has shape \[5, 4\], wanted \[5, 6\]"):
        evaluate.deletion(LINEAR, X, {"a": draw(5, 4)})
