"""What the network answered, in words: the best classes of each sample."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .explanation import Explanation


@dataclass(frozen=True)
class Answer:
    """One class of one sample."""

    index: int
    value: float
    label: str
    probability: bool
    """Whether the values of all classes are probabilities."""

    def __str__(self) -> str:
        value = f"{self.value:.1%}" if self.probability else f"score {self.value:.4g}"
        return f"{self.label} ({value})"


def scores(explanation: Explanation, output: str | None = None) -> np.ndarray | None:
    """The classes' values [N, classes]: of the output named, else of the first float output that looks like them; None if there is none."""
    named = [explanation.output[output]] if output in explanation.output else list(explanation.output.values())
    for y in named:
        if isinstance(y, np.ndarray) and y.dtype.kind == "f" and y.ndim >= 2 and len(y) and y.size == len(y) * max(y.shape[1:], default=1):
            return y.reshape(len(y), -1).astype(np.float64)
    return None


def answers(explanation: Explanation, sample: int, labels: Sequence[str] | None = None, *, output: str | None = None, top: int = 3) -> list[Answer]:
    """The best classes of a sample, best first; empty where the model's outputs are no classes."""
    y = scores(explanation, output)
    if y is None or not np.isfinite(y[sample]).all():
        return []
    row = y[sample]
    best = np.argsort(-row, kind="stable")[:top]
    probability = len(row) > 1 and bool((row >= 0).all()) and abs(float(row.sum()) - 1) < 1e-2
    return [Answer(int(i), float(row[i]), label(int(i), labels, len(row)), probability) for i in best]


def label(index: int, labels: Sequence[str] | None, classes: int) -> str:
    """A class's name, or its number."""
    if labels is not None and len(labels) == classes:
        return labels[index]
    return "output" if classes == 1 else f"class {index}"


def check_labels(explanation: Explanation, labels: Sequence[str] | None, output: str | None = None) -> None:
    """Say in a warning that labels are not the classes'."""
    y = scores(explanation, output)
    if labels is not None and y is not None and len(labels) != y.shape[1]:
        warnings.warn(f"there are {len(labels)} labels for {y.shape[1]} classes, and none is shown", stacklevel=3)


def first_name(label: str) -> str:
    """The first of a class's several names; indices, which have commas too, stay together."""
    return label if re.fullmatch(r"(\d+|all)(, (\d+|all))*", label) else label.split(",")[0]


def explained(explanation: Explanation, sample: int, labels: Sequence[str] | None = None, *, output: str | None = None) -> str:
    """The target of a sample, in words."""
    target = explanation.target
    if target.dtype.kind == "f":
        return "weights"
    row = np.atleast_1d(target[sample])
    y = scores(explanation, output)
    wide = [int(i) for i in row if i] if len(row) > 1 and y is not None else [int(i) for i in row]
    if y is not None and len(wide) <= 1:
        index = wide[0] if wide else 0
        if 0 <= index < y.shape[1]:
            return label(index, labels, y.shape[1])
    return ", ".join("all" if i == -2 else str(i) for i in row) or "output"
