"""Rules for connected regions: which nodes a pattern takes together, and what a rule sees of them."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import draw
from networks import Net

import onnxplain
from onnxplain import InputError, UnsupportedModelError
from onnxplain.backward import gradient
from onnxplain.question import Question
from onnxplain.rules.conditions import all_of, attention, chain, first, is_a
from onnxplain.rules.lrp import Epsilon, Flat, Norm

X = draw(2, 3, 8, 8)


def convnet():
    """conv0, bn1, relu2; a branch conv3 joined by add4; relu5 and the head."""
    n = Net()
    a = n.add("Relu", n.norm(n.conv("x", 3, 4), 4))
    n.head(n.add("Relu", n.add("Add", a, n.conv(a, 4, 4))), 256)
    return n.model()


def transformer(weights_out: bool = False):
    """One head of attention with a scale and a mask, and a linear layer; [N, 4 tokens, 3]."""
    n = Net()
    n.shape = ["N", 4, 3]
    q, k, v = (n.add("MatMul", "x", n.weight(3, 3), name=name) for name in "qkv")
    scores = n.add(
        "Add", n.add("Div", n.add("MatMul", q, n.add("Transpose", k, perm=[0, 2, 1])), n.array(np.sqrt(3))), n.array(np.triu(np.full((4, 4), -9.0), 1))
    )
    weights = n.add("Softmax", scores, axis=-1, name="weights")
    mixed = n.add("MatMul", weights, v, name="mixed")
    n.add("MatMul", mixed if not weights_out else n.add("Add", mixed, n.add("ReduceSum", weights, n.array([2], np.int64))), n.weight(3, 5), name="y")
    return n.model(out_shape=("N", 4, 5))


def flow(model, fuse=False):
    return Question.ask(onnxplain.load(model, fuse=fuse)).flow


def matched(model, condition) -> list[list[str]]:
    f = flow(model)
    return [sorted(m.outputs[0] for m in found) for n in f.nodes if (found := condition(f, n))]


def lrp(model, x, rows, **options):
    return onnxplain.explain(model, x, "lrp", target=options.pop("target", 1), rules=rows, **options).attribution


CONV_BN = chain(is_a("Conv"), is_a("BatchNormalization"))


def test_a_chain_is_matched_at_its_last_node():
    assert matched(convnet(), CONV_BN) == [["batchnormalization1", "conv0"]]
    assert matched(convnet(), chain(is_a("Conv"), is_a("Add"), is_a("Relu"))) == [["add4", "conv3", "relu5"]]
    assert matched(convnet(), chain(is_a("Conv"), is_a("Relu"))) == []


def test_what_is_read_from_beside_is_no_chain():
    assert matched(convnet(), chain(is_a("Relu"), is_a("Conv"))) == []  # the sum reads relu2 too
    n = Net()
    n.add("Mul", n.add("Tanh", n.add("Exp", "x", name="e"), name="t"), n.array(2.0), name="y")
    f = Question.ask(onnxplain.load(n.model(out_shape=None)), "y", ["t", "x"]).flow
    assert not chain(is_a("Tanh"), is_a("Mul"))(f, f.nodes[-1])  # t is attributed to


def test_conditions_around_a_pattern_keep_it():
    deep = all_of([CONV_BN, lambda flow, node: True])
    assert matched(convnet(), first(deep)) == [["batchnormalization1", "conv0"]]


def test_convolution_and_normalisation_as_one_layer_are_the_fused_layer():
    model = convnet()
    fused = lrp(model, X, [(is_a("Conv"), Epsilon(0.1))], fuse=True)
    joint = lrp(model, X, [(CONV_BN, Epsilon(0.1)), (is_a("Conv"), Epsilon(0.1))], fuse=False)
    apart = lrp(model, X, [(is_a("Conv", "BatchNormalization"), Epsilon(0.1))], fuse=False)
    np.testing.assert_allclose(joint, fused, atol=1e-5 * np.abs(fused).max())
    assert np.abs(apart - fused).max() > 1e-2 * np.abs(fused).max()
    as_json = lrp(
        model,
        X,
        [{"pattern": ["Conv", "BatchNormalization"], "rule": "epsilon", "epsilon": 0.1}, {"op": "Conv", "rule": "epsilon", "epsilon": 0.1}],
        fuse=False,
    )
    np.testing.assert_array_equal(as_json, joint)


def residual(flow, node):
    """From the sum back to the tensor where the branches part."""
    branch = flow.graph.producer[node.inputs[1]] if node.op_type == "Add" else None
    return {node, branch} if branch is not None else False


def test_a_region_under_the_gradient_changes_nothing():
    expected = onnxplain.explain(convnet(), X, "gradient", target=1).attribution
    for pattern in (residual, CONV_BN, chain(is_a("Conv"), is_a("Add"), is_a("Relu"))):
        np.testing.assert_allclose(lrp(convnet(), X, [(pattern, gradient)], relevance="one_hot"), expected, atol=1e-6)


def test_a_region_is_a_call_like_any_other():
    """x · f'(x)ᵀ (R / f(x)) over the block h + conv(h), in NumPy from the pieces."""
    seen = []

    def rule(R, f):
        seen.append((f.names, f.node.op_type, f(f.x).z.name == f.y.name))
        return Norm()(R, f)

    got = lrp(convnet(), X, [(residual, rule)], wrt="relu2", relevance="one_hot")
    assert seen == [(["relu2"], "Add", True)]
    at = onnxplain.explain(convnet(), X, "gradient", target=1, wrt="add4").attribution.astype(np.float64)
    values = {t: onnxplain.Explainer(convnet(), "gradient", wrt=t).probe(X, 1).x[t].astype(np.float64) for t in ("relu2", "add4")}
    s = np.zeros_like(at)
    np.divide(at, values["add4"] + 1e-6 * np.where(values["add4"] >= 0, 1, -1), out=s)
    weights = next(t for t in convnet().graph.initializer if t.name == "w5")
    kernel = np.frombuffer(weights.raw_data, np.float32).reshape(weights.dims)
    padded = np.pad(s, [(0, 0), (0, 0), (1, 1), (1, 1)])
    back = sum(np.einsum("noij,oc->ncij", padded[:, :, 2 - a : 10 - a, 2 - b : 10 - b], kernel[:, :, a, b]) for a in range(3) for b in range(3))
    np.testing.assert_allclose(got, values["relu2"] * (s + back), atol=1e-4 * np.abs(got).max())


def test_a_region_that_leaks_is_refused_by_name():
    leaky = lambda flow, node: [node, flow.graph.producer[node.inputs[0]]] if node.op_type == "Conv" and node.outputs[0] == "conv3" else False
    with pytest.raises(UnsupportedModelError, match="'conv3' is not closed: Add 'add4' is beside it"):
        lrp(convnet(), X, [(leaky, gradient)])


def test_a_rule_that_changes_parameters_is_refused_for_a_region():
    with pytest.raises(UnsupportedModelError, match="a region of 2 nodes has no one set of them"):
        lrp(convnet(), X, [(CONV_BN, Flat())], fuse=False)


def test_an_unknown_pattern_is_refused():
    with pytest.raises(InputError, match="unknown pattern 'atention': did you mean 'attention'"):
        lrp(convnet(), X, [{"pattern": "atention", "rule": "values"}])


# ---- attention ----


def test_attention_is_found_whole():
    inner = ["add6", "div5", "matmul4", "mixed", "weights"]
    assert matched(transformer(), attention) == [inner]
    assert matched(transformer(weights_out=True), attention) == []


def test_values_take_all_of_an_attention():
    x = draw(2, 4, 3)
    got = lrp(transformer(), x, [{"pattern": "attention", "rule": "values"}, {"kind": "linear", "rule": "epsilon", "epsilon": 0}], target=(1, 2))
    w = {t.name: np.frombuffer(t.raw_data, np.float32).reshape(t.dims).astype(np.float64) for t in transformer().graph.initializer if t.data_type == 1}
    w_q, w_k, w_v, w_y = w["w0"], w["w1"], w["w2"], w["w5"]
    for sample, relevance in zip(x.astype(np.float64), got):
        scores = sample @ w_q @ (sample @ w_k).T / np.sqrt(3) + np.triu(np.full((4, 4), -9.0), 1)
        a = np.exp(scores - scores.max(1, keepdims=True))
        a /= a.sum(1, keepdims=True)
        # With the weights constant the network is linear in its values: relevance is each term of the sum.
        np.testing.assert_allclose(relevance, sample * (a[1][:, None] * (w_v @ w_y[:, 2])), atol=1e-5)


def test_cp_lrp_goes_by_the_pattern_and_by_the_gate_alike():
    x = draw(2, 4, 3)
    by_pattern = onnxplain.explain(transformer(), x, "lrp", target=(1, 2), composite="cp_lrp")
    by_gate = onnxplain.explain(transformer(), x, "lrp", target=(1, 2), composite="cp_lrp", rules=[{"op": "MatMul", "kind": "product", "rule": "signal"}])
    np.testing.assert_allclose(by_pattern.attribution, by_gate.attribution, atol=1e-6)
    assert np.abs(by_pattern.delta).max() < 1e-4
