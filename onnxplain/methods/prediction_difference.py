"""How much knowing a patch of the input changes the prediction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import count_fits, kind_fits, one_of, require, seed_fits
from ..question import Question
from ..tensors import Tensors
from .base import Method
from .occlusion import Windows
from .patches import Blocks, Patches
from .perturbation import Perturbation
from .places import spatial_axes

if TYPE_CHECKING:
    from ..probe import Probe


@dataclass(frozen=True)
class PredictionDifference(Perturbation, name="prediction_difference"):
    """The weight of evidence of a sliding window for the class, log₂ odds with and without knowing it (Zintgraf et al. 2017, eqs. 2 to 5).

    Without knowing it, the class's probability is the mean over samples of the window's content: given what surrounds it, by a normal
    distribution of blocks, a window and `padding` to each side, which `Explainer.fit(X)` learns; or as it is elsewhere in the
    training data. Probabilities get Laplace's correction (p · n + 1) / (n + K) for n training samples and K classes. Windows are averaged.

    Parameters
    ----------
    window : int or sequence of int
        As for occlusion.
    stride : like `window`, default 1
        Steps between windows.
    padding : int, default 2
        How far the block reaches beyond the window, to each side; at the border the window lies off the block's centre.
    sampling : "conditional" or "marginal", default "conditional"
        Draw the window's content given what surrounds it, or take it from training samples, at the same place.
    samples : int, default 10
        Contents drawn for each window.
    blocks : int, default 100
        Blocks taken from each training sample, at random, to learn from.
    seed : int, default 0
    patches : Patches, optional
        What `Explainer.fit` learned.
    """

    window: Any = None
    stride: Any = 1
    padding: int = 2
    sampling: str = "conditional"
    samples: int = 10
    blocks: int = 100
    seed: int = 0
    patches: Patches | None = None
    probability: bool = True

    def __post_init__(self) -> None:
        require(self.window is not None, "prediction_difference needs window=, the extents of the patch that is left unknown")
        one_of(self.sampling, ("conditional", "marginal"), "sampling")
        count_fits(self.samples, "samples")
        count_fits(self.blocks, "blocks")
        count_fits(self.padding, "padding", least=0)
        require(self.probability, "prediction_difference compares probabilities: probability=False has no odds")
        seed_fits(self.seed)
        kind_fits(self.patches, (Patches, type(None)), "patches", "what fit(X) learned, or None")

    def fit(self, question: Question, batches: Iterable[Mapping[str, np.ndarray]], providers: Sequence[Any] | None) -> Method:
        name, axis = question.wrt[0], question.axis(question.wrt[0])
        fits = len(question.wrt) == 1 and name in question.graph.inputs and axis is not None
        require(fits, f"training samples are those of one input; attributed to are {', '.join(map(repr, question.wrt))}")
        data = (np.asarray(batch[name]) for batch in batches)
        return replace(self, patches=Patches.of(data, lambda x: self._blocks(x, axis), self.blocks, self.samples, self.seed))

    def _blocks(self, x: np.ndarray, axis: int | None) -> Blocks:
        return Blocks(Windows.over(x, axis, spatial_axes(x, axis), self.window, self.stride), self.padding)

    def attribution(self, f: Probe) -> Tensors:
        (name, x), *_ = f.x.items()
        blocks, learned, samples = self._blocks(x, f.question.axis(name)), self.patches, self.samples
        require(learned is not None, "prediction_difference needs training samples: call fit(X) first")
        assert learned is not None
        conditional = self.sampling == "conditional"
        content = learned.given_surroundings(blocks, x, samples, self.seed) if conditional else learned.elsewhere(blocks, samples)

        def points(steps: range) -> Mapping[str, np.ndarray]:
            points = np.repeat(x[None], len(steps), 0)
            for number in range(steps.start // samples, (steps.stop - 1) // samples + 1):
                first, last = max(steps.start, number * samples), min(steps.stop, (number + 1) * samples)
                here = points[first - steps.start : last - steps.start]
                window = blocks.arranged(here, lead=1)[(..., *blocks.window(number))]
                window[:] = content(number)[first - number * samples : last - number * samples].reshape(last - first, -1, *window.shape[2:])
            return {name: points}

        unknown = np.zeros([blocks.windows.count, len(f.score)])
        for steps, p in f.at(len(unknown) * samples, points):
            np.add.at(unknown, np.arange(steps.start, steps.stop) // samples, p / samples)
        odds = lambda p: _log_odds(p, learned.count, _classes(f.question))
        return Tensors({name: blocks.windows.mean(odds(f.score) - odds(unknown))})


def _classes(question: Question) -> int:
    """How many there are; a single score speaks of two."""
    axis = question.axis(question.output)
    return max([2, *(d for a, d in enumerate(question.score.shape or ()) if a != axis and isinstance(d, int))])


def _log_odds(p: np.ndarray, count: int, classes: int) -> np.ndarray:
    """In bits, with Laplace's correction."""
    fits = bool(((p > -1e-3) & (p < 1 + 1e-3)).all())
    require(fits, "prediction_difference needs a probability between 0 and 1: give one class as target, or another output=")
    p = (np.clip(p, 0, 1) * count + 1) / (count + classes)
    return np.log2(p) - np.log2(1 - p)
