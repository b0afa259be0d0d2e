"""Rows for ops/movement.py."""

import numpy as np
from harness import case, fed, ints, x

CASES = {}


def rows(*cases):
    for c in cases:
        CASES.setdefault(c.op_type, []).append(c)


rows(
    case("Identity", x(2, 3)),
    case("Cast", x(2, 3), to=1, reference=False, step=0.5),
    case("CastLike", x(2, 3), x(1), reference=False, step=0.5),
    case("Reshape", x(2, 3, 4), ints(4, 6)),
    case("Reshape", x(2, 3, 4), ints(0, -1)),
    case("Reshape", x(2, 3, 4), fed([0, 0, 2, -1])),
    case("Reshape", x(0, 3), ints(3, 0), allowzero=1),
    case("Reshape", x(), ints(1, 1)),
    case("Flatten", x(2, 3, 4)),
    case("Flatten", x(2, 3, 4), axis=0),
    case("Flatten", x(2, 3, 4), axis=-1),
    case("Squeeze", x(1, 3, 1)),
    case("Squeeze", x(1, 3, 1), ints(-1)),
    case("Unsqueeze", x(2, 3), ints(0, -1)),
    case("Transpose", x(2, 3, 4)),
    case("Transpose", x(2, 3, 4), perm=[1, 2, 0]),
    case("Expand", x(3, 1), ints(3, 4)),
    case("Expand", x(3, 1), ints(2, 1, 4)),
    case("Expand", x(2, 3), ints(1, 1)),
    case("Expand", x(3, 1), fed([2, 3, 4])),
    case("Expand", x(), ints(2, 3)),
    case("Concat", x(2, 3), x(2, 1), x(2, 2), axis=-1),
    case("Concat", x(2, 3), x(1, 3), axis=0),
    case("Concat", x(2, 3), np.ones((1, 3)), x(0, 3), axis=0),
    case("Concat", x(2, 3), axis=0),
    case("Split", x(2, 7), ints(2, 4, 1), axis=1, outputs=3, seeded=(0, 2)),
    case("Split", x(2, 7), fed([3, 4]), axis=-1, outputs=2, seeded=(0, 1)),
    case("Split", x(7, 2), num_outputs=3, outputs=3, seeded=(0, 1, 2)),
    case("Split", x(4, 2), num_outputs=2, outputs=2, seeded=(1,)),
    case("Split", x(4, 2), ints(4, 0), outputs=2, seeded=(0, 1)),
    case("Tile", x(2, 3), ints(2, 3)),
    case("Tile", x(2, 3), ints(1, 1)),
    case("Tile", x(2, 3), fed([3, 2])),
    case("Tile", x(3), ints(0), symbolic=False),
    case("DepthToSpace", x(2, 8, 2, 3), blocksize=2),
    case("DepthToSpace", x(2, 8, 2, 3), blocksize=2, mode="CRD"),
    case("SpaceToDepth", x(2, 2, 4, 6), blocksize=2),
    case("ReverseSequence", x(4, 3, 2), ints(2, 4, 1)),
    case("ReverseSequence", x(3, 4, 2), fed([2, 4, 1]), batch_axis=0, time_axis=1),
    case("Trilu", x(3, 4)),
    case("Trilu", x(2, 3, 4), np.array(1), upper=0),
    case("Trilu", x(3, 4), fed(-1)),
    case("Range", x(low=0, high=0.1), np.array(2.0), x(low=0.3, high=0.32)),
    case("CenterCropPad", x(5, 4), ints(3, 7)),
    case("CenterCropPad", x(2, 5, 4), ints(8, 3), axes=[1, 2], reference=False, step=0.5),
    case("CenterCropPad", x(2, 5, 4), ints(3, 8), axes=[-3, -1], reference=False, step=0.5),
)

for starts, ends, axes, steps in [
    ([1], [3], None, None),
    ([1, 0], [3, 100], None, None),
    ([-2], [100], [1], None),
    ([0], [-1], [-1], [1]),
    ([0], [100], [2], [2]),
    ([1], [6], [2], [3]),
    ([-1], [-100], [2], [-1]),
    ([5], [0], [2], [-2]),
    ([0, -1], [100, -100], [0, 2], [2, -3]),
    ([3], [2], [1], None),
    ([0, 0], [4, 100], [1, 2], [2, 2]),
]:
    given = [ints(*starts), ints(*ends), None if axes is None else ints(*axes), None if steps is None else ints(*steps)]
    plain = steps is None or max(map(abs, steps)) == 1  # for others the rule crops, which the reference evaluator's Pad cannot
    rows(case("Slice", x(3, 4, 7), *given, reference=plain, step=0.5))
    rows(case("Slice", x(3, 4, 7), fed(starts), fed(ends), *given[2:], reference=plain, step=0.5))
rows(
    case("Slice", x(3, 4, 7), np.array([1, 2], np.int32), np.array([3, 5], np.int32), np.array([1, 2], np.int32)),
    case("Slice", x(3, 4, 7), fed([1, 6]), fed([3, 0]), fed([1, 2]), fed([1, -2])),
)

for pads, axes in [([0, 1, 2, 0], None), ([1, 2], [1]), ([-1, 2], [-2]), ([0, -1, 0, -2], None), ([1, 0, 0, 2], [1, 0])]:
    for mode in ("constant", "reflect", "edge", "wrap"):
        if mode != "constant" and min(pads) < 0:
            continue
        given = [ints(*pads), None, None if axes is None else ints(*axes)]
        rows(case("Pad", x(4, 5), *given, mode=mode, reference=False, step=0.5))
        rows(case("Pad", x(4, 5), fed(pads), *given[1:], mode=mode, reference=False, step=0.5))
rows(
    case("Pad", x(2, 3), ints(1, 0, 2, -1), x(), reference=False, step=0.5),
    case("Pad", x(2, 3), ints(1, 2), x(), ints(-1), reference=False, step=0.5),
)
