"""Methods that attribute to a layer, and those of them that average while the inputs are on their way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..checks import require
from ..question import Question, default_wrt, names_of
from ..tape import Var, op
from ..tensors import Tensors
from .average import per_step
from .base import Method, method
from .path import Path, Quadrature
from .point import Point


@dataclass(frozen=True)
class Layered(Method):
    """A method whose parameter `layer` is another name of `wrt`."""

    layer: str | Sequence[str] | None = None

    def where(self, wrt: str | Sequence[str] | None) -> str | Sequence[str] | None:
        layer = names_of(self.layer, "layer")
        same = self.layer is None or wrt is None or layer == names_of(wrt, "wrt")
        require(same, f"layer={self.layer!r} and wrt={wrt!r} are two names of what is attributed to: give one")
        return wrt if self.layer is None else self.layer


@dataclass(frozen=True)
class _OnTheWay(Layered, Path):
    """A method that looks at a layer while the inputs go from a baseline to x."""

    def where(self, wrt: str | Sequence[str] | None) -> str | Sequence[str] | None:
        found = super().where(wrt)
        require(found is not None, f"{self.name} needs layer=, the name of a tensor inside the model")
        return found

    def draws(self, question: Question, shapes: Mapping[str, tuple[int, ...]], steps: range, samples: Sequence[int]) -> dict[str, np.ndarray]:
        return super().draws(replace(question, wrt=tuple(default_wrt(question.graph))), shapes, steps, samples)

    def moves(self, question: Question) -> Sequence[str]:
        return self.wrapped.moves(question)

    def point(self, f: Point, draw: Mapping[str, Var]) -> Tensors:
        return super().point(f.about(default_wrt(f.question.graph)), draw)


@dataclass(frozen=True)
class Conductance(_OnTheWay, name="conductance"):
    """The gradient at a layer times the layer's change, summed over the path of the inputs (Dhamdhere, Sundararajan and Yan 2019).

    The sum is that of Shrikumar, Su and Kundaje (2018): the step from xᵢ to xᵢ₊₁ counts the gradient at xᵢ. Where all that leads
    to the score passes the layer, the conductances add up to the difference of scores between x and the baseline; what bypasses the
    layer shows in `.delta`.

    Parameters
    ----------
    layer : str or list of str
        The tensors inside the model that are attributed to; the same as `wrt`.
    steps : int, default 50
        Steps of the path.
    baseline : float, array or dict of arrays by tensor, default 0
        Where the inputs start; an array broadcasts over the batch, or has the batch's own size.
    inner, inner_params
        The method that takes the gradient's place, and its parameters.
    """

    @property
    def numbers(self) -> dict[str, np.ndarray]:
        return {"alpha": np.arange(self.points) / self.points, "next": np.arange(1, self.points + 1) / self.points}

    @property
    def origin(self) -> dict[str, np.ndarray]:
        return {"alpha": np.zeros(1)} if self.wrapped == method("gradient", {}) else {}

    def statistics(self, f: Point, draw: Mapping[str, Var]) -> tuple[Tensors, ...]:
        at, apart = f.moved(self.point(f, draw))
        ahead, _ = f.moved(self.point(f, {**draw, "alpha": draw["next"]}))
        return (apart(self.wrapped.explanation(at) * (ahead.x - at.x)).map(lambda v: op.ReduceSum(v, [0], keepdims=0)),)


@dataclass(frozen=True)
class InternalInfluence(_OnTheWay, Quadrature, name="internal_influence"):
    """The mean gradient at a layer on the path of the inputs (Leino et al. 2018, for the uniform distribution on that path).

    Parameters
    ----------
    layer : str or list of str
        The tensors inside the model that are attributed to; the same as `wrt`.
    steps : int, default 50
        Points on the path.
    quadrature : str, default "gausslegendre"
        As for integrated_gradients.
    baseline : float, array or dict of arrays by tensor, default 0
        Where the inputs start; an array broadcasts over the batch, or has the batch's own size.
    inner, inner_params
        The method to average instead of the gradient, and its parameters.
    """

    def term(self, f: Point, a: Tensors, draw: Mapping[str, Var]) -> Tensors:
        return f.x.map(lambda x: per_step(draw["weight"], x)) * a
