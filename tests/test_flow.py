"""What lies on the way from the attributed tensors to the score, its kinds, and its signs."""

from __future__ import annotations

import numpy as np
import pytest
from networks import Net, build
from onnx import TensorProto, helper, numpy_helper

import onnxplain
from onnxplain.question import Question


def flow(net, wrt=None, output=None, **shapes):
    return Question.ask(onnxplain.load(net.model(**shapes), fuse=False), output, wrt).flow


def outputs(nodes):
    return [n.outputs[0] for n in nodes]


def test_only_what_leads_to_the_score_is_on_the_way():
    n = Net()
    h = n.conv("x", 3, 4)
    n.add("Sigmoid", h)  # leads nowhere
    size = n.add("Shape", h)  # carries no derivative
    batch = n.add("Slice", size, n.array([0], np.int64), n.array([1], np.int64))
    flat = n.add("Reshape", n.add("Relu", h), n.add("Concat", batch, n.array([-1], np.int64), axis=0))
    n.add("Gemm", flat, n.weight(5, 256), name="y", transB=1)
    f = flow(n)
    assert [m.op_type for m in f.nodes] == ["Conv", "Relu", "Reshape", "Gemm"]
    assert outputs(f.linear) == ["conv0", "y"]
    assert size not in f.active


def test_inner_tensors_cut_the_way_short():
    n = Net()
    a = n.conv("x", 3, 4)
    b = n.conv(n.add("Relu", a), 4, 4)
    n.head(b, 256)
    assert outputs(flow(n, wrt="relu1").nodes) == ["conv2", "flatten3", "y"]
    assert outputs(flow(n, output="conv2").nodes) == ["conv0", "relu1", "conv2"]


def test_an_operand_that_depends_on_the_input_is_no_constant_whoever_is_attributed_to():
    n = Net()
    n.shape = ["N", 4]
    a = n.add("Tanh", "x")
    n.add("Mul", n.add("Add", n.add("Relu", a), a), a, name="y")
    f = flow(n, output="y", wrt="relu1", out_shape=None)
    assert [(node.op_type, f.kind(node)) for node in f.nodes] == [("Add", "sum"), ("Mul", "product")]
    assert "tanh0" in f.active


def kinds(op_type, *operands, shape=("N", 4), weights=(), **attributes):
    """The kind of one node; operands are "x", arrays, or "h", another tensor that depends on x."""
    n = Net()
    n.shape = list(shape)
    other = n.add("Tanh", "x")
    names = [{"x": "x", "h": other}[v] if isinstance(v, str) else n.array(v, v.dtype) for v in operands]
    n.add(op_type, *names, name="y", **attributes)
    f = flow(n, output="y", out_shape=None)
    return f.kind(f.nodes[-1])


E = lambda *s: np.ones(s, np.float32)
KINDS = [
    ("MatMul", ("x", E(4, 4)), {}, "linear"),
    ("MatMul", (E(3, 1), "x"), {"shape": ("N", 1, 4)}, "linear"),
    ("MatMul", ("x", "h"), {"shape": ("N", 4, 4)}, "product"),
    ("Einsum", ("x", E(4, 2)), {"equation": "bi,io->bo"}, "linear"),
    ("Einsum", ("x", "h"), {"equation": "bi,bi->b"}, "product"),
    ("Einsum", ("x", E(4, 2), E(2, 2)), {"equation": "bi,io,op->bp"}, None),
    ("Gemm", ("x", E(4, 4), E(4)), {}, "linear"),
    ("Add", ("x", "h"), {}, "sum"),
    ("Add", ("x", E(4)), {}, None),
    ("Sub", ("h", "x"), {}, "sum"),
    ("Mean", ("x", "h", "x"), {}, "sum"),
    ("Mul", ("x", "h"), {}, "product"),
    ("Mul", (E(4), "x"), {}, None),
    ("Div", ("x", E(4)), {}, None),
    ("Softmax", ("x",), {}, "softmax"),
    ("Gelu", ("x",), {}, "activation"),
    ("GlobalAveragePool", ("x",), {"shape": ("N", 2, 3, 3)}, "avg_pool"),
    ("AveragePool", ("x",), {"shape": ("N", 2, 3, 3), "kernel_shape": [2, 2]}, "avg_pool"),
    ("ReduceMean", ("x", np.array([2, 3])), {"shape": ("N", 2, 3, 3)}, "avg_pool"),
    ("ReduceMean", ("x", np.array([-1, -2])), {"shape": ("N", 2, 3, 3)}, "avg_pool"),
    ("ReduceMean", ("x", np.array([1, 2])), {"shape": ("N", 3, 3, 2)}, "avg_pool"),
    ("ReduceMean", ("x", np.array([2])), {"shape": ("N", 2, 3)}, "avg_pool"),
    ("ReduceMean", ("x", np.array([1])), {"shape": ("N", 2, 3)}, "reduction"),
    ("ReduceMean", ("x", np.array([1])), {"shape": ("N", 2, 3, 3)}, "reduction"),
    ("ReduceMean", ("x", np.array([1])), {}, "reduction"),
    ("ReduceMax", ("x", np.array([1])), {}, "selection"),
    ("Concat", ("x", "h"), {"axis": 1}, "movement"),
]


@pytest.mark.parametrize(("op_type", "operands", "how", "wanted"), KINDS)
def test_kinds(op_type, operands, how, wanted):
    assert kinds(op_type, *operands, **how) == wanted


def test_a_mean_that_is_subtracted_normalises():
    n = Net()
    mean = n.add("ReduceMean", "x", n.array([2, 3], np.int64))
    n.add("Sub", "x", mean, name="y")
    f = flow(n, out_shape=None)
    assert f.kind(f.nodes[0]) == "reduction"


# ---- signs ----


def signs(*nodes, wrt=None):
    """Which of the outputs of a chain of nodes are known not to be negative."""
    n, h, made = Net(), "x", []
    for op_type, *rest in nodes:
        attributes = rest[-1] if rest and isinstance(rest[-1], dict) else {}
        h = n.add(op_type, h, *(n.array(v, v.dtype) for v in rest if not isinstance(v, dict)), **attributes)
        made.append(h)
    n.add("Identity", h, name="y")
    f = flow(n, wrt=made[wrt] if wrt is not None else None, out_shape=None)
    return [v in f.nonnegative for v in made]


POOL = {"kernel_shape": [2, 2]}
SIGNS = [
    ([("Relu",), ("MaxPool", POOL), ("AveragePool", POOL), ("GlobalAveragePool",), ("Flatten",)], [True] * 5),
    ([("MaxPool", POOL), ("Relu",)], [False, True]),
    ([("Relu",), ("Conv", np.ones((2, 3, 1, 1), np.float32)), ("Sigmoid",)], [True, False, True]),
    ([("Clip", np.float32(0), np.float32(6)), ("Transpose", {"perm": [0, 2, 3, 1]})], [True, True]),
    ([("Clip", np.float32(-1), np.float32(6))], [False]),
    ([("Relu",), ("Mul", np.float32(2)), ("Add", np.float32(1)), ("Add", np.float32(-1))], [True, True, True, False]),
    ([("Relu",), ("Neg",), ("Abs",)], [True, False, True]),
    ([("Relu",), ("Sub", np.float32(1))], [True, False]),
    ([("LeakyRelu",), ("Softplus",), ("Elu",)], [False, True, False]),
    ([("ThresholdedRelu", {"alpha": -1.0})], [False]),
    ([("Softmax",), ("ReduceMean", np.array([2, 3]))], [True, True]),
    ([("Relu",), ("Pad", np.array([0, 0, 1, 1, 0, 0, 1, 1]))], [True, True]),
    ([("Relu",), ("Pad", np.array([0, 0, 1, 1, 0, 0, 1, 1]), np.float32(-1))], [True, False]),
    ([("HardSwish",), ("Exp",), ("Log",)], [False, True, False]),
]


@pytest.mark.parametrize(("nodes", "wanted"), SIGNS)
def test_what_cannot_be_negative(nodes, wanted):
    assert signs(*nodes) == wanted


def test_attributed_tensors_may_be_moved_anywhere():
    assert signs(("Relu",), ("MaxPool", POOL), wrt=0) == [False, False]
    assert signs(("Relu",), ("MaxPool", POOL), wrt=1) == [True, False]


def test_concatenations_and_sums_need_all():
    n = Net()
    a, b = n.add("Relu", "x"), n.add("Sigmoid", "x")
    both, mixed = n.add("Concat", a, b, axis=1), n.add("Concat", a, "x", axis=1)
    total, other = n.add("Add", a, b), n.add("Add", b, "x")
    n.add("Concat", both, mixed, total, other, name="y", axis=1)
    known = flow(n, out_shape=None).nonnegative
    assert {both, total} <= known
    assert not {mixed, other} & known


def test_claims_hold_on_random_inputs():
    """Every value that is said not to be negative is not, in all families."""
    import onnxruntime as ort

    x = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)
    for family in ("vgg", "resnet", "densenet", "inception", "mobilenet"):
        model = build(family)
        known = Question.ask(onnxplain.load(model, fuse=False)).flow.nonnegative
        made = [n.output[0] for n in model.graph.node if n.output[0] in known]
        assert made
        model.graph.output.extend(helper.make_tensor_value_info(v, TensorProto.FLOAT, None) for v in made if v != "y")
        got = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(made, {"x": x})
        assert min(v.min() for v in got) >= 0


def test_weights_are_signed_too():
    n = Net()
    n.add("Mul", n.add("Relu", "x"), n.array([[[[1.0]], [[-1.0]], [[1.0]]]]), name="y")
    model = n.model(out_shape=None)
    assert any((numpy_helper.to_array(t) < 0).any() for t in model.graph.initializer)
    assert "y" not in Question.ask(onnxplain.load(model)).flow.nonnegative


def test_gates_are_seen_through_what_keeps_values():
    n = Net()
    gate = n.add("Reshape", n.add("Softmax", "x"), n.array([0, -1], np.int64))
    n.add("Mul", gate, n.add("Flatten", "x"), name="y")
    f = flow(n, out_shape=None)
    assert f.is_gate(gate)
    assert not f.is_gate("x")
    assert not f.is_gate("flatten2")
