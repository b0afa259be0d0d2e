"""DeepLIFT against the paper's formulas in NumPy float64, and its completeness on nodes of every kind."""

from __future__ import annotations

import numpy as np
import onnx.numpy_helper
import onnx.parser
import pytest
from helpers import draw, parse

import onnxplain

RNG = np.random.default_rng(7)
W1, B1, W2, B2 = RNG.standard_normal((5, 6)), RNG.standard_normal(6), RNG.standard_normal((6, 3)), RNG.standard_normal(3)
X, X0 = RNG.standard_normal((4, 5)).astype(np.float32), RNG.standard_normal((1, 5)).astype(np.float32)
TARGET = [0, 2, 1, 1]


def network(text, weights, shape="N, 5", opset=17):
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}]> net (float[{shape}] x) => (float[N, K] y) {{ {text} }}')
    model.graph.initializer.extend(onnx.numpy_helper.from_array(np.asarray(v), n) for n, v in weights.items())
    return model


MLP_TEXT = "h = Gemm(x, w1, b1)\n r = Relu(h)\n y = Gemm(r, w2, b2)"
MLP_WEIGHTS = {n: v.astype(np.float32) for n, v in zip(("w1", "b1", "w2", "b2"), (W1, B1, W2, B2))}
MLP = network(MLP_TEXT, MLP_WEIGHTS)


def relu(v):
    return np.maximum(v, 0)


def contributions(rule):
    """Each sample by itself: multipliers from the last layer down, by the paper."""
    out = []
    for x, t in zip(X.astype(np.float64), TARGET):
        dx, h0 = x - X0[0], X0[0] @ W1 + B1
        m, parts = W2[:, t], dx[:, None] * W1
        up, down = relu(parts).sum(0), -relu(-parts).sum(0)
        dh = up + down
        if rule == "linear":
            out.append(dx * (W1 @ (m * (h0 + dh > 0))))
        elif rule == "rescale":
            out.append(dx * (W1 @ (m * (relu(h0 + dh) - relu(h0)) / dh)))
        else:  # equations for Δy⁺ and Δy⁻: each averaged over the two orders of adding the parts
            y_up = 0.5 * ((relu(h0 + up) - relu(h0)) + (relu(h0 + up + down) - relu(h0 + down)))
            y_down = 0.5 * ((relu(h0 + down) - relu(h0)) + (relu(h0 + up + down) - relu(h0 + up)))
            out.append((np.where(parts > 0, parts * (m * y_up / up), parts * (m * y_down / np.where(down == 0, 1, down)))).sum(1))
    return np.array(out)


@pytest.mark.parametrize("rule", ["linear", "rescale", "reveal_cancel"])
def test_rules_are_the_paper_s(rule):
    got = onnxplain.explain(MLP, X, "deeplift", rule=rule, baseline=X0, target=TARGET)
    np.testing.assert_allclose(got.attribution, contributions(rule), rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("rule", ["reveal_cancel", "genomics_default"])
def test_a_bias_behind_a_product_of_any_rank_is_part_of_the_layer(rule):
    text = "m = MatMul(x, w1)\n h = Add(m, b1)\n r = Relu(h)\n n = MatMul(r, w2)\n y = Add(n, b2)"
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> net (float[N, 2, 5] x) => (float[N, 2, 3] y) {{ {text} }}')
    model.graph.initializer.extend(onnx.numpy_helper.from_array(v, n) for n, v in MLP_WEIGHTS.items())
    x = np.stack([X, X[::-1]], 1)
    got = onnxplain.explain(model, x, "deeplift", rule=rule, baseline=X0[0], target=[(0, t) for t in TARGET]).attribution
    np.testing.assert_allclose(got[:, 0], contributions("reveal_cancel"), rtol=2e-4, atol=2e-5)
    assert not got[:, 1].any()


def test_genomics_default_takes_reveal_cancel_behind_dense_layers():
    got = [onnxplain.explain(MLP, X, "deeplift", rule=rule, baseline=X0, target=TARGET).attribution for rule in ("genomics_default", "reveal_cancel")]
    np.testing.assert_array_equal(*got)


def test_deepshap_is_the_mean_over_its_references():
    background = RNG.standard_normal((3, 5)).astype(np.float32)
    one_by_one = [onnxplain.explain(MLP, X, "deeplift", baseline=b[None], target=TARGET).attribution for b in background]
    for batch_size in (None, 2, 5):
        got = onnxplain.explain(MLP, X, "deepshap", background=background, target=TARGET, batch_size=batch_size)
        np.testing.assert_allclose(got.attribution, np.mean(one_by_one, 0), rtol=1e-4, atol=1e-5)
        falls = got.output["y"] - onnxplain.explain(MLP, background, "gradient", target=0).output["y"].mean(0)
        np.testing.assert_allclose(got.attribution.sum(1) - got.delta, falls[np.arange(4), TARGET], rtol=1e-4, atol=1e-5)
        assert np.abs(got.delta).max() < 1e-4


SQUARE = {"w": RNG.standard_normal((5, 5)).astype(np.float32), "v": RNG.standard_normal((5, 5)).astype(np.float32), "s": np.full(5, 1.3, np.float32)}
NODES = {
    "product": "a = MatMul(x, w)\n b = MatMul(x, v)\n y = Mul(a, b)",
    "division": "a = MatMul(x, w)\n e = Exp(x)\n y = Div(a, e)",
    "softmax": "a = MatMul(x, w)\n p = Softmax <axis = 1> (a)\n y = MatMul(p, v)",
    "log_softmax": "a = MatMul(x, w)\n p = LogSoftmax <axis = 1> (a)\n y = MatMul(p, v)",
    "softmax of scores far apart": "f = Constant <value_float = 300.0> ()\n a = MatMul(x, w)\n b = Mul(a, f)\n p = Softmax <axis = 1> (b)\n y = MatMul(p, v)",
    "layer_norm": "a = MatMul(x, w)\n n = LayerNormalization <axis = 1> (a, s)\n y = MatMul(n, v)",
    "maximum": "a = MatMul(x, w)\n b = MatMul(x, v)\n y = Max(a, b)",
    "minimum": "a = MatMul(x, w)\n b = MatMul(x, v)\n y = Min(a, b)",
    "least of a row": "a = MatMul(x, w)\n m = ReduceMin <axes = [1], keepdims = 1> (a)\n y = Add(m, a)",
    "inverse": "e = Exp(x)\n d = Div(s, e)\n y = MatMul(d, v)",
    "division by a column": "one = Constant <value_ints = [1]> ()\n e = Exp(x)\n c = ReduceSum <keepdims = 1> (e, one)\n y = Div(x, c)",
    "powers of a column": "one = Constant <value_ints = [1]> ()\n e = Exp(x)\n c = ReduceSum <keepdims = 1> (e, one)\n y = Pow(c, s)",
    "activations": "a = MatMul(x, w)\n t = Tanh(a)\n g = Sigmoid(t)\n l = LeakyRelu(g)\n y = MatMul(l, v)",
    "residual": "a = MatMul(x, w)\n r = Relu(a)\n z = Add(r, x)\n y = MatMul(z, v)",
}


@pytest.mark.parametrize("name", NODES)
@pytest.mark.parametrize("rule", ["rescale", "reveal_cancel"])
def test_contributions_add_up_to_the_difference_of_scores(name, rule):
    model = network(NODES[name], {n: v for n, v in SQUARE.items() if f"{n})" in NODES[name] or f"{n}," in NODES[name]})
    got = onnxplain.explain(model, X, "deeplift", rule=rule, baseline=X0, output="y", target=TARGET)
    score, reference = (
        got.output["y"][range(4), TARGET],
        onnxplain.explain(model, X0.repeat(4, 0), "gradient", output="y", target=TARGET).output["y"][range(4), TARGET],
    )
    assert got.attribution.shape == X.shape
    np.testing.assert_allclose(got.attribution.sum(1), score - reference, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(got.delta, got.attribution.sum(1) - (score - reference), atol=1e-3)


@pytest.mark.parametrize(
    ("text", "x", "reference", "owed"),
    [
        ("ReduceMin <axes = [1], keepdims = 1> (x)", [5, 10], [5, 1], [0, 4]),
        ("ReduceMax <axes = [1], keepdims = 1> (x)", [5, 1], [5, 10], [0, -5]),
        ("Min (x, six)", [7, 7], [2, 6], [4, 0]),
    ],
)
def test_what_does_not_differ_owes_nothing(text, x, reference, owed):
    model = network(f"y = {text}", {"six": np.float32(6)} if "six" in text else {}, shape="N, 2")
    target = np.ones((1, 2)) if "six" in text else 0
    got = onnxplain.explain(model, np.float32([x]), "deeplift", baseline=np.float32([reference]), target=target)
    np.testing.assert_allclose(got.attribution, [owed], atol=1e-5)


@pytest.mark.parametrize("attributes", ["kernel_shape = [2, 2], strides = [2, 2]", "kernel_shape = [3, 3], strides = [1, 1], pads = [1, 1, 1, 1]"])
def test_windows_that_overlap_add_up(attributes):
    text = f"c = Conv <kernel_shape = [3, 3]> (x, k)\n p = MaxPool <{attributes}> (c)\n f = Flatten(p)\n y = ReduceSum <keepdims = 1> (f, one)"
    kernel = RNG.standard_normal((2, 1, 3, 3)).astype(np.float32)
    model = network(text, {"k": kernel, "one": np.array([1])}, "N, 1, 8, 8")
    x = RNG.standard_normal((2, 1, 8, 8)).astype(np.float32)
    got = onnxplain.explain(model, x, "deeplift", baseline=RNG.standard_normal((1, 1, 8, 8)), target=0)
    np.testing.assert_allclose(got.delta, 0, atol=1e-4)


def test_a_node_without_a_rule_is_named():
    model = network("a = MatMul(x, w)\n y = CumSum(a, one)\n", {"w": SQUARE["w"], "one": np.array(1)})
    onnxplain.explain(model, X, "deeplift", output="y", target=0)
    model = network("a = MatMul(x, w)\n n = LpNormalization <axis = 1> (a)\n y = MatMul(n, w)", {"w": SQUARE["w"]})
    with pytest.raises(onnxplain.UnsupportedModelError, match="deeplift has no rule for LpNormalization"):
        onnxplain.explain(model, X, "deeplift", output="y", target=0)


@pytest.mark.parametrize(
    "text",
    [
        'a = MatMul(x, w)\n y = ScatterElements<axis=1, reduction="mul">(x, places, a)',
        'a = MatMul(x, w)\n y = ScatterElements<axis=1, reduction="max">(x, places, a)',
        'y = Einsum<equation="ij,ij,ij->ij">(x, x, x)',
        "s = ReduceSum<keepdims=0>(x, zero)\n y = LayerNormalization(x, s)",
        "s = ReduceSum<keepdims=0>(x, zero)\n y = LayerNormalization(c, s)",
        "s = ReduceSum<keepdims=0>(x, zero)\n y = BatchNormalization(x, s, c, c, c)",
    ],
)
def test_what_would_not_add_up_is_refused(text):
    weights = {"w": SQUARE["w"], "places": np.tile(np.arange(5), (4, 1)), "zero": np.array([0]), "c": np.arange(1, 6, dtype=np.float32)}
    with pytest.raises(onnxplain.UnsupportedModelError, match=r"deeplift has no rule for .* 'y'"):
        onnxplain.explain(network(text, weights, "4, 5"), X, "deeplift", output="y", target=0)


@pytest.mark.parametrize(
    "text",
    [
        'a = MatMul(x, w)\n y = ScatterElements<axis=1, reduction="add">(x, places, a)',
        'y = Einsum<equation="ij,ij->ij">(x, x)',
        'y = Einsum<equation="ij,j,j->ij">(x, c, c)',
    ],
)
def test_scatters_and_einsums_that_add_up(text):
    weights = {"w": SQUARE["w"], "places": np.tile(np.arange(5), (4, 1)), "c": np.arange(1, 6, dtype=np.float32)}
    got = onnxplain.explain(network(text, weights, "4, 5"), X, "deeplift", output="y", target=0, baseline=X0)
    np.testing.assert_allclose(got.delta, 0, atol=1e-4)


def test_contrastive_relevance_is_the_class_against_the_mean_of_the_others():
    scores = relu(X @ W1 + B1) @ W2 + B2
    got = onnxplain.explain(MLP, X, "lrp", composite="epsilon", relevance="contrastive", target=TARGET).attribution
    wanted = []
    for n, t in enumerate(TARGET):
        sweep = lambda seed, n=n: onnxplain.explain(
            MLP, X[n : n + 1], "lrp", composite="epsilon", relevance="one_hot", target=seed[None].astype(np.float32)
        ).attribution[0]
        others = np.where(np.arange(3) == t, 0, scores[n, t] / 2)
        wanted.append(sweep(np.where(np.arange(3) == t, scores[n, t], 0)) - sweep(others))
    np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("batch_size", [None, 1, 3])
@pytest.mark.parametrize("shape", ["N, 5", "4, 5"])
def test_a_reference_for_each_sample_survives_a_split(batch_size, shape):
    references = RNG.standard_normal((4, 5)).astype(np.float32)
    got = onnxplain.explain(network(MLP_TEXT, MLP_WEIGHTS, shape), X, "deeplift", baseline=references, target=TARGET, batch_size=batch_size)
    apart = [onnxplain.explain(MLP, x[None], "deeplift", baseline=r[None], target=t).attribution for x, r, t in zip(X, references, TARGET)]
    np.testing.assert_allclose(got.attribution, np.concatenate(apart), atol=1e-5)
    assert np.abs(got.delta).max() < 1e-4
    with pytest.raises(onnxplain.InputError, match="baseline for 'x' has 3 samples, the batch has 4"):
        onnxplain.explain(MLP, X, "deeplift", baseline=references[:3], target=TARGET)


def test_reveal_cancel_where_a_unit_did_not_change():
    """Half of both multipliers goes to it (section 3.5.1), and nothing through a part that is zero: by NumPy."""
    w1, b1, w2, b2, w3 = draw(3, 6, seed=1), draw(6, seed=2), draw(6, 5, seed=3), draw(5, seed=4), draw(5, 1, seed=5)
    text = "g (float[N,3] x) => (float[N,1] y) { a = Gemm(x, w1, b1)\n h = Relu(a)\n c = Gemm(h, w2, b2)\n k = Relu(c)\n y = MatMul(k, w3) }"
    x = draw(6, 3, seed=6)
    pos, neg = (lambda v: np.maximum(v, 0)), (lambda v: np.minimum(v, 0))
    at, at0 = [x.astype(float)], [np.zeros_like(x, float)]
    before = []
    for w, b in ((w1, b1), (w2, b2)):
        before.append(at0[-1] @ w + b)
        at, at0 = [*at, pos(at[-1] @ w + b)], [*at0, pos(before[-1])]
    m, unchanged = np.tile(w3.T, (len(x), 1)), 0
    for w, z0, h, h0 in ((w2, before[1], at[1], at0[1]), (w1, before[0], at[0], at0[0])):
        d = h - h0
        up, down = pos(d) @ pos(w) + neg(d) @ neg(w), neg(d) @ pos(w) + pos(d) @ neg(w)
        y_up = 0.5 * (pos(z0 + up) - pos(z0) + pos(z0 + up + down) - pos(z0 + down))
        y_down = 0.5 * (pos(z0 + down) - pos(z0) + pos(z0 + up + down) - pos(z0 + up))
        m_up, m_down = (m * np.divide(v, part, out=np.zeros_like(part), where=part != 0) for v, part in ((y_up, up), (y_down, down)))
        rising, falling = m_up @ pos(w).T + m_down @ neg(w).T, m_down @ pos(w).T + m_up @ neg(w).T
        unchanged += (d == 0).sum()
        m = np.where(d > 0, rising, np.where(d < 0, falling, 0.5 * (rising + falling)))
    assert unchanged > 5
    got = onnxplain.explain(parse(text, w1=w1, b1=b1, w2=w2, b2=b2, w3=w3), x, "deeplift", rule="reveal_cancel", target=0).attribution
    np.testing.assert_allclose(got, m * x, atol=1e-5 * np.abs(m * x).max())
