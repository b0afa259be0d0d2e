"""Do two explanations say the same?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from ..errors import InputError, choose
from ..explanation import Explanation
from ..methods.places import spatial_axes
from .faithfulness import pearson
from .result import Result, rows_of

Similarity = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Of two batches of maps [N, …], a number for each sample."""
TOP = 0.1
"""The share of the elements that top_k looks at."""


def spearman(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The correlation of the elements' ranks, ties sharing the mean rank (Spearman 1904); NaN where a map is constant."""
    from scipy.stats import rankdata

    rank = lambda v: rankdata(v.reshape(len(v), -1), axis=1)
    return pearson(rank(a), rank(b), axis=1)


def ssim(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The structural similarity of images [N, C, H, W], [N, H, W, C] or [N, H, W] (Wang et al. 2004), each map scaled to a largest magnitude of one."""
    from skimage.metrics import structural_similarity

    places = spatial_axes(a, 0) if a.ndim == 4 else [1, 2]
    if a.ndim not in (3, 4) or min(a.shape[k] for k in places) < 3:
        raise InputError(f"ssim compares images [N, C, H, W] of at least 3 × 3, got maps {list(a.shape)}")
    unit = lambda v: v / max(float(np.abs(v).max()), 1e-30)
    side = min(7, *(a.shape[k] - 1 + a.shape[k] % 2 for k in places))
    channels = next((k - 1 for k in range(1, a.ndim) if k not in places), None)
    alike = lambda p, q: structural_similarity(unit(p), unit(q), win_size=side, data_range=2.0, channel_axis=channels)
    return np.array([alike(p, q) for p, q in zip(a, b)])


def top_k(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The share of the tenth of the elements with the highest values that two maps have in common; NaN where a map holds NaN."""
    count = max(1, round(TOP * a[0].size))
    best = lambda v: np.argsort(np.argsort(-v.reshape(len(v), -1), axis=1, kind="stable"), axis=1) < count
    known = ~(np.isnan(a) | np.isnan(b)).reshape(len(a), -1).any(1)
    return np.where(known, (best(a) & best(b)).sum(1) / count, np.nan)


SIMILARITIES: dict[str, Similarity] = {"spearman": spearman, "ssim": ssim, "top_k": top_k}


def agreement(
    explanations: Mapping[str, Explanation | np.ndarray] | Sequence[Explanation],
    similarity: str | Sequence[str] = "spearman",
    *,
    absolute: bool = False,
    names: Sequence[str] | None = None,
) -> Result:
    """How alike explanations are, pair by pair: of several methods, or of several models for the same inputs.

    Parameters
    ----------
    explanations : dict label → Explanation or array [N, …], or list of Explanation
        All of the same samples and shape; an Explanation has the samples on axis 0.
    similarity : str or list of str, default "spearman"
        Of `SIMILARITIES`: spearman, ssim (images), top_k.
    absolute : bool, default False
        Compare magnitudes.
    names : list of str, optional
        The samples' names.

    Returns
    -------
    Result
        Its records have the columns "a" and "b" beside "pair", which is both.

    Raises
    ------
    InputError
    """
    given = explanations if isinstance(explanations, Mapping) else {e.method: e for e in explanations}
    maps = {label: array_of(e, label, absolute) for label, e in given.items()}
    if len(maps) < 2:
        raise InputError("agreement compares two explanations or more, with different names")
    first, *rest = maps
    for label in rest:
        if maps[label].shape != maps[first].shape:
            raise InputError(f"{label} has shape {list(maps[label].shape)}, {first} {list(maps[first].shape)}: only maps of one shape can be compared")
    samples = [str(k) for k in range(len(maps[first]))] if names is None else list(names)
    if len(samples) != len(maps[first]):
        raise InputError(f"{len(samples)} names were given for {len(maps[first])} samples")
    records = []
    for measure in [similarity] if isinstance(similarity, str) else similarity:
        compared = SIMILARITIES[choose("similarity", measure, SIMILARITIES)]
        for a, b in combinations(maps, 2):
            columns = {"a": a, "b": b, "pair": f"{a}, {b}", "metric": measure}
            records += rows_of(samples, [""] * len(samples), columns, compared(maps[a], maps[b]))
    return Result(records, "pair")


def array_of(e: Any, label: str, absolute: bool) -> np.ndarray:
    """A batch of maps [N, …]; of several tensors, all their elements."""
    if isinstance(e, Explanation) and len(e.attributions) > 1:
        a = np.concatenate([v.reshape(len(v), -1) for v in e.attributions.values()], 1)
    else:
        a = np.asarray(e.attribution if isinstance(e, Explanation) else e)
    if a.ndim < 2 or a.dtype.kind not in "fiu":
        raise InputError(f"{label} must be an Explanation or numbers [N, …], got shape {list(a.shape)} and dtype {a.dtype}")
    return np.abs(a) if absolute else a
