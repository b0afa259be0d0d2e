"""Ifs that are known before the run vanish, the others stay; what is computed is the same, and ONNX Runtime says so."""

import numpy as np
import onnx
import onnx.parser
from helpers import draw, plain

import onnxplain
from onnxplain import convert
from onnxplain.graph import nodes_of


def check(text: str, *feeds: dict, ifs: int, ranks: dict | None = None) -> onnx.ModelProto:
    """The converted model, which has so many Ifs left, knows these ranks, and gives the results that the model itself gives."""
    model = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["": 21]>\n{text}')
    before = plain(model)
    result = convert.to_opset(model)
    onnx.checker.check_model(result)
    assert sum(n.op_type == "If" for n in nodes_of(result.graph)) == ifs
    types = convert.types_of(result)
    for name, rank in (ranks or {}).items():
        assert types[name].tensor_type.HasField("shape"), f"the rank of {name} is unknown"
        assert len(types[name].tensor_type.shape.dim) == rank
    for feed in feeds:
        for a, b in zip(plain(result).run(None, feed), before.run(None, feed), strict=True):
            np.testing.assert_array_equal(a, b)
    return result


def test_conditions_on_ranks_and_known_extents_are_computed():
    text = """g (float[N, 3] x) => (float[A] y, float[B, C, D] z) {
        s = Shape (x)  one = Constant <value_int = 1> ()  three = Constant <value_int = 3> ()  two = Constant <value_int = 2> ()
        n = Gather (s, one)  c = Equal (n, three)
        y = If (c) <then_branch = t () => (float[A] p) { k = Constant <value_int = 0> ()  p = Gather <axis = 1> (x, k) },
                    else_branch = e () => (float[B, C] q) { q = Identity (x) }>
        r = Size (s)  w = Equal (r, two)  d = Not (w)
        z = If (d) <then_branch = t2 () => (float[B, C] p2) { p2 = Neg (x) },
                    else_branch = e2 () => (float[B, C, D] q2) { a = Constant <value_ints = [0]> ()  q2 = Unsqueeze (x, a) }>
    }"""
    check(text, {"x": draw(2, 3)}, {"x": draw(5, 3)}, ifs=0, ranks={"y": 1, "z": 3})


def test_conditions_on_the_batch_stay_open():
    text = """g (float[N, 3] x) => (float[A, B] y) {
        s = Shape (x)  zero = Constant <value_int = 0> ()  two = Constant <value_int = 2> ()  n = Gather (s, zero)  c = Equal (n, two)
        y = If (c) <then_branch = t () => (float[A, B] p) { p = Neg (x) }, else_branch = e () => (float[A, B] q) { q = Exp (x) }>
    }"""
    check(text, {"x": draw(2, 3)}, {"x": draw(3, 3)}, ifs=1, ranks={"y": 2})


SQUEEZED = """g (float[N, 4, L] x, float[4, 2] w) => (float[N, 2] y) {{
    s = Shape (x)  two = Constant <value_int = 2> ()  one = Constant <value_int = 1> ()  n = Gather (s, two)  c = Equal (n, one)
    h = If (c) <then_branch = t () => (float[A, B] p) {{ a = Constant <value_ints = [2]> ()  p = Squeeze (x, a) }},
                else_branch = e () => (float[A, B, C] q) {{ q = Identity (x) }}>
    {rest}
}}"""


def test_a_branch_behind_which_nothing_can_run_is_not_taken():
    """TorchScript's x.squeeze(-1): a Gemm behind it takes matrices alone."""
    model = check(SQUEEZED.format(rest="y = Gemm (h, w)"), {"x": draw(2, 4, 1), "w": draw(4, 2)}, ifs=0, ranks={"h": 2})
    built = onnxplain.vjp(model, wrt=["x"])
    w, g = draw(4, 2), draw(3, 2)
    (dx,) = plain(built).run(["grad_x"], {"x": draw(3, 4, 1), "w": w, "grad_y": g})
    np.testing.assert_allclose(dx, (g @ w.T)[:, :, None], rtol=1e-5)


def test_what_is_known_whichever_way_it_goes():
    """The sum of x and something of rank one or two has rank three; nobody knows which of them that is."""
    rest = "zero = Constant <value_int = 0> ()  u = Gather (h, zero)  v = Add (u, x)  y = Concat <axis = 2> (v, v)"
    check(SQUEEZED.format(rest=rest), {"x": draw(1, 4, 2), "w": draw(4, 2)}, ifs=1, ranks={"v": 3, "y": 3})


def test_squeezing_whatever_is_one():
    text = """g (float[N, 1, 4] x, float[4, 2] w) => (float[A, 2] y) { h = Squeeze (x)  y = Gemm (h, w) }"""
    model = check(text, {"x": draw(3, 1, 4), "w": draw(4, 2)}, ifs=0, ranks={"h": 2})
    (dx,) = plain(onnxplain.vjp(model, wrt=["x"])).run(["grad_x"], {"x": draw(3, 1, 4), "w": draw(4, 2), "grad_y": draw(3, 2)})
    np.testing.assert_allclose(dx, (draw(3, 2) @ draw(4, 2).T)[:, None], rtol=1e-5)


def test_an_open_squeeze_stays_open():
    text = """g (float[N, 1, 4] x) => (float y) { h = Squeeze (x)  y = ReduceSum <keepdims = 0> (h) }"""
    result = check(text, {"x": draw(3, 1, 4)}, {"x": draw(1, 1, 4)}, ifs=0)
    assert not convert.types_of(result)["h"].tensor_type.HasField("shape")


def test_ifs_inside_open_ifs_and_loops():
    text = """g (bool c, int64 m, float[N, 3] x) => (float[N, 3] y, float[N, 3] z) {
        s = Shape (x)  r = Size (s)  two = Constant <value_int = 2> ()  known = Equal (r, two)
        y = If (c) <
            then_branch = t () => (float[N, 3] p) {
                p = If (known) <then_branch = tt () => (float[N, 3] u) { u = Sin (x) }, else_branch = te () => (float[N, 3] v) { v = Cos (x) }>
            },
            else_branch = e () => (float[N, 3] q) { q = Exp (x) }>
        yes = Equal (two, two)
        z = Loop (m, yes, x) <body = b (int64 i, bool g0, float[N, 3] h) => (bool g1, float[N, 3] n) {
            g1 = Identity (g0)
            n = If (known) <then_branch = lt () => (float[N, 3] a) { a = Neg (h) }, else_branch = le () => (float[N, 3] d) { d = Abs (h) }>
        }>
    }"""
    check(text, *({"c": np.array(c), "m": np.array(3), "x": draw(2, 3)} for c in (True, False)), ifs=1)


def test_names_that_bodies_share_are_changed():
    text = """g (float[N] x) => (float[N] y, float[N] z) {
        n = Constant <value_int = 1> ()  yes = Equal (n, n)
        y = If (yes) <then_branch = t () => (float[N] a) { k = Constant <value = float {2.0}> ()  h = Mul (x, k)  a = Add (h, k) },
                      else_branch = e () => (float[N] b) { b = Neg (x) }>
        z = If (yes) <then_branch = t2 () => (float[N] a) {
                          h = If (yes) <then_branch = t3 () => (float[N] c) { k = Constant <value = float {3.0}> ()  c = Mul (x, k) },
                                        else_branch = e3 () => (float[N] b) { b = Identity (x) }>
                          k = Sin (h)  a = Mul (k, h) },
                      else_branch = e2 () => (float[N] b) { b = Abs (x) }>
    }"""
    x = draw(4)
    y, z = plain(check(text, {"x": x}, ifs=0)).run(None, {"x": x})
    np.testing.assert_allclose(y, 2 * x + 2, rtol=1e-5)
    np.testing.assert_allclose(z, np.sin(3 * x) * 3 * x, rtol=1e-5)


def test_what_is_drawn_is_not_known():
    text = """g (float[3] x) => (float[A] y) {
        h = Constant <value = float {0.5}> ()  r = RandomUniformLike <seed = 1.0> (h)  c = Greater (r, h)
        y = If (c) <then_branch = t () => (float[A] p) { p = Neg (x) }, else_branch = e () => (float[A] q) { q = Identity (x) }>
    }"""
    check(text, ifs=1)


def test_range_gets_scalars():
    """The body of AffineGrid hides behind an If that a limit has shape [1]. The kernel would run it, the schema refuses it."""
    model = onnx.parser.parse_model("""<ir_version: 10, opset_import: ["": 21]> g (float[N] x) => (float[A, B] y) {
        one = Constant <value_int = 1> ()  yes = Equal (one, one)
        n = If (yes) <then_branch = t () => (int64[A] p) { p = Constant <value_ints = [4]> () }, else_branch = e () => (int64 q) { q = Identity (one) }>
        zero = Constant <value_int = 0> ()  r = Range (zero, n, one)  f = Cast <to = 1> (r)
        a = Constant <value_ints = [1]> ()  u = Unsqueeze (x, a)  y = Mul (u, f)
    }""")
    (y,) = plain(convert.to_opset(model)).run(None, {"x": draw(2)})
    np.testing.assert_allclose(y, np.outer(draw(2), range(4)))
