"""What can be checked of explanations: sums against scores, where relevance is lost, and what the model says when pixels go."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..comparison.case import Case
from ..errors import OnnxplainError
from ..evaluate import compare
from ..evaluate.result import LINES, Result
from ..explainer import Explainer
from ..explanation import Explanation
from ..methods import method_of
from ..trace import Trace
from .markup import Html, joined, table, tag

CONSERVING = ("lrp", "deep_taylor", "excitation_backprop")
"""Methods whose relevance is conserved from node to node, or says where it is not."""
NODES = 8
"""So many nodes at most are named that absorb relevance."""
STEPS = 10
BLOCKS = 14
"""Curves replace blocks of places, so many along the longest axis."""
METRICS = {
    "deletion_auc": "Deletion: the most relevant goes first; lower is better",
    "insertion_auc": "Insertion: the most relevant comes first; higher is better",
}


def sums(found: Mapping[str, Explanation], sample: int, score: np.ndarray | None) -> Html:
    """Each method's sum beside the explained score, and its completeness residual."""
    said = "not known" if score is None else f"{score[sample]:.4g}"
    rows = [[label, *_sum(e, sample)] for label, e in found.items()]
    return table(["method", "sum of the map", "completeness residual"], rows, f"Sums; the explained score is {said}")


def _sum(e: Explanation, sample: int) -> list[str]:
    n = len(e.target)
    parts = [a[sample] if a.ndim and len(a) == n else a for a in e.attributions.values()]
    residual = "–" if e.delta is None else f"{e.delta[min(sample, len(e.delta) - 1)]:.3g}"
    return [f"{sum(float(p.sum(dtype=np.float64)) for p in parts):.4g}", residual]


# ---- conservation ----


def traces(case: Case, methods: Mapping[str, Any]) -> dict[str, Trace]:
    """Relevance through the network at the first sample, for methods that conserve it."""
    found = {}
    for label, given in methods.items():
        method = method_of(given, what=label)
        if method.name in CONSERVING:
            explainer = Explainer(case.model, method, **case.bound)
            found[label] = explainer.trace(*_first(case, explainer))
    return found


def _first(case: Case, explainer: Explainer) -> tuple[Any, Any]:
    """The first sample with its target."""
    q = explainer.question
    taken = np.minimum(range(q.fixed or 1), case.count - 1)  # a model of fixed batch size gets the last sample again
    feeds = {n: x if (a := q.axis(n)) is None else np.take(x, taken, a) for n, x in case.x.items()}
    several = isinstance(case.target, (list, np.ndarray))
    return feeds, [case.target[k] for k in taken] if several else case.target


def conservation(label: str, trace: Trace) -> Html:
    """The nodes that absorb most, in parts of what arrived at the score."""
    whole = abs(float(np.sum(trace.steps[0].arrived))) or 1.0
    steps = sorted(trace.steps, key=lambda s: -abs(float(np.sum(s.absorbed))))[:NODES]
    rows = [[s.node, s.op_type, f"{np.sum(s.arrived):.4g}", f"{np.sum(s.sent):.4g}", f"{np.sum(s.absorbed) / whole:.2%}"] for s in steps]
    broken = trace.first_not_finite
    verdict = f"The first node that sent NaN or infinity: {broken}." if broken else "All relevance is finite."
    caption = f"{label}: where the first sample's relevance stays"
    return joined(tag("p", verdict), table(["node", "operator", "arrived", "sent", "absorbed, of the score"], rows, caption))


# ---- curves ----


def curves(case: Case, found: Mapping[str, Explanation], progress: bool) -> Html:
    """Deletion and insertion curves, or why there are none."""
    first = next(iter(found.values()))
    try:
        params = {"region": _region(first), "steps": STEPS}
        result = compare(case.model, case.x, dict(found), dict.fromkeys(METRICS, params), target=first.target, progress=progress, **case.bound)
    except OnnxplainError as error:
        return tag("p", f"There are no curves: {error}")
    blocks = "blocks" if params["region"] > 1 else "single values"
    parts = [tag("figure", tag("figcaption", words), _plot(result, metric)) for metric, words in METRICS.items()]
    rows = [[_labelled(k, label), *(str(result.means(m)[label]) for m in METRICS)] for k, label in enumerate(found)]
    parts.append(table(["method", *("area under " + m.removesuffix("_auc") for m in METRICS)], rows, "Areas: mean ± standard error over the inputs"))
    return joined(tag("p", f"The score while {blocks} are replaced by zero in {STEPS} steps, mean over the inputs."), *parts)


def _region(e: Explanation) -> int:
    """The side of a block: single values of tables and texts, tiles of images and long signals."""
    x = next(iter(e.attributions.values()))
    longest = max(x.shape[1:], default=1)
    return max(1, -(-longest // BLOCKS)) if x.ndim > 2 and next(iter(e.attributions)) in e.inputs else 1


def _plot(result: Result, metric: str) -> Html:
    """Mean curves as a drawing that follows the page's colours."""
    lines = _means(result, metric)
    values = np.concatenate([v for _, v in lines.values()])
    low, high = float(values.min()), float(values.max())
    span = (high - low) or 1.0
    places = {label: " ".join(f"{40 + 250 * x:.1f},{150 - 140 * (y - low) / span:.1f}" for x, y in zip(*line)) for label, line in lines.items()}
    axes = [tag("line", x1=40, x2=290, y1=150, y2=150, class_="axis"), tag("line", x1=40, x2=40, y1=10, y2=150, class_="axis")]
    ticks = [tag("text", f"{v:.3g}", x=36, y=y, class_="y") for v, y in ((high, 14), (low, 150))]
    ticks += [
        tag("text", text, x=x, y=164, class_="x")
        for text, x in (("0", 40), ("fraction replaced" if "deletion" in metric else "fraction shown", 165), ("1", 290))
    ]
    drawn = [tag("polyline", tag("title", label), points=p, style=f"stroke:{color(k)}") for k, (label, p) in enumerate(places.items())]
    return tag("svg", *axes, *ticks, *drawn, viewBox="0 0 300 172", role="img", aria_label=f"{metric} of {', '.join(lines)}")


def _means(result: Result, metric: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Label → the mean curve over the samples."""
    means = {}
    for label in result.values(metric):
        own = result.where(metric=metric, method=label).records
        means[label] = np.array(own[0]["at"]), np.mean([r["curve"] for r in own], 0)
    return means


def _labelled(k: int, label: str) -> Html:
    """A method's name with its line's colour."""
    return joined(tag("span", class_="swatch", style=f"background:{color(k)}", aria_hidden="true"), label)


def color(k: int) -> str:
    """Told apart on light and on dark ground."""
    return LINES[:-1][k % (len(LINES) - 1)]
