"""gradient, saliency, input_x_gradient against differences of the same function in NumPy."""

import numpy as np
import onnx
import pytest
from helpers import cnn, conv, fixed, mlp, parse, run, sequence, time_major, tokens

import onnxplain


def explained(known, method="gradient", **options):
    return onnxplain.explain(known.model, known.x, method, **options)


@pytest.mark.parametrize("make", [mlp, lambda: mlp(relu=True), cnn, fixed, time_major], ids=["mlp", "relu", "cnn", "fixed", "time_major"])
def test_gradient(make):
    known = make()
    n, classes = known.forward(known.x).shape if make is not fixed else (5, 4)
    target = [k % classes for k in range(n)]
    expected = known.slope(known.x, known.one_hot(target))
    np.testing.assert_allclose(explained(known, target=target).attribution, expected, atol=2e-5 * max(1, np.abs(expected).max()))


def test_the_three_and_their_postprocessing():
    known = mlp()
    expected = known.slope(known.x, known.one_hot([2] * 5))
    for method, params, wanted in (
        ("saliency", {}, np.abs(expected)),
        ("input_x_gradient", {}, known.x * expected),
        ("gradient", {"postprocess": "abs"}, np.abs(expected)),
        ("gradient", {"postprocess": "square"}, expected**2),
    ):
        np.testing.assert_allclose(explained(known, method, target=2, **params).attribution, wanted, atol=1e-5)
    with pytest.raises(onnxplain.InputError, match="postprocess"):
        explained(known, postprocess="cube")


def test_the_default_score_lies_before_softmax_and_the_default_target_is_the_argmax():
    known = cnn()
    result = explained(known)
    best = known.forward(known.x).argmax(1)
    assert result.target.tolist() == best.tolist()
    expected = known.slope(known.x, known.one_hot(best))
    np.testing.assert_allclose(result.attribution, expected, atol=2e-5 * np.abs(expected).max())
    through = explained(known, output="p", target=0).attribution
    softmax = lambda x: (lambda e: e / e.sum(1, keepdims=True))(np.exp(known.forward(x)))
    along = draw_like(known.x)
    slope = (softmax(known.x + 1e-6 * along) - softmax(known.x - 1e-6 * along))[:, 0] / 2e-6
    np.testing.assert_allclose((through * along).sum((1, 2, 3)), slope, atol=1e-4)


def draw_like(x):
    return np.random.default_rng(9).standard_normal(x.shape)


@pytest.mark.parametrize(("wrt", "shape"), [("r", (3, 4, 5, 5)), ("s", (3, 4, 5, 5)), ("m", (3, 4, 2, 2))])
def test_tensors_inside(wrt, shape):
    """A layer's gradient, pulled further back to the input, is the input's."""
    known = cnn()
    inside = explained(known, wrt=wrt, target=1)
    assert list(inside.attributions) == [wrt]
    assert inside.attribution.shape == shape
    model = onnxplain.vjp(known.model, outputs=[wrt], wrt=["x"])
    back = run(model, x=known.x, **{f"grad_{wrt}": inside.attribution})["grad_x"]
    np.testing.assert_allclose(back, explained(known, target=1).attribution, atol=1e-4)


def test_several_at_once_and_names_that_rewrites_would_swallow():
    known = cnn()
    both = explained(known, wrt=["x", "n", "c"], target=0)
    assert list(both.attributions) == ["x", "n", "c"]
    for name in both.attributions:
        np.testing.assert_allclose(both.attributions[name], explained(known, wrt=name, target=0).attribution, atol=1e-5)
    with pytest.raises(onnxplain.InputError, match="3 attributions"):
        _ = both.attribution
    scale = explained(known, wrt="n", target=0).attribution
    w = {t.name: onnx.numpy_helper.to_array(t) for t in known.model.graph.initializer}
    k = w["scale"] / np.sqrt(w["var"] + 0.001)
    np.testing.assert_allclose(both.attributions["c"], scale * k[:, None, None], atol=1e-5)


def test_an_output_inside():
    known = mlp()
    w = next(onnx.numpy_helper.to_array(t) for t in known.model.graph.initializer if t.name == "w1")
    got = explained(known, output="z", target=[0, 1, 2, 3, 4]).attribution
    np.testing.assert_allclose(got, w.T[[0, 1, 2, 3, 4]], atol=1e-6)


def test_tokens_are_explained_at_their_embedding():
    result = onnxplain.explain(tokens(), np.array([[1, 2, 3], [4, 4, 0]]), "gradient", target=1)
    assert result.attribution.shape == (2, 3, 3)
    assert list(result.attributions) == ["e"]
    table, w = (onnx.numpy_helper.to_array(t) for t in tokens().graph.initializer[:2])
    e = table[[[1, 2, 3], [4, 4, 0]]]
    np.testing.assert_allclose(result.attribution, (1 - np.tanh(e) ** 2) * w[:, 1] / 3, atol=1e-6)


def test_a_value_with_several_users_gets_the_sum():
    model = parse("g (float[N,2] x) => (float[N,2] y) { a = Mul(x, x)\n b = Mul(a, x)\n c = Add(a, b)\n y = Add(c, x) }")
    x = np.array([[1.5, -2.0]], np.float32)
    got = onnxplain.explain(model, x, "gradient", target=np.ones((1, 2), np.float32)).attribution
    np.testing.assert_allclose(got, 2 * x + 3 * x**2 + 1, rtol=1e-6)


def test_an_output_of_rank_three():
    known = sequence()
    weights = np.zeros((2, 4, 2))
    weights[0, 3, 1] = weights[1, 0, 0] = 1
    np.testing.assert_allclose(explained(known, target=[(3, 1), (0, 0)]).attribution, known.slope(known.x, weights), atol=1e-5)
    weights = np.zeros((2, 4, 2))
    weights[:, :, 1] = 1
    np.testing.assert_allclose(explained(known, target=(None, 1)).attribution, known.slope(known.x, weights), atol=1e-5)
    weights = draw_like(weights).astype(np.float32)
    np.testing.assert_allclose(explained(known, target=weights).attribution, known.slope(known.x, weights), atol=1e-5)
    np.testing.assert_allclose(explained(known, target=weights.tolist()).attribution, known.slope(known.x, weights), atol=1e-5)


def test_a_weight_is_a_tensor_too():
    """What rewrites would merge (here the batch normalisation's scale) is named, so it stays."""
    known = cnn()
    got = explained(known, wrt="scale", target=0).attribution
    w = {t.name: onnx.numpy_helper.to_array(t) for t in known.model.graph.initializer}
    g = explained(known, wrt="n", target=0).attribution
    normal = (conv(known.x, w["w1"], w["b1"]) - w["mean"][:, None, None]) / np.sqrt(w["var"] + 0.001)[:, None, None]
    np.testing.assert_allclose(got, (g * normal).sum((0, 2, 3)), rtol=1e-3, atol=1e-4)
