"""conductance and internal_influence against the sums of their definitions, written in NumPy."""

import numpy as np
import pytest
from helpers import draw, parse, plain, time_major, tokens
from onnx import numpy_helper
from scipy.special import roots_legendre

import onnxplain

W1, W2, W3 = (draw(*s, seed=k).astype(np.float64) for k, s in enumerate([(3, 6), (6, 5), (5, 4)], 1))
X = draw(5, 3, seed=4)
STEPS = 6


def network(batch="N"):
    """x → Tanh (a) → Tanh (b) → y: all of the score passes through each layer."""
    text = f"""g (float[{batch},3] x) => (float[{batch},4] y) {{
        u = MatMul(x, w1)\n a = Tanh(u)\n v = MatMul(a, w2)\n b = Tanh(v)\n y = MatMul(b, w3) }}"""
    return parse(text, w1=W1.astype(np.float32), w2=W2.astype(np.float32), w3=W3.astype(np.float32))


def layer(x):
    return np.tanh(np.asarray(x, np.float64) @ W1)


def score(x):
    return np.tanh(layer(x) @ W2) @ W3


def slope(x, target):
    """The gradient of the score of class `target` at the layer."""
    return (W3[:, target] * (1 - np.tanh(layer(x) @ W2) ** 2)) @ W2.T


def path(baseline):
    return lambda alpha: baseline + alpha * (X - np.asarray(baseline, np.float64))


def conductance(baseline, target=1):
    at = path(baseline)
    return sum(slope(at(i / STEPS), target) * (layer(at((i + 1) / STEPS)) - layer(at(i / STEPS))) for i in range(STEPS))


def influence(baseline, target=1):
    at = path(baseline)
    return sum(w / 2 * slope(at((t + 1) / 2), target) for t, w in zip(*roots_legendre(STEPS)))


BASELINES = {"number": 0.5, "row": draw(1, 3, seed=5), "batch": draw(5, 3, seed=6)}


@pytest.mark.parametrize("baseline", BASELINES.values(), ids=BASELINES)
@pytest.mark.parametrize(("method", "expected"), [("conductance", conductance), ("internal_influence", influence)])
def test_the_sums(method, expected, baseline):
    for batch_size in (None, 4, 1):
        got = onnxplain.explain(network(), X, method, layer="a", target=1, steps=STEPS, baseline=baseline, batch_size=batch_size)
        assert list(got.attributions) == ["a"]
        np.testing.assert_allclose(got.attribution, expected(baseline), atol=1e-5)
    if np.ndim(baseline) == 0 or len(baseline) == 1:
        saved = onnxplain.Explainer(network(), method, layer="a", steps=STEPS, baseline=baseline).model
        np.testing.assert_allclose(plain(saved).run(["attribution"], {"x": X, "target": np.full(5, 1)})[0], expected(baseline), atol=1e-5)


@pytest.mark.parametrize(("method", "expected"), [("conductance", conductance), ("internal_influence", influence)])
def test_where_steps_do_not_fit_side_by_side(method, expected):
    explainer = onnxplain.Explainer(network(batch="5"), method, layer="a", steps=STEPS)
    np.testing.assert_allclose(explainer.explain(X, 1).attribution, expected(0), atol=1e-5)
    np.testing.assert_allclose(plain(explainer.model).run(["attribution"], {"x": X, "target": np.full(5, 1)})[0], expected(0), atol=1e-5)


def test_conductances_add_up_to_the_difference_of_scores():
    got = onnxplain.explain(network(), X, "conductance", layer="a", target=2, steps=500, baseline=0.3)
    np.testing.assert_allclose(got.attribution.sum(1), (score(X) - score(np.full_like(X, 0.3)))[:, 2], atol=0.02)
    assert np.abs(got.delta).max() < 0.02
    rough = onnxplain.explain(network(), X, "conductance", layer="a", target=2, steps=2, baseline=0.3)
    np.testing.assert_allclose(rough.delta, rough.attribution.sum(1) - (score(X) - score(np.full_like(X, 0.3)))[:, 2], atol=1e-5)
    assert np.abs(rough.delta).max() > 0.1
    for method, params in (("internal_influence", {}), ("conductance", {"inner": "saliency"})):
        assert onnxplain.explain(network(), X, method, layer="a", steps=2, **params).delta is None


def test_several_layers_and_a_batch_that_is_not_first():
    both = onnxplain.explain(network(), X, "conductance", layer=["a", "b"], target=1, steps=STEPS).attributions
    np.testing.assert_allclose(both["a"], conductance(0), atol=1e-5)
    b = lambda alpha: np.tanh(layer(alpha * X) @ W2)
    np.testing.assert_allclose(both["b"], W3[:, 1] * (b(1) - b(0)), atol=1e-5)

    known = time_major()
    w = numpy_helper.to_array(known.model.graph.initializer[0]).astype(np.float64)
    weights = lambda alpha: (np.array([0, 1]) * (1 - np.tanh(np.tanh(alpha * known.x) @ w) ** 2)) @ w.T
    expected = sum(weights(i / 3) * (np.tanh((i + 1) / 3 * known.x) - np.tanh(i / 3 * known.x)) for i in range(3))
    got = onnxplain.explain(known.model, known.x, "conductance", layer="h", target=1, steps=3).attribution
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_of_token_ids_the_embeddings_are_on_their_way():
    model = tokens()
    table, w = (numpy_helper.to_array(t).astype(np.float64) for t in model.graph.initializer if t.name in ("table", "w"))
    ids = np.random.default_rng(0).integers(10, size=(2, 4))
    got = onnxplain.explain(model, ids, "conductance", layer="t", target=1, steps=3)
    np.testing.assert_allclose(got.attribution, w[:, 1] / 4 * np.tanh(table[ids]), atol=1e-5)
    for batch_size in (None, 1):
        far = onnxplain.explain(model, ids, "conductance", layer="t", target=1, steps=3, baseline=draw(2, 4, 3, seed=9), batch_size=batch_size)
        np.testing.assert_allclose(far.attribution, w[:, 1] / 4 * (np.tanh(table[ids]) - np.tanh(draw(2, 4, 3, seed=9))), atol=1e-5)


def test_layer_is_another_name_of_wrt():
    by = [
        onnxplain.explain(network(), X, "conductance", target=1, steps=STEPS, **where) for where in ({"layer": "a"}, {"wrt": "a"}, {"layer": ["a"], "wrt": "a"})
    ]
    for got in by:
        np.testing.assert_allclose(got.attribution, conductance(0), atol=1e-5)
    with pytest.raises(onnxplain.InputError, match="layer='a' and wrt='b' are two names"):
        onnxplain.Explainer(network(), "conductance", layer="a", wrt="b")
    for method in ("conductance", "internal_influence"):
        with pytest.raises(onnxplain.InputError, match=f"{method} needs layer="):
            onnxplain.Explainer(network(), method)
    with pytest.raises(onnxplain.InputError, match="unknown tensor 'c'"):
        onnxplain.Explainer(network(), "conductance", layer="c")
    with pytest.raises(onnxplain.InputError, match="steps"):
        onnxplain.Explainer(network(), "conductance", layer="a", steps=0)


def test_neurons_and_layers_by_output_and_wrt():
    """What other libraries give names of their own: neuron attribution, layer integrated gradients."""
    neuron = onnxplain.explain(network(), X, "gradient", output="a", target=2).attribution
    np.testing.assert_allclose(neuron, (1 - layer(X)[:, 2:3] ** 2) * W1[:, 2], atol=1e-5)
    got = onnxplain.explain(network(), X, "integrated_gradients", wrt="a", target=1, steps=STEPS).attribution
    a0, a1 = layer(np.zeros_like(X)), layer(X)
    at = lambda alpha: (W3[:, 1] * (1 - np.tanh((a0 + alpha * (a1 - a0)) @ W2) ** 2)) @ W2.T
    np.testing.assert_allclose(got, (a1 - a0) * sum(w / 2 * at((t + 1) / 2) for t, w in zip(*roots_legendre(STEPS))), atol=1e-5)
