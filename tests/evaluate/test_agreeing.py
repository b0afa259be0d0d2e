"""Similarities of maps against SciPy and NumPy."""

import numpy as np
import pytest
from helpers import draw
from scipy.stats import spearmanr

import onnxplain
from onnxplain import evaluate

from .known import LINEAR, X, values

A, B = draw(3, 2, 8, 9, seed=1), draw(3, 2, 8, 9, seed=2) + draw(3, 2, 8, 9, seed=1)


def alike(similarity, a=A, b=B, **options):
    return values(evaluate.agreement({"a": a, "b": b}, similarity, **options))


def test_spearman():
    expected = [spearmanr(a.ravel(), b.ravel()).statistic for a, b in zip(A, B)]
    np.testing.assert_allclose(alike("spearman"), expected, rtol=1e-6)
    np.testing.assert_allclose(alike("spearman", A, -A), -1)
    np.testing.assert_allclose(alike("spearman", A, -A, absolute=True), 1)
    ties = np.round(B)
    np.testing.assert_allclose(alike("spearman", A, ties), [spearmanr(a.ravel(), b.ravel()).statistic for a, b in zip(A, ties)], rtol=1e-6)
    assert np.isnan(alike("spearman", A, 0 * A)).all()


def test_top_k():
    """A tenth of 144 elements, 14."""
    best = lambda v: set(np.argsort(-v.ravel())[:14])
    np.testing.assert_allclose(alike("top_k"), [len(best(a) & best(b)) / 14 for a, b in zip(A, B)])
    np.testing.assert_allclose(alike("top_k", A, 5 * A + 1), 1)


def test_ssim():
    """One window of 7 × 7 (Wang et al. 2004, eq. 13), its covariances unbiased, for values from −1 to 1."""
    expected = []
    for a, b in zip(A[:, 0, :7, :7].astype(np.float64), B[:, 0, :7, :7].astype(np.float64)):
        a, b = a / np.abs(a).max(), b / np.abs(b).max()
        ((va, cov), (_, vb)), c1, c2 = np.cov(a.ravel(), b.ravel()), 0.02**2, 0.06**2
        m, n = a.mean(), b.mean()
        expected.append((2 * m * n + c1) * (2 * cov + c2) / ((m * m + n * n + c1) * (va + vb + c2)))
    np.testing.assert_allclose(alike("ssim", A[:, 0, :7, :7], B[:, 0, :7, :7]), expected, rtol=1e-4)
    np.testing.assert_allclose(alike("ssim", A[:, :1], B[:, :1]), alike("ssim", A[:, 0], B[:, 0]), rtol=1e-5)
    np.testing.assert_allclose(alike("ssim", A, 3 * A), 1, atol=1e-5)
    for channels in (1, 3):
        a, b = draw(2, channels, 8, 9, seed=1), draw(2, channels, 8, 9, seed=2)
        np.testing.assert_allclose(alike("ssim", np.moveaxis(a, 1, -1), np.moveaxis(b, 1, -1)), alike("ssim", a, b), rtol=1e-5)
    for maps in (X, A[:, :, :2], A[..., None]):
        with pytest.raises(onnxplain.InputError, match="ssim compares images"):
            alike("ssim", maps, maps)


@pytest.mark.parametrize("similarity", evaluate.SIMILARITIES)
def test_nan_is_like_nothing(similarity):
    broken = A.copy()
    broken[1, 0, 0, 0] = np.nan
    for a, b in ((broken, B), (B, broken)):
        assert np.isnan(alike(similarity, a, b)).tolist() == [False, True, False]


def test_pairs_of_methods():
    explanations = [onnxplain.explain(LINEAR, X, m, target=1) for m in ("gradient", "saliency", "input_x_gradient")]
    result = evaluate.agreement(explanations, ["spearman", "top_k"], names=list("abcde"))
    assert list(result.values("spearman")) == ["gradient, saliency", "gradient, input_x_gradient", "saliency, input_x_gradient"]
    record = result.records[0]
    assert (record["a"], record["b"], record["sample"]) == ("gradient", "saliency", "a")
    assert len(result) == 30
    assert "gradient, saliency" in str(result)


@pytest.mark.parametrize(
    ("explanations", "similarity", "message"),
    [
        ({"a": A}, "spearman", "two explanations or more"),
        ({"a": A, "b": A[:, :1]}, "spearman", r"b has shape \[3, 1, 8, 9\], a \[3, 2, 8, 9\]"),
        ({"a": A, "b": B}, "pearson", "unknown similarity"),
        ({"a": A, "b": "map"}, "spearman", "b must be an Explanation or numbers"),
    ],
)
def test_refused(explanations, similarity, message):
    with pytest.raises(onnxplain.InputError, match=message):
        evaluate.agreement(explanations, similarity)
