"""Choosing a method's parameters by a metric, in scikit-learn's manner."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import InputError
from .comparing import compare, metrics_of
from .metric import METRICS
from .result import Result, axes, styles
from .study import label_of


@dataclass(frozen=True, eq=False)
class Search:
    """What a search found.

    Attributes
    ----------
    results_ : Result
        All that was measured, sample by sample; its "method" is a method with its parameters.
    candidates_ : dict label → {"method": name, **params}
    metric : str
    best_label_, best_method_, best_params_, best_score_
        The candidate with the best mean of the metric.
    """

    results_: Result
    candidates_: Mapping[str, Mapping[str, Any]]
    metric: str

    @property
    def best_label_(self) -> str:
        return self.results_.best(self.metric)

    @property
    def best_method_(self) -> str:
        return self.candidates_[self.best_label_]["method"]

    @property
    def best_params_(self) -> dict[str, Any]:
        return {k: v for k, v in self.candidates_[self.best_label_].items() if k != "method"}

    @property
    def best_score_(self) -> float:
        return self.results_.means(self.metric)[self.best_label_].value

    def __str__(self) -> str:
        return f"{self.results_}\nbest: {self.best_label_}"

    def plot(self, *, ax: Any = None) -> Any:
        """Draw the metric against the parameters, a line for each method; methods with several parameters or none have points.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; by default a figure of its own, which is `result.figure`.

        Returns
        -------
        matplotlib.axes.Axes
        """
        ax, means = axes(ax), self.results_.means(self.metric)
        methods = list(dict.fromkeys(c["method"] for c in self.candidates_.values()))
        for style, method in zip(styles(), methods):
            own = [label for label, c in self.candidates_.items() if c["method"] == method]
            shown = [means[label] for label in own]
            ax.errorbar(
                [_short(label, method) for label in own], [m.value for m in shown], [m.error for m in shown], label=method, marker="o", capsize=2, **style
            )
        ax.tick_params("x", rotation=90)
        ax.set_ylabel(f"{self.metric}, {METRICS[self.metric].better} is better")
        ax.legend(fontsize="small")
        return ax


def _short(label: str, method: str) -> str:
    return label.removeprefix(method).strip("()") or method


def search(model: Any, X: Any, methods: Mapping[str, Any], metric: Any = "deletion_auc", **options: Any) -> Search:
    """Find the method and the parameters that a metric likes best, by trying all of them.

    Parameters
    ----------
    model, X
        See `compare`.
    methods : dict name → dict parameter → list of values, or a list of such dicts
        All combinations of the values; {} is the method as it is. For smoothgrad's noise and integrated gradients' baseline:
        {"smoothgrad": {"noise_scale": [0.05, 0.1, 0.2]}, "integrated_gradients": {"baseline": [0, 0.5, 1]}}.
    metric : str, or dict name → parameters, default "deletion_auc"
        One of `METRICS` that has a better and a worse.
    **options
        Those of `compare`: target, probability, seed, store, progress, output, wrt …

    Returns
    -------
    Search

    Raises
    ------
    InputError
    """
    ((name, params),) = _one(metrics_of(metric)).items()
    if not isinstance(methods, Mapping):
        raise InputError(f"search: methods must be a dict name → values to try, got {methods!r}")
    candidates = {}
    for method, grid in methods.items():
        for chosen in _combinations(method, grid):
            given = {"method": method, **chosen}
            label = label_of(given)
            candidates[label if label not in candidates else f"{label} #{len(candidates)}"] = given
    if not candidates:
        raise InputError("search needs a method or more, with the values to try")
    return Search(compare(model, X, candidates, {name: params}, **options), candidates, name)


def _one(metrics: dict[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    if len(metrics) != 1 or METRICS[next(iter(metrics))].better is None:
        raise InputError(f"search goes by one metric that has a better and a worse, got {', '.join(metrics)}")
    return metrics


def _combinations(method: str, grid: Any) -> list[dict[str, Any]]:
    from sklearn.model_selection import ParameterGrid

    try:
        return list(ParameterGrid(grid))
    except (TypeError, ValueError) as error:
        raise InputError(f"search: the values to try of {method} must be a dict parameter → list of values: {error}") from None
