"""Every rule against the paper's formula on a dense matrix, for every linear operator."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnxruntime as ort
import pytest
from onnx import helper

import onnxplain
from onnxplain.backward import backward
from onnxplain.question import Question
from onnxplain.rules import CONVENTIONS, RULES, Composite, Params, row
from onnxplain.rules.conditions import anything, is_a
from onnxplain.tape import Tape

from . import dense
from .dense import Layer, X, model, quarters, run

CPU = ["CPUExecutionProvider"]


def ints(*v):
    return np.array(v, np.int64)


def f32(*v):
    return np.array(v, np.float32)


LINEAR = [
    Layer("Conv", (X(2, 2, 7), (3, 2, 3), (3,)), {"strides": [2], "pads": [1, 0]}, 2),
    Layer("Conv", (X(1, 2, 9), (2, 2, 3)), {"dilations": [2], "pads": [2, 3]}),
    Layer("Conv", (X(2, 2, 5, 4), (3, 2, 3, 2), (3,)), {"strides": [2, 1], "pads": [1, 0, 1, 1]}, 2),
    Layer("Conv", (X(1, 4, 4, 3), (6, 2, 2, 2), (6,)), {"group": 2}, 2),
    Layer("Conv", (X(1, 3, 5, 5), (6, 1, 3, 3), (6,)), {"group": 3, "strides": [2, 2], "pads": [1, 1, 1, 1]}, 2),
    Layer("Conv", (X(1, 3, 6, 6), (3, 1, 2, 2), (3,)), {"group": 3, "dilations": [2, 3]}, 2),
    Layer("Conv", (X(1, 2, 5, 4), (2, 2, 2, 3), (2,)), {"auto_pad": "SAME_LOWER", "strides": [2, 1]}, 2),
    Layer("Conv", (X(1, 2, 3, 3, 4), (2, 2, 2, 2, 2), (2,)), {"strides": [1, 1, 2], "pads": [0, 1, 0, 0, 0, 1]}, 2),
    Layer("ConvTranspose", (X(2, 2, 4), (2, 3, 3), (3,)), {"strides": [2], "pads": [1, 0]}, 2),
    Layer("ConvTranspose", (X(1, 4, 3, 2), (4, 2, 2, 3), (4,)), {"group": 2, "strides": [2, 2], "output_padding": [1, 0], "dilations": [2, 1]}, 2),
    Layer("ConvTranspose", (X(1, 2, 2, 2, 2), (2, 2, 2, 2, 2)), {"strides": [1, 2, 1]}),
    Layer("Gemm", (X(2, 5), (3, 5), (3,)), {"transB": 1}, 2),
    Layer("Gemm", (X(5, 2), (5, 3), (1, 3)), {"transA": 1}, 2),
    Layer("Gemm", (X(2, 5), (5, 3), (3,)), {"alpha": 0.5, "beta": 2.0}, 2),
    Layer("Gemm", (X(2, 5), (5, 3), (2, 1)), {"alpha": -2.0, "beta": -0.5}, 2),
    Layer("Gemm", ((4, 5), X(5, 2), (4, 1)), {"alpha": 2.0}, 2),
    Layer("Gemm", (X(2, 5), (5, 3)), {}),
    Layer("MatMul", (X(2, 5), (5, 3))),
    Layer("MatMul", (X(2, 3, 4), (4, 3))),
    Layer("MatMul", (X(2, 3, 4), (2, 4, 3))),
    Layer("MatMul", ((3, 4), X(2, 4, 2))),
    Layer("MatMul", (X(2, 4), (4,))),
    Layer("Einsum", (X(2, 3, 4), (4, 3)), {"equation": "btc,co->bto"}),
    Layer("Einsum", ((3, 2, 4), X(2, 4, 2)), {"equation": "ohc,bch->bo"}),
]
AVERAGES = [
    Layer("AveragePool", (X(2, 2, 6),), {"kernel_shape": [2], "strides": [2]}),
    Layer("AveragePool", (X(1, 2, 5, 5),), {"kernel_shape": [2, 2], "strides": [2, 1]}),
    Layer("AveragePool", (X(1, 2, 4, 3),), {"kernel_shape": [2, 2], "pads": [1, 0, 1, 1], "strides": [2, 2]}),
    Layer("AveragePool", (X(1, 2, 4, 3),), {"kernel_shape": [2, 2], "pads": [1, 0, 1, 1], "count_include_pad": 1}),
    Layer("AveragePool", (X(1, 2, 5, 5),), {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}),
    Layer("AveragePool", (X(1, 1, 3, 3, 4),), {"kernel_shape": [2, 1, 2]}),
    Layer("GlobalAveragePool", (X(2, 2, 2, 4),)),
    Layer("GlobalAveragePool", (X(2, 2, 4),)),
    Layer("ReduceMean", (X(2, 2, 2, 4), ints(2, 3)), {"keepdims": 0}),
    Layer("ReduceMean", (X(2, 2, 4, 2), ints(-1, -2)), {"keepdims": 1}),
    Layer("ReduceMean", (X(2, 4, 2, 3), ints(1, 2)), {"keepdims": 0}),
]
SUMS = [
    Layer("Add", (X(2, 3, 2), X(2, 3, 2))),
    Layer("Add", (X(2, 3, 2), X(2, 1, 2))),
    Layer("Sum", (X(2, 3), X(2, 3), X(2, 1))),
    Layer("Mean", (X(2, 3), X(2, 3))),
]
DIFFERENCES = [Layer("Sub", (X(2, 3), X(2, 3))), Layer("Sub", (X(2, 3), X(2, 1)))]
NORMALISED = [Layer("BatchNormalization", (X(2, 3, 2), f32(1, -2, 0.5), f32(0.5, -1, 0), f32(0.25, 1, -0.5), f32(0.25, 4, 1)), {"epsilon": 0.0})]

# rule, its parameters, the reference, the reference's parameters
PAIRS = {"alpha": (0.5, 1.5), "beta": (0.25, 0.75)}
BOX = {"low": -2.0, "high": 1.75}
RULE_CASES = [
    ("z", {}, dense.z, {}),
    ("z", {"bias": False}, dense.z, {"bias": False}),
    ("epsilon", {}, dense.z, {}),
    ("epsilon", {"epsilon": 0.125}, dense.z, {"s": {"epsilon": 0.125}}),
    ("epsilon", {"epsilon": 0.125, "bias": False}, dense.z, {"bias": False, "s": {"epsilon": 0.125}}),
    ("epsilon", {"epsilon": {"epsilon": 0.5, "clip": True}}, dense.z, {"s": {"epsilon": 0.5, "clip": True}}),
    ("z_plus", {}, dense.z_plus, {}),
    ("z_plus", {"bias": False}, dense.z_plus, {"bias": False}),
    ("z_plus", {"stabilizer": 0.25}, dense.z_plus, {"s": {"epsilon": 0.25}}),
    ("z_plus_fast", {}, dense.z_plus_fast, {}),
    ("alpha_beta", {}, dense.alpha_beta, {}),
    ("alpha_beta", {"alpha": 1.0, "beta": 0.0}, dense.alpha_beta, {"alpha": 1, "beta": 0}),
    ("alpha_beta", {"alpha": 1.5, "beta": 0.5, "bias": False}, dense.alpha_beta, {"alpha": 1.5, "beta": 0.5, "bias": False}),
    ("alpha_beta", {"alpha": 3.0, "beta": 2.0, "whole_bias": True}, dense.alpha_beta, {"alpha": 3, "beta": 2, "whole_bias": True}),
    ("alpha_beta", {"alpha": 3.0}, dense.alpha_beta, {"alpha": 3, "beta": 2}),
    ("alpha_beta_x", {}, dense.alpha_beta_x, {}),
    ("alpha_beta_x", PAIRS, dense.alpha_beta_x, PAIRS),
    ("alpha_beta_x", {**PAIRS, "bias": False}, dense.alpha_beta_x, {**PAIRS, "bias": False}),
    ("gamma", {}, dense.gamma, {}),
    ("gamma", {"gamma": 2.0, "bias": False}, dense.gamma, {"gamma": 2, "bias": False}),
    ("w_square", {}, dense.w_square, {}),
    ("w_square", {"bias": False}, dense.w_square, {"bias": False}),
    ("flat", {}, dense.flat, {}),
    ("flat", {"stabilizer": 0.5}, dense.flat, {"s": {"epsilon": 0.5}}),
    ("z_box", BOX, dense.z_box, BOX),
    ("norm", {}, dense.z, {}),
    ("norm", {"stabilizer": {"epsilon": 0.25, "clip": True}}, dense.z, {"s": {"epsilon": 0.25, "clip": True}}),
]
SPLIT_BY_SIGN = {"z_plus", "z_plus_fast", "alpha_beta", "alpha_beta_x", "gamma", "w_square", "flat", "z_box"}
PRODUCTS = {"product", "signal", "softmax", "detached"}
REGIONS = {"values"}  # see test_regions.py
OTHERS = {"pass", "gradient", "guided_backprop", "deconvnet", "beta_smooth"}


def test_every_rule_is_tested():
    assert {name for name, *_ in RULE_CASES} | OTHERS | PRODUCTS | REGIONS | {"share_ties"} == set(RULES)


def relevances(proto, cases, feeds, R, convention="zennit", others="pass", rules_for=()):
    """What each rule on the nodes behind a ReLU sends to the inputs, all of them in one run; or only on some operators, the gradient on the rest."""
    question = Question.ask(onnxplain.load(proto, fuse=False), "y", list(feeds))
    tape = Tape()
    env = question.graph.write(tape, {n: tape.input(n, t) for n, t in question.graph.inputs.items()})
    seed = tape.input("R", env["y"].type)
    results = {}
    for k, (name, given) in enumerate(cases):
        params = Params({}, convention)
        fits, rule = row({"rule": name, **given}, params)
        table = Composite(((is_a("Relu"), params(others)), (is_a(*rules_for) if rules_for else fits, rule), (anything, params("gradient"))))
        for n, v in backward(question.flow, env, {"y": seed}, table).items():
            results[f"{k}:{n}"] = v
    outputs = run(tape.build(results).to_proto(), {**feeds, "R": R})
    apart = dict(zip(results, outputs))
    return [np.concatenate([apart[f"{k}:{n}"].reshape(-1) for n in feeds]) for k in range(len(cases))]


def compare(layer, rectified, cases=RULE_CASES, convention="zennit", rules_for=()):
    rng = np.random.default_rng(1)
    feeds = {n: quarters(rng, *s) for n, s in layer.active.items()}
    R = quarters(rng, *layer.zero.shape)
    x = np.concatenate([v.reshape(-1) for v in feeds.values()]).astype(np.float64)
    x = np.maximum(x, 0) if rectified else x
    default = {"epsilon": 1e-6} if convention == "zennit" else {"epsilon": 1e-7, "zeros_only": True}
    got = relevances(layer.model(rectified), [(name, given) for name, given, *_ in cases], feeds, R, convention, rules_for=rules_for)
    for (name, given, reference, known), ours in zip(cases, got, strict=True):
        stabilizer = lambda z, known=known: dense.stabilised(z, layer.zero.shape, **known.get("s", default))
        messages = reference(x, layer, R.reshape(-1).astype(np.float64), stabilizer, **{k: v for k, v in known.items() if k != "s"})
        wanted, size = sum(m.sum(0) for m in messages), sum(np.abs(m).sum(0) for m in messages)
        wrong = np.abs(ours - wanted) > 2e-6 * size + 1e-6
        assert not wrong.any(), f"{name} {given}: {ours[wrong][:4]} should be {wanted[wrong][:4]}"


@pytest.mark.parametrize("rectified", [False, True], ids=["x", "relu"])
@pytest.mark.parametrize("layer", [*LINEAR, *AVERAGES], ids=str)
def test_rules_are_the_papers_formulas(layer, rectified):
    compare(layer, rectified)


@pytest.mark.parametrize("rectified", [False, True], ids=["x", "relu"])
@pytest.mark.parametrize("layer", [*SUMS, *DIFFERENCES], ids=str)
def test_rules_for_sums(layer, rectified):
    """A difference's weights have both signs, which only rules that do not split them know."""
    cases = RULE_CASES if layer in SUMS else [c for c in RULE_CASES if c[0] not in SPLIT_BY_SIGN]
    compare(layer, rectified, [c for c in cases if c[0] not in ("z_box",)])


INNVESTIGATE = [
    ("z", {}, dense.z, {}),
    ("epsilon", {"epsilon": 0.125}, dense.z, {"s": {"epsilon": 0.125}}),
    ("z_plus", {}, dense.z_plus, {"bias": False}),
    ("alpha_beta", {}, dense.alpha_beta, {"whole_bias": True}),
    ("alpha_beta", {"alpha": 1.0, "beta": 0.0, "bias": False}, dense.alpha_beta, {"alpha": 1, "beta": 0, "bias": False}),
    ("alpha_beta_x", {}, dense.alpha_beta_x, {}),
    ("w_square", {}, dense.w_square, {"bias": False}),
    ("flat", {}, dense.flat, {}),
    ("z_box", BOX, dense.z_box, BOX),
    ("z_plus_fast", {}, dense.z_plus_fast, {}),
    ("norm", {}, dense.z, {}),
]


@pytest.mark.parametrize("rectified", [False, True], ids=["x", "relu"])
@pytest.mark.parametrize("layer", [LINEAR[2], LINEAR[4], LINEAR[13], LINEAR[14], LINEAR[17], AVERAGES[2], *NORMALISED], ids=str)
def test_rules_in_innvestigates_convention(layer, rectified):
    compare(layer, rectified, INNVESTIGATE, "innvestigate")


@pytest.mark.parametrize("rectified", [False, True], ids=["x", "relu"])
def test_batch_normalisation_as_a_linear_layer(rectified):
    compare(NORMALISED[0], rectified, [c for c in RULE_CASES if c[0] != "norm"])


def test_conventions_are_these_two():
    assert set(CONVENTIONS) == {"zennit", "innvestigate"}


# ---- stabilisers ----

STABILISERS = [
    ({"epsilon": 0.5}, [1 / 2.5, 1 / 0.5, -1 / 2.5, -1 / 0.75]),
    ({"epsilon": 0.5, "clip": True}, [1 / 2, 1 / 0.5, -1 / 2, -1 / 0.5]),
    ({"epsilon": 0.5, "norm_scale": True}, [1 / (2 + h), 1 / h, -1 / (2 + h), -1 / (0.25 + h)] if (h := 0.5 * np.sqrt((4 + 0 + 4 + 0.0625) / 4)) else []),
    ({"epsilon": 0.5, "clip": True, "norm_scale": True}, [1 / 2, 1 / h, -1 / 2, -1 / h]),
    ({"epsilon": 0.5, "zeros_only": True}, [1 / 2, 1 / 0.5, -1 / 2, -1 / 0.25]),
]


@pytest.mark.parametrize(("given", "factors"), STABILISERS, ids=[str(g) for g, _ in STABILISERS])
@pytest.mark.parametrize("rule", ["z", "epsilon", "norm"])
def test_stabilisers(rule, given, factors):
    """z is 2, 0 (which counts as positive), -2 and -1/4; each sample has its own scale."""
    W = f32([1, 1], [1, -1], [-3, 1], [-0.25, 0])
    proto = model([helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)], {"x": ["N", 2]}, {"y": ["N", 4]}, {"w": W})
    x = f32([1, 1], [10, 10])
    key = "epsilon" if rule == "epsilon" else "stabilizer"
    for j, factor in enumerate(factors):
        rows = [{"rule": rule, key: given}]
        got = onnxplain.explain(proto, x, "lrp", composite=rows, relevance="one_hot", target=j, providers=CPU).attribution
        np.testing.assert_allclose(got[0], W[j] * factor, rtol=1e-5)
        if given.get("norm_scale"):
            np.testing.assert_allclose(got[1], got[0], rtol=1e-5)


def test_the_default_stabiliser_is_tiny_and_signed():
    W = f32([1, -1])
    proto = model([helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)], {"x": ["N", 2]}, {"y": ["N", 1]}, {"w": W})
    for convention, size in (("zennit", 1e6), ("innvestigate", 1e7)):
        got = onnxplain.explain(proto, f32([1, 1]), "lrp", composite="z", relevance="one_hot", target=0, convention=convention, providers=CPU).attribution
        np.testing.assert_allclose(got, [[size, -size]], rtol=1e-5)


def test_nothing_arrives_where_the_denominator_and_the_numerator_are_zero():
    layer = Layer("Conv", (X(1, 2, 5), (3, 2, 3)))
    cases = [(name, given) for name, given, *_ in RULE_CASES if name not in ("w_square", "flat", "z_box")]
    for got in relevances(layer.model(), cases, {"x0": np.zeros((1, 2, 5), np.float32)}, np.ones((1, 3, 3), np.float32)):
        np.testing.assert_array_equal(got, 0)


# ---- z_box ----


@pytest.mark.parametrize("shape", [(2, 1, 1), (2, 5, 4), (1, 2, 5, 4), ()])
def test_bounds_are_arrays_of_any_shape_that_fits(shape):
    rng = np.random.default_rng(2)
    low, high = -1 - np.abs(quarters(rng, *shape)), 1 + np.abs(quarters(rng, *shape))
    box = {"low": low, "high": high}
    compare(LINEAR[2], False, [("z_box", box, dense.z_box, box), ("z_box", {k: v.tolist() for k, v in box.items()}, dense.z_box, box)])


# ---- rules for ReLUs and the rest ----


def test_rules_for_activations():
    x, R = f32(-1, 0, 0.5, 2), f32(3, -2, -1, 4)
    proto = model([helper.make_node("Relu", ["x0"], ["y"])], {"x0": [1, 4]}, {"y": [1, 4]}, {})
    sigmoid = lambda b: 1 / (1 + np.exp(-b * x.astype(np.float64)))
    wanted = {
        "pass": R,
        "gradient": f32(0, 0, -1, 4),
        "guided_backprop": f32(0, 0, 0, 4),
        "deconvnet": f32(3, 0, 0, 4),
        "beta_smooth": sigmoid(10) * R,
    }
    assert set(wanted) == OTHERS
    cases = [(name, {}) for name in wanted] + [("beta_smooth", {"beta_smooth": 2.0})]
    question = Question.ask(onnxplain.load(proto), "y", ["x0"])
    tape = Tape()
    env = question.graph.write(tape, {n: tape.input(n, t) for n, t in question.graph.inputs.items()})
    seed = tape.input("R", env["y"].type)
    table = lambda name, given: Composite((row({"rule": name, **given}, Params({})),))
    results = {str(k): backward(question.flow, env, {"y": seed}, table(*case))["x0"] for k, case in enumerate(cases)}
    for got, expected in zip(run(tape.build(results).to_proto(), {"x0": x[None], "R": R[None]}), [*wanted.values(), sigmoid(2) * R]):
        np.testing.assert_allclose(got[0], expected, atol=1e-6)


@pytest.mark.parametrize("rule", ["z", "z_plus", "alpha_beta", "flat"])
@pytest.mark.parametrize("op_type", ["MaxPool", "GlobalMaxPool"])
def test_ties_in_max_pooling(rule, op_type):
    """MaxPool: the first of equals wins; GlobalMaxPool: equals share. Nothing is lost either way."""
    x = f32([1, 3, 3, 2], [0, 3, 1, 1], [2, 2, 0, 5], [2, 2, 5, 5])[None, None]
    attributes = {"kernel_shape": [2, 2], "strides": [2, 2]} if op_type == "MaxPool" else {}
    nodes = [helper.make_node(op_type, ["x"], ["h"], **attributes), helper.make_node("Conv", ["h", "w"], ["y"])]
    proto = model(nodes, {"x": ["N", 1, 4, 4]}, {"y": None}, {"w": np.ones((1, 1, 1, 1), np.float32)})
    R = quarters(np.random.default_rng(3), 1, 1, 2, 2) if op_type == "MaxPool" else np.ones((1, 1, 1, 1), np.float32)
    got = onnxplain.explain(proto, x, "lrp", composite=rule, relevance="one_hot", target=R, providers=CPU).attribution[0, 0]
    sent = 1 if rule != "alpha_beta" else 2  # nothing lowers y here
    wanted = np.zeros((4, 4))
    if op_type == "MaxPool":
        for winner, r in zip([(0, 1), (0, 2), (2, 0), (2, 3)], R.reshape(-1)):
            wanted[winner] = r * sent
    else:
        wanted[x[0, 0] == 5] = sent / 3
    np.testing.assert_allclose(got, wanted, rtol=1e-5)


def test_a_sum_of_what_is_rectified_and_what_is_not():
    """The negative half has one of the two inputs only."""
    rng = np.random.default_rng(4)
    a, b, R = quarters(rng, 2, 3), quarters(rng, 2, 3), quarters(rng, 2, 3)
    proto = model([helper.make_node("Relu", ["a"], ["r"]), helper.make_node("Add", ["r", "b"], ["y"])], {"a": [2, 3], "b": [2, 3]}, {"y": [2, 3]}, {})
    up, down = np.maximum(a, 0) + np.maximum(b, 0), np.minimum(b, 0)
    s = lambda z: z + np.where(z < 0, -1e-6, 1e-6)
    plus = [np.maximum(a, 0) * R / s(up), np.maximum(b, 0) * R / s(up)]
    minus = [0 * R, down * R / s(down)]
    (got,) = relevances(proto, [("alpha_beta", {})], {"a": a, "b": b}, R)
    np.testing.assert_allclose(got, np.concatenate([(2 * p - m).reshape(-1) for p, m in zip(plus, minus)]), rtol=1e-5, atol=1e-5)


@dataclass(frozen=True, eq=False)
class Tokens(Layer):
    """A product whose bias is an Add of its own, since its input has more than two axes."""

    def nodes(self, before=""):
        (product,) = super().nodes(before)
        product.input.pop()
        product.output[0] = "z"
        return [product, helper.make_node("Add", ["w2", "z"], ["y"])]


@pytest.mark.parametrize("rectified", [False, True], ids=["x", "relu"])
@pytest.mark.parametrize(
    "layer", [Tokens("MatMul", (X(2, 3, 4), (4, 3), (3,)), {}, 2), Tokens("Einsum", (X(2, 3, 4), (4, 3), (1, 3)), {"equation": "btc,co->bto"}, 2)], ids=str
)
def test_a_bias_behind_a_product_is_its_own(layer, rectified):
    cases = [c for c in RULE_CASES if c[0] != "norm"]
    compare(layer, rectified, cases, rules_for=("MatMul", "Einsum"))
    compare(layer, rectified, INNVESTIGATE[:-1], "innvestigate", rules_for=("MatMul", "Einsum"))


# ---- products, attention ----


def two(op_type, a, b, out, gate=None, **attributes):
    """A product of two inputs, the first of which may come from a gate."""
    gates = [helper.make_node(gate, ["a"], ["h"])] if gate else []
    return model([*gates, helper.make_node(op_type, ["h" if gate else "a", "b"], ["y"], **attributes)], {"a": a, "b": b}, {"y": out}, {})


def safe(z):
    return z + np.where(z < 0, -1e-6, 1e-6)


@pytest.mark.parametrize("op_type", ["Mul", "Div"])
@pytest.mark.parametrize("rule", ["product", "signal"])
def test_half_to_each_factor(rule, op_type):
    rng = np.random.default_rng(5)
    a, b, R = quarters(rng, 2, 3), quarters(rng, 2, 1) + 4, quarters(rng, 2, 3)
    y = (a * b if op_type == "Mul" else a / b).astype(np.float64)
    half = R / 2 * y / safe(y)
    (got,) = relevances(two(op_type, [2, 3], [2, 1], [2, 3]), [(rule, {})], {"a": a, "b": b}, R)
    np.testing.assert_allclose(got, np.concatenate([half.reshape(-1), half.sum(1)]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rule", ["product", "signal"])
def test_half_to_each_matrix(rule):
    rng = np.random.default_rng(6)
    a, b, R = (rng.normal(size=s).astype(np.float32) for s in ((2, 3, 4), (2, 4, 5), (2, 3, 5)))
    wanted_a, wanted_b = np.zeros(a.shape), np.zeros(b.shape)
    for n in range(2):
        for j in range(3):
            for i in range(4):
                for p in range(5):  # Prop. 3.3: R(A_ji) = Σ_p A_ji V_ip R_jp / (2 O_jp)
                    part = float(a[n, j, i]) * b[n, i, p] * R[n, j, p] / (2 * safe(np.float64(a[n, j] @ b[n, :, p])))
                    wanted_a[n, j, i] += part
                    wanted_b[n, i, p] += part
    (got,) = relevances(two("MatMul", a.shape, b.shape, R.shape), [(rule, {})], {"a": a, "b": b}, R)
    np.testing.assert_allclose(got, np.concatenate([wanted_a.reshape(-1), wanted_b.reshape(-1)]), rtol=1e-3, atol=1e-3)


def test_what_multiplies_itself_gets_all():
    x, R = f32([-2, 0.5, 3]), f32([1, 2, -3])
    proto = model([helper.make_node("Mul", ["x0", "x0"], ["y"])], {"x0": [1, 3]}, {"y": [1, 3]}, {})
    (got,) = relevances(proto, [("product", {})], {"x0": x}, R)
    np.testing.assert_allclose(got, R[0], rtol=1e-5)


@pytest.mark.parametrize("gate", ["Softmax", "Sigmoid", "HardSigmoid"])
@pytest.mark.parametrize("op_type", ["Mul", "MatMul"])
def test_the_signal_takes_all(op_type, gate):
    rng = np.random.default_rng(7)
    a, b, R = (rng.normal(size=(3, 3)).astype(np.float32) for _ in range(3))
    e = np.exp(a.astype(np.float64))
    h = {"Softmax": e / e.sum(1, keepdims=True), "Sigmoid": e / (1 + e), "HardSigmoid": np.clip(0.2 * a + 0.5, 0, 1)}[gate]
    wanted = R * (h * b) / safe(h * b) if op_type == "Mul" else b * (h.T @ (R / safe(h @ b)))
    (got,) = relevances(two(op_type, [3, 3], [3, 3], [3, 3], gate), [("signal", {})], {"a": a, "b": b}, R, others="gradient")
    np.testing.assert_allclose(got, np.concatenate([np.zeros(9), wanted.reshape(-1)]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("axis", [-1, 1])
def test_softmax_to_first_order(axis):
    rng = np.random.default_rng(8)
    x, R = rng.normal(size=(2, 3, 4)).astype(np.float32), rng.normal(size=(2, 3, 4)).astype(np.float32)
    proto = model([helper.make_node("Softmax", ["x0"], ["y"], axis=axis)], {"x0": [2, 3, 4]}, {"y": [2, 3, 4]}, {})
    s = np.exp(x) / np.exp(x).sum(axis, keepdims=True)
    wanted = np.zeros(x.shape)
    for at in np.ndindex(x.shape):
        line = tuple(slice(None) if a == axis % 3 else i for a, i in enumerate(at))
        wanted[at] = x[at] * (R[at] - s[at] * R[line].sum())
    (got,) = relevances(proto, [("softmax", {})], {"x0": x}, R)
    np.testing.assert_allclose(got, wanted.reshape(-1), atol=1e-5)
    x[0, 1, 2] = -np.inf  # a masked logit
    (got,) = relevances(proto, [("softmax", {})], {"x0": x}, R)
    assert np.isfinite(got).all()
    assert got.reshape(x.shape)[0, 1, 2] == 0


@pytest.mark.parametrize("op_type", ["LayerNormalization", "InstanceNormalization", "LRN"])
def test_normalisation_with_a_constant_deviation(op_type):
    """y_j = γ_j (x_j − Σ_i x_i / n) / σ + β_j is linear in x where σ is a number."""
    rng = np.random.default_rng(9)
    x, R = rng.normal(size=(2, 3, 4)), rng.normal(size=(2, 3, 4))
    size = 4 if op_type == "LayerNormalization" else 3
    g, b = rng.normal(size=size), rng.normal(size=size) / 4
    inputs, weights = (["x0"], {}) if op_type == "LRN" else (["x0", "g", "b"], {"g": f32(*g), "b": f32(*b)})
    node = helper.make_node(op_type, inputs, ["y"], **({"size": 3} if op_type == "LRN" else {"epsilon": 0.5}))
    proto = model([node], {"x0": [2, 3, 4]}, {"y": [2, 3, 4]}, weights)
    wanted = np.zeros(x.shape)
    for n, c in np.ndindex(2, 3):
        line, sigma = x[n, c], np.sqrt(x[n, c].var() + 0.5)
        for j in range(4):
            k, shift = (g[j], b[j]) if size == 4 else (g[c], b[c])
            parts = k * ((np.arange(4) == j) - 0.25) * line / sigma
            wanted[n, c] += parts / safe(parts.sum() + shift) * R[n, c, j]
    (got,) = relevances(proto, [("detached", {})], {"x0": x.astype(np.float32)}, R.astype(np.float32))
    np.testing.assert_allclose(got, (R if op_type == "LRN" else wanted).reshape(-1), rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize(
    ("op_type", "attributes", "same_as"),
    [("GroupNormalization", {"num_groups": 3}, "InstanceNormalization"), ("MeanVarianceNormalization", {"axes": [2]}, "InstanceNormalization")],
)
def test_detached_takes_means_off_groups_too(op_type, attributes, same_as):
    """Groups of one channel, and a mean over space, are what InstanceNormalization does without a scale."""
    rng = np.random.default_rng(4)
    x, R = (rng.normal(size=(2, 3, 8)).astype(np.float32) for _ in range(2))
    affine = {"g": f32(1, 1, 1), "b": f32(0, 0, 0)}
    got = []
    for name, given in ((op_type, attributes), (same_as, {})):
        weights = {} if name.startswith("Mean") else affine
        node = helper.make_node(name, ["x0", *weights], ["y"], **given)
        proto = model([node], {"x0": [2, 3, 8]}, {"y": [2, 3, 8]}, weights)
        proto.opset_import[0].version = 21
        got += relevances(proto, [("detached", {})], {"x0": x}, R)
    np.testing.assert_allclose(*got, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    "attributes",
    [
        {"kernel_shape": [2, 2], "strides": [2, 2]},
        {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 1, 1]},
        {"kernel_shape": [2, 3], "strides": [2, 2], "ceil_mode": 1, "dilations": [2, 1]},
        {"kernel_shape": [3], "strides": [2]},
    ],
    ids=str,
)
def test_ties_of_a_pooling_window_can_share(attributes):
    """Against loops over the windows, on numbers with many ties."""
    n, rng = len(attributes["kernel_shape"]), np.random.default_rng(5)
    x = rng.integers(-2, 2, (2, 3, *[7, 6][:n])).astype(np.float32)
    dims = ["N", 3, *x.shape[2:]]
    node = helper.make_node("MaxPool", ["x"], ["y"], **attributes)
    graph = helper.make_graph([node], "g", [helper.make_tensor_value_info("x", 1, dims)], [helper.make_tensor_value_info("y", 1, None)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    graph.output[0].CopyFrom(helper.make_tensor_value_info("y", 1, ["N", 3, *[None] * n]))
    y = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
    R = rng.standard_normal(y.shape).astype(np.float32)
    got = onnxplain.explain(model, x, "lrp", ties="share", relevance="one_hot", target=R).attribution
    strides, dilations = attributes.get("strides", [1] * n), attributes.get("dilations", [1] * n)
    pads, wanted = attributes.get("pads", [0] * 2 * n), np.zeros(x.shape)
    for place in np.ndindex(*y.shape[2:]):
        cells = []
        for k in np.ndindex(*attributes["kernel_shape"]):
            c = tuple(p * s + i * d - b for p, s, i, d, b in zip(place, strides, k, dilations, pads))
            if all(0 <= i < e for i, e in zip(c, x.shape[2:])):
                cells.append(c)
        for i, j in np.ndindex(2, 3):
            top = [c for c in cells if x[(i, j, *c)] == y[(i, j, *place)]]
            for c in top:
                wanted[(i, j, *c)] += R[(i, j, *place)] / len(top)
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)
