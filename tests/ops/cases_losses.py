"""Rows for ops/losses.py."""

from itertools import product

import numpy as np
from check_vjp import case

rng = np.random.default_rng(0)
f32 = lambda *shape: rng.standard_normal(shape).astype(np.float32)
CASES = {}
for tail, reduction, weighted, ignore in product([(), (2, 3)], ["none", "sum", "mean"], [False, True], [None, 1, -7]):
    label = rng.integers(0, 5, (3, *tail))
    if ignore is not None:
        label.flat[:2], label.flat[2] = ignore, 3
    given = [f32(3, 5, *tail), label, *([np.abs(f32(5)) + 0.1] if weighted else [])]
    name = f"{len(tail)}d-{reduction}{'-weighted' * weighted}{'' if ignore is None else f'-ignore{ignore}'}"
    CASES[f"NegativeLogLikelihoodLoss-{name}"] = case("NegativeLogLikelihoodLoss", *given, reduction=reduction, ignore_index=ignore)
    CASES[f"SoftmaxCrossEntropyLoss-{name}"] = case(
        "SoftmaxCrossEntropyLoss", *given, reduction=reduction, ignore_index=ignore, outputs=1 + bool(tail or weighted)
    )
