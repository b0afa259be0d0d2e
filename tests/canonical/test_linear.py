"""Linear layers that exporters take apart."""

import numpy as np
import pytest
from helpers import draw, parse, unchanged
from onnx import numpy_helper


def kinds(graph):
    return [n.op_type for n in graph.nodes]


@pytest.mark.parametrize("order", ["m, b", "b, m"])
@pytest.mark.parametrize("bias", [(4,), (1, 4), (1,)])
def test_matmul_add(order, bias):
    model = parse(f"g (float[N,3] x) => (float[N,4] y) {{ m = MatMul(x, w)\n y = Add({order}) }}", w=draw(3, 4), b=draw(*bias))
    graph = unchanged(model, {"x": draw(2, 3)}, rewrites=["matmul_add"])
    assert kinds(graph) == ["Gemm"]
    assert len(graph.rewrites) == 1
    assert kinds(unchanged(model, {"x": draw(2, 3)}, rewrites=["matmul_add"], keep=["m"])) == ["MatMul", "Add"]


BETWEEN = [
    ("y = Reshape(m, rows)\n z = Add(y, b)", "float[N,2,6] z", (6,)),
    ("y = Reshape(m, rows)\n z = Add(b, y)", "float[N,2,6] z", (1, 1, 6)),
    ("r = Reshape(m, heads)\n y = Squeeze(r, end)\n z = Add(y, b)", "float[N,2,2,3] z", (2, 3)),
    ("r = Reshape(m, heads)\n z = Add(r, b)", "float[N,2,2,3,1] z", (2, 3, 1)),
    ("r = Reshape(m, heads)\n y = Squeeze(r, end)\n z = Add(y, b)", "float[N,2,2,3] z", (3,)),
    ("r = Reshape(m, heads)\n y = Squeeze(r, end)\n z = Add(y, b)", "float[N,2,2,3] z", (1, 2, 1)),
    ("u = Unsqueeze(m, end)\n z = Add(u, b)", "float[N,6,1] z", (6, 1)),
]
LAID = {"w": draw(4, 6), "rows": np.int64([-1, 2, 6]), "heads": np.int64([-1, 2, 2, 3, 1]), "end": np.int64([-1])}


def behind(text, output, bias):
    used = {k: v for k, v in LAID.items() if k == "w" or k in text}
    return parse(f"g (float[N,4] x) => ({output}) {{ m = MatMul(x, w)\n {text} }}", **used, b=draw(*bias, seed=1))


@pytest.mark.parametrize(("text", "output", "bias"), BETWEEN)
def test_matmul_add_behind_what_splits_rows_or_columns(text, output, bias):
    graph = unchanged(behind(text, output, bias), {"x": draw(4, 4)}, rewrites=["matmul_add"])
    assert kinds(graph)[0] == "Gemm"
    assert "Add" not in kinds(graph)
    assert "Add" in kinds(unchanged(behind(text, output, bias), {"x": draw(4, 4)}, rewrites=["matmul_add"], keep=["m"]))


@pytest.mark.parametrize(
    ("text", "output", "bias"),
    [
        ("y = Reshape(m, rows)\n z = Add(y, b)", "float[N,2,6] z", (2, 1)),
        ("y = Reshape(m, rows)\n z = Add(y, b)", "float[N,2,6] z", (2, 6)),
        ("y = Reshape(m, across)\n z = Add(y, b)", "float[N,4,3] z", (3,)),
        ("y = Reshape(m, rows)\n a = Add(y, b)\n z = Mul(a, y)", "float[N,2,6] z", (6,)),
    ],
    ids=["rows", "rows and columns", "other columns", "two users"],
)
def test_matmul_add_leaves_alone_what_differs_from_row_to_row(text, output, bias):
    model = behind(text.replace("across", "rows"), output, bias)
    if "across" in text:
        next(t for t in model.graph.initializer if t.name == "rows").CopyFrom(numpy_helper.from_array(np.int64([-1, 4, 3]), "rows"))
    assert "Add" in kinds(unchanged(model, {"x": draw(4, 4)}, rewrites=["matmul_add"]))


@pytest.mark.parametrize("given", ["", ", zero", ", c"], ids=["none", "zero", "beta 0"])
@pytest.mark.parametrize(("attributes", "weight"), [("alpha = 0.5", (3, 4)), ("transB = 1", (4, 3))])
def test_a_gemm_without_a_bias_takes_the_one_behind_it(given, attributes, weight):
    beta = ", beta = 0.0" if given == ", c" else ""
    text = f"g (float[N,3] x) => (float[N,4] y) {{ m = Gemm<{attributes}{beta}>(x, w{given})\n y = Add(m, b) }}"
    extra = {", zero": {"zero": np.zeros(4, np.float32)}, ", c": {"c": draw(4, seed=1)}}.get(given, {})
    graph = unchanged(parse(text, w=draw(*weight), b=draw(4), **extra), {"x": draw(2, 3)}, rewrites=["matmul_add"])
    assert kinds(graph) == ["Gemm"]
    graph = unchanged(parse(text.replace(", beta = 0.0", ""), w=draw(*weight), b=draw(4), zero=draw(4), c=draw(4)), {"x": draw(2, 3)}, rewrites=["matmul_add"])
    assert kinds(graph) == (["Gemm"] if not given else ["Gemm", "Add"])  # it has a bias of its own


@pytest.mark.parametrize(
    ("text", "weights"),
    [
        ("g (float[N,3] x) => (float[N,5] y) { m = MatMul(x, w)\n y = Add(m, b) }", {"w": draw(3, 1), "b": draw(5)}),
        ("g (float[2,3] x) => (float[2,4] y) { m = MatMul(x, w)\n y = Add(m, b) }", {"w": draw(3, 4), "b": draw(2, 4)}),
        ("g (float[N,3] x) => (float[N,4] y) { m = MatMul(x, w)\n y = Add(m, b) }", {"w": draw(3, 4), "b": np.float32(2)}),
        ("g (float[N,2,3] x) => (float[N,2,4] y) { m = MatMul(x, w)\n y = Add(m, b) }", {"w": draw(3, 4), "b": draw(4)}),
        ("g (float[N,3] x) => (float[N,4] y) { m = MatMul(x, w)\n a = Add(m, b)\n y = Mul(a, m) }", {"w": draw(3, 4), "b": draw(4)}),
        ("g (float[N,3] x) => (float[N,3] y) { m = MatMul(x, w)\n y = Add(m, x) }", {"w": draw(3, 3)}),
        (
            "g (float[N,3] x) => (float[N,4] y) { i = Cast<to=7>(x)\n m = MatMul(i, w)\n a = Add(m, b)\n y = Cast<to=1>(a) }",
            {"w": np.ones((3, 4), np.int64), "b": np.ones(4, np.int64)},
        ),
    ],
    ids=["widens", "per sample", "scalar", "rank 3", "two users", "no constant", "integers"],
)
def test_matmul_add_leaves_alone(text, weights):
    model = parse(text, **weights)
    x = draw(*(d.dim_value or 2 for d in model.graph.input[0].type.tensor_type.shape.dim))
    assert "Gemm" not in kinds(unchanged(model, {"x": x}))


def test_a_shared_matrix_keeps_serving_both():
    model = parse(
        "g (float[N,3] x) => (float[N,3] y) { m = MatMul(x, w)\n a = Add(m, b)\n n = MatMul(a, w)\n y = Add(n, c) }", w=draw(3, 3), b=draw(3), c=draw(3, seed=1)
    )
    assert kinds(unchanged(model, {"x": draw(2, 3)})) == ["Gemm", "Gemm"]


CONV = "g (float[N,2,5,5] x) => (float[] y) {{ c = Conv(x, w{})\n {} }}"


@pytest.mark.parametrize("own", ["", ", b0"])
@pytest.mark.parametrize(
    ("rest", "bias"),
    [
        ("y = Add(c, b)", (4, 1, 1)),
        ("y = Add(b, c)", (1, 4, 1, 1)),
        ("y = Add(c, b)", (1,)),
        ("t = Transpose<perm=[0,2,3,1]>(c)\n y = Add(t, b)", (4,)),
        ("t = Transpose<perm=[0,2,3,1]>(c)\n u = Unsqueeze(t, one)\n y = Add(u, b)", (4,)),
    ],
    ids=["add", "add left", "one", "transposed", "unsqueezed"],
)
def test_bias_add(own, rest, bias):
    weights = {"w": draw(4, 2, 3, 3), "b": draw(*bias, seed=1), "one": np.array([1])} | ({"b0": draw(4, seed=2)} if own else {})
    model = parse(CONV.format(own, rest).replace("float[] y", "float[a,b,c,d] y" if "Unsq" not in rest else "float[a,b,c,d,e] y"), **weights)
    graph = unchanged(model, {"x": draw(2, 2, 5, 5)}, rewrites=["bias_add"])
    assert "Add" not in kinds(graph)
    assert graph.rewrites[0].startswith("bias_add")
    assert "Add" in kinds(unchanged(model, {"x": draw(2, 2, 5, 5)}, rewrites=["bias_add"], keep=["c"]))
    assert "Add" in kinds(unchanged(model, {"x": draw(2, 2, 5, 5)}, rewrites=["bias_add"], keep=["b"]))


def test_bias_add_of_grouped_transposed_convolutions():
    model = parse("g (float[N,4,3,3] x) => (float[N,6,4,4] y) { c = ConvTranspose<group=2>(x, w)\n y = Add(c, b) }", w=draw(4, 3, 2, 2), b=draw(6, 1, 1))
    assert kinds(unchanged(model, {"x": draw(2, 4, 3, 3)}, rewrites=["bias_add"])) == ["ConvTranspose"]


@pytest.mark.parametrize(
    ("rest", "bias"),
    [
        ("y = Add(c, b)", (3,)),
        ("y = Add(c, b)", (3, 3)),
        ("y = Add(c, b)", (4, 3, 3)),
        ("t = Transpose<perm=[0,2,3,1]>(c)\n y = Add(t, b)", (3, 1)),
        ("r = Relu(c)\n y = Add(r, b)", (4, 1, 1)),
        ("a = Add(c, b)\n y = Mul(a, c)", (4, 1, 1)),
        ("y = Add(c, c)", (1,)),
    ],
    ids=["columns", "plane", "all", "rows", "behind relu", "two users", "itself"],
)
def test_bias_add_leaves_alone(rest, bias):
    model = parse(CONV.format("", rest).replace("float[] y", "float[a,b,c,d] y"), w=draw(4, 2, 3, 3), b=draw(*bias))
    assert "Add" in kinds(unchanged(model, {"x": draw(2, 2, 5, 5)}))


def test_a_bias_where_channels_and_extents_are_alike():
    """Three channels, three columns: only the shape's place tells which is meant."""
    columns = parse(CONV.format("", "y = Add(c, b)").replace("float[] y", "float[a,b,c,d] y"), w=draw(3, 2, 3, 3), b=draw(3))
    assert "Add" in kinds(unchanged(columns, {"x": draw(2, 2, 5, 5)}))
