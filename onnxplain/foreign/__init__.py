"""Operators outside ai.onnx, spelled out in operators of ai.onnx as a model is loaded.

A formula is a function with the operator's name: inputs positional, attributes as keywords, the outputs returned. Rules and
conditions then see ordinary nodes. What a formula cannot say is left as it is, and named where a derivative is wanted.
"""

from . import blocked, fused, ml, quantized, transformer  # noqa: F401  (they fill FORMULAS)
from .registry import FORMULAS, MICROSOFT, WHY
from .writer import Writer, is_foreign, move_early

__all__ = ["FORMULAS", "MICROSOFT", "WHY", "Writer", "is_foreign", "move_early"]
