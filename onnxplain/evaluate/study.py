"""A model, what explains it, and the samples, a few at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from tqdm import tqdm

from ..checks import seed_fits
from ..errors import InputError, choose
from ..explainer import Explainer
from ..explanation import Explanation, jsonable
from ..feeds import Arrays, batch_of, feeds_of
from ..methods import METHODS, Method
from ..model import Model
from ..tensors import Tensors
from .baselines import BASELINES, Random
from .case import Case
from .store import digest

PIECE = 8
"""So many samples are measured at once at most; the rest of what fits into memory are steps."""
OPTIONS = ("output", "wrt", "fuse", "providers", "batch_size")
"""Those of `onnxplain.Explainer`."""


# ---- methods ----

Source = Explainer | Explanation


def _labelled(methods: Sequence[Any]) -> dict[str, Any]:
    labels = {label_of(given): given for given in methods}
    if len(labels) != len(methods):
        raise InputError("two methods have the same name: give a dict with a label for each")
    return labels


def label_of(given: Any) -> str:
    """What a method is called in results: its name, and the parameters that were given."""
    if isinstance(given, str):
        return given
    if isinstance(given, Mapping):
        _require_name(given)
        params = ", ".join(f"{k}={v if np.ndim(v) == 0 else jsonable(np.asarray(v))}" for k, v in given.items() if k != "method")
        return f"{given['method']}({params})" if params else str(given["method"])
    if isinstance(given, Method):
        return given.name
    if isinstance(given, Explainer):
        return given.method.name
    if isinstance(given, Explanation):
        return given.method
    raise _unknown(given)


def _require_name(given: Mapping[str, Any]) -> None:
    if "method" not in given:
        raise InputError(f"the method {dict(given)!r} lacks the key 'method'")


def _unknown(given: Any) -> InputError:
    return InputError(f"a method is a name, a dict with the key 'method', a Method, an Explainer or an Explanation, got {type(given).__name__}")


def _source(given: Any, model: Model, options: Mapping[str, Any]) -> Source:
    if isinstance(given, (Explainer, Explanation)):
        return given
    params = {}
    if isinstance(given, Mapping):
        _require_name(given)
        params = {k: v for k, v in given.items() if k != "method"}
        given = given["method"]
    if isinstance(given, str):
        choose("method", given, [*METHODS, *BASELINES])
        if given in BASELINES:
            given, params = BASELINES[given](**params), {}
    elif not isinstance(given, Method):
        raise _unknown(given)
    return Explainer(model, given, **options, **params)


# ---- samples ----


@dataclass(frozen=True, eq=False)
class Piece:
    """A few samples: enough to measure at once."""

    feeds: Arrays
    rows: Sequence[int]
    """Which samples of all these are; for models of fixed batch size the last one again and again at the end."""
    names: Sequence[str]
    """Their names, without the repeated ones."""
    target: Any
    targets: Sequence[str]
    digests: Sequence[str]
    """Of each one's inputs."""

    def settings(self, common: str) -> dict[str, str]:
        """Name → a digest of all that decides its rows, from that of what is common to all samples."""
        return {name: digest([common, own]) for name, own in zip(self.names, self.digests)}


@dataclass(frozen=True, eq=False)
class Study:
    """A model, what explains it, and how the model is asked."""

    model: Model
    methods: Any
    options: Mapping[str, Any]
    probability: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        seed_fits(self.seed)
        for key in self.options:
            choose("option", key, OPTIONS)

    @cached_property
    def asker(self) -> Explainer:
        """Asks the model for scores. Its method needs no derivatives."""
        return Explainer(self.model, Random(probability=self.probability), **self.options)

    @cached_property
    def sources(self) -> dict[str, Source]:
        """What explains, by label."""
        given, q = self.methods, self.asker.question
        if not isinstance(given, Mapping) or "method" in given:
            given = _labelled(given if isinstance(given, (list, tuple)) else [given])
        if not given:
            raise InputError("no method was named")
        known = lambda m, label: Explanation({q.wrt[0]: m}, {}, np.zeros(m.shape[q.axis(q.wrt[0]) or 0]), label)
        arrays = {label: known(m, label) for label, m in given.items() if isinstance(m, np.ndarray) and m.ndim}
        return {str(label): arrays.get(label) or _source(m, self.model, self.options) for label, m in given.items()}

    @property
    def explainers(self) -> dict[str, Explainer]:
        """The same, where every one of them has to explain more than what was explained before."""
        for label, source in self.sources.items():
            if isinstance(source, Explanation):
                raise InputError(f"{label} was explained before, and more has to be explained here: give a method")
        return self.sources  # type: ignore[return-value]

    def settings(self, label: str, **more: Any) -> str:
        """A digest of all that decides a row's numbers, the samples excepted."""
        source = self.sources[label]
        method = [source.attributions, source.delta] if isinstance(source, Explanation) else [source.method, _asked(source)]
        return digest({"asked": _asked(self.asker), "probability": self.probability, "seed": self.seed, "method": method, **more})

    def pieces(self, X: Any, target: Any = None, names: Sequence[str] | None = None, progress: bool = False) -> Iterator[Piece]:
        """The samples a few at a time, with their targets found."""
        q, start = self.asker.question, 0
        if names is not None and len(set(names)) < len(names):
            raise InputError("two samples have the same name")
        with tqdm(desc="evaluate", unit="sample", disable=not progress) as bar:
            for given in [X] if isinstance(X, Mapping) or hasattr(X, "__array__") else X:
                feeds = feeds_of(q, given)
                n = batch_of(q, feeds)
                if names is not None and start + n > len(names):
                    raise InputError(f"there are {len(names)} names for more samples: give one for each")
                bar.reset(start + n)
                bar.update(start)
                for rows in self._split(n):
                    part = {k: v if (a := q.axis(k)) is None else np.take(v, rows, a) for k, v in feeds.items()}
                    places = [start + r for r in rows]
                    chosen = _rows_of_target(target, places, len(q.score.shape or ()), q.axis(q.output))
                    found = chosen if chosen is not None else self.asker.explain(part).target
                    called = [str(p) if names is None else names[p] for p in dict.fromkeys(places)]
                    yield Piece(part, places, called, found, _told(found, len(called)), self._digests(part, len(called)))
                    bar.update(len(called))
                start += n
        if isinstance(target, (list, np.ndarray)) and np.ndim(target) and np.asarray(target).dtype.kind != "f" and len(target) > start:
            raise InputError(f"there are {len(target)} targets for {start} samples: give one for each")

    @property
    def _together(self) -> bool:
        """Whether samples cannot be measured apart."""
        q = self.asker.question
        return q.batch is None or q.together

    def _digests(self, feeds: Arrays, count: int) -> list[str]:
        """Of the inputs of each of the first samples; of all of them where samples are not apart."""
        if self._together:
            return [digest(feeds)] * count
        axes = {n: self.asker.question.axis(n) for n in feeds}
        return [digest({n: v if (a := axes[n]) is None else np.take(v, k, a) for n, v in feeds.items()}) for k in range(count)]

    def _split(self, n: int) -> Iterator[list[int]]:
        """Rows of a batch. The size does not depend on the machine, as the noise of some methods goes by a sample's place in it."""
        q = self.asker.question
        if self._together:
            yield list(range(n))
            return
        size = q.fixed or min(PIECE, self.options.get("batch_size") or PIECE)
        for start in range(0, n, size):
            rows = list(range(start, min(start + size, n)))
            yield rows + [rows[-1]] * (size - len(rows) if q.fixed else 0)

    def explained(self, piece: Piece, label: str) -> Explanation:
        """What a method says of a piece."""
        source, q = self.sources[label], self.asker.question
        if isinstance(source, Explainer):
            return source.explain(piece.feeds, piece.target)
        if source.target.ndim and len(source.target) <= max(piece.rows):
            raise InputError(f"{label} explains {len(source.target)} samples, there are more")
        axes = {n: q.axis(n) if n in q.graph.types else 0 for n in (*source.attributions, *source.inputs)}
        for n, x in source.inputs.items():
            if n in piece.feeds and not np.array_equal(x if axes[n] is None else np.take(x, piece.rows, axes[n]), piece.feeds[n]):
                raise InputError(f"{label} explains other inputs: its {n!r} differs from the samples that are measured")
        own = {n: v if (a := axes[n]) is None else np.take(v, piece.rows, a) for n, v in source.attributions.items()}
        return replace(source, attributions=own, delta=None if source.delta is None else source.delta[list(piece.rows)])

    def case(self, piece: Piece, label: str, inside: np.ndarray | None = None) -> Case:
        """A piece with what a method says of it, ready to be measured."""
        e = self.explained(piece, label)
        if inside is not None and len(inside) <= max(piece.rows):
            raise InputError(f"inside is of {len(inside)} samples, there are more")
        within = None if inside is None else np.asarray(inside)[list(piece.rows)]
        again = self._again(piece, label) if isinstance(self.sources[label], Explainer) else None
        probe = replace(self.asker.probe(piece.feeds, piece.target), samples=piece.rows)
        return Case(probe, Tensors(e.attributions), self.seed, within, e.delta, again)

    def _again(self, piece: Piece, label: str) -> Callable[[Mapping[str, np.ndarray]], Tensors]:
        """Explains a piece at other points."""

        def again(points: Mapping[str, np.ndarray]) -> Tensors:
            hidden = [n for n in points if n not in piece.feeds]
            if hidden:
                raise InputError(f"explaining again needs other inputs, and {hidden[0]!r} is inside the model")
            moved = {n: points[n].astype(v.dtype) if n in points else v for n, v in piece.feeds.items()}
            return Tensors(self.explained(replace(piece, feeds=moved), label).attributions)

        return again


def _asked(explainer: Explainer) -> list[Any]:
    """What is explained, of which model in which form."""
    source, q = explainer.source, explainer.question
    return [source.sha256, source.fuse, source.rewrites, q.output, q.wrt]


def _rows_of_target(target: Any, rows: Sequence[int], rank: int, axis: int | None) -> Any:
    """The targets of some samples."""
    if target is None or np.ndim(target) == 0 or (isinstance(target, tuple) and len(target) == rank - 1 and rank > 2):
        return target
    along = axis if isinstance(target, np.ndarray) and target.dtype.kind == "f" else 0
    if along is None:
        return target
    count = target.shape[along] if isinstance(target, np.ndarray) else len(target)
    if max(rows) >= count:
        raise InputError(f"there are {count} targets for more samples: give one for each")
    return np.take(target, rows, along) if isinstance(target, np.ndarray) else [target[r] for r in rows]


def _told(target: Any, count: int) -> list[str]:
    """Targets in results."""
    if isinstance(target, np.ndarray) and target.dtype.kind == "f":
        return ["weights"] * count
    rows = [target] * count if np.ndim(target) == 0 or isinstance(target, tuple) else list(target)[:count]
    return [",".join("all" if t is None else str(t) for t in np.atleast_1d(np.asarray(r, object))) for r in rows]
