"""What pattern methods learn, against brute force in float64: one forward pass for each single weight shows what that weight sees."""

import itertools
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from helpers import draw, fixed, parse

import onnxplain
from onnxplain.methods.pattern import Patterns

MODELS = Path(__file__).resolve().parents[2] / "models"
REGIMES = {"linear": lambda y: np.ones_like(y), "relu": lambda y: y > 0, "relu.positive": lambda y: y > 0, "relu.negative": lambda y: y <= 0}


def brute(forward, x, w, b, neuron, regime):
    """The pattern of each weight. `neuron` numbers the neurons over the layer's output; `forward(x, w)` is linear in w and has no bias."""
    x, w = np.asarray(x, np.float64), np.asarray(w, np.float64)
    y = forward(x, w)
    mask = REGIMES[regime](y + b).astype(np.float64)
    whose = np.broadcast_to(neuron, y.shape)
    cov, owner = np.zeros(w.shape), np.zeros(w.shape, int)
    for k in np.ndindex(*w.shape):
        single = np.zeros(w.shape)
        single[k] = 1
        seen = forward(x, single)  # at each output: the input that meets weight k
        owner[k] = np.unique(whose[forward(np.ones_like(x), single) != 0]).item()
        mine = whose == owner[k]
        n = max(mask[mine].sum(), 1)
        cov[k] = (mask * seen * y)[mine].sum() / n - (mask * seen)[mine].sum() / n * y[mine].mean()
    scale = np.bincount(owner.ravel(), (w * cov).ravel())[owner]
    return cov / np.where(scale == 0, 1, scale)


def correlate(x, w, *, stride=1, pads=0, dilation=1, group=1):
    """A convolution of any number of axes, position by position."""
    x = np.pad(x, [(0, 0), (0, 0)] + [(pads, pads)] * (x.ndim - 2))
    reach = [(k - 1) * dilation + 1 for k in w.shape[2:]]
    extent = [(d - r) // stride + 1 for d, r in zip(x.shape[2:], reach)]
    y = np.zeros((len(x), len(w), *extent))
    per_in, per_out = w.shape[1], len(w) // group
    for o, place in itertools.product(range(len(w)), np.ndindex(*extent)):
        window = tuple(slice(p * stride, p * stride + r, dilation) for p, r in zip(place, reach))
        start = o // per_out * per_in
        y[(slice(None), o, *place)] = (x[(slice(None), slice(start, start + per_in), *window)] * w[o]).sum(tuple(range(1, x.ndim)))
    return y


def scatter(x, w, *, stride=1, pads=0, group=1, extra=0):
    """A transposed convolution: every input element paints its kernel."""
    extent = [(d - 1) * stride + k + extra for d, k in zip(x.shape[2:], w.shape[2:])]
    per_in, per_out = w.shape[0] // group, w.shape[1]
    y = np.zeros((len(x), per_out * group, *extent))
    for i, place in itertools.product(range(w.shape[0]), np.ndindex(*x.shape[2:])):
        window = tuple(slice(p * stride, p * stride + k) for p, k in zip(place, w.shape[2:]))
        start = i // per_in * per_out
        y[(slice(None), slice(start, start + per_out), *window)] += np.multiply.outer(x[(slice(None), i, *place)], w[i])
    return y[(slice(None), slice(None), *(slice(pads, e - pads) for e in extent))]


def along(axis, rank, count):
    return np.arange(count).reshape([count if a == axis % rank else 1 for a in range(rank)])


# name: (text of the node, shapes of x without batch, w and b, forward in NumPy without b, numbers of the neurons)
LAYERS = {
    "gemm": ("Gemm(x, w, b)", (5,), (5, 3), (3,), lambda x, w: x @ w, lambda y: along(1, 2, 3)),
    "gemm, w transposed": ("Gemm<transB=1>(x, w, b)", (5,), (3, 5), (3,), lambda x, w: x @ w.T, lambda y: along(1, 2, 3)),
    "gemm, scaled": ("Gemm<alpha=0.5,transB=1>(x, w, b)", (5,), (1, 5), (1,), lambda x, w: 0.5 * x @ w.T, lambda y: along(1, 2, 1)),
    "matmul, 3-D": ("MatMul(x, w)", (4, 5), (5, 3), None, lambda x, w: x @ w, lambda y: along(2, 3, 3)),
    "matmul, w left": ("MatMul(w, x)", (5, 4), (3, 5), None, lambda x, w: w @ x, lambda y: along(1, 3, 3)),
    "matmul, w for each head": ("MatMul(x, w)", (2, 4, 5), (2, 5, 3), None, lambda x, w: x @ w, lambda y: 3 * along(1, 4, 2) + along(3, 4, 3)),
    "matmul, w shared by heads": ("MatMul(x, w)", (2, 4, 5), (1, 5, 3), None, lambda x, w: x @ w, lambda y: along(3, 4, 3)),
    "matmul, w a vector": ("MatMul(x, w)", (4, 5), (5,), None, lambda x, w: x @ w, lambda y: along(0, 2, 1)),
    "einsum": (
        'Einsum<equation="nsi,hki->nskh">(x, w)',
        (4, 5),
        (2, 3, 5),
        None,
        lambda x, w: np.einsum("nsi,hki->nskh", x, w),
        lambda y: 3 * along(3, 4, 2) + along(2, 4, 3),
    ),
    "conv 1-d": ("Conv<strides=[2],pads=[1,1]>(x, w, b)", (2, 7), (3, 2, 3), (3,), lambda x, w: correlate(x, w, stride=2, pads=1), lambda y: along(1, 3, 3)),
    "conv 2-d": ("Conv<pads=[1,1,1,1]>(x, w, b)", (2, 4, 5), (3, 2, 3, 3), (3,), lambda x, w: correlate(x, w, pads=1), lambda y: along(1, 4, 3)),
    "conv, dilated": (
        "Conv<dilations=[2,2],strides=[2,2]>(x, w, b)",
        (1, 7, 8),
        (2, 1, 2, 3),
        (2,),
        lambda x, w: correlate(x, w, stride=2, dilation=2),
        lambda y: along(1, 4, 2),
    ),
    "conv, grouped": ("Conv<group=2>(x, w, b)", (4, 4, 4), (6, 2, 2, 2), (6,), lambda x, w: correlate(x, w, group=2), lambda y: along(1, 4, 6)),
    "conv 3-d": ("Conv(x, w, b)", (1, 3, 4, 3), (2, 1, 2, 2, 2), (2,), correlate, lambda y: along(1, 5, 2)),
    "transposed": (
        "ConvTranspose<strides=[2,2],pads=[1,1,1,1]>(x, w, b)",
        (2, 3, 3),
        (2, 3, 3, 3),
        (3,),
        lambda x, w: scatter(x, w, stride=2, pads=1),
        lambda y: along(1, 4, 3),
    ),
    "transposed, grouped": (
        "ConvTranspose<strides=[2],group=2,output_padding=[1]>(x, w, b)",
        (4, 4),
        (4, 3, 2),
        (6,),
        lambda x, w: scatter(x, w, stride=2, group=2, extra=1),
        lambda y: along(1, 3, 6),
    ),
}


def layer(name, n=6):
    """The layer with a ReLU behind it, as a model; samples; and a function from regime to its patterns."""
    text, shape, w_shape, b_shape, forward, neuron = LAYERS[name]
    x, w = draw(n, *shape, seed=1) + np.float32(0.3), draw(*w_shape, seed=2)
    weights = {"w": w} | ({} if b_shape is None else {"b": draw(*b_shape, seed=3)})
    y = forward(x.astype(np.float64), w.astype(np.float64))
    b = 0 if b_shape is None else weights["b"].astype(np.float64).reshape(1, -1, *[1] * (y.ndim - 2))
    dims = lambda s: ",".join(map(str, s))
    model = parse(f"g (float[N,{dims(shape)}] x) => (float[N,{dims(y.shape[1:])}] r) {{ y = {text}\n r = Relu(y) }}", **weights)
    return model, x, lambda regime: brute(forward, x, w, b, neuron(y), regime)


def learned(model, data, **params):
    return onnxplain.Explainer(model, "pattern_net", **params).fit(data).patterns


@pytest.mark.parametrize("regime", REGIMES)
@pytest.mark.parametrize("name", LAYERS)
def test_patterns_of_every_linear_layer(name, regime):
    model, x, expected = layer(name)
    got = learned(model, x, pattern_type=regime, batch_size=4)
    assert list(got) == ["w"]
    want = expected(regime)
    assert got["w"].shape == want.shape
    assert got["w"].dtype == np.float32
    np.testing.assert_allclose(got["w"], want, rtol=2e-3, atol=2e-5 * np.abs(want).max())


@pytest.mark.parametrize("regime", REGIMES)
def test_zero_is_not_positive(regime):
    x = np.array([[0, 0], [1, 1], [1, -1], [2, 0], [0, 0], [-3, 1]], np.float32)
    w = np.array([[1, 2, 1], [-1, 1, 1]], np.float32)
    model = parse("g (float[N,2] x) => (float[N,3] r) { y = MatMul(x, w)\n r = Relu(y) }", w=w)
    want = brute(lambda x, w: x @ w, x, w, 0, along(1, 2, 3), regime)
    np.testing.assert_allclose(learned(model, x, pattern_type=regime)["w"], want, rtol=1e-5, atol=1e-6)


def test_a_patterned_neuron_answers_with_one():
    """wᵀa = 1, whatever the regime."""
    model, x, _ = layer("conv, grouped")
    w = onnx.numpy_helper.to_array(model.graph.initializer[0])
    for regime in REGIMES:
        a = learned(model, x, pattern_type=regime)["w"]
        np.testing.assert_allclose((a * w).reshape(6, -1).sum(1), 1, rtol=1e-5)


def test_a_linear_signal_is_found():
    """The paper's example: x = s·signal + d·distractor, y = s; the weights say how to cancel d, the pattern says where s is."""
    signal, distractor, w = np.array([1.0, 0.0]), np.array([1.0, 1.0]), np.array([[1.0], [-1.0]], np.float32)
    s, d = np.random.default_rng(0).standard_normal((2, 20000))
    d -= (d @ s) / (s @ s) * s + (d - (d @ s) / (s @ s) * s).mean()
    x = (np.outer(s, signal) + np.outer(d, distractor)).astype(np.float32)
    model = parse("g (float[N,2] x) => (float[N,1] y) { y = MatMul(x, w) }", w=w)
    a = learned(model, x, pattern_type="linear")["w"]
    np.testing.assert_allclose(a[:, 0], signal, atol=1e-3)


@pytest.mark.parametrize("size", [1, 4, 5, 11])
@pytest.mark.parametrize("name", ["gemm", "conv 2-d"])
def test_batches_do_not_matter(name, size):
    model, x, _ = layer(name, n=11)
    whole = learned(model, x, batch_size=11)["w"]
    close = lambda got: np.testing.assert_allclose(got["w"], whole, rtol=1e-4, atol=1e-6 * np.abs(whole).max())
    close(learned(model, x, batch_size=size))
    pieces = [x[i : i + size] for i in range(0, 11, size)]
    close(learned(model, iter(pieces)))
    close(learned(model, pieces))
    close(learned(model, ({"x": p} for p in pieces)))
    close(learned(model, {"x": x}))
    close(learned(model, x.tolist()))


def test_data_far_from_zero():
    """E[xy] − E[x]E[y] of large numbers would be lost in float32."""
    w = draw(6, 3, seed=1)
    x = 500 + draw(400, 6, seed=2)
    model = parse("g (float[N,6] x) => (float[N,3] y) { y = MatMul(x, w) }", w=w)
    want = brute(lambda x, w: x @ w, x, w, 0, along(1, 2, 3), "linear")
    np.testing.assert_allclose(learned(model, x, pattern_type="linear")["w"], want, atol=2e-3 * np.abs(want).max())


def test_a_bias_behind_the_product_decides_the_regime():
    w, b = draw(5, 3, seed=1), draw(3, seed=2)
    x = draw(6, 4, 5, seed=3)
    model = parse("g (float[N,4,5] x) => (float[N,4,3] r) { y = MatMul(x, w)\n z = Add(b, y)\n r = Relu(z) }", w=w, b=b)
    want = brute(lambda x, w: x @ w, x, w, b.astype(np.float64), along(2, 3, 3), "relu")
    np.testing.assert_allclose(learned(model, x)["w"], want, rtol=1e-3, atol=1e-5)


def test_a_shared_weight_has_one_pattern():
    """Its statistics are those of all layers that apply it."""
    w = draw(4, 4, seed=1)
    x = draw(7, 4, seed=2)
    model = parse("g (float[N,4] x) => (float[N,4] z) { y = MatMul(x, w)\n r = Relu(y)\n v = Identity(w)\n z = MatMul(r, v) }", w=w)
    both = np.concatenate([x, np.maximum(x @ w, 0)])
    want = brute(lambda x, w: x @ w, both, w, 0, along(1, 2, 4), "relu")
    got = learned(model, x)
    assert list(got) == ["w"]
    np.testing.assert_allclose(got["w"], want, rtol=1e-3, atol=1e-5)
    explained = onnxplain.explain(model, x, "pattern_net", target=2, patterns=got).attribution
    seed = np.eye(4)[[2] * 7]
    np.testing.assert_allclose(explained, ((seed @ want.T) * (x @ w > 0)) @ want.T, rtol=1e-3, atol=1e-4)


def test_a_weight_in_two_layouts_is_refused():
    model = parse("g (float[N,4] x) => (float[N,4] z) { y = Gemm(x, w)\n z = Gemm<transB=1>(y, w) }", w=draw(4, 4))
    with pytest.raises(onnxplain.UnsupportedModelError, match="'w' is read in two layouts"):
        learned(model, draw(3, 4))


def normalised(n=2, same=False):
    """Convolutions with batch normalisation behind them; the weights keep their names."""
    names = ["w0"] * n if same else [f"w{k}" for k in range(n)]
    weights = {name: draw(2, 2, 1, 1, seed=k + 1) for k, name in enumerate(dict.fromkeys(names))}
    body, last = "", "x"
    for k, name in enumerate(names):
        weights |= {f"s{k}": draw(2, seed=10 + k), f"b{k}": draw(2, seed=20 + k), f"m{k}": draw(2, seed=30 + k), f"v{k}": np.abs(draw(2, seed=40 + k)) + 0.5}
        body += f"c{k} = Conv({last}, {name})\n n{k} = BatchNormalization<epsilon=0.1>(c{k}, s{k}, b{k}, m{k}, v{k})\n r{k} = Relu(n{k})\n"
        last = f"r{k}"
    return parse(f"g (float[N,2,3,3] x) => (float[N,2,3,3] {last}) {{ {body} }}", **weights), weights


def test_merged_normalisation_is_part_of_the_layer():
    """Patterns belong to the merged weight and are called as the file calls the weight."""
    model, p = normalised()
    x = draw(5, 2, 3, 3, seed=5)
    got = learned(model, x)
    assert list(got) == ["w0", "w1"]
    h = x.astype(np.float64)
    for k in range(2):
        scale = p[f"s{k}"].astype(np.float64) / np.sqrt(p[f"v{k}"] + 0.1)
        w, b = p[f"w{k}"] * scale.reshape(2, 1, 1, 1), (p[f"b{k}"] - p[f"m{k}"] * scale).reshape(1, 2, 1, 1)
        want = brute(correlate, h, w, b, along(1, 4, 2), "relu")
        np.testing.assert_allclose(got[f"w{k}"], want, rtol=1e-3, atol=1e-4 * np.abs(want).max())
        h = np.maximum(correlate(h, w) + b, 0)


def test_one_weight_merged_twice_has_two_patterns():
    model, _ = normalised(same=True)
    x = draw(5, 2, 3, 3, seed=5)
    got = learned(model, x)
    assert len(got) == 2
    assert all(name.startswith("w0/fused") for name in got)
    assert list(learned(model, x, fuse=False)) == ["w0"]
    onnxplain.explain(model, x, "pattern_net", target=(0, 1, 1), patterns=got)


def test_dead_neurons_have_patterns_of_zero():
    w = draw(3, 2, seed=1)
    model = parse("g (float[N,3] x) => (float[N,2] r) { y = Gemm(x, w, b)\n r = Relu(y) }", w=w, b=np.array([0, -1e6], np.float32))
    a = learned(model, draw(9, 3, seed=2))["w"]
    assert (a[:, 1] == 0).all()
    assert np.isfinite(a).all()
    assert (a[:, 0] != 0).all()


def test_half_precision_is_summed_in_single():
    w, x = draw(5, 3, seed=1).astype(np.float16), (draw(6000, 5, seed=2) + 1).astype(np.float16)
    model = parse("g (float16[N,5] x) => (float16[N,3] y) { y = MatMul(x, w) }", w=w)
    want = brute(lambda x, w: x @ w, x, w, 0, along(1, 2, 3), "linear")
    got = learned(model, x, pattern_type="linear", batch_size=6000)
    assert got["w"].dtype == np.float32
    np.testing.assert_allclose(got["w"], want, atol=1e-4 * np.abs(want).max())
    assert onnxplain.explain(model, x, "pattern_attribution", target=0, patterns=got).attribution.dtype == np.float16


def test_only_what_lies_on_the_way_is_learned():
    w1, w2 = draw(3, 4, seed=1), draw(4, 2, seed=2)
    model = parse("g (float[N,3] x) => (float[N,2] z) { y = Gemm(x, w1)\n r = Relu(y)\n z = Gemm(r, w2) }", w1=w1, w2=w2)
    x = draw(8, 3, seed=3)
    assert list(learned(model, x, output="r")) == ["w1"]
    assert list(learned(model, x, wrt="r")) == ["w2"]
    both = learned(model, x)
    inner = onnxplain.Explainer(model, "pattern_net", wrt="r", patterns=both)  # more than is needed does no harm
    np.testing.assert_allclose(inner.explain(x, 1).attribution, np.tile(both["w2"][:, 1], (8, 1)), rtol=1e-6)


def test_models_of_fixed_batch_size():
    known = fixed()
    got = learned(known.model, known.x[:4])
    want = brute(lambda x, w: x @ w, np.tanh(known.x[:4]), onnx.numpy_helper.to_array(known.model.graph.initializer[0]), 0, along(1, 2, 4), "relu")
    np.testing.assert_allclose(got["w"], want, rtol=2e-3, atol=1e-4)
    with pytest.raises(onnxplain.InputError, match="bound to 2 samples at once"):
        learned(known.model, known.x)


# ---- as a user meets it ----


@pytest.fixture
def net():
    w1, w2 = draw(4, 6, seed=1), draw(6, 3, seed=2)
    model = parse(
        "g (float[N,4] x) => (float[N,3] y) { h = Gemm(x, w1, b1)\n r = Relu(h)\n y = Gemm(r, w2, b2) }", w1=w1, w2=w2, b1=draw(6, seed=3), b2=draw(3, seed=4)
    )
    return model, draw(30, 4, seed=5)


@pytest.mark.parametrize("method", ["pattern_net", "pattern_attribution"])
def test_fit_explain_save(net, method, tmp_path, capsys):
    model, x = net
    explainer = onnxplain.Explainer(model, method)
    for use in (lambda: explainer.explain(x), lambda: explainer.save(tmp_path / "e.onnx"), lambda: explainer.model, lambda: explainer.patterns):
        with pytest.raises(onnxplain.InputError, match=r"has no patterns yet: learn them with fit\(X\), or give patterns="):
            use()
    assert explainer.fit(x) is explainer
    assert capsys.readouterr().err == ""
    result = explainer.explain(x, 1)
    assert result.params["patterns"] == ["w1", "w2"]
    explainer.save(tmp_path / "e.onnx")
    session = ort.InferenceSession(tmp_path / "e.onnx", providers=["CPUExecutionProvider"])
    saved = session.run(["attribution"], {"x": x, "target": np.full(30, 1)})[0]
    np.testing.assert_allclose(saved, result.attribution, rtol=1e-5, atol=1e-6)
    assert len(session.get_modelmeta().custom_metadata_map["onnxplain.params"]) < 200

    explainer.patterns.save(tmp_path / "p")
    kept = Patterns.load(tmp_path / "p.npz")
    assert list(kept) == ["w1", "w2"]
    for given in (kept, tmp_path / "p.npz", str(tmp_path / "p.npz"), dict(explainer.patterns)):
        again = onnxplain.explain(model, x, method, target=1, patterns=given)
        np.testing.assert_array_equal(again.attribution, result.attribution)
    again.save(tmp_path / "explanation.npz")
    assert onnxplain.Explanation.load(tmp_path / "explanation.npz").method == method


def test_fitting_again_forgets(net):
    model, x = net
    explainer = onnxplain.Explainer(model, "pattern_net").fit(x)
    first, first_file = explainer.explain(x, 0).attribution, explainer.model
    explainer.fit(x[:7] + 1)
    assert np.abs(explainer.explain(x, 0).attribution - first).max() > 1e-3
    assert explainer.model != first_file
    explainer.fit(x)
    np.testing.assert_array_equal(explainer.explain(x, 0).attribution, first)
    assert explainer.model == first_file


def test_progress_is_shown_on_demand(net, capsys):
    model, x = net
    onnxplain.Explainer(model, "pattern_net", batch_size=10).fit(x, progress=True)
    shown = capsys.readouterr().err
    assert "pattern_net: fit" in shown
    assert "30/30" in shown
    onnxplain.Explainer(model, "pattern_net").fit(iter([x, x]), progress=True)
    assert "60sample" in capsys.readouterr().err


def test_projected_maps_have_a_largest_magnitude_of_one(net):
    model, x = net
    explainer = onnxplain.Explainer(model, "pattern_attribution").fit(x)
    plain = explainer.explain(x, 2).attribution
    one = onnxplain.explain(model, x, "pattern_attribution", target=2, patterns=explainer.patterns, project_bottleneck=True).attribution
    top = np.abs(plain).max(1, keepdims=True)
    np.testing.assert_allclose(one, plain / np.where(top == 0, 1, top), rtol=1e-5, atol=1e-6)


def test_a_map_of_zeros_stays_zero_when_projected():
    w = -np.ones((2, 2), np.float32)
    model = parse("g (float[N,2] x) => (float[N,2] y) { h = Gemm(x, w)\n r = Relu(h)\n y = Gemm(r, v) }", w=w, v=draw(2, 2))
    ones = np.ones((1, 2), np.float32)
    got = onnxplain.explain(model, ones, "pattern_net", target=0, patterns={"w": w, "v": w}, project_bottleneck=True).attribution
    np.testing.assert_array_equal(got, 0)


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        ({"w1": np.ones((4, 6))}, "has no pattern for 'w2'"),
        ({"w1": np.ones((6, 4)), "w2": np.ones((6, 3))}, r"pattern of 'w1' is float64\[6, 4\], wanted float32\[4, 6\]"),
        ({"w1": np.full((4, 6), np.nan), "w2": np.ones((6, 3))}, "pattern of 'w1' holds NaN or infinity"),
        ({"w1": np.full((4, 6), "a"), "w2": np.ones((6, 3))}, "pattern of 'w1' is"),
    ],
)
def test_patterns_that_do_not_fit(net, patterns, message):
    model, x = net
    with pytest.raises(onnxplain.InputError, match=message):
        onnxplain.explain(model, x, "pattern_net", patterns=patterns)


def test_files_that_hold_no_patterns(net, tmp_path):
    model, _ = net
    (tmp_path / "text.npz").write_text("no patterns")
    np.save(tmp_path / "array.npy", np.ones(3))
    for path in (tmp_path / "missing.npz", tmp_path / "text.npz", tmp_path / "array.npy"):
        with pytest.raises(onnxplain.InputError, match="holds no patterns that can be read"):
            onnxplain.Explainer(model, "pattern_net", patterns=path)


def test_a_pattern_may_have_any_name(tmp_path):
    given = Patterns({"file": draw(2, 2), "a/b:0": draw(3), "allow_pickle": draw(1)})
    given.save(tmp_path / "p.npz")
    assert {k: v.tolist() for k, v in Patterns.load(tmp_path / "p.npz").items()} == {k: v.tolist() for k, v in given.items()}
    first = (tmp_path / "p.npz").read_bytes()
    given.save(tmp_path / "p.npz")
    assert (tmp_path / "p.npz").read_bytes() == first
    assert [p.name for p in tmp_path.iterdir()] == ["p.npz"]


def test_data_and_parameters_that_do_not_fit(net):
    model, x = net
    explainer = onnxplain.Explainer(model, "pattern_net")
    for data, message in [
        (iter([]), "no data"),
        ([], "shape|no data"),
        (x[:0], "empty"),
        (x[:, :2], "has shape"),
        (3, "has shape"),
        ({"z": x}, "'z' is none of them"),
        (x * np.nan, "NaN"),
        (iter([x, x[:, :2]]), "has shape"),
    ]:
        with pytest.raises(onnxplain.InputError, match=message):
            explainer.fit(data)
    for wrong in ({"pattern_type": "sigmoid"}, {"relevance": "all"}, {"patterns": 3}):
        with pytest.raises(onnxplain.InputError):
            onnxplain.Explainer(model, "pattern_net", **wrong)
    with pytest.raises(onnxplain.InputError, match="gradient learns nothing from data: call explain"):
        onnxplain.Explainer(model, "gradient").fit(x)
    with pytest.raises(onnxplain.InputError, match="gradient learns nothing"):
        _ = onnxplain.Explainer(model, "gradient").patterns
    with pytest.raises(onnxplain.InputError, match="nothing to learn"):
        onnxplain.Explainer(parse("g (float[N,3] x) => (float[N,3] y) { y = Tanh(x) }"), "pattern_net").fit(draw(2, 3))


def test_layers_without_a_constant_weight_are_named():
    model = parse("g (float[N,3] x) => (float[N,2] y) { w = RandomNormal<shape=[3,2]>()\n y = MatMul(x, w) }")
    with pytest.warns(UserWarning, match="take the plain gradient: MatMul"):
        onnxplain.Explainer(model, "pattern_net")


def test_the_bundled_patterns_fit_the_digit_model():
    x = draw(2, 1, 28, 28)
    explainer = onnxplain.Explainer(MODELS / "digits.onnx", "pattern_attribution", patterns=MODELS / "digits-patterns.npz")
    assert np.abs(explainer.explain(x).attribution).max() > 0
    weights = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(MODELS / "digits.onnx").graph.initializer}
    for name, a in explainer.patterns.items():
        answer = (a * weights[name]).reshape(len(a), -1).sum(1)
        assert (np.isclose(answer, 1, atol=1e-3) | np.isclose(answer, 0, atol=1e-6)).all(), name  # 0: a dead neuron
        assert (answer > 0.5).mean() > 0.5, name
