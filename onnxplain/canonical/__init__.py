"""Named rewrites of the loaded model to the nodes that rules speak of.

A rewrite is a function `(model, keep, log)`: it changes the in-memory model, leaves the tensors named by `keep` with their
names and values, and logs what it did. `REWRITES` holds them in the order in which they run; `onnxplain.load(rewrites=…)`
chooses among them. What only spells out defaults always happens.
"""

from __future__ import annotations

from collections.abc import Collection

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass, ShapeInferencePass

from ..graph import Graph
from . import batch, batch_norm, constants, layer_norm, layout, linear, patterns, sequences  # noqa: F401  (they fill REWRITES, in this order)
from .recurrent import time_first
from .registry import ORDER, REWRITES
from .windows import count_windows, spell_out

FUSING = {"fuse_batch_norm": True, "split_batch_norm": "two"}
"""The rewrites that depend on `fuse`, and the value that asks for them."""


def canonicalise(source: ir.Model, keep: frozenset[str], *, fuse: bool | str = True, only: Collection[str] | None = None) -> Graph:
    """A rewritten copy of `source` as a `Graph`; weights that no rewrite touches are shared with it."""
    model, log = source.clone(), []
    inferable = all(n.op_type != "ZipMap" for n in model.graph)  # onnx_ir cannot read maps back
    if inferable:
        count_windows(model)
    for name in ORDER:
        if (only is None or name in only) and FUSING.get(name, fuse) == fuse:
            before = len(log)
            REWRITES[name](model, keep | {v.name for v in model.graph.outputs if v.name}, log)
            if name in ("fold_constants", "sequences", "symbolic_batch") and len(log) > before and inferable:
                ShapeInferencePass()(model)
    RemoveUnusedNodesPass()(model)
    spell_out(model)
    time_first(model)
    return Graph.of(model, log)


__all__ = ["FUSING", "REWRITES", "canonicalise"]
