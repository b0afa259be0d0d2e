"""What there is: methods, composites, rules; and which of a model's nodes have what a method needs."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from .errors import UnsupportedModelError, choose
from .flow import Flow
from .graph import Node
from .methods import METHODS
from .model import load
from .question import Question
from .rules import COMPOSITES, RULES, Composite, Params


class Listing(dict[str, str]):
    """name → one line; printed as a table."""

    def __str__(self) -> str:
        width = max(map(len, self), default=0)
        return "\n".join(f"{name:<{width}}  {line}" for name, line in self.items())


def methods() -> Listing:
    """The explanation methods, with one line each."""
    return _listing(METHODS)


def composites() -> Listing:
    """The named tables of rules, with one line each."""
    return _listing(COMPOSITES)


def rules() -> Listing:
    """The propagation rules, with one line each."""
    return _listing(RULES)


def _listing(registered: Mapping[str, Any]) -> Listing:
    """The first sentence of each docstring."""
    return Listing({name: _first_line(thing) for name, thing in sorted(registered.items())})


def _first_line(thing: Any) -> str:
    return " ".join(inspect.cleandoc(thing.__doc__ or "").partition("\n\n")[0].split())


# ---- what a model needs ----


@dataclass(frozen=True)
class NodeCoverage:
    """One node between the attributed tensors and the score."""

    name: str
    op: str
    kind: str | None
    vjp: bool
    """Whether `onnxplain.ops` has its vector-Jacobian product."""
    lacking: tuple[str, ...]
    """The methods that have no rule for it."""
    remedy: str = ""


@dataclass(frozen=True)
class Coverage:
    """Which methods can explain a model, known before anything runs."""

    output: str
    wrt: tuple[str, ...]
    nodes: tuple[NodeCoverage, ...]
    methods: Mapping[str, bool]
    """Whether a method has a rule for every node."""
    reached: bool = True
    """Whether any derivative gets from the score to the attributed tensors; where none does, no method is of use."""

    def ok(self, method: str) -> bool:
        """Whether `method` has a rule for every node."""
        return self.methods[choose("method", method, self.methods)]

    @property
    def missing(self) -> list[NodeCoverage]:
        """The nodes for which some method lacks a rule."""
        return [n for n in self.nodes if n.lacking]

    def __str__(self) -> str:
        able = [m for m, ok in self.methods.items() if ok]
        unable = [m for m, ok in self.methods.items() if not ok]
        lines = [f"{len(self.nodes)} nodes between {', '.join(self.wrt)} and {self.output}"]
        lines += [f"every rule: {', '.join(able) or 'no method'}"] + ([f"lacking:    {', '.join(unable)}"] if unable else [])
        rows = [("node", "operator", "kind", "VJP", "missing for")]
        rows += [(n.name, n.op, n.kind or "?", "yes" if n.vjp else "no", _some(n.lacking, sum(not _only_runs(m) for m in self.methods))) for n in self.nodes]
        widths = [max(len(r[c]) for r in rows) for c in range(5)]
        lines += ["", *("  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths)).rstrip() for row in rows)]
        return "\n".join([*lines, *(["", *self.remedies] if self.remedies else [])])

    @property
    def remedies(self) -> list[str]:
        """One line for each operator that lacks something."""
        if not self.reached:
            return [f"{self.output}: no derivative reaches it from {', '.join(self.wrt)}, every attribution would be zero; explain another output="]
        groups: dict[tuple[str, str], list[NodeCoverage]] = {}
        for n in self.missing:
            groups.setdefault((n.op, n.remedy), []).append(n)
        return [f"{op} ({_some([n.name for n in nodes], None)}): {remedy}" for (op, remedy), nodes in groups.items()]


def _some(names: Any, whole: int | None) -> str:
    """A short list of names."""
    names = list(names)
    if names and len(names) == whole:
        return "every method that takes derivatives"
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def check(model: Any, *, output: str | None = None, wrt: Any = None) -> Coverage:
    """Say, before anything runs, for which nodes each method has a rule.

    Parameters
    ----------
    model : path, bytes, onnx.ModelProto, onnx_ir.Model or Model
    output, wrt : optional
        The question asked; by default the model's own, as in `onnxplain.explain`.

    Returns
    -------
    Coverage
        Printable; `.ok(method)`, `.missing`.
    """
    q = Question.ask(load(model), output, wrt)
    nodes = tuple(_cover(q.flow, n) for n in q.flow.nodes)
    reached = q.output in q.flow.active
    able = {m: _only_runs(m) or (reached and not any(m in n.lacking for n in nodes)) for m in sorted(METHODS)}
    return Coverage(q.output, q.wrt, nodes, able, reached)


def _only_runs(method: str) -> bool:
    """Whether a method asks nothing of the nodes but to run."""
    return not METHODS[method].differentiates


def _cover(flow: Flow, node: Node) -> NodeCoverage:
    reasons = {name: reason for name in sorted(METHODS) if (reason := _lacks(flow, node, name))}
    op = f"{node.domain}:{node.op_type}" if node.domain else node.op_type
    return NodeCoverage(node.proto.name or node.outputs[0], op, flow.kind(node), node.operator is not None, tuple(reasons), next(iter(reasons.values()), ""))


def _lacks(flow: Flow, node: Node, method: str) -> str:
    """Why a method cannot pass a node; empty if it can."""
    if _only_runs(method):
        return ""
    if node.operator is None:
        return "no vector-Jacobian product yet; explain a tensor before it (output=) or behind it (wrt=), or re-export with standard ai.onnx operators"
    table = _table(method)
    try:
        return "" if table is None or table(flow, node) else "no rule"
    except UnsupportedModelError as error:
        return str(error)


@cache
def _table(method: str) -> Composite | None:
    """The composite that a method goes by, where it does."""
    name = "epsilon_plus_flat" if method == "lrp" else method
    return Composite(tuple(COMPOSITES[name](Params({})))) if name in COMPOSITES else None
