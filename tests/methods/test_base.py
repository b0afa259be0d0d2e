"""What all methods share: numbers of the right dtype, points that can be, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import draw, mlp, parse, plain, two_inputs

import onnxplain
from onnxplain import Explainer, InputError

# ---- tensors of different dtypes ----

WEIGHTS = {"w": draw(3, 4, seed=1), "v": draw(2, 4, seed=2)}
X = {"a": draw(3, 3, seed=3), "b": draw(3, 2, seed=4)}
BODY = "p = MatMul(a, w)\n q = MatMul(b, v)\n t = Tanh(p)\n u = Tanh(q)"
ALONE = parse(f"g (float[N,3] a, float[N,2] b) => (float[N,4] y) {{ {BODY}\n y = Mul(t, u) }}", **WEIGHTS)
DTYPES = {"float16": np.float16, "double": np.float64}

AVERAGES = {
    "integrated_gradients": {"steps": 7},
    "integrated_gradients with rows": {"steps": 7, "baseline": {"a": draw(3, 3, seed=5), "b": draw(3, 2, seed=6)}},
    "smoothgrad": {"samples": 5},
    "vargrad": {"samples": 5, "noise_scale": 1.0},
    "expected_gradients": {"baselines": {"a": draw(2, 3, seed=5), "b": draw(2, 2, seed=6)}, "samples": 5},
    "deepshap": {"background": {"a": draw(2, 3, seed=5), "b": draw(2, 2, seed=6)}},
    "deeplift": {"baseline": {"a": draw(3, 3, seed=5), "b": draw(3, 2, seed=6)}},
    "conductance": {"layer": "t", "steps": 5},
    "internal_influence": {"layer": ["u", "t"], "steps": 5},
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", AVERAGES)
def test_inputs_of_different_dtypes(name, dtype):
    """The numbers of a model that computes alike, but takes all in float32."""
    weights = WEIGHTS | {"v": WEIGHTS["v"].astype(DTYPES[dtype])}
    mixed = parse(f"g (float[N,3] a, {dtype}[N,2] b) => (float[N,4] y) {{ {BODY}\n c = Cast<to=1>(u)\n y = Mul(t, c) }}", **weights)
    explained = lambda model: onnxplain.explain(model, X, name.split()[0], target=[2, 0, 1], **AVERAGES[name]).attributions
    wanted, got = explained(ALONE), explained(mixed)
    for n, v in wanted.items():
        np.testing.assert_allclose(got[n], v, atol=5e-3 * np.abs(v).max(), err_msg=n)
        assert got[n].dtype == (DTYPES[dtype] if n in "bu" else np.float32)


@pytest.mark.parametrize("order", [["a", "b"], ["b", "a"]])
def test_a_file_of_different_dtypes(order):
    weights = WEIGHTS | {"v": WEIGHTS["v"].astype(np.float16)}
    mixed = parse(f"g (float[N,3] a, float16[N,2] b) => (float[N,4] y) {{ {BODY}\n c = Cast<to=1>(u)\n y = Mul(t, c) }}", **weights)
    explainer = Explainer(mixed, wrt=order, steps=5)
    saved = plain(explainer.model).run(["attribution:a", "attribution:b"], X | {"b": X["b"].astype(np.float16), "target": np.array([2, 0, 1])})
    got = explainer.explain(X, [2, 0, 1]).attributions
    for n, v in zip("ab", saved):
        np.testing.assert_allclose(v, got[n], atol=1e-2)


@pytest.mark.parametrize("to", [10, 16])
@pytest.mark.parametrize("method", ["conductance", "internal_influence"])
def test_a_narrow_layer_behind_a_wide_input(method, to):
    text = "g (float[N,3] x) => (float[N,4] y) {{ n = Cast<to={to}>(x)\n r = Cast<to=1>(n)\n t = Tanh(r)\n y = MatMul(t, w) }}"
    wanted, got = (onnxplain.explain(parse(text.format(to=t), w=draw(3, 4)), X["a"], method, layer="n", target=1, steps=9).attribution for t in (1, to))
    np.testing.assert_allclose(got.astype(np.float32), wanted, atol=0.03)


@pytest.mark.parametrize("order", [["h", "b"], ["b", "h"]])
@pytest.mark.parametrize("name", ["integrated_gradients", "smoothgrad"])
def test_both_kinds_of_16_bits(name, order):
    text = "g (float[N,3] x) => (float[N,3] y) {{ h = Cast<to={}>(x)\n b = Cast<to={}>(x)\n p = Cast<to=1>(h)\n q = Cast<to=1>(b)\n y = Mul(p, q) }}"
    wanted, got = (onnxplain.explain(parse(text.format(*to)), X["a"], name, wrt=order, target=1).attributions for to in ((1, 1), (10, 16)))
    for n in order:
        np.testing.assert_allclose(got[n].astype(np.float32), wanted[n], atol=0.03)


# ---- an input without a batch axis ----


def test_references_of_an_input_without_a_batch():
    model = parse("g (float[4] x) => (float[3] y) { t = Tanh(x)\n y = MatMul(t, w) }", w=draw(4, 3))
    x, references = draw(4), draw(5, 4, seed=1)
    got = onnxplain.explain(model, x, "deepshap", background=references, target=2)
    np.testing.assert_allclose(got.attribution, ((np.tanh(x) - np.tanh(references)) * draw(4, 3)[:, 2]).mean(0), atol=1e-5)
    assert np.abs(got.delta).max() < 1e-5


# ---- tensors of which one decides the other ----

NESTED = {
    "integrated_gradients": {},
    "smoothgrad": {},
    "vargrad": {},
    "expected_gradients": {"baselines": {"x": np.zeros((1, 3)), "h": np.zeros((1, 6))}},
    "deepshap": {"background": {"x": np.zeros((1, 3)), "h": np.zeros((1, 6))}},
    "occlusion": {"window": 1},
    "feature_ablation": {},
    "shapley_sampling": {},
    "kernel_shap": {},
    "lime": {},
    "rise": {},
    "conductance": {"inner": "integrated_gradients"},
}


@pytest.mark.parametrize("name", NESTED)
def test_a_tensor_is_not_changed_beside_what_decides_it(name):
    with pytest.raises(InputError, match="'h' is computed from 'x', so the two cannot be changed at once: attribute to them apart"):
        Explainer(mlp().model, name, wrt=["h", "x"], **NESTED[name])


@pytest.mark.parametrize("name", ["gradient", "input_x_gradient", "deeplift"])
def test_one_sweep_attributes_to_both(name):
    explained = lambda wrt: onnxplain.explain(mlp().model, mlp().x, name, wrt=wrt, target=1).attributions
    both = explained(["x", "h"])
    for n in "xh":
        np.testing.assert_allclose(both[n], explained(n)[n], atol=1e-6)
    with pytest.raises(InputError, match="cannot be changed at once"):
        Explainer(mlp().model, name, wrt=["x", "h"]).probe(mlp().x)


# ---- what is refused ----


@pytest.mark.parametrize(("shape", "axes"), [("N", [1]), ("N,1", [1])])
def test_one_score_has_no_others_to_be_compared_with(shape, axes):
    keep = int("1" in shape)
    model = parse(f"g (float[N,3] x) => (float[{shape}] y) {{ y = ReduceSum<keepdims={keep}>(x, axes) }}", axes=np.array(axes))
    with pytest.raises(InputError, match="\"contrastive\" compares one element with the others: 'y' has one"):
        onnxplain.explain(model, draw(2, 3), "lrp", relevance="contrastive")


@pytest.mark.parametrize(
    ("name", "params", "rows"),
    [
        ("integrated_gradients", {"baseline": {"a": draw(4, 3), "b": 0}}, "baseline for 'a' has 4"),
        ("deeplift", {"baseline": {"a": 0, "b": draw(2, 2)}}, "baseline for 'b' has 2"),
        ("smoothgrad", {"noise": {"a": draw(5, 4, 3), "b": draw(5, 1, 2)}}, "noise for 'a' has 4"),
        ("expected_gradients", {"baselines": {"a": draw(2, 3), "b": draw(2, 2)}, "alphas": np.zeros((2, 4))}, "alphas has 4"),
        ("feature_ablation", {"baseline": {"a": draw(4, 3), "b": 0}}, "baseline for 'a' has 4"),
        ("kernel_shap", {"mask": {"a": np.zeros((2, 3), int), "b": "elements"}}, "mask for 'a' has 2"),
        ("conductance", {"layer": "t", "baseline": {"a": draw(4, 3), "b": 0}}, "baseline for 'a' has 4"),
    ],
)
@pytest.mark.parametrize("batch_size", [None, 1])
def test_rows_for_another_batch(name, params, rows, batch_size):
    """Too many as well as too few, whatever part of the batch runs at once."""
    with pytest.raises(InputError, match=f"{rows} samples, the batch has 3"):
        onnxplain.explain(ALONE, X, name, batch_size=batch_size, **params)
    with pytest.raises(InputError, match=f"{rows} samples, the batch has 3"):
        onnxplain.Explainers(ALONE, ["input_x_gradient", {"method": name, **params}], batch_size=batch_size).explain(X)


def test_draws_that_differ_in_number():
    feeds = {"a": draw(3, 3), "b": draw(3, 4), "rate": np.float32(1.5)}
    for name, params in (
        ("deepshap", {"background": {"a": draw(3, 3), "b": draw(2, 4)}}),
        ("smoothgrad", {"noise": {"a": draw(3, 3, 3), "b": draw(2, 3, 4)}}),
        ("expected_gradients", {"baselines": {"a": draw(3, 3), "b": draw(2, 4)}}),
    ):
        (key,) = params
        with pytest.raises(InputError, match=f"same number of draws, on axis 0: {key} for 'a' has shape .3, .*{key} for 'b' has shape .2, "):
            onnxplain.explain(two_inputs(), feeds, name, wrt=["a", "b"], **params)
