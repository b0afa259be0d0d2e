"""What a metric measures: some samples, their attributions, and what the model answers where the samples are changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from ..errors import InputError
from ..probe import Probe, joined
from ..tape import is_float
from ..tensors import Tensors
from .fills import fills_of


@dataclass(frozen=True, eq=False)
class Case:
    """Some samples with their attribution. All arrays that formulas see have the samples on axis 0.

    Attributes
    ----------
    probe : Probe
        Its tensors are those that the metrics change.
    attributions : Tensors of arrays
        As a method gave them, in the tensors' own layout; a map of another resolution is stretched to the tensor's.
    seed : int
        Each sample draws numbers of its own, by its place in the data set (`probe.samples`), however the data set is split.
    inside : bool array [N, H, W], optional
        What metrics of localisation take for the object.
    delta : array [N], optional
        The method's own completeness residual.
    again : function, optional
        Explains the samples at other points, for the same targets.
    """

    probe: Probe
    attributions: Tensors
    seed: int = 0
    inside: np.ndarray | None = None
    delta: np.ndarray | None = None
    again: Callable[[Mapping[str, np.ndarray]], Tensors] | None = None

    @cached_property
    def x(self) -> Tensors:
        """The tensors at the samples, [N, *inner]."""
        return Tensors({n: self.first(v, n) for n, v in self.probe.x.items()})

    @cached_property
    def a(self) -> Tensors:
        """The attributions in float64, [N, *inner]; a map without channels has 1 where the tensor has its channels."""
        given = self.attributions
        if set(given) != set(self.x):
            if len(given) != 1 or len(self.x) != 1:
                raise InputError(f"the attributions are of {', '.join(map(repr, given))}, the metrics change {', '.join(map(repr, self.x))}: give wrt=")
            given = Tensors(zip(self.x, given.values()))
        return Tensors({n: _fitted(self.first(np.asarray(v, np.float64), n), self.x[n], self.channels(n), n) for n, v in given.items()})

    @property
    def samples(self) -> Sequence[int]:
        """Which samples of the data set these are; one where the samples share what is attributed to."""
        return self.probe.samples[: len(self.score)]

    @property
    def score(self) -> np.ndarray:
        """The explained scores at the samples, float64 [N]."""
        return self.probe.score

    def places(self, name: str) -> tuple[int, ...]:
        """The axes of [N, *inner] that places lie along."""
        axis = self.probe.question.axis(name)
        return tuple(a + (axis is None or a < axis) for a in self.probe.places(name))

    def channels(self, name: str) -> tuple[int, ...]:
        """The other axes of [N, *inner]; they are replaced as a whole."""
        return tuple(a for a in range(1, self.x[name].ndim) if a not in self.places(name))

    @cached_property
    def relevance(self) -> Tensors:
        """The attribution of each place, summed over its channels: [N, *places]."""
        return Tensors({n: v.sum(self.channels(n)) for n, v in self.a.items()})

    def flat(self, values: Tensors) -> np.ndarray:
        """All elements of all tensors, [N, elements]."""
        return np.concatenate([v.reshape(len(v), -1) for v in values.values()], 1)

    # ---- layout ----

    def first(self, v: np.ndarray, name: str) -> np.ndarray:
        """A tensor with its samples on axis 0."""
        axis = self.probe.question.axis(name)
        return v[None] if axis is None else np.moveaxis(v, axis, 0)

    def back(self, v: np.ndarray, name: str) -> np.ndarray:
        """The inverse, for points [k, N, *inner]."""
        axis = self.probe.question.axis(name)
        return v[:, 0] if axis is None else np.moveaxis(v, 1, axis + 1)

    # ---- ask the model ----

    def at(self, y: Tensors) -> Tensors:
        """The attributions at other points [N, *inner], like `a`."""
        if self.again is None:
            raise InputError("this metric explains changed inputs: give a method, not what it explained before")
        return replace(self, attributions=self.again({n: self.back(v[None], n)[0] for n, v in y.items()})).a

    def scores(self, count: int, points: Callable[[range], Tensors]) -> np.ndarray:
        """The scores [count, N] at points that are made piece by piece: for a range of k steps, [k, N, *inner] of each tensor."""
        return joined(self.probe.at(count, lambda steps: {n: self.back(v, n) for n, v in points(steps).items()}))

    def replaced(self, units: Units, fill: Any) -> Callable[[np.ndarray], Tensors]:
        """Makes points from what is gone, bool [k, N, units], with `fill` in its place."""
        fills = fills_of(self, fill)

        def points(gone: np.ndarray) -> Tensors:
            masks = {n: np.expand_dims(units.spread(gone, n), [a + 1 for a in self.channels(n)]) for n in self.x}
            return Tensors({n: np.where(m, fills[n](m).astype(self.x[n].dtype), self.x[n]) for n, m in masks.items()})

        return points

    # ---- chance ----

    def drawn(self, shape: Sequence[int], step: int, *, salt: str = "", uniform: bool = False) -> np.ndarray:
        """Random numbers [N, *shape] of each sample's own: Gaussian, or uniform in [−1, 1)."""
        draws = [self._generator(s, step, salt) for s in self.samples]
        return np.stack([g.uniform(-1, 1, shape) if uniform else g.standard_normal(shape) for g in draws])

    def shuffled(self, count: int, step: int) -> np.ndarray:
        """A random order of so many things for each sample, [N, count]."""
        return np.stack([self._generator(s, step, "order").permutation(count) for s in self.samples])

    def _generator(self, sample: int, step: int, salt: str) -> np.random.Generator:
        return np.random.default_rng([self.seed, sample, step, *salt.encode()])


def _fitted(a: np.ndarray, x: np.ndarray, channels: tuple[int, ...], name: str) -> np.ndarray:
    """An attribution at the tensor's resolution."""
    wanted = tuple(1 if k in channels else d for k, d in enumerate(x.shape))
    if a.shape in (x.shape, wanted):
        return a
    if a.ndim != x.ndim or len(a) != len(x) or not channels or any(a.shape[k] != 1 for k in channels):
        raise InputError(f"the attribution of {name!r} has shape {list(a.shape)}, wanted {list(x.shape)}, or a map with one channel")
    from skimage.transform import resize

    return np.asarray(resize(a, wanted, order=1, mode="edge", anti_aliasing=False))


def extent(x: np.ndarray, name: str) -> np.ndarray:
    """max − min of each sample, [N, 1, …]: what noise is relative to."""
    if not is_float(x.dtype):
        raise InputError(f"noise needs floats, {name!r} has dtype {x.dtype}: measure at embeddings, with wrt=, or by another metric")
    axes = tuple(range(1, x.ndim))
    return x.max(axes, keepdims=True) - x.min(axes, keepdims=True)


# ---- what is replaced at once ----


@dataclass(frozen=True, eq=False)
class Units:
    """The places of all tensors in groups that are replaced together, numbered from 0.

    `ids` has for each tensor the number of each place's unit, [N or 1, *places].
    """

    ids: dict[str, np.ndarray]
    count: int

    @classmethod
    def of(cls, case: Case, region: Any) -> Units:
        """Blocks of `region` places along each axis (an integer, or one an axis), or the segments that an integer array labels."""
        ids, count = {}, 0
        for name, v in case.relevance.items():
            own = _segments(region, v, name) if isinstance(region, np.ndarray) and region.ndim > 1 else _blocks(region, v.shape[1:])
            ids[name] = own + count
            count += int(own.max()) + 1
        return cls(ids, count)

    def sums(self, values: Tensors) -> np.ndarray:
        """The sum over each unit, [N, units]."""
        n = len(next(iter(values.values())))
        total = np.zeros(n * self.count)
        for name, v in values.items():
            places = self.ids[name] + self.count * np.arange(n).reshape(-1, *[1] * (v.ndim - 1))
            total += np.bincount(places.ravel(), v.ravel(), n * self.count)
        return total.reshape(n, self.count)

    def spread(self, flags: np.ndarray, name: str) -> np.ndarray:
        """What is said of units, [k, N, units], of the places of a tensor: [k, N, *places]."""
        ids = np.broadcast_to(self.ids[name], (flags.shape[1], *self.ids[name].shape[1:]))
        flat = np.take_along_axis(flags, ids.reshape(1, len(ids), -1), 2)
        return flat.reshape(len(flags), *ids.shape)


def _blocks(region: Any, places: Sequence[int]) -> np.ndarray:
    try:
        size = [int(region)] * len(places) if np.ndim(region) == 0 else [int(s) for s in region]
    except (TypeError, ValueError):
        size = []
    if len(size) != len(places) or min(size, default=1) < 1:
        raise InputError(f"region must be a positive integer, {len(places)} of them, or an array of labels, got {region!r}")
    counts = [-(-d // s) for d, s in zip(places, size)]
    steps = [prod(counts[k + 1 :]) for k in range(len(counts))]
    indices = np.indices(tuple(places))
    return sum((i // s * step for i, s, step in zip(indices, size, steps)), np.zeros(places, int))[None]


def _segments(labels: np.ndarray, relevance: np.ndarray, name: str) -> np.ndarray:
    """Labels from 0 on without gaps, the same for all samples or each its own."""
    labels = labels if labels.ndim == relevance.ndim else labels[None]
    if labels.dtype.kind not in "iu" or labels.shape[1:] != relevance.shape[1:] or len(labels) not in (1, len(relevance)):
        raise InputError(f"region for {name!r} has shape {list(labels.shape)} and dtype {labels.dtype}, wanted integer labels {list(relevance.shape[1:])}")
    return np.unique(labels, return_inverse=True)[1].reshape(labels.shape)
