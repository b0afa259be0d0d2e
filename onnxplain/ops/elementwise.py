"""Elementwise operators: activations, arithmetic, comparisons, selections."""

from __future__ import annotations

import math

from ..errors import UnsupportedModelError
from ..tape import Var, op
from .newer import softplus
from .registry import activation, product, register, selection, total, zero
from .shapes import cast, in_single, step

# ---- one input: the derivative f'(x), written with x, y = f(x) and the attributes ----
# In terms of y where possible: a mask from the post-activation leaves ONNX Runtime's Conv+Relu fusion alone.

SQRT_2 = math.sqrt(2)
SQRT_PI = math.sqrt(math.pi)


def _between(x: Var, low: float, high: float) -> Var:
    return cast((x > low) & (x < high), x)


def _gelu(x: Var, y: Var, approximate: str = "none") -> Var:
    if approximate == "tanh":
        k = math.sqrt(2 / math.pi)
        t = op.Tanh(k * (x + 0.044715 * x * x * x))
        return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * k * (1 + 3 * 0.044715 * x * x)
    u = x / SQRT_2  # Φ(x) + x φ(x), the factor 1/√π as a summand of the exponent
    return 0.5 * (1 + op.Erf(u)) + u * op.Exp(-0.5 * math.log(math.pi) - u * u)


def _mish(x: Var, y: Var) -> Var:
    t, s = op.Tanh(softplus(x)), op.Sigmoid(x)
    return t + x * s * (1 - t * t)


def _celu(x: Var, y: Var, alpha: float = 1.0) -> Var:
    return op.Exp(op.Min(x, 0) / alpha)


def _elu(x: Var, y: Var, alpha: float = 1.0) -> Var:
    return step(x) + alpha * op.Exp(op.Min(x, 0)) * (1 - step(x))


def _selu(x: Var, y: Var, alpha: float = 1.67326319217681884765625, gamma: float = 1.05070102214813232421875) -> Var:
    return gamma * (step(x) + alpha * op.Exp(op.Min(x, 0)) * (1 - step(x)))


ACTIVATIONS = {
    "Relu": lambda x, y: step(y),
    "LeakyRelu": lambda x, y, alpha=0.01: alpha + (1 - alpha) * step(x),
    "ThresholdedRelu": lambda x, y, alpha=1.0: cast(x > alpha, x),
    "Sigmoid": lambda x, y: y * (1 - y),
    "Tanh": lambda x, y: 1 - y * y,
    "Softplus": lambda x, y: op.Sigmoid(x),
    "Softsign": lambda x, y: (1 - op.Abs(y)) * (1 - op.Abs(y)),
    "Elu": _elu,
    "Celu": _celu,
    "Selu": _selu,
    "HardSigmoid": lambda x, y, alpha=0.2, beta=0.5: alpha * _between(y, 0, 1),
    "HardSwish": lambda x, y: cast(x >= 3, x) + _between(x, -3, 3) * (x / 3 + 0.5),
    "Gelu": _gelu,
    "Mish": _mish,
    "Shrink": lambda x, y, bias=0.0, lambd=0.5: cast((x > lambd) | (x < -lambd), x),
}
FUNCTIONS = {
    "Exp": lambda x, y: y,
    "Log": lambda x, y: 1 / x,
    "Sqrt": lambda x, y: op.Where(op.Equal(y, 0), 0, 0.5 / y),
    "Reciprocal": lambda x, y: -y * y,
    "Neg": lambda x, y: -1,
    "Abs": lambda x, y: op.Sign(x),
    "Erf": lambda x, y: 2 / SQRT_PI * op.Exp(-x * x),
    "Sin": lambda x, y: op.Cos(x),
    "Cos": lambda x, y: -op.Sin(x),
    "Tan": lambda x, y: 1 + y * y,
    "Asin": lambda x, y: 1 / op.Sqrt(1 - x * x),
    "Acos": lambda x, y: -1 / op.Sqrt(1 - x * x),
    "Atan": lambda x, y: 1 / (1 + x * x),
    "Sinh": lambda x, y: op.Cosh(x),
    "Cosh": lambda x, y: op.Sinh(x),
    "Asinh": lambda x, y: 1 / op.Sqrt(x * x + 1),
    "Acosh": lambda x, y: 1 / op.Sqrt(x * x - 1),
    "Atanh": lambda x, y: 1 / (1 - x * x),
}
for _name, _derivative in (ACTIVATIONS | FUNCTIONS).items():

    def _vjp(g, y, x, *, _d=_derivative, **attributes):
        return (g * _d(x, y, **attributes),)

    register(_vjp, _name, kind="activation")


@activation
def Clip(g, y, x, low=None, high=None):
    # In terms of y, as for Relu: nothing passes on the bounds themselves.
    dx = g if low is None else g * cast(y > low, y)
    dx = dx if high is None else dx * cast(y < high, y)

    # Where the bounds cross, y is the upper one.
    def d_low():
        return g * cast(x < low if high is None else (x < low) & (low <= high), x)

    def d_high():
        return g * cast((x if low is None else op.Max(x, low)) > high, x)

    return dx, d_low, d_high


@activation
def PRelu(g, y, x, slope):
    return g * (slope + (1 - slope) * step(x)), lambda: g * op.Min(x, 0)


@activation
def Dropout(g, y, x, ratio=None, training_mode=None, *, seed=None):
    if training_mode is not None and (training_mode.value is None or training_mode.value.any()):
        raise UnsupportedModelError(f"Dropout {y.name!r} is in training mode, so that its output is random. Remedy: export the model for inference.")
    return g, None, None


# ---- sums ----


@total
def Add(g, y, a, b):
    return g, g


@total
def Sub(g, y, a, b):
    return g, -g


@total
def Sum(g, y, *xs):
    return [g] * len(xs)


@total
def Mean(g, y, *xs):
    return [g / len(xs)] * len(xs)


# ---- products ----


@product
def Mul(g, y, a, b):
    return g * b, g * a


@product
def Div(g, y, a, b):
    return g / b, lambda: -g * y / b


@product
def Pow(g, y, x, p):
    exponent = cast(p, x)
    if p.value is not None and p.value.size == 1 and float(p.value.item()) == 2:
        dx = 2 * g * x
    else:
        slope = exponent * op.Pow(x, exponent - 1)
        # Where x = 0 a slope may be infinite: none is taken, since what comes back may be zero there.
        dx = g * (slope if p.value is not None and (p.value >= 1).all() else op.Where(op.Equal(x, 0), cast(op.Equal(exponent, 1), x), slope))
    # x^p log x tends to zero with x; a negative base has no derivative by p.
    return dx, lambda: g * y * op.Log(op.Where(x > 0, x, 1))


@product
def Mod(g, y, x, divisor, *, fmod=0):
    return g, lambda: -g * op.Floor((x - y) / divisor + 0.5)


# ---- selections: ties share the cotangent equally in Max and Min, as in ReduceMax ----


@selection
def Where(g, y, condition, a, b):
    chosen = cast(condition, g)
    return None, g * chosen, g * (1 - chosen)


for _name in ("Max", "Min"):

    def _to_winners(g, y, *xs, _extreme=_name):
        # Asked again, of the same numbers: of 16-bit ones ONNX Runtime may round x and not y. Of others it is the same node.
        wide = [in_single(x) for x in xs]
        top = getattr(op, _extreme)(*wide)
        chosen = [cast(op.Equal(x, top), g) for x in wide]
        ties = op.Sum(*chosen) if len(xs) > 1 else None
        return [g * c / ties if ties is not None else g for c in chosen]

    register(_to_winners, _name, kind="selection")


# ---- zero almost everywhere ----

zero("Ceil", "Floor", "Sign", "Not", "And", "Or", "Xor", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "IsInf", "IsNaN")
zero("BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor")
