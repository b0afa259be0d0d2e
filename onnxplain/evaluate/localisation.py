"""Does the attribution lie where the object is?"""

from __future__ import annotations

import numpy as np

from ..checks import not_negative
from ..errors import InputError
from .case import Case
from .metric import metric


@metric("box_ratio", better="higher")
def box_ratio(case: Case, *, per_area: bool = False) -> np.ndarray:
    """|attribution| inside the object's box over that outside (Alber 2019, section 3.4 and table 1).

    Σ_{i inside} |aᵢ| / Σ_{i outside} |aᵢ|, over all channels. Everything inside gives infinity, a map of zeros NaN.

    Parameters
    ----------
    per_area : bool, default False
        Compare means instead of sums, so that the size of the box does not matter: a map that knows nothing has 1.
    """
    inside, size = _object(case), _magnitude(case)
    within, without = (size * inside).sum((1, 2)), (size * ~inside).sum((1, 2))
    ratio = within / without
    return ratio * (~inside).sum((1, 2)) / inside.sum((1, 2)) if per_area else ratio


@metric("pointing_game", better="higher")
def pointing_game(case: Case, *, tolerance: int = 0) -> np.ndarray:
    """Whether the most relevant place lies on the object: 1 or 0 (Zhang et al. 2018).

    Parameters
    ----------
    tolerance : int, default 0
        A miss by so many places counts as a hit (15 pixels in the paper).
    """
    not_negative(tolerance, "tolerance")
    inside, relevance = _object(case), _map(case)
    if tolerance:
        from scipy.ndimage import distance_transform_edt

        inside = np.stack([np.asarray(distance_transform_edt(~i)) <= tolerance for i in inside])
    best = relevance.reshape(len(relevance), -1).argmax(1)
    hit = np.take_along_axis(inside.reshape(len(inside), -1), best[:, None], 1)[:, 0]
    return np.where(np.isfinite(relevance).all((1, 2)), hit, np.nan)


@metric("relevance_mass", better="higher")
def relevance_mass(case: Case) -> np.ndarray:
    """The share of the positive relevance that lies on the object (relevance mass accuracy, Arras, Osman and Samek 2022).

    Σ_{i inside} max(Rᵢ, 0) / Σᵢ max(Rᵢ, 0), R summed over the channels.
    """
    inside, positive = _object(case), np.maximum(_map(case), 0)
    return (positive * inside).sum((1, 2)) / positive.sum((1, 2))


@metric("relevance_rank", better="higher")
def relevance_rank(case: Case) -> np.ndarray:
    """The share of the K most relevant places that lie on the object, which has K (relevance rank accuracy, Arras et al. 2022)."""
    inside, relevance = _object(case).reshape(len(case.score), -1), _map(case).reshape(len(case.score), -1)
    order = np.argsort(-relevance, axis=1, kind="stable")
    best = np.arange(inside.shape[1]) < inside.sum(1, keepdims=True)
    share = (np.take_along_axis(inside, order, 1) & best).sum(1) / inside.sum(1)
    return np.where(np.isfinite(relevance).all(1), share, np.nan)


def _map(case: Case) -> np.ndarray:
    """The relevance of each place, [N, H, W]."""
    if len(case.relevance) != 1 or (r := next(iter(case.relevance.values()))).ndim != 3:
        shapes = ", ".join(f"{n} {list(v.shape[1:])}" for n, v in case.relevance.items())
        raise InputError(f"metrics of localisation are for one image, got relevance of {shapes}")
    return r


def _magnitude(case: Case) -> np.ndarray:
    """The sum of |attribution| at each place, [N, H, W]."""
    shape, (name, a) = _map(case).shape, next(iter(case.a.items()))
    return np.abs(a).sum(case.channels(name)).reshape(shape)


def _object(case: Case) -> np.ndarray:
    """Where the object is, bool [N, H, W]; never nothing."""
    shape = _map(case).shape
    if case.inside is None:
        raise InputError("metrics of localisation need inside=, bool [N, H, W]: where each sample's object is")
    if case.inside.shape != shape or case.inside.dtype != bool:
        raise InputError(f"inside has shape {list(case.inside.shape)} and dtype {case.inside.dtype}, wanted bool {list(shape)}")
    if not case.inside.any((1, 2)).all():
        raise InputError(f"inside has no place of sample {case.samples[int(np.argmin(case.inside.any((1, 2))))]}")
    return case.inside
