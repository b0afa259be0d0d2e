"""What a method has to beat: maps that know nothing of the model, or nothing but the input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar
from zlib import crc32

import numpy as np

from ..checks import seed_fits
from ..methods import Perturbation
from ..probe import Probe
from ..tensors import Tensors


@dataclass(frozen=True)
class Random(Perturbation):
    """Uniform random numbers from 0 to 1, other ones for each sample."""

    name: ClassVar[str] = "random"
    seed: int = 0

    def __post_init__(self) -> None:
        seed_fits(self.seed)

    def attribution(self, f: Probe) -> Tensors:
        return Tensors({n: self._drawn(x, f.question.axis(n)) for n, x in f.x.items()})

    def _drawn(self, x: np.ndarray, axis: int | None) -> np.ndarray:
        """The numbers of a sample go by what it holds, so that they do not depend on the batch around it."""
        draw = lambda v: np.random.default_rng([self.seed, crc32(v.tobytes())]).random(v.shape)
        return draw(x) if axis is None else np.stack([draw(v) for v in np.moveaxis(x, axis, 0)], axis)


@dataclass(frozen=True)
class Magnitude(Perturbation):
    """|x|: what is far from zero matters."""

    name: ClassVar[str] = "magnitude"

    def attribution(self, f: Probe) -> Tensors:
        return f.x.map(lambda x: np.abs(x.astype(np.float64)))


@dataclass(frozen=True)
class Sobel(Perturbation):
    """The magnitude of the Sobel gradient along the axes of places, each channel by itself."""

    name: ClassVar[str] = "sobel"

    def attribution(self, f: Probe) -> Tensors:
        return Tensors({n: self._edges(x.astype(np.float64), f.places(n)) for n, x in f.x.items()})

    def _edges(self, x: np.ndarray, axes: Sequence[int]) -> np.ndarray:
        squares = np.zeros_like(x)
        for a in axes:
            slope = _filtered(x, [1, 0, -1], a)
            for b in axes:
                slope = slope if b == a else _filtered(slope, [1, 2, 1], b)
            squares += slope * slope
        return np.sqrt(squares)


@dataclass(frozen=True)
class Laplacian(Perturbation):
    """The magnitude of the Laplacian along the axes of places, each channel by itself."""

    name: ClassVar[str] = "laplacian"

    def attribution(self, f: Probe) -> Tensors:
        return Tensors({n: np.abs(self._bend(x.astype(np.float64), f.places(n))) for n, x in f.x.items()})

    def _bend(self, x: np.ndarray, axes: Sequence[int]) -> np.ndarray:
        return sum((_filtered(x, [1, -2, 1], a) for a in axes), np.zeros_like(x))


def _filtered(x: np.ndarray, taps: Sequence[int], axis: int) -> np.ndarray:
    from scipy.ndimage import convolve1d

    return convolve1d(x, taps, axis, mode="nearest")


BASELINES: dict[str, type[Perturbation]] = {b.name: b for b in (Random, Magnitude, Sobel, Laplacian)}
"""They can be named wherever `onnxplain.evaluate` takes a method."""
