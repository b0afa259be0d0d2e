"""Composites: ordered tables of (condition, rule); the first row that fits a node decides, and gradient is written as a row.

A named composite is a function of `Params`, which fills each rule with what the user gave, what the convention means, and the
rule's own defaults, in this order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from ..backward import Joint, Rule, Rules
from ..checks import is_list, is_real, require, told
from ..errors import InputError, UnsupportedModelError, choose
from ..flow import Flow
from ..graph import Node
from .conditions import PATTERNS, Condition, adds_bias, all_of, anything, attention, by_constant, chain, fed_by_input, first, index, is_a, kind, makes
from .lrp import RULES, AlphaBeta, AlphaBetaX, Stabilizer

Row = tuple[Condition, Rule]

CONVENTIONS: dict[str, dict[str, dict[str, Any]]] = {
    # rule → the values of its parameters where the user gives none; "*" for all rules that have the parameter
    "zennit": {"*": {"stabilizer": Stabilizer(1e-6), "epsilon": 1e-6}},
    "innvestigate": {
        "*": {"stabilizer": Stabilizer(1e-7, zeros_only=True), "epsilon": 1e-7},
        "alpha_beta": {"whole_bias": True},
        "z_plus": {"bias": False},
        "w_square": {"bias": False},
    },
}


@dataclass(frozen=True)
class Params:
    """What the rules of a composite are filled with."""

    given: Mapping[str, Any]
    convention: str = "zennit"

    def __call__(self, name: str, **own: Any) -> Rule:
        """The rule called `name`; `own` are the composite's defaults for it."""
        cls = RULES[choose("rule", name, RULES)]
        table = CONVENTIONS[self.convention]
        known = {f.name for f in fields(cls)}
        values = {k: v for k, v in table["*"].items() if k in known} | table.get(name, {}) | own
        given = {k: v for k, v in self.given.items() if k in known and v is not None and _fits(name, k, v)}
        if name == "alpha_beta":  # one of the two tells the other
            other = {k: given[o] + step for k, o, step in (("beta", "alpha", -1), ("alpha", "beta", 1)) if is_real(given.get(o))}
            given = other | given
        values |= given
        return cls(**{k: stabilizer(v) if k in ("stabilizer", "epsilon") else v for k, v in values.items()})


def _fits(name: str, key: str, value: Any) -> bool:
    """alpha_beta's alpha and beta are numbers, those of alpha_beta_x pairs."""
    return key not in ("alpha", "beta") or is_list(value) == (name == "alpha_beta_x")


def require_taken(given: Mapping[str, Any], rows: Sequence[Row]) -> None:
    """Refuse an alpha or beta of a form that none of the rules takes, though some take one."""
    names = [rule.name for _, rule in rows if isinstance(rule, (AlphaBeta, AlphaBetaX))]
    for key in ("alpha", "beta"):
        value = given.get(key)
        fits = value is None or not names or any(_fits(name, key, value) for name in names)
        require(fits, f"{key} must be {'a number' if is_list(value) else 'two numbers'} for {', '.join(dict.fromkeys(names))}, got {told(value)}")


def stabilizer(value: Any) -> Any:
    """A number or dict as a `Stabilizer`."""
    if isinstance(value, Mapping):
        for key in value:
            choose("stabilizer parameter", key, [f.name for f in fields(Stabilizer)])
        return Stabilizer(**value)
    return Stabilizer(value) if is_real(value) else value


@dataclass(frozen=True)
class Composite:
    """`composite(flow, node)` is the rule of the first row whose condition holds, joint for all nodes that the condition answers with."""

    rows: tuple[Row, ...]
    otherwise: Rules | None = None
    """Asked where no row fits."""

    def __call__(self, flow: Flow, node: Node) -> Rule:
        for fits, rule in self.rows:
            if found := fits(flow, node):
                return Joint(rule, found) if isinstance(found, (set, frozenset, list, tuple)) else rule
        if self.otherwise is not None:
            return self.otherwise(flow, node)
        raise UnsupportedModelError(f"no row of the composite fits {node}. Remedy: add one for it, such as (anything, gradient).")


COMPOSITES: dict[str, Callable[[Params], Sequence[Row]]] = {}


def composite(function: Callable[[Params], Sequence[Row]]) -> Callable[[Params], Sequence[Row]]:
    """Enter a named composite under its function's name."""
    COMPOSITES[function.__name__] = function
    return function


def base(rule: Params) -> list[Row]:
    """What every LRP composite does with the nodes between the linear layers; in iNNvestigate's convention batch normalisation is one."""
    passed = [kind("activation")] + [kind("batch_norm")] * (rule.convention != "innvestigate")
    shared = [kind("sum"), kind("avg_pool")]
    return [*((k, rule("pass")) for k in passed), *((k, rule("norm")) for k in shared), (anything, rule("gradient"))]


def everywhere(rule: Params, name: str, **own: Any) -> list[Row]:
    """One rule on every linear layer; batch normalisation is one too in iNNvestigate's convention."""
    layers = [kind("linear")] + [kind("batch_norm")] * (rule.convention == "innvestigate")
    return [*((k, rule(name, **own)) for k in layers), *base(rule)]


for _name in ("z", "epsilon", "z_plus", "z_plus_fast", "alpha_beta", "gamma", "w_square", "flat"):

    def _single(rule: Params, _name: str = _name) -> list[Row]:
        return everywhere(rule, _name)

    _single.__doc__ = f"{_name} on every linear layer."
    COMPOSITES[_name] = _single
for _name in ("z", "w_square", "flat", "epsilon", "gamma", "alpha_beta", "z_plus"):
    COMPOSITES[f"lrp_{_name}"] = COMPOSITES[_name]


@composite
def rest(rule: Params) -> list[Row]:
    """What is left where only a user's rows are given: the gradient, or iNNvestigate's rules between its layers."""
    return base(rule) if rule.convention == "innvestigate" else [(anything, rule("gradient"))]


# ---- zennit's composites ----


@composite
def epsilon_plus(rule: Params) -> list[Row]:
    """z_plus on convolutions, epsilon on dense layers (zennit's EpsilonPlus)."""
    return [(kind("conv"), rule("z_plus")), (kind("dense"), rule("epsilon")), *base(rule)]


@composite
def epsilon_plus_flat(rule: Params) -> list[Row]:
    """epsilon_plus, with flat on the first linear layer (zennit's EpsilonPlusFlat)."""
    return [(first(LINEAR), rule("flat")), *epsilon_plus(rule)]


@composite
def epsilon_alpha2_beta1(rule: Params) -> list[Row]:
    """alpha_beta(2, 1) on convolutions, epsilon on dense layers (zennit's EpsilonAlpha2Beta1)."""
    return [(kind("conv"), rule("alpha_beta", alpha=2.0, beta=1.0)), (kind("dense"), rule("epsilon")), *base(rule)]


@composite
def epsilon_alpha2_beta1_flat(rule: Params) -> list[Row]:
    """epsilon_alpha2_beta1, with flat on the first linear layer (zennit's EpsilonAlpha2Beta1Flat)."""
    return [(first(LINEAR), rule("flat")), *epsilon_alpha2_beta1(rule)]


@composite
def epsilon_gamma_box(rule: Params) -> list[Row]:
    """z_box on the first convolution, gamma on the others, epsilon on dense layers (zennit's EpsilonGammaBox)."""
    return [(first(CONV), rule("z_box")), (kind("conv"), rule("gamma")), (kind("dense"), rule("epsilon")), *base(rule)]


@composite
def excitation_backprop(rule: Params) -> list[Row]:
    """z_plus on linear layers, norm on sums and averages, gradient elsewhere (Zhang et al. 2018; zennit's)."""
    return [(kind("linear"), rule("z_plus")), (kind("sum"), rule("norm")), (kind("avg_pool"), rule("norm")), (anything, rule("gradient"))]


@composite
def beta_smooth(rule: Params) -> list[Row]:
    """The gradient with smooth ReLUs (Dombrowski et al. 2019; zennit's BetaSmooth)."""
    return [(is_a("Relu"), rule("beta_smooth")), (anything, rule("gradient"))]


@composite
def guided_backprop(rule: Params) -> list[Row]:
    """The gradient with positive values only, through active ReLUs (Springenberg et al. 2015)."""
    return [(is_a("Relu"), rule("guided_backprop")), (anything, rule("gradient"))]


@composite
def deconvnet(rule: Params) -> list[Row]:
    """The gradient with positive values only, through every ReLU (Zeiler and Fergus 2014)."""
    return [(is_a("Relu"), rule("deconvnet")), (anything, rule("gradient"))]


# ---- transformers ----


@composite
def attn_lrp(rule: Params) -> list[Row]:
    """epsilon on linear layers and sums, half to each factor, softmax by its first order, deviations as constants (Achtibat et al. 2024)."""
    return [(is_a("Softmax"), rule("softmax")), *_conserving(rule, "product")]


@composite
def cp_lrp(rule: Params) -> list[Row]:
    """attn_lrp with attention weights and gates as constants, so that nothing is lost in them (Ali et al. 2022)."""
    return [(attention, rule("values")), *_conserving(rule, "signal")]


def _conserving(rule: Params, product: str) -> list[Row]:
    """What keeps relevance at every node; constants that are added absorb their share, as biases do."""
    return [
        (kind("linear"), rule("epsilon")),
        (adds_bias, rule("gradient")),
        *((k, rule("norm")) for k in (kind("sum"), kind("avg_pool"), is_a("Add", "Sub", "Sum", "Mean", "ReduceMean", "ReduceSum"))),
        *((k, rule(product)) for k in (kind("product"), by_constant)),
        (kind("normalization"), rule("detached")),
        *((k, rule("pass")) for k in (kind("activation"), is_a("Pow"))),
        (kind("batch_norm"), rule("epsilon")),
        (anything, rule("gradient")),
    ]


# ---- iNNvestigate's presets ----


def _preset(rule: Params, alpha: float, beta: float) -> list[Row]:
    return [
        (kind("conv"), rule("alpha_beta", alpha=alpha, beta=beta)),
        (kind("dense"), rule("epsilon", epsilon=0.1)),
        (kind("batch_norm"), Params({}, rule.convention)("alpha_beta_x", alpha=(2.0, 0.0), beta=(1.0, 0.0))),
        *base(rule),
    ]


@composite
def preset_a(rule: Params) -> list[Row]:
    """alpha_beta(1, 0) on convolutions, epsilon 0.1 on dense layers: the LRP-* of Alber 2019 (iNNvestigate's PresetA)."""
    return _preset(rule, 1.0, 0.0)


@composite
def preset_a_flat(rule: Params) -> list[Row]:
    """preset_a, with flat on every layer that the input feeds."""
    return [(all_of([LINEAR, fed_by_input]), rule("flat")), *preset_a(rule)]


@composite
def preset_b(rule: Params) -> list[Row]:
    """alpha_beta(2, 1) on convolutions, epsilon 0.1 on dense layers (iNNvestigate's PresetB)."""
    return _preset(rule, 2.0, 1.0)


@composite
def preset_b_flat(rule: Params) -> list[Row]:
    """preset_b, with flat on every layer that the input feeds."""
    return [(all_of([LINEAR, fed_by_input]), rule("flat")), *preset_b(rule)]


@composite
def lrp_convnet(rule: Params) -> list[Row]:
    """alpha_beta(1, 0) on convolutions, epsilon on dense layers, relevance through ReLUs, gradient elsewhere (Alber 2019)."""
    conv = rule("alpha_beta", alpha=1.0, beta=0.0)
    return [(kind("conv"), conv), (kind("dense"), rule("epsilon")), (kind("activation"), rule("pass")), (anything, rule("gradient"))]


@composite
def deep_taylor(rule: Params) -> list[Row]:
    """alpha_beta(1, 0) without bias on linear layers, relevance through ReLUs, gradient elsewhere (Montavon et al. 2017)."""
    linear = rule("alpha_beta", alpha=1.0, beta=0.0, bias=False)
    return [(kind("linear"), linear), (kind("activation"), rule("pass")), (anything, rule("gradient"))]


LINEAR, CONV = kind("linear"), kind("conv")


# ---- rows that a user puts in front ----

CONDITIONS = ("kind", "op", "tensor", "index", "pattern", "first", "fed_by_input")


def row(given: Any, rule: Params) -> Row:
    """A row from a pair (condition, rule), or from a dict such as {"kind": "conv", "first": true, "rule": "z_box", "low": -2}."""
    if isinstance(given, Mapping):
        return _from_dict(dict(given), rule)
    if isinstance(given, Sequence) and not isinstance(given, str) and len(given) == 2:
        fits, answer = given
        if callable(fits) and (callable(answer) or isinstance(answer, str)):
            return fits, rule(answer) if isinstance(answer, str) else answer  # pyright: ignore[reportReturnType]  (callables are rules)
    raise InputError(f"a rule's row is a pair (condition, rule) or a dict with the key 'rule', got {given!r}")


def _from_dict(given: dict[str, Any], rule: Params) -> Row:
    if "rule" not in given:
        raise InputError(f"the row {given!r} lacks the key 'rule'")
    name = given.pop("rule")
    values = {k: given.pop(k) for k in list(given) if k not in CONDITIONS}
    known = [f.name for f in fields(RULES[choose("rule", name, RULES)])]
    for key in values:
        choose(f"parameter of the rule {name}", key, dict.fromkeys([*known, *CONDITIONS, "bias"]))
        if not _fits(name, key, values[key]):
            raise InputError(f"{key} of the rule {name} must be {'two numbers' if name == 'alpha_beta_x' else 'a number'}, got {values[key]!r}")
    made: dict[str, Callable[[Any], Condition]] = {
        "kind": _kind,
        "op": lambda v: is_a(*_listed(v, str, "op")),
        "tensor": lambda v: makes(*_listed(v, str, "tensor")),
        "index": lambda v: index(*_listed(v, (int, np.integer), "index")),
        "pattern": _pattern,
    }
    conditions = [make(given[key]) for key, make in made.items() if key in given]
    if given.get("fed_by_input"):
        conditions.append(fed_by_input)
    fits = all_of(conditions) if conditions else anything
    # A row's own parameters come before those of the whole composite.
    return first(fits) if given.get("first") else fits, Params(dict(rule.given) | values, rule.convention)(name)


def _listed(value: Any, kind: type | tuple[type, ...], key: str) -> list[Any]:
    """One value of a row's condition or several, as a list."""
    found = list(value) if is_list(value) else [value]
    wanted = "a text" if kind is str else "an integer"
    require(bool(found) and all(isinstance(v, kind) for v in found), f"{key} of a rule's row must be {wanted} or a list of such, got {told(value)}")
    return found


def _kind(name: str) -> Condition:
    from ..ops import KINDS

    return kind(choose("kind", name, [*KINDS, "conv", "dense", "relu"]))


def _pattern(given: Any) -> Condition:
    """A region by name, or operators in a row."""
    return PATTERNS[choose("pattern", given, PATTERNS)] if isinstance(given, str) else chain(*map(is_a, _listed(given, str, "pattern")))
