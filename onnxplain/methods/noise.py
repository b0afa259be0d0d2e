"""Methods that average over noise around the input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..checks import count_fits, draws_for, draws_given, not_negative, require, seed_fits
from ..question import Question
from ..tape import Var, op
from ..tensors import Tensors
from .average import Average, constants
from .base import count_rows, own_rows
from .point import Point


@dataclass(frozen=True)
class _Noise(Average):
    samples: int = 50
    noise_scale: float = 0.1
    noise_sigma: float | None = None
    noise: Any = None
    seed: int = 0
    square: bool = False
    abs: bool = False

    def __post_init__(self) -> None:
        count_fits(self.samples, "samples")
        not_negative(self.noise_scale, "noise_scale")
        if self.noise_sigma is not None:
            not_negative(self.noise_sigma, "noise_sigma")
        _ = self.points  # refuses what is no noise here, not later
        require(not (self.square and self.abs), "square and abs exclude each other")
        seed_fits(self.seed)

    @cached_property
    def points(self) -> int:
        return int(self.samples) if self.noise is None else draws_given(self.noise, "noise")

    def draws(self, question: Question, shapes: Mapping[str, tuple[int, ...]], steps: range, samples: Sequence[int]) -> dict[str, np.ndarray]:
        return {f"noise:{n}": self._draw(n, i, shapes[n], question.axis(n), steps, samples) for i, n in enumerate(question.wrt)}

    def rows(self, question: Question) -> Mapping[str, int]:
        return count_rows(question, own_rows(question, self.noise, question.wrt, "noise", lead=1), "noise", lead=1)

    def _draw(self, name: str, index: int, shape: tuple[int, ...], axis: int | None, steps: range, samples: Sequence[int]) -> np.ndarray:
        """Noise of the chosen steps and samples: each has a generator of its own, so no split changes it."""
        if self.noise is not None:
            given = draws_for(self.noise, name, "noise", [None if a == axis else d for a, d in enumerate(shape)])
            rows = given[steps.start : steps.stop]
            if axis is None or given.shape[1 + axis] == 1:
                return rows
            return np.take(rows, samples, axis=1 + axis)
        one = tuple(d // len(samples) if a == axis else d for a, d in enumerate(shape))
        draw = lambda s, n: np.random.default_rng([self.seed, s, n, index]).standard_normal(one, dtype=np.float32)
        return np.stack([draw(s, 0) if axis is None else np.concatenate([draw(s, n) for n in samples], axis) for s in steps])

    def drawn(self, f: Point) -> dict[str, Var]:
        if self.noise is not None:
            return constants({f"noise:{n}": draws_for(self.noise, n, "noise", x.shape) for n, x in f.x.items()}, f)
        # A saved explainer draws afresh: its batch is not known yet.
        drawn = {}
        for i, (n, x) in enumerate(f.x.items()):
            one = op.Expand(op.Unsqueeze(x, [0]), [self.points, *[1] * x.rank])
            drawn[f"noise:{n}"] = op.RandomNormalLike(one, seed=float(self.seed + i))
        return drawn

    def sigma(self, f: Point) -> Tensors:
        """The noise's deviation for each tensor."""

        def of_range(x: Var, axis: int | None) -> Var:
            rest = [a for a in range(x.rank) if a != axis]
            if not rest:  # one element has no range
                return f.tape.constant(0.0, like=x)
            return self.noise_scale * (op.ReduceMax(x, rest, keepdims=1) - op.ReduceMin(x, rest, keepdims=1))

        if self.noise is not None or self.noise_sigma is not None:
            return f.x.map(lambda x: f.tape.constant(1.0 if self.noise is not None else float(self.noise_sigma or 0), like=x))
        return Tensors({n: of_range(x, f.question.axis(n)) for n, x in f.x.items()})

    def point(self, f: Point, draw: Mapping[str, Var]) -> Tensors:
        return f.x + self.sigma(f) * Tensors({n: draw[f"noise:{n}"] for n in f.x})

    def each(self, a: Tensors) -> Tensors:
        """What is averaged of the inner method's result."""
        return a * a if self.square else a.map(op.Abs) if self.abs else a


@dataclass(frozen=True)
class SmoothGrad(_Noise, name="smoothgrad"):
    """The mean gradient under Gaussian noise (Smilkov et al. 2017, eq. 2).

    Parameters
    ----------
    samples : int, default 50
    noise_scale : float, default 0.1
        Deviation of the noise relative to each sample's range (max − min).
    noise_sigma : float, optional
        Deviation in the input's own units, instead of `noise_scale`.
    noise : array [samples, N, …] or dict of arrays by tensor, optional
        The noise itself.
    seed : int, default 0
    square, abs : bool, default False
        Average the squares (Hooker et al. 2019), or the absolute values.
    inner, inner_params
        The method to average instead of the gradient, and its parameters.
    """

    def term(self, f: Point, a: Tensors, draw: Mapping[str, Var]) -> Tensors:
        return self.each(a) / float(self.points)


@dataclass(frozen=True)
class VarGrad(_Noise, name="vargrad"):
    """The variance of the gradient under Gaussian noise (Adebayo et al. 2018).

    Parameters are those of smoothgrad; the variance is the population's (divided by the number of samples).
    """

    def statistics(self, f: Point, draw: Mapping[str, Var]) -> tuple[Tensors, ...]:
        """The piece's mean, and its sum of squared deviations from it."""
        at, apart = f.moved(self.point(f, draw))
        each = self.each(apart(self.wrapped.explanation(at)))
        mean = each.map(lambda v: op.ReduceMean(v, [0], keepdims=0))
        return mean, (each - mean).map(lambda d: op.ReduceSumSquare(d, [0], keepdims=0))

    def merge(self, a: Sequence[Tensors], b: Sequence[Tensors], n_a: int, n_b: int) -> tuple[Tensors, ...]:
        # Chan, Golub and LeVeque (1979): exact for any split.
        gap, n = b[0] - a[0], float(n_a + n_b)
        return a[0] + gap * (n_b / n), a[1] + b[1] + gap * gap * (n_a * n_b / n)

    def finish(self, statistics: Sequence[Tensors]) -> Tensors:
        return statistics[1] / float(self.points)
