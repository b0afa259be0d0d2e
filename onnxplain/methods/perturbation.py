"""Methods that ask the model at perturbed inputs and weigh its answers: they need no derivative, so they explain any model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import array_for, broadcasts, finite, require, told
from ..errors import choose
from ..graph import Graph, Node
from ..question import RESHAPING, SOFTMAXES, Question
from ..tape import Var, is_float, op
from ..tensors import Tensors
from .base import Method, count_rows, own_rows
from .point import Point

if TYPE_CHECKING:
    from ..probe import Probe


@dataclass(frozen=True)
class Perturbation(Method):
    """A method of forward passes alone. Its formula is NumPy's: the network's answers come from a `Probe`.

    Every one of them knows `probability`: whether it asks for the explained class's probability instead of its score.
    """

    differentiates = False

    probability: bool = False

    def rows(self, question: Question) -> Mapping[str, int]:
        given = {what: getattr(self, what) for what in WANTED if hasattr(self, what)}
        own = {what: own_rows(question, v, self.changed(question), what, WANTED[what]) for what, v in given.items()}
        return {k: rows for what, arrays in own.items() for k, rows in count_rows(question, arrays, what).items()}

    def moves(self, question: Question) -> Sequence[str]:
        return self.changed(question)

    def scored(self, f: Point) -> Var:
        if not self.probability:
            return f.score()
        return replace(f, env={**f.env, f.question.output: probabilities(f)}).score()

    def attribution(self, f: Probe) -> Tensors:
        """What each attributed tensor is told, in its shape."""
        raise NotImplementedError

    def answer(self, f: Probe) -> tuple[Tensors, np.ndarray | None]:
        """The attributions, and for methods that promise completeness what they leave open of the score's difference, [N]."""
        return self.attribution(f), None


# ---- probabilities ----


def probabilities(f: Point) -> Var:
    """The scores as probabilities: as they are if they are that already, else by what the model does to them next, else by Softmax or Sigmoid."""
    graph, name = f.question.graph, f.question.output
    made = graph.producer.get(name)
    if made is not None and (made.op_type in ("Softmax", "Sigmoid") or made.op_type.endswith("Classifier")):
        return f.y
    if made is not None and made.op_type == "LogSoftmax":
        return op.Exp(f.y)
    then, axis = _squashed(graph, name), f.question.axis(name)
    wide = [a for a, d in enumerate(f.y.shape) if a != axis and d != 1]
    if not wide or (then is not None and then.op_type == "Sigmoid"):
        return op.Sigmoid(f.y)
    if then is not None and then.inputs[0] == name:
        return op.Softmax(f.y, axis=then.attributes.get("axis", -1))
    remedy = "take probability=False, or a tensor of probabilities as output="
    require(len(wide) == 1, f"{name!r} is {f.y.type}: which axis holds the classes is not known; {remedy}")
    return op.Softmax(f.y, axis=wide[0])


def _squashed(graph: Graph, name: str) -> Node | None:
    """The Softmax or Sigmoid that follows a tensor, or its elements in another shape."""
    for node in graph.users.get(name, ()):
        if node.op_type in SOFTMAXES:
            return node
        if node.op_type in RESHAPING and (found := _squashed(graph, node.outputs[0])):
            return found
    return None


# ---- what stands in the place of what is taken away ----


def _blurred(x: np.ndarray, axes: list[int]) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(x, [x.shape[a] / 10 if a in axes else 0 for a in range(x.ndim)], mode="nearest")


BASELINES: dict[str, Callable[[np.ndarray, list[int]], np.ndarray]] = {
    "blur": _blurred,
    "mean": lambda x, axes: x.mean(tuple(axes), keepdims=True),
}
"""Baselines made from the sample itself, along its spatial axes: blurred by a Gaussian whose deviation is a tenth of each axis, or its mean."""

WANTED = {"baseline": f"numbers or one of {', '.join(BASELINES)}", "mask": "non-negative integers, the numbers of the groups"}
"""What the parameters must be that may have a row for each sample."""


def baseline_of(f: Probe, given: Any) -> Tensors:
    """The baseline of each attributed tensor, broadcastable to it: a number, an array or one of `BASELINES` for all, or a dict by tensor.

    An array with a row for each sample of the whole batch gives these samples theirs.
    """
    return Tensors({n: baseline_for(f, n, array_for(given, n, "baseline")) for n in f.x})


def baseline_for(f: Probe, name: str, given: Any) -> np.ndarray:
    """The baseline of one tensor."""
    x = f.x[name]
    if isinstance(given, str):
        made = BASELINES[choose("baseline", given, BASELINES)]
        require(is_float(x.dtype), f"baseline {given!r} needs floats, {name!r} has dtype {x.dtype}: give a number")
        return made(x.astype(np.result_type(x.dtype, np.float32)), f.places(name)).astype(x.dtype)  # filters know no 16 bits
    array = finite(given, f"baseline for {name!r}", WANTED["baseline"])
    exact = array.astype(x.dtype)
    require(is_float(x.dtype) or np.array_equal(exact, array), f"baseline for {name!r} must be values of {x.dtype}, got {told(given)}")
    return fitting(f, name, exact, "baseline")


def fitting(f: Probe, name: str, array: np.ndarray, what: str) -> np.ndarray:
    """An array that broadcasts to a tensor, with all its axes; of one with a row for each sample of the whole batch, the rows of these samples."""
    x, axis = f.x[name], f.question.axis(name)
    if axis is not None and array.ndim == x.ndim and array.shape[axis] != 1:
        require(array.shape[axis] > max(f.samples), f"{what} for {name!r} has {array.shape[axis]} samples, the batch has more")
        array = np.take(array, f.samples, axis)
    require(broadcasts(array.shape, x.shape), f"{what} for {name!r} has shape {list(array.shape)}, which does not broadcast to {list(x.shape)}")
    return array.reshape([1] * (x.ndim - array.ndim) + list(array.shape))


# ---- when to stop ----


def settled(mean: np.ndarray, variance: np.ndarray, count: int, tolerance: float) -> bool:
    """Whether 95 % confidence intervals of means over `count` draws, [N, …], are narrower than `tolerance` times each sample's range."""
    if count < 30:  # too few for a normal distribution
        return False
    mean, variance = mean.reshape(len(mean), -1), variance.reshape(len(mean), -1)
    half = 1.96 * np.sqrt(np.maximum(variance, 0) / count)
    return bool((half.max(1) <= tolerance * np.ptp(mean, 1)).all())
