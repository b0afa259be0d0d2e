"""Is the explanation short?"""

from __future__ import annotations

import numpy as np

from .case import Case
from .metric import metric


@metric("sparseness", better="higher")
def sparseness(case: Case) -> np.ndarray:
    """The Gini index of the magnitudes: 0 where all are alike, towards 1 where one has everything (Chalasani et al. 2020).

    Σₖ (2k − n − 1) |a|₍ₖ₎ / (n Σₖ |a|₍ₖ₎), with |a|₍₁₎ ≤ … ≤ |a|₍ₙ₎. A map of zeros gives NaN.
    """
    a = np.sort(np.abs(case.flat(case.a)), axis=1)
    n = a.shape[1]
    return a @ (2.0 * np.arange(1, n + 1) - n - 1) / (n * a.sum(1))


@metric("complexity", better="lower")
def complexity(case: Case) -> np.ndarray:
    """The entropy of the magnitudes' shares: 0 where one has everything, ln n where all are alike (Bhatt, Weller and Moura 2020).

    −Σᵢ pᵢ ln pᵢ, pᵢ = |aᵢ| / Σⱼ |aⱼ|. A map of zeros gives NaN.
    """
    a = np.abs(case.flat(case.a))
    p = a / a.sum(1, keepdims=True)
    return -np.sum(p * np.log(np.where(p == 0, 1, p)), axis=1)
