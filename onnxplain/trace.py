"""Where relevance goes: every intermediate tensor's, and what each node absorbs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from .backward import Call, Cotangent
from .ops.shapes import cast
from .tape import Var, op

FLOAT = np.dtype(np.float32)


@dataclass
class Watch:
    """Notes what arrives at each node and what it sends on, while a sweep is written."""

    values: dict[str, Var] = field(default_factory=dict)
    sums: dict[str, Var] = field(default_factory=dict)

    def __call__(self, f: Call, arrived: Sequence[Cotangent], answers: Sequence[Cotangent], axis: Callable[[str], int | None]) -> None:
        node = f.node
        self.values.update({name: v for name, v in zip(node.outputs, arrived) if v is not None})
        flows = {"arrived": list(zip(node.outputs, arrived)), "sent": list(zip(f.names, answers))}
        # For each sample where every tensor has a batch axis of its own, else for the whole batch.
        apart = all(axis(name) is not None for pairs in flows.values() for name, v in pairs if v is not None)
        for what, pairs in flows.items():
            present = [_sum(v, axis(name) if apart else None) for name, v in pairs if v is not None]
            if present:
                self.sums[f"{what}:{node.outputs[0]}"] = op.Sum(*present) if len(present) > 1 else present[0]


def _sum(v: Var, axis: int | None) -> Var:
    return op.ReduceSum(cast(v, FLOAT), [a for a in range(v.rank) if a != axis], keepdims=0)


@dataclass(frozen=True, eq=False)
class Step:
    """One node of the sweep, in the order in which relevance reaches it.

    Sums are for each sample, [N], or for the whole batch where a tensor of the node mixes samples with other axes.
    """

    node: str
    op_type: str
    kind: str | None
    arrived: np.ndarray
    sent: np.ndarray
    finite: bool

    @property
    def absorbed(self) -> np.ndarray:
        """What did not go on: to the bias, the stabiliser, or where a denominator was zero; negative where it grew."""
        return self.arrived - self.sent


@dataclass(frozen=True, eq=False)
class Trace:
    """The relevance of every intermediate tensor, and the way of its sum through the nodes; printed, a table of sums over the batch.

    Attributes
    ----------
    relevance : dict of arrays
        tensor → what arrived at it, in its shape.
    steps : list of Step
        The nodes from the score down.
    """

    relevance: dict[str, np.ndarray]
    steps: list[Step]

    @property
    def first_not_finite(self) -> str | None:
        """The first node that sent NaN or infinity."""
        return next((s.node for s in self.steps if not s.finite), None)

    def __str__(self) -> str:
        rows = [("node", "operator", "kind", "arrived", "sent", "absorbed")]
        rows += [(s.node, s.op_type, s.kind or "", *(f"{np.sum(v):.4g}" for v in (s.arrived, s.sent, s.absorbed))) for s in self.steps]
        widths = [max(len(r[c]) for r in rows) for c in range(len(rows[0]))]
        lines = ["  ".join(cell.rjust(w) if c > 2 else cell.ljust(w) for c, (cell, w) in enumerate(zip(r, widths))).rstrip() for r in rows]
        broken = self.first_not_finite
        return "\n".join([*lines, *([f"first not finite: {broken}"] if broken else [])])
