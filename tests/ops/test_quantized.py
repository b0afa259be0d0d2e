"""The saturating straight-through estimate, written out in NumPy."""

import numpy as np
import onnx
import pytest
from check_vjp import session
from onnx import helper, numpy_helper

import onnxplain

f32 = np.float32
rng = np.random.default_rng(0)


def pulled(nodes, constants, x, shape, *, symbolic=True, wrt=("x",)):
    """y and the cotangents of `wrt` for a random one of y."""
    info = lambda n, s: helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, s)
    dims = [f"d{k}" for k in range(x.ndim)] if symbolic else x.shape
    weights = [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()]
    graph = helper.make_graph(nodes, "quantised", [info("x", dims)], [info("y", [None] * len(shape))], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    g = np.random.default_rng(1).standard_normal(shape).astype(f32)
    built = onnxplain.vjp(model, wrt=list(wrt))
    return [g, *session(built).run(["y", *(f"grad_{n}" for n in wrt)], {"x": x, "grad_y": g})]


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16])
@pytest.mark.parametrize("scales", [(), (3,), (2, 2, 4)], ids=["tensor", "axis", "blocks"])
@pytest.mark.parametrize("symbolic", [False, True])
def test_quantise_and_dequantise(dtype, scales, symbolic):
    x = (3 * rng.standard_normal((2, 3, 4))).astype(f32)
    scale = rng.uniform(0.5, 1.5, scales).astype(f32) * f32(4 / (np.iinfo(dtype).max - np.iinfo(dtype).min))
    zero = np.full(scales, 3, dtype)
    how = {"axis": 1} | ({"block_size": 2} if len(scales) == 3 else {})
    spread = {0: lambda v: v, 1: lambda v: v[:, None], 3: lambda v: np.repeat(v, 2, axis=1)[:, :3]}[len(scales)]
    ends = (np.array([np.iinfo(dtype).max, np.iinfo(dtype).min]) - 3.0)[:, None] + [0.4, 0.6, -0.4, -0.6]
    x[:, 0] = ends * np.broadcast_to(spread(scale), x.shape)[:, 0]  # what just fits, and what just does not
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], **how),
        helper.make_node("Reshape", ["q", "same"], ["r"]),
        helper.make_node("DequantizeLinear", ["r", "s", "z"], ["y"], **how),
    ]
    g, y, dx = pulled(nodes, {"s": scale, "z": zero, "same": np.array([0, 0, -1])}, x, x.shape, symbolic=symbolic)
    s, low, high = spread(scale), np.iinfo(dtype).min - 3, np.iinfo(dtype).max - 3
    code = np.round(x / s)
    np.testing.assert_allclose(y, np.clip(code, low, high) * s, rtol=1e-4, atol=1e-5)
    inside = (code >= low) & (code <= high)
    assert 0.1 < inside.mean() < 0.95
    np.testing.assert_allclose(dx, g * inside, rtol=1e-5)


def test_the_default_grid_is_uint8():
    x = np.array([-0.6, -0.4, 0.3, 25.4, 25.6], f32)
    nodes = [helper.make_node("QuantizeLinear", ["x", "s"], ["q"]), helper.make_node("DequantizeLinear", ["q", "s"], ["y"])]
    g, _, dx = pulled(nodes, {"s": f32(0.1)}, x, x.shape)
    np.testing.assert_allclose(dx, g * [0, 0, 1, 1, 0], rtol=1e-5)


def test_integers_pass_pooling_and_concatenation():
    x = rng.uniform(-1, 1, (1, 2, 4, 4)).astype(f32)
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("MaxPool", ["q"], ["m"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Concat", ["m", "m"], ["c"], axis=1),
        helper.make_node("DequantizeLinear", ["c", "s", "z"], ["y"]),
    ]
    g, _, dx = pulled(nodes, {"s": f32(0.01), "z": np.int8(0)}, x, (1, 4, 2, 2), symbolic=False)
    blocks = x.reshape(1, 2, 2, 2, 2, 2).transpose(0, 1, 2, 4, 3, 5).reshape(1, 2, 2, 2, 4)
    blocks = np.round(blocks / f32(0.01))
    first = np.eye(4)[blocks.argmax(-1)]
    want = (first * (g[:, :2] + g[:, 2:])[..., None]).reshape(1, 2, 2, 2, 2, 2).transpose(0, 1, 2, 4, 3, 5).reshape(x.shape)
    np.testing.assert_allclose(dx, want, rtol=1e-5)


def test_a_grid_written_out_is_the_same_grid():
    """Scaled, rounded, clipped and scaled back, as fake quantisation is exported."""
    x = np.array([-1.6, -1.4, 0.26, 0.9, 1.4, 1.6], f32)
    nodes = [
        helper.make_node("Div", ["x", "s"], ["v"]),
        helper.make_node("Round", ["v"], ["r"]),
        helper.make_node("Clip", ["r", "low", "high"], ["c"]),
        helper.make_node("Mul", ["c", "s"], ["y"]),
    ]
    g, y, dx = pulled(nodes, {"s": f32(0.5), "low": f32(-3.5), "high": f32(2.5)}, x, x.shape)
    np.testing.assert_allclose(y, [-1.5, -1.5, 0.5, 1, 1.25, 1.25], rtol=1e-6)
    np.testing.assert_allclose(dx, g * [1, 1, 1, 1, 0, 0], rtol=1e-6)


@pytest.mark.parametrize("integers", [False, True])
def test_the_explained_score_itself_does_not_saturate(integers):
    """A certain answer, beyond what its grid can say, still has an explanation; a hidden value out of range passes nothing on."""
    x, w = np.array([[0.5, 0.25]], f32), np.array([[100, -100], [3, 20]], np.int8)
    c = {"sx": f32(0.01), "zx": np.uint8(0), "w": w, "sw": f32(0.1), "zw": np.int8(0), "sy": f32(0.01), "zy": np.uint8(0)}
    middle = [helper.make_node("QLinearMatMul", ["q", "sx", "zx", "w", "sw", "zw", "sy", "zy"], ["r"])]
    if not integers:
        middle = [
            helper.make_node("DequantizeLinear", ["q", "sx", "zx"], ["a"]),
            helper.make_node("DequantizeLinear", ["w", "sw", "zw"], ["b"]),
            helper.make_node("MatMul", ["a", "b"], ["v"]),
            helper.make_node("QuantizeLinear", ["v", "sy", "zy"], ["r"]),
        ]
    ends = [helper.make_node("QuantizeLinear", ["x", "sx", "zx"], ["q"]), helper.make_node("DequantizeLinear", ["r", "sy", "zy"], ["logits"])]
    nodes = [ends[0], *middle, ends[1], helper.make_node("Softmax", ["logits"], ["p"])]
    nodes += [helper.make_node("QuantizeLinear", ["p", "sx", "zx"], ["pq"]), helper.make_node("DequantizeLinear", ["pq", "sx", "zx"], ["y"])]
    info = lambda n: helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, ["N", 2])
    weights = [numpy_helper.from_array(np.asarray(v), k) for k, v in c.items()]
    graph = helper.make_graph([*nodes, helper.make_node("Neg", ["logits"], ["n"])], "g", [info("x")], [info("y"), info("n")], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    at_score = onnxplain.explain(model, x, "gradient", target=0)  # 5.075 on a grid that ends at 2.55, before the Softmax
    np.testing.assert_allclose(at_score.attribution, [[10, 0.3]], rtol=1e-5)
    assert not onnxplain.explain(model, x, "gradient", target=0, output="n").attribution.any()


def seven_bits(*shape: int) -> np.ndarray:
    """Integer weights whose products do not saturate in ONNX Runtime's kernels: on x86 processors without VNNI those of eight bits do."""
    return rng.integers(-64, 64, shape, dtype=np.int8)


CONV = {"pads": [1, 1, 0, 0], "strides": [2, 1], "dilations": [1, 1], "kernel_shape": [2, 3], "group": 2}


@pytest.mark.parametrize("per_channel", [False, True])
def test_qlinear_conv_is_conv_between_grids(per_channel):
    x = rng.standard_normal((2, 4, 5, 6)).astype(f32)
    c = {
        "sx": f32(0.02), "zx": np.uint8(120), "sy": f32(0.005), "zy": np.uint8(30), "w": seven_bits(6, 2, 2, 3),
        "sw": rng.uniform(0.001, 0.01, 6 if per_channel else ()).astype(f32), "zw": np.zeros(6 if per_channel else (), np.int8),
        "b": rng.integers(-99, 99, 6, dtype=np.int32),
    }  # fmt: skip
    c["sb"], c["zb"] = (c["sw"] * c["sx"]).astype(f32), np.zeros(c["sw"].shape, np.int32)
    ends = [helper.make_node("QuantizeLinear", ["x", "sx", "zx"], ["q"]), helper.make_node("DequantizeLinear", ["r", "sy", "zy"], ["y"])]
    fused = [ends[0], helper.make_node("QLinearConv", ["q", "sx", "zx", "w", "sw", "zw", "sy", "zy", "b"], ["r"], **CONV), ends[1]]
    real = [
        ends[0],
        helper.make_node("DequantizeLinear", ["q", "sx", "zx"], ["xr"]),
        helper.make_node("DequantizeLinear", ["w", "sw", "zw"], ["wr"], axis=0),
        helper.make_node("DequantizeLinear", ["b", "sb", "zb"], ["br"], axis=0),
        helper.make_node("Conv", ["xr", "wr", "br"], ["v"], **CONV),
        helper.make_node("QuantizeLinear", ["v", "sy", "zy"], ["r"]),
        ends[1],
    ]
    (_, y, dx), (_, y_real, dx_real) = (pulled(nodes, c, x, (2, 6, 3, 5), symbolic=False) for nodes in (fused, real))
    np.testing.assert_allclose(y, y_real, atol=0.006)
    assert (dx != 0).mean() > 0.3
    np.testing.assert_allclose(dx, dx_real, rtol=1e-3, atol=1e-5)


def test_qlinear_matmul_is_matmul_between_grids():
    x = rng.standard_normal((3, 4)).astype(f32)
    c = {"sx": f32(0.02), "zx": np.uint8(120), "w": rng.integers(0, 255, (4, 5), dtype=np.uint8), "sw": f32(0.01), "zw": np.uint8(99)}
    c |= {"sy": f32(0.02), "zy": np.uint8(100)}
    ends = [helper.make_node("QuantizeLinear", ["x", "sx", "zx"], ["q"]), helper.make_node("DequantizeLinear", ["r", "sy", "zy"], ["y"])]
    fused = [ends[0], helper.make_node("QLinearMatMul", ["q", "sx", "zx", "w", "sw", "zw", "sy", "zy"], ["r"]), ends[1]]
    real = [
        ends[0],
        helper.make_node("DequantizeLinear", ["q", "sx", "zx"], ["xr"]),
        helper.make_node("DequantizeLinear", ["w", "sw", "zw"], ["wr"]),
        helper.make_node("MatMul", ["xr", "wr"], ["v"]),
        helper.make_node("QuantizeLinear", ["v", "sy", "zy"], ["r"]),
        ends[1],
    ]
    (_, _, dx), (_, _, dx_real) = (pulled(nodes, c, x, (3, 5)) for nodes in (fused, real))
    assert dx.any()
    np.testing.assert_allclose(dx, dx_real, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("op_type", ["MatMulInteger", "ConvInteger"])
def test_dynamic_quantisation_is_the_real_product(op_type):
    """Quantised at run time, multiplied as integers, scaled back: as PyTorch and ONNX Runtime export dynamic quantisation."""
    conv = op_type == "ConvInteger"
    x = rng.standard_normal((2, 4, 5, 6) if conv else (3, 4)).astype(f32)
    w = seven_bits(*((6, 2, 2, 3) if conv else (4, 5)))
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        helper.make_node(op_type, ["q", "w", "z", "zw"], ["i"], **(CONV if conv else {})),
        helper.make_node("Cast", ["i"], ["f"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Mul", ["s", "sw"], ["scale"]),
        helper.make_node("Mul", ["f", "scale"], ["y"]),
    ]
    real = [helper.make_node("Conv", ["x", "wr"], ["y"], **CONV) if conv else helper.make_node("MatMul", ["x", "wr"], ["y"])]
    shape = (2, 6, 3, 5) if conv else (3, 5)
    c = {"w": w, "zw": np.int8(0), "sw": f32(0.01)}
    _, y, dx = pulled(nodes, c, x, shape, symbolic=False)
    _, y_real, dx_real = pulled(real, {"wr": w.astype(f32) * f32(0.01)}, x, shape, symbolic=False)
    np.testing.assert_allclose(y, y_real, atol=0.1)
    np.testing.assert_allclose(dx, dx_real, rtol=1e-4, atol=1e-5)
