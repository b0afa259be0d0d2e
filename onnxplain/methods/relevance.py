"""Layer-wise relevance propagation and its kin: one sweep under a composite."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..backward import Rules
from ..checks import is_list, one_of, require, told
from ..errors import InputError, UnsupportedModelError, choose
from ..question import Question
from ..rules import COMPOSITES, CONVENTIONS, Composite, Params, require_taken, row
from ..rules.conditions import is_a, kind
from ..tape import Var
from ..tensors import Tensors
from .base import Method
from .point import Point


@dataclass(frozen=True)
class LRP(Method, name="lrp"):
    """Layer-wise relevance propagation under a composite of rules (Bach et al. 2015).

    Parameters
    ----------
    composite : str, list of rows or function, default "epsilon_plus_flat" where `rules` is not given
        A name of `onnxplain.composites()`; or rows (condition, rule), first match wins; or a function (flow, node) → rule.
    rules : list of rows, optional
        Rows put before those of `composite`: pairs (condition, rule), or dicts such as
        {"kind": "conv", "first": True, "rule": "z_box", "low": -2, "high": 2}. Without `composite`, all
        other nodes take the gradient; in iNNvestigate's convention, what its analysers do between the layers.
    epsilon, gamma, alpha, beta, low, high, bias, stabilizer : optional
        Parameters of the composite's rules; `stabilizer` and `epsilon` are numbers or dicts {"epsilon", "clip", "norm_scale"}.
    convention : "zennit" or "innvestigate", default "zennit"
        Whose stabiliser and use of biases, as docs/rules.md lists them.
    relevance : "logit", "one_hot" or "contrastive", default "logit"
        What the sweep starts from: the score itself, one, or the score less as much again, spread evenly over the other classes (Gu et al. 2018).
    ties : "winner" or "share", default "winner"
        Which of several equal maxima of a pooling window gets the relevance: the first, or all alike.
    """

    composite: Any = None
    rules: Sequence[Any] | None = None
    epsilon: Any = None
    gamma: float | None = None
    alpha: float | None = None
    beta: float | None = None
    low: Any = None
    high: Any = None
    bias: bool | None = None
    stabilizer: Any = None
    convention: str = "zennit"
    relevance: str = "logit"
    ties: str = "winner"

    def __post_init__(self) -> None:
        one_of(self.convention, list(CONVENTIONS), "convention")
        one_of(self.relevance, ["logit", "one_hot", "contrastive"], "relevance")
        one_of(self.ties, ["winner", "share"], "ties")
        _ = self.table  # refuses unknown names and parameters here, not later

    @cached_property
    def table(self) -> Rules:
        """The composite, ready to ask."""
        given = {k: getattr(self, k) for k in ("epsilon", "gamma", "alpha", "beta", "low", "high", "bias", "stabilizer")}
        rule = Params(given, self.convention)
        require(self.rules is None or is_list(self.rules), f"rules must be a list of rows, got {told(self.rules)}")
        rows = [row(r, rule) for r in self.rules or []]
        if self.ties == "share":
            rows.append((is_a("MaxPool"), rule("share_ties")))
        named, otherwise = self.composite, None
        if named is None:
            named = "epsilon_plus_flat" if self.rules is None else "rest"
        if isinstance(named, str):
            rows += COMPOSITES[choose("composite", named, COMPOSITES)](rule)
        elif callable(named):
            otherwise = _asked(named)
        elif isinstance(named, Sequence):
            rows += [row(r, rule) for r in named]
        else:
            raise InputError(f"composite must be a name, a list of rows or a function (flow, node) → rule, got {named!r}")
        require_taken(given, rows)
        return Composite(tuple(rows), otherwise)

    @property
    def keep(self) -> list[str]:
        """The tensors that rows name."""
        found: list[str] = []
        for r in [*(self.rules or []), *(() if isinstance(self.composite, str) or not isinstance(self.composite, Sequence) else self.composite)]:
            if isinstance(r, Mapping) and "tensor" in r:
                found += [r["tensor"]] if isinstance(r["tensor"], str) else list(r["tensor"])
        return found

    def warnings(self, question: Question) -> list[str]:
        flow = question.flow
        if self.composite is not None or self.rules is not None:
            return []
        alike = [n for n in flow.first(kind("linear")) if flow.is_kind(n, "dense") and flow.fed_by_input(n)]
        remedy = "composite='epsilon_plus' tells them apart"
        return [f"lrp's default is flat in the first layer, and {n} is dense: all its inputs get the same; {remedy}" for n in alike[:1]]

    def explanation(self, f: Point) -> Tensors:
        return f.sweep(self.table, self.relevance)

    def promise(self, f: Point) -> Var | None:
        return f.started(self.relevance)


def _asked(function: Callable[[Any, Any], Any]) -> Rules:
    """A user's own function of flow and node; that it answers with a rule is checked."""

    def rule_of(flow, node) -> Any:
        rule = function(flow, node)
        if not callable(rule):
            raise UnsupportedModelError(
                f"the composite's function has no rule for {node}, it answers {rule!r}. Remedy: return one, such as onnxplain.backward.gradient."
            )
        return rule

    return rule_of


@dataclass(frozen=True)
class DeepTaylor(Method, name="deep_taylor"):
    """Deep Taylor decomposition of a ReLU network's positive score (Montavon et al. 2017).

    Parameters
    ----------
    bounds : None or (low, high), default None
        Bounds of the input: the layers that it feeds take z_box.
    convention : "innvestigate" or "zennit", default "innvestigate"
    """

    bounds: Sequence[float] | None = None
    convention: str = "innvestigate"

    def __post_init__(self) -> None:
        one_of(self.convention, list(CONVENTIONS), "convention")
        require(self.bounds is None or (is_list(self.bounds) and len(self.bounds) == 2), f"bounds must be None or (low, high), got {told(self.bounds)}")
        _ = self.table  # refuses bounds that are none here, not later

    @cached_property
    def table(self) -> Composite:
        rule = Params({}, self.convention)
        rows = list(COMPOSITES["deep_taylor"](rule))
        if self.bounds is not None:
            low, high = self.bounds
            rows.insert(0, row({"kind": "linear", "fed_by_input": True, "rule": "z_box", "low": low, "high": high}, rule))
        return Composite(tuple(rows))

    def explanation(self, f: Point) -> Tensors:
        return f.sweep(self.table, "positive")

    def promise(self, f: Point) -> Var | None:
        return f.started("positive")

    def warnings(self, question: Question) -> list[str]:
        others = sorted({n.op_type for n in question.flow.nodes if question.flow.kind(n) == "activation" and n.op_type not in ("Relu", "Dropout")})
        return [f"deep_taylor is derived for ReLU networks; this one has {', '.join(others)}: their relevance is passed through"] if others else []

    def remarks(self, scores: np.ndarray) -> list[str]:
        below = np.flatnonzero(scores <= 0)
        listed = ", ".join(map(str, below[:5])) + (" …" if len(below) > 5 else "")
        return [f"deep_taylor explains positive scores: the map of sample {listed} is zero, as its score is not positive"] if len(below) else []


@dataclass(frozen=True)
class ExcitationBackprop(Method, name="excitation_backprop"):
    """Excitation backprop: only what raises each unit, from a one (Zhang et al. 2018).

    Parameters
    ----------
    relevance : "one_hot" or "logit", default "one_hot"
    convention : "zennit" or "innvestigate", default "zennit"
    """

    relevance: str = "one_hot"
    convention: str = "zennit"

    def __post_init__(self) -> None:
        one_of(self.relevance, ["one_hot", "logit"], "relevance")
        one_of(self.convention, list(CONVENTIONS), "convention")

    def explanation(self, f: Point) -> Tensors:
        return f.sweep(Composite(tuple(COMPOSITES["excitation_backprop"](Params({}, self.convention)))), self.relevance)

    def promise(self, f: Point) -> Var | None:
        return f.started(self.relevance)
