"""One group of elements after the other is taken away."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..tensors import Tensors
from .perturbation import Perturbation
from .segments import Game

if TYPE_CHECKING:
    from ..probe import Probe


@dataclass(frozen=True)
class FeatureAblation(Perturbation, name="feature_ablation"):
    """How much the score falls where one group of elements is replaced by a baseline; each element of the group gets the whole drop.

    Parameters
    ----------
    mask : int array [1 or N, …], name, dict with "by" and parameters, or dict of these by tensor, optional
        Which group an element belongs to; by default each is its own. Names: "elements", "grid", "channels", "tokens", "time",
        "slic", "quickshift", "felzenszwalb".
    baseline : float, "blur", "mean", "segments" (each group's mean), array or dict of these by tensor, default 0
        What stands in a group's place.
    probability : bool, default False
        Ask for the probability of the explained class instead of its score.
    """

    mask: Any = None
    baseline: Any = 0.0

    def attribution(self, f: Probe) -> Tensors:
        game = Game.of(f, self.mask, self.baseline)
        features = np.arange(game.most)
        without = lambda steps: features != features[steps.start : steps.stop, None]
        drops = [f.score - scores for _, scores in game.scores(game.most, without)]
        return game.told(np.concatenate(drops).T)
