"""Rows drawn as the training data vary."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import mlp

from onnxplain import Explainer


def training():
    random = np.random.default_rng(0)
    return np.column_stack([random.normal(2, 3, 4000), random.exponential(1, 4000), random.integers(0, 3, 4000)]).astype(np.float32)


@pytest.mark.parametrize("sampling", ["quartiles", "gaussian"])
def test_perturbed_rows_look_like_the_training_data(sampling):
    data = training()
    x = np.array([[1.0, 0.1, 2], [9.0, 3.0, 0], [2.6, 0.9, 1]])
    explainer = Explainer(mlp().model, "lime", sampling=sampling, categorical=[2]).fit([data[:1500], data[1500:]])
    points, z = explainer.method.table.around(x, 20000, 0)
    np.testing.assert_array_equal(points[0], x)
    drawn = points[1:, 0]
    np.testing.assert_array_equal(points[1:, 1], drawn)  # every sample gets the same rows
    assert set(np.unique(drawn[:, 2])) == {0, 1, 2}
    np.testing.assert_allclose(np.bincount(drawn[:, 2].astype(int)) / len(drawn), np.bincount(data[:, 2].astype(int)) / 4000, atol=0.02)
    np.testing.assert_array_equal(z[:, 1, 2], np.r_[1, drawn[:, 2] == 0])
    if sampling == "gaussian":
        np.testing.assert_allclose(drawn[:, :2].mean(0), data[:, :2].mean(0), atol=0.1)
        np.testing.assert_allclose(drawn[:, :2].std(0), data[:, :2].std(0), rtol=0.05)
        np.testing.assert_allclose(z[:, 0, :2], (points[:, 0, :2] - data[:, :2].mean(0)) / data[:, :2].std(0), atol=1e-5)
        return
    quartiles = np.percentile(data[:, :2], [25, 50, 75], axis=0)
    for c in range(2):
        place = np.searchsorted(quartiles[:, c], drawn[:, c])
        np.testing.assert_allclose(np.bincount(place) / len(drawn), 0.25, atol=0.02)
        for n in range(3):
            np.testing.assert_array_equal(z[1:, n, c], place == np.searchsorted(quartiles[:, c], x[n, c]))
        for k in range(4):  # inside a quartile a normal distribution of its mean and deviation, cut at its bounds
            own = data[:, c][np.searchsorted(quartiles[:, c], data[:, c]) == k].astype(float)
            inside = drawn[place == k, c]
            assert own.min() - 1e-2 <= inside.min()
            assert inside.max() <= own.max() + 1e-2
            lattice = np.linspace(own.min(), own.max(), 4001)
            density = np.exp(-0.5 * ((lattice - own.mean()) / own.std()) ** 2)
            mean = (lattice * density).sum() / density.sum()
            np.testing.assert_allclose(inside.mean(), mean, atol=0.05 * own.std() + 0.01)
