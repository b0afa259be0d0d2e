"""Sessions: providers, weights by reference, errors in one line."""

import numpy as np
import pytest

from onnxplain import InputError, SessionError
from onnxplain.ops.shapes import cast
from onnxplain.session import Session, options
from onnxplain.tape import Tape, Type, op


def emitted(dtype=np.float32, n=3):
    tape = Tape()
    x = tape.input("x", Type.tensor(dtype, ["N", n]))
    w = tape.weight("w", np.arange(n, dtype=dtype))
    return tape.build({"y": op.Relu(x + w), "z": op.Neg(x)})


def test_run():
    session = Session(emitted(), ["CPUExecutionProvider"])
    assert (session.inputs, session.outputs) == (["x"], ["y", "z"])
    x = np.array([[-5, 1, 2]], np.float32)
    got = session.run({"x": x, "ignored": x})
    np.testing.assert_array_equal(got["y"], [[0, 2, 4]])
    assert list(session.run({"x": x}, ["z"])) == ["z"]


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_big_weights_of_any_float_type(dtype):
    got = Session(emitted(dtype, 5000), ["CPUExecutionProvider"]).run({"x": np.zeros((1, 5000), dtype)})["y"]
    np.testing.assert_array_equal(got[0], np.arange(5000, dtype=dtype))


def test_16_bits_turned_and_multiplied():
    """ONNX Runtime's own optimizer ends the process here."""
    tape = Tape()
    x = tape.input("x", Type.tensor(np.float16, ["N", 6, 3]))
    turned = cast(op.Transpose(x * tape.weight("h", np.float16([2])), perm=[1, 0, 2]), np.dtype(np.float32))
    session = Session(tape.build({"y": turned @ tape.weight("w", np.ones((3, 4), np.float32))}), ["CPUExecutionProvider"])
    np.testing.assert_array_equal(session.run({"x": np.ones((2, 6, 3), np.float16)})["y"], np.full((6, 2, 4), 6))


def test_errors_are_one_line(capfd):
    session = Session(emitted(), ["CPUExecutionProvider"])
    with pytest.raises(SessionError) as caught:
        session.run({"x": np.zeros((1, 4), np.float32)})
    assert "\n" not in str(caught.value)
    broken = emitted()
    broken.proto.graph.node[0].op_type = "NoSuchOperator"
    with pytest.raises(SessionError, match="load"):
        Session(broken)


def test_threads_do_not_spin_between_runs():
    """Another session's run, or the caller's own work, has the processor then."""
    assert options().get_session_config_entry("session.force_spinning_stop") == "1"


def test_the_environment_says_how_many_threads(monkeypatch):
    monkeypatch.setenv("ONNXPLAIN_THREADS", "3")
    assert options().intra_op_num_threads == 3
    monkeypatch.delenv("ONNXPLAIN_THREADS")
    assert options().intra_op_num_threads == 0  # ONNX Runtime's choice: a thread for each core
    for wrong in ("0", "two", "-1"):
        monkeypatch.setenv("ONNXPLAIN_THREADS", wrong)
        with pytest.raises(InputError, match=f"ONNXPLAIN_THREADS must be a positive integer, got '{wrong}'"):
            options()
