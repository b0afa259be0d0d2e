"""What a session need not hold in memory, and when leaving it out costs no time.

Weights: ONNX Runtime packs the second factor of every product for its kernels, a copy for the forward pass and another for the way
back. A product with packed weights is up to three times as fast, and that matters for two to some dozen rows: with one nothing is
packed, with many the convolutions before outweigh it. VGG16 has 494 MB in dense layers, of 553: packed they are held three times.

Activations: ONNX Runtime keeps the memory of a tensor for a later one of the same shape, and plans all of them as one block. For small
tensors this pays, MobileNetV2 takes 15 to 25 % less time. Large ones go through memory anyway; and what the forward pass no longer
needs is kept for the way back: 784 MiB for 400 with VGG16 and a batch of 8.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

import onnx

LARGE = 1 << 20
"""Elements of the weights that are worth the trouble."""
MULTIPLICATIONS = 800
"""By convolutions, for each element of a dense weight: more, and a weight left as it is costs less than 5 % of a run."""
SINGLE = 32
"""A single row, which is multiplied without packing, counts as so many: what comes later in the same session may be more."""


LARGE_IMAGE = 64 << 20
"""Bytes of a tensor from which its memory is better given back than kept."""


def streams(graph: onnx.GraphProto, rows: int) -> bool:
    """Whether runs of so many rows have images too large for keeping their memory."""
    images = ([d.dim_value for d in v.type.tensor_type.shape.dim][1:] for v in graph.value_info)
    return rows * max((4 * prod(dims) for dims in images), default=0) >= LARGE_IMAGE


def unpacked(graph: onnx.GraphProto, rows: int) -> set[str]:
    """The float32 weights that only dense layers read, where runs of so many rows have enough convolutions."""
    dims = {t.name: list(t.dims) for t in graph.initializer}
    large = {t.name for t in graph.initializer if t.data_type == onnx.TensorProto.FLOAT and prod(t.dims) >= LARGE}
    for node in graph.node:
        large.difference_update(name for k, name in enumerate(node.input) if node.op_type != "Gemm" or k != 1)
        large.difference_update(_captured(node))
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in graph.value_info}
    work = sum(prod(shapes[n.output[0]][1:]) * prod(dims[n.input[1]][1:]) for n in graph.node if _known(n, shapes, dims))
    return large if MULTIPLICATIONS * sum(prod(dims[n]) for n in large) <= work * (SINGLE if rows == 1 else rows) else set()


def _known(node: onnx.NodeProto, *tables: dict[str, list[int]]) -> bool:
    """Whether a node is a convolution of known extents."""
    shapes, dims = tables
    return node.op_type == "Conv" and node.output[0] in shapes and node.input[1] in dims


def _captured(node: onnx.NodeProto) -> Iterable[str]:
    """What the bodies of a node read."""
    for attribute in node.attribute:
        for body in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else ())):
            for inner in body.node:
                yield from inner.input
                yield from _captured(inner)
