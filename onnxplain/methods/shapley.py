"""Shapley values: each feature's marginal contribution, averaged over the orders in which features can arrive."""

from __future__ import annotations

from dataclasses import dataclass
from math import comb, lgamma
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import count_fits, finite, numbers, positive_if_given, require, seed_fits
from ..tensors import Tensors
from .perturbation import Perturbation, settled
from .segments import Game, coalitions_of

if TYPE_CHECKING:
    from ..probe import Probe

MOST_EXACT = 20


@dataclass(frozen=True)
class _Shapley(Perturbation):
    """A method that splits the score's difference from the baseline among the features."""

    mask: Any = None
    baseline: Any = 0.0

    def values(self, game: Game, empty: np.ndarray) -> np.ndarray:
        """The features' values [N, features]; `empty` is the score at the baseline."""
        raise NotImplementedError

    def answer(self, f: Probe) -> tuple[Tensors, np.ndarray | None]:
        game = Game.of(f, self.mask, self.baseline)
        empty = game.empty()
        values = self.values(game, empty)
        return game.told(values), values.sum(1) - (f.score - empty)


@dataclass(frozen=True)
class ExactShapley(_Shapley, name="exact_shapley"):
    """Shapley values from all 2^M coalitions of M features (Shapley 1953; Lundberg and Lee 2017, eq. 8).

    Each element is told its group's value. With more than 20 groups it is refused: take kernel_shap or shapley_sampling.

    Parameters are `mask`, `baseline` and `probability` of feature_ablation.
    """

    def values(self, game: Game, empty: np.ndarray) -> np.ndarray:
        require(game.most <= MOST_EXACT, f"exact_shapley asks for 2^M coalitions of M features: at most {MOST_EXACT}, got {game.most}; give a coarser mask=")
        values = np.zeros([len(game.f.score), game.most])
        for steps, scores in game.scores(2**game.most, lambda steps: _subsets(steps, game.most)):
            present = _subsets(steps, game.most)
            for n, m in enumerate(np.broadcast_to(game.counts, len(values))):
                values[n, :m] += scores[:, n] @ _shares(present[:, :m]) / 2 ** (game.most - m)
        return values


def _subsets(steps: range, features: int) -> np.ndarray:
    """Coalitions by their number, whose bits are the features."""
    return (np.arange(steps.start, steps.stop)[:, None] >> np.arange(features)) & 1


def _shares(present: np.ndarray) -> np.ndarray:
    """How much a coalition's value counts for each feature: |S|! (M − |S| − 1)! / M! for one that it has joined last, less that for one that could join."""
    m, sizes = present.shape[1], present.sum(1)
    weight = np.array([1 / (m * comb(m - 1, k)) for k in range(m)] + [0.0])
    return np.where(present == 1, weight[sizes - 1][:, None], -weight[sizes][:, None])


@dataclass(frozen=True)
class ShapleySampling(_Shapley, name="shapley_sampling"):
    """Shapley values averaged over random orders of arrival (Castro, Gómez and Tejada 2009; Štrumbelj and Kononenko 2010).

    Each element is told its group's value. Values of one order add up to the score's difference from the baseline, so do the means.

    Parameters
    ----------
    permutations : int array [P, features], optional
        The orders themselves.
    samples : int, default 25
        Number of orders where they are random: each takes as many forward passes as there are features, less one.
    tolerance : float, optional
        Stop as soon as 95 % confidence intervals (1.96 standard errors to each side) are narrower than this share of the values' range;
        not before 30 orders. The batch's samples stop together.
    seed : int, default 0
    mask, baseline, probability
        As for feature_ablation.
    """

    permutations: Any = None
    samples: int = 25
    tolerance: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        count_fits(self.samples, "samples")
        positive_if_given(self.tolerance, "tolerance")
        seed_fits(self.seed)

    def values(self, game: Game, empty: np.ndarray) -> np.ndarray:
        orders, m = self._orders(game.most), game.most
        ranks = np.argsort(orders, 1)
        values = np.empty([len(orders), m + 1, len(empty)])  # of an order's first k features, for every k
        values[:, 0], values[:, -1] = empty, game.f.score
        places = lambda steps: np.divmod(np.arange(steps.start, steps.stop), max(m - 1, 1))
        gains = lambda orders: np.take_along_axis(np.diff(values[:orders], axis=1), ranks[:orders, :, None], 1)
        done = len(orders)

        def arrived(steps: range) -> np.ndarray:
            order, last = places(steps)
            return ranks[order] <= last[:, None]

        for steps, scores in game.scores(len(orders) * (m - 1), arrived):
            order, last = places(steps)
            values[order, last + 1] = scores
            done = steps.stop // (m - 1)
            if self.tolerance and done and settled(gains(done).mean(0).T, gains(done).var(0).T, done, self.tolerance):
                break
        return gains(done).mean(0).T

    def _orders(self, features: int) -> np.ndarray:
        if self.permutations is None:
            # Feature by feature, so that a sample's own draws do not depend on how many features others of the batch have.
            return np.random.default_rng(self.seed).random([features, self.samples]).argsort(0).T
        given = numbers(self.permutations, "permutations")
        fits = (
            given.ndim == 2
            and len(given) > 0
            and given.dtype.kind in "iu"
            and given.shape[1] == features
            and bool((np.sort(given, 1) == np.arange(features)).all())
        )
        require(fits, f"permutations must be [P, {features}], each row the numbers 0 to {features - 1}; got shape {list(given.shape)}")
        return given


@dataclass(frozen=True)
class KernelShap(_Shapley, name="kernel_shap"):
    """Shapley values as the linear model of coalitions that fits their scores best (Lundberg and Lee 2017, theorem 2).

    With φ₀ = S(baseline) and Σφ = S(x) − S(baseline) it minimises Σ w (S(z) − φ₀ − z · φ)² over coalitions z of some, not all, of the M
    features, where w = (M − 1) / (C(M, |z|) |z| (M − |z|)). If all 2^M − 2 coalitions are as many as `samples` or fewer, all are taken
    and the values are exact; else coalitions are drawn in proportion to w, each with its complement (Covert and Lee 2021), and weigh
    alike. If the coalitions do not determine the values, those nearest to equal shares are taken. Each element gets its group's value.

    Parameters
    ----------
    coalitions : array [S, features] of 0 and 1, optional
        The coalitions themselves; those of none and of all features are left out.
    weights : array [S], optional
        How much each of these counts, instead of w.
    samples : int, default 1000
        At most so many coalitions.
    seed : int, default 0
    mask, baseline, probability
        As for feature_ablation.
    """

    coalitions: Any = None
    weights: Any = None
    samples: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        count_fits(self.samples, "samples")
        seed_fits(self.seed)
        require(self.weights is None or self.coalitions is not None, "weights are those of given coalitions: give coalitions= too")

    def values(self, game: Game, empty: np.ndarray) -> np.ndarray:
        game.require_linear()
        tables = [self._table(int(m), game.most) for m in game.counts]  # 2 ** 63 is no int64
        present = np.zeros([max(len(z) for z, _ in tables), len(tables), game.most], np.float32)
        for row, (z, _) in enumerate(tables):
            present[: len(z), row, : z.shape[1]] = z
        gains, total = game.values(present) - empty, game.f.score - empty
        values = np.zeros([len(empty), game.most])
        for row, (z, w) in enumerate(tables):
            own = slice(row, row + 1) if len(tables) > 1 else slice(None)
            values[own, : z.shape[1]] = _fit(z, w, gains[: len(z), own], total[own]).T
        return values

    def _table(self, m: int, most: int) -> tuple[np.ndarray, np.ndarray]:
        """Coalitions of m features and their weights."""
        if self.coalitions is not None:
            return self._given(m, most)
        if m < 2:
            return np.zeros([1, m]), np.zeros(1)
        if 2**m - 2 <= self.samples:
            z = _subsets(range(1, 2**m - 1), m)
            return z, _kernel(z.sum(1), m)
        draw, sizes, half = np.random.default_rng([self.seed, m]), np.arange(1, m), -(-self.samples // 2)
        chance = 1 / (sizes * (m - sizes))
        wanted = draw.choice(sizes, half, p=chance / chance.sum())
        z = draw.random([half, m]).argsort(1).argsort(1) < wanted[:, None]
        return np.concatenate([z, ~z])[: self.samples].astype(float), np.ones(self.samples)

    def _given(self, m: int, most: int) -> tuple[np.ndarray, np.ndarray]:
        given = coalitions_of(self.coalitions, most)
        weights = None if self.weights is None else finite(self.weights, "weights")
        require(weights is None or (weights.shape == given.shape[:1] and bool((weights >= 0).all())), f"weights must be {len(given)} numbers, none negative")
        sizes = given[:, :m].sum(1).astype(int)
        proper = (sizes > 0) & (sizes < m)
        require(bool(proper.any()) or m < 2, "coalitions must hold some with a part of the features")
        require(weights is None or m < 2 or bool(weights[proper].any()), "weights must not all be zero for coalitions with a part of the features")
        if not proper.any():
            return np.zeros([1, m]), np.zeros(1)
        return given[proper, :m], _kernel(sizes[proper], m) if weights is None else weights[proper]


def _kernel(sizes: np.ndarray, m: int) -> np.ndarray:
    """The weights of coalitions of so many of m features, the largest of them one."""
    logs = np.array([lgamma(k) + lgamma(m - k) for k in sizes.tolist()])  # of one over (m over k) k (m − k), times m!
    return np.exp(logs - logs.max())


def _fit(z: np.ndarray, w: np.ndarray, gains: np.ndarray, total: np.ndarray) -> np.ndarray:
    """The φ [M, n] with Σφ = total that minimise Σ w (gain − z · φ)²; the nearest to equal shares of those."""
    equal, root = total / z.shape[1], np.sqrt(w)[:, None]
    # Rows of z less their means sum to zero, so the shortest solution does too.
    rest = np.linalg.lstsq(root * (z - z.mean(1, keepdims=True)), root * (gains - z.sum(1, keepdims=True) * equal), rcond=None)[0]
    return equal + rest
