"""Laws that hold for every network: hypothesis draws the network."""

from itertools import pairwise

import numpy as np
from helpers import parse
from hypothesis import given, settings
from hypothesis import strategies as st

import onnxplain

NETWORKS = settings(max_examples=12, deadline=None)
sizes = st.lists(st.integers(1, 5), min_size=2, max_size=4)
activations = st.sampled_from(["Tanh", "Sigmoid", "Softplus", "Elu"])


def network(widths, activation, seed):
    """A dense network without a last activation, and a batch for it."""
    rng = np.random.default_rng(seed)
    lines, weights = [], {}
    for k, (a, b) in enumerate(pairwise(widths)):
        weights |= {f"w{k}": rng.standard_normal((a, b)).astype(np.float32), f"b{k}": rng.standard_normal(b).astype(np.float32)}
        lines += [f"z{k} = Gemm({'x' if k == 0 else f'a{k - 1}'}, w{k}, b{k})", f"a{k} = {activation}(z{k})"]
    body = "\n".join(lines[:-1])
    model = parse(f"g (float[N,{widths[0]}] x) => (float[N,{widths[-1]}] z{len(widths) - 2}) {{ {body} }}", **weights)
    return model, rng.standard_normal((3, widths[0])).astype(np.float32)


@NETWORKS
@given(sizes, activations, st.integers(0, 999), st.floats(-1, 1))
def test_integrated_gradients_are_complete(widths, activation, seed, baseline):
    model, x = network(widths, activation, seed)
    got = onnxplain.explain(model, x, target=0, steps=60, baseline=baseline)
    assert np.abs(got.delta).max() < 1e-3 * (1 + np.abs(got.attribution).max())


@NETWORKS
@given(sizes, activations, st.integers(0, 999))
def test_the_gradient_is_linear_in_the_target(widths, activation, seed):
    model, x = network(widths, activation, seed)
    explainer = onnxplain.Explainer(model, "gradient")
    p, q = np.random.default_rng(seed).standard_normal((2, 3, widths[-1])).astype(np.float32)
    both = explainer.explain(x, 2 * p - q).attribution
    apart = 2 * explainer.explain(x, p).attribution - explainer.explain(x, q).attribution
    np.testing.assert_allclose(both, apart, atol=1e-4 * (1 + np.abs(apart).max()))


@NETWORKS
@given(sizes, activations, st.integers(0, 999), st.sampled_from(["gradient", "integrated_gradients", "smoothgrad", "vargrad"]))
def test_samples_do_not_know_of_each_other(widths, activation, seed, method):
    model, x = network(widths, activation, seed)
    explainer = onnxplain.Explainer(model, method, **({"steps": 5} if method[0] == "i" else {"samples": 5} if method != "gradient" else {}))
    whole = explainer.explain(x).attribution
    np.testing.assert_allclose(explainer.explain(x[:1]).attribution, whole[:1], atol=1e-5 * (1 + np.abs(whole).max()))
    if method in ("gradient", "integrated_gradients"):
        np.testing.assert_allclose(explainer.explain(x[::-1]).attribution, whole[::-1], atol=1e-5 * (1 + np.abs(whole).max()))


@NETWORKS
@given(sizes, activations, st.integers(0, 999))
def test_smoothgrad_without_noise_is_the_gradient(widths, activation, seed):
    model, x = network(widths, activation, seed)
    gradient = onnxplain.explain(model, x, "gradient", target=0).attribution
    np.testing.assert_allclose(
        onnxplain.explain(model, x, "smoothgrad", target=0, noise_sigma=0.0, samples=3).attribution, gradient, atol=1e-5 * (1 + np.abs(gradient).max())
    )
    assert np.abs(onnxplain.explain(model, x, "vargrad", target=0, noise_sigma=0.0, samples=3).attribution).max() < 1e-6


@NETWORKS
@given(st.integers(1, 4), st.integers(0, 999))
def test_one_middle_step_is_exact_on_a_quadratic(n, seed):
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((n, n)).astype(np.float32)
    model = parse(f"g (float[N,{n}] x) => (float[N,1] y) {{ m = MatMul(x, a)\n p = Mul(m, x)\n y = ReduceSum(p, axes) }}", a=a, axes=np.array([1]))
    x, x0 = rng.standard_normal((2, n)).astype(np.float32), rng.standard_normal(n).astype(np.float32)
    one = onnxplain.explain(model, x, steps=1, quadrature="riemann_middle", baseline=x0)
    np.testing.assert_allclose(one.attribution, (x - x0) * ((x + x0) / 2 @ (a + a.T)), atol=1e-4)
    assert np.abs(one.delta).max() < 1e-4


@NETWORKS
@given(st.lists(st.integers(1, 5), min_size=2, max_size=2), st.integers(0, 999))
def test_all_agree_on_a_linear_model(widths, seed):
    model, x = network(widths, "Tanh", seed)
    expected = onnxplain.explain(model, x, "input_x_gradient", target=0).attribution
    for method, params in (
        ("integrated_gradients", {"steps": 2}),
        ("integrated_gradients", {"steps": 3, "quadrature": "riemann_trapezoid"}),
        ("expected_gradients", {"baselines": 0 * x, "samples": 4}),
    ):
        np.testing.assert_allclose(onnxplain.explain(model, x, method, target=0, **params).attribution, expected, atol=1e-5)
    assert np.abs(onnxplain.explain(model, x, "vargrad", target=0, samples=4).attribution).max() < 1e-8
