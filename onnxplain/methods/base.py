"""What a method is: its parameters and one formula over the model at a point."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np

from ..checks import kind_fits, numbers, require, told
from ..errors import InputError, choose
from ..graph import Graph
from ..question import Question
from ..tape import Var
from ..tensors import Tensors
from .point import Point

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

    def __getstate__(self) -> dict[str, Any]:
        """The parameters: what was made of them, such as a table of rules, is made anew where they arrive."""
        return self.params

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
