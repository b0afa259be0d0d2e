"""Methods that average over points: what is drawn for each, where it lies, and what it adds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..checks import kind_fits, require
from ..graph import Graph
from ..ops.shapes import cast, typed
from ..question import Question
from ..tape import Var, op
from ..tensors import Tensors
from .base import Method, method_of
from .point import Point


@dataclass(frozen=True)
class Average(Method):
    """A method that averages an inner method over points around x, or on the way to x.

    A subclass says which numbers tell the points apart (`draws`), where they lie (`point`) and what each adds (`term`). Those
    numbers become constants where a whole explainer is written (all points folded into the batch), and inputs, given in
    pieces, where `explain` runs it within a bound of memory: the formula is the same.
    """

    inner: Any = "gradient"
    inner_params: Mapping[str, Any] | None = None

    @cached_property
    def wrapped(self) -> Method:
        """The inner method."""
        kind_fits(self.inner_params, (Mapping, type(None)), "inner_params", "a dict of the inner method's parameters")
        found = method_of(self.inner, self.inner_params, what="inner")
        require(found.written, f"inner must be a method that a graph can hold; {found.name} asks the model again and again")
        return found

    @property
    def whole(self) -> dict[str, Any]:
        return self.params | {"inner": self.wrapped, "inner_params": None}

    @property
    def keep(self) -> list[str]:
        return self.wrapped.keep

    def where(self, wrt: str | Sequence[str] | None) -> str | Sequence[str] | None:
        return self.wrapped.where(wrt)

    @property
    def attributed(self) -> Callable[[Graph, str], Sequence[str]] | None:
        return self.wrapped.attributed

    def warnings(self, question: Question) -> list[str]:
        return self.wrapped.warnings(question)

    @property
    def points(self) -> int:
        """How many points are averaged over."""
        raise NotImplementedError

    @property
    def points_inside(self) -> int:
        """How many points the inner method takes at each of these, all at once."""
        return self.wrapped.points * self.wrapped.points_inside

    def draws(self, question: Question, shapes: Mapping[str, tuple[int, ...]], steps: range, samples: Sequence[int]) -> dict[str, np.ndarray]:
        """The numbers of some steps for some samples: arrays with the steps on axis 0."""
        raise NotImplementedError

    def moves(self, question: Question) -> Sequence[str]:
        return question.wrt

    def drawn(self, f: Point) -> dict[str, Var]:
        """The numbers of all steps, for a saved explainer; the default takes those that need no sample."""
        return constants(self.draws(f.question, {}, range(self.points), range(1)), f)

    @property
    def origin(self) -> dict[str, np.ndarray]:
        """The numbers of the point where a path to x begins: a complete method's attributions add up to the score's change from there."""
        return {}

    def promise_of(self, f: Point, draw: Mapping[str, Var]) -> Var | None:
        """Or what these points add to the sum that is promised, [N]."""
        return None

    def point(self, f: Point, draw: Mapping[str, Var]) -> Tensors:
        """Where the points lie: [K, *shape] of each tensor."""
        raise NotImplementedError

    def term(self, f: Point, a: Tensors, draw: Mapping[str, Var]) -> Tensors:
        """What the inner method's result `a` at the points adds to the mean, still for each point."""
        raise NotImplementedError

    def statistics(self, f: Point, draw: Mapping[str, Var]) -> tuple[Tensors, ...]:
        """What is kept of a piece's points; pieces are merged by `merge`. Here: the sum."""
        at, apart = f.moved(self.point(f, draw))
        return (self.term(f, apart(self.wrapped.explanation(at)), draw).map(lambda v: op.ReduceSum(v, [0], keepdims=0)),)

    def merge(self, a: Sequence[Tensors], b: Sequence[Tensors], n_a: int, n_b: int) -> tuple[Tensors, ...]:
        """The statistics of two pieces of n_a and n_b points together; on the tape and in NumPy alike."""
        return (a[0] + b[0],)

    def finish(self, statistics: Sequence[Tensors]) -> Tensors:
        return statistics[0]

    def explanation(self, f: Point) -> Tensors:
        whole = self._whole(f)
        return whole if self.attributed is not None else whole.map(typed, f.x)  # a map of a layer's places has its own shape

    def _whole(self, f: Point) -> Tensors:
        """All points at once."""
        draw = self.drawn(f)
        if f.question.folds:
            return self.finish(self.statistics(f, draw))
        # The points do not fit side by side: one copy of the model for each point.
        whole = None
        for k in range(self.points):
            one = {n: op.Slice(v, [k], [k + 1], [0]) for n, v in draw.items()}
            piece = self.statistics(f, one)
            whole = piece if whole is None else self.merge(whole, piece, k, 1)
        assert whole is not None
        return self.finish(whole)


def draw_type(question: Question, name: str) -> np.dtype:
    """The dtype of the numbers called `name`: those of "kind:<tensor>" have the tensor's, others one as wide as all that they may meet."""
    _, _, tensor = name.partition(":")
    met = [tensor] if tensor else [*question.wrt, *(n for n, t in question.graph.inputs.items() if t.is_float)]
    dtypes = {d for n in met if (d := question.graph.types[n].dtype) is not None}
    # The kinds of 16 bits hold each other's values only in 32.
    return dtypes.pop() if len(dtypes) == 1 else max(*dtypes, np.dtype(np.float32), key=lambda d: d.itemsize)


def constants(draws: Mapping[str, np.ndarray], f: Point) -> dict[str, Var]:
    """Numbers as constants."""
    return {k: f.tape.constant(np.asarray(v, draw_type(f.question, k))) for k, v in draws.items()}


def per_step(v: Var, x: Var) -> Var:
    """[K] shaped to broadcast over [K, *shape of x]."""
    return op.Reshape(cast(v, x), [-1, *[1] * x.rank])


def per_sample(v: Var, x: Var, axis: int | None) -> Var:
    """[K, N] shaped to broadcast over [K, *shape of x] along the batch axis."""
    return op.Reshape(cast(v, x), [0, *(-1 if a == axis else 1 for a in range(x.rank))])


def for_all(v: Var, axis: int | None) -> Var:
    """[K, *shape without the batch axis] shaped to broadcast over the batch."""
    return v if axis is None else op.Unsqueeze(v, [1 + axis])
