"""Which rule each node gets, under every named composite and under a user's own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from networks import NETWORKS, Net, build

import onnxplain
from onnxplain.methods.relevance import LRP
from onnxplain.optimize import switched_off
from onnxplain.question import Question
from onnxplain.rules import COMPOSITES, RULES, Stabilizer
from onnxplain.rules.conditions import anything, is_a, kind
from onnxplain.rules.lrp import Rule, pos, share

CPU = ["CPUExecutionProvider"]


def table(model, method, fuse=True):
    """Node output → the rule's name, in forward order."""
    question = Question.ask(onnxplain.load(model, fuse=fuse), keep=method.keep)
    flow = question.flow
    return [(n, method.table(flow, n)) for n in flow.nodes]


def everything():
    """Every kind of node that composites tell apart, two convolutions and two dense layers among them."""
    n = Net()
    h = n.add("Relu", n.conv("x", 3, 4))
    h = n.norm(n.pool("MaxPool", h), 4)
    h = n.add("Concat", h, n.pool("AveragePool", n.conv(h, 4, 4), 1, 1), axis=1)
    h = n.add("Add", h, n.add("Sigmoid", h))
    h = n.add("Mul", h, n.add("Softmax", n.add("GlobalAveragePool", h), axis=1))
    h = n.add("InstanceNormalization", h, n.array(np.ones(8)), n.array(np.zeros(8)))
    h = n.add("Relu", n.add("Gemm", n.add("Flatten", n.add("Mul", h, n.array(2.0))), n.weight(6, 128), transB=1))
    return n, n.head(h, 6)


NODES = (
    *("Conv", "Relu", "MaxPool", "BatchNormalization", "Conv", "AveragePool", "Concat", "Sigmoid", "Add", "GlobalAveragePool", "Softmax", "Mul"),
    *("InstanceNormalization", "Mul", "Flatten", "Gemm", "Relu", "Flatten", "Gemm"),
)
# What each of these nodes gets, in this order; zennit's base map between the linear layers, then what differs.
G, P, N = "gradient", "pass", "norm"
ZENNIT = (P, G, P, N, G, P, N, N, G, G, G, G, G, P, G)
INNVESTIGATE = (P, G, None, N, G, P, N, N, G, G, G, G, G, P, G)


def spread(first, second, dense, last, between=ZENNIT, batch_norm=None):
    """The four linear layers' rules among those of the others."""
    rest = iter(batch_norm if b is None else b for b in between)
    linear = iter((first, second, dense, last))
    return [next(linear) if op in ("Conv", "Gemm") else next(rest) for op in NODES]


PLAIN = (G,) * 15
SMOOTH = lambda r: tuple(r if op == "Relu" else G for op in NODES if op not in ("Conv", "Gemm"))
TABLE = {
    **{name: spread(*[name] * 4) for name in ("z", "epsilon", "z_plus", "z_plus_fast", "alpha_beta", "gamma", "w_square", "flat")},
    **{f"lrp_{name}": spread(*[name] * 4) for name in ("z", "epsilon", "z_plus", "alpha_beta", "gamma", "w_square", "flat")},
    "rest": spread(*[G] * 4, PLAIN),
    "epsilon_plus": spread("z_plus", "z_plus", "epsilon", "epsilon"),
    "epsilon_plus_flat": spread("flat", "z_plus", "epsilon", "epsilon"),
    "epsilon_alpha2_beta1": spread("alpha_beta", "alpha_beta", "epsilon", "epsilon"),
    "epsilon_alpha2_beta1_flat": spread("flat", "alpha_beta", "epsilon", "epsilon"),
    "epsilon_gamma_box": spread("z_box", "gamma", "epsilon", "epsilon"),
    "excitation_backprop": spread(*["z_plus"] * 4, (G, G, G, N, G, G, N, N, G, G, G, G, G, G, G)),
    "beta_smooth": spread(*[G] * 4, SMOOTH("beta_smooth")),
    "guided_backprop": spread(*[G] * 4, SMOOTH("guided_backprop")),
    "deconvnet": spread(*[G] * 4, SMOOTH("deconvnet")),
    "lrp_convnet": spread("alpha_beta", "alpha_beta", "epsilon", "epsilon", (P, G, G, G, G, P, G, G, G, G, G, G, G, P, G)),
    "deep_taylor": spread(*["alpha_beta"] * 4, (P, G, G, G, G, P, G, G, G, G, G, G, G, P, G)),
    **{f"preset_{k}": spread("alpha_beta", "alpha_beta", "epsilon", "epsilon", INNVESTIGATE, "alpha_beta_x") for k in "ab"},
    **{f"preset_{k}_flat": spread("flat", "alpha_beta", "epsilon", "epsilon", INNVESTIGATE, "alpha_beta_x") for k in "ab"},
    "attn_lrp": spread(*["epsilon"] * 4, (P, G, "epsilon", N, G, P, N, N, "softmax", "product", "detached", "product", G, P, G)),
    "cp_lrp": spread(*["epsilon"] * 4, (P, G, "epsilon", N, G, P, N, N, G, "signal", "detached", "signal", G, P, G)),
}


def test_every_named_composite_is_in_the_table():
    assert set(TABLE) == set(COMPOSITES)


@pytest.mark.parametrize("name", TABLE)
def test_named_composites(name):
    net, _ = everything()
    convention = "innvestigate" if name.startswith("preset") else "zennit"
    got = table(net.model(), LRP(composite=name, convention=convention), fuse=False)
    assert [n.op_type for n, _ in got] == list(NODES)
    assert [(n.op_type, r.name) for n, r in got] == list(zip(NODES, TABLE[name]))


FAMILIES = {
    "vgg": ["flat", *["z_plus"] * 3, "epsilon", "epsilon"],
    "resnet": ["flat", *["z_plus"] * 5, "epsilon"],
    "densenet": ["flat", *["z_plus"] * 9, "epsilon"],
    "inception": ["flat", *["z_plus"] * 5, "epsilon"],
    "mobilenet": ["flat", *["z_plus"] * 7, "epsilon"],
}


@pytest.mark.parametrize("family", NETWORKS)
def test_linear_layers_of_known_families(family):
    got = table(build(family), LRP())
    assert [r.name for n, r in got if n.op_type in ("Conv", "Gemm")] == FAMILIES[family]
    others = {n.op_type: r.name for n, r in got if n.op_type not in ("Conv", "Gemm")}
    wanted = {"Relu": P, "Clip": P, "Add": N, "AveragePool": N, "GlobalAveragePool": N, "ReduceMean": N, "BatchNormalization": P}
    assert others == {op: wanted.get(op, G) for op in others}


def test_batch_normalisation_by_fuse():
    count = lambda fuse: sum(n.op_type == "BatchNormalization" for n, _ in table(build("resnet"), LRP(), fuse))
    assert count(True) == 0
    assert count(False) == 6
    assert count("two") == 12


def test_innvestigate_takes_batch_normalisation_as_linear():
    got = [r.name for n, r in table(build("resnet"), LRP(composite="gamma", convention="innvestigate"), False) if n.op_type == "BatchNormalization"]
    assert got == ["gamma"] * 6


def test_what_conventions_fill_in():
    rule = lambda name, **p: next(r for n, r in table(build("vgg"), LRP(composite=name, **p)) if n.op_type == "Conv")
    assert rule("z_plus").bias
    assert rule("z_plus").stabilizer.epsilon == 1e-6
    assert not rule("z_plus", convention="innvestigate").bias
    assert rule("z_plus", convention="innvestigate", bias=True).bias
    assert rule("z", convention="innvestigate").stabilizer.zeros_only
    assert rule("epsilon", convention="innvestigate").epsilon == Stabilizer(1e-7)
    assert rule("alpha_beta", convention="innvestigate").whole_bias
    assert not rule("w_square", convention="innvestigate").bias
    assert not rule("deep_taylor").bias
    assert (rule("preset_a").alpha, rule("preset_a").beta) == (1, 0)
    assert (rule("preset_b").alpha, rule("preset_b").beta) == (2, 1)
    assert next(r for n, r in table(build("vgg"), LRP(composite="preset_a")) if n.op_type == "Gemm").epsilon.epsilon == 0.1


def test_given_parameters_come_before_a_composites_own():
    method = LRP(composite="epsilon_gamma_box", gamma=2.0, epsilon=0.5, low=-3, high=4, stabilizer={"epsilon": 1e-3, "clip": True})
    rules = {n.op_type: r for n, r in table(build("vgg"), method)}
    assert rules["Conv"].gamma == 2
    assert rules["Conv"].stabilizer == Stabilizer(1e-3, clip=True)
    assert rules["Gemm"].epsilon.epsilon == 0.5
    first = table(build("vgg"), LRP(composite="epsilon_gamma_box", low=-3, high=4))[0][1]
    assert (first.low, first.high) == (-3, 4)


@pytest.mark.parametrize(("given", "wanted"), [({"alpha": 1.0}, (1, 0)), ({"beta": 2.0}, (3, 2)), ({"alpha": 1.5, "beta": 0.5}, (1.5, 0.5)), ({}, (2, 1))])
def test_alpha_tells_beta(given, wanted):
    for method in (LRP(composite="alpha_beta", **given), LRP(composite="z", rules=[{"kind": "conv", "rule": "alpha_beta", **given}])):
        rule = table(build("vgg"), method)[0][1]
        assert (rule.alpha, rule.beta) == wanted


def test_pairs_and_numbers_are_told_apart():
    rows = [{"index": 0, "rule": "alpha_beta_x"}, {"index": 1, "rule": "alpha_beta_x", "alpha": [1, 1], "beta": [0, 1]}]
    a, b, c, *_ = [r for n, r in table(build("vgg"), LRP(composite="alpha_beta", alpha=3.0, rules=rows)) if n.op_type == "Conv"]
    assert (a.alpha, a.beta) == ((2, 0), (1, 0))
    assert (list(b.alpha), list(b.beta)) == ([1, 1], [0, 1])
    assert (c.alpha, c.beta) == (3, 2)


# ---- rows ----


def names(rules=(), composite="epsilon", family="vgg", **params):
    """The rules' names on the linear layers."""
    got = table(build(family), LRP(composite=composite, rules=list(rules), **params))
    return [getattr(r, "name", r) for n, r in got if n.op_type in ("Conv", "Gemm")]


E = "epsilon"


@pytest.mark.parametrize(
    ("row", "wanted"),
    [
        ({"kind": "conv"}, ["flat"] * 4 + [E] * 2),
        ({"kind": "dense"}, [E] * 4 + ["flat"] * 2),
        ({"kind": "linear"}, ["flat"] * 6),
        ({"op": "Gemm"}, [E] * 4 + ["flat"] * 2),
        ({"index": 0}, ["flat"] + [E] * 5),
        ({"index": 3}, [E] * 3 + ["flat"] + [E] * 2),
        ({"index": -1}, [E] * 5 + ["flat"]),
        ({"index": 6}, [E] * 6),
        ({"index": [0, -1]}, ["flat"] + [E] * 4 + ["flat"]),
        ({"op": ["Gemm"]}, [E] * 4 + ["flat"] * 2),
        ({"op": ("Gemm", "Conv")}, ["flat"] * 6),
        ({"kind": "conv", "first": True}, ["flat"] + [E] * 5),
        ({"kind": "dense", "first": True}, [E] * 4 + ["flat", E]),
        ({"kind": "linear", "fed_by_input": True}, ["flat"] + [E] * 5),
        ({"kind": "dense", "fed_by_input": True}, [E] * 6),
        ({"tensor": "y"}, [E] * 5 + ["flat"]),
        ({"tensor": ["y", "conv0"]}, ["flat"] + [E] * 4 + ["flat"]),
        ({"kind": "linear", "op": "Conv", "index": 1}, [E, "flat"] + [E] * 4),
        ({}, ["flat"] * 6),
    ],
)
def test_rows_as_dicts(row, wanted):
    assert names([{**row, "rule": "flat"}]) == wanted
    assert names(composite=[{**row, "rule": "flat"}, {"rule": "epsilon"}]) == wanted


def test_first_is_along_the_data_flow():
    """Branches that nothing of the kind precedes are first too."""
    n = Net()
    h = n.add("Concat", n.conv("x", 3, 2), n.conv(n.add("Neg", "x"), 3, 2), axis=1)
    h = n.conv(h, 4, 4)
    n.head(h, 256)
    got = table(n.model(), LRP())
    assert [r.name for m, r in got if m.op_type == "Conv"] == ["flat", "flat", "z_plus"]


def test_relu_is_a_kind():
    got = table(build("mobilenet"), LRP(composite="epsilon", rules=[{"kind": "relu", "rule": "deconvnet"}]))
    assert "deconvnet" not in [r.name for _, r in got]
    got = table(build("vgg"), LRP(composite="epsilon", rules=[{"kind": "relu", "rule": "deconvnet"}]))
    assert [r.name for n, r in got if n.op_type == "Relu"] == ["deconvnet"] * 5


def test_the_first_row_wins():
    assert names([{"kind": "conv", "rule": "flat"}, {"index": 0, "rule": "gamma"}])[0] == "flat"
    assert names([{"index": 0, "rule": "gamma"}, {"kind": "conv", "rule": "flat"}])[:2] == ["gamma", "flat"]


def test_rules_alone_leave_the_rest_to_the_gradient():
    got = table(build("resnet"), LRP(rules=[{"kind": "conv", "rule": "z_plus"}]))
    assert {r.name for n, r in got if n.op_type != "Conv"} == {"gradient"}
    got = {n.op_type: r.name for n, r in table(build("resnet"), LRP(rules=[{"kind": "conv", "rule": "z_plus"}], convention="innvestigate"))}
    assert (got["Add"], got["Relu"], got["Gemm"], got["GlobalAveragePool"]) == ("norm", "pass", "gradient", "norm")


def test_a_rows_parameters_come_first():
    (_, rule), *rest = table(build("vgg"), LRP(composite="gamma", gamma=1.0, rules=[{"index": 0, "rule": "gamma", "gamma": 3.0}]))
    assert rule.gamma == 3
    assert next(r for n, r in rest if n.op_type == "Conv").gamma == 1


def test_named_tensors_survive():
    """A row may name a tensor that fusing batch normalisation would remove."""
    for given in ({"rules": [{"tensor": "conv0", "rule": "flat"}]}, {"composite": [{"tensor": "conv0", "rule": "flat"}, (anything, "gradient")]}):
        got = table(build("resnet"), LRP(**given))
        assert next(r.name for n, r in got if "conv0" in n.outputs) == "flat"
        assert [n.op_type for n, _ in got].count("BatchNormalization") == 1


# ---- the user's own ----


def doubled(R, f):
    return [2 * r for r in f.vjp(R)]


@dataclass(frozen=True)
class Boosted(Rule):
    gain: float = 1.0

    def relevance(self, R, f):
        return share(self.gain * R, f(f.x, pos), stabilizer=Stabilizer())


def explained(**params):
    x = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)
    return onnxplain.explain(build("vgg"), x, "lrp", target=1, providers=CPU, **params).attribution


def test_functions_are_rules_and_conditions():
    rows = [(lambda flow, node: node.op_type == "MaxPool", doubled)]
    with switched_off("share_of_relu"):  # it rounds otherwise, and does not look behind a user's rule
        base = explained(composite="epsilon")
        np.testing.assert_allclose(explained(composite="epsilon", rules=rows), 4 * base, rtol=1e-5)


def test_dataclasses_are_rules():
    base, own = explained(composite="z_plus_fast"), explained(composite="z_plus_fast", rules=[(kind("linear"), Boosted(2.0))])
    np.testing.assert_allclose(own, 2**6 * base, rtol=1e-4, atol=1e-3 * np.abs(own).max())


def test_a_composite_may_be_a_function():
    def choose(flow, node):
        return doubled if node.op_type == "MaxPool" else COMPOSITE(flow, node)

    COMPOSITE = LRP(composite="epsilon").table
    with switched_off("share_of_relu"):
        np.testing.assert_allclose(explained(composite=choose), 4 * explained(composite="epsilon"), rtol=1e-5)
        twice = explained(composite=choose, rules=[(is_a("Flatten"), doubled)])
        np.testing.assert_allclose(twice, 16 * explained(composite="epsilon"), rtol=1e-5)


def test_rows_take_names_of_rules():
    by_name = explained(composite=[(kind("linear"), "gamma"), (anything, "gradient")])
    np.testing.assert_array_equal(by_name, explained(rules=[{"kind": "linear", "rule": "gamma"}]))


def test_own_rules_have_no_name_in_the_table():
    assert Boosted not in RULES.values()


# ---- mistakes ----


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"composite": "epsilon_plus_flta"}, "epsilon_plus_flat"),
        ({"rules": [{"kind": "conv", "rule": "z_pluss"}]}, "z_plus"),
        ({"rules": [{"kind": "convv", "rule": "z_plus"}]}, "conv"),
        ({"rules": [{"knd": "conv", "rule": "z_plus"}]}, "kind"),
        ({"rules": [{"kind": "conv", "rule": "gamma", "gama": 1}]}, "gamma"),
        ({"rules": [{"kind": "conv"}]}, "lacks the key 'rule'"),
        ({"rules": ["conv"]}, "pair"),
        ({"rules": [("conv", "z_plus")]}, "pair"),
        ({"rules": [(anything, "z_pluss")]}, "z_plus"),
        ({"rules": [(anything, 3)]}, "rule"),
        ({"stabilizer": {"epsilom": 1}}, "epsilon"),
        ({"composite": "alpha_beta", "alpha": 2, "beta": 2}, "alpha − beta"),
        ({"rules": [{"rule": "alpha_beta", "alpha": 0.5}]}, "negative"),
        ({"rules": [{"rule": "alpha_beta_x", "alpha": 1}]}, "two numbers"),
        ({"rules": [{"rule": "alpha_beta", "alpha": [1, 2]}]}, "a number"),
        ({"convention": "captum"}, "zennit"),
        ({"relevance": "ones"}, "one_hot"),
        ({"composite": 3}, "composite"),
        ({"gamma": 1, "gama": 2}, "gamma"),
        ({"rules": 5}, "rules must be a list of rows, got 5"),
        ({"rules": {"rule": "z"}}, "rules must be a list of rows"),
        ({"rules": [{"tensor": 5, "rule": "z"}]}, "tensor of a rule's row must be a text or a list of such, got 5"),
        ({"rules": [{"op": 5, "rule": "z"}]}, "op of a rule's row must be a text or a list of such, got 5"),
        ({"rules": [{"pattern": 5, "rule": "z"}]}, "pattern of a rule's row must be a text or a list of such, got 5"),
        ({"rules": [{"pattern": [5], "rule": "z"}]}, "pattern of a rule's row"),
        ({"rules": [{"index": "a", "rule": "z"}]}, "index of a rule's row must be an integer or a list of such, got 'a'"),
        ({"rules": [{"index": [], "rule": "z"}]}, "index of a rule's row"),
        ({"rules": [{"rule": "z_box", "low": "a"}]}, "low of the rule z_box must be numbers, got 'a'"),
        ({"rules": [{"rule": "z_box", "high": [np.inf]}]}, "high of the rule z_box holds NaN or infinity"),
        ({"rules": [{"rule": "z_box", "low": 3, "high": -3}]}, "low of the rule z_box must be at most high, element by element, got 3 and -3"),
        ({"rules": [{"rule": "alpha_beta_x", "alpha": [2]}]}, r"alpha of the rule alpha_beta_x must be two numbers, got \[2\]"),
        ({"rules": [{"rule": "alpha_beta_x", "beta": ["a", "b"]}]}, "beta of the rule alpha_beta_x must be two numbers"),
        ({"rules": [{"rule": "beta_smooth", "beta_smooth": "a"}]}, "beta_smooth of the rule beta_smooth must be a number"),
        ({"composite": "alpha_beta", "alpha": "x"}, "alpha of the rule alpha_beta must be a number, got 'x'"),
        ({"composite": "alpha_beta", "alpha": np.nan}, "alpha of the rule alpha_beta must be a number, got nan"),
        ({"composite": "alpha_beta", "alpha": [2, 1]}, r"alpha must be a number for alpha_beta, got \[2, 1\]"),
        ({"composite": [{"rule": "alpha_beta_x"}], "beta": 1}, "beta must be two numbers for alpha_beta_x, got 1"),
        ({"composite": "gamma", "gamma": "x"}, "gamma of the rule gamma must be a number, not negative, got 'x'"),
        ({"composite": "gamma", "gamma": -1}, "gamma of the rule gamma must be a number, not negative, got -1"),
        ({"epsilon": "abc"}, "epsilon of the rule epsilon must be a number, not negative, or a dict"),
        ({"epsilon": -1}, "epsilon of a stabilizer must be a finite number, not negative, got -1"),
        ({"epsilon": np.nan}, "epsilon of the rule epsilon must be a number"),
        ({"epsilon": {"epsilon": "q"}}, "epsilon of a stabilizer must be a finite number, not negative, got 'q'"),
        ({"stabilizer": [1]}, r"stabilizer of the rule flat must be a number or a dict .*, got \[1\]"),
        ({"stabilizer": True}, "stabilizer of the rule flat must be a number or a dict .*, got True"),
        ({"bias": "no"}, "bias of the rule z_plus must be True or False, got 'no'"),
        ({"relevance": np.zeros(2)}, "relevance must be one of 'logit', 'one_hot', 'contrastive', got array"),
    ],
)
def test_mistakes_name_what_is_near(params, told):
    with pytest.raises(onnxplain.OnnxplainError, match=told):
        onnxplain.Explainer(build("vgg"), "lrp", **params)


def test_a_node_that_no_row_fits_is_named():
    with pytest.raises(onnxplain.UnsupportedModelError, match="Flatten"):
        explained(composite=[(kind("linear"), "epsilon"), (kind("activation"), "pass"), (is_a("MaxPool"), "gradient")])
    with pytest.raises(onnxplain.UnsupportedModelError, match="Gemm"):
        explained(composite=lambda flow, node: None)


def test_unknown_tensors_are_refused():
    with pytest.raises(onnxplain.OnnxplainError, match="conv0"):
        explained(rules=[{"tensor": "conv00", "rule": "flat"}])
    with pytest.raises(onnxplain.OnnxplainError, match="conv0"):
        explained(composite=[{"tensor": "conv00", "rule": "flat"}])
