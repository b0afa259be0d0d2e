"""Rows for ops/elementwise.py."""

import numpy as np
from harness import apart, case, fed, x

f = lambda *values: np.array(values, np.float64)
CASES = {}


def rows(*cases):
    for c in cases:
        CASES.setdefault(c.op_type, []).append(c)


plain = ["Relu", "Sigmoid", "Tanh", "Softplus", "Softsign", "HardSwish", "Mish", "Exp", "Neg", "Abs", "Sin", "Cos", "Tan", "Atan", "Sinh", "Cosh", "Asinh"]
for name in plain:
    rows(case(name, x(3, 4, low=-2, high=2)))
rows(case("HardSwish", x(20, low=-5, high=5)))
for name in ("LeakyRelu", "Elu", "Celu", "ThresholdedRelu", "Selu"):
    rows(case(name, x(20, low=-2, high=2)), case(name, x(20, low=-2, high=2), alpha=0.4))
rows(
    case("Selu", x(9), alpha=1.2, gamma=0.7),
    case("HardSigmoid", x(40, low=-4, high=4)),
    case("HardSigmoid", x(40, low=-4, high=4), alpha=0.5, beta=0.2),
    case("Erf", x(20, low=-2, high=2), reference=False),
    case("Gelu", x(20, low=-3, high=3), reference=False),
    case("Gelu", x(20, low=-3, high=3), approximate="tanh"),
    case("Shrink", x(20, low=-2, high=2)),
    case("Shrink", x(20, low=-2, high=2), bias=0.3, lambd=0.7),
    case("Asin", x(9, low=-0.9, high=0.9)),
    case("Acos", x(9, low=-0.9, high=0.9)),
    case("Atanh", x(9, low=-0.8, high=0.8)),
    case("Acosh", x(9, low=1.2, high=3)),
    case("Log", x(9, low=0.3, high=3)),
    case("Sqrt", x(9, low=0.3, high=3)),
    case("Reciprocal", x(9, low=0.5, high=3)),
    case("Clip", x(20)),
    case("Clip", x(20), np.array(-0.5), np.array(0.3)),
    case("Clip", x(20), np.array(-0.5)),
    case("Clip", x(20), None, np.array(0.3)),
    case("Clip", x(20), x(low=-0.6, high=-0.4), x(low=0.3, high=0.4)),
    case("Clip", x(20), x(low=0.5, high=0.6), x(low=0.1, high=0.2)),
    case("Clip", x(20), None, x(low=0.1, high=0.2)),
    case("Clip", x(20), x(low=0.1, high=0.2)),
    case("PRelu", x(2, 3, 4), x(2, 3, 4)),
    case("PRelu", x(2, 3, 4), x(3, 1)),
    case("PRelu", x(2, 3, 4), x(1)),
    case("Dropout", x(3, 4)),
    case("Dropout", x(3, 4), np.array(0.5), np.array(False)),
)

shapes = [((3, 4), (3, 4)), ((3, 4), (4,)), ((4,), (3, 4)), ((3, 1), (1, 4)), ((), (3, 4)), ((2, 3, 1), (3, 1)), ((2, 1, 4), (3, 4))]
for a, b in shapes:
    rows(
        case("Add", x(*a), x(*b)),
        case("Sub", x(*a), x(*b)),
        case("Mul", x(*a), x(*b)),
        case("Div", x(*a), x(*b, low=0.5, high=2)),
        case("Pow", x(*a, low=0.5, high=2), x(*b, low=-2, high=2)),
        case("Max", apart(*a), x(*b, low=-0.5, high=0.5)),
        case("Min", apart(*a), x(*b, low=-0.5, high=0.5)),
        case("Where", np.array([True, False, False, True]), x(*a), x(*b)),
        case("Sum", x(*a), x(*b)),
        case("Mean", x(*a), x(*b), reference=False),
    )
rows(
    case("Where", fed([[True], [False], [True]], bool), x(4), x()),
    case("Sum", x(2, 3)),
    case("Sum", x(2, 3), x(3), x(1)),
    case("Mean", x(2, 3)),
    case("Mean", x(2, 3), x(3), x(1)),
    case("Max", x(2, 3)),
    case("Max", apart(2, 3), x(3), f(0.1)),
    case("Min", x(2, 3), x(3), f(0.1)),
    case("Pow", x(9), f(2)),
    case("Pow", x(9, low=-2, high=2), f(3)),
    case("Pow", x(3, 3, low=0.2, high=2), f(0, 1, 2.5)),
    case("Pow", x(9, low=-2, high=-0.5), fed(2, np.float32)),
    case("Mod", x(9, low=-3, high=3), f(0.8), fmod=1),
    case("Mod", x(9, low=-3, high=3), x(9, low=0.7, high=0.9), fmod=1),
)
