"""Does the explanation stay where the input hardly changes?"""

from __future__ import annotations

import numpy as np

from ..checks import count_fits, not_negative
from ..tensors import Tensors
from .case import Case, extent
from .metric import metric


@metric("max_sensitivity", better="lower")
def max_sensitivity(case: Case, *, radius: float = 0.02, samples: int = 10) -> np.ndarray:
    """The largest relative change of the attribution under small noise (Yeh et al. 2019, definition 3.1).

    max over y of ‖Φ(y) − Φ(x)‖ / ‖Φ(x)‖, for ‖y − x‖_∞ ≤ r, by random draws of y. The norm in the denominator is Captum's and
    Quantus's: without it, whoever scales an attribution changes the number.

    Parameters
    ----------
    radius : float, default 0.02
        r, relative to each sample's range (max − min).
    samples : int, default 10
        Draws of y.
    """
    count_fits(samples, "samples")
    not_negative(radius, "radius")
    size = np.linalg.norm(case.flat(case.a), axis=1)
    worst = np.zeros(len(size))
    for k in range(samples):
        y = Tensors({n: x + radius * extent(x, n) * case.drawn(x.shape[1:], k, salt=n, uniform=True) for n, x in case.x.items()})
        worst = np.maximum(worst, np.linalg.norm(case.flat(case.at(y)) - case.flat(case.a), axis=1))
    return worst / size
