"""Metrics of localisation against NumPy, map by map."""

import numpy as np
import pytest
from helpers import draw

import onnxplain
from onnxplain import evaluate

from .known import FLAT, IMAGES, LINEAR, X, values

A = draw(4, 2, 4, 6, seed=7)
INSIDE = draw(4, 4, 6, seed=8) > 0.3


def measured(metric, a=A, inside=INSIDE, **params):
    return values(metric(FLAT, IMAGES, {"a": a}, target=0, inside=inside, **params))


def test_box_ratio():
    inside = np.abs(A).sum(1)
    expected = [m[i].sum() / m[~i].sum() for m, i in zip(inside, INSIDE)]
    np.testing.assert_allclose(measured(evaluate.box_ratio), expected, rtol=1e-6)
    means = [m[i].mean() / m[~i].mean() for m, i in zip(inside, INSIDE)]
    np.testing.assert_allclose(measured(evaluate.box_ratio, per_area=True), means, rtol=1e-6)
    assert np.isinf(measured(evaluate.box_ratio, a=A * INSIDE[:, None])).all()
    assert np.isnan(measured(evaluate.box_ratio, a=0 * A)).all()


def test_pointing_game():
    a = np.zeros_like(A)
    a[:, 0, 1, 1], a[:, 1, 1, 1], a[:, 0, 3, 4], a[:, :, 0, 0] = 2, -1.5, 1, -9
    inside = np.zeros_like(INSIDE)
    inside[:, 3, 4] = True
    assert measured(evaluate.pointing_game, a, inside).tolist() == [1] * 4  # channels are summed: 0.5 < 1, and the sign counts
    a[:, 1, 1, 1] = 0
    assert measured(evaluate.pointing_game, a, inside).tolist() == [0] * 4
    assert measured(evaluate.pointing_game, a, inside, tolerance=3).tolist() == [0] * 4  # √13 away
    assert measured(evaluate.pointing_game, a, inside, tolerance=4).tolist() == [1] * 4


def test_relevance_mass_and_rank():
    r = A.sum(1)
    positive = np.maximum(r, 0)
    np.testing.assert_allclose(measured(evaluate.relevance_mass), [(p * i).sum() / p.sum() for p, i in zip(positive, INSIDE)], rtol=1e-6)
    ranks = []
    for m, i in zip(r, INSIDE):
        best = set(np.argsort(-m.ravel())[: i.sum()])
        ranks.append(len(best & set(np.flatnonzero(i.ravel()))) / i.sum())
    np.testing.assert_allclose(measured(evaluate.relevance_rank), ranks)


@pytest.mark.parametrize("metric", [evaluate.pointing_game, evaluate.relevance_rank, evaluate.relevance_mass])
def test_nothing_orders_nan(metric):
    a = A.copy()
    a[1, 0, 2, 3] = np.nan
    assert np.flatnonzero(np.isnan(measured(metric, a))).tolist() == [1]


@pytest.mark.parametrize(
    ("inside", "message"),
    [
        (None, "need inside="),
        (INSIDE[:, 1:], r"inside has shape \[4, 3, 6\] and dtype bool, wanted bool \[4, 4, 6\]"),
        (INSIDE.astype(int), "wanted bool"),
        (INSIDE & (np.arange(4) != 2)[:, None, None], "inside has no place of sample 2"),
    ],
)
def test_refused(inside, message):
    with pytest.raises(onnxplain.InputError, match=message):
        measured(evaluate.box_ratio, inside=inside)


def test_only_images():
    with pytest.raises(onnxplain.InputError, match="metrics of localisation are for one image"):
        evaluate.box_ratio(LINEAR, X, "gradient", inside=np.ones((5, 4, 6), bool))
