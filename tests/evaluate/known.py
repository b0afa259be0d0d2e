"""Models whose metrics are known by hand."""

from __future__ import annotations

import numpy as np
from helpers import draw, parse

W, B = draw(6, 3, seed=1).astype(np.float64), draw(3, seed=2).astype(np.float64)
X = draw(5, 6, seed=3)
LINEAR = parse("g (float[N,6] x) => (float[N,3] y) { y = Gemm(x, w, b) }", w=W.astype(np.float32), b=B.astype(np.float32))

IMAGES = draw(4, 2, 4, 6, seed=4)
KERNEL = draw(2 * 4 * 6, 3, seed=5).astype(np.float64)
FLAT = parse("g (float[N,2,4,6] x) => (float[N,3] y) { v = Flatten(x)\n t = Tanh(v)\n y = MatMul(t, w) }", w=KERNEL.astype(np.float32))


def linear(x: np.ndarray, target: int) -> np.ndarray:
    return (np.asarray(x, np.float64) @ W + B)[:, target]


def flat(x: np.ndarray, target: int) -> np.ndarray:
    return (np.tanh(np.asarray(x, np.float64)).reshape(len(x), -1) @ KERNEL)[:, target]


def values(result, metric=None, method=None):
    """The values of one method and metric, sample by sample."""
    records = [r for r in result if metric in (None, r["metric"]) and method in (None, r.get("method"))]
    return np.array([r["value"] for r in records])


def curves(result):
    return np.array([r["curve"] for r in result])
