"""Conditions: which nodes a row means."""

from __future__ import annotations

import numpy as np
import pytest
from networks import Net, build

import onnxplain
from onnxplain.flow import Flow
from onnxplain.question import Question
from onnxplain.rules.conditions import adds_bias, after, all_of, anything, before, by_constant, fed_by_input, first, index, is_a, kind, last, makes, named


def flow(model) -> Flow:
    return Question.ask(onnxplain.load(model)).flow


def two_branches():
    """conv0 and conv1 are fed by the input; then conv5 and the head."""
    n = Net()
    a = n.add("Relu", n.conv("x", 3, 4))
    b = n.conv("x", 3, 4)
    h = n.add("Concat", a, b, axis=1)
    h = n.add("MaxPool", n.add("Relu", n.conv(h, 8, 4)), kernel_shape=[2, 2], strides=[2, 2])
    h = n.add("Mul", n.array(2.0), n.add("Sub", h, n.array(1.0)))
    n.head(h, 64)
    return n.model()


CASES = [
    (is_a("Conv", "Concat"), "conv0 conv2 concat3 conv4"),
    (kind("conv"), "conv0 conv2 conv4"),
    (kind("dense"), "y"),
    (kind("relu"), "relu1 relu5"),
    (kind("selection"), "maxpool6"),
    (kind("movement"), "concat3 flatten9"),
    (named("^conv[02]$"), "conv0 conv2"),
    (makes("relu1", "y"), "relu1 y"),
    (index(1), "conv2"),
    (index(-1), "y"),
    (index(4), ""),
    (index(-5), ""),
    (index(0, 2, -1), "conv0 conv4 y"),
    (first(kind("linear")), "conv0 conv2"),
    (first(kind("dense")), "y"),
    (last(kind("conv")), "conv4"),
    (last(is_a("Relu")), "relu5"),
    (last(kind("linear")), "y"),
    (all_of([kind("linear"), fed_by_input]), "conv0 conv2"),
    (before("Relu"), "conv0 conv4"),
    (after("Relu"), "concat3 maxpool6"),
    (all_of([is_a("Conv"), after("Concat")]), "conv4"),
    (by_constant, "sub7 mul8"),
    (all_of([]), "conv0 relu1 conv2 concat3 conv4 relu5 maxpool6 sub7 mul8 flatten9 y"),
    (anything, "conv0 relu1 conv2 concat3 conv4 relu5 maxpool6 sub7 mul8 flatten9 y"),
]


@pytest.mark.parametrize(("condition", "wanted"), CASES)
def test_conditions(condition, wanted):
    f = flow(two_branches())
    assert " ".join(n.outputs[0] for n in f.nodes if condition(f, n)) == wanted


@pytest.mark.parametrize("between", ["Identity", "Flatten", "Transpose", "Unsqueeze"])
def test_fed_through_what_changes_the_shape(between):
    n = Net()
    n.shape = ["N", 6]
    h = n.add(between, "x", n.array([2], np.int64)) if between == "Unsqueeze" else n.add(between, "x", **({"perm": [0, 1]} if between == "Transpose" else {}))
    h = n.add("Squeeze", h, n.array([2], np.int64)) if between == "Unsqueeze" else h
    h = n.add("Gemm", h, n.weight(4, 6), transB=1)
    n.add("Gemm", h, n.weight(5, 4), name="y", transB=1)
    f = flow(n.model())
    assert [fed_by_input(f, m) for m in f.nodes if m.op_type == "Gemm"] == [True, False]


@pytest.mark.parametrize("between", ["Relu", "Neg", "Pad"])
def test_not_fed_through_anything_else(between):
    n = Net()
    h = n.add("Pad", "x", n.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64)) if between == "Pad" else n.add(between, "x")
    n.head(n.pool("MaxPool", n.conv(h, 3, 4), 4 if between != "Pad" else 5, 4 if between != "Pad" else 5), 16)
    f = flow(n.model())
    assert not fed_by_input(f, next(m for m in f.nodes if m.op_type == "Conv"))


def test_a_constant_behind_the_matrix_is_fed_all_the_same():
    n = Net()
    n.shape = ["N", 4, 3]
    h = n.add("MatMul", n.weight(5, 4), "x")
    n.add("ReduceSum", h, n.array([2], np.int64), name="y", keepdims=0)
    f = flow(n.model())
    assert fed_by_input(f, f.nodes[0])
    assert f.kind(f.nodes[0]) == "linear"


def test_conditions_may_look_at_the_whole_graph():
    f = flow(build("resnet"))
    behind_a_sum = lambda flow, node: any(m.op_type == "Add" for m in flow.nodes[: flow.nodes.index(node)])
    assert [behind_a_sum(f, n) for n in f.linear] == [False] * 3 + [True] * 4


def test_a_bias_is_no_addition():
    """Where the sum has another shape, another reader, or is asked for itself, it stays an addition."""
    n = Net()
    n.shape = ["N", 2, 4]
    a = n.add("Add", n.add("MatMul", "x", n.weight(4, 3)), n.array(np.ones(3)))
    b = n.add("MatMul", a, n.weight(3, 4))
    c = n.add("Add", n.add("Add", b, n.array(np.ones(4))), b)
    n.add("Add", n.add("MatMul", c, n.weight(4, 1)), n.array(np.ones(4)), name="y")
    f = Question.ask(onnxplain.load(n.model(out_shape=None))).flow
    assert [m.outputs[0] for m in f.nodes if adds_bias(f, m)] == [a]
    f = Question.ask(onnxplain.load(n.model(out_shape=None)), "matmul0").flow
    assert f.bias(f.nodes[0]) is None
