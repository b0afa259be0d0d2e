"""Writing graphs as formulas."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from helpers import parse
from onnx import TensorProto, helper

import onnxplain
from onnxplain.session import Session
from onnxplain.tape import IR_VERSION, OPSET, SMALL, Tape, Type, op


@pytest.fixture
def tape():
    return Tape()


def x_of(tape, shape=("N", 3), dtype=np.float32, name="x"):
    return tape.input(name, Type.tensor(dtype, shape))


def compute(tape, y, **feeds):
    return Session(tape.build({"y": y}), ["CPUExecutionProvider"]).run(feeds)["y"]


def test_operators_write_nodes(tape):
    x = x_of(tape)
    v = np.array([[1.0, -2.0, 0.5]], np.float32)
    for y, expected in (
        (2 * x + 1, 2 * v + 1),
        (1 - x / 4, 1 - v / 4),
        (1 / x, 1 / v),
        (x**2 - -x, v**2 + v),
        (np.float64(3) * x, 3 * v),
        (np.ones(3) - x, 1 - v),
        (op.Where((x > 0) & ~(x >= 1) | (x < -1), x, 0.0), np.where(((v > 0) & ~(v >= 1)) | (v < -1), v, 0)),
        (x @ np.eye(3), v),
        (op.ReduceSum(x, [1], keepdims=0), v.sum(1)),
        (op.Reshape(x, [-1]), v.ravel()),
    ):
        got = compute(tape, y, x=v)
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, expected)


def test_constants_take_the_dtype_of_what_they_meet(tape):
    for dtype in (np.float16, np.float64):
        x = x_of(tape, dtype=dtype, name=np.dtype(dtype).name)
        assert (x * 2).dtype == (x * 0.5).dtype == (x + np.ones(3, np.float32)).dtype == dtype
    i = x_of(tape, dtype=np.int64, name="i")
    assert (i + 1).dtype == np.int64
    assert op.Gather(x, np.int64(0), axis=1).dtype == np.float64


def test_an_empty_list_is_no_axes_and_an_empty_array_keeps_its_dtype(tape):
    x = x_of(tape)
    assert compute(tape, op.ReduceSum(x, [], keepdims=0, noop_with_empty_axes=1), x=np.ones((2, 3), np.float32)).shape == (2, 3)
    assert tape.constant(np.zeros((0, 2), np.float32)).dtype == np.float32
    assert tape.constant([], like=x).dtype == np.int64


def test_equal_expressions_are_one_node(tape):
    x = x_of(tape)
    assert op.Relu(x + 1) is op.Relu(x + 1)
    assert op.Softmax(x, axis=1) is not op.Softmax(x, axis=0)
    a, b = op.Split(x, outputs=2, axis=1, num_outputs=2)
    assert (a, b) == op.Split(x, outputs=2, axis=1, num_outputs=2)
    assert len([n for n in tape.nodes if n.op_type == "Relu"]) == 1


def test_a_mistake_raises_on_the_line_that_makes_it(tape):
    x = x_of(tape)
    with pytest.raises(Exception, match=r"(?i)incompatible|dimension|shape"):
        x @ np.ones((4, 2))
    with pytest.raises(TypeError, match="no value while"):
        bool(x > 0)


def test_types_are_inferred(tape):
    x = x_of(tape, ("N", 3, None))
    assert x.rank == 3
    assert (x * x).shape == ("N", 3, None)
    assert op.Transpose(x, perm=[1, 0, 2]).shape == (3, "N", None)
    assert not x.is_static
    assert str(x.type) == "float32[N, 3, ?]"
    assert op.Reshape(x, np.array([-1, 6])).shape[1] == 6


def test_weights_go_by_reference(tape):
    big = np.arange(SMALL + 1, dtype=np.float32)
    x = x_of(tape, (SMALL + 1,))
    w = tape.weight("w", big)
    assert tape.weight("again", big) is w
    small = tape.weight("small", np.ones(2, np.float32))
    assert small.value is not None
    emitted = tape.build({"y": x * w})
    assert emitted.array("w") is big
    assert len(emitted.proto.SerializeToString()) < 1000
    whole = emitted.to_proto()
    onnx.checker.check_model(whole, full_check=True)
    np.testing.assert_array_equal(ort.InferenceSession(whole.SerializeToString()).run(None, {"x": np.ones_like(big)})[0], big)


def test_build_leaves_out_what_nobody_reads(tape):
    x = x_of(tape)
    op.Exp(x)
    big = tape.weight("unread", np.zeros(SMALL + 1, np.float32))
    op.Neg(big)
    emitted = tape.build({"y": op.Relu(x), "z": x}, name="some", metadata={"k": "v"})
    proto = emitted.proto
    assert [n.op_type for n in proto.graph.node if n.op_type != "Identity"] == ["Relu"]
    assert not emitted.weights
    assert not proto.graph.initializer
    assert [o.name for o in proto.graph.output] == ["y", "z"]
    assert proto.ir_version == IR_VERSION
    assert [(o.domain, o.version) for o in proto.opset_import] == [("", OPSET)]
    assert {p.key: p.value for p in proto.metadata_props} == {"k": "v"}
    onnx.checker.check_model(proto, full_check=True)


def test_names_are_unique_and_public_ones_kept_free(tape):
    x = x_of(tape)
    tape.reserve(["y"])
    inner = tape.emit("Relu", [x], names=["y"])
    other = tape.emit("Exp", [x], names=["a"])
    twice = tape.emit("Neg", [x], names=["a"])
    assert inner.name != "y"
    assert len({inner.name, other.name, twice.name}) == 3
    proto = tape.build({"y": inner + other + twice}).proto
    onnx.checker.check_model(proto, full_check=True)
    assert [o.name for o in proto.graph.output] == ["y"]


def test_constants_of_every_element_type(tape):
    x = x_of(tape)
    del x
    for dtype in (np.float16, np.float32, np.float64, np.int8, np.int64, np.uint8, np.bool_):
        v = tape.constant(np.ones((2, 1), dtype))
        assert v.dtype == dtype
        assert v.shape == (2, 1)
        assert tape.constant(np.ones((2, 1), dtype)) is v
    assert tape.constant(np.ones((1, 2), np.int8)) is not tape.constant(np.ones((2, 1), np.int8))


def test_type_of_what_is_no_tensor():
    sequence = helper.make_sequence_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, [2]))
    assert Type.of(sequence).dtype is None
    assert Type.of(onnx.TypeProto()).shape is None
    assert not Type.of(sequence).is_float
    assert Type.of(helper.make_tensor_type_proto(TensorProto.FLOAT, None)).shape is None


def test_shapes_that_contradict_each_other_are_named():
    model = parse("g (float[N,3] x, float[5] k) => (float[N,M] y) { h = Add(x, k)  y = Relu(h) }")
    with pytest.raises(onnxplain.InvalidModelError, match=r"^Add 'h' cannot work on its inputs \('x' is .*\[N, 3\], 'k' is .*\[5\]\): .*Incompatible"):
        onnxplain.vjp(model)
