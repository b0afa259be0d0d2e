"""Methods that read the gradient off at one point."""

from __future__ import annotations

from dataclasses import dataclass

from ..checks import one_of
from ..tape import op
from ..tensors import Tensors
from .base import Method
from .point import Point

POSTPROCESS = {None: lambda v: v, "abs": lambda v: op.Abs(v), "square": lambda v: v * v}


@dataclass(frozen=True)
class Gradient(Method, name="gradient"):
    """The gradient of the score (Simonyan, Vedaldi and Zisserman 2014).

    Parameters
    ----------
    postprocess : None, "abs" or "square", default None
        Applied to each element.
    """

    postprocess: str | None = None

    def __post_init__(self) -> None:
        one_of(self.postprocess, list(POSTPROCESS), "postprocess")

    def explanation(self, f: Point) -> Tensors:
        return f.gradient().map(POSTPROCESS[self.postprocess])


@dataclass(frozen=True)
class Saliency(Method, name="saliency"):
    """The absolute gradient (Simonyan, Vedaldi and Zisserman 2014, section 3)."""

    def explanation(self, f: Point) -> Tensors:
        return f.gradient().map(op.Abs)


@dataclass(frozen=True)
class InputXGradient(Method, name="input_x_gradient"):
    """The input times the gradient (Shrikumar, Greenside and Kundaje 2017)."""

    def explanation(self, f: Point) -> Tensors:
        return f.x * f.gradient()
