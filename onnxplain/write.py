"""Write the models that an explainer runs and saves: one formula, several forms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from . import target as targets
from .methods import Average, Method, Point
from .ops.shapes import shape_of
from .question import Question
from .tape import Emitted, Tape, Type, Var
from .trace import Watch

SCORE, TARGET, SHAPE, PROMISED = "onnxplain/score", "onnxplain/target", "onnxplain/shape", "onnxplain/promised"


@dataclass(frozen=True, eq=False)
class Writer:
    """A method's formula for a question, as emitted models.

    `weighted` models take the target as weights of the output's elements, the others as indices.
    """

    question: Question
    method: Method

    @property
    def target_name(self) -> str:
        """The name of the input that takes the target: one that the model does not have."""
        return self._free("target")

    def _free(self, name: str) -> str:
        while name in self.question.graph.inputs or name in self.question.graph.outputs:
            name = f"onnxplain_{name}"
        return name

    @property
    def names(self) -> dict[str, str]:
        """The names of the attributions."""
        one = len(self.question.wrt) == 1
        return {n: self._free("attribution" if one else f"attribution:{n}") for n in self.question.wrt}

    def _at_x(self, weighted: bool) -> Point:
        """The model at x, on a fresh tape, with the target as an input."""
        q, tape = self.question, Tape()
        inputs = {n: tape.input(n, t) for n, t in q.graph.inputs.items()}
        tape.reserve((*self.names.values(), self.target_name, SCORE, TARGET, SHAPE, *(f"{SHAPE}:{n}" for n in q.wrt)))
        env = q.graph.write(tape, inputs)
        y, axis = env[q.output], q.axis(q.output)
        if weighted:
            return Point(q, env, None, tape.input(self.target_name, y.type))
        given = tape.input(self.target_name, targets.index_type(q.score, axis))
        return Point(q, env, targets.resolve(y, given, axis))

    def _outputs(self, f: Point) -> dict[str, Var]:
        """The model's own outputs."""
        return {n: f.env[n] for n in self.question.graph.outputs}

    def _facts(self, f: Point) -> dict[str, Var]:
        """What an explanation tells beside the attributions: each sample's score, and the target it resolved to."""
        return {SCORE: f.score()} | ({} if f.coordinates is None else {TARGET: f.coordinates})

    def _attributions(self, f: Point) -> dict[str, Var]:
        return {self.names[n]: v for n, v in self.method.explanation(f).items()}

    def whole(self, metadata: Mapping[str, str]) -> Emitted:
        """What is saved: the model's outputs and the attributions."""
        f = self._at_x(weighted=False)
        return f.tape.build(self._outputs(f) | self._attributions(f), metadata=metadata)

    def plain(self, weighted: bool) -> Emitted:
        """The same and the facts, for methods that look at one point."""
        f = self._at_x(weighted)
        promised = self.method.promise(f)
        return f.tape.build(self._outputs(f) | self._attributions(f) | self._facts(f) | ({} if promised is None else {PROMISED: promised}))

    def forward(self, weighted: bool) -> Emitted:
        """The model and the facts alone, and how large the attributed tensors inside are."""
        f = self._at_x(weighted)
        inside = {f"{SHAPE}:{n}": shape_of(v) for n, v in f.x.items() if n not in self.question.graph.inputs}
        return f.tape.build(self._outputs(f) | self._facts(f) | inside)

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
        f, draw = self._drawn(weighted)
        assert isinstance(self.method, Average)
        return f.tape.build({f"{k}:{n}": v for k, s in enumerate(self.method.statistics(f, draw)) for n, v in s.items()})

    def scores(self, weighted: bool) -> Emitted:
        """The scores at such points."""
        f, draw = self._drawn(weighted)
        assert isinstance(self.method, Average)
        at, _ = f.moved(self.method.point(f, draw))
        return f.tape.build({SCORE: at.score()})

    def _drawn(self, weighted: bool) -> tuple[Point, dict[str, Var]]:
        """The numbers that tell the points apart, as inputs with the steps on axis 0."""
        assert isinstance(self.method, Average)
        f = self._at_x(weighted)
        like = next(iter(f.x.values()))
        shapes = {n: tuple(d if isinstance(d, int) else 1 for d in v.shape) for n, v in f.x.items()}
        example = self.method.draws(self.question, shapes, range(1), range(1))
        steps = "steps" if self.question.folds else 1
        return f, {n: f.tape.input(f"draw:{n}", Type.tensor(like.dtype, [steps, *(None for _ in np.shape(v)[1:])])) for n, v in example.items()}
