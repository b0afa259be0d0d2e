"""What is explained, of what, and where the batch lies."""

import numpy as np
import pytest
from helpers import cnn, draw, fixed, parse, sequence, time_major, tokens, two_inputs

import onnxplain
from onnxplain.question import Question, names_of


def ask(model, **options):
    return Question.ask(onnxplain.load(model), **options)


def test_defaults():
    q = ask(cnn().model)
    assert (q.output, q.wrt, q.batch, q.axis("x"), q.fixed, q.folds) == ("y", ("x",), "N", 0, None, True)
    assert ask(tokens()).wrt == ("e",)
    q = ask(two_inputs())
    assert q.wrt == ("a", "b", "rate")
    assert q.axis("rate") is None
    assert q.shared == ["rate"]
    assert not q.folds
    assert ask(two_inputs(), wrt=["a"]).folds


@pytest.mark.parametrize(
    ("tail", "score"),
    [
        ("y = Softmax(h)", "h"),
        ("y = LogSoftmax(h)", "h"),
        ("y = Sigmoid(h)", "h"),
        ("s = Softmax(h)\n y = Identity(s)", "h"),
        ("s = Softmax(h)\n y = Reshape(s, to)", "h"),
        ("s = Softmax(h)\n y = Mul(s, s)", "y"),
        ("y = Tanh(h)", "y"),
    ],
)
def test_the_score_before_a_trailing_softmax(tail, score):
    model = parse(f"g (float[N,3] x) => (float[N,3] y) {{ h = Exp(x)\n {tail} }}", to=np.array([0, 3]))
    assert ask(model).output == score


def test_the_first_float_output():
    model = parse("g (float[N,3] x) => (int64[N] i, float[N,3] y, float[N,3] z) { y = Exp(x)\n i = ArgMax<axis=1,keepdims=0>(y)\n z = Neg(x) }")
    assert ask(model).output == "y"
    assert ask(model, output="z").output == "z"
    with pytest.raises(onnxplain.InputError, match="float"):
        ask(model, output="i")
    with pytest.raises(onnxplain.UnsupportedModelError, match="no output"):
        ask(parse("g (float[N,3] x) => (int64[N] i) { i = ArgMax<axis=1,keepdims=0>(x) }"))


def test_batch_axes():
    q = ask(time_major().model, wrt=["x", "m"])
    assert [q.axis(n) for n in ("x", "m", "y")] == [1, 1, 0]
    q = ask(sequence().model)
    assert q.batch == "N"
    q = ask(fixed().model)
    assert (q.batch, q.fixed, q.axis("x"), q.folds) == (2, 2, 0, False)
    freed = parse("g (float[7,3] x) => (float[7,3] y) { y = Tanh(x) }")
    assert isinstance(ask(freed).batch, str)
    alone = parse("g (float[3,4] x) => (float[5] y) { f = Reshape(x, to)\n y = MatMul(f, w) }", to=np.array([12]), w=draw(12, 5))
    q = ask(alone)
    assert (q.batch, q.axis("x"), q.axis("y"), q.axis("f")) == (None, None, None, None)


def test_a_tensor_that_no_sample_reaches_has_no_batch():
    model = parse(
        "g (float[N,3] x, float[2,3] state) => (float[N,3] y) { s = Tanh(state)\n r = ReduceSum<keepdims=0>(s, axes)\n y = Mul(x, r) }", axes=np.array([0])
    )
    q = ask(model, wrt=["s", "x"])
    assert q.axis("s") is None
    assert q.axis("state") is None
    got = onnxplain.explain(model, {"x": draw(5, 3), "state": draw(2, 3)}, "gradient", wrt=["s"], target=0, batch_size=2).attribution
    np.testing.assert_allclose(got, [[draw(5, 3)[:, 0].sum(), 0, 0]] * 2, atol=1e-5)


def test_tensors_of_which_one_decides_the_other():
    q = ask(two_inputs(), wrt=["a", "b"])
    q.require_apart(["a", "b", "rate"])
    q.require_apart(["t", "b"])
    with pytest.raises(onnxplain.InputError, match="'t' is computed from 'a', so the two cannot be changed at once"):
        q.require_apart(["t", "b", "a"])


@pytest.mark.parametrize(("given", "names"), [(None, []), ("x", ["x"]), (["x", "z"], ["x", "z"]), (("x",), ["x"]), ({"x": 1}.keys(), ["x"])])
def test_names_of_tensors(given, names):
    assert names_of(given, "wrt") == names


def test_names_are_checked():
    with pytest.raises(onnxplain.InputError, match="layer must be the name of a tensor or a list of names, got 5"):
        names_of(5, "layer")
    for wrong in ({"wrt": "z"}, {"output": "z"}, {"wrt": ["x", "z"]}):
        with pytest.raises(onnxplain.InputError, match="unknown tensor 'z'"):
            ask(parse("g (float[N,3] x) => (float[N,3] y) { y = Exp(x) }"), **wrong)
    aside = parse("g (float[N,3] x) => (float[N,3] y) { y = Exp(x)\n dead = Neg(x) }")
    with pytest.raises(onnxplain.InputError, match="leads to no output"):
        ask(aside, output="dead")
    with pytest.raises(onnxplain.InputError, match="does not depend"):
        ask(parse("g (float[N,3] x, float[N,3] z) => (float[N,3] y) { y = Exp(x)\n q = Neg(z) }"), wrt="z")
    with pytest.raises(onnxplain.UnsupportedModelError, match="wrt="):
        ask(parse("g (int64[N,3] x) => (float[N,3] y) { y = Cast<to=1>(x) }"))
