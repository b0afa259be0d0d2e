"""Layer-wise relevance propagation: the relevance R of y = f(x) is shared among the inputs x.

A rule says in which parts the layer is split, f(x₁, w₁) + f(x₂, w₂) + …, and each input gets the share of R that it adds to
their sum:

    R_in  =  Σₖ  xₖ · [∂f(xₖ, wₖ) / ∂xₖ]ᵀ  R / Σₖ f(xₖ, wₖ)

In the rules `f(x, m)` is the layer at x with m applied to its parameters, bias included unless `bias=False`; `f.pos` and
`f.neg` are the inputs' positive and negative parts. One rule serves every linear operator: the operator's own VJP does the work.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np

from ..backward import Call, Cotangent, Part, single
from ..checks import broadcasts, finite, is_list, is_real, not_negative, require, told
from ..ops.normalization import moments
from ..ops.shapes import cast, filled, reshape_like, step, to_winners, unbroadcast
from ..tape import Formula, Var, op

RULES: dict[str, Any] = {}


def pos(w: Var) -> Var:
    return op.Max(w, 0)


def neg(w: Var) -> Var:
    return op.Min(w, 0)


def square(w: Var) -> Var:
    return w * w


def one(w: Var) -> Var:
    return filled(w, 1)


@dataclass(frozen=True)
class Stabilizer:
    """Keeps a denominator away from zero, on its own side; zero itself counts as positive.

    `clip` raises it to at least epsilon instead of adding; `norm_scale` measures epsilon in root mean squares of each sample;
    `zeros_only` touches exact zeros alone.
    """

    epsilon: float = 1e-6
    clip: bool = False
    norm_scale: bool = False
    zeros_only: bool = False

    def __post_init__(self) -> None:
        not_negative(self.epsilon, "epsilon of a stabilizer")

    def __call__(self, z: Var, sign: int = 0) -> Var:
        """z, away from zero; `sign` tells z's where it cannot change, which saves finding it out."""
        away = self._away(z, sign)
        if self.epsilon > 0 and not self.norm_scale:  # each element is moved by what it is itself, and zero is too
            z.tape.meant[away.name] = Formula("stabilized", [z], {"by": self})
        return away

    def _away(self, z: Var, sign: int) -> Var:
        if self.zeros_only:
            return z + self.epsilon * cast(op.Equal(z, 0), z)
        side = float(sign) if sign else 2 * cast(z >= 0, z) - 1
        epsilon = self.epsilon
        if self.norm_scale:
            epsilon = epsilon * op.Sqrt(op.ReduceMean(z * z, list(range(1, z.rank)), keepdims=1))
        return side * op.Max(op.Abs(z), epsilon) if self.clip else z + epsilon * side


def share(R: Var, *parts: Part | None, stabilizer: Stabilizer, sign: int = 0, by_input: bool = True) -> list[Cotangent]:
    """R divided among the parts' inputs by what they add to the sum of the parts."""
    s = per_unit(R, *parts, stabilizer=stabilizer, sign=sign)
    return carry(*((s, p) for p in parts), by_input=by_input)


def per_unit(R: Var, *parts: Part | None, stabilizer: Stabilizer, sign: int = 0) -> Var:
    """R over the sum of the parts, whose sign is `sign` if that is known."""
    z = sum_of([p.z for p in parts if p is not None])
    return R / stabilizer(z, sign)


def carry(*sent: tuple[Var, Part | None], by_input: bool = True) -> list[Cotangent]:
    """Each s pulled back through its part; what meets the same input is summed before it is multiplied by it."""
    met: dict[tuple[int, Var | None], list[Var]] = {}
    count = 0
    for s, p in sent:
        if p is not None and p.pull is not None:
            count = len(p.x)
            for k, (x, d) in enumerate(zip(p.x, p.pull(s))):
                if d is not None and not (by_input and x is None):
                    met.setdefault((k, x if by_input else None), []).append(d)
    shares: list[list[Var]] = [[] for _ in range(count)]
    for (k, x), pulled in met.items():
        shares[k].append(sum_of(pulled) if x is None else x * sum_of(pulled))
    return [sum_of(v) if v else None for v in shares]


def sum_of(values: Sequence[Var]) -> Var:
    total, *rest = values
    for v in rest:
        total = total + v
    return total


Wanted = tuple[Callable[[Any], bool], str]
"""What a parameter must be: a test, and the same in words."""
NUMBER, PAIR = (is_real, "a number"), (lambda v: is_list(v) and len(v) == 2 and all(map(is_real, v)), "two numbers")
WANTED: dict[str, Wanted] = {
    "stabilizer": (lambda v: isinstance(v, Stabilizer), "a number or a dict of 'epsilon', 'clip', 'norm_scale'"),
    "epsilon": (lambda v: isinstance(v, Stabilizer) or (is_real(v) and v >= 0), "a number, not negative, or a dict of 'epsilon', 'clip', 'norm_scale'"),
    "gamma": (lambda v: is_real(v) and v >= 0, "a number, not negative"),
    "bias": (lambda v: isinstance(v, (bool, np.bool_)), "True or False"),
}
"""What rules' parameters must be, where they are the same for all rules."""


@dataclass(frozen=True)
class Rule:
    """A rule's fields are its parameters; `relevance` is the paper's formula."""

    name: ClassVar[str] = ""
    wanted: ClassVar[Mapping[str, Wanted]] = {}
    """What parameters must be that only this rule has."""

    def __post_init__(self) -> None:
        wanted = {**WANTED, **self.wanted}
        for key, value in ((f.name, getattr(self, f.name)) for f in fields(self) if f.name in wanted):
            fits, what = wanted[key]
            require(fits(value), f"{key} of the rule {self.name} must be {what}, got {told(value)}")

    def __init_subclass__(cls, name: str = "") -> None:
        if name:
            cls.name = name
            RULES[name] = cls

    def __call__(self, R: Var, f: Call) -> Sequence[Cotangent]:
        return self.relevance(*single(R, f))

    def relevance(self, R: Var, f: Call) -> Sequence[Cotangent]:
        """What each active input gets of R."""
        raise NotImplementedError


# ---- rules for linear layers ----


@dataclass(frozen=True)
class Z(Rule, name="z"):
    """Shares by contribution, bias included: LRP-0 (Bach et al. 2015, eq. 56)."""

    bias: bool = True
    stabilizer: Stabilizer = Stabilizer()

    def relevance(self, R, f):
        return share(R, f(f.x, bias=self.bias), stabilizer=self.stabilizer)


@dataclass(frozen=True)
class Epsilon(Rule, name="epsilon"):
    """Shares by contribution; epsilon absorbs what is small (Bach et al. 2015, eq. 58)."""

    epsilon: float | Stabilizer = 1e-6
    bias: bool = True

    def relevance(self, R, f):
        stabilizer = self.epsilon if isinstance(self.epsilon, Stabilizer) else Stabilizer(self.epsilon)
        return share(R, f(f.x, bias=self.bias), stabilizer=stabilizer)


@dataclass(frozen=True)
class ZPlus(Rule, name="z_plus"):
    """Credits only what raises y (Montavon et al. 2017, eq. 13)."""

    bias: bool = True
    stabilizer: Stabilizer = Stabilizer()

    def relevance(self, R, f):
        return share(R, f(f.pos, pos, bias=self.bias), f(f.neg, neg, bias=False), stabilizer=self.stabilizer, sign=1)


@dataclass(frozen=True)
class ZPlusFast(Rule, name="z_plus_fast"):
    """z_plus for inputs that are not negative: positive weights only, no bias."""

    stabilizer: Stabilizer = Stabilizer()

    def relevance(self, R, f):
        return share(R, f(f.x, pos, bias=False), stabilizer=self.stabilizer)


@dataclass(frozen=True)
class AlphaBeta(Rule, name="alpha_beta"):
    """Weighs what raises y by α and what lowers it by β = α − 1 (Bach et al. 2015, eq. 60).

    `whole_bias` adds both signs of the bias to both halves, as iNNvestigate does; else each half has the bias of its own sign.
    """

    alpha: float = 2.0
    beta: float = 1.0
    bias: bool = True
    whole_bias: bool = False
    stabilizer: Stabilizer = Stabilizer()

    wanted: ClassVar[Mapping[str, Wanted]] = {"alpha": NUMBER, "beta": NUMBER}

    def __post_init__(self) -> None:
        super().__post_init__()
        fits = abs(self.alpha - self.beta - 1) <= 1e-6 and self.beta >= 0
        require(fits, f"alpha − beta must be 1, and neither may be negative, got alpha={self.alpha!r}, beta={self.beta!r}")

    def relevance(self, R, f):
        second = self.bias and self.whole_bias
        sign = 0 if second else 1
        raising = f(f.pos, pos, bias=self.bias), f(f.neg, neg, bias=second)
        up = per_unit(R, *raising, stabilizer=self.stabilizer, sign=sign)
        if self.beta == 0:
            return carry(*((self.alpha * up, p) for p in raising))
        lowering = f(f.pos, neg, bias=self.bias), f(f.neg, pos, bias=second)
        down = per_unit(R, *lowering, stabilizer=self.stabilizer, sign=-sign)
        return carry(*((self.alpha * up, p) for p in raising), *((-self.beta * down, p) for p in lowering))


@dataclass(frozen=True)
class AlphaBetaX(Rule, name="alpha_beta_x"):
    """The four pairings of signs, each shared on its own (iNNvestigate's AlphaBetaX).

    α₀ R(x⁺, W⁺) + α₁ R(x⁻, W⁻) − β₀ R(x⁺, W⁻) − β₁ R(x⁻, W⁺)
    """

    alpha: tuple[float, float] = (2.0, 0.0)
    beta: tuple[float, float] = (1.0, 0.0)
    bias: bool = True
    stabilizer: Stabilizer = Stabilizer()

    wanted: ClassVar[Mapping[str, Wanted]] = {"alpha": PAIR, "beta": PAIR}

    def relevance(self, R, f):
        pairs = [(self.alpha[0], f.pos, pos), (self.alpha[1], f.neg, neg), (-self.beta[0], f.pos, neg), (-self.beta[1], f.neg, pos)]
        parts = [(weight, f(x, m, bias=self.bias)) for weight, x, m in pairs if weight and any(v is not None for v in x)]
        return carry(*((weight * per_unit(R, p, stabilizer=self.stabilizer), p) for weight, p in parts))


@dataclass(frozen=True)
class Gamma(Rule, name="gamma"):
    """Favours what agrees with the sign of y by 1 + γ, for inputs and outputs of either sign (Andéol et al. 2021)."""

    gamma: float = 0.25
    bias: bool = True
    stabilizer: Stabilizer = Stabilizer()

    def relevance(self, R, f):
        def up(w):
            return w + self.gamma * pos(w)

        def down(w):
            return w + self.gamma * neg(w)

        z, sent = f(f.x).z, []
        for side, m, other in ((step(z), up, down), (step(-z), down, up)):
            parts = f(f.pos, m, bias=self.bias), f(f.neg, other, bias=False)
            s = per_unit(R * side, *parts, stabilizer=self.stabilizer)
            sent += [(s, p) for p in parts]
        return carry(*sent)


@dataclass(frozen=True)
class WSquare(Rule, name="w_square"):
    """Shares by squared weights, whatever x is (Montavon et al. 2017, eq. 12)."""

    bias: bool = True
    stabilizer: Stabilizer = Stabilizer()

    def relevance(self, R, f):
        return share(R, f(_ones(f), square, bias=self.bias), stabilizer=self.stabilizer, sign=1, by_input=False)


@dataclass(frozen=True)
class Flat(Rule, name="flat"):
    """Shares evenly over the receptive field (Lapuschkin et al. 2019)."""

    stabilizer: Stabilizer = Stabilizer()

    def relevance(self, R, f):
        return share(R, f(_ones(f), one, bias=False), stabilizer=self.stabilizer, sign=1, by_input=False)


def _ones(f: Call) -> list[Var]:
    """Ones in the shape of the inputs."""
    return [filled(x, 1) for x in f.x]


@dataclass(frozen=True)
class ZBox(Rule, name="z_box"):
    """For inputs bounded by low ≤ x ≤ high (Montavon et al. 2017, eq. 15)."""

    low: Any = -1.0
    high: Any = 1.0
    stabilizer: Stabilizer = Stabilizer()

    def __post_init__(self) -> None:
        super().__post_init__()
        low, high = (finite(getattr(self, key), f"{key} of the rule {self.name}") for key in ("low", "high"))
        alike = all(d == e or 1 in (d, e) for d, e in zip(low.shape[::-1], high.shape[::-1]))
        fits = alike and bool((low <= high).all())
        require(fits, f"low of the rule {self.name} must be at most high, element by element, got {told(self.low)} and {told(self.high)}")

    def relevance(self, R, f):
        low, high = ([_bound(b, x) for x in f.x] for b in (self.low, self.high))
        return share(R, f(f.x, bias=False), f(low, pos, bias=False), f(high, neg, bias=False), stabilizer=self.stabilizer)


def _bound(value: Any, x: Var) -> Var:
    """Minus the bound, in the shape of x."""
    shape = np.shape(value)
    require(
        x.type.shape is None or broadcasts(shape, x.shape),
        f"low and high of the rule z_box must broadcast to {x.name!r}, {x.type}: got a bound of shape {list(shape)}",
    )
    return op.Expand(x.tape.constant(-np.asarray(value, np.float64) if np.ndim(value) else -float(value), x), op.Shape(x))


# ---- rules for the other nodes ----


@dataclass(frozen=True)
class Norm(Rule, name="norm"):
    """Each input gets the share that it adds to y: epsilon for sums and averages (zennit's Norm)."""

    stabilizer: Stabilizer = Stabilizer()

    def relevance(self, R, f):
        s = R / self.stabilizer(f.y)
        return [x * d if d is not None else None for x, d in zip(f.x, f.vjp(s))]


@dataclass(frozen=True)
class ShareTies(Rule, name="share_ties"):
    """Cells that share a pooling window's maximum share its relevance equally (Lapuschkin et al. 2016, LRP toolbox)."""

    def relevance(self, R, f):
        cells, x = windows(f), f.x[0]
        r = op.Reshape(R, op.Concat([-1, 1], op.Shape(R, start=2), axis=0))
        assert cells.pull is not None
        (back,) = cells.pull(to_winners(r, cells.z, op.ReduceMax(cells.z, [1], keepdims=1), [1]))
        return [reshape_like(back, x)]


def windows(f: Call) -> Part:
    """A pooling's windows laid out as channels, [N·C, cells, …]: a convolution with one kernel for each cell."""
    a, x = f.node.attributes, f.x[0]
    kernel, n = list(a["kernel_shape"]), len(a["kernel_shape"])
    window = {k: list(a[k]) for k in ("strides", "dilations")}
    eye = np.eye(int(np.prod(kernel))).reshape(-1, 1, *kernel)
    planes = op.Reshape(x, op.Concat([-1, 1], op.Shape(x, start=2), axis=0))
    # Padding never wins; a window more than there is, so that ceil_mode finds its last one.
    more = [p + (s if a.get("ceil_mode", 0) else 0) for p, s in zip(a["pads"][n:], window["strides"])]
    lowest = x.tape.constant(float(np.finfo(x.dtype).min) / 4, x)
    padded = op.Pad(planes, [0, 0, *a["pads"][:n], 0, 0, *more], lowest, np.arange(n + 2))
    weight = x.tape.constant(eye, x)
    axes = list(range(2, n + 2))
    z = op.Slice(op.Conv(padded, weight, **window), [0] * n, op.Shape(f.y, start=2), axes)

    def pull(s: Var) -> list[Cotangent]:
        begin = np.array(a["pads"][:n])
        wide = op.ConvTranspose(s, weight, **window, output_padding=[t - 1 for t in window["strides"]])
        reach = op.Pad(wide, [0] * (n + 2) + [0, 0] + kernel)  # a last window may end before the image does
        return [op.Slice(reach, begin, op.Shape(planes, start=2) + begin, axes)]

    return Part([planes], z, pull)


@dataclass(frozen=True)
class Pass(Rule, name="pass"):
    """Relevance goes through as it is."""

    def relevance(self, R, f):
        return [unbroadcast(R, f.x[0]), *(None for _ in f.x[1:])]


@dataclass(frozen=True)
class Product(Rule, name="product"):
    """Each factor gets the same: half of a product of two (Achtibat et al. 2024, Prop. 3.3), all of it where the other is no input."""

    stabilizer: Stabilizer = Stabilizer()

    def relevance(self, R, f):
        s = R / (float(len(f.x)) * self.stabilizer(f.y))
        divisor = [f.node.op_type == "Div" and k == 1 for k in f.active]  # its slope is negative, its part is not
        return [(-x if d else x) * r if r is not None else None for x, r, d in zip(f.x, f.vjp(s), divisor)]


@dataclass(frozen=True)
class Signal(Rule, name="signal"):
    """What is weighed gets all, attention weights and gates nothing (Arras et al. 2019; Ali et al. 2022); `product` where neither is a gate."""

    stabilizer: Stabilizer = Stabilizer()

    def relevance(self, R, f):
        gates = [f.flow.is_gate(f.node.inputs[i]) for i in f.active]
        if not any(gates) or all(gates):
            return Product(self.stabilizer)(R, f)
        return [None if gate or r is None else x * r for gate, x, r in zip(gates, f.x, f.vjp(R / self.stabilizer(f.y)))]


@dataclass(frozen=True)
class Values(Rule, name="values"):
    """An attention's values get all, its queries and keys nothing: the weights are constants (Ali et al. 2022)."""

    stabilizer: Stabilizer = Stabilizer()

    def relevance(self, R, f):
        weighed = Call(f.node, f.env, f.flow)
        sent = dict(zip(weighed.names, weighed.vjp(R / self.stabilizer(f.y))))
        return [x * r if (r := sent.get(n)) is not None else None for n, x in zip(f.names, f.x)]


@dataclass(frozen=True)
class Softmax(Rule, name="softmax"):
    """x (R − y ΣR): the first-order term at x; the rest, Σ R less the sum of these, is absorbed (Achtibat et al. 2024, Prop. 3.1)."""

    def relevance(self, R, f):
        axis = f.node.attributes.get("axis", -1)
        x = op.Where(op.IsInf(f.x[0]), 0, f.x[0])  # a masked logit has no part
        return [x * (R - f.y * op.ReduceSum(R, [axis], keepdims=1))]


@dataclass(frozen=True)
class Detached(Rule, name="detached"):
    """Normalisation as the linear map that it is once its deviation is a constant (Ali et al. 2022); its shift absorbs as a bias does."""

    stabilizer: Stabilizer = Stabilizer()

    def relevance(self, R, f):
        x, a, op_type = f.x[0], f.node.attributes, f.node.op_type
        if op_type not in CENTRED:
            return [R]  # without a mean, y is x times a number
        grouped = (lambda v: op.Reshape(v, [0, a["num_groups"], -1])) if op_type == "GroupNormalization" else (lambda v: v)
        axes = CENTRED[op_type](a, x.rank)
        s = R / self.stabilizer(f.y)
        if op_type == "LayerNormalization":
            s = s * f.inputs[1]
        elif op_type != "MeanVarianceNormalization":
            s = s * op.Reshape(f.inputs[1], [1, -1, *[1] * (x.rank - 2)])
        _, inverse = moments(grouped(x), axes, a.get("epsilon", 1e-18 if op_type == "MeanVarianceNormalization" else 1e-5))
        s = grouped(s) * inverse
        return [reshape_like(grouped(x) * (s - op.ReduceMean(s, axes, keepdims=1)), x)]


CENTRED: dict[str, Callable[[Mapping[str, Any], int], list[int]]] = {
    "LayerNormalization": lambda a, rank: list(range(a.get("axis", -1) % rank, rank)),
    "InstanceNormalization": lambda a, rank: list(range(2, rank)),
    "GroupNormalization": lambda a, rank: [2],
    "MeanVarianceNormalization": lambda a, rank: list(a.get("axes", (0, 2, 3))),
}
"""What takes a mean off, and along which axes; groups are laid out as [N, groups, the rest]."""


@dataclass(frozen=True)
class Gradient(Rule, name="gradient"):
    """The plain vector-Jacobian product."""

    def relevance(self, R, f):
        return f.vjp(R)


@dataclass(frozen=True)
class GuidedBackprop(Rule, name="guided_backprop"):
    """Only positive values, and only through active units (Springenberg et al. 2015)."""

    def relevance(self, R, f):
        return f.vjp(op.Relu(R))


@dataclass(frozen=True)
class Deconvnet(Rule, name="deconvnet"):
    """Only positive values, through every unit (Zeiler and Fergus 2014)."""

    def relevance(self, R, f):
        return [op.Relu(R)]


@dataclass(frozen=True)
class BetaSmooth(Rule, name="beta_smooth"):
    """The ReLU's step made smooth: sigmoid(βx) (Dombrowski et al. 2019)."""

    beta_smooth: float = 10.0

    wanted: ClassVar[Mapping[str, Wanted]] = {"beta_smooth": NUMBER}

    def relevance(self, R, f):
        return [op.Sigmoid(self.beta_smooth * f.x[0]) * R]
