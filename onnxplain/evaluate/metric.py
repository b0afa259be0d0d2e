"""What a metric is: a name, which way is better, and one formula; and the table of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError, choose

if TYPE_CHECKING:
    from .case import Case
    from .result import Result


@dataclass(frozen=True, eq=False)
class Curve:
    """What was measured step by step: `values` [K, N] at the places `at` [K], and one number a sample that sums it up, [N]."""

    at: np.ndarray
    values: np.ndarray
    value: np.ndarray


METRICS: dict[str, Metric] = {}


class Metric:
    """A number for each sample that says how good its explanation is.

    Attributes
    ----------
    name : str
    better : "higher", "lower" or None
        Which way is better; None where neither is.
    formula : function (Case, **params) → array [N] or Curve
    params : dict
        The parameters' names with their defaults.
    """

    def __init__(self, name: str, better: str | None, formula: Callable[..., Any]) -> None:
        assert name not in METRICS, name
        METRICS[name] = self
        self.name, self.better, self.formula = name, better, formula
        self.__doc__, self.__name__ = formula.__doc__, formula.__name__
        self.params = {p.name: p.default for p in inspect.signature(formula).parameters.values() if p.kind is p.KEYWORD_ONLY}

    def __call__(self, model: Any, X: Any, methods: Any, *, target: Any = None, **options: Any) -> Result:
        """Measure explanations of a model: `compare` with this one metric.

        Parameters
        ----------
        model, X, methods, target
            See `compare`.
        **options
            The metric's own parameters, and those of `compare`.

        Returns
        -------
        Result
        """
        from .comparing import compare

        own = {k: options.pop(k) for k in list(options) if k in self.params}
        return compare(model, X, methods, {self.name: own}, target=target, **options)

    def measure(self, case: Case, params: Mapping[str, Any]) -> Curve | np.ndarray:
        """The formula's answer for some samples; NaN where it has none."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.formula(case, **params)

    def check(self, params: Mapping[str, Any]) -> None:
        """Refuse parameters that it does not have."""
        if not isinstance(params, Mapping):
            raise InputError(f"the parameters of {self.name} must be a dict, got {params!r}")
        for key in params:
            choose(f"parameter of {self.name}", key, self.params)

    def summary(self) -> str:
        """One line for lists."""
        return " ".join(inspect.cleandoc(self.__doc__ or "").partition("\n\n")[0].split())

    def __repr__(self) -> str:
        return f"<metric {self.name}>"


def metric(name: str, better: str | None) -> Callable[[Callable[..., Any]], Metric]:
    """Enter a formula into the table."""
    return lambda formula: Metric(name, better, formula)
