"""Write the models that an explainer runs and saves: one formula, several forms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from . import optimize  # noqa: F401  (it fills the table of rewrites)
from . import target as targets
from .methods import Average, Method, Point
from .methods.average import draw_type
from .ops.shapes import shape_of
from .question import Question
from .tape import Emitted, Tape, Type, Var, op
from .tensors import Tensors
from .trace import Watch

SCORE, TARGET, SHAPE, VALUE, PROMISED, DELTA = (f"onnxplain/{n}" for n in ("score", "target", "shape", "value", "promised", "delta"))


@dataclass(frozen=True, eq=False)
class Writer:
    """A method's formula for a question, as emitted models.

    `weighted` models take the target as weights of the output's elements, the others as indices.
    """

    question: Question
    method: Method
    portable: bool = True
    """Whether what is run, not only what is saved, may meet other providers than ONNX Runtime's CPU."""
    rows: int = 1
    """How many samples a run is expected to have."""

    @property
    def target_name(self) -> str:
        """The name of the input that takes the target: one that the model does not have."""
        return self._free("target")

    def _free(self, name: str) -> str:
        graph = self.question.graph
        while name in graph.inputs or name in graph.outputs or name in graph.inside:
            name = f"onnxplain_{name}"
        return name

    @property
    def names(self) -> dict[str, str]:
        """The names of the attributions."""
        one = len(self.question.wrt) == 1
        return {n: self._free("attribution" if one else f"attribution:{n}") for n in self.question.wrt}

    def _at_x(self, weighted: bool, *, inside: Sequence[str] = (), saved: bool = False, resolved: bool = False) -> Point:
        """The model at x, on a fresh tape; its inputs are the model's, some tensors `inside`, and the target, which may be `resolved` already."""
        q, tape = self.question, Tape(portable=saved or self.portable, saved=saved, rows=self.rows)
        inputs = {n: tape.input(n, q.graph.types[n]) for n in dict.fromkeys([*q.graph.inputs, *inside])}
        tape.reserve((*self.names.values(), self.target_name, SCORE, TARGET, SHAPE, *(f"{k}:{n}" for k in (SHAPE, VALUE) for n in self._read)))
        return self._asked(q.graph.write(tape, inputs), self.target_name, weighted, resolved=resolved or bool(inside))

    def _asked(self, env: Mapping[str, Var], target: str, weighted: bool, resolved: bool = False) -> Point:
        """The point where the model has these values, with a target as an input called so; one without −1 needs no look at the scores."""
        q, y = self.question, env[self.question.output]
        if weighted:
            return Point(q, env, None, y.tape.input(target, y.type))
        axis = q.axis(q.output)
        given = y.tape.input(target, targets.index_type(q.score, axis))
        return Point(q, env, targets.listed(given, y, axis) if resolved else targets.resolve(y, given, axis))

    def _outputs(self, f: Point) -> dict[str, Var]:
        """The model's own outputs."""
        return {n: f.env[n] for n in self.question.graph.outputs}

    def _facts(self, f: Point) -> dict[str, Var]:
        """What an explanation tells beside the attributions: each sample's score, and the target it resolved to."""
        return {SCORE: self.method.scored(f)} | ({} if f.coordinates is None else {TARGET: f.coordinates})

    def _attributions(self, f: Point) -> dict[str, Var]:
        return {self.names[n]: v for n, v in self.method.explanation(f).items()}

    def whole(self, metadata: Mapping[str, str]) -> Emitted:
        """What is saved: the model's outputs and the attributions."""
        f = self._at_x(weighted=False, saved=True)
        return f.tape.build(self._outputs(f) | self._attributions(f), metadata=metadata)

    def plain(self, weighted: bool) -> Emitted:
        """The same and the facts, for methods that look at one point."""
        f = self._at_x(weighted)
        return f.tape.build(self._outputs(f) | self._results(replace(f, draw=self._draws(f))))

    def _results(self, f: Point) -> dict[str, Var]:
        facts, promised = self._facts(f), self.method.promise(f)  # written first, see `optimize.early_mask`
        return self._attributions(f) | facts | ({} if promised is None else {PROMISED: promised})

    def forward(self, weighted: bool) -> Emitted:
        """The model and the facts alone, and how large the attributed tensors inside are."""
        f = self._at_x(weighted)
        inside = {f"{SHAPE}:{n}": shape_of(v) for n, v in f.x.items() if n not in self.question.graph.inputs}
        return f.tape.build(self._outputs(f) | self._facts(f) | inside)

    def values(self, weighted: bool) -> Emitted:
        """The model, the facts, and what the attributed tensors are, and those that a probe changes."""
        f = self._at_x(weighted)
        return f.tape.build(self._outputs(f) | self._facts(f) | {f"{VALUE}:{n}": f.env[n] for n in self._read})

    def points(self, weighted: bool) -> Emitted:
        """The scores where the changed tensors are given, point by point: "point:<tensor>", [K, *shape]."""
        f = self._at_x(weighted, inside=self._changed)
        at = Tensors({n: f.tape.input(f"point:{n}", Type.tensor(f.env[n].dtype, [self._steps, *f.env[n].shape])) for n in self._changed})
        return f.tape.build({SCORE: self.method.scored(f.moved(at)[0])})

    def mixed(self, weighted: bool) -> Emitted:
        """The scores where the changed tensors are mixed with "baseline:<tensor>" by "mask:<tensor>", [K, *shape or 1]."""
        f = self._at_x(weighted, inside=self._changed)

        def mix(x: Var, name: str) -> Var:
            exact = not x.type.is_float  # integers are taken whole from the one or the other
            mask = f.tape.input(f"mask:{name}", Type.tensor(np.float32 if exact else x.dtype, [self._steps, *(None for _ in x.shape)]))
            baseline = f.tape.input(f"baseline:{name}", Type.tensor(x.dtype, [None] * x.rank))
            return op.Where(op.Greater(mask, 0.5), x, baseline) if exact else baseline + mask * (x - baseline)

        at = Tensors({n: mix(f.env[n], n) for n in self._changed})
        return f.tape.build({SCORE: self.method.scored(f.moved(at)[0])})

    @property
    def _changed(self) -> Sequence[str]:
        """The tensors that a probe changes."""
        return self.method.changed(self.question)

    @property
    def _read(self) -> Sequence[str]:
        """The tensors that a probe knows the values of."""
        return list(dict.fromkeys([*self.question.wrt, *self._changed]))

    @property
    def _steps(self) -> str | int:
        """The extent of the axis that tells points apart."""
        return "steps" if self.question.folds else 1

    def trace(self, weighted: bool) -> Emitted:
        """What arrives at every tensor on the way, and the sums that each node receives and sends."""
        f = replace(self._at_x(weighted), watch=Watch())
        attributions = self._attributions(f)
        assert f.watch is not None
        return f.tape.build(attributions | {f"relevance:{n}": v for n, v in f.watch.values.items()} | f.watch.sums)

    def shape(self, weighted: bool) -> Emitted:
        """The shape of the score, where only the input decides it."""
        f = self._at_x(weighted)
        return f.tape.build({SHAPE: shape_of(f.y)})

    def piece(self, weighted: bool) -> Emitted:
        """The statistics of some of an averaging method's points, which come as inputs."""
        assert isinstance(self.method, Average)
        f = self._at_x(weighted, resolved=True)
        draw = self._draws(f)
        statistics = {f"{k}:{n}": v for k, s in enumerate(self.method.statistics(f, draw)) for n, v in s.items()}
        promised = self.method.promise_of(f, draw)
        return f.tape.build(statistics | ({} if promised is None else {PROMISED: promised}))

    def scores(self, weighted: bool) -> Emitted:
        """The scores at such points."""
        assert isinstance(self.method, Average)
        f = self._at_x(weighted, resolved=True)
        at, _ = f.moved(self.method.point(f, self._draws(f)))
        return f.tape.build({SCORE: at.score()})

    def _draws(self, f: Point, label: str = "") -> dict[str, Var]:
        """The numbers that tell the points or the samples apart, as inputs with the steps on axis 0."""
        shapes = {n: tuple(d if isinstance(d, int) else 1 for d in v.shape) for n, v in f.x.items()}
        example = self.method.draws(self.question, shapes, range(1), range(1))
        types = {n: Type.tensor(draw_type(self.question, n), [self._steps, *(None for _ in np.shape(v)[1:])]) for n, v in example.items()}
        return {n: f.tape.input(f"{label}draw:{n}", t) for n, t in types.items()}


def together(members: Mapping[str, Writer], weighted: bool, count: int) -> Emitted:
    """Several methods on one forward pass, for `count` targets of each sample: results under "<which target>/<label>/…".

    The members ask about the same score of the same graph; the targets after the first are inputs "<target>:1", "<target>:2" …
    """
    lead = next(iter(members.values()))
    first = lead._at_x(weighted)
    points = [first, *(lead._asked(first.env, f"{lead.target_name}:{k}", weighted) for k in range(1, count))]
    outputs = lead._outputs(first)
    for label, w in members.items():
        draw = w._draws(replace(first, question=w.question), f"{label}/")
        for k, f in enumerate(points):
            outputs |= {f"{k}/{label}/{name}": v for name, v in w._results(replace(f, question=w.question, draw=draw)).items()}
    return first.tape.build(outputs)


def whole_of(members: Mapping[str, Writer], metadata: Mapping[str, str]) -> Emitted:
    """What is saved of several methods: the model's outputs, and "attribution:<label>" or "attribution:<label>:<tensor>"."""
    lead = next(iter(members.values()))
    f = lead._at_x(weighted=False, saved=True)
    outputs = lead._outputs(f)
    for label, w in members.items():
        told = w.method.explanation(replace(f, question=w.question))
        outputs |= {lead._free(f"attribution:{label}" if len(told) == 1 else f"attribution:{label}:{n}"): v for n, v in told.items()}
    return f.tape.build(outputs, metadata=metadata)
