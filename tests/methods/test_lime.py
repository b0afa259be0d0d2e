"""Local linear models against the penalised least squares, solved in one piece."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import cnn, draw, mlp, parse, time_major, tokens

import onnxplain
from onnxplain import Explainer, InputError

from .test_tables import training

MASK = np.array([[0, 0, 1, 1, 1], [0, 0, 1, 1, 1], [2, 2, 2, 3, 3], [2, 2, 2, 3, 3], [4, 4, 4, 4, 4]])
Z = np.random.default_rng(2).integers(0, 2, (40, 5))


def ridge(z, w, y, alpha):
    """min Σ w (y − b − z c)² + alpha |c|², as ordinary least squares of longer columns."""
    z1 = np.column_stack([z, np.ones(len(z))])
    rows = np.vstack([np.sqrt(w)[:, None] * z1, np.sqrt(alpha) * np.eye(z1.shape[1])[:-1]])
    return np.linalg.lstsq(rows, np.r_[np.sqrt(w) * y, np.zeros(z.shape[1])], rcond=None)[0][:-1]


def perturbed(x, z, ids, baseline):
    return np.stack([np.where(row[ids].astype(bool), x, baseline) for row in z])


def cosine_weights(z, width):
    ones = np.ones(z.shape[1])
    cosine = np.array([r @ ones / np.sqrt(r @ r * (ones @ ones)) if r.any() else 0 for r in z.astype(float)])
    return np.sqrt(np.exp(-((1 - cosine) ** 2) / width**2))


@pytest.mark.parametrize("kernel", ["lime", "captum"])
@pytest.mark.parametrize("batch_size", [None, 7])
def test_ridge(kernel, batch_size):
    known, target = cnn(), [2, 0, 1]
    params = {"coalitions": Z, "mask": MASK, "baseline": 0.2, "kernel": kernel, "alpha": 0.7, "kernel_width": 0.3 if kernel == "lime" else 5.0}
    got = onnxplain.explain(known.model, known.x, "lime", target=target, batch_size=batch_size, **params).attribution
    for n, t in enumerate(target):
        x = known.x[n].astype(float)
        points = perturbed(x, Z, np.broadcast_to(MASK, x.shape), 0.2)
        far = ((points - x) ** 2).sum((1, 2, 3))
        w = cosine_weights(Z, 0.3) if kernel == "lime" else np.exp(-far / (2 * 5.0**2))
        expected = ridge(Z, w, known.forward(points)[:, t], 0.7)
        np.testing.assert_allclose(got[n], np.broadcast_to(expected[MASK], x.shape), atol=2e-5)


def test_lasso_meets_its_optimality_conditions():
    known = cnn()
    got = onnxplain.explain(known.model, known.x[:1], "lime", coalitions=Z, mask=MASK, surrogate="lasso", alpha=0.05, target=1).attribution[0, 0]
    c = np.array([got[k == MASK][0] for k in range(5)])
    w = cosine_weights(Z, 0.25)
    y = known.forward(perturbed(known.x[0].astype(float), Z, np.broadcast_to(MASK, (2, 5, 5)), 0))[:, 1]
    rest = y - Z @ c - w @ (y - Z @ c) / w.sum()
    slope = Z.T @ (w * rest) / w.sum()
    assert (c == 0).any() or np.abs(c).min() > 0
    np.testing.assert_allclose(slope[c != 0], 0.05 * np.sign(c[c != 0]), atol=2e-3)
    assert (np.abs(slope[c == 0]) <= 0.05 + 2e-3).all()


def test_drawn_coalitions_recover_a_linear_model():
    w = draw(6, seed=1)
    model = parse("g (float[N,6] x) => (float[N,1] y) { s = Mul(x, w)\n y = ReduceSum(s, axes) }", w=w, axes=np.array([1]))
    x = draw(3, 6, seed=2)
    run = lambda **p: onnxplain.explain(model, x, "lime", **p).attribution
    np.testing.assert_allclose(run(alpha=0), x * w, atol=1e-4)
    np.testing.assert_allclose(run(alpha=1.0, samples=50, batch_size=7), run(alpha=1.0, samples=50), atol=1e-5)
    assert np.abs(run(samples=50) - run(samples=50, seed=1)).max() > 1e-4


def test_groups_that_differ_and_pictures_in_superpixels():
    known = mlp()
    mask = np.array([[0, 0, 1], [0, 1, 1], [0, 1, 2], [3, 3, 3], [1, 0, 1]])
    got = onnxplain.explain(known.model, known.x, "lime", mask=mask, target=1, samples=30, seed=4).attribution
    z = np.random.default_rng(4).integers(0, 2, (3, 30)).T
    z[0] = 1
    for n, x in enumerate(known.x.astype(float)):
        ids = np.unique(mask[n], return_inverse=True)[1]
        own = z[:, : ids.max() + 1]
        expected = ridge(own, cosine_weights(own, 0.25), known.forward(perturbed(x, own, ids, 0))[:, 1], 1.0)
        np.testing.assert_allclose(got[n], expected[ids], atol=1e-5)
    for n, x in enumerate(known.x):  # a sample's numbers are its own, whatever else is in the batch
        alone = onnxplain.explain(known.model, x[None], "lime", mask=mask[n], target=1, samples=30, seed=4).attribution
        np.testing.assert_allclose(got[n], alone[0], atol=1e-6)
    model = parse("g (float[N,3,16,16] x) => (float[N,1] y) { y = ReduceMean<keepdims=0>(x, axes) }", axes=np.array([2, 3]))
    picture = 0.01 * draw(1, 3, 16, 16)
    picture[..., 8:] += 1
    got = onnxplain.explain(model, picture, "lime", mask={"by": "slic", "n_segments": 4}, target=0, samples=64).attribution
    assert got[..., 9:].min() > got[..., :7].max()
    assert 2 <= len(np.unique(got)) < 20


def test_tokens_and_time():
    ids = np.array([[3, 1, 4, 1], [5, 9, 2, 6]])
    table, w = draw(10, 3, seed=80).astype(float), draw(3, 2, seed=81).astype(float)
    z = np.array(list(np.ndindex(2, 2, 2, 2)))
    got = onnxplain.explain(tokens(), ids, "lime", wrt="ids", mask="tokens", coalitions=z, baseline=7, target=1, alpha=0.1).attribution
    for n in range(2):
        y = (np.tanh(table[perturbed(ids[n], z, np.arange(4), 7)]).mean(1) @ w)[:, 1]
        np.testing.assert_allclose(got[n], ridge(z, cosine_weights(z, 0.25), y, 0.1), atol=1e-6)
    known = time_major()
    z = np.array(list(np.ndindex(2, 2)))
    got = onnxplain.explain(known.model, known.x, "lime", mask={"by": "time", "pieces": 2}, coalitions=z, alpha=0.1, target=1).attribution
    pieces = np.broadcast_to(np.array([0, 0, 1, 1])[:, None], (4, 3))
    for n in range(3):
        y = known.forward(perturbed(known.x[:, n].astype(float), z, pieces, 0).transpose(1, 0, 2))[:, 1]
        np.testing.assert_allclose(got[:, n], ridge(z, cosine_weights(z, 0.25), y, 0.1)[pieces], atol=1e-5)


# ---- tables ----


@pytest.mark.parametrize("sampling", ["quartiles", "gaussian"])
def test_the_model_of_a_table(sampling):
    known, data = mlp(), training()
    explainer = Explainer(known.model, "lime", sampling=sampling, categorical=[2], samples=60, alpha=0.5).fit(data)
    x = np.array([[1.0, 0.1, 2], [9.0, 3.0, 0]], np.float32)
    points, z = explainer.method.table.around(x.astype(float), 60, 0)
    got = explainer.explain(x, [1, 3]).attribution
    for n, t in enumerate([1, 3]):
        far = ((z[:, n] - z[0, n]) ** 2).sum(1)
        w = np.exp(-far / (2 * (0.75 * np.sqrt(3)) ** 2))
        np.testing.assert_allclose(got[n], ridge(z[:, n], w, known.forward(points[:, n])[:, t], 0.5), atol=1e-5)
    np.testing.assert_allclose(explainer.explain(x[1:], 3).attribution[0], got[1], atol=1e-6)


def test_a_column_that_never_changes():
    data = training()
    data[:, 1] = 5
    explainer = Explainer(mlp().model, "lime", sampling="quartiles", samples=40).fit(data)
    got = explainer.explain(data[:2], 1).attribution
    assert np.isfinite(got).all()
    np.testing.assert_allclose(got[:, 1], 0, atol=1e-9)


@pytest.mark.parametrize(
    ("params", "word"),
    [
        ({"kernel": "cosine"}, "kernel"),
        ({"sampling": "quartile"}, "sampling"),
        ({"sampling": "quartiles"}, "fit"),
        ({"surrogate": "tree"}, "surrogate"),
        ({"kernel_width": 0}, "kernel_width"),
        ({"alpha": -1}, "alpha"),
        ({"alpha": "a"}, "alpha"),
        ({"alpha": np.inf}, "alpha must be a finite number, not negative, got inf"),
        ({"table": 5}, "table must be what fit.X. learned, or None, got 5"),
        ({"coalitions": np.zeros((0, 3))}, "coalitions must be zeros and ones"),
        ({"kernel_width": "a"}, "kernel_width"),
        ({"categorical": 3}, "categorical"),
        ({"coalitions": "a"}, "coalitions must be zeros and ones"),
        ({"samples": 1.5}, "samples"),
        ({"coalitions": [[0, 1]]}, "one column a feature"),
        ({"coalitions": [[0, 1, 2]]}, "zeros and ones"),
        ({"kernel": "captum", "kernel_width": 1e-3, "coalitions": [[0, 0, 0]]}, "larger kernel_width"),
    ],
)
def test_wrong_parameters(params, word):
    with pytest.raises(InputError, match=word):
        onnxplain.explain(mlp().model, mlp().x, "lime", **params)


def test_wrong_fits():
    with pytest.raises(InputError, match="learns nothing"):
        Explainer(mlp().model, "lime").fit(training())
    with pytest.raises(InputError, match="table"):
        Explainer(cnn().model, "lime", sampling="quartiles").fit(cnn().x)
    with pytest.raises(InputError, match="columns"):
        Explainer(mlp().model, "lime", sampling="quartiles", categorical=[3]).fit(training())
    with pytest.raises(InputError, match="at least one batch"):
        Explainer(mlp().model, "lime", sampling="quartiles").fit(iter([]))
