"""integrated_gradients and expected_gradients against the sums of their definitions, written in NumPy."""

import numpy as np
import pytest
from helpers import cnn, draw, fixed, mlp, parse, plain, time_major, two_inputs
from onnx import numpy_helper
from scipy.special import roots_legendre

import onnxplain
from onnxplain.methods import method
from onnxplain.session import Session
from onnxplain.write import SCORE

N = 7
NODES = {  # FORMULAS.md: positions and weights on [0, 1]
    "riemann_left": [(i / N, 1 / N) for i in range(N)],
    "riemann_right": [((i + 1) / N, 1 / N) for i in range(N)],
    "riemann_middle": [((i + 0.5) / N, 1 / N) for i in range(N)],
    "riemann_trapezoid": [(i / (N - 1), (0.5 if i in (0, N - 1) else 1) / (N - 1)) for i in range(N)],
    "gausslegendre": [((t + 1) / 2, w / 2) for t, w in zip(*roots_legendre(N))],
}


def integrated(known, baseline, weights, nodes):
    baseline = np.broadcast_to(np.asarray(baseline, np.float64), known.x.shape)
    return (known.x - baseline) * sum(w * known.slope(baseline + a * (known.x - baseline), weights) for a, w in nodes)


@pytest.mark.parametrize("quadrature", NODES)
@pytest.mark.parametrize("batch_size", [None, 3])
def test_quadratures(quadrature, batch_size):
    known = mlp()
    got = onnxplain.explain(known.model, known.x, target=[0, 1, 2, 3, 0], steps=N, quadrature=quadrature, batch_size=batch_size)
    expected = integrated(known, 0, known.one_hot([0, 1, 2, 3, 0]), NODES[quadrature])
    np.testing.assert_allclose(got.attribution, expected, atol=1e-5)


@pytest.mark.parametrize(
    "baseline", [0.5, draw(3, seed=1), draw(1, 3, seed=2), draw(5, 3, seed=3), {"x": draw(3, seed=4)}], ids=["number", "sample", "row", "batch", "dict"]
)
@pytest.mark.parametrize("batch_size", [None, 2])
def test_baselines(baseline, batch_size):
    known = mlp()
    got = onnxplain.explain(known.model, known.x, target=2, steps=N, baseline=baseline, batch_size=batch_size)
    given = baseline["x"] if isinstance(baseline, dict) else baseline
    np.testing.assert_allclose(got.attribution, integrated(known, given, known.one_hot([2] * 5), NODES["gausslegendre"]), atol=1e-5)


@pytest.mark.parametrize("make", [mlp, fixed, time_major])
def test_a_baseline_for_each_sample_survives_a_split(make):
    known = make()
    baseline = draw(*known.x.shape, seed=3)
    for batch_size in (100, 2, 1):
        got = onnxplain.explain(known.model, known.x, target=1, steps=N, baseline=baseline, batch_size=batch_size)
        classes = 2 if make is time_major else 4
        weights = np.eye(classes)[[1] * (known.x.shape[1] if make is time_major else 5)]
        np.testing.assert_allclose(got.attribution, integrated(known, baseline, weights, NODES["gausslegendre"]), atol=1e-5)
        assert np.abs(got.delta).max() < 0.05
    inside = [onnxplain.explain(known.model, known.x, wrt="h", baseline=baseline, batch_size=b).attribution for b in (100, 2)] if make is mlp else [0, 0]
    np.testing.assert_allclose(inside[0], inside[1], atol=1e-6)


def test_a_saved_baseline_for_each_sample():
    known = mlp()
    explainer = onnxplain.Explainer(known.model, steps=N, baseline=draw(5, 3, seed=3))
    saved = plain(explainer.model).run(["attribution"], {"x": known.x, "target": np.full(5, 1)})[0]
    np.testing.assert_allclose(saved, explainer.explain(known.x, 1).attribution, atol=1e-6)


def test_delta_tells_what_is_missing():
    known = mlp()
    for steps in (50, 1):
        got = onnxplain.explain(known.model, known.x, target=1, steps=steps, quadrature="riemann_left", baseline=0.3)
        ends = known.forward(known.x)[:, 1] - known.forward(np.full_like(known.x, 0.3))[:, 1]
        np.testing.assert_allclose(got.delta, got.attribution.sum(1) - ends, atol=1e-5)
        assert got.delta.shape == (5,)
    assert np.abs(got.delta).max() > 0.01
    fine = onnxplain.explain(known.model, known.x, target=1, steps=50)
    assert np.abs(fine.delta).max() < 1e-5
    assert onnxplain.explain(known.model, known.x, steps=2, inner="saliency").delta is None
    assert onnxplain.explain(known.model, known.x, steps=2, inner="gradient", inner_params={"postprocess": "abs"}).delta is None


@pytest.mark.parametrize(
    ("target", "baseline", "asked"),
    [(1, 0.3, 1), ([3, 0, 3, 1, 0], 0.0, 3), (1, draw(5, 3, seed=3), 5), (np.eye(4, dtype=np.float32)[[3, 0, 3, 1, 0]], 0.0, 5)],
    ids=["one target", "three targets", "own baselines", "weights"],
)
def test_where_all_begin_in_one_place_each_target_is_asked_for_once(monkeypatch, target, baseline, asked):
    known, rows = mlp(), []
    run = Session.run

    def counted(session, feeds, *args):
        values = run(session, feeds, *args)
        rows.extend(len(values[n]) for n in session.outputs if session.outputs == [SCORE])
        return values

    monkeypatch.setattr(Session, "run", counted)
    got = onnxplain.explain(known.model, known.x, target=target, steps=1, quadrature="riemann_left", baseline=baseline)
    weights = target if np.ndim(target) == 2 else known.one_hot(np.broadcast_to(target, 5))
    change = ((known.forward(known.x) - known.forward(np.broadcast_to(baseline, (5, 3)))) * weights).sum(1)
    np.testing.assert_allclose(got.delta, got.attribution.sum(1) - change, atol=1e-5)
    assert rows == [asked]


def test_complete_on_a_deep_network():
    known = cnn()
    got = onnxplain.explain(known.model, known.x, steps=300, quadrature="riemann_middle", target=0)
    ends = (known.forward(known.x) - known.forward(0 * known.x))[:, 0]
    np.testing.assert_allclose(got.attribution.sum((1, 2, 3)), ends, atol=0.1)
    np.testing.assert_allclose(got.delta, got.attribution.sum((1, 2, 3), dtype=np.float64) - ends, atol=1e-4)


def test_the_target_is_decided_at_x_not_on_the_path():
    known = mlp()
    best = known.forward(known.x).argmax(1)
    got = onnxplain.explain(known.model, known.x, steps=N)
    np.testing.assert_allclose(got.attribution, integrated(known, 0, known.one_hot(best), NODES["gausslegendre"]), atol=1e-5)
    assert got.target.tolist() == best.tolist()


@pytest.mark.parametrize("make", [time_major, fixed])
def test_batch_axes(make):
    known = make()
    n, classes = (5, 4) if make is fixed else (3, 2)
    weights = np.eye(classes)[[k % classes for k in range(n)]]
    for batch_size in (None, 2, 7):
        got = onnxplain.explain(known.model, known.x, target=[k % classes for k in range(n)], steps=N, batch_size=batch_size)
        np.testing.assert_allclose(got.attribution, integrated(known, 0, weights, NODES["gausslegendre"]), atol=1e-5)
        assert np.abs(got.delta).max() < 1e-4


def test_a_tensor_inside_starts_from_its_value_at_the_inputs_baseline():
    known = mlp()
    w = {t.name: numpy_helper.to_array(t).astype(np.float64) for t in known.model.graph.initializer}
    h = lambda x: np.tanh(x @ w["w1"] + w["b1"])
    for baseline, start in ((0.0, h(np.zeros(3))), (0.5, h(np.full(3, 0.5))), ({"h": 0.25}, np.full(6, 0.25))):
        got = onnxplain.explain(known.model, known.x, wrt="h", target=1, baseline=baseline)
        np.testing.assert_allclose(got.attribution, (h(known.x) - start) * w["w2"][:, 1], atol=1e-5)
        assert np.abs(got.delta).max() < 1e-5


def test_several_inputs_move_together():
    model, feeds = two_inputs(), {"a": draw(3, 3), "b": draw(3, 4), "rate": np.float32(1.5)}
    got = onnxplain.explain(model, feeds, target=2, wrt=["a", "b"], steps=60)
    assert np.abs(got.delta).max() < 1e-4
    assert set(got.attributions) == {"a", "b"}
    shared = onnxplain.explain(model, feeds, target=2, steps=60)
    assert shared.attributions["rate"].shape == ()
    assert shared.delta.shape == (1,)
    assert abs(shared.delta[0]) < 1e-4
    baselines = {"a": 0.1, "b": draw(4)}
    assert np.abs(onnxplain.explain(model, feeds, target=2, wrt=["a", "b"], steps=60, baseline=baselines).delta).max() < 1e-4
    with pytest.raises(onnxplain.InputError, match="no entry for 'b'"):
        onnxplain.explain(model, feeds, wrt=["a", "b"], baseline={"a": 0.1})


@pytest.mark.parametrize(
    "wrong",
    [{"steps": 0}, {"quadrature": "simpson"}, {"steps": 1, "quadrature": "riemann_trapezoid"}, {"baseline": np.zeros(7)}, {"baseline": np.nan * np.zeros(3)}],
)
def test_wrong_parameters(wrong):
    with pytest.raises(onnxplain.InputError):
        onnxplain.explain(mlp().model, mlp().x, **wrong)


# ---- expected gradients ----


@pytest.mark.parametrize("batch_size", [None, 2])
@pytest.mark.parametrize("per_sample", [True, False])
def test_given_draws(batch_size, per_sample):
    known = mlp()
    references, alphas = draw(6, 3, seed=1), np.random.default_rng(0).uniform(size=(6, 5) if per_sample else 6)
    got = onnxplain.explain(known.model, known.x, "expected_gradients", target=3, baselines=references, alphas=alphas, batch_size=batch_size)
    weights = known.one_hot([3] * 5)
    positions = alphas[:, :, None] if per_sample else alphas[:, None, None]
    expected = sum((known.x - b) * known.slope(b + a * (known.x - b), weights) for b, a in zip(references.astype(np.float64), positions)) / 6
    np.testing.assert_allclose(got.attribution, expected, atol=1e-5)


def test_random_draws():
    known = mlp()
    explain = lambda **o: (
        onnxplain.explain(known.model, known.x, "expected_gradients", target=0, **{"baselines": draw(8, 3, seed=1), "samples": 12, **o}).attribution
    )
    np.testing.assert_allclose(explain(batch_size=3), explain(batch_size=100), atol=1e-6)
    np.testing.assert_array_equal(explain(), explain())
    assert np.abs(explain(seed=1) - explain()).max() > 1e-3
    one = explain(baselines=np.zeros((1, 3)), samples=800)
    expected = integrated(known, 0, known.one_hot([0] * 5), NODES["gausslegendre"])
    np.testing.assert_allclose(one, expected, atol=0.1 * np.abs(expected).max())
    assert not np.allclose(one, expected, atol=1e-5)


def test_draws_with_the_batch_on_another_axis():
    known = time_major()
    references, alphas = draw(6, 4, 3, seed=1), np.random.default_rng(0).uniform(size=(6, 3))
    weights = np.eye(2)[[1, 1, 1]]
    expected = 0
    for b, a in zip(references.astype(np.float64), alphas):
        b = b[:, None]
        expected = expected + (known.x - b) * known.slope(b + a[None, :, None] * (known.x - b), weights) / 6
    for batch_size in (None, 2):
        got = onnxplain.explain(known.model, known.x, "expected_gradients", target=1, baselines=references, alphas=alphas, batch_size=batch_size)
        np.testing.assert_allclose(got.attribution, expected, atol=1e-5)


def test_draws_that_do_not_fit():
    known = mlp()
    for wrong in (
        {},
        {"baselines": draw(6, 3), "alphas": np.zeros((4, 5))},
        {"baselines": draw(6, 3), "alphas": np.zeros((6, 2))},
        {"baselines": draw(6, 3), "seed": -1},
    ):
        with pytest.raises(onnxplain.InputError):
            onnxplain.explain(known.model, known.x, "expected_gradients", batch_size=2, **wrong)


# ---- other inner methods ----


def test_inner_methods():
    """Averaged over the path, (x − x₀) times whatever the inner method says."""
    known = mlp()
    nodes, weights = NODES["gausslegendre"], known.one_hot([1] * 5)
    expected = known.x * sum(w * np.abs(known.slope(a * known.x, weights)) for a, w in nodes)
    for inner in ("saliency", {"method": "gradient", "postprocess": "abs"}, method("saliency", {})):
        got = onnxplain.explain(known.model, known.x, target=1, steps=N, inner=inner)
        np.testing.assert_allclose(got.attribution, expected, atol=1e-5)
    got = onnxplain.explain(known.model, known.x, target=1, steps=N, inner="gradient", inner_params={"postprocess": "square"})
    np.testing.assert_allclose(got.attribution, known.x * sum(w * known.slope(a * known.x, weights) ** 2 for a, w in nodes), atol=1e-5)
    with pytest.raises(onnxplain.InputError, match="method"):
        onnxplain.explain(known.model, known.x, inner={"steps": 3})


@pytest.mark.parametrize("batch_size", [None, 8, 1])
def test_averages_nest(batch_size):
    """The mean over noise of the integral over the path."""
    known = mlp()
    noise = 0.1 * draw(2, 5, 3, seed=6)
    got = onnxplain.explain(
        known.model, known.x, "smoothgrad", target=1, noise=noise, inner="integrated_gradients", inner_params={"steps": N}, batch_size=batch_size
    )
    expected = 0
    for eps in noise:
        at = (known.x + eps).astype(np.float64)
        expected = expected + at * sum(w * known.slope(a * at, known.one_hot([1] * 5)) for a, w in NODES["gausslegendre"]) / 2
    np.testing.assert_allclose(got.attribution, expected, atol=1e-5)


def test_a_model_without_a_batch_goes_step_by_step():
    w = draw(12, 5)
    model = parse("g (float[3,4] x) => (float[5] y) { v = Reshape(x, flat)\n t = Tanh(v)\n y = MatMul(t, w) }", w=w, flat=np.array([12]))
    x = draw(3, 4)
    got = onnxplain.explain(model, x, target=2, steps=60)
    assert got.attribution.shape == (3, 4)
    np.testing.assert_allclose(got.attribution, np.tanh(x) * w[:, 2].reshape(3, 4), atol=1e-4)
    saved = plain(onnxplain.Explainer(model, steps=60).model).run(["attribution"], {"x": x, "target": np.array([2])})[0]
    np.testing.assert_allclose(saved, got.attribution, atol=1e-6)


def test_token_ids_may_be_the_baseline():
    table, w = draw(7, 4, seed=1), draw(4, 2, seed=2)
    text = "g (int64[N,5] ids) => (float[N,2] y) { e = Gather(t, ids)\n h = Tanh(e)\n s = ReduceMean<keepdims=0>(h, one)\n y = MatMul(s, w) }"
    model = parse(text, t=table, w=w, one=np.array([1]))
    ids = np.array([[1, 2, 3, 0, 0], [4, 5, 6, 1, 0]])
    for baseline in (np.zeros((1, 5), np.int64), np.zeros((2, 5), np.int64), 0):
        e = onnxplain.explain(model, ids, "integrated_gradients", target=1, baseline={"ids": baseline}, steps=32)
        np.testing.assert_allclose(e.delta, 0, atol=1e-5)
        assert (e.attribution[ids == 0] == 0).all()


def test_an_embedding_that_no_float_input_decides_starts_at_the_baseline():
    text = """g (int64[N,T] ids, float[N,T] mask) => (float[N,3] y) {
        e = Gather(table, ids)  k = Unsqueeze(mask, two)  z = Mul(e, k)  s = ReduceSum<keepdims = 0>(z, one)  b = Tanh(s)  y = MatMul(b, v) }"""
    model = parse(text, table=draw(9, 4), v=draw(4, 3), one=np.array([1]), two=np.array([2]))
    feeds = {"ids": np.arange(10).reshape(2, 5) % 9, "mask": np.ones((2, 5), np.float32)}
    got = onnxplain.explain(model, feeds, wrt="e", target=0)
    rise = plain(model).run(None, feeds)[0][:, 0]
    np.testing.assert_allclose(got.attribution.sum((1, 2)), rise, atol=1e-4)


@pytest.mark.parametrize("wrt", [None, "x"])
@pytest.mark.parametrize("method", ["integrated_gradients", "smoothgrad", "feature_ablation"])
def test_inputs_may_be_empty(wrt, method):
    """A decoder's first step has no past."""
    text = """g (float[N,4] x, float[N,P,4] past) => (float[N,3] y) {
        u = Unsqueeze(x, one)  c = Concat<axis = 1>(past, u)  a = MatMul(c, w)  b = Tanh(a)  s = ReduceSum<keepdims = 0>(b, one)  y = MatMul(s, v) }"""
    short = "g (float[N,4] x) => (float[N,3] y) { a = MatMul(x, w)  b = Tanh(a)  y = MatMul(b, v) }"
    weights, x = {"w": draw(4, 5), "v": draw(5, 3)}, draw(3, 4)
    got = onnxplain.explain(parse(text, one=np.array([1]), **weights), {"x": x, "past": np.zeros((3, 0, 4), np.float32)}, method, target=1, wrt=wrt)
    expected = onnxplain.explain(parse(short, **weights), x, method, target=1)
    np.testing.assert_allclose(got.attributions["x"], expected.attribution, atol=1e-5)
    assert wrt or got.attributions["past"].shape == (3, 0, 4)


def test_expected_gradients_of_what_samples_share():
    """One draw of the path for all samples: with the sample's own baseline alone, by the formula."""
    model = parse("g (float[N,3] x, float s) => (float[N,2] y) { a = MatMul(x, w)  d = Mul(a, s)  y = Tanh(d) }", w=draw(3, 2))
    feeds, params = {"x": draw(4, 3), "s": np.array(2, np.float32)}, {"baselines": {"x": np.zeros((1, 3)), "s": np.zeros(1)}, "samples": 400}
    got = onnxplain.explain(model, feeds, "expected_gradients", target=0, **params)
    whole = onnxplain.explain(model, feeds, "integrated_gradients", target=0)
    for n in feeds:
        np.testing.assert_allclose(got.attributions[n], whole.attributions[n], atol=0.1 * np.abs(whole.attributions[n]).max())


def test_expected_gradients_refuses_several_rows_a_sample():
    text = "g (float[N,4] x) => (float[N,4] y) { h = Reshape(x, two)  t = Tanh(h)  y = Reshape(t, four) }"
    model = parse(text, two=np.array([-1, 2]), four=np.array([-1, 4]))
    with pytest.raises(onnxplain.InputError, match="'h' has several rows"):
        onnxplain.explain(model, draw(3, 4), "expected_gradients", wrt="h", target=0, baselines={"h": np.zeros((1, 2))})
