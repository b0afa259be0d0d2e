"""Groups of elements that are present or absent together: what a mask means, for every method that takes one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import array_for, by_tensor, count_fits, is_list, is_whole, numbers, require
from ..errors import InputError, choose
from ..tape import is_float
from ..tensors import Tensors
from .perturbation import WANTED, baseline_for, fitting

if TYPE_CHECKING:
    from ..probe import Probe


# ---- segmentations by name: from a tensor, its batch axis and the axes of its places to ids that broadcast to it ----


def _shaped(ids: np.ndarray, x: np.ndarray, axes: list[int]) -> np.ndarray:
    """Ids along some axes, the same along the others."""
    return ids.reshape([d if a in axes else 1 for a, d in enumerate(x.shape)])


def _own(x: np.ndarray, axis: int | None) -> list[int]:
    """The axes of a sample."""
    own = [a for a in range(x.ndim) if a != axis]
    require(bool(own), f"a tensor of shape {list(x.shape)} holds one number a sample: there is nothing to group, leave mask= out")
    return own


def _elements(x: np.ndarray, axis: int | None, places: list[int]) -> np.ndarray:
    shape = [1 if a == axis else d for a, d in enumerate(x.shape)]
    return np.arange(np.prod(shape, dtype=int)).reshape(shape)


def _grid(x: np.ndarray, axis: int | None, places: list[int], cells: Any = 7) -> np.ndarray:
    counts = list(cells) if is_list(cells) else [cells] * len(places)
    fits = len(counts) == len(places) and all(is_whole(c) and c >= 1 for c in counts)
    require(fits, f"cells={cells!r} of a grid must be a positive integer, or one for each of {len(places)} axes")
    ids = np.zeros([1] * x.ndim, int)
    for a, c in zip(places, counts):
        ids = ids * c + _shaped(np.arange(x.shape[a]) * min(c, x.shape[a]) // x.shape[a], x, [a])
    return ids


def _channels(x: np.ndarray, axis: int | None, places: list[int]) -> np.ndarray:
    axes = [a for a in _own(x, axis) if a not in places]
    require(bool(axes), f"a tensor of shape {list(x.shape)} has no channels: give the groups as an array")
    return _shaped(np.arange(x.shape[axes[0]]), x, axes)


def _tokens(x: np.ndarray, axis: int | None, places: list[int]) -> np.ndarray:
    first = _own(x, axis)[0]
    return _shaped(np.arange(x.shape[first]), x, [first])


def _time(x: np.ndarray, axis: int | None, places: list[int], pieces: int = 10) -> np.ndarray:
    count_fits(pieces, "pieces")
    longest = max(_own(x, axis), key=lambda a: x.shape[a])
    return _shaped(np.arange(x.shape[longest]) * min(pieces, x.shape[longest]) // x.shape[longest], x, [longest])


def _superpixels(name: str, **defaults: Any) -> Callable[..., np.ndarray]:
    """A segmentation of scikit-image, for each picture by itself, its values stretched to 0 … 1; what has no three channels is taken as gray."""

    def segmented(x: np.ndarray, axis: int | None, places: list[int], **options: Any) -> np.ndarray:
        from skimage import segmentation

        require(len(places) == 2, f"superpixels need pictures, samples with height, width and channels; got a tensor of shape {list(x.shape)}")
        order = [*([] if axis is None else [axis]), *places]
        last = np.transpose(x, [*order, *(a for a in range(x.ndim) if a not in order)]).astype(np.float64)
        pictures = last.reshape(-1, *(x.shape[a] for a in places), last.shape[-1] if x.ndim > len(order) else 1)
        low, high = pictures.min((1, 2, 3), keepdims=True), pictures.max((1, 2, 3), keepdims=True)
        pictures = (pictures - low) / np.where(high > low, high - low, 1)
        pictures = pictures if pictures.shape[-1] == 3 else pictures.mean(-1, keepdims=True).repeat(3, -1)
        ids = np.stack([getattr(segmentation, name)(p, **defaults | options) for p in pictures])
        return _shaped((ids[0] if axis is None else ids).transpose(np.argsort(order)), x, order)

    return segmented


SEGMENTATIONS: dict[str, Callable[..., np.ndarray]] = {
    "elements": _elements,
    "grid": _grid,
    "channels": _channels,
    "tokens": _tokens,
    "time": _time,
    "slic": _superpixels("slic", n_segments=50, start_label=0),
    "quickshift": _superpixels("quickshift", kernel_size=4, max_dist=200, ratio=0.2),
    "felzenszwalb": _superpixels("felzenszwalb", scale=100, min_size=50),
}
"""What `mask=` may name: every element by itself; a grid of `cells` along the spatial axes; channels; the places along a sample's first axis;
`pieces` of its longest axis; superpixels of scikit-image, with its parameters."""


# ---- the game ----

MOST_LINEAR = 10_000


@dataclass(frozen=True, eq=False)
class Game:
    """Features as players: a coalition's value is the score where its features are present and the others are the baseline's.

    Attributes
    ----------
    counts : int array [1] or [N]
        How many features there are: the same for all samples, or for each.
    ids : Tensors of int arrays, broadcastable to the tensors
        Which feature an element belongs to, from 0; the batch axis is 1 or N as that of `counts`.
    baseline : Tensors of arrays, broadcastable to the tensors
    """

    f: Probe
    ids: Tensors
    counts: np.ndarray
    baseline: Tensors

    @classmethod
    def of(cls, f: Probe, mask: Any, baseline: Any) -> Game:
        """By the parameters `mask` and `baseline`; the latter may be "segments", each feature's mean."""
        ids, counts = _features(f, mask)

        def stands_in(x: np.ndarray, name: str) -> np.ndarray:
            given = array_for(baseline, name, "baseline")
            if isinstance(given, str) and given == "segments" and is_float(x.dtype):
                return _means(x, ids[name], f.question.axis(name))
            return baseline_for(f, name, given)

        return cls(f, ids, counts, f.x.map(stands_in, Tensors({n: n for n in f.x})))

    @property
    def most(self) -> int:
        """The number of features of the sample that has most."""
        return int(self.counts.max())

    def require_linear(self) -> None:
        """Refuse a linear model of so many features that it would not fit into memory."""
        require(self.most <= MOST_LINEAR, f"a linear model of {self.most} features is too large, at most {MOST_LINEAR}: give coarser ones with mask=")

    def scores(self, count: int, present: Callable[[range], np.ndarray]) -> Iterator[tuple[range, np.ndarray]]:
        """Values of coalitions, piece by piece; `present` says which features some of them have: [k, features] or [k, samples, features]."""
        return self.f.masked(count, lambda steps: self.masks(present(steps)), self.baseline)

    def values(self, present: np.ndarray) -> np.ndarray:
        """Values of given coalitions, [S, N]."""
        return self.f.scores(len(present), lambda steps: self.masks(present[steps.start : steps.stop]), self.baseline)

    def empty(self) -> np.ndarray:
        """The score at the baseline, [N]."""
        return self.values(np.zeros([1, self.most]))[0]

    def masks(self, present: np.ndarray) -> dict[str, np.ndarray]:
        """Coalitions as masks of the tensors, [k, *shape or 1]."""
        rows, most = len(self.counts), present.shape[-1]
        table = np.asarray(present, np.float32).reshape(len(present), -1, most)
        table = np.broadcast_to(table, [len(present), rows, most]).reshape(len(present), -1)
        return {n: table.take(self._places(n, rows, most), axis=1) for n in self.ids}

    def told(self, values: np.ndarray) -> Tensors:
        """Every element told its feature's value, of [N, features]."""
        samples, most = values.shape
        return Tensors({n: np.broadcast_to(values.take(self._places(n, samples, most)), x.shape) for n, x in self.f.x.items()})

    def away(self) -> np.ndarray:
        """The squared distance of each feature's elements to their baseline, [N, features]."""
        total = np.zeros([len(self.f.score), self.most])
        for n, x in self.f.x.items():
            places = np.broadcast_to(self._places(n, *total.shape), x.shape)
            gap = x.astype(np.float64) - self.baseline[n]
            total += np.bincount(places.ravel(), (gap * gap).ravel(), total.size).reshape(total.shape)
        return total

    def _places(self, name: str, rows: int, most: int) -> np.ndarray:
        """Where each element's feature lies in a flattened table [rows, most]."""
        return self.ids[name] + (self.f.along(np.arange(rows) * most, name) if rows > 1 else 0)


def _features(f: Probe, mask: Any) -> tuple[Tensors, np.ndarray]:
    """Ids by tensor, from 0 in each sample, and how many there are.

    Arrays that give two tensors the same id make one feature of both; what is segmented by name has features of its own.
    """
    each = by_tensor(mask, f.x)
    found = {n: _ids(f, n, array_for(mask, n, "mask") if each else mask) for n in f.x}
    following = 1 + max((int(ids.max(initial=-1)) for ids, named in found.values() if not named), default=-1)
    raw: list[np.ndarray] = []  # the samples first
    axes = [f.question.axis(n) for n in found]
    for axis, (ids, named) in zip(axes, found.values()):
        raw.append((ids[None] if axis is None else np.moveaxis(ids, axis, 0)) + (following if named else 0))
        following += int(ids.max(initial=-1)) + 1 if named else 0
    rows = max(map(len, raw))
    table = np.concatenate([np.broadcast_to(v, [rows, *v.shape[1:]]).reshape(rows, -1) for v in raw], 1)
    numbered = [np.unique(row, return_inverse=True) for row in table]
    columns = np.split(np.stack([ids for _, ids in numbered]), np.cumsum([v[0].size for v in raw])[:-1], 1)
    numbers = [c.reshape(rows, *v.shape[1:]) for c, v in zip(columns, raw)]
    laid = {n: v[0] if axis is None else np.moveaxis(v, 0, axis) for n, axis, v in zip(found, axes, numbers)}
    return Tensors(laid), np.array([len(known) for known, _ in numbered])


def _ids(f: Probe, name: str, mask: Any) -> tuple[np.ndarray, bool]:
    """The ids that a mask gives a tensor, and whether it is a segmentation by name."""
    x, axis = f.x[name], f.question.axis(name)
    if mask is None or isinstance(mask, (str, Mapping)):
        options = {"by": "elements"} if mask is None else {"by": mask} if isinstance(mask, str) else dict(mask)
        require("by" in options, f'mask={mask!r} lacks the key "by", the segmentation\'s name')
        segment = SEGMENTATIONS[choose("segmentation", str(options.pop("by")), SEGMENTATIONS)]
        try:
            return segment(x, axis, f.places(name), **options), True
        except InputError:
            raise
        except (TypeError, ValueError, ArithmeticError) as error:
            raise InputError(f"mask={mask!r}: {error}") from None
    array = numbers(mask, f"mask for {name!r}", WANTED["mask"])
    require(array.dtype.kind in "iu" and (array.size > 0) and array.min() >= 0, f"mask for {name!r} must hold {WANTED['mask']}")
    return fitting(f, name, array, "mask").astype(np.int64), False


def coalitions_of(given: Any, features: int) -> np.ndarray:
    """The parameter `coalitions`, checked: float64 [S, features]."""
    z = numbers(given, "coalitions", f"zeros and ones [S, {features}]").astype(np.float64)
    fits = z.ndim == 2 and len(z) > 0 and z.shape[1] == features and bool(np.isin(z, (0, 1)).all())
    require(fits, f"coalitions must be zeros and ones [S, {features}], one column a feature; got shape {list(z.shape)}")
    return z


def _means(x: np.ndarray, ids: np.ndarray, axis: int | None) -> np.ndarray:
    """The mean of each feature's elements: of each sample's, and along axes that the features do not tell apart of each place's."""
    apart = [d if ids.shape[a] == 1 or a == axis else 1 for a, d in enumerate(x.shape)]
    places = np.arange(np.prod(apart)).reshape(apart) * (ids.max() + 1) + ids
    sums, counts = np.bincount(places.ravel(), x.ravel().astype(np.float64)), np.bincount(places.ravel())
    return (sums / np.maximum(counts, 1)).astype(x.dtype)[places]
