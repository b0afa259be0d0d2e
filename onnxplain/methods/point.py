"""The model at a batch of points, as methods' formulas see it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from ..backward import Rules, backward, gradient
from ..checks import require
from ..ops.shapes import reshape, shape_of
from ..question import Question
from ..tape import Dim, Tape, Var, op
from ..target import mask
from ..tensors import Tensors
from ..trace import Watch


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
        """What a sweep starts with: at the target one ("one_hot") or the score itself ("logit"); what is positive of that ("positive");
        or minus the score spread evenly over the other elements ("contrastive", Gu et al. 2018, CLRP1)."""
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
    if _never_empty(v.shape[:axis], v.shape[axis + 2 :]):
        return op.Reshape(v, op.Concat(shape_of(v, 0, axis), [-1], shape_of(v, axis + 2), axis=0) if rank > 1 else [-1])
    both = shape_of(v, axis, axis + 1) * shape_of(v, axis + 1, axis + 2)  # −1 cannot be told where another axis may be empty
    return op.Reshape(v, op.Concat(shape_of(v, 0, axis), both, shape_of(v, axis + 2), axis=0), allowzero=1)


def _never_empty(*dims: Sequence[Dim]) -> bool:
    """Whether these extents are known not to be 0: else −1 cannot be told in a shape."""
    return all(isinstance(d, int) and d for some in dims for d in some)


def unfold(r: Var, steps: Var, axis: int | None) -> Var:
    """[…, K·N, …] as [K, …, N, …], K the extent of `steps`; without a batch axis there is one step."""
    if axis is None:
        return op.Unsqueeze(r, [0])
    k = shape_of(steps, 0, 1)
    if _never_empty(r.shape[:axis], r.shape[axis + 1 :]):
        apart = reshape(r, shape_of(r, 0, axis), k, -1, shape_of(r, axis + 1))
    else:
        whole = op.Concat(shape_of(r, 0, axis), k, shape_of(r, axis, axis + 1) / k, shape_of(r, axis + 1), axis=0)
        apart = op.Reshape(r, whole, allowzero=1)
    return op.Transpose(apart, perm=[axis, *range(axis), *range(axis + 1, apart.rank)]) if axis else apart
