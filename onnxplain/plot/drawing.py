"""What is drawn: one sample of one attributed tensor, and the base of the kinds of drawings."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.patheffects import Normal, withStroke

from ..checks import is_real
from ..errors import InputError, choose
from ..explanation import Explanation
from .maps import limit as robust_limit
from .visuals import Colors, colors_of

OUTLINE = [withStroke(linewidth=3, foreground="black"), Normal()]
"""White lines and letters are seen on any ground."""


@dataclass(frozen=True, eq=False)
class Subject:
    """One sample's attribution, with the input that it is of."""

    name: str
    a: np.ndarray
    x: np.ndarray | None
    """The tensor itself; None for one inside the model."""
    inputs: dict[str, np.ndarray]
    """The same sample of the model's inputs."""

    @classmethod
    def of(cls, explanation: Explanation, sample: int, tensor: str | None) -> Subject:
        name = name_of(explanation, tensor)
        count = count_of(explanation, name)
        if not isinstance(sample, (int, np.integer)):
            raise InputError(f"sample must be an integer, got {sample!r}")
        if not 0 <= sample < count:
            raise InputError(f"sample {sample} is out of range: there are {count}" + (f", 0 to {count - 1}" if count else ""))
        inputs = {n: _sample_of(x, sample, count) for n, x in explanation.inputs.items()}
        a = np.asarray(_sample_of(explanation.attributions[name], sample, count), np.float64)
        x = inputs.get(name)
        if not a.size:
            raise InputError(f"the attribution of {name!r} is empty (shape {list(a.shape)} a sample): there is nothing to draw")
        broken = int((~np.isfinite(a)).sum())
        if broken:
            raise InputError(f"the attribution of {name!r} holds NaN or infinity ({broken} of {a.size} values of sample {sample}): it cannot be drawn")
        return cls(name, a, x if x is not None and x.shape == a.shape else None, inputs)


def name_of(explanation: Explanation, tensor: str | None) -> str:
    """The attributed tensor that is meant."""
    return next(iter(explanation.attributions)) if tensor is None else choose("tensor", tensor, explanation.attributions)


def count_of(explanation: Explanation, tensor: str | None) -> int:
    """How many samples there are; a tensor without a batch axis is shown whole with each."""
    if explanation.target.dtype.kind in "iu":
        return len(explanation.target)
    return len(np.atleast_1d(explanation.attributions[name_of(explanation, tensor)]))


def _sample_of(values: np.ndarray, sample: int, count: int) -> np.ndarray:
    """One sample; the whole of what the batch shares."""
    values = np.asarray(values)
    return values[sample] if values.ndim and len(values) == count else values


class Drawing(ABC):
    """A sample's attribution, ready to be painted."""

    values: np.ndarray
    """The numbers that the scale is of."""

    @property
    @abstractmethod
    def inches(self) -> tuple[float, float]:
        """Width and height that suit it."""

    @property
    def least(self) -> float:
        """The height below which its words would overlap, in inches."""
        return 0.0

    @abstractmethod
    def paint(self, ax: Axes, top: float) -> ScalarMappable | None:
        """Draw with the full colour at `top`; what says which colour stands for which number, if one does."""


def scale_of(drawing: Drawing, percentile: float, limit: float | None) -> float:
    """The magnitude that gets the full colour."""
    if limit is not None and not (is_real(limit) and limit > 0):
        raise InputError(f"limit must be a positive number, got {limit!r}")
    return robust_limit(drawing.values, percentile) if limit is None else float(limit)


def signed_scale(cmap: Colors, top: float) -> ScalarMappable:
    """Colours for −top to top."""
    return ScalarMappable(Normalize(-top, top), colors_of(cmap))
