"""Arithmetic in ONNX Runtime's blocked layout: the same numbers, fewer reorders."""

from __future__ import annotations

from functools import wraps

import numpy as np
import onnx
import pytest
from helpers import draw
from networks import Net
from onnx import helper

import onnxplain
from onnxplain import blocks
from onnxplain.blocks import blocked_arithmetic
from onnxplain.foreign.registry import NCHWC
from onnxplain.optimize import switched_off

IMAGE = ("N", 16, 4, 4)


def divided(channels: int = 16, *, outputs=("y",)) -> onnx.GraphProto:
    """Two images out of blocks, their quotient plus one, and back into blocks for a convolution."""
    nodes = [
        helper.make_node("ReorderOutput", ["a"], ["a_rows"], domain=NCHWC, channels=channels),
        helper.make_node("ReorderOutput", ["b"], ["b_rows"], domain=NCHWC, channels=channels),
        helper.make_node("Div", ["a_rows", "b_rows"], ["q"]),
        helper.make_node("Add", ["q", "one"], ["sum"]),
        helper.make_node("ReorderInput", ["sum"], ["sum_blocks"], domain=NCHWC),
        helper.make_node("Conv", ["sum_blocks", "w"], ["y"], domain=NCHWC),
    ]
    one = helper.make_tensor("one", onnx.TensorProto.FLOAT, [], [1.0])
    value = lambda n: helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, None)
    return helper.make_graph(nodes, "g", [value("a"), value("b"), value("w")], [value(o) for o in outputs], [one])


def operators(graph: onnx.GraphProto) -> list[str]:
    return [n.op_type for n in graph.node]


def test_reorders_that_cancel_go():
    graph = divided()
    blocked_arithmetic(graph, dict.fromkeys(["a_rows", "b_rows", "q", "sum"], IMAGE))
    assert operators(graph) == ["Div", "Add", "Conv"]
    quotient, plus, convolution = graph.node
    assert list(quotient.input) == ["a", "b"]
    assert list(plus.input) == [*quotient.output, "one"]
    assert list(convolution.input) == [*plus.output, "w"]


@pytest.mark.parametrize("shapes", [{"b_rows": ("N", 16, 1, 1)}, {"b_rows": None}], ids=["broadcast", "unknown"])
def test_what_is_broadcast_stays_in_rows(shapes):
    graph = divided()
    known = dict.fromkeys(["a_rows", "b_rows", "q", "sum"], IMAGE) | shapes
    blocked_arithmetic(graph, {n: s for n, s in known.items() if s})
    assert operators(graph) == operators(divided())


def test_blocks_that_channels_do_not_fill_stay_in_rows():
    """What fills them up is zero, and zero by zero is no number."""
    graph = divided(channels=24)
    blocked_arithmetic(graph, dict.fromkeys(["a_rows", "b_rows", "q", "sum"], ("N", 24, 4, 4)))
    assert operators(graph) == operators(divided())


def test_what_is_read_in_rows_too_is_put_there():
    graph = divided(outputs=("y", "q"))
    blocked_arithmetic(graph, dict.fromkeys(["a_rows", "b_rows", "q", "sum"], IMAGE))
    assert operators(graph).count("ReorderOutput") == 1
    assert next(n for n in graph.node if n.op_type == "ReorderOutput").output[0] == "q"


def test_what_a_body_reads_is_put_in_rows():
    graph = divided()
    body = helper.make_graph([helper.make_node("Neg", ["sum"], ["inner"])], "body", [], [helper.make_tensor_value_info("inner", onnx.TensorProto.FLOAT, None)])
    graph.node.append(helper.make_node("If", ["condition"], ["z"], then_branch=body, else_branch=body))
    graph.output.append(helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, None))
    blocked_arithmetic(graph, dict.fromkeys(["a_rows", "b_rows", "q", "sum"], IMAGE))
    assert [list(n.output) for n in graph.node if n.op_type == "ReorderOutput"] == [["sum"]]


def residual(channels: int = 16) -> onnx.ModelProto:
    n = Net(seed=7)
    h = n.relu_conv("x", 3, channels)
    h = n.add("Relu", n.add("Add", n.relu_conv(h, channels, channels), h))
    n.head(h, channels * 64)
    return n.model()


@pytest.fixture
def counted(monkeypatch) -> list[tuple[int, int]]:
    """The numbers of reorders before and after, for each session."""
    found, reorders = [], lambda g: sum(n.op_type.startswith("Reorder") for n in g.node)

    @wraps(blocked_arithmetic)
    def counting(graph, shapes):
        before = reorders(graph)
        blocked_arithmetic(graph, shapes)
        found.append((before, reorders(graph)))

    monkeypatch.setattr(blocks, "blocked_arithmetic", counting)
    monkeypatch.setattr(blocks, "FEW", 0)
    return found


@pytest.mark.parametrize("composite", ["epsilon", "epsilon_plus", "epsilon_alpha2_beta1"])
def test_lrp_says_the_same_with_fewer_reorders(composite, counted):
    x = draw(3, 3, 8, 8)
    got = onnxplain.explain(residual(), x, "lrp", composite=composite).attribution
    ((before, after),) = counted
    assert after < before or not before  # not every processor has blocks
    with switched_off("blocked_arithmetic"):
        np.testing.assert_array_equal(got, onnxplain.explain(residual(), x, "lrp", composite=composite).attribution)
    assert len(counted) == 1


def test_gradients_divide_nothing_and_are_made_as_ever(counted):
    onnxplain.explain(residual(), draw(2, 3, 8, 8), "gradient")
    assert not counted


def test_small_images_are_not_worth_it(counted, monkeypatch):
    monkeypatch.setattr(blocks, "FEW", 1 << 16)
    onnxplain.explain(residual(), draw(2, 3, 8, 8), "lrp")
    assert not counted


def test_where_nothing_can_be_written_sessions_are_as_they_come(counted, monkeypatch):
    x = draw(2, 3, 8, 8)
    expected = onnxplain.explain(residual(), x, "lrp").attribution
    asked = []

    def nowhere(**settings):
        asked.append(settings)
        raise FileNotFoundError("no usable temporary directory")

    monkeypatch.setattr(blocks, "TemporaryDirectory", nowhere)
    np.testing.assert_array_equal(onnxplain.explain(residual(), x, "lrp").attribution, expected)
    assert len(asked) == len(counted) == 1
