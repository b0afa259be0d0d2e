"""Arithmetic on several tensors at once."""

import numpy as np

from onnxplain.tensors import Tensors


def test_arithmetic_goes_tensor_by_tensor():
    a = Tensors(p=np.array([1.0, 2.0]), q=np.array([4.0]))
    b = Tensors(p=np.array([3.0, 1.0]), q=np.array([2.0]))
    for got, p, q in (
        (a + b, [4, 3], [6]),
        (a - b, [-2, 1], [2]),
        (a * b, [3, 2], [8]),
        (a / b, [1 / 3, 2], [2]),
        (a + 1, [2, 3], [5]),
        (1 - a, [0, -1], [-3]),
        (2 * a, [2, 4], [8]),
        (1 + a, [2, 3], [5]),
        (a.map(lambda v, w: v * 10 + w, b), [13, 21], [42]),
        (a.map(lambda v, k: v * k, 3), [3, 6], [12]),
    ):
        assert isinstance(got, Tensors)
        np.testing.assert_allclose(got["p"], p)
        np.testing.assert_allclose(got["q"], q)
