"""What onnxplain knows of every ONNX operator: its vector-Jacobian product and its kind.

A VJP is a function with the operator's name: `g` is the cotangent of the output `y`, then come the inputs in ONNX's order,
positionally, and the attributes as keywords. It returns one cotangent for each input: None where there is none, a function
without arguments where making it is expensive and may not be needed. Broadcasting, sums over several users, and whatever nobody
reads are the sweep's concern. The decorator names the kind, by which propagation rules go.
"""

from . import (  # noqa: F401  (they fill OPS)
    control,
    elementwise,
    gather,
    interpolation,
    linear,
    losses,
    movement,
    newer,
    normalization,
    pooling,
    quantized,
    recurrent,
    reduction,
    regions,
    sampling,
    signal,
)
from .registry import KINDS, OPS, Operator

__all__ = ["KINDS", "OPS", "Operator"]
