"""What a method is: its parameters and one formula over the model at a point."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from ..backward import Rules, backward, gradient
from ..checks import kind_fits, numbers, require, told
from ..errors import InputError, choose
from ..graph import Graph
from ..ops.shapes import cast, reshape, shape_of
from ..ops.shapes import typed as shaped
from ..question import Question
from ..tape import Tape, Var, op
from ..target import mask
from ..tensors import Tensors
from ..trace import Watch

SEEDS = {
    "one_hot": "one at the target",
    "logit": "the score itself at the target",
    "contrastive": "the score at the target, minus the score spread evenly over the other elements (Gu et al. 2018, CLRP1)",
    "positive": "what is positive of the score",
}
"""What a sweep may start with."""


@dataclass(frozen=True, eq=False)
class Point:
    """The model, written on a tape at one batch of points: the `f` of the methods' formulas."""

    question: Question
    env: Mapping[str, Var]
    coordinates: Var | None
    """The explained elements, [N, rank − 1]."""
    weights: Var | None = None
    """Or any weighting of the score's elements."""
    watch: Watch | None = None
    """Told of every step of the sweeps."""
    draw: Mapping[str, Var] = field(default_factory=dict)
    """What differs from sample to sample of a method's parameters, where it is an input: [1, …], by `Method.draws`."""

    @property
    def tape(self) -> Tape:
        return self.y.tape

    @cached_property
    def x(self) -> Tensors:
        """The tensors that are attributed to."""
        return Tensors({name: self.env[name] for name in self.question.wrt})

    @cached_property
    def y(self) -> Var:
        """The tensor of scores."""
        return self.env[self.question.output]

    @cached_property
    def chosen(self) -> Var:
        """Where and how much of each score is explained: the seed of the gradient."""
        if self.weights is not None:
            return self.weights
        assert self.coordinates is not None
        return mask(self.y, self.coordinates, self.question.axis(self.question.output))

    def score(self) -> Var:
        """The explained number of each sample, [N]."""
        return self._of_each(self.y * self.chosen)

    def _of_each(self, v: Var) -> Var:
        """The sum of a tensor like the scores for each sample, [N]."""
        axis = self.question.axis(self.question.output)
        rest = [a for a in range(v.rank) if a != axis]
        total = op.ReduceSum(v, rest, keepdims=0) if rest else v
        return total if axis is not None else op.Reshape(total, [1])

    def seed(self, relevance: str) -> Var:
        """What a sweep starts with: one of `SEEDS`."""
        if relevance == "contrastive":
            require(self.weights is None, 'relevance="contrastive" compares one element with the others: give the target as an index')
            axis = self.question.axis(self.question.output)
            rest = [a for a in range(self.y.rank) if a != axis]
            compared = any(self.y.shape[a] != 1 for a in rest)
            require(compared, f'relevance="contrastive" compares one element with the others: {self.question.output!r} has one a sample, {self.y.type}')
            score, others = op.ReduceSum(self.y * self.chosen, rest, keepdims=1), 1 - self.chosen
            return score * (self.chosen - others / op.ReduceSum(others, rest, keepdims=1))
        seed = self.chosen if relevance == "one_hot" else self.chosen * self.y
        return op.Relu(seed) if relevance == "positive" else seed

    def started(self, relevance: str) -> Var:
        """What each sample's sweep starts with in all, [N]."""
        return self._of_each(self.seed(relevance))

    def gradient(self) -> Tensors:
        return self.sweep(lambda flow, node: gradient)

    def sweep(self, rules: Rules, relevance: str = "one_hot", reference: Point | None = None) -> Tensors:
        """One reverse sweep under `rules`, started with ones ("one_hot"), the scores themselves ("logit"), or what is positive of them."""
        seed = self.seed(relevance)
        return Tensors(backward(self.question.flow, self.env, {self.question.output: seed}, rules, reference.env if reference else None, self._watch))

    def elsewhere(self, given: Mapping[str, Var]) -> dict[str, Var]:
        """Every value of the model at other inputs, or with tensors inside replaced."""
        own = {n: self.env[n] for n in self.question.graph.inputs}
        return self.question.graph.write(self.tape, own | dict(given), prefix=f"at{len(self.tape.nodes)}/")

    @property
    def _watch(self) -> Callable | None:
        watch = self.watch
        return None if watch is None else lambda f, arrived, answers: watch(f, arrived, answers, self.question.own_axis)

    def moved(self, x: Tensors) -> tuple[Point, Callable[[Tensors], Tensors]]:
        """The model at other points, [K, *shape] of each tensor, as one batch; and what takes its results apart again."""
        q = self.question
        steps = next(iter(x.values()))
        # What lies beside the moved tensors is computed anew, from the inputs repeated.
        given = {n: fold(_repeat(self.env[n], steps, q.axis(n)), q.axis(n)) for n in q.graph.inputs if n not in x}
        given |= {n: op.Squeeze(v, [0]) if q.axis(n) is None else fold(v, q.axis(n)) for n, v in x.items()}
        axis = q.axis(q.output)
        coordinates = None if self.coordinates is None else fold(_repeat(self.coordinates, steps, None if axis is None else 0), None if axis is None else 0)
        weights = None if self.weights is None else fold(_repeat(self.weights, steps, axis), axis)
        return Point(q, self.elsewhere(given), coordinates, weights), lambda results: Tensors({n: unfold(r, steps, q.axis(n)) for n, r in results.items()})

    def about(self, names: Sequence[str]) -> Point:
        """The same point, asked about other tensors; not watched."""
        return replace(self, question=replace(self.question, wrt=tuple(names)), watch=None)


def _repeat(v: Var, steps: Var, axis: int | None) -> Var:
    """v for each step, [K, *shape]; what has no batch axis goes along as it is."""
    if axis is None:
        return v
    return op.Expand(v, op.Concat(shape_of(steps, 0, 1), shape_of(v), axis=0))


def fold(v: Var, axis: int | None) -> Var:
    """[K, …, N, …] as […, K·N, …]."""
    if axis is None:
        return v
    rank = v.rank - 1
    if axis:
        v = op.Transpose(v, perm=[*range(1, axis + 1), 0, *range(axis + 1, rank + 1)])
    return op.Reshape(v, op.Concat(shape_of(v, 0, axis), [-1], shape_of(v, axis + 2), axis=0) if rank > 1 else [-1])


def unfold(r: Var, steps: Var, axis: int | None) -> Var:
    """[…, K·N, …] as [K, …, N, …], K the extent of `steps`; without a batch axis there is one step."""
    if axis is None:
        return op.Unsqueeze(r, [0])
    apart = reshape(r, shape_of(r, 0, axis), shape_of(steps, 0, 1), -1, shape_of(r, axis + 1))
    return op.Transpose(apart, perm=[axis, *range(axis), *range(axis + 1, apart.rank)]) if axis else apart


METHODS: dict[str, type[Method]] = {}


@dataclass(frozen=True)
class Method:
    """A method's fields are its parameters; `explanation` is its formula."""

    name: ClassVar[str] = ""
    differentiates: ClassVar[bool] = True
    """Whether it needs derivatives of the nodes between the attributed tensors and the score."""

    def __init_subclass__(cls, name: str = "") -> None:
        if name:
            assert name not in METHODS, name
            cls.name = name
            METHODS[name] = cls

    def explanation(self, f: Point) -> Tensors:
        """The attribution, written on the tape of `f`."""
        raise NotImplementedError

    def promise(self, f: Point) -> Var | None:
        """What each sample's attributions should add up to, [N]; None for methods that promise nothing."""
        return None

    def draws(self, question: Question, shapes: Mapping[str, tuple[int, ...]], steps: range, samples: Sequence[int]) -> dict[str, np.ndarray]:
        """What the parameters say of some samples (and steps, for methods that average): arrays with the steps on axis 0."""
        return {}

    def rows(self, question: Question) -> Mapping[str, int]:
        """How many samples the parameters have rows for, by parameter: those that differ from sample to sample."""
        return {}

    def scored(self, f: Point) -> Var:
        """The number of each sample that this method explains, [N]."""
        return f.score()

    def warnings(self, question: Question) -> list[str]:
        """Why this method does not fit this network, if it does not."""
        return []

    def remarks(self, scores: np.ndarray) -> list[str]:
        """Why it does not fit these samples, by their explained scores [N]."""
        return []

    def fit(self, question: Question, batches: Iterable[Mapping[str, np.ndarray]], providers: Sequence[Any] | None) -> Method:
        """This method with what it learned from batches of the model's inputs, for methods that learn."""
        raise InputError(f"{self.name} learns nothing from data: call explain")

    @property
    def points(self) -> int:
        """How many points it takes for each sample."""
        return 1

    @property
    def points_inside(self) -> int:
        """How many more each of these takes."""
        return 1

    @property
    def learns(self) -> bool:
        """Whether `fit` means anything for it."""
        return type(self).fit is not Method.fit

    @property
    def learned(self) -> Mapping[str, np.ndarray]:
        """What it learned, by name."""
        raise InputError(f"{self.name} learns nothing from data")

    @property
    def written(self) -> bool:
        """Whether a graph can hold it: it is one formula, not questions to the model, one after the other."""
        return type(self).explanation is not Method.explanation

    @property
    def keep(self) -> list[str]:
        """Tensors that the parameters name."""
        return []

    def where(self, wrt: str | Sequence[str] | None) -> str | Sequence[str] | None:
        """The tensors attributed to, where the caller says `wrt`: for methods whose parameters can say it too."""
        return wrt

    @property
    def attributed(self) -> Callable[[Graph, str], Sequence[str]] | None:
        """Finds in a graph, for the score's name, what is attributed to by default; None for the inputs (or the embeddings of token ids)."""
        return None

    def changed(self, question: Question) -> Sequence[str]:
        """The tensors whose values a `Probe` changes."""
        return question.wrt

    def moves(self, question: Question) -> Sequence[str]:
        """The tensors that it gives other values, all at once."""
        return []

    @property
    def params(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @property
    def whole(self) -> dict[str, Any]:
        """All that decides its answers: the parameters, with what they name in place of its name."""
        return self.params

    @classmethod
    def summary(cls) -> str:
        """One line for lists."""
        return (cls.__doc__ or "").strip().splitlines()[0]


def method(name: str, params: Mapping[str, Any]) -> Method:
    """The method called `name` with its parameters checked."""
    cls = METHODS[choose("method", name, METHODS)]
    known = [f.name for f in fields(cls)]
    for key in params:
        choose(f"parameter of {name}", key, known)
    for f in fields(cls):
        if f.type == "bool" and f.name in params:
            kind_fits(params[f.name], (bool, np.bool_), f.name, "true or false")
    return cls(**params)


def method_of(given: Any, params: Mapping[str, Any] | None = None, *, what: str) -> Method:
    """A method that is given as itself, by name with `params`, or as a dict {"method": name, **params}."""
    if isinstance(given, (Method, Mapping)):
        require(not params, f"{what}={told(given)} has its own parameters: {', '.join(params or ())} beside it would be ignored")
    if isinstance(given, Method):
        return given
    if isinstance(given, Mapping):
        require("method" in given, f"{what}: {told(dict(given))} lacks the key 'method'")
        return method(given["method"], {k: v for k, v in given.items() if k != "method"})
    return method(given, params or {})


# ---- methods that average over points ----


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
        return typed(self.draws(f.question, {}, range(self.points), range(1)), f)

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
        return whole if self.attributed is not None else whole.map(shaped, f.x)  # a map of a layer's places has its own shape

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


def own_rows(question: Question, given: Any, names: Iterable[str], what: str, wanted: str = "numbers", lead: int = 0) -> dict[str, np.ndarray]:
    """The arrays by tensor that have a row for each sample, behind `lead` other axes: the tensor's rank, and more than one row."""
    found = {}
    for name in names:
        value, axis = given.get(name) if isinstance(given, Mapping) else given, question.axis(name)
        if value is None or isinstance(value, (str, Mapping)) or axis is None:
            continue
        array = numbers(value, f"{what} for {name!r}", wanted)
        if array.ndim == lead + len(question.graph.types[name].shape or ()) and array.shape[lead + axis] != 1:
            found[name] = array
    return found


def count_rows(question: Question, own: Mapping[str, np.ndarray], what: str, lead: int = 0) -> dict[str, int]:
    """How many rows these have."""
    return {f"{what} for {n!r}": v.shape[lead + (question.axis(n) or 0)] for n, v in own.items()}


def typed(draws: Mapping[str, np.ndarray], f: Point) -> dict[str, Var]:
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
