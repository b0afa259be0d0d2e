"""Where the samples of a batch meet: such a batch is not split, and points are not laid side by side on its axis."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .graph import Graph, Node
from .tape import Dim

ALONG = {
    "Softmax": -1,
    "LogSoftmax": -1,
    "Hardmax": -1,
    "LayerNormalization": -1,
    "RMSNormalization": -1,
    "LpNormalization": -1,
    "TopK": -1,
    "ArgMax": 0,
    "ArgMin": 0,
    "Gather": 0,
}
"""Operators that work along the axis of their attribute, with its default."""
TO_THE_END = ("LayerNormalization", "RMSNormalization")
IN_PLANES = (
    *("Conv", "ConvTranspose", "MaxPool", "AveragePool", "LpPool", "GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"),
    *("InstanceNormalization", "GroupNormalization", "LRN"),
)
"""Operators for which axis 0 is the batch and nothing else."""
TIME_MAJOR = ("RNN", "GRU", "LSTM")


def mixes(graph: Graph, batch: str) -> bool:
    """Whether some node surely works along the axis that is called `batch`."""
    return any(_mixes(n, graph, batch) for n in graph.nodes)


def _mixes(node: Node, graph: Graph, batch: str) -> bool:
    shapes: list[Sequence[Dim]] = [graph.types[i].shape or () if i in graph.types else () for i in node.inputs]
    if not any(batch in s for s in shapes):
        return False
    results = [graph.types[o].shape or () for o in node.outputs if o in graph.types]
    if any(list(s).count(batch) > 1 for s in (*shapes, *results)):  # each sample with each
        return True
    x, rank = shapes[0], len(shapes[0])
    own = x.index(batch) if batch in x else None
    if node.op_type == "MatMul":
        return batch in (shapes[0][-1:] if rank else ()) or batch in shapes[1][-2:][:1]
    if node.op_type == "Gemm":
        return batch in (x[0 if node.attributes.get("transA") else 1], shapes[1][1 if node.attributes.get("transB") else 0])
    if own is None:
        return False
    if node.op_type in IN_PLANES or node.op_type in TIME_MAJOR:
        return (own == 0) == (node.op_type in TIME_MAJOR)
    if node.op_type in ALONG:
        axis = node.attributes.get("axis", ALONG[node.op_type]) % rank
        return own == axis or (own > axis and node.op_type in TO_THE_END)
    if node.op_type.startswith("Reduce") or node.op_type == "CumSum":
        axes = _constant(graph, node, 1)
        return own in {int(a) % rank for a in axes} if axes is not None and axes.size else not node.attributes.get("noop_with_empty_axes", 0)
    if node.op_type == "Slice":
        starts, ends, axes, steps = (_constant(graph, node, k) for k in (1, 2, 3, 4))
        if starts is None or ends is None:
            return False
        over = [int(a) % rank for a in axes] if axes is not None else range(len(starts))
        cut = [k for k, a in enumerate(over) if a == own]
        return any(starts[k] != 0 or ends[k] < 2**31 - 1 or (steps is not None and steps[k] != 1) for k in cut)
    if node.op_type in ("Reshape", "Flatten"):
        return own == 0 and any(s and isinstance(s[0], int) for s in results)
    return False


def _constant(graph: Graph, node: Node, k: int) -> np.ndarray | None:
    name = node.inputs[k] if len(node.inputs) > k else ""
    return np.ravel(graph.constants[name].numpy()) if name in graph.constants else None
