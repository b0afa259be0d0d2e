"""The graph to ask and to write."""

import numpy as np
import pytest
from helpers import cnn, draw, parse, run

import onnxplain
from onnxplain.graph import captured, reads
from onnxplain.session import Session
from onnxplain.tape import Tape

BRANCH = """g (float[N,3] x) => (float[N,3] y) {
    a = Neg(x)
    top = ReduceMax<keepdims=0>(x)
    yes = Less(top, far)
    no = Greater(top, far)
    z = If(yes) <
        then_branch = p () => (float[N,3] o) { i = Mul(a, two)
 o = If(no) <then_branch = pp () => (float[N,3] oo) { oo = Exp(a) }, else_branch = pq () => (float[N,3] oi) { oi = Add(i, a) }> },
        else_branch = q () => (float[N,3] r) { r = Tanh(x) }>
    y = Add(z, x) }"""


@pytest.fixture
def branching():
    return parse(BRANCH, far=np.float32(99), two=np.float32(2))


def test_sizes_are_those_of_what_is_computed():
    model = parse("g (float[N,M,5] x) => (float[N,M,2] y, float[1,2] z) { y = MatMul(x, w) z = Neg(v) }", w=draw(5, 2), v=draw(1, 2))
    assert dict(onnxplain.load(model, rewrites=[]).graph().sizes) == {("N", "M"): 4 * (5 + 2), (): 4 * 2}


def test_nodes_types_and_users():
    graph = onnxplain.load(cnn().model, rewrites=[]).graph()
    assert [n.op_type for n in graph.nodes] == ["Conv", "BatchNormalization", "Relu", "Conv", "Add", "Relu", "MaxPool", "Flatten", "Gemm", "Softmax"]
    conv = graph.producer["c"]
    assert conv.kind == "linear"
    assert conv.attributes["pads"] == [1, 1, 1, 1]
    assert conv.attributes["strides"] == [1, 1]
    assert {str(n) for n in graph.users["r"]} == {"Conv 'd'", "Add 's'"}
    assert graph.types["r"].shape == ("N", 4, 5, 5)
    assert set(graph.inputs) == {"x"}
    assert set(graph.outputs) == {"p"}
    assert graph.constants["w1"].shape.numpy() == (4, 2, 3, 3)


def test_downstream():
    graph = onnxplain.load(cnn().model, rewrites=[]).graph()
    assert graph.downstream(["s"]) == {"s", "q", "m", "v", "y", "p"}
    assert graph.downstream(["s"], through=lambda n: n.op_type == "Relu") == {"s", "q"}


def test_subgraphs_read_what_they_capture(branching):
    graph = onnxplain.load(branching, rewrites=[]).graph()
    node = graph.producer["z"]
    assert set(reads(node)) == {"yes", "a", "x", "two", "no"}
    assert graph.downstream(["a"]) == {"a", "z", "y"}
    then = next(a.g for a in node.proto.attribute if a.name == "then_branch")
    assert set(captured(then)) == {"a", "two", "no"}


def test_a_graph_written_twice_reads_its_own_values(branching):
    """The second copy's subgraphs capture the second copy's values, under the names that they have there."""
    graph = onnxplain.load(branching, rewrites=[]).graph()
    tape = Tape()
    x, other = (tape.input(n, graph.inputs["x"]) for n in ("x", "other"))
    first, second = graph.write(tape, {"x": x}), graph.write(tape, {"x": other}, prefix="again/")
    got = Session(tape.build({"one": first["y"], "two_": second["y"]}), ["CPUExecutionProvider"]).run({"x": draw(2, 3), "other": draw(2, 3, seed=1)})
    np.testing.assert_allclose(got["one"], run(branching, x=draw(2, 3))["y"], atol=1e-6)
    np.testing.assert_allclose(got["two_"], run(branching, x=draw(2, 3, seed=1))["y"], atol=1e-6)
    assert np.abs(got["one"] - got["two_"]).max() > 0.1


def test_given_values_replace_what_makes_them():
    graph = onnxplain.load(cnn().model, rewrites=[]).graph()
    tape = Tape()
    x = tape.input("x", graph.inputs["x"])
    s = tape.input("given", graph.types["s"])
    env = graph.write(tape, {"x": x, "s": s})
    kept = [n.op_type for n in tape.build({"y": env["y"]}).proto.graph.node]
    assert "Conv" not in kept
    assert env["s"] is s
