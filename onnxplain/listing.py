"""What there is: methods, composites, rules; and which of a model's nodes have what a method needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .backward import active_values, gradient
from .errors import UnsupportedModelError, choose
from .graph import Graph, Node
from .methods import METHODS
from .model import load
from .question import Question
from .rules import guided
from .rules.composites import COMPOSITES


class Listing(dict[str, str]):
    """name → one line; printed as a table."""

    def __str__(self) -> str:
        width = max(map(len, self), default=0)
        return "\n".join(f"{name:<{width}}  {line}" for name, line in self.items())


def methods() -> Listing:
    """The explanation methods, with one line each."""
    return Listing({name: cls.summary() for name, cls in sorted(METHODS.items())})


def composites() -> Listing:
    """The named tables of rules, with one line each."""
    return Listing({name: composite.summary for name, composite in sorted(COMPOSITES.items())})


def rules() -> Listing:
    """The propagation rules, with one line each."""
    functions: list[Callable] = [gradient, guided.guided, guided.deconvnet]
    return Listing({f.__name__: (f.__doc__ or "").strip().splitlines()[0] for f in functions})


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
        rows += [(n.name, n.op, n.kind or "?", "yes" if n.vjp else "no", _some(n.lacking, len(self.methods))) for n in self.nodes]
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
        return "every method"
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
    nodes = tuple(_cover(q.graph, n) for n in q.path)
    reached = q.output in active_values(q.graph, q.wrt)
    return Coverage(q.output, q.wrt, nodes, {m: reached and not any(m in n.lacking for n in nodes) for m in sorted(METHODS)}, reached)


def _cover(graph: Graph, node: Node) -> NodeCoverage:
    reasons = {name: reason for name in sorted(METHODS) if (reason := _lacks(graph, node, name))}
    op = f"{node.domain}:{node.op_type}" if node.domain else node.op_type
    return NodeCoverage(node.proto.name or node.outputs[0], op, node.kind, node.operator is not None, tuple(reasons), next(iter(reasons.values()), ""))


def _lacks(graph: Graph, node: Node, method: str) -> str:
    """Why a method cannot pass a node; empty if it can."""
    if node.operator is None:
        return "no vector-Jacobian product yet; explain a tensor before it (output=) or behind it (wrt=), or re-export with standard ai.onnx operators"
    if method in COMPOSITES:
        try:
            COMPOSITES[method](graph, node)
        except UnsupportedModelError as error:
            return str(error)
    return ""
