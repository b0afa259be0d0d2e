"""The page: the model's facts, predictions, maps, diagnostics, and how it was made."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from .. import facts
from ..comparison.case import Case, probabilities, short
from ..comparison.specs import rows_of
from ..explanation import Explanation
from ..listing import check
from ..prediction import answers
from . import diagnostics
from .markup import Html, joined, table, tag
from .views import tokens_of, view

TOP = 5
"""So many classes of each prediction are listed."""


def page(case: Case, methods: Any, vocabulary: Mapping[int, str] | None, curves: bool, title: str, command: str, progress: bool) -> str:
    """The page of a case; `report` says what is on it."""
    chosen, rows = rows_of(methods)
    found = {_line(k): v[0] for k, v in case.explain(chosen, [case.target], progress).items()}
    visuals = {_line(row.method): {"visual": row.visual} if row.visual is not None else {} for row in rows}
    sections = [_section("model", "The model", _model(case)), _section("inputs", "Inputs", _samples(case, found, visuals, vocabulary))]
    checks = [diagnostics.conservation(_line(label), trace) for label, trace in diagnostics.traces(case, chosen).items()]
    sections += [_section("conservation", "Where relevance goes", joined(*checks))] if checks else []
    if curves:
        drawn = diagnostics.curves(case, found, progress)
        sections.append(_section("curves", "What the model says when values are replaced", tag("div", drawn, class_="curves")))
    sections.append(_section("made", "How this was made", _made(command)))
    head = [tag("meta", charset="utf-8"), tag("meta", name="viewport", content="width=device-width, initial-scale=1")]
    head += [tag("title", title), tag("style", Html(_asset("style.css")))]
    body = [tag("header", tag("h1", title)), tag("main", *sections), tag("script", Html(_asset("script.js")))]
    return "<!DOCTYPE html>\n" + tag("html", tag("head", *head), tag("body", *body), lang="en") + "\n"


def _line(label: str) -> str:
    return label.replace("\n", ", ")


def _section(name: str, heading: str, inside: Html) -> Html:
    return tag("section", tag("h2", heading, id=name), inside, aria_labelledby=name)


def _asset(name: str) -> str:
    return files("onnxplain.html_report").joinpath(name).read_text(encoding="utf-8")


# ---- the model ----


def _model(case: Case) -> Html:
    coverage = check(case.model, output=case.output, wrt=case.bound.get("wrt"))
    able = [m for m, ok in coverage.methods.items() if ok]
    rows = {"name": case.model.name, "SHA-256": case.model.sha256}
    rows |= {f"input {name}": t for name, t in case.model.inputs.items()} | {f"output {name}": t for name, t in case.model.outputs.items()}
    rows |= {"explained": coverage.output, "attributed to": ", ".join(coverage.wrt), "nodes between": len(coverage.nodes)}
    rows |= {"methods that have every rule": ", ".join(able)}
    return joined(_definitions(rows), tag("details", tag("summary", "All nodes"), tag("pre", str(coverage))))


def _definitions(rows: Mapping[str, Any]) -> Html:
    return tag("dl", *(part for name, value in rows.items() for part in (tag("dt", name), tag("dd", value))))


# ---- the inputs ----


def _samples(case: Case, found: Mapping[str, Explanation], visuals: Mapping[str, Any], vocabulary: Mapping[int, str] | None) -> Html:
    first = next(iter(found.values()))
    scores = case.scored(first)
    views = [_views(case, found, visuals, k, vocabulary) for k in range(len(first.target))]
    below = [joined(_classes(case, first, k), diagnostics.sums(found, k, scores)) for k in range(len(views))]
    articles = [_sample(case.called(k), case.answer(first, k, scores), v, b) for k, (v, b) in enumerate(zip(views, below))]
    method = tag("label", "Method ", tag("select", *(tag("option", label, value=label) for label in found), id="method"))
    opacity = tag("label", "Opacity ", tag("input", type="range", id="opacity", min=0, max=100, value=70))
    stacks = any('class="ground"' in v for v in views)
    wide = "" if stacks else " rows"
    return joined(tag("div", method, opacity if stacks else Html(), class_="controls"), tag("div", *articles, class_=f"samples{wide}"))


def _sample(name: str, answer: str, shown: Html, below: Html) -> Html:
    numbers = tag("details", tag("summary", "Classes and sums"), below)
    return tag("article", tag("h3", name), tag("p", answer.replace("\n", " · ")), shown, numbers, class_="sample")


def _views(case: Case, found: Mapping[str, Explanation], visuals: Mapping[str, Any], sample: int, vocabulary: Mapping[int, str] | None) -> Html:
    """Every method's view of a sample, one of which is shown at a time."""
    parts = []
    for label, e in found.items():
        inside = []
        for tensor in e.attributions:
            alt = f"{label} for {case.called(sample)}" + (f", {tensor}" if len(e.attributions) > 1 else "")
            tokens = tokens_of(e, sample, tensor, vocabulary)
            inside.append(view(e, sample, tensor, {**case.drawn(sample), **visuals[label]}, tokens, alt))
        parts.append(tag("figure", *inside, tag("figcaption", label), data_method=label))
    return joined(*parts)


def _classes(case: Case, e: Explanation, sample: int) -> Html:
    best = answers(e, sample, case.labels, output=case.output, top=TOP)
    if not best:
        return Html()
    p = probabilities(e, case.output)
    rows = [[short(a.label), "–" if p is None else f"{p[sample, a.index]:.2%}", f"{a.value:.4g}"] for a in best]
    return table(["class", "probability", "model's output"], rows, "The best classes")


# ---- how it was made ----


def _made(command: str) -> Html:
    said = [tag("p", "The command:"), tag("pre", command, class_="command")] if command else []
    return joined(*said, tag("p", "The versions:"), tag("pre", facts.env(paths=False)))
