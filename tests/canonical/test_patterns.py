"""Activations that exporters spell out are recognised, in every spelling, and nothing else is."""

from __future__ import annotations

import math

import numpy as np
import onnx.parser
import pytest
from helpers import draw, parse, rewritten, unchanged

import onnxplain

HALF, SQRT2, ROOT = np.float32(0.5), np.float32(math.sqrt(2)), np.float32(math.sqrt(2 / math.pi))
NUMBERS = {
    "half": HALF,
    "one": np.float32(1),
    "minus": np.float32([-1]),
    "two": np.float32(2),
    "three": np.float32(3),
    "six": np.float32(6),
    "zero": np.float32(0),
    "sqrt2": SQRT2,
    "inverse": np.float32(1 / math.sqrt(2)),
    "root": ROOT,
    "cubic": np.float32(0.044715),
    "sixth": np.float32(1 / 6),
}

SPELLINGS = {
    "Sigmoid": [
        "n = Neg(x)\n e = Exp(n)\n s = Add(one, e)\n y = Div(one, s)",
        "n = Neg(x)\n e = Exp(n)\n s = Add(e, one)\n y = Reciprocal(s)",
        "n = Mul(x, minus)\n e = Exp(n)\n s = Add(e, one)\n y = Reciprocal(s)",
    ],
    "Swish": ["s = Sigmoid(x)\n y = Mul(x, s)", "s = Sigmoid(x)\n y = Mul(s, x)", "k = Mul(x, half)\n s = Sigmoid(k)\n y = Mul(x, s)"],
    "Relu": ["y = Max(x, zero)", "y = Max(zero, x)", "y = Clip(x, zero)"],
    "Softsign": ["a = Abs(x)\n s = Add(a, one)\n y = Div(x, s)", "a = Abs(x)\n s = Add(one, a)\n y = Div(x, s)"],
    "Mish": ["p = Softplus(x)\n t = Tanh(p)\n y = Mul(x, t)", "p = Softplus(x)\n t = Tanh(p)\n y = Mul(t, x)"],
    "HardSwish": [
        "s = HardSigmoid<alpha = 0.16666667, beta = 0.5>(x)\n y = Mul(x, s)",
        "a = Add(x, three)\n c = Clip(a, zero, six)\n m = Mul(x, c)\n y = Div(m, six)",
        "a = Add(three, x)\n c = Clip(a, zero, six)\n m = Mul(c, x)\n y = Div(m, six)",
        "a = Add(x, three)\n c = Clip(a, zero, six)\n g = Mul(c, sixth)\n y = Mul(x, g)",
        "a = Add(x, three)\n c = Max(a, zero)\n d = Min(c, six)\n g = Div(d, six)\n y = Mul(x, g)",
        "a = Add(x, three)\n c = Min(six, a)\n d = Max(zero, c)\n m = Mul(x, d)\n y = Div(m, six)",
        "a = Add(x, three)\n c = Clip(a, zero, six)\n g = Div(c, six)\n y = Mul(g, x)",
    ],
    "Gelu": [
        "a = Div(x, sqrt2)\n e = Erf(a)\n b = Add(e, one)\n m = Mul(x, b)\n y = Mul(m, half)",
        "a = Mul(x, inverse)\n e = Erf(a)\n b = Add(one, e)\n h = Mul(half, x)\n y = Mul(h, b)",
        "a = Mul(inverse, x)\n e = Erf(a)\n b = Add(e, one)\n h = Mul(b, half)\n y = Mul(x, h)",
        "q = Mul(x, x)\n c = Mul(q, x)\n k = Mul(c, cubic)\n i = Add(x, k)\n r = Mul(i, root)\n"
        " t = Tanh(r)\n b = Add(t, one)\n m = Mul(x, b)\n y = Mul(m, half)",
        "a = Div(x, sqrt2)\n e = Erf(a)\n b = Add(e, one)\n h = Div(x, two)\n y = Mul(h, b)",
        "c = Pow(x, three)\n k = Mul(cubic, c)\n i = Add(k, x)\n r = Mul(root, i)\n t = Tanh(r)\n b = Add(one, t)\n h = Mul(half, x)\n y = Mul(h, b)",
    ],
}
CASES = [(op, text) for op, texts in SPELLINGS.items() for text in texts]


def spelled(text, used=NUMBERS, outputs="float[N,4] y"):
    words = text.replace("(", " ").replace(")", " ").replace(",", " ").split()
    return parse(f"g (float[N,4] x) => ({outputs}) {{ {text} }}", **{k: v for k, v in used.items() if k in words})


@pytest.mark.parametrize(("op_type", "text"), CASES)
def test_spellings(op_type, text):
    x = 3 * draw(3, 4)
    graph = unchanged(spelled(text), {"x": x}, rewrites=["activations"])
    assert [n.op_type for n in graph.nodes] == [op_type]
    assert graph.nodes[0].outputs == ("y",)
    assert any("activations" in line and op_type in line for line in graph.rewrites)


def test_which_gelu_is_told():
    graph = unchanged(spelled(SPELLINGS["Gelu"][-1]), {"x": draw(3, 4)}, rewrites=["activations"])
    assert graph.nodes[0].attributes["approximate"] == "tanh"
    graph = unchanged(spelled(SPELLINGS["Gelu"][0]), {"x": draw(3, 4)}, rewrites=["activations"])
    assert graph.nodes[0].attributes.get("approximate", "none") == "none"


NEARLY = [
    "a = Add(x, three)\n c = Max(a, two)\n d = Max(c, six)\n g = Div(d, six)\n y = Mul(x, g)",
    "a = Add(x, three)\n c = Max(a, six)\n d = Min(c, zero)\n g = Div(d, six)\n y = Mul(x, g)",
    "n = Mul(x, two)\n e = Exp(n)\n s = Add(e, one)\n y = Reciprocal(s)",
    "a = Abs(x)\n s = Add(a, two)\n y = Div(x, s)",
    "a = Abs(x)\n s = Add(a, one)\n y = Div(s, x)",
    "p = Softplus(x)\n t = Sigmoid(p)\n y = Mul(x, t)",
    "p = Softplus(x)\n t = Tanh(p)\n m = Mul(t, two)\n y = Mul(x, m)",
    "a = Add(x, three)\n c = Clip(a, zero, six)\n g = Div(six, c)\n y = Mul(x, g)",
    "n = Neg(x)\n e = Exp(n)\n s = Add(two, e)\n y = Div(one, s)",
    "e = Exp(x)\n s = Add(one, e)\n y = Div(one, s)",
    "n = Neg(x)\n e = Exp(n)\n s = Add(one, e)\n y = Div(two, s)",
    "s = Sigmoid(x)\n t = Neg(x)\n y = Mul(t, s)",
    "s = HardSigmoid<alpha = 0.2, beta = 0.5>(x)\n y = Mul(x, s)",
    "s = HardSigmoid<alpha = 0.16666667, beta = 0.4>(x)\n y = Mul(x, s)",
    "a = Add(x, three)\n c = Clip(a, zero, three)\n m = Mul(x, c)\n y = Div(m, six)",
    "a = Add(x, two)\n c = Clip(a, zero, six)\n m = Mul(x, c)\n y = Div(m, six)",
    "a = Add(x, three)\n c = Clip(a, zero, six)\n m = Mul(x, c)\n y = Div(m, three)",
    "a = Div(x, two)\n e = Erf(a)\n b = Add(e, one)\n m = Mul(x, b)\n y = Mul(m, half)",
    "a = Div(x, sqrt2)\n e = Erf(a)\n b = Add(e, one)\n m = Mul(x, b)\n y = Mul(m, two)",
    "a = Div(x, sqrt2)\n e = Erf(a)\n b = Add(e, two)\n m = Mul(x, b)\n y = Mul(m, half)",
    "t = Neg(x)\n a = Div(t, sqrt2)\n e = Erf(a)\n b = Add(e, one)\n m = Mul(x, b)\n y = Mul(m, half)",
    "q = Mul(x, x)\n k = Mul(q, cubic)\n i = Add(x, k)\n r = Mul(i, root)\n t = Tanh(r)\n b = Add(t, one)\n m = Mul(x, b)\n y = Mul(m, half)",
    "y = Max(x, one)",
    "y = Max(x, zero, x)",
    "y = Clip(x, zero, six)",
    "y = Min(x, zero)",
    "s = Tanh(x)\n b = Add(s, one)\n m = Mul(x, b)\n y = Mul(m, half)",
    "nearly = Constant<value = float {0.5002}>()\n a = Div(x, sqrt2)\n e = Erf(a)\n b = Add(e, one)\n m = Mul(x, b)\n y = Mul(m, nearly)",
    "nearly = Constant<value = float {1.0005}>()\n a = Div(x, sqrt2)\n e = Erf(a)\n b = Add(e, nearly)\n m = Mul(x, b)\n y = Mul(m, half)",
]


@pytest.mark.parametrize("text", NEARLY)
def test_what_only_looks_alike_stays(text):
    graph = unchanged(spelled(text), {"x": draw(3, 4)}, rewrites=["activations"])
    assert {n.op_type for n in graph.nodes}.isdisjoint(set(SPELLINGS) - {w for w in text.replace("(", " ").split() if w in SPELLINGS})
    assert not graph.rewrites


@pytest.mark.parametrize(("op_type", "text"), CASES)
def test_what_is_named_or_used_elsewhere_stays(op_type, text):
    if " = " not in text.split(" = ", 1)[1]:
        return  # one node has nothing inside
    inner = text.split(" = ")[0]
    graph = unchanged(spelled(text), {"x": draw(3, 4)}, rewrites=["activations"], keep=[inner])
    assert op_type not in {n.op_type for n in graph.nodes}
    graph = unchanged(spelled(f"{text}\n z = Neg({inner})", outputs="float[N,4] y, float[N,4] z"), {"x": draw(3, 4)}, rewrites=["activations"])
    assert op_type not in {n.op_type for n in graph.nodes}
    graph = unchanged(spelled(text, outputs=f"float[N,4] y, float[N,4] {inner}"), {"x": draw(3, 4)}, rewrites=["activations"])
    assert op_type not in {n.op_type for n in graph.nodes}


@pytest.mark.parametrize("name", ["alpha", "three"])
def test_a_named_number_stays(name):
    text = "al = Mul(alpha, x)\n s = Sigmoid(al)\n y = Mul(x, s)" if name == "alpha" else SPELLINGS["HardSwish"][1]
    numbers = NUMBERS | {"alpha": np.float32(1.5)}
    graph = unchanged(spelled(text, numbers), {"x": draw(3, 4)}, rewrites=["activations"], keep=[name])
    assert {"Swish", "HardSwish"}.isdisjoint(n.op_type for n in graph.nodes)


MASKED = """<ir_version: 10, opset_import: ["": 21]>
    net (float[N, 3, 4] x, bool[N, 3, {extent}] gone) => (float[N, 3, 4] y) {{
        zero = Constant<value = float {{0.0}}>() inf = Constant<value = float {{{least}}}>()
        z = Where({inner}, inf, x) p = Softmax(z) {ask} y = Where({outer}, zero, p)
    }}"""


@pytest.mark.parametrize(
    ("extent", "inner", "outer", "ask", "guarded"),
    [(1, "gone", "gone", "", True), (4, "gone", "nan", "nan = IsNaN(p)", True), (4, "gone", "gone", "", False)],
    ids=["rows that are masked", "rows that are NaN", "elements"],
)
def test_a_softmax_is_guarded_where_whole_rows_are_replaced(extent, inner, outer, ask, guarded):
    model = onnx.parser.parse_model(MASKED.format(extent=extent, inner=inner, outer=outer, ask=ask, least="-1e30" if outer == "gone" else "-inf"))
    gone = np.zeros((2, 3, extent), bool)
    gone[0, 1] = True
    gone[:, 2, -1:] = True
    feeds = {"x": draw(2, 3, 4), "gone": gone}
    graph = unchanged(model, feeds, rewrites=["guarded_softmax"])
    assert any("guarded" in line for line in graph.rewrites) == guarded
    got = onnxplain.explain(model, feeds, "gradient", target=[(0, 0), (2, 0)])
    assert np.isfinite(got.attribution).all()


def test_one_after_another():
    text = f"a = Sigmoid(x)\n b = Mul(a, x)\n {SPELLINGS['HardSwish'][1].replace('x', 'b').replace('sib', 'six')}"
    text = text.replace("a = Add", "d = Add").replace("Clip(a", "Clip(d")
    graph = unchanged(spelled(text), {"x": draw(3, 4)}, rewrites=["activations"])
    assert [n.op_type for n in graph.nodes] == ["Swish", "HardSwish"]


def test_scalars_of_any_rank_are_numbers():
    wide = {k: v.reshape(1, 1) for k, v in NUMBERS.items()}
    graph = unchanged(spelled(SPELLINGS["Gelu"][0], wide), {"x": draw(3, 4)}, rewrites=["activations"])
    assert [n.op_type for n in graph.nodes] == ["Gelu"]


@pytest.mark.parametrize(("op_type", "text"), CASES)
def test_relevance_passes_them_whole(op_type, text):
    model = spelled(text)
    x = draw(3, 4)
    got = onnxplain.explain(model, x, "lrp", composite="epsilon", target=1, relevance="one_hot", providers=["CPUExecutionProvider"]).attribution
    np.testing.assert_array_equal(got, np.eye(4)[[1] * 3])


def test_it_can_be_switched_off():
    graph, _ = rewritten(spelled(SPELLINGS["Swish"][0]), rewrites=[])
    assert [n.op_type for n in graph.nodes] == ["Sigmoid", "Mul"]


def test_numbers_that_widen_the_result_stay():
    wide = {k: v.reshape(1, 1, 1) for k, v in NUMBERS.items()}
    model = spelled(SPELLINGS["Gelu"][0], wide, "float[1,N,4] y")
    graph = unchanged(model, {"x": draw(3, 4)}, rewrites=["activations"])
    assert "Gelu" not in {n.op_type for n in graph.nodes}
