"""Elementwise arithmetic in ONNX Runtime's blocked layout.

ONNX Runtime keeps images in blocks of channels for its convolutions and puts them in rows again for operators that it does not know
there, division above all: three reorders for every layer of LRP. An elementwise operator does not mind the order of elements, if all
operands have the same. So ONNX Runtime writes down the graph that it optimised, its reorders move behind such operators, where many
cancel, and the session is made of that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
import onnxruntime as ort
from onnx import helper

from .foreign.registry import NCHWC
from .graph import attribute
from .optimize import BLOCK, named
from .tape import SWITCHED_OFF, Dim, Type, needed

ELEMENTWISE = {"Abs", "Add", "Div", "HardSigmoid", "Max", "Min", "Mul", "Neg", "Reciprocal", "Relu", "Sign", "Sqrt", "Sub"}
LARGE = 256 << 20
"""Bytes of weights that are too many to be written down for a few reorders, up to four times where they have signs apart."""
FEW = 1 << 16
"""Cells that are divided for a sample, of which fewer do not make up for a session's making."""
FREE = 64
"""What an extent counts that only the input decides."""

Shape = tuple[Dim, ...]


def applies(graph: onnx.GraphProto, nbytes: int) -> bool:
    """Whether a session for a graph with so many bytes of weights should be made this way: where large images are divided."""
    if blocked_arithmetic.__name__ in SWITCHED_OFF.get() or nbytes > LARGE:
        return False
    images = _images(graph)
    divided = [images[n.output[0]][1:] for n in graph.node if n.op_type == "Div" and n.output[0] in images]
    return sum(prod(d if isinstance(d, int) else FREE for d in extents) for extents in divided) > FEW


def session(proto: onnx.ModelProto, first: ort.SessionOptions, then: ort.SessionOptions, disabled: Sequence[str]) -> ort.InferenceSession:
    """A CPU session whose elementwise operators work in blocks: made with `then` of what one made with `first` writes down."""
    with TemporaryDirectory(prefix="onnxplain-", ignore_cleanup_errors=True) as folder:
        path = Path(folder, "graph.onnx")
        first.optimized_model_filepath = str(path)
        first.add_session_config_entry("session.optimized_model_external_initializers_file_name", "weights")
        first.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "1024")
        first.add_session_config_entry("session.disable_prepacking", "1")  # it is never run
        ort.InferenceSession(proto.SerializeToString(), first, providers=["CPUExecutionProvider"], disabled_optimizers=list(disabled))
        written = onnx.load(path, load_external_data=False)
        blocked_arithmetic(written.graph, _images(proto.graph))
        then.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        then.execution_order = ort.ExecutionOrder.PRIORITY_BASED  # as written: in the order that the first one found
        then.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)
        return ort.InferenceSession(written.SerializeToString(), then, providers=["CPUExecutionProvider"])


@named
def blocked_arithmetic(graph: onnx.GraphProto, shapes: Mapping[str, Shape]) -> None:
    """Images are divided and added in the layout that convolutions leave them in: ResNet50 with LRP takes 7 to 12 % less time."""
    numbers = {t.name for t in graph.initializer if prod(t.dims) == 1}
    reorders: dict[str, onnx.NodeProto] = {}  # an image in rows → what puts it there
    same: dict[str, str] = {}  # what would put it back in blocks → the image in blocks
    in_blocks = lambda i: reorders[i].input[0] if i in reorders else i

    def alike(images: Sequence[str]) -> bool:
        """Whether images lie in blocks and have one shape: nothing is broadcast."""
        return all(i in reorders and i in shapes for i in images) and len({shapes[i] for i in images}) == 1

    nodes = []
    for n in graph.node:
        images = [i for i in n.input if i in reorders]
        n.input[:] = [same.get(i, i) for i in n.input]
        if n.op_type == "ReorderInput" and images and not attribute(n, "channels_last"):
            same[n.output[0]] = in_blocks(images[0])
            continue
        if n.op_type in ELEMENTWISE and images and alike([i for i in n.input if i not in numbers]):
            rows, channels = n.output[0], attribute(reorders[images[0]], "channels")
            n.input[:] = map(in_blocks, n.input)
            n.output[:] = [f"{rows}/blocks"]
            nodes.append(n)
            n = helper.make_node("ReorderOutput", n.output, [rows], domain=NCHWC, channels=channels)
        if n.op_type == "ReorderOutput" and not attribute(n, "channels_last") and attribute(n, "channels") % BLOCK == 0:
            reorders[n.output[0]] = n
        nodes.append(n)
    kept = needed(nodes, [o.name for o in graph.output])
    del graph.node[:]
    graph.node.extend(kept)


def _images(graph: onnx.GraphProto) -> dict[str, Shape]:
    """The shapes of images, which a tape tells where all extents are known, by number or name."""
    return {v.name: shape for v in graph.value_info if (shape := Type.of(v.type).shape) is not None}
