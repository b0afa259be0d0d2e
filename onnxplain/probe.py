"""The explained score as a function of the attributed tensors: forward passes, batched within a bound of memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import InputError
from .feeds import Arrays
from .methods.places import spatial_axes
from .question import Question
from .session import Session
from .tensors import Tensors
from .write import SCORE

Make = Callable[[range], Mapping[str, np.ndarray]]
"""Arrays of some steps by tensor, [k, *shape of the tensor]; axes of extent 1 broadcast."""


@dataclass(frozen=True, eq=False)
class Probe:
    """Some samples, and what the model answers where their attributed tensors are changed.

    Attributes
    ----------
    question : Question
    x : Tensors of arrays
        The attributed tensors of these samples.
    score : float64 array [N]
        The explained score of each sample; [1], their sum, where the samples share what is attributed to.
    samples : sequence of int
        Which samples of the whole batch these are: for seeds and baselines that differ from sample to sample.
    """

    question: Question
    x: Tensors
    score: np.ndarray
    samples: Sequence[int]
    _feeds: Arrays
    _session: Callable[[str], Session]
    _per_run: int
    _bar: Any

    def __post_init__(self) -> None:
        if 0 < len(self.question.shared) < len(self.x):
            own = next(n for n in self.x if n not in self.question.shared)
            raise InputError(f"{self.question.shared[0]!r} is shared by the batch, {own!r} is not: attribute to them apart, with wrt=")

    def places(self, name: str) -> list[int]:
        """The axes of a tensor that places lie along, all but the batch's and the channels'."""
        return spatial_axes(self.x[name], self.question.axis(name), inside=name not in self.question.graph.inputs)

    @property
    def inputs(self) -> Arrays:
        """The model's inputs for these samples."""
        return {n: self._feeds[n] for n in self.question.graph.inputs if n in self._feeds}

    def masked(self, count: int, masks: Make, baseline: Mapping[str, np.ndarray]) -> Iterator[tuple[range, np.ndarray]]:
        """The scores where x is mixed with the baseline, mask · x + (1 − mask) · baseline: (steps, [k, N]), piece by piece."""
        given = {f"baseline:{n}": np.asarray(baseline[n], v.dtype) for n, v in self.x.items()}
        return self._answers("mixed", count, masks, "mask", given)

    def scores(self, count: int, masks: Make, baseline: Mapping[str, np.ndarray]) -> np.ndarray:
        """The same, all together: [count, N]."""
        return joined(self.masked(count, masks, baseline))

    def at(self, count: int, points: Make) -> Iterator[tuple[range, np.ndarray]]:
        """The scores at points given outright: (steps, [k, N]), piece by piece."""
        return self._answers("points", count, points, "point", {})

    def _answers(self, form: str, count: int, make: Make, what: str, given: Arrays) -> Iterator[tuple[range, np.ndarray]]:
        session = self._session(form)
        size = max(1, self._per_run // len(self.samples)) if self.question.folds else 1
        self._bar.total = (self._bar.total or 0) + count * len(self.samples)
        placed = session.place(self._feeds | given)
        for start in range(0, count, size):
            steps = range(start, min(start + size, count))
            made = {f"{what}:{n}": np.asarray(v, session.dtypes[f"{what}:{n}"]) for n, v in make(steps).items()}
            answer = session.run(placed | made)[SCORE].astype(np.float64).reshape(len(steps), -1)
            yield steps, answer.sum(1, keepdims=True) if self.question.shared else answer
            self._bar.update(len(steps) * len(self.samples))

    def along(self, values: np.ndarray, name: str) -> np.ndarray:
        """[…, N] shaped to broadcast along the batch axis of a tensor, […, *shape]."""
        axis, rank = self.question.axis(name), self.x[name].ndim
        values = np.asarray(values)
        return values.reshape(*values.shape[:-1], *(-1 if a == axis else 1 for a in range(rank)))


def joined(pieces: Iterator[tuple[range, np.ndarray]]) -> np.ndarray:
    """All pieces' scores, [steps, N]."""
    return np.concatenate([scores for _, scores in pieces])
