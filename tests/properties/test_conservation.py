"""Relevance is conserved: what reaches the input sums to the score, in networks of the well-known families without biases."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from networks import NETWORKS, Net, build

import onnxplain

CPU = ["CPUExecutionProvider"]
EVERYWHERE = ["z", "epsilon", "z_plus", "z_plus_fast", "gamma", "epsilon_plus", "epsilon_plus_flat", "epsilon_gamma_box", "attn_lrp", "cp_lrp"]
# What shares nothing where a unit has no lowering inputs, spreads to silent units that sums cannot share further, or leaves
# residual sums to the gradient, promises conservation on some families only.
SOMEWHERE = {
    "alpha_beta": ["vgg"],
    "epsilon_alpha2_beta1": ["vgg"],
    "epsilon_alpha2_beta1_flat": ["vgg", "resnet"],
    "w_square": ["vgg"],
    "flat": ["vgg"],
    "excitation_backprop": ["vgg", "resnet", "inception"],
    "preset_a": ["vgg", "resnet", "inception", "mobilenet"],
    "preset_a_flat": ["vgg", "resnet", "inception", "mobilenet"],
    "preset_b": ["vgg"],
    "preset_b_flat": ["vgg", "resnet"],
    "lrp_convnet": ["vgg", "inception"],
    "deep_taylor": ["vgg", "inception"],
}
PARAMS = {"epsilon_gamma_box": {"low": -5, "high": 5}} | {n: {"convention": "innvestigate", "epsilon": 1e-7} for n in SOMEWHERE if n.startswith("preset")}
TINY = {"stabilizer": 1e-9, "epsilon": 1e-9}
CASES = [(c, n) for c in EVERYWHERE for n in NETWORKS] + [(c, n) for c, names in SOMEWHERE.items() for n in names]


def residual(model, x, composite, target=2, **params):
    """How much of the score is missing at the input, of each sample."""
    e = onnxplain.explain(model, x, "lrp", composite=composite, target=target, providers=CPU, **params)
    score = e.output["y"][:, target].astype(np.float64)
    assert np.abs(score).min() > 5e-3
    return e.attribution.astype(np.float64).reshape(len(x), -1).sum(1) / score - 1


@pytest.mark.parametrize(("composite", "family"), CASES)
def test_composites_conserve(composite, family):
    x = np.random.default_rng(1).normal(size=(3, 3, 8, 8)).astype(np.float32)
    x = np.abs(x) if composite == "z_plus_fast" else x
    assert np.abs(residual(build(family), x, composite, **PARAMS.get(composite, {}))).max() < 1e-4


@pytest.mark.parametrize("fuse", [True, False, "two"])
@pytest.mark.parametrize("composite", ["epsilon", "epsilon_plus", "cp_lrp"])
def test_however_batch_normalisation_is_taken(composite, fuse):
    x = np.random.default_rng(2).normal(size=(2, 3, 8, 8)).astype(np.float32)
    assert np.abs(residual(build("resnet"), x, composite, fuse=fuse)).max() < 1e-4


@pytest.mark.parametrize("composite", ["z", "epsilon"])
@pytest.mark.parametrize("family", [f for f in NETWORKS if f != "mobilenet"])
def test_lrp_0_is_input_times_gradient(family, composite):
    """Without biases ReLU networks are homogeneous; ReLU6 is not."""
    x = np.random.default_rng(3).normal(size=(3, 3, 8, 8)).astype(np.float32)
    fuse = True if family != "densenet" else "two"
    model = build(family)
    rows = [{"kind": "batch_norm", "rule": "z"}]
    lrp = onnxplain.explain(model, x, "lrp", composite=composite, rules=rows, target=1, fuse=fuse, providers=CPU, **TINY).attribution
    product = onnxplain.explain(model, x, "input_x_gradient", target=1, providers=CPU).attribution
    np.testing.assert_allclose(lrp, product, atol=2e-4 * np.abs(product).max())


def test_epsilon_goes_to_z():
    model, x = build("vgg"), np.random.default_rng(4).normal(size=(2, 3, 8, 8)).astype(np.float32)
    z = onnxplain.explain(model, x, "lrp", composite="z", stabilizer=1e-9, target=0, providers=CPU).attribution
    far = [
        np.abs(onnxplain.explain(model, x, "lrp", composite="epsilon", epsilon=e, target=0, providers=CPU).attribution - z).max() / np.abs(z).max()
        for e in (1, 0.1, 1e-2, 1e-5)
    ]
    assert far == sorted(far, reverse=True)
    assert far[0] > 0.1
    assert far[-1] < 1e-3


def transformer(bias=False) -> onnx.ModelProto:
    """One block with attention of two heads, layer normalisation and a GELU; tokens are averaged."""
    n, d, heads = Net(5), 8, 2
    token = ["N", 6, d]

    def dense(x, i, o):
        y = n.add("MatMul", x, n.weight(i, o, fan=2 * i))
        return n.add("Add", y, n.array(n.rng.normal(size=o) / 4)) if bias else y

    def normed(x):
        return n.add("LayerNormalization", x, n.array(n.rng.uniform(0.5, 1.5, d)))

    split = lambda v: n.add("Transpose", n.add("Reshape", v, n.array([0, 0, heads, d // heads], np.int64)), perm=[0, 2, 1, 3])
    h = normed("x")
    q, k, v = (split(dense(h, d, d)) for _ in range(3))
    logits = n.add("Div", n.add("MatMul", q, n.add("Transpose", k, perm=[0, 1, 3, 2])), n.array(np.sqrt(d / heads)))
    mixed = n.add("MatMul", n.add("Softmax", logits, name="weights", axis=-1), v)
    mixed = n.add("Reshape", n.add("Transpose", mixed, perm=[0, 2, 1, 3]), n.array([0, 0, d], np.int64))
    h = n.add("Add", "x", dense(mixed, d, d))
    h = n.add("Add", h, dense(n.add("Mul", n.add("Sigmoid", dense(normed(h), d, 16)), dense(normed(h), d, 16)), 16, d))
    h = n.add("ReduceMean", normed(h), n.array([1], np.int64), keepdims=0)
    n.add("Gemm", h, n.weight(5, d), name="y", transB=1)
    n.shape = token
    return n.model()


def test_cp_lrp_conserves_in_transformers():
    x = np.random.default_rng(2).normal(size=(3, 6, 8)).astype(np.float32)
    assert np.abs(residual(transformer(), x, "cp_lrp", target=3, **TINY)).max() < 1e-4


def test_attn_lrp_loses_what_softmax_absorbs_and_nothing_else():
    x = np.random.default_rng(2).normal(size=(3, 6, 8)).astype(np.float32)
    model = transformer()
    e = onnxplain.Explainer(model, "lrp", composite="attn_lrp", providers=CPU, **TINY)
    trace = e.trace(x, target=3)
    score = e.explain(x, target=3)
    softmax = next(s for s in trace.steps if s.op_type == "Softmax")
    assert np.abs(softmax.absorbed).max() > 1e-3
    total = score.output["y"][:, 3]
    np.testing.assert_allclose(score.attribution.sum((1, 2)) + softmax.absorbed, total, rtol=1e-3)


def test_biases_absorb_their_share():
    """Behind a product with three axes the bias is an Add of its own; it takes part in the denominator all the same."""
    x = np.random.default_rng(8).normal(size=(2, 4)).astype(np.float32)
    rng = np.random.default_rng(9)
    n = Net()
    W, b = rng.normal(size=(4, 3)).astype(np.float32), rng.normal(size=3).astype(np.float32)
    h = n.add("Add", n.add("MatMul", "x", n.array(W)), n.array(b))
    n.add("ReduceSum", h, n.array([1], np.int64), name="y", keepdims=0)
    n.shape = ["N", 2, 4]
    model = n.model(out_shape=["N", 3])
    tokens = np.stack([x, x[::-1]])
    for composite in ("attn_lrp", "cp_lrp"):
        got = onnxplain.explain(model, tokens, "lrp", composite=composite, target=1, relevance="one_hot", providers=CPU).attribution
        total = (tokens @ W + b)[..., 1].astype(np.float64)
        np.testing.assert_allclose(got, tokens * W[:, 1] / total.sum(1)[:, None, None], rtol=1e-3)
