"""smoothgrad and vargrad against NumPy: given noise exactly, drawn noise by its laws."""

import numpy as np
import pytest
from helpers import draw, fixed, mlp, parse, sequence, time_major, two_inputs

import onnxplain

NOISE = 0.2 * draw(6, 5, 3, seed=9)


def terms(known, weights, noise=NOISE):
    return np.stack([known.slope(known.x + eps, weights) for eps in noise.astype(np.float64)])


@pytest.mark.parametrize("batch_size", [None, 1, 7, 12])
def test_given_noise(batch_size):
    known = mlp()
    g = terms(known, known.one_hot([2] * 5))
    for method, params, expected in (
        ("smoothgrad", {}, g.mean(0)),
        ("smoothgrad", {"square": True}, (g**2).mean(0)),
        ("smoothgrad", {"abs": True}, np.abs(g).mean(0)),
        ("vargrad", {}, g.var(0)),
        ("vargrad", {"abs": True}, np.abs(g).var(0)),
        ("vargrad", {"square": True}, (g**2).var(0)),
        ("smoothgrad", {"inner": "input_x_gradient"}, ((known.x + NOISE) * g).mean(0)),
        ("vargrad", {"inner": "saliency"}, np.abs(g).var(0)),
    ):
        got = onnxplain.explain(known.model, known.x, method, target=2, noise=NOISE, batch_size=batch_size, **params)
        np.testing.assert_allclose(got.attribution, expected, atol=1e-5, err_msg=f"{method} {params}")
        assert got.delta is None


def test_given_noise_by_name_and_for_all_samples():
    known = mlp()
    for noise in ({"x": NOISE}, NOISE[:, :1]):
        wide = np.broadcast_to(noise["x"] if isinstance(noise, dict) else noise, NOISE.shape)
        got = onnxplain.explain(known.model, known.x, "smoothgrad", target=0, noise=noise, batch_size=3).attribution
        np.testing.assert_allclose(got, terms(known, known.one_hot([0] * 5), wide).mean(0), atol=1e-5)


def drawn(known, **options):
    return onnxplain.explain(known.model, known.x, **{"method": "smoothgrad", "target": 1, "samples": 9, **options}).attribution


@pytest.mark.parametrize("make", [mlp, time_major, sequence, fixed])
@pytest.mark.parametrize("method", ["smoothgrad", "vargrad"])
def test_drawn_noise_does_not_depend_on_the_split(make, method):
    known = make()
    target = {"target": (1, 1)} if make is sequence else {}
    whole = drawn(known, method=method, batch_size=1000, **target)
    assert whole.shape == known.x.shape
    for batch_size in (1, 5, 11):
        np.testing.assert_allclose(drawn(known, method=method, batch_size=batch_size, **target), whole, atol=1e-6)


def test_seeds():
    known = mlp()
    np.testing.assert_array_equal(drawn(known), drawn(known, seed=0))
    assert np.abs(drawn(known, seed=1) - drawn(known)).max() > 1e-4
    one = drawn(known, method="smoothgrad", samples=1, noise_sigma=1.0, inner="input_x_gradient")
    assert len(np.unique(np.round(one, 5))) == one.size  # every element of every sample has noise of its own
    alone = onnxplain.explain(known.model, known.x[:1], "smoothgrad", target=1, samples=9).attribution
    np.testing.assert_allclose(alone, drawn(known)[:1], atol=1e-6)


IDENTITY = "g (float[N,2,3] x) => (float[N,2,3] y) { s = Mul(x, x)\n y = Mul(s, half) }"  # its gradient is x: averages tell the noise


def noise_of(x, **params):
    model = parse(IDENTITY, half=np.float32(0.5))
    ones = np.ones_like(x)
    return [onnxplain.explain(model, x, m, target=ones, samples=2000, **params).attribution for m in ("smoothgrad", "vargrad")]


def test_the_noise_is_what_it_says():
    x = np.stack([draw(2, 3), 10 * draw(2, 3)])
    spread = np.array([np.ptp(v) for v in x])[:, None, None]
    for params, sigma in (({}, 0.1 * spread), ({"noise_scale": 0.3}, 0.3 * spread), ({"noise_sigma": 0.7}, 0.7), ({"noise_sigma": 0.0}, 0.0)):
        mean, var = noise_of(x, **params)
        assert np.all(np.abs(mean - x) <= 6 * sigma / np.sqrt(2000) + 1e-5)
        np.testing.assert_allclose(var, np.broadcast_to(sigma**2, x.shape), rtol=0.2, atol=1e-6)


def test_each_tensor_has_noise_of_its_own():
    model, feeds = two_inputs(), {"a": draw(3, 3), "b": draw(3, 4), "rate": np.float32(1.5)}
    got = onnxplain.explain(model, feeds, "smoothgrad", target=0, samples=3)
    assert {n: a.shape for n, a in got.attributions.items()} == {"a": (3, 3), "b": (3, 4), "rate": ()}
    square = parse("g (float[N,2] a, float[N,2] b) => (float[N,2] y) { s = Mul(a, a)\n t = Mul(b, b)\n y = Add(s, t) }")
    same = {"a": draw(2, 2), "b": draw(2, 2)}
    got = onnxplain.explain(square, same, "smoothgrad", target=0, samples=1).attributions
    assert np.abs(got["a"] - got["b"])[:, 0].min() > 1e-3


def test_noise_inside_where_only_the_run_tells_the_size():
    known = sequence()
    got = onnxplain.explain(known.model, known.x, "smoothgrad", target=(None, 0), wrt="h", samples=1, noise_sigma=1.0, inner="input_x_gradient").attribution
    w = 1.0 * next(iter(onnx_arrays(known)))[:, 0]
    noise = got / w - np.tanh(known.x)
    assert len(np.unique(np.round(noise, 4))) == noise.size


def onnx_arrays(known):
    from onnx import numpy_helper

    return [numpy_helper.to_array(t) for t in known.model.graph.initializer]


@pytest.mark.parametrize(
    "wrong",
    [
        {"samples": 0},
        {"noise_scale": -1},
        {"noise_sigma": -0.1},
        {"seed": -1},
        {"square": True, "abs": True},
        {"noise": NOISE[:, :2]},
        {"noise": NOISE[0]},
        {"noise": {"z": NOISE}},
    ],
)
def test_wrong_parameters(wrong):
    with pytest.raises(onnxplain.InputError):
        onnxplain.explain(mlp().model, mlp().x, "smoothgrad", **wrong)
