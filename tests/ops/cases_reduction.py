"""Rows for ops/reduction.py."""

from itertools import product

import numpy as np
from harness import apart, case, fed, ints, x

CASES = {}
POSITIVE = {"ReduceLogSum", "ReduceProd", "ReduceL2"}
NAMES = ["ReduceSum", "ReduceMean", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMin", "ReduceProd"]


def rows(*cases):
    for c in cases:
        CASES.setdefault(c.op_type, []).append(c)


for name in NAMES:
    data = apart if name in ("ReduceMax", "ReduceMin") else (lambda *s, n=name: x(*s, low=0.3 if n in POSITIVE else -1, high=1.5))
    for axes, keepdims in product([None, ints(1), ints(-1, 0), ints(2, 0, 1), fed([1])], [0, 1]):
        rows(case(name, data(2, 3, 4), *([] if axes is None else [axes]), keepdims=keepdims))
    rows(case(name, data(2, 3), keepdims=0, noop_with_empty_axes=0), case(name, data(5), ints(0)))
for name in ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceProd"):
    data = apart if name == "ReduceMax" else x
    rows(case(name, data(2, 3), noop_with_empty_axes=1), case(name, data(2, 3), np.zeros(0, np.int64), keepdims=0))
for exclusive, reverse, axis in product([0, 1], [0, 1], [0, -1]):
    rows(case("CumSum", x(3, 4), np.array(axis), exclusive=exclusive, reverse=reverse))
rows(case("CumSum", x(3, 4), fed(1)))
