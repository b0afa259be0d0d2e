"""Models of 16 bits: float16 in ONNX Runtime beside float32, bfloat16 (which its CPU provider lacks) by the types alone."""

import importlib

import ml_dtypes
import numpy as np
import onnx
import onnx.defs
import onnx.parser
import onnxruntime as ort
import pytest
from harness import session

import onnxplain
from onnxplain.tape import OPSET

FAMILIES = ["elementwise", "gather", "interpolation", "linear", "movement", "normalization", "pooling", "reduction"]
ROWS = {op_type: rows[0] for family in FAMILIES for op_type, rows in importlib.import_module(f"cases_{family}").CASES.items()}
NO_FLOAT16 = {"Celu": "float32 only at opset 21", "Range": "no 16 bits at opset 21", "Cast": "the row says to what it casts"}
NO_BFLOAT16 = {"Col2Im": "its VJP is a Conv, which opset 21 has not in bfloat16", "MeanVarianceNormalization": "ONNX defines it by a float32 constant"}
BRAIN = [n for n in ROWS if any("tensor(bfloat16)" in t.allowed_type_strs for t in onnx.defs.get_schema(n, OPSET).type_constraints[:1])]


@pytest.mark.parametrize("op_type", [n for n in ROWS if n not in NO_FLOAT16])
def test_float16_agrees_with_float32(op_type):
    c, rng = ROWS[op_type], np.random.default_rng(0)
    varied, outputs = {k: v.astype(np.float16) for k, v in c.draw(rng).items()}, [f"y{k}" for k in c.seeded]
    ys = session(c.model()).run(outputs, {**{k: v.astype(np.float32) for k, v in varied.items()}, **c.fed})
    seeds = {f"grad_{n}": rng.standard_normal(y.shape).astype(np.float16) for n, y in zip(outputs, ys)}
    pulled = {}
    for dtype in (np.float32, np.float16):
        model = onnxplain.vjp(c.model(dtype, [y.ndim for y in ys]), outputs, list(varied))
        feeds = {k: v.astype(dtype) for k, v in (varied | seeds).items()}
        pulled[dtype] = session(model).run([f"grad_{n}" for n in varied], feeds | c.fed)
    for want, got in zip(pulled[np.float32], pulled[np.float16]):
        assert got.dtype == np.float16
        np.testing.assert_allclose(got, want, rtol=0, atol=5e-3 * max(1, np.abs(want).max(initial=0)))


@pytest.mark.parametrize("op_type", [n for n in BRAIN if n not in NO_FLOAT16 | NO_BFLOAT16])
def test_bfloat16_is_well_typed(op_type):
    c = ROWS[op_type]
    ys = session(c.model()).run([f"y{k}" for k in c.seeded], {k: v.astype(np.float32) for k, v in c.draw(np.random.default_rng(0)).items()} | c.fed)
    built = onnxplain.vjp(c.model(ml_dtypes.bfloat16, [y.ndim for y in ys]))
    onnx.checker.check_model(built, full_check=True)
    assert {o.type.tensor_type.elem_type for o in built.graph.output if o.name.startswith("grad_")} == {onnx.TensorProto.BFLOAT16}


@pytest.mark.parametrize("extreme", ["Max (h, c)", "Min (c, h)", "ReduceMax <keepdims = 0> (h, axes)", "ReduceMin (h, axes)", "GlobalMaxPool (h)"])
@pytest.mark.parametrize("params", [{"method": "gradient"}, {"method": "lrp", "composite": "epsilon"}, {"method": "deeplift"}], ids=lambda p: p["method"])
def test_an_extreme_is_one_of_its_numbers_however_they_are_rounded(extreme, params):
    text = f"""<ir_version: 8, opset_import: ["": 21]> g (float16[N, 4, 5, 5] x) => (float16[N, M] y) <int64[2] axes = {{2, 3}}> {{
        h = Softplus (x)  c = Conv (h, w)  m = {extreme}  f = Flatten (m)  y = Identity (f)
    }}"""
    rng, found = np.random.default_rng(0), []
    x, w = rng.standard_normal((3, 4, 5, 5)).astype(np.float16), rng.standard_normal((4, 4, 1, 1)).astype(np.float16)
    for dtype, spelled in ((np.float16, text), (np.float32, text.replace("float16", "float"))):
        model = onnx.parser.parse_model(spelled)
        model.graph.initializer.append(onnx.numpy_helper.from_array(w.astype(dtype), "w"))
        found.append(onnxplain.explain(model, x.astype(dtype), target=1, **params).attribution)
    np.testing.assert_allclose(*found, atol=2e-2 * np.abs(found[1]).max())


def test_a_saved_float16_loop_can_be_loaded(tmp_path):
    """ONNX Runtime ends the process where a Scan reads 16-bit constants from outside."""
    text = """<ir_version: 8, opset_import: ["": 21]> g (float16[N, 6, 3] x) => (float16[N, 2, 4] y) {
        t = Transpose <perm = [1, 0, 2]> (x)
        a, h = GRU <hidden_size = 4, direction = "bidirectional", linear_before_reset = 1> (t, w, r, b)
        y = Transpose <perm = [1, 0, 2]> (h)
    }"""
    rng, found = np.random.default_rng(0), []
    x, weights = rng.standard_normal((2, 6, 3)), {n: rng.standard_normal(s) for n, s in {"w": (2, 12, 3), "r": (2, 12, 4), "b": (2, 24)}.items()}
    for dtype, spelled in ((np.float16, text), (np.float32, text.replace("float16", "float"))):
        model = onnx.parser.parse_model(spelled)
        model.graph.initializer.extend(onnx.numpy_helper.from_array(v.astype(dtype), n) for n, v in weights.items())
        explainer = onnxplain.Explainer(model, "gradient")
        explainer.save(tmp_path / "saved.onnx")
        feeds = {"x": x.astype(dtype), "target": np.zeros((2, 2), np.int64)}
        (saved,) = ort.InferenceSession(tmp_path / "saved.onnx", providers=["CPUExecutionProvider"]).run(["attribution"], feeds)
        found += [saved, explainer.explain(feeds["x"], (0, 0)).attribution]
    for got in found[:3]:
        np.testing.assert_allclose(got, found[3], atol=2e-3)
    assert found[0].dtype == np.float16


@pytest.mark.parametrize("mean", ["GlobalAveragePool", "ReduceMean<axes = [2, 3], keepdims = 1>", "AveragePool<kernel_shape = [256, 256]>"])
@pytest.mark.parametrize("extent", ["256", "H"])
def test_means_over_more_elements_than_float16_counts(mean, extent):
    head = '<ir_version: 8, opset_import: ["": 17]>'
    model = onnx.parser.parse_model(f"{head} g (float16[N,2,{extent},256] x) => (float16[N,2,1,1] y) {{ q = {mean}(x)\n y = Mul(q, k) }}")
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.float16(1000), "k"))
    got = onnxplain.explain(model, np.ones((1, 2, 256, 256), np.float16), "gradient", target=(0, 0, 0)).attribution
    np.testing.assert_allclose(got[:, 0].astype(np.float64), 1000 / 65536, rtol=1e-2)
