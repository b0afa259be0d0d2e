"""Layer normalisation spelled out is recognised, and nothing that only looks alike."""

from __future__ import annotations

import numpy as np
import onnx.parser
import pytest
from helpers import draw, parse, rewritten, unchanged

import onnxplain

CORE = "m = ReduceMean(x, ax)\n d = Sub(x, m)\n q = Pow(d, two)\n v = ReduceMean(q, ax)\n e = Add(v, eps)\n r = Sqrt(e)\n"
MULTIPLIED = "m = ReduceMean(x, ax)\n d = Sub(x, m)\n q = Mul(d, d)\n v = ReduceMean(q, ax)\n e = Add(eps, v)\n r = Sqrt(e)\n i = Reciprocal(r)\n"
WEIGHTS = {
    "ax": np.int64([-1]),
    "two": np.float32(2),
    "eps": np.float32(1e-3),
    "three": np.float32(3),
    "nil": np.float32(0),
    "first": np.int64([1]),
    "g": draw(4, seed=1) + 1,
    "b": draw(4, seed=2),
    "wide": draw(1, 1, 4, seed=3),
    "one": np.float32([1.5]),
    "rows": draw(3, 1, seed=4),
    "both": np.int64([1, 2]),
    "gg": draw(3, 4, seed=5),
    "w": draw(4, 3, seed=6),
}
FAST = (
    "m = ReduceMean(x, ax)\n d = Sub(x, m)\n q = Mul(x, x)\n k = ReduceMean(q, ax)\n l = Mul(m, m)\n v = Sub(k, l)\n"
    " u = Max(v, nil)\n e = Add(u, eps)\n r = Sqrt(e)\n"
)
SPELLINGS = [
    CORE + "y = Div(d, r)",
    CORE + "n = Div(d, r)\n s = Mul(n, g)\n y = Add(s, b)",
    CORE + "n = Div(d, r)\n s = Mul(g, n)\n y = Add(b, s)",
    CORE + "n = Div(d, r)\n y = Mul(n, wide)",
    CORE + "n = Div(d, r)\n y = Add(n, one)",
    MULTIPLIED + "n = Mul(d, i)\n s = Mul(n, g)\n y = Add(s, b)",
    MULTIPLIED + "y = Mul(i, d)",
    CORE.replace("ax", "both") + "n = Div(d, r)\n s = Mul(n, gg)\n y = Add(s, b)",
    FAST + "n = Div(d, r)\n s = Mul(n, g)\n y = Add(s, b)",
    FAST.replace("Max(v, nil)", "Max(nil, v)") + "y = Div(d, r)",
    FAST.replace(" u = Max(v, nil)\n e = Add(u, eps)", " e = Add(v, eps)") + "y = Div(d, r)",
]


def written(head, text, weights):
    """A model with those of the weights that its text speaks of."""
    words = text.replace("(", " ").replace(")", " ").replace(",", " ").split()
    return parse(f"g {head} {{ {text} }}", **{k: v for k, v in weights.items() if k in words})


def spelled(text, outputs="float[N,3,4] y"):
    return written(f"(float[N,3,4] x) => ({outputs})", text, WEIGHTS)


@pytest.mark.parametrize("text", SPELLINGS)
def test_spellings(text):
    graph = unchanged(spelled(text), {"x": draw(2, 3, 4)}, rewrites=["layer_norm"])
    assert [n.op_type for n in graph.nodes] == ["LayerNormalization"]
    assert graph.nodes[0].outputs == ("y",)
    assert any("LayerNormalization" in line for line in graph.rewrites)


NEARLY = [
    FAST.replace("Mul(m, m)", "Mul(m, x)") + "y = Div(d, r)",
    FAST.replace("Max(v, nil)", "Max(v, three)") + "y = Div(d, r)",
    FAST.replace("Sub(k, l)", "Sub(l, k)") + "y = Div(d, r)",
    FAST.replace("Mul(x, x)", "Mul(x, d)") + "y = Div(d, r)",
    CORE.replace("m = ReduceMean(x, ax)", "m = ReduceMean(x, first)") + "y = Div(d, r)",
    CORE.replace("ax", "first") + "y = Div(d, r)",
    CORE.replace("v = ReduceMean(q, ax)", "v = ReduceMean(q, both)") + "y = Div(d, r)",
    CORE.replace("Pow(d, two)", "Pow(d, three)") + "y = Div(d, r)",
    CORE.replace("Pow(d, two)", "Pow(x, two)") + "y = Div(d, r)",
    CORE.replace("Sub(x, m)", "Sub(m, x)") + "y = Div(d, r)",
    CORE.replace("Sub(x, m)", "Add(x, m)") + "y = Div(d, r)",
    CORE + "y = Div(x, r)",
    CORE + "y = Mul(d, r)",
    CORE.replace("Sqrt", "Exp") + "y = Div(d, r)",
]


@pytest.mark.parametrize("text", NEARLY)
def test_what_only_looks_alike_stays(text):
    """At most what is left is the RMS norm of a difference."""
    graph = unchanged(spelled(text), {"x": draw(2, 3, 4)}, rewrites=["layer_norm"])
    assert "LayerNormalization" not in {n.op_type for n in graph.nodes}


RMS = "q = Mul(x, x)\n v = ReduceMean(q, ax)\n s = Add(v, eps)\n r = Sqrt(s)\n "


STATISTICS = """
    r = Reshape(x, rows)
    mk = ReduceMean(r, but)
    m = Squeeze(mk, but)
    d = Sub(r, mk)
    q = ReduceSumSquare<keepdims=0>(d, but)
    v = Div(q, many)
    sx = Shape(x)
    i32 = Cast<to=6>(sx)
    i64 = Cast<to=7>(i32)
    k = Slice(i32, zero, first, zero)
    k64 = Cast<to=7>(k)
    ones = Expand(unit, k64)
    zeros = Expand(nil, k64)
    n = BatchNormalization<epsilon=0.001>(r, ones, zeros, m, v)
"""
ROWS = {"rows": np.int64([1, -1, 4, 1]), "but": np.int64([0, 2, 3]), "many": np.float32(4), "zero": np.int64([0]), "unit": np.float32(1)}


def by_statistics(text, **changed):
    """Keras' form, whose statistics are of one sample [1, rows, C, 1]; the batch is no more than a number of rows."""
    return written("(float[N,1,4] x) => (float[N,1,4] y)", text, WEIGHTS | ROWS | changed)


@pytest.mark.parametrize("end", ["y = Reshape(n, i64)", "o = Reshape(n, i64)\n s = Mul(o, g)\n y = Add(s, b)", "o = Reshape(n, sx)\n y = Add(o, b)"])
def test_batch_normalisation_told_the_statistics_of_each_row(end):
    graph = unchanged(by_statistics(STATISTICS + end), {"x": draw(3, 1, 4)}, rewrites=["layer_norm"])
    assert [n.op_type for n in graph.nodes] == ["LayerNormalization"]


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [
        ("", "", {"many": np.float32(3)}),
        ("", "", {"unit": np.float32(2)}),
        ("", "", {"nil": np.float32(1)}),
        ("d = Sub(r, mk)", "d = Sub(mk, r)", {}),
        ("d = Sub(r, mk)", "d = Sub(r, unit)", {}),
        ("mk = ReduceMean(r, but)", "rr = Mul(r, r)\n mk = ReduceMean(rr, but)", {}),
        ("n = BatchNormalization<epsilon=0.001>(r,", "h = Neg(r)\n n = BatchNormalization<epsilon=0.001>(h,", {}),
        ("i64 = Cast<to=7>(i32)", "i64 = Shape(r)", {}),
    ],
)
def test_other_statistics_stay(old, new, changed):
    text = STATISTICS.replace(old, new) if old else STATISTICS
    ends = "o = Reshape(n, i64)\n y = Reshape(o, whole)"
    graph = unchanged(by_statistics(text + ends, whole=np.int64([-1, 1, 4]), **changed), {"x": draw(3, 1, 4)}, rewrites=["layer_norm"])
    assert "BatchNormalization" in [n.op_type for n in graph.nodes]


@pytest.mark.parametrize("text", ["y = Div(x, r)", "i = Reciprocal(r)\n y = Mul(i, x)", "n = Div(x, r)\n y = Mul(g, n)"])
def test_without_a_mean_it_is_the_rms_norm(text):
    graph = unchanged(spelled(RMS + text), {"x": draw(2, 3, 4)}, rewrites=["layer_norm"])
    assert [n.op_type for n in graph.nodes] == ["RMSNormalization"]


def test_what_follows_but_is_no_parameter_stays_outside():
    graph = unchanged(spelled(CORE + "n = Div(d, r)\n y = Mul(n, rows)"), {"x": draw(2, 3, 4)}, rewrites=["layer_norm"])
    assert [n.op_type for n in graph.nodes] == ["LayerNormalization", "Mul"]
    graph = unchanged(spelled(CORE + "n = Div(d, r)\n y = Mul(n, n)"), {"x": draw(2, 3, 4)}, rewrites=["layer_norm"])
    assert [n.op_type for n in graph.nodes] == ["LayerNormalization", "Mul"]
    graph = unchanged(spelled(CORE + "n = Div(d, r)\n y = MatMul(n, w)", "float[N,3,3] y"), {"x": draw(2, 3, 4)}, rewrites=["layer_norm"])
    assert [n.op_type for n in graph.nodes] == ["LayerNormalization", "MatMul"]


def test_what_widens_stays_outside():
    model = written("(float[N,3,1] x) => (float[N,3,4] y)", CORE + "n = Div(d, r)\n y = Add(n, b)", WEIGHTS)
    assert [n.op_type for n in unchanged(model, {"x": draw(2, 3, 1)}, rewrites=["layer_norm"]).nodes] == ["LayerNormalization", "Add"]


@pytest.mark.parametrize("name", ["m", "d", "v", "r", "n", "s", "g", "b"])
def test_what_is_named_survives(name):
    model = spelled(SPELLINGS[1])
    keep = [name] if name not in ("g", "b") else []
    graph = unchanged(model, {"x": draw(2, 3, 4)}, rewrites=["layer_norm"], keep=keep)
    if name in ("m", "d", "v", "r"):
        assert not graph.rewrites
    elif keep:
        assert graph.nodes[0].outputs == (name,)
    else:
        graph, _ = rewritten(model, rewrites=["layer_norm"], keep=[name])
        assert name in graph.constants


def test_what_is_used_elsewhere_stays():
    model = spelled(SPELLINGS[1] + "\n z = Neg(d)", "float[N,3,4] y, float[N,3,4] z")
    assert not unchanged(model, {"x": draw(2, 3, 4)}, rewrites=["layer_norm"]).rewrites


@pytest.mark.parametrize("text", [SPELLINGS[1], SPELLINGS[5]])
def test_gradients_stay_and_rules_see_one_node(text):
    x, cpu = draw(2, 3, 4, seed=7), ["CPUExecutionProvider"]
    target = draw(2, 3, 4, seed=8)
    load = lambda rewrites: onnxplain.load(spelled(text), rewrites=rewrites)
    whole, parts = (onnxplain.explain(load(r), x, "gradient", target=target, providers=cpu).attribution for r in (["layer_norm"], []))
    np.testing.assert_allclose(whole, parts, atol=1e-4 * np.abs(parts).max())
    rows = [{"kind": "normalization", "rule": "pass"}]
    passed = onnxplain.explain(spelled(text), x, "lrp", rules=rows, relevance="one_hot", target=target, providers=cpu).attribution
    np.testing.assert_array_equal(passed, target)


GROUPED = "r = Reshape(x, into)\n n = InstanceNormalization<epsilon = 0.01>(r, k, z)\n h = Shape(x)\n c = Reshape(n, h)\n "
GROUPS = {
    "into": np.int64([0, 2, -1]),
    "k": np.float32([1, 2]),
    "z": np.float32([0, 0.5]),
    "g": draw(6, 1, 1, seed=1) + 1,
    "b": draw(1, 6, 1, 1, seed=2),
    "all": np.float32([1.5]),
    "places": draw(3, 5, seed=3),
    "to": np.int64([-1, 6, 3, 5]),
    "turned": np.int64([-1, 6, 5, 3]),
    "thirds": np.int64([0, 3, -1]),
}


def grouped(text, outputs="float[N,6,3,5] y"):
    return written(f"(float[N,6,3,5] x) => ({outputs})", text, GROUPS)


@pytest.mark.parametrize("end", ["y = Identity(c)", "m = Mul(c, g)\n y = Add(m, b)", "m = Mul(all, c)\n y = Add(b, m)", "y = Add(c, all)", "y = Mul(c, g)"])
@pytest.mark.parametrize("asked", [True, False])
def test_groups_laid_out_as_channels(end, asked):
    text = GROUPED if asked else GROUPED.replace(" h = Shape(x)\n c = Reshape(n, h)", " c = Reshape(n, to)")
    graph = unchanged(grouped(text + end), {"x": draw(2, 6, 3, 5)}, rewrites=["group_norm"])
    assert [n.op_type for n in graph.nodes if n.op_type not in ("Identity", "Shape")] == ["GroupNormalization"]
    assert graph.nodes[-1].outputs == ("y",)
    assert any("GroupNormalization" in line for line in graph.rewrites)


@pytest.mark.parametrize(
    ("text", "outputs"),
    [
        (GROUPED.replace("Reshape(n, h)", "Reshape(n, turned)").replace("h = Shape(x)\n", "") + "y = Neg(c)", "float[N,6,5,3] y"),
        (GROUPED.replace("InstanceNormalization<epsilon = 0.01>(r, k, z)", "LpNormalization(r)") + "y = Neg(c)", "float[N,6,3,5] y"),
        (GROUPED + "y = Neg(c)", "float[N,6,3,5] y, float[N,2,45] n"),
        (GROUPED + "y = Neg(c)\n w = Abs(r)", "float[N,6,3,5] y, float[N,2,45] w"),
    ],
)
def test_groups_that_are_read_or_put_elsewhere_stay(text, outputs):
    graph = unchanged(grouped(text, outputs), {"x": draw(2, 6, 3, 5)}, rewrites=["group_norm"])
    assert "GroupNormalization" not in {n.op_type for n in graph.nodes}


def test_what_differs_from_place_to_place_stays_behind_the_groups():
    graph = unchanged(grouped(GROUPED + "y = Mul(c, places)"), {"x": draw(2, 6, 3, 5)}, rewrites=["group_norm"])
    assert [n.op_type for n in graph.nodes if n.op_type != "Shape"] == ["GroupNormalization", "Mul"]


def test_rms_norm_of_its_own_opset_is_one_node():
    header = '<ir_version: 11, opset_import: ["": 23]>'
    model = onnx.parser.parse_model(header + "g (float[N,3,4] x, float[4] s) => (float[N,3,4] y) { y = RMSNormalization<axis = -1, epsilon = 0.01>(x, s) }")
    model.graph.initializer.append(onnx.numpy_helper.from_array(draw(4, seed=1) + 1, "s"))
    del model.graph.input[1]
    graph = unchanged(model, {"x": draw(2, 3, 4)})
    assert [n.op_type for n in graph.nodes] == ["RMSNormalization"]
