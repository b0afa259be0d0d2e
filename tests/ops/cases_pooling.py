"""Rows for ops/pooling.py."""

from itertools import product

from harness import Varied, apart, case, fed, x

CASES = {}


def rows(*cases):
    for c in cases:
        CASES.setdefault(c.op_type, []).append(c)


windows = [
    {"shape": (7,), "kernel_shape": [3]},
    {"shape": (8,), "kernel_shape": [3], "strides": [2], "pads": [1, 1], "dilations": [2]},
    {"shape": (6, 5), "kernel_shape": [2, 2], "strides": [2, 2]},
    {"shape": (6, 5), "kernel_shape": [3, 3], "pads": [1, 1, 1, 1]},
    {"shape": (7, 6), "kernel_shape": [3, 2], "strides": [2, 3], "pads": [0, 1, 2, 0]},
    {"shape": (7, 8), "kernel_shape": [2, 3], "strides": [1, 2], "dilations": [2, 2], "pads": [1, 1, 0, 2]},
    {"shape": (5, 4, 3), "kernel_shape": [2, 3, 2], "strides": [2, 1, 1], "pads": [1, 0, 1, 0, 1, 0]},
]
for w, ceil in product(windows, [0, 1]):
    window = {k: v for k, v in w.items() if k != "shape"} | ({"ceil_mode": 1} if ceil else {})
    s = (2, 2, *w["shape"])
    rows(case("MaxPool", apart(*s), reference=False, step=1e-3, rtol=5e-3, **window))
    rows(case("AveragePool", x(*s), reference=False, step=0.5, **window))
    rows(case("AveragePool", x(*s), reference=False, step=0.5, count_include_pad=1, **window))
    rows(case("LpPool", x(*s, low=0.2, high=1), reference=False, step=1e-2, rtol=5e-3, **window))
rows(
    case("LpPool", x(1, 2, 5, 5), kernel_shape=[3, 3], p=3, reference=False, rtol=5e-3),
    case("LpPool", x(1, 2, 5, 5, low=0.1, high=1), kernel_shape=[3, 3], p=1, reference=False, rtol=5e-3),
    case("MaxPool", apart(1, 2, 5, 6), outputs=2, reference=False, step=1e-3, rtol=5e-3, kernel_shape=[2, 2], storage_order=1),
    case("MaxUnpool", x(1, 1, 2, 2), fed([[[[0, 3], [9, 15]]]]), kernel_shape=[2, 2], strides=[2, 2], reference=False),
)
for auto in ("SAME_UPPER", "SAME_LOWER", "VALID"):
    rows(case("MaxPool", apart(1, 2, 6, 5), reference=False, step=1e-3, rtol=5e-3, kernel_shape=[3, 2], auto_pad=auto))
    rows(case("AveragePool", x(1, 2, 6, 5), reference=False, step=0.5, kernel_shape=[3, 2], auto_pad=auto))
negative = Varied((1, 2, 6, 5), -2, -1, spread=True)  # padding is no zero
rows(case("MaxPool", negative, reference=False, step=1e-3, rtol=5e-3, kernel_shape=[3, 2], strides=[2, 2], auto_pad="SAME_UPPER"))
for s in ((2, 3, 4), (2, 3, 4, 5), (1, 2, 2, 3, 2)):
    rows(
        case("GlobalAveragePool", x(*s)),
        case("GlobalMaxPool", apart(*s), reference=False, step=1e-3, rtol=5e-3),
        case("GlobalLpPool", x(*s), reference=False, rtol=5e-3),
        case("GlobalLpPool", x(*s), reference=False, rtol=5e-3, p=3),
    )
