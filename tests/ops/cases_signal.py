"""Rows for ops/signal.py."""

from itertools import product

import numpy as np
from check_vjp import case

rng = np.random.default_rng(0)
f32 = lambda *shape: rng.standard_normal(shape).astype(np.float32)
i64 = lambda v: np.array(v, np.int64)
CASES = {}

for length, axis, inverse, parts in product([None, 4, 6, 9, 11], [1, -2], [0, 1], [1, 2]):
    x = f32(2, 6, 5, parts)
    if inverse and parts == 1:
        continue
    given = (x, None if length is None else i64(length), i64(axis))
    CASES[f"DFT-{length}-{axis}-{'inverse' if inverse else 'forward'}-{parts}"] = case("DFT", *given, inverse=inverse)
    if inverse and length and x.shape[axis] > length // 2 + 1:
        continue  # ONNX Runtime does not cut the spectrum to the bins that such a length uses
    if (parts == 1) != bool(inverse):
        CASES[f"DFT-{length}-{axis}-{'inverse' if inverse else 'forward'}-onesided"] = case("DFT", *given, inverse=inverse, onesided=1)

for step, onesided, length, windowed in product([2, 3, 5], [0, 1], [None, 4, 5], [False, True]):
    if windowed or length:
        window = f32(length or 6) if windowed else None
        CASES[f"STFT-{step}-{onesided}-{length}{'-window' * windowed}"] = case(
            "STFT", f32(2, 14, 1), i64(step), window, None if length is None else i64(length), onesided=onesided
        )
CASES["STFT-complex"] = case("STFT", f32(2, 9, 2), i64(3), f32(4), onesided=0)
