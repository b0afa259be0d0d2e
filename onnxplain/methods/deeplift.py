"""DeepLIFT and its average over many references."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..checks import draws_for, draws_given, one_of, require
from ..ops.shapes import expand_like, shape_of
from ..question import Question
from ..rules.deeplift import DeepLift as Multipliers
from ..tape import Var, op
from ..tensors import Tensors
from .average import Average, for_all
from .base import Method, count_rows
from .path import baseline_rows, own_baselines, start
from .point import Point

RULES = ("rescale", "reveal_cancel", "genomics_default", "linear")


def contributions(f: Point, reference: Point, rule: str) -> Tensors:
    """Δx times its multiplier."""
    return (f.x - reference.x) * f.sweep(Multipliers(rule), reference=reference)


@dataclass(frozen=True)
class DeepLift(Method, name="deeplift"):
    """Differences from a reference, shared by DeepLIFT's rules (Shrikumar, Greenside and Kundaje 2017).

    Parameters
    ----------
    rule : str, default "rescale"
        "rescale", "reveal_cancel", "genomics_default" (rescale behind convolutions, RevealCancel behind dense layers), or "linear"
        (the gradient at the activations).
    baseline : float, array or dict of arrays by tensor, default 0
        The reference; an array broadcasts over the batch, or has the batch's own size.
    """

    rule: str = "rescale"
    baseline: Any = 0.0

    def __post_init__(self) -> None:
        one_of(self.rule, RULES, "rule")

    def draws(self, question: Question, shapes: Mapping[str, tuple[int, ...]], steps: range, samples: Sequence[int]) -> dict[str, np.ndarray]:
        return baseline_rows(question, self.baseline, samples)

    def rows(self, question: Question) -> Mapping[str, int]:
        return count_rows(question, own_baselines(question, self.baseline), "baseline")

    def _reference(self, f: Point) -> Point:
        x0 = start(f, self.baseline, f.draw).map(lambda v, x: expand_like(op.Squeeze(v, [0]) if v.rank > x.rank else v, x), f.x)
        return Point(f.question, f.elsewhere(x0), f.coordinates, f.weights)

    def explanation(self, f: Point) -> Tensors:
        return contributions(f, self._reference(f), self.rule)

    def promise(self, f: Point) -> Var | None:
        return None if self.rule == "linear" else f.score() - self._reference(f).score()


@dataclass(frozen=True)
class DeepShap(Average, name="deepshap"):
    """DeepLIFT averaged over many references, an estimate of Shapley values (Lundberg and Lee 2017).

    Parameters
    ----------
    background : array [B, …] or dict of arrays by tensor
        The references; every sample is compared with each.
    rule : str, default "rescale"
        As for deeplift.
    """

    background: Any = None
    rule: str = "rescale"

    def __post_init__(self) -> None:
        require(self.background is not None, "deepshap needs background=, an array of references")
        require(self.inner == "gradient" and not self.inner_params, "deepshap averages DeepLIFT and nothing else: it takes no inner= or inner_params=")
        one_of(self.rule, RULES, "rule")
        _ = self.points  # refuses what is no background here, not later

    @cached_property
    def points(self) -> int:
        return draws_given(self.background, "background")

    def draws(self, question: Question, shapes: Mapping[str, tuple[int, ...]], steps: range, samples: Sequence[int]) -> dict[str, np.ndarray]:
        given = {n: draws_for(self.background, n, "background", question.sample(n)) for n in question.wrt}
        return {f"background:{n}": v[steps.start : steps.stop] for n, v in given.items()}

    def _pairs(self, f: Point, draw: Mapping[str, Var]) -> tuple[Point, Point, Callable[[Tensors], Tensors]]:
        """Every sample beside every reference, and what takes results apart again."""
        references = Tensors({n: for_all(draw[f"background:{n}"], f.question.axis(n)) for n in f.x})
        points = Tensors({n: op.Expand(op.Unsqueeze(x, [0]), op.Concat(shape_of(references[n], 0, 1), shape_of(x), axis=0)) for n, x in f.x.items()})
        at, apart = f.moved(points)
        return at, f.moved(references.map(expand_like, points))[0], apart

    def statistics(self, f: Point, draw: Mapping[str, Var]) -> tuple[Tensors, ...]:
        at, reference, apart = self._pairs(f, draw)
        shared = contributions(at, reference, self.rule)
        return (apart(shared).map(lambda v: op.ReduceSum(v, [0], keepdims=0) / float(self.points)),)

    def promise_of(self, f: Point, draw: Mapping[str, Var]) -> Var | None:
        if self.rule == "linear":
            return None
        at, reference, _ = self._pairs(f, draw)
        rises = op.Reshape(at.score() - reference.score(), op.Concat([-1], shape_of(f.score()), axis=0))
        return op.ReduceSum(rises, [0], keepdims=0) / float(self.points)
