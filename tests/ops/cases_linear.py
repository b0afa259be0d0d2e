"""Rows for ops/linear.py."""

from itertools import product

import numpy as np
from harness import case, ints, x

CASES = {}


def rows(*cases):
    for c in cases:
        CASES.setdefault(c.op_type, []).append(c)


vectors = [((4,), (4,)), ((4,), (4, 3)), ((2, 4), (4,)), ((2, 5, 4), (4,)), ((4,), (2, 4, 3))]
matrices = [((3, 4), (4, 2)), ((2, 3, 4), (4, 2)), ((3, 4), (2, 4, 5)), ((2, 1, 3, 4), (3, 4, 2)), ((5, 1, 2, 3), (1, 4, 3, 2))]
rows(*(case("MatMul", x(*a), x(*b)) for a, b in vectors + matrices))
for ta, tb in product([0, 1], [0, 1]):
    a, b = (4, 3) if ta else (3, 4), (2, 4) if tb else (4, 2)
    rows(case("Gemm", x(*a), x(*b), transA=ta, transB=tb, alpha=0.5))
    rows(case("Gemm", x(*a), x(*b), x(2), transA=ta, transB=tb, beta=2.0))
rows(*(case("Gemm", x(3, 4), x(4, 2), x(*c), alpha=0.7, beta=1.3) for c in ((3, 2), (1, 2), (3, 1), (1,), ())))
rows(case("Det", x(3, 3)), case("Det", x(2, 3, 2, 2)))

equations = {
    "ij,jk->ik": [(2, 3), (3, 4)],
    "bij,bjk->bik": [(2, 2, 3), (2, 3, 2)],
    "...ij,...jk->...ik": [(2, 2, 3), (2, 3, 2)],
    "...ij,jk->...ik": [(2, 2, 3), (3, 2)],
    "ii->i": [(3, 3)],
    "ii": [(3, 3)],
    "iij->j": [(3, 3, 2)],
    "iii->i": [(2, 2, 2)],
    "ij->": [(2, 3)],
    "ij->i": [(2, 3)],
    "ij->ji": [(2, 3)],
    "ij": [(2, 3)],
    "ba": [(2, 3)],
    "i,j->ij": [(2,), (3,)],
    "i,i": [(3,), (3,)],
    "ij,j": [(2, 3), (3,)],
    "ij,jk,kl->il": [(2, 3), (3, 2), (2, 4)],
    "bhid,bhjd->bhij": [(2, 2, 3, 4), (2, 2, 2, 4)],
    "ii,ij->j": [(3, 3), (3, 2)],
    "ik,jk->": [(2, 3), (4, 3)],
    " i j , j -> i ": [(2, 3), (3,)],
}
rows(*(case("Einsum", *(x(*s) for s in shapes), equation=e) for e, shapes in equations.items()))

# One, two and three dimensions; groups, strides, dilations, uneven pads, with and without a remainder that a stride skips.
windows = [
    {"shape": (7,), "kernel": (3,)},
    {"shape": (8,), "kernel": (3,), "strides": [3], "pads": [2, 0], "dilations": [2]},
    {"shape": (6, 5), "kernel": (3, 2)},
    {"shape": (6, 5), "kernel": (3, 3), "pads": [1, 1, 1, 1]},
    {"shape": (6, 5), "kernel": (1, 1)},
    {"shape": (7, 6), "kernel": (3, 2), "strides": [2, 3], "pads": [0, 1, 2, 0]},
    {"shape": (7, 6), "kernel": (2, 3), "strides": [1, 2], "dilations": [2, 1], "pads": [1, 1, 0, 2]},
    {"shape": (4, 4), "kernel": (1, 1), "strides": [3, 2]},
    {"shape": (5, 4, 3), "kernel": (2, 3, 2), "strides": [2, 1, 1], "pads": [1, 0, 1, 0, 1, 0]},
]
for w, group in product(windows, [1, 2, 4]):
    window = {k: v for k, v in w.items() if k not in ("shape", "kernel")} | {"kernel_shape": list(w["kernel"]), "group": group}
    rows(case("Conv", x(2, 4, *w["shape"]), x(8, 4 // group, *w["kernel"]), x(8), reference=False, step=0.5, **window))
    rows(case("ConvTranspose", x(2, 4, *w["shape"]), x(4, 2, *w["kernel"]), x(2 * group), reference=False, step=0.5, **window))
for auto in ("SAME_UPPER", "SAME_LOWER", "VALID"):
    rows(case("Conv", x(1, 2, 7, 6), x(3, 2, 3, 2), reference=False, step=0.5, kernel_shape=[3, 2], auto_pad=auto, strides=[1, 1]))
    rows(case("ConvTranspose", x(1, 2, 4, 3), x(2, 3, 3, 2), reference=False, step=0.5, kernel_shape=[3, 2], auto_pad=auto, strides=[2, 1]))
rows(
    case("Conv", x(2, 3, 6, 5), np.linspace(-1, 1, 108).reshape(4, 3, 3, 3), reference=False, step=0.5),
    case("Conv", x(2, 8, 6, 5), np.linspace(-1, 1, 24 * 9).reshape(12, 2, 3, 3), reference=False, step=0.5, group=4, pads=[1, 0, 2, 1]),
    case("Conv", x(2, 8, 6, 5), np.linspace(-1, 1, 72).reshape(8, 1, 3, 3), reference=False, step=0.5, group=8, pads=[1, 1, 1, 1]),
    case("Conv", x(2, 1, 6, 5), x(3, 1, 3, 3), x(3), reference=False, step=0.5, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    case(
        "ConvTranspose",
        x(1, 2, 3, 3),
        x(2, 2, 3, 3),
        x(2),
        reference=False,
        step=0.5,
        kernel_shape=[3, 3],
        strides=[3, 2],
        output_padding=[2, 1],
        pads=[1, 0, 1, 2],
    ),
    case("ConvTranspose", x(1, 2, 3, 3), x(2, 2, 3, 3), reference=False, step=0.5, kernel_shape=[3, 3], strides=[2, 2], output_shape=[6, 7], symbolic=False),
    case("Col2Im", x(1, 8, 9), ints(4, 4), ints(2, 2)),
    case("Col2Im", x(2, 12, 4), ints(5, 6), ints(2, 3), strides=[3, 3], pads=[1, 0, 0, 0], reference=False, step=0.5),
    case("Col2Im", x(1, 4, 16), ints(6, 6), ints(2, 2), dilations=[2, 2], reference=False, step=0.5),
    case("Col2Im", x(1, 16, 6), ints(3, 4, 2), ints(2, 2, 2), strides=[1, 1, 1], reference=False, step=0.5),
)
