"""What a session need not hold in memory, and when leaving it out costs no time.

Weights: ONNX Runtime packs the second factor of every product for its kernels, a copy for the forward pass and another for the way
back. A product with packed weights is up to three times as fast, and that matters for two to some dozen rows: with one nothing is
packed, with many the convolutions before outweigh it. VGG16 has 494 MB in dense layers, of 553: packed they are held three times.

Activations: ONNX Runtime keeps the memory of a tensor for a later one of the same shape, and plans all of them as one block. For small
tensors this pays, MobileNetV2 takes 15 to 25 % less time. Large ones go through memory anyway; and what the forward pass no longer
needs is kept for the way back: 784 MiB for 400 with VGG16 and a batch of 8.
"""

from __future__ import annotations

from math import prod

import onnx

from .graph import captures, subgraphs

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
    return rows * max((4 * prod(extents) for extents in _samples(graph).values()), default=0) >= LARGE_IMAGE


def unpacked(graph: onnx.GraphProto, rows: int) -> set[str]:
    """The float32 weights that only dense layers read, where runs of so many rows have enough convolutions."""
    dims, samples = {t.name: list(t.dims) for t in graph.initializer}, _samples(graph)
    large = {t.name for t in graph.initializer if t.data_type == onnx.TensorProto.FLOAT and prod(t.dims) >= LARGE}
    work = 0
    for node in graph.node:
        large.difference_update(name for k, name in enumerate(node.input) if node.op_type != "Gemm" or k != 1)
        large.difference_update(captures(*subgraphs(node)))
        if node.op_type == "Conv" and node.output[0] in samples and node.input[1] in dims:
            work += prod(samples[node.output[0]]) * prod(dims[node.input[1]][1:])
    return large if MULTIPLICATIONS * sum(prod(dims[n]) for n in large) <= work * (SINGLE if rows == 1 else rows) else set()


def _samples(graph: onnx.GraphProto) -> dict[str, list[int]]:
    """The extents of a sample of each image, 0 where they are not known."""
    return {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim][1:] for v in graph.value_info}
