"""What perturbation methods share: baselines, probabilities, when to stop."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import cnn, draw, mlp, parse, sequence, tokens
from onnx import TensorProto, helper

import onnxplain
from onnxplain import Explainer, InputError
from onnxplain.methods.perturbation import baseline_of, settled
from onnxplain.methods.places import spatial_axes


def softmax(y):
    e = np.exp(y - y.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


# ---- baselines ----


def test_baselines_made_from_the_sample():
    known = cnn()
    f = Explainer(known.model, "gradient").probe(known.x)
    np.testing.assert_allclose(baseline_of(f, "mean")["x"], known.x.mean((2, 3), keepdims=True), rtol=1e-6)
    blurred = baseline_of(f, "blur")["x"]
    # A Gaussian of deviation 0.5 along both spatial axes, the border's values repeated beyond it, cut off at 4 deviations.
    g = np.exp(-0.5 * (np.arange(-2, 3) / 0.5) ** 2)
    g /= g.sum()
    wide = np.pad(known.x.astype(float), ((0, 0), (0, 0), (2, 2), (2, 2)), mode="edge")
    rows = sum(g[k] * wide[:, :, k : k + 5] for k in range(5))
    np.testing.assert_allclose(blurred, sum(g[k] * rows[:, :, :, k : k + 5] for k in range(5)), atol=1e-5)
    assert baseline_of(f, 0.5)["x"].shape == (1, 1, 1, 1)
    assert baseline_of(f, {"x": np.ones((3, 2, 5, 5))})["x"].shape == (3, 2, 5, 5)


@pytest.mark.parametrize(
    ("baseline", "word"),
    [
        ("blurr", "did you mean 'blur'"),
        (np.nan, "NaN"),
        (np.ones((2, 2, 5, 5)), "2 samples"),
        (np.ones((4, 2, 5, 5)), "4 samples, the batch has 3"),
        (np.ones(4), "broadcast"),
        ([[1], [1, 2]], "numbers"),
        ({"z": 0}, "'x'"),
    ],
)
def test_wrong_baselines(baseline, word):
    with pytest.raises(InputError, match=word):
        onnxplain.explain(cnn().model, cnn().x, "occlusion", window=2, baseline=baseline)


def test_token_ids_have_no_mean():
    with pytest.raises(InputError, match="floats"):
        onnxplain.explain(tokens(), np.array([[1, 2, 3]]), "feature_ablation", wrt="ids", baseline="mean")


@pytest.mark.parametrize("value", [0.7, -1.5, [0, 0.5], -1])
def test_integers_are_not_rounded(value):
    model = parse("g (uint8[N,2] x) => (float[N,2] y) { f = Cast<to=1>(x)\n y = MatMul(f, w) }", w=np.eye(2, dtype=np.float32))
    explained = lambda baseline: onnxplain.explain(model, np.array([[3, 4]]), "occlusion", wrt="x", window=1, target=0, baseline=baseline).attribution
    np.testing.assert_array_equal(explained(1.0), [[2, 0]])
    with pytest.raises(InputError, match="baseline for 'x' must be values of uint8, got"):
        explained(value)


@pytest.mark.parametrize("to", [10, 16])
def test_baselines_made_from_a_sample_in_16_bits(to):
    model = parse(
        f"g (float[N,2,8] x) => (float[N,8] y) {{ h = Cast<to={to}>(x)\n c = Cast<to=1>(h)\n y = ReduceSum<keepdims=0>(c, axes) }}", axes=np.array([1])
    )
    x = draw(2, 2, 8)
    f, wide = (Explainer(model, "gradient", wrt=wrt).probe(x) for wrt in ("h", "c"))
    for baseline in ("mean", "blur"):
        got = baseline_of(f, baseline)["h"]
        assert got.dtype == f.x["h"].dtype
        np.testing.assert_allclose(got.astype(np.float32), baseline_of(wide, baseline)["c"], atol=0.02)
    onnxplain.explain(model, x, "feature_ablation", wrt="h", mask="channels", baseline="segments")


def test_one_rule_for_places_inside():
    f = Explainer(sequence().model, "gradient", wrt="h").probe(sequence().x[:, :2])
    assert f.places("h") == [1]
    assert Explainer(sequence().model, "gradient").probe(sequence().x[:, :2]).places("x") == [2]


@pytest.mark.parametrize(
    ("shape", "axis", "spatial"),
    [
        ((2, 3, 8, 8), 0, [2, 3]),
        ((2, 8, 8, 3), 0, [1, 2]),
        ((2, 16, 4, 4), 0, [2, 3]),
        ((2, 1, 4, 4, 4), 0, [2, 3, 4]),
        ((2, 4, 50), 0, [2]),
        ((50, 2, 4), 1, [0]),
        ((2, 28, 28), 0, [1, 2]),
        ((2, 9), 0, [1]),
        ((3, 8, 8), None, [1, 2]),
    ],
)
def test_where_positions_lie(shape, axis, spatial):
    assert spatial_axes(np.zeros(shape), axis) == spatial


@pytest.mark.parametrize(
    ("shape", "axis", "spatial"),
    [((2, 4, 50), 0, [1]), ((2, 50, 4), 0, [1]), ((2, 28, 28), 0, [1]), ((5, 2, 16), 1, [0]), ((2, 3, 8, 8), 0, [2, 3]), ((2, 9), 0, [1])],
)
def test_where_positions_lie_inside_the_model(shape, axis, spatial):
    assert spatial_axes(np.zeros(shape), axis, inside=True) == spatial


# ---- probabilities ----


def without_softmax(model):
    node = next(n for n in model.graph.node if n.op_type == "Softmax")
    model.graph.node.remove(node)
    model.graph.output.pop()
    model.graph.output.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3]))
    return model


@pytest.mark.parametrize("changed", [lambda m: m, without_softmax])
def test_probabilities_of_logits(changed):
    known = cnn()
    model = changed(known.model)
    p = lambda x: softmax(known.forward(x))[:, 1]
    covered = known.x.copy()
    covered[:, :, :, :3] = 0
    expected = p(known.x) - p(covered)
    for output in (None, "p") if model.graph.node[-1].op_type == "Softmax" else (None,):
        got = onnxplain.explain(model, known.x, "occlusion", window=(5, 3), target=1, probability=True, output=output).attribution
        np.testing.assert_allclose(got[:, 0, 0, 0], expected, atol=1e-6)


def test_other_probabilities():
    x = draw(4, 3)
    drop = lambda f: f(x) - f(x * [0, 1, 1])
    for text, p in {
        "g (float[N,3] x) => (float[N,3] y) { y = LogSoftmax(x) }": lambda x: softmax(x)[:, 0],
        "g (float[N,3] x) => (float[N,3] y) { l = Softmax(x)\n y = Log(l) }": lambda x: softmax(np.log(softmax(x)))[:, 0],
        "g (float[N,3] x) => (float[N,3] y) { y = Sigmoid(x) }": lambda x: 1 / (1 + np.exp(-x[:, 0])),
        "g (float[N,3] x) => (float[N,1] y) { y = ReduceSum(x, axes) }": lambda x: 1 / (1 + np.exp(-x.sum(1))),
    }.items():
        weights = {"axes": np.array([1])} if "axes" in text else {}
        for output in (None, "y"):
            got = onnxplain.explain(parse(text, **weights), x, "feature_ablation", target=0, probability=True, output=output).attribution
            np.testing.assert_allclose(got[:, 0], drop(p), atol=1e-6, err_msg=text)


def test_classes_that_could_be_on_two_axes():
    with pytest.raises(InputError, match="which axis"):
        onnxplain.explain(sequence().model, sequence().x, "feature_ablation", target=(0, 0), probability=True)


# ---- when to stop ----


def test_settled_by_the_widest_interval_of_each_sample():
    mean, variance = np.array([[0.0, 1.0], [0.0, 2.0]]), np.array([[0.1, 0.4], [0.4, 1.6]])
    half = 1.96 * np.sqrt(0.4 / 100)
    assert settled(mean, variance, 100, half * 1.01)
    assert not settled(mean, variance, 100, half * 0.99)
    assert not settled(mean, 1000 * variance, 100, half * 1.01)
    assert not settled(mean, variance * 0, 29, 1.0)


def test_only_forward_passes():
    """No derivative is asked for, and no file can be written."""
    model = parse("g (float[N,3] x) => (float[N,3] y) { r = Round(x)\n y = Mul(r, r) }")
    got = onnxplain.explain(model, np.array([[1.2, 2.4, -3.1]], np.float32), "feature_ablation", target=1).attribution
    np.testing.assert_allclose(got, [[0, 4, 0]])
    with pytest.raises(InputError, match="cannot be written"):
        Explainer(mlp().model, "feature_ablation").save("never.onnx")
