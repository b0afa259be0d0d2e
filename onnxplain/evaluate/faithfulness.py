"""Does the score follow what the attribution says? The model is asked at inputs of which something was taken away."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.integrate import trapezoid

from ..checks import count_fits, not_negative, numbers
from ..errors import InputError
from ..tensors import Tensors
from .case import Case, Units, extent
from .metric import Curve, metric

# ---- pixel flipping ----


def flipped(case: Case, *, most_relevant_first: bool, region: Any, steps: int, fill: Any, absolute: bool, relative: bool) -> Curve:
    """The score while more and more units are replaced, in the order of their relevance; the area is the mean over the fraction replaced."""
    count_fits(steps, "steps")
    units = Units.of(case, region)
    relevance = units.sums(case.relevance)
    relevance = np.abs(relevance) if absolute else relevance
    # Equal units, as in a map of zeros, go in random order, not in that of reading.
    order = np.lexsort((case.shuffled(units.count, 0), -relevance if most_relevant_first else relevance))
    rank = np.argsort(order, axis=1)
    at = np.unique(np.round(np.linspace(0, units.count, min(steps, units.count) + 1)).astype(int))
    points = case.replaced(units, fill)
    values = case.scores(len(at), lambda k: points(rank < at[k][:, None, None]))
    values = np.where(np.isfinite(relevance).all(1), values, np.nan)  # nothing orders NaN
    if relative:
        values = (values - values[-1]) / (values[0] - values[-1])
    at = at / units.count
    return Curve(at, values, trapezoid(values, at, axis=0))


@metric("deletion_auc", better="lower")
def deletion(case: Case, *, region: Any = 1, steps: int = 20, fill: Any = 0.0, order: str = "most", absolute: bool = False, relative: bool = False) -> Curve:
    """The area under the score while the most relevant is taken away first (Samek et al. 2017; Petsiuk, Das and Saenko 2018).

    ∫₀¹ f(x with the q most relevant units replaced) dq, by trapezoids.

    Parameters
    ----------
    region : int, sequence of int, or int array of labels, default 1
        What is replaced at once: blocks of so many places along each axis, or segments. Its relevance is the sum over it.
    steps : int, default 20
        The number of steps in which everything is replaced.
    fill : number, array, "mean", "blur", "noise" or "inpaint", default 0
        What stands in the place; see `onnxplain.evaluate.FILLS`.
    order : "most" or "least", default "most"
        What goes first. With the least relevant first (LeRF) a high area is good.
    absolute : bool, default False
        Order by the magnitude of the units' relevance.
    relative : bool, default False
        Scale each sample's curve to go from 1 to 0, so that samples count alike.
    """
    if order not in ("most", "least"):
        raise InputError(f"order must be 'most' or 'least', got {order!r}")
    return flipped(case, most_relevant_first=order == "most", region=region, steps=steps, fill=fill, absolute=absolute, relative=relative)


@metric("insertion_auc", better="higher")
def insertion(case: Case, *, region: Any = 1, steps: int = 20, fill: Any = 0.0, absolute: bool = False, relative: bool = False) -> Curve:
    """The area under the score while the most relevant is put back first, from nothing to everything (Petsiuk, Das and Saenko 2018).

    ∫₀¹ f(fill with the q most relevant units of x) dq: LeRF's curve, read from its end. The parameters are those of deletion.
    """
    least = flipped(case, most_relevant_first=False, region=region, steps=steps, fill=fill, absolute=absolute, relative=relative)
    return Curve(1 - least.at[::-1], least.values[::-1], least.value)


@metric("relevance_gain", better="higher")
def relevance_gain(case: Case, *, region: Any = 1, steps: int = 20, fill: Any = 0.0, absolute: bool = False, relative: bool = False) -> Curve:
    """The area between the curves of least and of most relevant first (symmetric relevance gain, Blücher, Vielhaben and Strodthoff 2024).

    Whatever the fill does to both curves alike cancels. The parameters are those of deletion.
    """
    params: dict[str, Any] = {"region": region, "steps": steps, "fill": fill, "absolute": absolute, "relative": relative}
    least, most = (flipped(case, most_relevant_first=m, **params) for m in (False, True))
    return Curve(most.at, least.values - most.values, least.value - most.value)


# ---- sums of attributions against differences of scores ----


@metric("sensitivity_n", better="higher")
def sensitivity_n(case: Case, *, sizes: Any = 8, subsets: int = 50, region: Any = 1, fill: Any = 0.0) -> Curve:
    """How a subset's attributions correlate with what its removal does, Pearson's r over random subsets of n units (Ancona et al. 2018).

    corr over S of Σ_{i ∈ S} Rᵢ and f(x) − f(x with S replaced); the number of a sample is the mean over the sizes n. A size at
    which either is constant says nothing and is left out.

    Parameters
    ----------
    sizes : int or sequence of int, default 8
        The sizes n; as one number, so many of them, spread evenly in logarithm from one to 80 % of the units.
    subsets : int, default 50
        Random subsets of each size, other ones for each sample.
    region, fill
        As for deletion.
    """
    count_fits(subsets, "subsets")
    units = Units.of(case, region)
    if isinstance(sizes, (int, np.integer)):
        count_fits(sizes, "sizes")
        at = np.unique(np.geomspace(1, max(1, 0.8 * units.count), sizes).round().astype(int))
    else:
        at = numbers(sizes, "sizes", "integers")
        if at.dtype.kind not in "iu" or at.ndim != 1 or not at.size or at.min() < 1 or at.max() > units.count:
            raise InputError(f"sizes must be integers from 1 to the {units.count} units, got {sizes!r}")
    relevance, points = units.sums(case.relevance), case.replaced(units, fill)
    subset = lambda k: case.shuffled(units.count, k) < at[k // subsets]
    sums = np.stack([(relevance * subset(k)).sum(1) for k in range(len(at) * subsets)])
    scores = case.scores(len(sums), lambda steps: points(np.stack([subset(k) for k in steps])))
    r = pearson(sums.reshape(len(at), subsets, -1), (case.score - scores).reshape(len(at), subsets, -1), axis=1)
    told = np.isfinite(r).any(0)
    return Curve(at / units.count, r, np.where(told, np.nanmean(np.where(told, r, 0), 0), np.nan))


def pearson(a: np.ndarray, b: np.ndarray, axis: int) -> np.ndarray:
    """The correlation along an axis; NaN where either is constant."""
    a, b = a - a.mean(axis, keepdims=True), b - b.mean(axis, keepdims=True)
    with np.errstate(invalid="ignore"):
        return (a * b).sum(axis) / np.sqrt((a * a).sum(axis) * (b * b).sum(axis))


@metric("infidelity", better="lower")
def infidelity(
    case: Case, *, perturbation: str = "noise", scale: float = 0.1, samples: int = 50, region: Any = 1, fill: Any = 0.0, scaled: bool = False
) -> np.ndarray:
    """How far the attribution is from telling what a perturbation does (Yeh et al. 2019, definition 2.1).

    E_I [(Iᵀ Φ(x) − (f(x) − f(x − I)))²]. The attribution Φ is taken for a slope: maps that are already multiplied by the input
    belong to sensitivity_n.

    Parameters
    ----------
    perturbation : "noise" or "remove", default "noise"
        I is Gaussian noise, or what replacing one unit by `fill` takes away, for each unit in turn.
    scale : float, default 0.1
        The noise's deviation, relative to each sample's range (max − min).
    samples : int, default 50
        Draws of the noise.
    region, fill
        For "remove", as for deletion.
    scaled : bool, default False
        Multiply Φ by the number that fits best, so that its unit does not matter.
    """
    if perturbation == "noise":
        count_fits(samples, "samples")
        not_negative(scale, "scale")
        sigma = {n: scale * extent(x, n) for n, x in case.x.items()}
        points = lambda steps: Tensors({n: x - sigma[n] * np.stack([case.drawn(x.shape[1:], k, salt=n) for k in steps]) for n, x in case.x.items()})
        count = int(samples)
    elif perturbation == "remove":
        units = Units.of(case, region)
        replaced, count = case.replaced(units, fill), units.count
        points = lambda steps: replaced(np.repeat(np.arange(count) == np.asarray(steps)[:, None, None], len(case.score), 1))
    else:
        raise InputError(f"perturbation must be 'noise' or 'remove', got {perturbation!r}")
    told = []

    def watched(steps: range) -> Tensors:
        made = points(steps)
        told.append(sum(((case.x[n] - v) * case.a[n]).reshape(len(v), len(case.score), -1).sum(2) for n, v in made.items()))
        return made

    change = case.score - case.scores(count, watched)
    sums = np.concatenate(told)
    if scaled:
        sums = sums * (sums * change).mean(0) / (sums * sums).mean(0)
    return ((sums - change) ** 2).mean(0)


# ---- completeness ----


@metric("completeness", better="lower")
def completeness(case: Case, *, baseline: Any = None) -> np.ndarray:
    """How far the attributions are from adding up to the score's difference (Sundararajan, Taly and Yan 2017, axiom of completeness).

    |Σᵢ aᵢ − (f(x) − f(x₀))|, in the score's unit.

    Parameters
    ----------
    baseline : number, array or name of a fill, optional
        x₀; by default what the method itself promises, and zero for methods that promise nothing.
    """
    if baseline is None and case.delta is not None:
        return np.abs(case.delta)
    units = Units.of(case, 1)
    points = case.replaced(units, 0.0 if baseline is None else baseline)
    nothing = case.scores(1, lambda steps: points(np.ones((1, len(case.score), units.count), bool)))[0]
    return np.abs(case.flat(case.a).sum(1) - (case.score - nothing))
