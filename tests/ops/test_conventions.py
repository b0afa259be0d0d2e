"""What the VJPs answer where a function has no one derivative, and where a formula could divide by zero."""

import numpy as np
import onnx
import pytest
from harness import Fed, case, session

import onnxplain

TWICE = np.array([0, 0, 1])


@pytest.mark.parametrize(
    ("c", "want"),
    [
        (case("Relu", Fed(np.array([-1, 0, 2]))), [0, 0, 1]),
        (case("Abs", Fed(np.array([-1, 0, 2]))), [-1, 0, 1]),
        (case("Clip", Fed(np.array([-2, -1, 0, 1, 2])), np.array(-1.0), np.array(1.0)), [0, 0, 1, 0, 0]),
        (case("HardSwish", Fed(np.array([-3, 3]))), [0, 1]),
        (case("Max", Fed(np.array([1, 2, 3])), np.array([2.0])), [0, 0.5, 1]),
        (case("MaxPool", Fed(np.array([[[1, 3, 3, 2]]])), kernel_shape=[4]), [[[0, 1, 0, 0]]]),
        (case("GlobalMaxPool", Fed(np.array([[[1, 3, 3]]]))), [[[0, 0.5, 0.5]]]),
        (case("ReduceMax", Fed(np.array([1, 3, 3])), keepdims=0), [0, 0.5, 0.5]),
        (case("ReduceProd", Fed(np.array([2, 0, 3])), keepdims=0), [0, 6, 0]),
        (case("ReduceProd", Fed(np.array([2, 0, 0])), keepdims=0), [0, 0, 0]),
        (case("ReduceL2", Fed(np.array([0, 0])), keepdims=0), [0, 0]),
        (case("Pow", Fed(np.array([0, 2])), np.array([0.0, 3.0])), [0, 12]),
        (case("Unique", Fed(np.array([5, 2, 5, 2, 1]))), [1, 1, 0, 0, 1]),
        (case("Unique", Fed(np.array([[1, 2], [3, 4], [1, 2]])), axis=0), [[1, 1], [1, 1], [0, 0]]),
        (case("Det", Fed(np.array([[1, 2], [2, 4]]))), [[4, -2], [-2, 1]]),
        (case("ScatterElements", Fed(np.array([2, 5])), TWICE, np.array([2.0, 1, 9]), reduction="max"), [0.5, 0]),
        (case("ScatterElements", np.array([2.0, 5]), TWICE, Fed(np.array([2, 1, 9])), reduction="max"), [0.5, 0, 1]),
        (case("ScatterElements", np.array([2.0, 5]), TWICE, Fed(np.array([0, 3, 4])), reduction="mul"), [6, 0, 5]),
        (case("ScatterElements", np.array([2.0, 5]), TWICE, Fed(np.array([0, 0, 0])), reduction="mul"), [0, 0, 5]),
        (case("ScatterElements", Fed(np.array([0, 5])), TWICE, np.array([2.0, 3, 4]), reduction="mul"), [6, 4]),
    ],
    ids=str,
)
def test_convention(c, want):
    k = next(k for k, v in enumerate(c.inputs) if isinstance(v, Fed))
    x = c.inputs[k].value.astype(np.float32)
    model = case(c.op_type, *(Fed(x) if i == k else v for i, v in enumerate(c.inputs)), **c.attributes).model()
    y = session(model).run(None, {f"x{k}": x})[0]
    model.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("y0", onnx.TensorProto.FLOAT, y.shape))
    got = session(onnxplain.vjp(model)).run([f"grad_x{k}"], {f"x{k}": x, "grad_y0": np.ones_like(y)})[0]
    np.testing.assert_allclose(got, np.array(want, np.float32), rtol=1e-6)
