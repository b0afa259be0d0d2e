"""Rows for ops/quantized.py: what is smooth in it. The straight-through estimate has its own tests."""

import numpy as np
from check_vjp import case

rng = np.random.default_rng(0)
scale = lambda *shape: rng.uniform(0.1, 1, shape).astype(np.float32)
codes = lambda dtype, *shape: rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, shape, dtype=dtype)
CASES = {
    "DequantizeLinear-tensor": case("DequantizeLinear", codes(np.uint8, 2, 3, 4), scale(), codes(np.uint8)),
    "DequantizeLinear-one": case("DequantizeLinear", codes(np.int8, 2, 3, 4), scale(1), codes(np.int8, 1), oracle="ort32"),
    "DequantizeLinear-axis": case("DequantizeLinear", codes(np.int8, 2, 3, 4), scale(3), codes(np.int8, 3)),
    "DequantizeLinear-last": case("DequantizeLinear", codes(np.int32, 2, 3, 4), scale(4), axis=-1, tolerance=5e-3),
    "DequantizeLinear-blocks": case("DequantizeLinear", codes(np.int8, 2, 5, 3), scale(2, 3, 3), codes(np.int8, 2, 3, 3), axis=1, block_size=2, oracle="ort32"),
}
