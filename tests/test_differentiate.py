"""vjp: a model's vector-Jacobian product as a model."""

import numpy as np
import onnx
import pytest
from helpers import cnn, draw, mlp, parse, run, two_inputs

import onnxplain


def test_against_differences():
    known = cnn()
    model = onnxplain.vjp(known.model, outputs=["y"])
    onnx.checker.check_model(model, full_check=True)
    assert [i.name for i in model.graph.input] == ["x", "grad_y"]
    assert [o.name for o in model.graph.output] == ["p", "grad_x"]
    g = draw(3, 3, seed=1)
    expected = known.slope(known.x, g)
    np.testing.assert_allclose(run(model, x=known.x, grad_y=g)["grad_x"], expected, atol=2e-5 * np.abs(expected).max())


def test_several_outputs_one_of_them_inside():
    known = mlp()
    g, h = draw(5, 4, seed=1), draw(5, 6, seed=2)
    both = run(onnxplain.vjp(known.model, ["y", "h"]), x=known.x, grad_y=g, grad_h=h)["grad_x"]
    one = run(onnxplain.vjp(known.model, ["y"]), x=known.x, grad_y=g)["grad_x"]
    other = run(onnxplain.vjp(known.model, ["h"]), x=known.x, grad_h=h)["grad_x"]
    np.testing.assert_allclose(both, one + other, atol=1e-5)


def test_all_inputs_and_weights():
    model = onnxplain.vjp(two_inputs())
    assert [o.name for o in model.graph.output] == ["y", "grad_a", "grad_b", "grad_rate"]
    known = mlp()
    for layer in ("w2", "b2", "w1"):
        assert f"grad_{layer}" in [o.name for o in onnxplain.vjp(known.model, wrt=[layer]).graph.output]
    g = draw(5, 4)
    w2 = run(onnxplain.vjp(known.model, wrt=["w2"]), x=known.x, grad_y=g)["grad_w2"]
    weights = {t.name: onnx.numpy_helper.to_array(t) for t in known.model.graph.initializer}
    np.testing.assert_allclose(w2, np.tanh(known.x @ weights["w1"] + weights["b1"]).T @ g, atol=1e-5)


def test_again():
    """Forward over reverse: u · H · v, against differences of the first product."""
    known = mlp()
    first = onnxplain.vjp(known.model)
    second = onnxplain.vjp(first, outputs=["grad_x"], wrt=["x", "grad_y"], prefix="again_")
    g, u = draw(5, 4, seed=1), draw(5, 3, seed=2)
    got = run(second, x=known.x, grad_y=g, again_grad_x=u)
    step = 1e-4
    slopes = [known.slope(known.x + s * step * u.astype(np.float64), g, 1e-5) for s in (1, -1)]
    np.testing.assert_allclose(got["again_x"], (slopes[0] - slopes[1]) / (2 * step), atol=2e-3)
    jacobian = np.stack([known.slope(known.x, np.eye(4)[[k] * 5]) for k in range(4)])
    np.testing.assert_allclose(got["again_grad_y"], np.einsum("kni,ni->nk", jacobian, u), atol=1e-4)


def test_a_tensor_that_nothing_reaches_gets_zeros():
    model = parse("g (float[N,2] a, float[N,2] b) => (float[N,2] y, float[N,2] z) { y = Tanh(a)\n z = Exp(b) }")
    got = run(onnxplain.vjp(model, outputs=["y"]), a=draw(3, 2), b=draw(3, 2), grad_y=draw(3, 2))
    np.testing.assert_array_equal(got["grad_b"], np.zeros((3, 2)))
    assert np.abs(got["grad_a"]).min() > 0


def test_refused():
    model = parse("g (float[N,2] x) => (float[N,2] y, int64[N] i) { y = Tanh(x)\n i = ArgMax<axis=1,keepdims=0>(y) }")
    for wrong in ({"outputs": ["i"]}, {"outputs": []}, {"wrt": ["q"]}, {"prefix": ""}):
        with pytest.raises(onnxplain.InputError):
            onnxplain.vjp(model, **wrong)
    passed = parse("g (float[N,2] x) => (float[N,2] y, float[N,2] x) { y = Tanh(x) }")
    with pytest.raises(onnxplain.InputError, match="'x' is both an output and a tensor to differentiate by"):
        onnxplain.vjp(passed)
    assert len(onnxplain.vjp(passed, outputs=["y"]).graph.output) == 3
    odd = parse("g (float[N,2] x) => (float[N,2] y) { a = Tanh(x)\n y = RandomNormalLike(a) }")
    with pytest.raises(onnxplain.OnnxplainError):
        onnxplain.vjp(odd)


@pytest.mark.parametrize(("equation", "shapes"), [("ij,i->j", [(1, 3), (4,)]), ("ij,jk->ik", [(2, 1), (3, 2)]), ("ij,jk->ik", [(2, 3), (1, 2)])])
def test_a_letter_of_one_element_meets_any_number(equation, shapes):
    """NumPy and ONNX Runtime broadcast there."""
    a, b = (draw(*s, seed=k) for k, s in enumerate(shapes))
    (first, second), out = (", ".join(map(str, s)) for s in shapes), np.einsum(equation, a, b)
    model = parse(f'g (float[{first}] a, float[{second}] b) => (float[{", ".join(map(str, out.shape))}] y) {{ y = Einsum<equation="{equation}">(a, b) }}')
    g = draw(*out.shape, seed=5)
    got = run(onnxplain.vjp(model), a=a, b=b, grad_y=g)
    for name, x, rest in (("a", a, lambda v: np.einsum(equation, v, b)), ("b", b, lambda v: np.einsum(equation, a, v))):
        slopes = [np.sum(rest(e.reshape(x.shape)) * g) for e in np.eye(x.size)]
        np.testing.assert_allclose(got[f"grad_{name}"].ravel(), slopes, atol=1e-5)
