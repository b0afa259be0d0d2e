"""How much knowing a patch of the input changes the prediction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from ..question import Question
from ..tensors import Tensors
from .base import Method, one_of, require, seed_fits
from .occlusion import Windows
from .perturbation import Perturbation, count_fits

if TYPE_CHECKING:
    from ..probe import Probe


@dataclass(frozen=True, eq=False)
class Patches:
    """What training samples look like: a normal distribution of their blocks, and some whole samples.

    Attributes
    ----------
    count : int
        Number of training samples.
    mean, covariance : arrays [D], [D, D]
        Of blocks, D elements each, wherever they lie.
    low, high : float
        The smallest and the largest value.
    whole : array [S, *sample]
    """

    count: int
    mean: np.ndarray
    covariance: np.ndarray
    low: float
    high: float
    whole: np.ndarray


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

    def fit(self, question: Question, batches: Iterable[Mapping[str, np.ndarray]], providers: Sequence[Any] | None) -> Method:
        name, axis = question.wrt[0], question.axis(question.wrt[0])
        fits = len(question.wrt) == 1 and name in question.graph.inputs and axis is not None
        require(fits, f"training samples are those of one input; attributed to are {', '.join(map(repr, question.wrt))}")
        random, total, squares, count = np.random.default_rng(self.seed), 0.0, 0.0, 0
        bounds, kept, keys = [np.inf, -np.inf], [], []
        for x in (np.asarray(batch[name]) for batch in batches):
            windows = Windows.over(x, axis, self.window, self.stride)
            samples, block = _arranged(x, windows), self._block(windows)
            every = np.lib.stride_tricks.sliding_window_view(samples, block, tuple(range(-len(block), 0)))
            corners = [random.integers(d - b + 1, size=(len(samples), self.blocks)) for d, b in zip(samples.shape[-len(block) :], block)]
            blocks = every[(np.arange(len(samples))[:, None], ..., *corners, *[slice(None)] * len(block))].reshape(len(samples) * self.blocks, -1)
            blocks = blocks.astype(np.float64)
            total, squares, count = total + blocks.sum(0), squares + blocks.T @ blocks, count + len(samples)
            bounds = [min(bounds[0], float(x.min())), max(bounds[1], float(x.max()))]
            # Each sample draws a number; those with the smallest ones are kept.
            kept, keys = [*kept, *samples], [*keys, *random.random(len(samples))]
            best = np.argsort(keys)[: self.samples]
            kept, keys = [kept[i] for i in best], [keys[i] for i in best]
        require(count > 0, "fit got no data: wanted at least one batch")
        mean = total / (count * self.blocks)
        covariance = squares / (count * self.blocks) - np.outer(mean, mean)
        return replace(self, patches=Patches(count, mean, covariance, *bounds, np.stack(kept)))

    def _block(self, windows: Windows) -> tuple[int, ...]:
        """The extents of a block along the window's axes."""
        sizes = [int(cover.sum(1).max()) for cover in windows.cover.values()]
        return tuple(min(s + 2 * self.padding, windows.shape[a]) for a, s in zip(windows.cover, sizes))

    def attribution(self, f: Probe) -> Tensors:
        learned = self.patches
        require(learned is not None, "prediction_difference needs training samples: call fit(X) first")
        assert learned is not None
        (name,) = f.x
        windows = Windows.over(f.x[name], f.question.axis(name), self.window, self.stride)
        contents = self._conditional(f.x[name], windows, learned) if self.sampling == "conditional" else self._marginal(windows, learned)

        def points(steps: range) -> Mapping[str, np.ndarray]:
            points = np.repeat(f.x[name][None], len(steps), 0)
            for number in range(steps.start // self.samples, (steps.stop - 1) // self.samples + 1):
                own = range(max(steps.start, number * self.samples), min(steps.stop, (number + 1) * self.samples))
                here = points[own.start - steps.start : own.stop - steps.start]
                window = _arranged(here, windows, lead=1)[(..., *windows.slices(number).values())]
                window[:] = contents(number)[own.start - number * self.samples : own.stop - number * self.samples].reshape(len(own), -1, *window.shape[2:])
            return {name: points}

        unknown = np.zeros([windows.count, len(f.score)])
        for steps, p in f.at(windows.count * self.samples, points):
            np.add.at(unknown, np.arange(steps.start, steps.stop) // self.samples, p / self.samples)
        classes = max(
            2, int(np.prod([d for a, d in enumerate(f.question.score.shape or ()) if a != f.question.axis(f.question.output) and isinstance(d, int)]))
        )
        evidence = _log_odds(f.score, learned.count, classes) - _log_odds(unknown, learned.count, classes)
        return Tensors({name: windows.mean(evidence)})

    def _marginal(self, windows: Windows, learned: Patches) -> Any:
        """Contents of a window: those of training samples, [samples, 1, D]."""
        chosen = learned.whole[np.arange(self.samples) % len(learned.whole)]
        return lambda number: chosen[(..., *windows.slices(number).values())].reshape(self.samples, 1, -1)

    def _conditional(self, x: np.ndarray, windows: Windows, learned: Patches) -> Any:
        """Contents of a window: drawn given the rest of the block around it, [samples, N, D]."""
        samples, block = _arranged(x, windows), self._block(windows)
        extents = samples.shape[-len(block) :]
        require(
            len(learned.mean) == np.prod([*samples.shape[1 : -len(block)], *block]), "the training samples had another shape than the inputs: call fit(X) again"
        )

        @cache
        def given(inside: tuple[slice, ...]) -> tuple[np.ndarray, ...]:
            """For a place in the block: which elements are the window's, their regression on the others, and a root of what that leaves open."""
            place = np.zeros([*samples.shape[1 : -len(block)], *block], bool)
            place[(..., *inside)] = True
            w = place.ravel()
            inverse = np.linalg.pinv(learned.covariance[np.ix_(~w, ~w)], hermitian=True)
            regression = learned.covariance[np.ix_(w, ~w)] @ inverse
            values, vectors = np.linalg.eigh(learned.covariance[np.ix_(w, w)] - regression @ learned.covariance[np.ix_(~w, w)])
            return w, regression, vectors * np.sqrt(np.maximum(values, 0))

        @lru_cache(maxsize=1)
        def contents(number: int) -> np.ndarray:
            places = list(windows.slices(number).values())
            starts = [int(np.clip(p.start - self.padding, 0, d - b)) for p, d, b in zip(places, extents, block)]
            around = samples[(..., *(slice(s, s + b) for s, b in zip(starts, block)))].reshape(len(samples), -1)
            w, regression, root = given(tuple(slice(p.start - s, p.stop - s) for p, s in zip(places, starts)))
            mean = learned.mean[w] + (around[:, ~w] - learned.mean[~w]) @ regression.T
            noise = np.random.default_rng([self.seed, number]).standard_normal([self.samples, 1, int(w.sum())])
            return np.clip(mean + noise @ root.T, learned.low, learned.high)

        return contents


def _arranged(x: np.ndarray, windows: Windows, lead: int = 0) -> np.ndarray:
    """A view with the samples first, behind `lead` other axes, and the window's axes last."""
    first = [] if windows.axis is None else [windows.axis]
    order = [*first, *(a for a in range(len(windows.shape)) if a not in (*first, *windows.cover)), *windows.cover]
    return x.transpose(*range(lead), *(a + lead for a in order))


def _classes(question: Question) -> int:
    """How many there are; a single score speaks of two."""
    axis = question.axis(question.output)
    return max([2, *(d for a, d in enumerate(question.score.shape or ()) if a != axis and isinstance(d, int))])


def _log_odds(p: np.ndarray, count: int, classes: int) -> np.ndarray:
    """In bits, with Laplace's correction."""
    require(
        bool(((p > -1e-3) & (p < 1 + 1e-3)).all()), "prediction_difference needs a probability between 0 and 1: give one class as target, or another output="
    )
    p = (np.clip(p, 0, 1) * count + 1) / (count + classes)
    return np.log2(p) - np.log2(1 - p)
