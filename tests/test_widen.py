"""Models of 16 bits: gradients against central differences of the same function in float64."""

import ml_dtypes
import numpy as np
import onnx
import onnx.parser
import pytest
from helpers import draw
from onnx import TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator

import onnxplain

NETWORKS = {
    "cnn": (
        """g (float[N,2,6,6] x) => (float[N,4] y) {
            c = Conv<pads=[1,1,1,1]>(x, w, b)  n = BatchNormalization(c, s, b, b, s)  r = Relu(n)
            p = MaxPool<kernel_shape=[2,2], strides=[2,2]>(r)  f = Flatten(p)  y = Gemm(f, u, k) }""",
        {"w": (3, 2, 3, 3), "b": (3,), "s": (3,), "u": (27, 4), "k": (4,)},
        (2, 6, 6),
    ),
    "attention": (
        """g (float[N,5,8] x) => (float[N,24] y) {
            n = LayerNormalization(x, s)  q = MatMul(n, wq)  k = MatMul(n, wk)  t = Transpose<perm=[0,2,1]>(k)  e = MatMul(q, t)
            a = Softmax(e)  h = MatMul(a, n)  i = Add(h, x)  j = Tanh(i)  o = MatMul(j, wo)  f = Flatten(o)  y = MatMul(f, w) }""",
        {"s": (8,), "wq": (8, 8), "wk": (8, 8), "wo": (8, 6), "w": (30, 24)},
        (5, 8),
    ),
    "big": (
        "g (float[N,50] x) => (float[N,3] y) { h = MatMul(x, w)  t = Tanh(h)  c = Cast<to=1>(t)  d = CastLike(c, k)  m = Mul(d, k)  y = MatMul(m, u) }",
        {"w": (50, 60), "k": (60,), "u": (60, 3)},
        (50,),
    ),
}
NAMES = {"float16": "float16", "bfloat16": "bfloat16", "float64": "double"}


def network(name: str, dtype: np.dtype, opset: int = 21) -> onnx.ModelProto:
    """The network with one type everywhere; its weights are numbers that bfloat16 and float16 both hold."""
    text, shapes, _ = NETWORKS[name]
    text = text.replace("<to=1>", "<to=11>") if dtype == np.float64 else text
    model = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["": {opset}]> {text.replace("float[", NAMES[dtype.name] + "[")}')
    for k, (n, shape) in enumerate(shapes.items()):
        value = (draw(*shape, seed=k) / np.sqrt(shape[0])).astype(ml_dtypes.bfloat16).astype(np.float64)
        model.graph.initializer.append(numpy_helper.from_array((np.abs(value) + 0.5 if n == "s" else value).astype(dtype), n))
    return model


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16], ids=["float16", "bfloat16"])
@pytest.mark.parametrize("name", NETWORKS)
def test_gradients(name, dtype):
    x = (draw(3, *NETWORKS[name][2]) / 4).astype(dtype)
    explanation = onnxplain.explain(network(name, np.dtype(dtype)), x, "gradient", target=1)
    g = explanation.attribution
    assert g.dtype == dtype
    assert g.shape == x.shape
    twin = ReferenceEvaluator(network(name, np.dtype(np.float64)))
    f = lambda at: twin.run(None, {"x": at})[0][:, 1].sum()
    for seed in range(4):
        u, at = draw(*x.shape, seed=seed).astype(np.float64), x.astype(np.float64)
        slope = (f(at + 1e-6 * u) - f(at - 1e-6 * u)) / 2e-6
        own = g.astype(np.float64) * u
        assert abs(own.sum() - slope) < 0.01 * max(abs(slope), 0.2 * np.abs(own).sum())


@pytest.mark.parametrize("method", ["integrated_gradients", "smoothgrad", "lrp", "deeplift", "occlusion"])
def test_methods_take_bfloat16(method):
    """What the same network says in float32, but for the digits of the input and the result."""
    params = {"window": (1, 3)} if method == "occlusion" else {}
    x = draw(2, 5, 8).astype(ml_dtypes.bfloat16)
    narrow, wide = network("attention", x.dtype), network("attention", np.dtype(np.float64))
    for t in wide.graph.initializer:
        t.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(t).astype(np.float32), t.name))
    for v in (*wide.graph.input, *wide.graph.output):
        v.type.tensor_type.elem_type = TensorProto.FLOAT
    got, want = (onnxplain.explain(m, v, method, target=0, **params).attribution.astype(np.float64) for m, v in ((narrow, x), (wide, x.astype(np.float32))))
    assert np.linalg.norm(got - want) < 0.02 * np.linalg.norm(want)


def test_a_saved_explainer_keeps_the_types_of_the_model():
    model = onnxplain.Explainer(network("cnn", np.dtype(ml_dtypes.bfloat16), opset=22), "gradient").model
    onnx.checker.check_model(model, full_check=True)
    assert {v.name: v.type.tensor_type.elem_type for v in (*model.graph.input, *model.graph.output)} == {
        "x": TensorProto.BFLOAT16,
        "target": TensorProto.INT64,
        "y": TensorProto.BFLOAT16,
        "attribution": TensorProto.BFLOAT16,
    }
