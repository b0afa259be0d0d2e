"""PatternNet and PatternAttribution, which learn a pattern for each neuron from data."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from ..backward import gradient
from ..checks import one_of, require
from ..errors import InputError, one_line
from ..files import npz_path, replacing
from ..ops.shapes import cast
from ..question import Question
from ..rules import pattern as rules
from ..rules.pattern import REGIMES, Layer, layers
from ..session import Session
from ..tape import Emitted, Tape, Var, op
from ..tensors import Tensors
from .base import Method
from .point import Point


class Patterns(dict[str, np.ndarray]):
    """Weight initializer's name → pattern, in the initializer's own layout."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write an .npz file, whole or not at all; the same patterns always make the same file."""
        with replacing(npz_path(path)) as temporary, zipfile.ZipFile(temporary, "w") as archive:
            for name, array in self.items():
                entry = zipfile.ZipInfo(f"{name}.npy")
                entry.compress_type = zipfile.ZIP_DEFLATED
                with archive.open(entry, "w", force_zip64=True) as file:
                    np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Patterns:
        """Read what `save` wrote."""
        try:
            with np.load(path, allow_pickle=False) as archive:
                return cls(archive)
        except Exception as error:  # whatever NumPy and zipfile say of a file that is none of theirs
            raise InputError(f"{path} holds no patterns that can be read: {one_line(error)}") from None


@dataclass(frozen=True)
class _Pattern(Method):
    patterns: Any = None
    pattern_type: str = "relu"
    relevance: str = "one_hot"
    project_bottleneck: bool = False
    rule: ClassVar[type[rules.PatternNet]]

    def __post_init__(self) -> None:
        one_of(self.pattern_type, list(REGIMES), "pattern_type")
        one_of(self.relevance, ["one_hot", "logit"], "relevance")
        require(self.patterns is None or isinstance(self.patterns, (Mapping, str, os.PathLike)), f"patterns must be a dict or a path, got {self.patterns!r}")
        if self.patterns is not None:
            _ = self.learned  # refuses a bad file here, not later

    @property
    def params(self) -> dict[str, Any]:
        given = sorted(self.patterns) if isinstance(self.patterns, Mapping) else self.patterns
        return super().params | {"patterns": given}

    @property
    def whole(self) -> dict[str, Any]:
        return self.params | {"patterns": None if self.patterns is None else self.learned}

    # ---- the map ----

    def explanation(self, f: Point) -> Tensors:
        rule = self.rule(self._by_node(f.question))
        maps = f.sweep(lambda flow, node: rule if node in rule.patterns else gradient, self.relevance)
        return Tensors({n: _projected(v, f.question.axis(n)) for n, v in maps.items()}) if self.project_bottleneck else maps

    def _by_node(self, question: Question) -> dict[Any, np.ndarray]:
        """The layers' patterns, checked, in the dtypes of their weights."""
        found, learned = {}, self.learned
        wanted = layers(question.flow)
        if missing := [name for name in wanted if name not in learned]:
            raise InputError(f"{self.name} has no pattern for {', '.join(map(repr, missing))}; patterns= has {', '.join(map(repr, learned)) or 'none'}")
        for name, same in wanted.items():
            weight, a = question.graph.constants[same[0].name], np.asarray(learned[name])
            shape = [int(d) for d in weight.shape]
            if list(a.shape) != shape or a.dtype.kind not in "fiu":
                raise InputError(f"the pattern of {name!r} is {a.dtype}{list(a.shape)}, wanted {weight.dtype.numpy()}{shape}")
            require(bool(np.isfinite(a).all()), f"the pattern of {name!r} holds NaN or infinity")
            a = np.ascontiguousarray(a, weight.dtype.numpy())
            found |= {layer.node: a for layer in same}
        return found

    def warnings(self, question: Question) -> list[str]:
        flow = question.flow
        others = [str(n) for n in flow.linear if Layer.of(flow, n) is None]
        return [f"{self.name} knows patterns of layers with one constant weight; these take the plain gradient: {', '.join(others)}"] if others else []

    # ---- what is learned ----

    @cached_property
    def learned(self) -> Patterns:
        if self.patterns is None:
            raise InputError(f"{self.name} has no patterns yet: learn them with fit(X), or give patterns=")
        return Patterns(self.patterns) if isinstance(self.patterns, Mapping) else Patterns.load(self.patterns)

    def fit(self, question: Question, batches: Iterable[Mapping[str, np.ndarray]], providers: Sequence[Any] | None) -> Method:
        groups = layers(question.flow)
        require(bool(groups), f"{self.name} has nothing to learn: no linear layer lies between {', '.join(question.wrt)} and {question.output}")
        session = Session(self._statistics(question, groups), providers)
        totals: dict[str, list[np.ndarray]] = {}
        for feeds in batches:
            results = session.run(feeds)
            for name, same in groups.items():
                for k, layer in enumerate(same):
                    sums = _sums(layer, {s: results[f"{s}:{k}:{name}"].astype(np.float64) for s in MOMENTS})
                    for total, piece in zip(totals.setdefault(name, [np.zeros_like(s) for s in sums]), sums):
                        total += piece
        require(bool(totals), "fit got no data: wanted at least one batch")
        return replace(self, patterns=Patterns({name: _pattern(same[0], *totals[name]) for name, same in groups.items()}))

    def _statistics(self, question: Question, groups: Mapping[str, list[Layer]]) -> Emitted:
        """One model for the moments of all layers."""
        tape = Tape()
        inputs = {n: tape.input(n, t) for n, t in question.graph.inputs.items()}
        tape.reserve(f"{s}:{k}:{name}" for name, same in groups.items() for k in range(len(same)) for s in MOMENTS)
        env = question.graph.write(tape, inputs)
        regime = REGIMES[self.pattern_type]
        return tape.build({f"{s}:{k}:{n}": v for n, same in groups.items() for k, layer in enumerate(same) for s, v in layer.moments(env, regime).items()})


MOMENTS = ("x", "xy", "y", "m", "c", "n")


def _sums(layer: Layer, got: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """One batch's Σ m·x, Σ m·x·y, Σ y, Σ m, and how often a neuron was applied."""
    x, xy = (got[s].reshape(layer.view) for s in ("x", "xy"))
    y, m, c = (layer.neurons(got[s]) for s in ("y", "m", "c"))
    n = got["n"] / c.size
    return [x, xy + c * x, y + c * n, m, n]


def _pattern(layer: Layer, x: np.ndarray, xy: np.ndarray, y: np.ndarray, m: np.ndarray, n: np.ndarray) -> np.ndarray:
    """cov / wᵀcov for each neuron; what is divided by zero stays as it is."""
    weight = layer.flow.graph.constants[layer.name]
    w = weight.numpy().astype(np.float64).reshape(layer.view)
    count = np.where(m > 0, m, 1)
    cov = xy / count - x / count * (y / n)
    scale = (w * cov).sum(layer.inner, keepdims=True)
    dtype = np.result_type(weight.dtype.numpy(), np.float32)
    return (cov / np.where(scale == 0, 1, scale)).reshape(weight.shape.numpy()).astype(dtype)


def _projected(v: Var, axis: int | None) -> Var:
    """Each sample's map scaled to a largest magnitude of one; a map of zeros stays."""
    top = op.ReduceMax(op.Abs(v), [a for a in range(v.rank) if a != axis], noop_with_empty_axes=1)
    return v / (top + cast(op.Equal(top, 0), top))


@dataclass(frozen=True)
class PatternNet(_Pattern, name="pattern_net"):
    """The signal that the score's neurons detect, projected back to the input (Kindermans et al. 2018).

    Linear layers send back along their patterns; everything else takes the gradient. The patterns come from `fit`, or ready
    made. Batch normalisation is merged into the linear layers first; what is not merged takes the gradient.

    Parameters
    ----------
    patterns : dict or path of an .npz file, optional
        Weight initializer's name → pattern in its layout, such as `Explainer.patterns` of an earlier fit.
    pattern_type : str, default "relu"
        Where a neuron's output counts when patterns are learned: "linear" (everywhere), "relu" or "relu.positive" (where it is
        positive), "relu.negative" (where it is not).
    relevance : "one_hot" or "logit", default "one_hot"
        What the sweep starts from: one, or the score itself (iNNvestigate).
    project_bottleneck : bool, default False
        Scale each sample's map to a largest magnitude of one.

    Raises
    ------
    InputError
        There are no patterns yet, one is missing, or one does not have its weight's shape.
    """

    rule = rules.PatternNet


@dataclass(frozen=True)
class PatternAttribution(_Pattern, name="pattern_attribution"):
    """What the signal contributes to the score, by patterns times weights (Kindermans et al. 2018).

    Linear layers send back along their patterns times their weights; everything else takes the gradient. The patterns come from
    `fit`, or ready made, and serve pattern_net as well. Batch normalisation is merged into the linear layers first; what is not
    merged takes the gradient.

    Parameters and errors are those of pattern_net.
    """

    rule = rules.PatternAttribution
