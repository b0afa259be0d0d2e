"""What the VJPs answer where a function has no one derivative, and where a formula could divide by zero."""

import numpy as np
import onnx
import onnx.parser
import pytest
from harness import Fed, case, session
from helpers import parse

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


@pytest.mark.parametrize("cut", ["Slice (t, none, two, three)", "Gather <axis = 3> (t, none)"])
def test_a_cut_between_two_layouts(cut):
    """ONNX Runtime mistakes the axes of a Pad when it moves a Transpose past it."""
    model = onnx.parser.parse_model(f"""<ir_version: 8, opset_import: ["": 18]> g (float[N, 4, 3, 5] x) => (float[N, M] y)
        <int64[1] none = {{0}}, int64[1] two = {{2}}, int64[1] three = {{3}}> {{
            t = Transpose <perm = [0, 3, 1, 2]> (x)  c = {cut}  u = Transpose <perm = [0, 2, 3, 1]> (c)  y = Flatten (u)
    }}""")
    x = np.ones((2, 4, 3, 5), np.float32)
    columns = 1 if "Gather" in cut else 2
    got = onnxplain.explain(model, x, "gradient", target=np.ones((2, 4 * columns * 5), np.float32)).attribution
    np.testing.assert_array_equal(got, np.broadcast_to((np.arange(3) < columns)[:, None], got.shape))


@pytest.mark.parametrize(
    ("body", "slope"),
    [("y = Sqrt(r)", 0.25), ("y = Pow(r, half)", 0.25), ("q = Mul(r, r)\n s = ReduceSum(q, last)\n y = Sqrt(s)", 1)],
)
def test_an_infinite_slope_where_nothing_comes_through_is_none(body, slope):
    """A ReLU's zero times infinity would be NaN: the standard deviation of equal numbers, a norm of zeros."""
    given = {n: v for n, v in {"half": np.float32(0.5), "last": np.array([1])}.items() if n in body}
    model = parse(f"g (float[N,3] x) => (float[N,k] y) {{ r = Relu(x)\n {body} }}", **given)
    got = onnxplain.explain(model, np.float32([[-1, 0, 4], [-1, -2, -3]]), "gradient", target=np.ones((2, 1 if "last" in given else 3), np.float32))
    np.testing.assert_allclose(got.attribution, [[0, 0, slope], [0, 0, 0]])
