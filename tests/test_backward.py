"""The sweep: what rules are asked, with what, and what becomes of their answers."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import draw, parse, run
from onnx import helper

import onnxplain
from onnxplain import InputError
from onnxplain.backward import backward, gradient
from onnxplain.flow import Flow
from onnxplain.ops import OPS
from onnxplain.session import Session
from onnxplain.tape import Tape

TEXT = """g (float[N,3] x) => (float[N,3] y) {
    a = Tanh(x)
    b = Mul(a, x)
    f = Floor(a)
    i = Cast<to=7>(x)
    j = Cast<to=1>(i)
    side = Exp(x)
    c = Add(b, f)
    d = Add(c, j)
    e = Sub(d, two)
    y = Neg(e) }"""


def swept(rules=lambda flow, node: gradient, wrt=("x",), seeds=("y",)):
    model = parse(TEXT, two=np.float32(2))
    graph = onnxplain.load(model, rewrites=[]).graph()
    flow = Flow(graph, tuple(seeds), tuple(wrt))
    tape = Tape()
    env = graph.write(tape, {"x": tape.input("x", graph.inputs["x"])})
    pulled = backward(flow, env, {s: tape.input(f"seed:{s}", env[s].type) for s in seeds}, rules)
    session = Session(tape.build({f"d:{k}": v for k, v in pulled.items()}), ["CPUExecutionProvider"])
    return flow, session


def test_only_what_leads_from_the_tensors_to_the_score():
    flow, _ = swept()
    assert [n.outputs[0] for n in flow.nodes] == ["a", "b", "c", "d", "e", "y"]
    assert "f" not in flow.active
    assert "i" not in flow.active
    assert [n.outputs[0] for n in swept(wrt=["b"])[0].nodes] == ["c", "d", "e", "y"]


def test_the_gradient():
    _, session = swept()
    x, g = draw(2, 3), draw(2, 3, seed=1)
    got = session.run({"x": x, "seed:y": g})["d:x"]
    t = np.tanh(x)
    np.testing.assert_allclose(got, -g * (t + x * (1 - t**2)), atol=1e-6)


def test_several_seeds_and_tensors():
    _, session = swept(wrt=["x", "a", "b"], seeds=["y", "b"])
    x, g, h = draw(2, 3), draw(2, 3, seed=1), draw(2, 3, seed=2)
    got = session.run({"x": x, "seed:y": g, "seed:b": h})
    np.testing.assert_allclose(got["d:b"], h - g, atol=1e-6)
    np.testing.assert_allclose(got["d:a"], (h - g) * x, atol=1e-6)
    t = np.tanh(x)
    np.testing.assert_allclose(got["d:x"], (h - g) * (t + x * (1 - t**2)), atol=1e-6)


def test_rules_see_the_call_and_decide_what_is_sent():
    seen = []

    def rules(flow, node):
        def halve(g, f):
            seen.append((f.node.op_type, len(f.x), f.y.name))
            return [g * 0.5 for _ in f.active]

        return halve if node.op_type in ("Add", "Neg") else gradient

    _, session = swept(rules)
    assert seen == [("Neg", 1, "y"), ("Add", 1, "d"), ("Add", 1, "c")]
    x, g = draw(2, 3), draw(2, 3, seed=1)
    t = np.tanh(x)
    np.testing.assert_allclose(session.run({"x": x, "seed:y": g})["d:x"], g / 8 * (t + x * (1 - t**2)), atol=1e-6)
    _, nothing = swept(lambda flow, node: (lambda g, f: [None]) if node.op_type == "Neg" else gradient)
    np.testing.assert_array_equal(nothing.run({"x": x, **({"seed:y": g} if "seed:y" in nothing.inputs else {})})["d:x"], 0 * x)
    for wrong, told in ((lambda g, f: [g, g], "2 values"), (lambda g, f: None, "NoneType")):
        with pytest.raises(InputError, match=f"the rule at Neg 'y' answered '?{told}'?: wanted a list, with a tensor or None for each of its 1 active inputs"):
            swept(lambda flow, node, wrong=wrong: wrong)


def test_broadcast_operands_get_sums():
    model = parse("g (float[N,3] x, float[3] r, float[N,1] c, float s) => (float[N,3] y) { a = Mul(x, r)\n b = Mul(a, c)\n y = Mul(b, s) }")
    feeds = {"x": draw(2, 3), "r": draw(3), "c": draw(2, 1), "s": np.array(1.5, np.float32)}
    g = draw(2, 3, seed=1)
    got = run(onnxplain.vjp(model), grad_y=g, **feeds)
    x, r, c, s = feeds.values()
    np.testing.assert_allclose(got["grad_r"], (g * x * c * s).sum(0), atol=1e-5)
    np.testing.assert_allclose(got["grad_c"], (g * x * r * s).sum(1, keepdims=True), atol=1e-5)
    np.testing.assert_allclose(got["grad_s"], (g * x * r * c).sum(), atol=1e-5)


def test_every_node_without_a_rule_is_named():
    nodes = [
        helper.make_node("Odd", ["x"], ["a"], name="first", domain="my.ops"),
        helper.make_node("Even", ["a"], ["b"], domain="my.ops"),
        helper.make_node("Neg", ["b"], ["y"]),
    ]
    infos = [helper.make_tensor_value_info(n, 1, ["N", 3]) for n in ("x", "a", "b", "y")]
    graph = helper.make_graph(nodes, "g", infos[:1], infos[3:], value_info=infos[1:3])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid("my.ops", 1)], ir_version=9)
    with pytest.raises(onnxplain.UnsupportedModelError, match=r"my\.ops:Odd 'first'.*my\.ops:Even 'b'.*wrt="):
        onnxplain.Explainer(model, "gradient")
    onnxplain.Explainer(model, "gradient", wrt="b")


def test_a_cotangent_that_no_rule_answers_is_refused(monkeypatch):
    """An operator whose rule hears of its first output only must not drop what arrives at the second."""
    layer = OPS["LayerNormalization"]
    model = parse("g (float[N,3] x, float[3] s) => (float[N,3] y, float[N,1] m) { y, m = LayerNormalization(x, s) }")
    assert onnxplain.vjp(model, ["m"])
    monkeypatch.setitem(OPS, "LayerNormalization", replace(layer, many=False))
    for outputs in (["m"], ["y", "m"]):
        with pytest.raises(onnxplain.UnsupportedModelError, match="LayerNormalization 'y' has a rule for its first output only, and 'm' matters too"):
            onnxplain.vjp(model, outputs)
