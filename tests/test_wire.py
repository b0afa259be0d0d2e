"""What the light parser leaves out is all that is missing."""

import numpy as np
import onnx
import onnx.parser
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from onnxplain import wire
from onnxplain.graph import graphs_of

BIG = numpy_helper.from_array(np.random.default_rng(0).random((60, 70)), "w")
SMALL = numpy_helper.from_array(np.arange(3), "s")


def model() -> onnx.ModelProto:
    """Big and small tensors wherever they can be."""
    m = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["": 17], doc_string: "words">
        g (float[N] x, bool c) => (float[N] y) {
            y = If (c) <then_branch = t () => (float[N] a) { a = Neg (x) }, else_branch = e () => (float[N] b) { b = Abs (x) }>
        }""")
    for graph in graphs_of(m.graph):
        graph.initializer.extend([BIG, SMALL])
    m.graph.node.append(helper.make_node("Constant", [], ["k"], value=BIG))
    m.graph.node.append(helper.make_node("Foo", [], ["l"], value=BIG, other=SMALL, text="t" * 20000, numbers=[1.5] * 5000))
    return m


def restore(light: onnx.ModelProto, left_out: list) -> onnx.ModelProto:
    for graph in graphs_of(light.graph):
        for t in (*graph.initializer, *(a.t for n in graph.node for a in n.attribute if a.HasField("t"))):
            if (index := wire.reference(t)) is not None:
                t.ClearField("external_data")
                t.ClearField("data_location")
                t.raw_data = bytes(left_out[index])
    return light


def test_only_big_raw_data_are_left_out():
    light, left_out = wire.parse(memoryview(model().SerializeToString()))
    assert [len(d) for d in left_out] == [len(BIG.raw_data)] * 5
    assert light.ByteSize() < 50_000
    assert restore(light, left_out) == model()


def test_a_small_model_is_parsed_as_it_is():
    m = helper.make_model(helper.make_graph([], "g", [], [], [SMALL]))
    assert wire.parse(memoryview(m.SerializeToString())) == (m, [])


@settings(deadline=None)
@given(st.data())
def test_any_cut_is_noticed_or_parsed(data):
    """Cut off or damaged bytes raise what callers expect, and nothing else."""
    whole = bytearray(model().SerializeToString())
    cut = whole[: data.draw(st.integers(0, len(whole)))]
    for at in data.draw(st.lists(st.integers(0, max(0, len(cut) - 1)), max_size=3)):
        if cut:
            cut[at] = data.draw(st.integers(0, 255))
    try:
        light, left_out = wire.parse(memoryview(bytes(cut)))
    except (wire.CutOffError, wire.DecodeError):
        return
    assert isinstance(light, onnx.ModelProto)
    assert all(len(d) > wire.BIG for d in left_out)


@pytest.mark.parametrize("value", [0, 1, 127, 128, 300, 2**31, 2**63])
def test_numbers(value):
    assert wire._varint(memoryview(wire._encoded(value)), 0) == (value, len(wire._encoded(value)))
