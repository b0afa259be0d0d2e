"""A simple model of the network's scores around one input."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import count_fits, kind_fits, not_negative, one_of, positive_if_given, require, seed_fits
from ..question import Question
from ..tensors import Tensors
from .base import Method
from .perturbation import Perturbation
from .segments import Game, coalitions_of
from .tables import Table

if TYPE_CHECKING:
    from ..probe import Probe


@dataclass(frozen=True)
class Lime(Perturbation, name="lime"):
    """The coefficients of a linear model fitted to the scores of perturbed inputs, near ones weighing more (Ribeiro, Singh and Guestrin 2016, eq. 1).

    It minimises Σ w (S(z) − b − z · c)² + alpha |c|² over coalitions z of features, drawn with even chances; each element is told the
    coefficient of its group. w = exp(−d² / (2 kernel_width²)). For tables there are perturbations in the manner of the training data,
    learned by `Explainer.fit(X)`.

    Parameters
    ----------
    mask, optional
        As for feature_ablation; by default "slic" for pictures; for other inputs each element is a feature.
    baseline : default 0
        As for feature_ablation; the lime package takes "segments" for pictures.
    sampling : str, default "baseline"
        "quartiles" or "gaussian" for tables, inputs [N, features]: a perturbed value comes from the training data's quartiles (z says
        whether it is in the same as x), or from a normal distribution of its mean and deviation (z is the standardised value).
    categorical : sequence of int, default ()
        The columns of a table that hold categories: z says whether it is the same as x's.
    samples : int, default 1000
    coalitions : array [S, features] of 0 and 1, optional
        The coalitions themselves. Of those that are drawn, the first holds all features.
    kernel : "lime" or "captum", default "lime"
        d is the cosine distance of z to the coalition of all features, or the Euclidean distance of the perturbed input to x. With tables it is
        the Euclidean distance of z to that of x.
    kernel_width : float, optional
        By default 0.25; for tables 0.75 times the square root of the number of features.
    surrogate : "ridge" or "lasso", default "ridge"
    alpha : float, default 1
        The penalty's weight.
    seed : int, default 0
    table : Table, optional
        What `Explainer.fit` learned.
    probability : bool, default False
        Ask for the probability of the explained class, as the lime package does, instead of its score.
    """

    mask: Any = None
    baseline: Any = 0.0
    sampling: str = "baseline"
    categorical: Sequence[int] = ()
    samples: int = 1000
    coalitions: Any = None
    kernel: str = "lime"
    kernel_width: float | None = None
    surrogate: str = "ridge"
    alpha: float = 1.0
    seed: int = 0
    table: Table | None = None

    def __post_init__(self) -> None:
        count_fits(self.samples, "samples")
        one_of(self.sampling, ("baseline", "quartiles", "gaussian"), "sampling")
        one_of(self.kernel, ("lime", "captum"), "kernel")
        one_of(self.surrogate, ("ridge", "lasso"), "surrogate")
        columns = isinstance(self.categorical, Sequence) and all(isinstance(c, (int, np.integer)) for c in self.categorical)
        require(columns, f"categorical must be the numbers of columns, got {self.categorical!r}")
        positive_if_given(self.kernel_width, "kernel_width")
        not_negative(self.alpha, "alpha")
        seed_fits(self.seed)
        kind_fits(self.table, (Table, type(None)), "table", "what fit(X) learned, or None")

    def fit(self, question: Question, batches: Iterable[Mapping[str, np.ndarray]], providers: Sequence[Any] | None) -> Method:
        if self.sampling == "baseline":
            return super().fit(question, batches, providers)
        return replace(self, table=Table.of(question, batches, gaussian=self.sampling == "gaussian", categorical=self.categorical))

    def attribution(self, f: Probe) -> Tensors:
        return self._around_baseline(f) if self.sampling == "baseline" else self._around_table(f)

    def _around_baseline(self, f: Probe) -> Tensors:
        first = next(iter(f.x))
        picture = f.x[first].ndim - (f.question.axis(first) is not None) == 3 and len(f.x) == 1
        game = Game.of(f, "slic" if self.mask is None and picture else self.mask, self.baseline)
        game.require_linear()
        z = self._coalitions(game.most)
        scores = game.values(z)
        values = np.zeros([len(f.score), game.most])
        distances = game.away() if self.kernel == "captum" else None
        for n, m in enumerate(np.broadcast_to(game.counts, len(values))):
            own = z[:, :m]
            square = (1 - own) @ distances[n, :m] if distances is not None else (1 - np.sqrt(own.mean(1))) ** 2
            values[n, :m] = self._fit(own, self._weights(square, 0.25), scores[:, n])
        return game.told(values)

    def _coalitions(self, features: int) -> np.ndarray:
        if self.coalitions is not None:
            return coalitions_of(self.coalitions, features)
        # Feature by feature, so that a sample's own draws do not depend on how many features others of the batch have.
        z = np.random.default_rng(self.seed).integers(0, 2, [features, self.samples]).T.astype(float)
        z[0] = 1
        return z

    def _around_table(self, f: Probe) -> Tensors:
        require(self.table is not None, f"lime with sampling={self.sampling!r} needs the training data: call fit(X) first")
        assert self.table is not None
        (name,) = f.x
        points, z = self.table.around(np.asarray(f.x[name], np.float64), self.samples, self.seed)
        scores = np.concatenate([s for _, s in f.at(self.samples, lambda steps: {name: points[steps.start : steps.stop]})])
        square, width = ((z - z[0]) ** 2).sum(2), 0.75 * np.sqrt(z.shape[2])
        return Tensors({name: np.stack([self._fit(z[:, n], self._weights(square[:, n], width), scores[:, n]) for n in range(z.shape[1])])})

    def _weights(self, square: np.ndarray, width: float) -> np.ndarray:
        return np.exp(-square / (2 * (self.kernel_width or width) ** 2))

    def _fit(self, z: np.ndarray, w: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """The coefficients of one sample's model, whose intercept is not penalised."""
        require(w.sum() > 0, "every perturbed input is too far away to weigh anything: give a larger kernel_width")
        if self.surrogate == "lasso":
            from sklearn.linear_model import Lasso

            return Lasso(alpha=self.alpha).fit(z, scores, sample_weight=w).coef_
        centred, rest = z - w @ z / w.sum(), scores - w @ scores / w.sum()
        gram = (w[:, None] * centred).T @ centred + self.alpha * np.eye(z.shape[1])
        return np.linalg.lstsq(gram, centred.T @ (w * rest), rcond=None)[0]
