"""Transposes around channels-last convolutions."""

import numpy as np
import pytest
from helpers import draw, parse, unchanged

TO, FROM = "Transpose<perm=[0,2,3,1]>", "Transpose<perm=[0,3,1,2]>"
X = {"x": draw(2, 3, 4, 5)}


def transposes(model, keep=()):
    return [n.op_type for n in unchanged(model, X, rewrites=["sink_transposes"], keep=keep).nodes].count("Transpose")


@pytest.mark.parametrize(
    "middle",
    [
        "h = Relu(a)",
        "h = Mish(a)",
        "b = Add(a, c)\n h = Relu(b)",
        "b = Mul(c, a)\n h = Sub(b, one)",
        "h = Clip(a, low, high)",
        "h = PRelu(a, c)",
        "h = Add(a, plane)",
        "b = Relu(a)\n e = Tanh(b)\n h = LeakyRelu<alpha=0.3>(e)",
    ],
)
def test_pairs_vanish(middle):
    model = parse(
        f"g (float[N,3,4,5] x) => (float[N,3,4,5] y) {{ a = {TO}(x)\n {middle}\n u = {FROM}(h)\n y = Neg(u) }}",
        c=draw(3), one=draw(1), low=np.float32(-0.5), high=np.float32(0.5), plane=draw(4, 1, 3),
    )  # fmt: skip
    assert transposes(model) == 0
    for keep in ("a", "h"):
        assert transposes(model, keep=[keep]) >= 1
    if "a, c" in middle or "c, a" in middle:
        assert transposes(model, keep=["c"]) >= 1


def test_two_branches_meet():
    model = parse(
        f"g (float[N,3,4,5] x) => (float[N,3,4,5] y) {{ n = Neg(x)\n a = {TO}(x)\n b = {TO}(n)\n s = Mul(a, b)\n h = Relu(s)\n u = {FROM}(h)\n y = Neg(u) }}"
    )
    assert transposes(model) == 0


@pytest.mark.parametrize(
    "middle",
    [
        "h = Softmax<axis=-1>(a)",
        "r = Relu(a)\n s = ReduceMean<keepdims=1>(r, axes)\n h = Add(r, s)",
        "t = Transpose<perm=[0,1,3,2]>(x)\n e = Transpose<perm=[0,3,2,1]>(t)\n z = Reshape(e, same)\n h = Add(a, z)",
    ],
    ids=["softmax", "two users", "another layout"],
)
def test_what_cannot_move_stays(middle):
    model = parse(
        f"g (float[N,3,4,5] x) => (float[N,3,4,5] y) {{ a = {TO}(x)\n {middle}\n u = {FROM}(h)\n y = Neg(u) }}",
        axes=np.array([3]),
        same=np.array([-1, 4, 5, 3]),
    )
    assert transposes(model) >= 1


def test_outputs_of_the_graph_keep_their_layout():
    model = parse(f"g (float[N,3,4,5] x) => (float[N,4,5,3] h, float[N,3,4,5] u) {{ a = {TO}(x)\n h = Relu(a)\n u = {FROM}(h) }}")
    transposes(model)
    same = parse(f"g (float[N,3,4,5] x) => (float[N,3,4,5] u) {{ a = {TO}(x)\n u = {FROM}(a) }}")
    transposes(same)


def test_transposes_that_are_no_inverse_pair():
    model = parse(f"g (float[N,3,4,5] x) => (float[N,5,3,4] y) {{ a = {TO}(x)\n h = Relu(a)\n u = {TO}(h)\n y = Neg(u) }}")
    assert transposes(model) >= 1


def test_transposes_of_unknown_rank_stay():
    text = "g (float[N,4] x, int64[R] s) => (float[N,4] y) { h = Reshape(x, s)\n a = Transpose(h)\n b = Transpose<perm=[1,0]>(a)\n y = Reshape(b, like) }"
    graph = unchanged(parse(text, like=np.array([-1, 4])), {"x": draw(2, 4), "s": np.array([4, 2])}, rewrites=["sink_transposes"])
    assert [n.op_type for n in graph.nodes].count("Transpose") == 2


REDUCED = [
    ("float[N,3] y", "a = Transpose<perm=[0,2,3,1]>(x)\n h = Relu(a)\n y = ReduceMean<keepdims=0>(h, axes)", [1, 2], [2, 3]),
    ("float[N,3] y", "a = Transpose<perm=[0,2,3,1]>(x)\n y = ReduceMax<keepdims=0>(a, axes)", [-2, 1], [2, 3]),
    ("float[N,4,5] y", "a = Transpose<perm=[3,0,1,2]>(x)\n b = Transpose<perm=[1,2,3,0]>(a)\n y = ReduceSum<keepdims=0>(b, axes)", [1], [1]),
    ("float[N,3,4] y", "a = Transpose<perm=[0,1,3,2]>(x)\n y = ReduceSumSquare<keepdims=0>(a, axes)", [2], [3]),
]


@pytest.mark.parametrize(("output", "text", "axes", "expected"), REDUCED)
def test_a_reduction_reads_what_is_not_transposed(output, text, axes, expected):
    model = parse(f"g (float[N,3,4,5] x) => ({output}) {{ {text} }}", axes=np.array(axes))
    graph = unchanged(model, X, rewrites=["sink_transposes"])
    assert "Transpose" not in [n.op_type for n in graph.nodes]
    assert sorted(graph.constants[graph.nodes[-1].inputs[1]].numpy().tolist()) == expected
    kept = unchanged(model, X, rewrites=["sink_transposes"], keep=["axes"])
    assert kept.nodes[-1].inputs[1] == "axes"


@pytest.mark.parametrize(
    ("output", "text"),
    [
        ("float[N,1,1,3] y", "a = Transpose<perm=[0,2,3,1]>(x)\n y = ReduceMean<keepdims=1>(a, axes)"),
        ("float[5,N] y", "a = Transpose<perm=[3,1,2,0]>(x)\n y = ReduceMean<keepdims=0>(a, axes)"),
    ],
    ids=["axes that stay", "another order"],
)
def test_reductions_whose_result_would_differ_stay(output, text):
    model = parse(f"g (float[N,3,4,5] x) => ({output}) {{ {text} }}", axes=np.array([1, 2]))
    assert [n.op_type for n in unchanged(model, X, rewrites=["sink_transposes"]).nodes] == ["Transpose", "ReduceMean"]
