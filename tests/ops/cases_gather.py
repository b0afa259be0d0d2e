"""Rows for ops/gather.py."""

import numpy as np
from harness import apart, case, fed, ints, x

CASES = {}


def rows(*cases):
    for c in cases:
        CASES.setdefault(c.op_type, []).append(c)


many, two = [[0, -1], [3, 0]], [1, 1, -1]
for axis in (0, 1, -1):
    for index in (2, -1, [1], two, many):
        rows(case("Gather", x(4, 5, 4), np.array(index), axis=axis), case("Gather", x(4, 5, 4), fed(index), axis=axis))
rows(
    case("Gather", x(4), np.array(1)),
    case("Gather", x(4), fed(many)),
    case("Gather", x(4), np.array(two, np.int32)),
    case("GatherElements", x(3, 4), fed([[0, -1, 2, 0], [1, 1, 2, 0]])),
    case("GatherElements", x(3, 4), ints(3, 0, 3, 0, 1, -2).reshape(3, 2), axis=1),
    case("GatherElements", x(2, 3, 2), fed(np.zeros((1, 2, 1))), axis=-2, reference=False),
    case("GatherND", x(3, 4), fed([[0, 1], [2, -1], [0, 1]])),
    case("GatherND", x(3, 4, 2), fed([[[1]], [[1]]])),
    case("GatherND", x(2, 3, 4), fed([[1], [-1]]), batch_dims=1),
    case("GatherND", x(2, 3, 4), fed([[[1, 0], [1, 0]], [[0, 3], [2, 1]]]), batch_dims=1),
    case("GatherND", x(2, 3, 4), fed(np.ones((2, 3, 1))), batch_dims=2),
    case("TopK", apart(3, 5), ints(2), outputs=2),
    case("TopK", apart(3, 5), fed([2]), outputs=2, axis=0, largest=0),
    case("TopK", apart(3, 5), ints(4), outputs=2, axis=-2 + 1, sorted=0, reference=False, step=1e-3),
    case("Compress", x(3, 4), np.array([True, False, True]), axis=0),
    case("Compress", x(3, 4), fed([False, True], bool), axis=-1),
    case("Compress", x(3, 4), fed([False, True, False, True, True], bool)),
    case("Unique", apart(3, 4)),
    case("Unique", apart(3, 4), sorted=0, reference=False, step=1e-3, rtol=5e-3),
    case("Unique", apart(3, 4), axis=0),
    case("Unique", apart(3, 2, 2), axis=-2, sorted=0, outputs=4, reference=False, step=1e-3, rtol=5e-3),
    case("OneHot", ints(0, 2, -1, 7), np.array(3), x(2)),
    case("OneHot", fed([[0, 2], [1, 1]]), fed([3]), x(2), axis=1, reference=False),
    case("OneHot", fed([[0, 2], [1, 1]]), fed(3), x(2), axis=-2),
)

# No index twice, but where the reduction says what that means.
once = np.array([[1, 0, 2, 3], [0, 2, 1, -3]])
twice = np.array([[1, 0, 2, 1], [1, 2, 1, -4]])
rows(
    case("ScatterElements", x(3, 4), fed(once[:, :3]), x(2, 3), axis=1, reference=False),
    case("ScatterElements", x(4, 3), fed([[0, 1, -1]]), x(1, 3)),
    case("ScatterND", x(3, 4), fed([[0, 1], [2, -1]]), x(2)),
    case("ScatterND", x(3, 4), fed([[2], [0]]), x(2, 4)),
)
for how in ("add", "mul", "max", "min"):
    rows(
        case("ScatterElements", apart(3, 4), fed(twice), apart(2, 4), axis=1, reduction=how, reference=False, step=1e-3, rtol=5e-3),
        case("ScatterElements", apart(3, 4), fed(np.array([[0, 2, 2], [0, 2, 1]])), apart(2, 3), axis=0, reduction=how, reference=False, step=1e-3, rtol=5e-3),
        case("ScatterND", apart(3, 4), fed([[0, 1], [2, -1], [0, 1]]), apart(3), reduction=how, reference=False, step=1e-3, rtol=5e-3),
        case("ScatterND", apart(3, 4), fed([[2], [0], [2]]), apart(3, 4), reduction=how, reference=False, step=1e-3, rtol=5e-3),
    )
