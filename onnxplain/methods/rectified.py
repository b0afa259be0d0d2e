"""Methods that change what a ReLU sends back."""

from __future__ import annotations

from dataclasses import dataclass

from ..checks import one_of
from ..question import Question
from ..rules import COMPOSITES, Composite, Params
from ..tensors import Tensors
from .base import Method
from .point import Point


@dataclass(frozen=True)
class _Rectified(Method):
    relevance: str = "one_hot"

    def __post_init__(self) -> None:
        one_of(self.relevance, ["one_hot", "logit"], "relevance")

    def explanation(self, f: Point) -> Tensors:
        return f.sweep(Composite(tuple(COMPOSITES[self.name](Params({})))), self.relevance)

    def warnings(self, question: Question) -> list[str]:
        if any(n.op_type == "Relu" for n in question.flow.nodes):
            return []
        return [f"{self.name} changes what ReLUs send back, and none lies between {', '.join(question.wrt)} and {question.output}: this is the plain gradient"]


@dataclass(frozen=True)
class GuidedBackprop(_Rectified, name="guided_backprop"):
    """The gradient, with only positive values passed back through a ReLU (Springenberg et al. 2015).

    Parameters
    ----------
    relevance : "one_hot" or "logit", default "one_hot"
        What the sweep starts from: one, or the score itself (iNNvestigate).
    """


@dataclass(frozen=True)
class Deconvnet(_Rectified, name="deconvnet"):
    """A ReLU passes positive values back whatever its input was (Zeiler and Fergus 2014).

    Parameters
    ----------
    relevance : "one_hot" or "logit", default "one_hot"
        What the sweep starts from: one, or the score itself (iNNvestigate).
    """
