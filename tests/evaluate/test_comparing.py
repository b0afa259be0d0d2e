"""compare: what it takes, what it gives, and that no split or stop changes it."""

import builtins
import re
from pathlib import Path

import numpy as np
import pytest
from helpers import draw, parse, two_inputs

import onnxplain
from onnxplain import evaluate
from onnxplain.methods import METHODS

from .known import FLAT, IMAGES, LINEAR, W, X, curves, values


def test_all_metrics_have_a_line_and_a_direction():
    assert set(evaluate.METRICS) >= {"deletion_auc", "insertion_auc", "sensitivity_n", "infidelity", "max_sensitivity", "box_ratio", "pointing_game"}
    for name, metric in evaluate.METRICS.items():
        assert re.search(r"\d{4}[^()]*\)\.$", metric.summary()), f"{name}: the first sentence names its paper"
        assert metric.better in ("higher", "lower")
        assert metric.__doc__
    assert not set(evaluate.BASELINES) & set(METHODS)


def test_the_page_lists_all_metrics():
    text = (Path(__file__).resolve().parent.parent.parent / "docs" / "evaluating.md").read_text(encoding="utf-8")
    listed = dict(re.findall(r"^\| `(\w+)` \| (higher|lower) \|", text, re.MULTILINE))
    assert listed == {name: metric.better for name, metric in evaluate.METRICS.items()}


def test_methods_in_every_form():
    explanation = onnxplain.explain(LINEAR, X, "input_x_gradient", target=1)
    given = {
        "name": "input_x_gradient",
        "dict": {"method": "input_x_gradient"},
        "explainer": onnxplain.Explainer(LINEAR, "input_x_gradient"),
        "explanation": explanation,
        "array": explanation.attribution,
    }
    result = evaluate.compare(LINEAR, X, given, "deletion_auc", target=1)
    for label in given:
        np.testing.assert_allclose(values(result, method=label), values(result, method="name"), rtol=1e-6)
    assert result.metrics == ["deletion_auc"]
    assert [r["target"] for r in result][:5] == ["1"] * 5
    labels = evaluate.compare(LINEAR, X, ["gradient", {"method": "smoothgrad", "samples": 3}], "sparseness").values("sparseness")
    assert list(labels) == ["gradient", "smoothgrad(samples=3)"]


def test_targets():
    own = [0, 1, 2, 1, 0]
    whole = values(evaluate.deletion(LINEAR, X, "input_x_gradient", target=own))
    each = [values(evaluate.deletion(LINEAR, X[k : k + 1], "input_x_gradient", target=t))[0] for k, t in enumerate(own)]
    np.testing.assert_allclose(whole, each, atol=1e-6)
    best = evaluate.deletion(LINEAR, X, "input_x_gradient")
    assert [int(r["target"]) for r in best] == (X @ W.astype(np.float32) + onnxplain.load(LINEAR).raw.constants["b"].numpy()).argmax(1).tolist()
    weights = draw(5, 3, seed=4)
    got = curves(evaluate.deletion(LINEAR, X, "input_x_gradient", target=weights, steps=6))
    np.testing.assert_allclose(got[:, 0] - got[:, -1], ((X @ W) * weights).sum(1), atol=1e-5)


ONE = parse("g (float[N,3] x) => (float[N] y) { h = MatMul(x, w)\n y = ReduceSum<keepdims=0>(h, a) }", w=draw(3, 2, seed=1), a=np.array([1]))
SQUARES = parse("g (float[N,3] x) => (float[N,2,2] y) { h = MatMul(x, w)\n y = Reshape(h, s) }", w=draw(3, 4, seed=1), s=np.array([0, 2, 2]))


@pytest.mark.parametrize(
    ("model", "target"), [(ONE, None), (ONE, 0), (ONE, [0] * 9), (SQUARES, None), (SQUARES, (1, 0)), (SQUARES, [(0, 1)] * 4 + [(1, 1)] * 5)]
)
def test_resolved_targets(model, target):
    """More samples than are measured at once."""
    x = draw(9, 3, seed=2)
    e = onnxplain.explain(model, x, "input_x_gradient", target=target)
    by_sample = values(evaluate.deletion(model, x, {"e": e}, target=target))
    np.testing.assert_allclose(values(evaluate.deletion(model, x, {"e": e}, target=e.target)), by_sample)
    with pytest.raises(onnxplain.InputError, match="there are 8 targets for more samples"):
        evaluate.deletion(model, x, "gradient", target=e.target[:8])


def test_inputs_of_one_number_a_sample():
    model, x = parse("g (float[N] x) => (float[N] y) { y = Mul(x, x) }"), np.array([1, -2, 3], np.float32)
    np.testing.assert_allclose(values(evaluate.deletion(model, x, "gradient")), x * x / 2)  # from x² to nothing in one step
    np.testing.assert_allclose(values(evaluate.completeness(model, x, "input_x_gradient")), x * x)  # 2 x² − x²


def test_no_split_changes_the_numbers():
    metrics = {"deletion_auc": {"fill": "noise"}, "sensitivity_n": {"sizes": 3, "subsets": 10}, "infidelity": {"samples": 5}}
    run = lambda x, **options: values(evaluate.compare(LINEAR, x, ["gradient", "random"], metrics, target=0, **options))
    whole = run(X)
    by_sample = {(r["method"], r["metric"], r["sample"]): r["value"] for r in evaluate.compare(LINEAR, X, ["gradient", "random"], metrics, target=0)}
    for r in evaluate.compare(LINEAR, [X[:1], X[1:4], X[4:]], ["gradient", "random"], metrics, target=0, batch_size=2):
        assert r["value"] == pytest.approx(by_sample[r["method"], r["metric"], r["sample"]], rel=1e-4)
    np.testing.assert_allclose(run(X), whole)
    assert np.abs(run(X, seed=1) - whole).max() > 1e-3


def test_two_inputs():
    feeds = {"a": draw(3, 3, seed=1), "b": draw(3, 4, seed=2), "rate": np.float32(0.5)}
    result = evaluate.deletion(two_inputs(), feeds, "input_x_gradient", wrt=["a", "b"], target=2, steps=7)
    e = onnxplain.explain(two_inputs(), feeds, "input_x_gradient", wrt=["a", "b"], target=2)
    w = np.array(onnxplain.load(two_inputs()).raw.constants["w"].numpy(), np.float64)
    for n, curve in enumerate(curves(result)):
        a, b = feeds["a"][n].astype(np.float64), feeds["b"][n].astype(np.float64)
        expected = [np.tanh(a @ w)[2] * b[2] * 0.5]
        relevance = np.concatenate([e.attributions["a"][n], e.attributions["b"][n]])
        assert len(curve) == 8
        for k in np.argsort(-relevance, kind="stable"):
            (a if k < 3 else b)[k % 3 if k < 3 else k - 3] = 0
            expected.append(np.tanh(a @ w)[2] * b[2] * 0.5)
        np.testing.assert_allclose(curve[:4], expected[:4], atol=1e-5)  # what follows are b's other elements, all of them zero
        assert curve[-1] == pytest.approx(0)


# ---- baselines ----


def test_sobel_and_laplacian_by_hand():
    x = IMAGES[:1].astype(np.float64)
    p = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    at = lambda i, j: p[:, :, 1 + i : 5 + i, 1 + j : 7 + j]
    down = sum(c * (at(1, j) - at(-1, j)) for j, c in ((-1, 1), (0, 2), (1, 1)))
    right = sum(c * (at(i, 1) - at(i, -1)) for i, c in ((-1, 1), (0, 2), (1, 1)))
    got = {n: onnxplain.explain(FLAT, IMAGES[:1], evaluate.BASELINES[n]()).attribution for n in evaluate.BASELINES}
    np.testing.assert_allclose(got["sobel"], np.hypot(down, right), rtol=1e-5, atol=1e-6)
    bend = at(1, 0) + at(-1, 0) + at(0, 1) + at(0, -1) - 4 * x
    np.testing.assert_allclose(got["laplacian"], np.abs(bend), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(got["magnitude"], np.abs(x))


def test_random_goes_by_the_sample():
    one = onnxplain.explain(FLAT, IMAGES, evaluate.BASELINES["random"]()).attribution
    other = onnxplain.explain(FLAT, IMAGES[::-1], evaluate.BASELINES["random"]()).attribution
    np.testing.assert_array_equal(one, other[::-1])
    assert np.abs(one[0] - one[1]).max() > 0.5
    assert 0 <= one.min() < 0.05 and 0.95 < one.max() < 1


# ---- results ----


def test_table_and_best():
    result = evaluate.compare(LINEAR, X, ["random", "input_x_gradient"], ["deletion_auc", "insertion_auc"], target=0)
    lines = str(result).splitlines()
    assert lines[0].split() == ["method", "deletion_auc", "↓", "insertion_auc", "↑"]
    assert lines[1].startswith("input_x_gradient")
    assert lines[-1] == "mean ± standard error over 5 samples"
    mean = result.means("deletion_auc")["random"]
    own = values(result, "deletion_auc", "random")
    assert (mean.value, mean.error, mean.count) == pytest.approx((own.mean(), own.std(ddof=1) / np.sqrt(5), 5))
    assert result.best() == result.best("insertion_auc") == "input_x_gradient"
    assert len(result) == 20 and len(result.where(metric="deletion_auc", sample="3")) == 2
    with pytest.raises(onnxplain.InputError, match="unknown metric"):
        result.best("deletion")
    with pytest.raises(onnxplain.InputError, match="has no better and worse"):
        evaluate.agreement({"a": X, "b": X}).best()


def test_csv_and_pandas(tmp_path, monkeypatch):
    result = evaluate.deletion(LINEAR, X, "gradient", target=0, names=["a", 'b "c"', "d,e", "f\ng", "h"])
    result.to_csv(tmp_path / "r.csv")
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_csv(tmp_path / "r.csv")
    np.testing.assert_allclose(frame["value"], values(result))
    assert frame["sample"].tolist() == ["a", 'b "c"', "d,e", "f g", "h"]
    assert result.to_pandas()["value"].tolist() == values(result).tolist()
    real = builtins.__import__

    def without(name, *rest):
        if name == "pandas":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(onnxplain.InputError, match="pandas is not installed"):
        result.to_pandas()


def test_plots():
    result = evaluate.compare(LINEAR, X, ["gradient", "random"], ["deletion_auc", "sparseness"], target=0)
    ax = result.plot()
    line = ax.get_lines()[0]
    best = result.best()
    np.testing.assert_allclose(line.get_ydata(), curves(result.where(metric="deletion_auc", method=best)).mean(0))
    assert line.get_label().startswith(best)
    bars = result.plot("sparseness")
    assert [p.get_width() for p in bars.patches] == [m.value for m in result.means("sparseness").values()]
    with pytest.raises(onnxplain.InputError, match="unknown metric"):
        result.plot("complexity")


# ---- what is refused ----


@pytest.mark.parametrize(
    ("methods", "metrics", "options", "message"),
    [
        ("gradientt", "sparseness", {}, "did you mean 'gradient'"),
        ([], "sparseness", {}, "no method was named"),
        ("gradient", [], {}, "no metric was named"),
        ({}, "sparseness", {}, "no method was named"),
        ([{}], "sparseness", {}, "lacks the key 'method'"),
        ("gradient", 5, {}, "metrics must be a name, a list of names or a dict"),
        ("gradient", [{}], {}, "unknown metric {}"),
        ("gradient", {"deletion_auc": None}, {}, "the parameters of deletion_auc must be a dict, got None"),
        ("gradient", "sparsenes", {}, "did you mean 'sparseness'"),
        ("gradient", {"deletion_auc": {"step": 3}}, {}, "unknown parameter of deletion_auc 'step'"),
        (["gradient", "gradient"], "sparseness", {}, "two methods have the same name"),
        (3, "sparseness", {}, "a method is a name"),
        ({"a": {"samples": 3}}, "sparseness", {}, "lacks the key 'method'"),
        ("gradient", "sparseness", {"names": ["a"]}, "there are 1 names for more samples"),
        ("gradient", "sparseness", {"names": list("aabcd")}, "two samples have the same name"),
        ("gradient", "sparseness", {"target": [0, 1]}, "there are 2 targets for more samples"),
        ("gradient", "sparseness", {"store": "results.txt"}, "results go to a .csv or .parquet file"),
        ({"a": draw(3, 6)}, "sparseness", {}, "a explains 3 samples, there are more"),
    ],
)
def test_refused(methods, metrics, options, message):
    with pytest.raises(onnxplain.InputError, match=message):
        evaluate.compare(LINEAR, X, methods, metrics, **options)
