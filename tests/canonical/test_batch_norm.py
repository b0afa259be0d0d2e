"""Batch normalisation merged into its neighbour."""

import numpy as np
import pytest
from helpers import draw, parse, rewritten, unchanged

import onnxplain


def norm(c, seed=0):
    return {"s": draw(c, seed=seed + 1), "t": draw(c, seed=seed + 2), "m": draw(c, seed=seed + 3), "v": np.abs(draw(c, seed=seed + 4)) + 0.5}


def kinds(graph):
    return [n.op_type for n in graph.nodes]


BEHIND = {
    "Conv": ("float[N,2,5,5] x", "Conv(x, w)", draw(4, 2, 3, 3)),
    "Conv with bias": ("float[N,2,5,5] x", "Conv<pads=[1,1,1,1]>(x, w, b)", draw(4, 2, 3, 3)),
    "grouped Conv": ("float[N,2,5,5] x", "Conv<group=2>(x, w, b)", draw(4, 1, 3, 3)),
    "ConvTranspose": ("float[N,2,5,5] x", "ConvTranspose<strides=[2,2]>(x, w, b)", draw(2, 4, 3, 3)),
    "grouped ConvTranspose": ("float[N,6,5,5] x", "ConvTranspose<group=2>(x, w, b)", draw(6, 2, 3, 3)),
    "Conv of rank 1": ("float[N,2,5] x", "Conv(x, w)", draw(4, 2, 3)),
    "Gemm": ("float[N,3] x", "Gemm(x, w)", draw(3, 4)),
    "Gemm with bias": ("float[N,3] x", "Gemm(x, w, b)", draw(3, 4)),
    "Gemm with a row": ("float[N,3] x", "Gemm(x, w, row)", draw(3, 4)),
    "turned Gemm": ("float[N,4] x", "Gemm<transB=1,alpha=0.5>(x, w, b)", draw(4, 4)),
    "Gemm with half a bias": ("float[N,3] x", "Gemm<alpha=2.0,beta=0.5>(x, w, b)", draw(3, 4)),
    "MatMul": ("float[N,3] x", "MatMul(x, w)", draw(3, 4)),
}


@pytest.mark.parametrize("case", BEHIND)
def test_behind_a_linear_layer(case):
    x, layer, w = BEHIND[case]
    model = parse(
        f"g ({x}) => (float[] y) {{ h = {layer}\n y = BatchNormalization<epsilon=0.1>(h, s, t, m, v) }}".replace(
            "float[] y", f"float[{'a,b,c,d'[: 2 * x.count(',') + 1]}] y"
        ),
        w=w,
        b=draw(4, seed=9),
        row=draw(1, 4, seed=8),
        **norm(4),
    )
    shape = [d.dim_value or 2 for d in model.graph.input[0].type.tensor_type.shape.dim]
    graph = unchanged(model, {"x": draw(*shape)}, rewrites=["fuse_batch_norm"], atol=1e-4)
    assert len(graph.nodes) == 1
    assert graph.rewrites[0].startswith("fuse_batch_norm")
    for keep in ("h", "w", "s"):
        assert "BatchNormalization" in kinds(unchanged(model, {"x": draw(*shape)}, keep=[keep], atol=1e-4))
    for fuse in (False, "two"):
        assert "Conv" not in kinds(rewritten(model, fuse=fuse)[0])[1:]
        assert len(rewritten(model, fuse=fuse)[0].nodes) > 1


BEFORE = {
    "Conv": ("float[N,4,5,5] x", "Conv(h, w, b)", draw(3, 4, 3, 3), 4),
    "grouped Conv": ("float[N,4,5,5] x", "Conv<group=2>(h, w)", draw(6, 2, 3, 3), 4),
    "VALID Conv": ("float[N,4,5,5] x", 'Conv<auto_pad="VALID">(h, w)', draw(3, 4, 3, 3), 4),
    "Gemm": ("float[N,4] x", "Gemm(h, w, b)", draw(4, 3), 4),
    "Gemm with a row": ("float[N,4] x", "Gemm(h, w, row)", draw(4, 3), 4),
    "turned Gemm": ("float[N,4] x", "Gemm<transB=1>(h, w)", draw(3, 4), 4),
    "Gemm with half a bias": ("float[N,4] x", "Gemm<alpha=2.0,beta=0.5>(h, w, b)", draw(4, 3), 4),
    "MatMul": ("float[N,4] x", "MatMul(h, w)", draw(4, 3), 4),
}


@pytest.mark.parametrize("case", BEFORE)
def test_before_an_unpadded_linear_layer(case):
    x, layer, w, c = BEFORE[case]
    y = "float[a,b,c,d] y" if "5,5" in x else "float[a,b] y"
    model = parse(
        f"g ({x}) => ({y}) {{ h = BatchNormalization<epsilon=0.1>(x, s, t, m, v)\n y = {layer} }}", w=w, b=draw(3, seed=9), row=draw(1, 3, seed=8), **norm(c)
    )
    shape = [d.dim_value or 2 for d in model.graph.input[0].type.tensor_type.shape.dim]
    assert len(unchanged(model, {"x": draw(*shape)}, rewrites=["fuse_batch_norm"], atol=1e-4).nodes) == 1
    assert len(unchanged(model, {"x": draw(*shape)}, keep=["h"], atol=1e-4).nodes) == 2


@pytest.mark.parametrize(
    "body",
    [
        "h = BatchNormalization(x, s, t, m, v)\n y = Conv<pads=[1,1,1,1]>(h, w)",
        'h = BatchNormalization(x, s, t, m, v)\n y = Conv<auto_pad="SAME_UPPER">(h, w)',
        "h = BatchNormalization(x, s, t, m, v)\n c = Conv<pads=[1,1,1,1]>(h, w)\n y = Add(c, h)",
        "c = Conv<pads=[1,1,1,1]>(x, w)\n h = BatchNormalization(c, s, t, m, v)\n y = Add(c, h)",
        "h = BatchNormalization(x, s, t, m, v)\n y = ConvTranspose<pads=[1,1,1,1]>(h, w)",
        "c = Conv<pads=[1,1,1,1]>(x, w)\n r = Relu(c)\n y = BatchNormalization(r, s, t, m, v)",
    ],
    ids=["padded", "same", "two users behind", "two users before", "transposed", "relu between"],
)
def test_leaves_alone(body):
    model = parse(f"g (float[N,4,5,5] x) => (float[N,4,5,5] y) {{ {body} }}", w=draw(4, 4, 3, 3), **norm(4))
    assert "BatchNormalization" in kinds(unchanged(model, {"x": draw(2, 4, 5, 5)}, atol=1e-4))


@pytest.mark.parametrize("bias", [draw(2, 4), draw(2, 1)])
def test_a_gemm_whose_third_input_is_no_plain_bias(bias):
    behind = parse("g (float[2,4] x) => (float[2,4] y) { h = Gemm(x, w, b)\n y = BatchNormalization(h, s, t, m, v) }", w=draw(4, 4), b=bias, **norm(4))
    before = parse("g (float[2,4] z) => (float[2,4] y) { x = BatchNormalization(z, s, t, m, v)\n y = Gemm(x, w, b) }", w=draw(4, 4), b=bias, **norm(4))
    assert len(unchanged(behind, {"x": draw(2, 4)}, atol=1e-4).nodes) == 2
    assert len(unchanged(before, {"z": draw(2, 4)}, atol=1e-4).nodes) == 2


def test_a_weight_that_two_layers_share_changes_for_one():
    model = parse(
        "g (float[N,4] x) => (float[N,4] y) { a = Gemm(x, w)\n h = BatchNormalization(a, s, t, m, v)\n r = Relu(h)\n y = Gemm(r, w) }", w=draw(4, 4), **norm(4)
    )
    assert kinds(unchanged(model, {"x": draw(2, 4)}, atol=1e-4)) == ["Gemm", "Relu", "Gemm"]


def test_the_source_stays_as_it_was():
    model = parse("g (float[N,4] x) => (float[N,4] y) { a = Gemm(x, w)\n y = BatchNormalization(a, s, t, m, v) }", w=draw(4, 4), **norm(4))
    loaded = onnxplain.load(model)
    assert len(loaded.graph().nodes) == 1
    assert len(loaded.raw.nodes) == 2
    assert len(loaded.graph(frozenset(["a"])).nodes) == 2


@pytest.mark.parametrize("name", ["k", "s"])
def test_a_named_scale_or_shift_stays(name):
    model = parse(
        "g (float[N,4,5,5] x) => (float[N,4,3,3] y) { c = Conv(x, w)\n m = Mul(c, k)\n y = Add(m, s) }", w=draw(4, 4, 3, 3), k=draw(4, 1, 1), s=draw(4, 1, 1)
    )
    assert kinds(unchanged(model, {"x": draw(2, 4, 5, 5)}, rewrites=["batch_norm"], keep=[name])) == ["Conv", "Mul", "Add"]


FLAT = "u = Unsqueeze(x, two)\n c = Conv(u, w)\n q = Squeeze(c, two)\n"
LAST = "c = Conv(x, w)\n q = Transpose<perm=[0,2,3,1]>(c)\n"
SPELLED = {
    "Keras' Conv1D": ("float[N,2,6] x", f"{FLAT} b = Add(q, col)\n p = Mul(b, k)\n y = Add(p, col)", draw(4, 2, 1, 3)),
    "behind a Squeeze": ("float[N,2,6] x", f"{FLAT} y = BatchNormalization(q, s, t, m, v)", draw(4, 2, 1, 3)),
    "channels last": ("float[N,2,5,5] x", f"{LAST} p = Mul(q, s)\n y = Add(t, p)", draw(4, 2, 3, 3)),
    "Flax": ("float[N,2,5,5] x", f"{LAST} d = Sub(q, m)\n p = Mul(d, s)\n y = Add(p, t)", draw(4, 2, 3, 3)),
    "four steps": ("float[N,3] x", "c = Gemm(x, w)\n d = Sub(c, m)\n e = Div(d, v)\n p = Mul(e, s)\n y = Add(p, t)", draw(3, 4)),
}


@pytest.mark.parametrize("case", SPELLED)
def test_spelled_out_behind_a_linear_layer(case):
    x, body, w = SPELLED[case]
    given = {"two": np.array([2]), "col": draw(4, 1, seed=7), "k": draw(4, 1, seed=8)}
    y = f"float[{'abcd'[0]},{','.join('bcd'[: x.count(',')])}] y"
    model = parse(f"g ({x}) => ({y}) {{ {body} }}", w=w, **{n: v for n, v in given.items() if n in body}, **norm(4))
    shape = [d.dim_value or 2 for d in model.graph.input[0].type.tensor_type.shape.dim]
    assert not {"BatchNormalization", "Mul", "Add", "Sub", "Div"} & set(kinds(unchanged(model, {"x": draw(*shape)}, atol=1e-4)))
    graph, _ = rewritten(model, fuse=False)
    assert kinds(graph).count("BatchNormalization") == 1
    assert not {"Mul", "Add", "Sub", "Div"} & set(kinds(graph))


@pytest.mark.parametrize("before", ["h = Relu(x)", "h = MaxPool<kernel_shape=[1,1]>(x)", "h = Identity(x)"])
def test_spelled_out_behind_anything_else(before):
    model = parse(f"g (float[N,4,5,5] x) => (float[N,4,5,5] y) {{ {before}\n m = Mul(h, k)\n y = Add(m, s) }}", k=draw(4, 1, 1), s=draw(4, 1, 1))
    assert kinds(unchanged(model, {"x": draw(2, 4, 5, 5)}))[-1] == "BatchNormalization"


@pytest.mark.parametrize(
    ("body", "scale", "shift"),
    [
        ("h = InstanceNormalization(x, k4, k4)\n m = Mul(h, k)\n y = Add(m, s)", draw(4, 1, 1), draw(4, 1, 1)),
        ("h = Relu(x)\n m = Mul(h, k)\n y = Add(m, s)", draw(1, 1, 5), draw(1, 1, 5)),
        ("h = Relu(x)\n m = Mul(h, k)\n y = Add(m, s)", draw(1), draw(1)),
        ("h = Relu(x)\n m = Mul(h, k)\n y = Add(m, h)", draw(4, 1, 1), draw(4, 1, 1)),
        ("h = Relu(x)\n y = Mul(h, k)", draw(4, 1, 1), draw(4, 1, 1)),
    ],
    ids=["a norm's own", "along another axis", "numbers", "no constant", "no shift"],
)
def test_other_products_and_sums_stay(body, scale, shift):
    given = {n: v for n, v in {"k": scale, "s": shift, "k4": draw(4)}.items() if f"{n})" in body or f"{n}," in body}
    model = parse(f"g (float[N,4,5,5] x) => (float[N,4,5,5] y) {{ {body} }}", **given)
    assert "BatchNormalization" not in kinds(unchanged(model, {"x": draw(2, 4, 5, 5)}))


def test_integers_are_not_normalised():
    model = parse("g (int32[N,4] x) => (int32[N,4] y) { h = Mul(x, k)\n y = Add(h, k) }", k=np.arange(4, dtype=np.int32))
    assert kinds(rewritten(model)[0]) == ["Mul", "Add"]
