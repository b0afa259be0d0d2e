"""Models as ONNX Runtime writes them: optimised, quantised, with types unknown behind its own nodes."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from helpers import parse, plain, run
from onnx import parser
from onnxruntime import quantization

import onnxplain
from onnxplain.errors import UnsupportedModelError
from onnxplain.foreign import FORMULAS
from onnxplain.foreign.blocked import block_size

from .one_node import weight

NETWORK = """
network (float[N, 3, 8, 8] x) => (float[N, 5] y) {
    c = Conv <pads = [1, 1, 1, 1]> (x, w0, b0)
    r = Relu (c)
    d = Conv <pads = [1, 1, 1, 1]> (r, w1)
    e = Add (d, r)
    s = Relu (e)
    k = Conv <pads = [1, 1, 1, 1], group = 16> (s, w2, b2)
    l = LeakyRelu <alpha = 0.2> (k)
    p = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (l)
    q = AveragePool <kernel_shape = [2, 2], pads = [1, 1, 0, 0]> (p)
    t = Conv (q, w3)
    f = GlobalAveragePool (t)
    v = Flatten (f)
    m = MatMul (v, w4)
    h = Add (m, b4)
    half = Constant <value_float = 0.5> ()
    one = Constant <value_float = 1.0> ()
    root = Constant <value_float = 1.4142135> ()
    n = Div (h, root)
    erf = Erf (n)
    gate = Add (erf, one)
    hg = Mul (h, gate)
    g = Mul (hg, half)
    z = Add (g, h)
    norm = LayerNormalization <axis = -1> (z, w5, b5)
    y = MatMul (norm, w6)
}
"""
SHAPES = {"w0": (16, 3, 3, 3), "b0": (16,), "w1": (16, 16, 3, 3), "w2": (16, 1, 3, 3), "b2": (16,), "w3": (10, 16, 2, 2)}
SHAPES |= {"w4": (10, 6), "b4": (6,), "w5": (6,), "b5": (6,), "w6": (6, 5)}


def network() -> onnx.ModelProto:
    return parse(NETWORK, **{n: weight(*shape, low=-0.4, high=0.4) for n, shape in SHAPES.items()})


def optimised(model: onnx.ModelProto, level: ort.GraphOptimizationLevel, path) -> onnx.ModelProto:
    options = ort.SessionOptions()
    options.graph_optimization_level, options.optimized_model_filepath, options.log_severity_level = level, str(path), 3
    ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return onnx.load(path)


@pytest.mark.parametrize("level", ["EXTENDED", "ALL"])
def test_an_optimised_model_has_the_gradient_of_the_original(level, tmp_path):
    model = network()
    written = optimised(model, getattr(ort.GraphOptimizationLevel, f"ORT_ENABLE_{level}"), tmp_path / "optimised.onnx")
    used = {n.op_type for n in written.graph.node if n.domain.startswith("com.microsoft")}
    assert used == ({"FusedConv", "Gelu"} if level == "EXTENDED" or not block_size() else {"Conv", "MaxPool", "AveragePool", "ReorderOutput", "Gelu"})
    x = weight(2, 3, 8, 8, seed=7)
    for method in ("gradient", "lrp"):
        expected, got = (onnxplain.explain(m, x, method, target=1).attribution for m in (model, written))
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-6)


BEHIND = ("(h, , s)  h = Conv (x, w)", {"w": (32, 20, 3, 3)}, {"Upsample"})
TURNED = "Transpose <perm = [0, 2, 3, 1]> (h)  h = Conv (t, w)  t = Transpose <perm = [0, 3, 1, 2]> (u)  u = Transpose <perm = [0, 2, 3, 1]> (x)"
BLOCKS = {
    "padded": ("Conv (x, w)", {"w": (24, 20, 3, 3)}, {"ReorderInput", "Conv", "ReorderOutput"}),
    "strides": ("Conv <strides = [2, 2], pads = [1, 0, 0, 1], dilations = [1, 2]> (x, w, b)", {"w": (32, 20, 2, 2), "b": (32,)}, {"Conv"}),
    "groups": ("Conv <group = 2> (h, w)  h = Conv (x, v)", {"v": (32, 20, 1, 1), "w": (32, 16, 2, 2)}, {"Conv"}),
    "depthwise": ("Conv <group = 32> (h, w)  h = Conv (x, v)", {"v": (32, 20, 1, 1), "w": (32, 1, 2, 2)}, {"Conv"}),
    "mean": ("GlobalAveragePool (h)  h = Conv (x, w)", {"w": (32, 20, 3, 3)}, {"GlobalAveragePool"}),
    "maximum": ("GlobalMaxPool (h)  h = Conv (x, w)", {"w": (32, 20, 3, 3)}, {"GlobalMaxPool"}),
    "product": ("Mul (h, i)  i = Sigmoid (h)  h = Conv (x, w)", {"w": (32, 20, 3, 3)}, {"Conv"}),
    "nearest": ("Resize <mode = 'nearest', coordinate_transformation_mode = 'asymmetric', nearest_mode = 'floor'> " + BEHIND[0], *BEHIND[1:]),
    "linear": ("Resize <mode = 'linear', coordinate_transformation_mode = 'align_corners'> " + BEHIND[0], *BEHIND[1:]),
    "half pixel": ("Resize <mode = 'linear', coordinate_transformation_mode = 'half_pixel'> " + BEHIND[0], *BEHIND[1:]),
    "half known": ("Conv (k, v)  k = LRN <size = 3> (h)  h = Conv (x, w)", {"w": (32, 20, 3, 3), "v": (16, 32, 1, 1)}, {"Conv"}),
    "last": (TURNED, {"w": (32, 20, 3, 3)}, {"Conv"}),
}  # fmt: skip


@pytest.mark.skipif(not block_size(), reason="ONNX Runtime has no kernels for blocks of channels here")
@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_of_channels_are_put_back(name, tmp_path):
    text, shapes, used = BLOCKS[name]
    first, *before = text.replace("'", '"').split("  ")
    body = "  ".join([*reversed(before), f"y = {first}"])
    model = parse(f"g (float[N, 20, 6, 6] x) => (float[a, b, c, d] y) {{ {body} }}", **{n: weight(*s) for n, s in shapes.items()}, s=np.float32([1, 1, 2, 2]))
    written = optimised(model, ort.GraphOptimizationLevel.ORT_ENABLE_ALL, tmp_path / "optimised.onnx")
    assert used <= {n.op_type for n in written.graph.node if n.domain == "com.microsoft.nchwc"}
    feeds = {"x": weight(2, 20, 6, 6, seed=3)}
    expected = run(model, **feeds)["y"]
    feeds["grad_y"] = weight(*expected.shape, seed=4)
    pulled, exact = (run(onnxplain.vjp(m, ["y"], ["x"]), **feeds) for m in (written, model))
    np.testing.assert_allclose(pulled["y"], expected, atol=2e-5)
    np.testing.assert_allclose(pulled["grad_x"], exact["grad_x"], atol=5e-5)


@pytest.mark.parametrize("opset", [11, 21])
def test_shapes_are_known_behind_foreign_nodes(opset):
    """A product needs the rank of what it turns, and ONNX's converter the shape of what enters an old Softmax."""
    text = f"""<ir_version: 7, opset_import: ["" : {opset}, "com.microsoft" : 1]>
    g (float[N, 3, 4] x, float[3, 4] w) => (float[N, 3, 3] y) {{
        h = com.microsoft.FusedMatMul <transB = 1, alpha = 0.5> (x, w)
        n = Neg (h)
        t = com.microsoft.FusedMatMul <transA = 1> (n, n)
        i = LayerNormalization (t, scale)
        y = Softmax <axis = 1> (i)
    }}"""
    model = parser.parse_model(text)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weight(3), "scale"))
    feeds = {"x": weight(2, 3, 4), "w": weight(3, 4)}
    loaded = onnxplain.load(model)
    assert str(loaded.raw.types["i"]) == "float32[N, 3, 3]"
    got = run(onnxplain.vjp(loaded, ["y"], ["x"]), **feeds, grad_y=np.ones((2, 3, 3), np.float32))
    np.testing.assert_allclose(got["y"], plain(model).run(None, feeds)[0], atol=1e-6)


def test_a_quantised_model_has_the_gradient_of_what_it_was_made_from(tmp_path):
    """Between scales ONNX Runtime makes QLinear operators of everything."""

    class Samples(quantization.CalibrationDataReader):
        given = iter([{"x": weight(1, 3, 8, 8, seed=k)} for k in range(8)])

        def get_next(self):
            return next(self.given, None)

    kinds = {"activation_type": quantization.QuantType.QUInt8, "weight_type": quantization.QuantType.QInt8}
    # Weights of seven bits: on x86 processors without VNNI, products of eight saturate in QLinearConv.
    quantization.quantize_static(network(), tmp_path / "scales.onnx", Samples(), reduce_range=True, **kinds)
    model = onnx.load(tmp_path / "scales.onnx")
    written = optimised(model, ort.GraphOptimizationLevel.ORT_ENABLE_ALL, tmp_path / "optimised.onnx")
    used = {n.op_type for n in written.graph.node if n.domain == "com.microsoft"}
    assert {"QLinearConv", "QLinearAdd", "QLinearAveragePool", "QLinearGlobalAveragePool", "QLinearLeakyRelu", "QLinearMul"} <= used
    x = weight(2, 3, 8, 8, seed=7)
    expected, got = (onnxplain.explain(m, x, "gradient", target=1).attribution for m in (model, written))
    np.testing.assert_allclose(got, expected, atol=0.02 * np.abs(expected).max())


def test_half_precision_is_normalised_in_single():
    text = """<ir_version: 8, opset_import: ["" : 17]>
    g (float16[2, 4] x, float16[4] w) => (float16[2, 4] y) { y = SimplifiedLayerNormalization <axis = -1> (x, w) }"""
    model, x = parser.parse_model(text), np.float16([[400, 1, 2, -300], [1, 2, 3, 4]])
    got = run(onnxplain.vjp(model, ["y"], ["x"]), x=x, w=np.ones(4, np.float16), grad_y=np.zeros_like(x))
    np.testing.assert_allclose(got["y"], x / np.sqrt(np.mean(np.float32(x) ** 2, axis=1, keepdims=True)), rtol=2e-3)


def test_what_a_formula_cannot_say_stays_and_is_named():
    text = """<ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]>
    g (float[2, 3, 8] x, float[8, 24] w) => (float[2, 3, 8] y) { y = com.microsoft.Attention <num_heads = 2, do_rotary = 1> (x, w) }"""
    loaded = onnxplain.load(parser.parse_model(text))
    assert [n.op_type for n in loaded.raw.nodes] == ["Attention"]
    with pytest.raises(UnsupportedModelError, match=r"com\.microsoft:Attention 'y' \(it rotates its queries and keys"):
        onnxplain.vjp(loaded, ["y"], ["x"])


def test_an_attribute_that_is_unknown_is_named():
    text = """<ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]>
    g (float[2, 3] x) => (float[2, 3] y) { y = com.microsoft.Gelu <steep = 2> (x) }"""
    with pytest.raises(UnsupportedModelError, match=r"com\.microsoft:Gelu 'y' \(its form is unknown: .*'steep'"):
        onnxplain.vjp(parser.parse_model(text))


def test_foreign_nodes_inside_subgraphs():
    text = """<ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]>
    g (float[2, 3] x, bool c) => (float[2, 3] y) {
        y = If (c) <then_branch = a () => (float[2, 3] p) { p = com.microsoft.QuickGelu (x) }, else_branch = b () => (float[2, 3] q) { q = Neg (x) }>
    }"""
    model, x = parser.parse_model(text), weight(2, 3)
    got = run(onnxplain.vjp(model, ["y"], ["x"]), x=x, c=np.array(True), grad_y=np.ones_like(x))
    s = 1 / (1 + np.exp(-1.702 * x))
    np.testing.assert_allclose(got["grad_x"], s + 1.702 * x * s * (1 - s), rtol=1e-4)


def test_every_value_keeps_its_name():
    text = """<ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]>
    g (float[2, 3] x, float[3] b) => (float[2, 3] y) { h = com.microsoft.BiasGelu (x, b)  i = com.microsoft.Gelu (h)  y = Neg (i) }"""
    loaded = onnxplain.load(parser.parse_model(text))
    assert {"h", "i", "y"} <= set(loaded.raw.types)
    assert [n.op_type for n in loaded.raw.nodes] == ["Add", "Gelu", "Gelu", "Neg"]


def test_formulas_are_known_to_onnx_runtime():
    """Every formula has a schema there."""
    schemas = ort.capi.onnxruntime_pybind11_state.get_all_operator_schema()
    assert set(FORMULAS) <= {(s.domain, s.name) for s in schemas} | {("com.microsoft", n) for n in ("LayerNormalization", "SimplifiedLayerNormalization")}
