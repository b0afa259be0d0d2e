"""Explanations made up from formulas, so that every picture of them is known beforehand."""

from __future__ import annotations

import numpy as np

from onnxplain import Explanation


def explanation(shape=(2, 1, 8, 8), seed=0, method="gradient", target=None, **facts) -> Explanation:
    """Random inputs and attributions of a shape, and two classes."""
    r = np.random.default_rng(seed)
    x, a = (r.normal(size=shape).astype(np.float32) for _ in range(2))
    given = {"attributions": {"x": a}, "output": {"p": np.array([[0.2, 0.8], [0.9, 0.1]], np.float32)[: len(x)]}, "inputs": {"x": x}}
    return Explanation(target=np.array([1, 0][: len(x)] if target is None else target), method=method, **(given | facts))


def of(a, x=None, method="gradient", name="x", **facts) -> Explanation:
    """An explanation of one sample: its attribution and the input, without the batch axis."""
    inputs = {} if x is None else {"x": np.asarray(x)[None]}
    return Explanation({name: np.asarray(a)[None]}, {"p": np.array([[0.2, 0.8]])}, np.array([1]), method, inputs=inputs, **facts)


def scene(height=32, width=48) -> tuple[np.ndarray, np.ndarray]:
    """A colour picture [3, H, W], a disk before a slope, and an attribution that is for the disk and against a corner."""
    y, x = np.mgrid[:height, :width] / [[[height]], [[width]]]
    disk = (y - 0.5) ** 2 + (x - 0.4) ** 2 < 0.06
    picture = np.stack([0.2 + 0.7 * disk, 0.3 + 0.4 * x, 0.8 - 0.6 * y])
    for_it, against = np.exp(-((y - 0.5) ** 2 + (x - 0.4) ** 2) / 0.03), np.exp(-((y - 0.9) ** 2 + (x - 0.9) ** 2) / 0.02)
    return picture, np.stack([for_it - against, 0.5 * for_it, -0.2 * against])
