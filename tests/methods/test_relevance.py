"""lrp, deep_taylor and excitation_backprop from a model file to maps."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from helpers import draw, parse
from networks import NETWORKS, build

import onnxplain
from onnxplain.rules import COMPOSITES

CPU = ["CPUExecutionProvider"]
W1, W2, B1, B2 = draw(5, 8, seed=1), draw(8, 3, seed=2), draw(8, seed=3), draw(3, seed=4)


def network():
    return parse("g (float[N,5] x) => (float[N,3] y) { a = Gemm(x, w1, b1)\n h = Relu(a)\n y = Gemm(h, w2, b2) }", w1=W1, w2=W2, b1=B1, b2=B2)


def safe(z, e=1e-6):
    return z + np.where(z < 0, -e, e)


p, n = (lambda v: np.maximum(v, 0)), (lambda v: np.minimum(v, 0))


def forward(x):
    x = x.astype(np.float64)
    a = x @ W1 + B1
    return p(a), p(a) @ W2 + B2


def epsilon(x, W, b, R):
    return x * ((R / safe(x @ W + b)) @ W.T)


def alpha1(x, W, R, b=0):
    s = R / safe(p(x) @ p(W) + n(x) @ n(W) + b)
    return p(x) * (s @ p(W).T) + n(x) * (s @ n(W).T)


def explain(method, x, **params):
    return onnxplain.explain(network(), x, method, providers=CPU, **params).attribution


def close(got, wanted):
    np.testing.assert_allclose(got, wanted, atol=2e-5 * np.abs(wanted).max())


@pytest.mark.parametrize("relevance", ["logit", "one_hot"])
@pytest.mark.parametrize("target", [None, 2, [0, 1, 2, 1]])
def test_lrp_by_hand(target, relevance):
    x = draw(4, 5, seed=5)
    h, y = forward(x)
    chosen = y.argmax(1) if target is None else np.broadcast_to(target, 4)
    seed = np.eye(3)[chosen] * (y if relevance == "logit" else 1)
    close(explain("lrp", x, composite="epsilon", target=target, relevance=relevance), epsilon(x, W1, B1, epsilon(h, W2, B2, seed)))


def test_a_target_of_weights_is_the_seed():
    """Contrastive seeds: one class against another."""
    x, seed = draw(4, 5, seed=6), np.float32([[1, -1, 0]] * 4)
    h, y = forward(x)
    close(explain("lrp", x, composite="epsilon", target=seed, relevance="one_hot"), epsilon(x, W1, B1, epsilon(h, W2, B2, seed)))
    close(explain("lrp", x, composite="epsilon", target=seed), epsilon(x, W1, B1, epsilon(h, W2, B2, seed * y)))


def test_layers_inside_are_explained():
    x = draw(4, 5, seed=7)
    h, y = forward(x)
    got = onnxplain.explain(network(), x, "lrp", composite="epsilon", wrt="h", target=1, providers=CPU).attribution
    close(got, epsilon(h, W2, B2, np.eye(3)[[1] * 4] * y))


@pytest.mark.filterwarnings("ignore:deep_taylor explains positive scores")
@pytest.mark.parametrize("target", [0, 1, 2])
def test_deep_taylor_by_hand(target):
    x = draw(40, 5, seed=8)
    h, y = forward(x)
    middle = alpha1(h, W2, np.eye(3)[[target] * 40] * p(y))
    close(explain("deep_taylor", x, target=target, convention="zennit"), alpha1(x.astype(np.float64), W1, middle))
    low, high = -3.0, 3.5
    s = middle / (x @ W1 - low * p(W1).sum(0) - high * n(W1).sum(0))
    close(explain("deep_taylor", x, target=target, bounds=(low, high)), x * (s @ W1.T) - low * (s @ p(W1).T) - high * (s @ n(W1).T))
    negative = y[:, target] < 0
    assert negative.any()
    assert not explain("deep_taylor", x, target=target)[negative].any()


def test_excitation_backprop_by_hand():
    """From a one; the input may be negative, the bias excites too."""
    x = draw(4, 5, seed=9)
    h, y = forward(x)
    middle = alpha1(h, W2, np.eye(3)[[1] * 4], p(B2)) * (h > 0)
    close(explain("excitation_backprop", x, target=1), alpha1(x.astype(np.float64), W1, middle, p(B1)))
    middle = alpha1(h, W2, np.eye(3)[[1] * 4] * y, p(B2)) * (h > 0)
    close(explain("excitation_backprop", x, target=1, relevance="logit"), alpha1(x.astype(np.float64), W1, middle, p(B1)))


def test_excitation_backprop_is_a_distribution_without_biases():
    x = np.random.default_rng(0).normal(size=(3, 3, 8, 8)).astype(np.float32)
    got = onnxplain.explain(build("vgg"), x, "excitation_backprop", target=0, providers=CPU).attribution
    assert got.min() >= 0
    np.testing.assert_allclose(got.sum((1, 2, 3)), 1, atol=1e-4)


def test_deep_taylor_says_what_does_not_fit():
    model = parse("g (float[N,5] x) => (float[N,3] y) { a = Gemm(x, w)\n y = Tanh(a) }", w=draw(5, 3))
    with pytest.warns(UserWarning, match="Tanh"):
        onnxplain.Explainer(model, "deep_taylor")
    x = draw(3, 5, seed=8)
    lowest = forward(x)[1].argmin(1)
    with pytest.warns(UserWarning, match="the map of sample 0, 1, 2 is zero"):
        explain("deep_taylor", x, target=lowest.tolist())
    for params in ({"bounds": (1,)}, {"bounds": 5}, {"bounds": ("a", "b")}, {"bounds": (2, -2)}, {"convention": "captum"}):
        with pytest.raises(onnxplain.InputError):
            onnxplain.Explainer(network(), "deep_taylor", **params)
    for params in ({"relevance": "twice"}, {"convention": "captum"}):
        with pytest.raises(onnxplain.InputError):
            onnxplain.Explainer(network(), "excitation_backprop", **params)


@pytest.mark.parametrize("method", ["lrp", "deep_taylor", "excitation_backprop"])
@pytest.mark.parametrize("family", ["resnet", "mobilenet"])
def test_saved_files_compute_the_same(family, method, tmp_path):
    x = np.random.default_rng(1).normal(size=(3, 3, 8, 8)).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        explainer = onnxplain.Explainer(build(family), method, providers=CPU)
        wanted = explainer.explain(x, target=[0, 3, 1]).attribution
    explainer.save(tmp_path / "e.onnx")
    got = ort.InferenceSession(tmp_path / "e.onnx", providers=CPU).run(["attribution"], {"x": x, "target": np.int64([0, 3, 1])})[0]
    np.testing.assert_allclose(got, wanted, atol=1e-5 * np.abs(wanted).max())


@pytest.mark.parametrize("family", NETWORKS)
def test_samples_do_not_see_each_other(family):
    x = np.random.default_rng(2).normal(size=(3, 3, 8, 8)).astype(np.float32)
    explainer = onnxplain.Explainer(build(family), "lrp", stabilizer={"norm_scale": True}, providers=CPU)
    whole = explainer.explain(x, target=2).attribution
    for k in range(3):
        np.testing.assert_allclose(explainer.explain(x[k : k + 1], target=2).attribution[0], whole[k], atol=1e-4 * np.abs(whole[k]).max())


# ---- second order ----


def smooth():
    text = "g (float[N,4] x) => (float[N,2] y) { a = Gemm(x, w1, b1)\n h = Tanh(a)\n c = Gemm(h, w2)\n d = Softplus(c)\n y = Gemm(d, w3) }"
    return parse(text, w1=draw(4, 6, seed=1), b1=draw(6, seed=2), w2=draw(6, 5, seed=3), w3=draw(5, 2, seed=4))


@pytest.mark.parametrize("composite", ["epsilon", "gamma", "z_plus", "attn_lrp", "w_square"])
def test_explanations_can_be_differentiated(composite):
    x, c = draw(2, 4, seed=5) + 0.3, draw(2, 4, seed=6)
    explainer = onnxplain.Explainer(smooth(), "lrp", composite=composite, epsilon=0.25, stabilizer=0.25, providers=CPU)
    twice = onnxplain.vjp(explainer.model, outputs=["attribution"], wrt=["x"])
    target = np.int64([0, 1])
    session = ort.InferenceSession(twice.SerializeToString(), providers=CPU)
    feeds = {"x": x, "target": target, "grad_attribution": c}
    (got,) = session.run(["grad_x"], {i.name: feeds[i.name] for i in session.get_inputs()})
    weighted = lambda v: (explainer.explain(v.astype(np.float32), target=target).attribution.astype(np.float64) * c).sum()
    for seed in (7, 8):
        d = draw(2, 4, seed=seed)
        h = 2e-3
        wanted = (weighted(x + h * d) - weighted(x - h * d)) / (2 * h)
        assert abs((got * d).sum() - wanted) < 2e-2 * max(np.abs(got).max(), 0.1), (got * d).sum() / wanted


# ---- trained networks ----

ZOO = Path(__file__).resolve().parents[3] / "shared" / "zoo" / "models"
CNNS = [
    *("squeezenet1.1-zoo-fp32", "squeezenet1.0-tf-nhwc-fp32", "mobilenetv1-0.75-keras-fp32", "mobilenetv2-zoo-fp32", "resnet20-cifar10"),
    *("resnet4b-cifar10-vnncomp", "resnet8-cifar10-mlperf-tiny", "vww96-mobilenetv1-mlperf-tiny", "fer2013-mini-xception", "doodlenet-quickdraw"),
    *("darknet-tiny-fp32", "mnist-cnn-cntk", "mnist-binary01-dianna", "mnist-fc-256x2-vnncomp", "mnist-fc-sigmoid-6x200-eran"),
    *("deeplabv3-mnv2-voc-257", "yolox-nano", "yunet-n-320-face", "ultraface-rfb-320"),
]
NAMED = [c for c in COMPOSITES if not c.startswith("lrp_") or c == "lrp_convnet"]


@pytest.mark.slow
@pytest.mark.parametrize("name", CNNS)
def test_composites_run_on_trained_networks(name):
    path = ZOO / f"{name}.onnx"
    if not path.exists():
        pytest.skip("the folder ../shared/zoo is absent")
    model = onnxplain.load(path)
    shapes = {i.name: [d.dim_value or 1 for d in i.type.tensor_type.shape.dim] for i in onnx.load(path, load_external_data=False).graph.input}
    explainers = {}
    for composite in NAMED:
        convention = "innvestigate" if composite.startswith("preset") else "zennit"
        explainers[composite] = onnxplain.Explainer(model, "lrp", composite=composite, convention=convention, providers=CPU)
    question = explainers["epsilon"].question
    feeds = {n: np.random.default_rng(0).random(shapes.get(n, [1]), dtype=np.float32) for n in question.graph.inputs}
    rank = len(question.score.shape)
    target = None if rank <= 2 else (*(0 for _ in range(rank - 1)),)
    slopes = onnxplain.explain(model, feeds, "gradient", target=target, providers=CPU).attributions
    for composite, explainer in explainers.items():
        got = explainer.explain(feeds, target=target).attributions
        for tensor, values in got.items():
            assert values.shape == feeds[tensor].shape, composite
            assert np.isfinite(values).all(), (composite, tensor)
            assert values.any() or not slopes[tensor].any() or composite == "z_plus_fast", (composite, tensor)


def test_rows_before_a_function_may_answer_with_regions():
    from onnxplain.backward import gradient
    from onnxplain.rules.conditions import chain, is_a

    region = chain(is_a("Gemm"), is_a("Relu"))
    x = draw(4, 5, seed=5)
    rows, function = [(lambda flow, node: True, gradient)], lambda flow, node: gradient
    first = [(region, "epsilon")]
    wanted = explain("lrp", x, rules=first, composite=rows, target=1)
    np.testing.assert_array_equal(explain("lrp", x, rules=first, composite=function, target=1), wanted)
    assert np.abs(wanted - explain("lrp", x, composite=function, target=1)).max() > 1e-3
    with pytest.raises(onnxplain.InputError, match="alpha must be a number for alpha_beta"):
        explain("lrp", x, rules=[{"kind": "dense", "rule": "alpha_beta"}], composite=function, alpha=[1, 2], beta=[0, 1])


def test_relevance_of_a_tensor_does_not_depend_on_what_else_is_asked_for():
    body = "s = Gemm(a, u, c)\n t = Gemm(b, u, c)\n p = Relu(s)\n q = Add(p, t)\n r = Mul(q, s)\n y = Gemm(r, w)"
    model = parse(f"g (float[N,5] a, float[N,5] b) => (float[N,3] y) {{ {body} }}", u=draw(5, 4, seed=1), c=draw(4, seed=2), w=draw(4, 3, seed=3))
    feeds = {"a": draw(2, 5, seed=4), "b": draw(2, 5, seed=5)}
    for composite in ("epsilon", "epsilon_plus", "z_plus", "attn_lrp"):
        ask = lambda wrt: onnxplain.explain(model, feeds, "lrp", composite=composite, target=1, wrt=wrt, providers=CPU).attributions  # noqa: B023
        together = ask(["a", "b"])
        for name in "ab":
            np.testing.assert_allclose(ask(name)[name], together[name], atol=1e-6 * np.abs(together[name]).max())
        inside = ask(["p", "t"])
        np.testing.assert_allclose(ask("t")["t"], inside["t"], atol=1e-6 * np.abs(inside["t"]).max())


def test_a_flat_map_is_said_before_it_is_made():
    with pytest.warns(UserWarning, match="lrp's default is flat in the first layer, and Gemm.* is dense: all its inputs get the same"):
        a = onnxplain.explain(network(), draw(2, 5), "lrp", target=0).attribution
    np.testing.assert_allclose(a, a[:, :1].repeat(5, 1), rtol=1e-5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for params in ({"composite": "epsilon_plus"}, {"composite": "epsilon_plus_flat"}, {"rules": []}):
            explain("lrp", draw(2, 5), target=0, **params)
        onnxplain.Explainer(build("vgg"), "lrp")
