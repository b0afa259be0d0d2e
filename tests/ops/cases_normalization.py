"""Rows for ops/normalization.py."""

from harness import case, x

CASES = {}


def rows(*cases):
    for c in cases:
        CASES.setdefault(c.op_type, []).append(c)


for name in ("Softmax", "LogSoftmax"):
    rows(*(case(name, x(2, 3, 4, low=-2, high=2), axis=axis) for axis in (-1, 0, 1)))
positive = {"low": 0.5, "high": 1.5}
for s in ((5, 3), (2, 3, 4), (2, 3, 2, 3)):
    parts = [x(3), x(3), x(3), x(3, **positive)]
    rows(case("BatchNormalization", x(*s), *parts, epsilon=1e-2))
    rows(case("BatchNormalization", x(*s), *parts, training_mode=1, momentum=0.8, outputs=3, seeded=(0, 1, 2), reference=False, rtol=1e-2))
    rows(case("BatchNormalization", x(*s), *parts, training_mode=1, outputs=3, seeded=(1,), reference=False, rtol=1e-2))
for axis, scale in ((-1, (4,)), (1, (3, 4)), (0, (2, 3, 4)), (-2, (3, 4))):
    rows(case("LayerNormalization", x(2, 3, 4), x(*scale), x(*scale), axis=axis))
rows(
    case("LayerNormalization", x(2, 3, 4), x(4), epsilon=0.1),
    case("LayerNormalization", x(2, 3, 4), x(4), x(4), outputs=3, seeded=(0, 1, 2), epsilon=0.1),
    case("LayerNormalization", x(2, 3, 4), x(4), outputs=3, seeded=(2,), epsilon=0.1),
    case("LayerNormalization", x(2, 3, 4), x(3, 4), x(3, 4), outputs=2, seeded=(1,), axis=1),
)
for s in ((2, 3, 4), (2, 3, 4, 2), (1, 3, 2, 2, 2)):
    rows(case("InstanceNormalization", x(*s), x(3), x(3), epsilon=0.1))
rows(
    case("GroupNormalization", x(2, 6, 3), x(6), x(6), num_groups=3, epsilon=0.1, reference=False),
    case("GroupNormalization", x(2, 4, 3, 2), x(4), x(4), num_groups=1, reference=False),
    case("GroupNormalization", x(2, 4, 3, 2), x(4), x(4), num_groups=4, reference=False),
    case("MeanVarianceNormalization", x(2, 3, 4, 2), reference=False),
    case("MeanVarianceNormalization", x(2, 3, 4), axes=[1, 2], reference=False),
    case("MeanVarianceNormalization", x(2, 3, 4, low=-1e-4, high=1e-4), axes=[1], step=1e-6, reference=False, rtol=2e-2),
)
for p, axis in ((1, -1), (2, -1), (1, 0), (2, 1)):
    rows(case("LpNormalization", x(3, 4, low=0.2, high=1), p=p, axis=axis))
rows(
    case("LRN", x(1, 6, 2, 3), size=3, alpha=0.5, beta=0.6, bias=1.2, reference=False),
    case("LRN", x(1, 2, 3, 2), size=5, alpha=0.5, reference=False),
)
