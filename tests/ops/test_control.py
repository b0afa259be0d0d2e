"""If, Loop and Scan against central differences of ONNX Runtime in float64."""

import numpy as np
import onnx.parser
import pytest
from check_vjp import session

import onnxplain

CASES = {
    "if": """<ir_version: 10, opset_import: ["": 21]>
        g (bool c, float[N, 3] x, float[3, 4] w, float[4] b) => (float[N, 4] y) {
            h = MatMul(x, w)
            y = If(c) <
                then_branch = t () => (float[N, 4] p) { q = Tanh(h) p = Mul(q, b) },
                else_branch = e () => (float[N, 4] r) { k = Constant<value = float {0.5}>() s = Mul(h, h) r = Mul(s, k) }>
        }""",
    "if-else-first": """<ir_version: 10, opset_import: ["": 21]>
        g (bool c, float[N, 3] x, float[3, 4] w, float[3, 4] v) => (float[N, 4] y) {
            y = If(c) <
                else_branch = e () => (float[N, 4] r) { s = MatMul(x, v) r = Sin(s) },
                then_branch = t () => (float[N, 4] p) { q = MatMul(x, w) p = Tanh(q) }>
        }""",
    "if-nested": """<ir_version: 10, opset_import: ["": 21]>
        g (bool c, bool d, float[N, 3] x, float[3] b) => (float[N, 3] y, float[N, 3] z) {
            y, z = If(c) <
                then_branch = t () => (float[N, 3] p, float[N, 3] pz) {
                    a = Mul(x, b)
                    p = If(d) <then_branch = tt () => (float[N, 3] u) { u = Sin(a) }, else_branch = te () => (float[N, 3] v) { v = Mul(a, x) }>
                    pz = Add(x, b)
                },
                else_branch = e () => (float[N, 3] r, float[N, 3] rz) { r = Identity(x) rz = Exp(x) }>
        }""",
    "loop": """<ir_version: 10, opset_import: ["": 21]>
        g (int64 m, bool c, float[N, 3] x, float[3, 3] w, float[4, 3] k) => (float[N, 3] y, float[T, N, 3] s) {
            y, s = Loop(m, c, x) <body = step (int64 i, bool ci, float[N, 3] h) => (bool co, float[N, 3] n, float[N, 3] o) {
                co = Identity(ci) a = MatMul(h, w) r = Gather(k, i) d = Add(a, r) n = Tanh(d) o = Mul(n, h)
            }>
        }""",
    "loop-while": """<ir_version: 10, opset_import: ["": 21]>
        g (bool c, float[N] x) => (float[N] y, int64 count) {
            zero = Constant<value = int64 {0}>()
            y, count = Loop(, c, x, zero) <body = step (int64 i, bool ci, float[N] h, int64 k) => (bool co, float[N] n, int64 kn) {
                n = Mul(h, h) one = Constant<value = int64 {1}>() kn = Add(k, one)
                big = Constant<value = float {40.0}>() sum = ReduceSum<keepdims = 0>(n) co = Less(sum, big)
            }>
        }""",
    "scan": """<ir_version: 10, opset_import: ["": 21]>
        g (float[N, 3] h0, float[T, N, 2] x, float[2, 3] w, float[3, 3] r) => (float[N, 3] h, float[T, N, 3] y) {
            h, y = Scan<num_scan_inputs = 1, body = cell (float[N, 3] s, float[N, 2] i) => (float[N, 3] n, float[N, 3] o) {
                a = MatMul(i, w) b = MatMul(s, r) c = Add(a, b) n = Tanh(c) o = Mul(n, s)
            }>(h0, x)
        }""",
    "scan-turned": """<ir_version: 10, opset_import: ["": 21]>
        g (float[N, 3] h0, float[N, T, 3] x, float[T, N, 3] z, float[3] w) => (float[N, 3] h, float[N, T, 3] y, float[T, N, 3] v) {
            h, y, v = Scan<num_scan_inputs = 2, scan_input_axes = [1, 0], scan_input_directions = [1, 0],
                scan_output_axes = [1, -3], scan_output_directions = [0, 1],
                body = cell (float[N, 3] s, float[N, 3] i, float[N, 3] j) => (float[N, 3] n, float[N, 3] o, float[N, 3] p) {
                a = Mul(i, w) b = Mul(s, j) c = Add(a, b) n = Sin(c) o = Mul(n, i) p = Exp(n)
            }>(h0, x, z)
        }""",
    "scan-stateless-if": """<ir_version: 10, opset_import: ["": 21]>
        g (float[T, 3] x, float[3] w) => (float[T, 3] y) {
            y = Scan<num_scan_inputs = 1, body = cell (float[3] i) => (float[3] o) {
                t = ReduceSum<keepdims = 0>(i) zero = Constant<value = float {0.0}>() p = Greater(t, zero)
                o = If(p) <then_branch = tb () => (float[3] u) { u = Mul(i, w) }, else_branch = eb () => (float[3] v) { v = Mul(i, i) }>
            }>(x)
        }""",
    "scan-in-loop": """<ir_version: 10, opset_import: ["": 21]>
        g (int64 m, bool c, float[N, 3] h0, float[T, N, 3] x, float[3] w) => (float[N, 3] h, float[R, T, N, 3] y) {
            a = Tanh(x)
            h, y = Loop(m, c, h0) <body = step (int64 i, bool ci, float[N, 3] s) => (bool co, float[N, 3] n, float[T, N, 3] o) {
                co = Identity(ci)
                n, o = Scan<num_scan_inputs = 1, body = cell (float[N, 3] t, float[N, 3] e) => (float[N, 3] u, float[N, 3] v) {
                    p = Mul(e, w) q = Add(t, p) r = Mul(s, q) u = Sin(r) v = Mul(u, e)
                }>(s, a)
            }>
        }""",
    "loop-in-if": """<ir_version: 10, opset_import: ["": 21]>
        g (bool c, int64 m, float[N, 3] x, float[3] w) => (float[N, 3] y) {
            b = Mul(x, w)
            y = If(c) <
                then_branch = t () => (float[N, 3] p) {
                    go = Constant<value = bool {1}>()
                    p = Loop(m, go, x) <body = step (int64 i, bool ci, float[N, 3] h) => (bool co, float[N, 3] n) {
                        co = Identity(ci) s = Sin(h) n = Add(s, b)
                    }>
                },
                else_branch = e () => (float[N, 3] r) { r = Identity(b) }>
        }""",
    "scan-of-ranks": """<ir_version: 10, opset_import: ["": 21]>
        g (float s0, float[3, 2] m0, float[T, 2] x, float[T] k) => (float s, float[3, 2] m, float[T, 3] y, float[T] z) {
            s, m, y, z = Scan<num_scan_inputs = 2,
                body = cell (float a, float[3, 2] b, float[2] i, float j) => (float an, float[3, 2] bn, float[3] o, float p) {
                    q = Mul(b, i) bn = Sin(q) t = ReduceSum<keepdims = 0>(bn) an = Mul(t, j) o = MatMul(bn, i) p = Mul(a, an)
                }>(s0, m0, x, k)
        }""",
    "loop-over-a-condition-inside": """<ir_version: 10, opset_import: ["": 21]>
        g (int64 m, bool c, float[N, 3] x, float[3] w) => (float[N, 3] y, float[T, N] s) {
            y, s = Loop(m, c, x) <body = step (int64 i, bool ci, float[N, 3] h) => (bool co, float[N, 3] n, float[N] o) {
                co = Identity(ci) two = Constant<value = int64 {2}>() one = Constant<value = int64 {1}>() r = Mod(i, two) odd = Equal(r, one)
                n = If(odd) <then_branch = t () => (float[N, 3] u) { u = Mul(h, w) }, else_branch = e () => (float[N, 3] v) { v = Sin(h) }>
                last = Constant<value = int64[1] {1}>() o = ReduceSum<keepdims = 0>(n, last)
            }>
        }""",
}
SIZES = {"N": 2, "T": 4}
FED = [(name, {"c": c}) for name in ("if", "if-else-first") for c in (True, False)] + [
    *(("if-nested", {"c": c, "d": d}) for c in (True, False) for d in (True, False))
]
FED += [("loop", {"m": m, "c": True}) for m in (0, 1, 4)] + [
    ("loop", {"m": 3, "c": False}),
    ("loop-while", {"c": True}),
    ("scan", {}),
    ("scan-turned", {}),
    ("scan-stateless-if", {}),
    ("scan-in-loop", {"m": 2, "c": True}),
    *(("loop-in-if", {"c": c, "m": 3}) for c in (True, False)),
    ("scan-of-ranks", {}),
    ("loop-over-a-condition-inside", {"m": 4, "c": True}),
]


@pytest.mark.parametrize(("name", "fed"), FED, ids=[f"{n}-{'-'.join(map(str, f.values()))}" for n, f in FED])
def test_vjp(name, fed):
    text = CASES[name]
    model = onnx.parser.parse_model(text)
    wide = session(onnx.parser.parse_model(text.replace("float", "double")))
    rng = np.random.default_rng(len(name))
    feeds = {k: np.array(v, np.bool_ if isinstance(v, bool) else np.int64) for k, v in fed.items()}
    wrt = [i.name for i in model.graph.input if i.name not in fed]
    for i in model.graph.input:
        if i.name in wrt:
            shape = [SIZES.get(d.dim_param, d.dim_value) for d in i.type.tensor_type.shape.dim]
            feeds[i.name] = np.asarray(rng.uniform(0.5, 1.5, shape) * rng.choice([-1, 1]))
    outputs = [o.name for o in model.graph.output if o.type.tensor_type.elem_type == onnx.TensorProto.FLOAT]
    f = lambda **moved: wide.run(outputs, {**feeds, **moved})
    cotangents = [rng.standard_normal(v.shape) for v in f()]
    narrow = lambda v: v.astype(np.float32) if v.dtype == np.float64 else v
    for told in (range(len(outputs)), [0]):  # with cotangents of all outputs, and of the first alone
        built = onnxplain.vjp(model, [outputs[k] for k in told], wrt)
        given = {k: narrow(v) for k, v in (feeds | {f"grad_{outputs[k]}": cotangents[k] for k in told}).items()}
        got = session(built).run([f"grad_{n}" for n in wrt], given)
        for n, d in zip(wrt, got):
            assert d.shape == feeds[n].shape
            u, h = rng.standard_normal(d.shape), 1e-6
            up, down = (f(**{n: np.asarray(feeds[n] + e * h * u)}) for e in (1, -1))
            slope = sum(((up[k] - down[k]) * cotangents[k]).sum() for k in told) / (2 * h)
            assert abs((d * u).sum() - slope) < 1e-3 * (np.abs(d * u).sum() + 1e-2), f"by {n}"


def test_a_loop_over_a_sequence_is_refused():
    text = """<ir_version: 10, opset_import: ["": 21]>
        g (int64 m, bool c, float[3] x) => (float[3] y) {
            q = SequenceEmpty()
            y, z = Loop(m, c, x, q) <body = step (int64 i, bool ci, float[3] h, seq(float[3]) s) => (bool co, float[3] n, seq(float[3]) sn) {
                co = Identity(ci) n = Sin(h) sn = SequenceInsert(s, n)
            }>
        }"""
    with pytest.raises(onnxplain.UnsupportedModelError, match="not a tensor"):
        onnxplain.vjp(onnx.parser.parse_model(text))


def test_a_missing_rule_inside_a_body_is_named(monkeypatch):
    from onnxplain.ops import OPS

    monkeypatch.delitem(OPS, "Tanh")
    with pytest.raises(onnxplain.UnsupportedModelError, match="Tanh"):
        onnxplain.vjp(onnx.parser.parse_model(CASES["scan"]))


FOLDED = {  # bodies that name the batch: points of a path are folded into it
    "if": """<ir_version: 10, opset_import: ["": 21]>
        g (float[N, 3] x) => (float[N, 3] y) {
            zero = Constant<value = float {0.0}>() sum = ReduceSum<keepdims = 0>(x) c = Greater(sum, zero)
            b = If(c) <
                then_branch = t () => (float[N, 3] p) { q = Mul(x, x) r = Tanh(q) p = Add(r, x) },
                else_branch = e () => (float[N, 3] u) { u = Neg(x) }>
            y = Exp(b)
        }""",
    "loop": """<ir_version: 10, opset_import: ["": 21]>
        g (float[N, 3] x) => (float[N, 3] y) {
            m = Constant<value = int64 {2}>()
            y = Loop(m, , x) <body = step (int64 i, bool ci, float[N, 3] h) => (bool co, float[N, 3] n) { co = Identity(ci) a = Tanh(h) n = Mul(a, x) }>
        }""",
    "scan": """<ir_version: 10, opset_import: ["": 21]>
        g (float[N, 3] x) => (float[N, 3] y) {
            t = Transpose(x) one = Constant<value = int64 {1}>() h0 = Gather(t, one)
            h, s = Scan<num_scan_inputs = 1, body = cell (float[N] h, float[N] i) => (float[N] n, float[N] o) {
                a = Mul(h, i) n = Tanh(a) o = Identity(n)
            }>(h0, t)
            y = Transpose(s)
        }""",
}


@pytest.mark.parametrize("name", FOLDED)
def test_points_are_folded_into_bodies(name, capfd):
    x = np.random.default_rng(0).random((2, 3), dtype=np.float32) + np.float32(0.2)
    explainer = onnxplain.Explainer(onnx.parser.parse_model(FOLDED[name]), "integrated_gradients", steps=20)
    got = explainer.explain(x, target=1)
    assert np.abs(got.delta).max() < 1e-5
    saved = session(explainer.model).run(["attribution"], {"x": x, "target": np.array([1, 1])})[0]
    np.testing.assert_allclose(saved, got.attribution, atol=1e-6)
    assert "Shape mismatch" not in capfd.readouterr().err
