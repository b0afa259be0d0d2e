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

from .graph import captures, subgraphs
from .optimize import BLOCK, OPTIMIZATIONS
from .tape import SWITCHED_OFF

Shape = tuple[int | str, ...]
ELEMENTWISE = {"Abs", "Add", "Div", "HardSigmoid", "Max", "Min", "Mul", "Neg", "Reciprocal", "Relu", "Sign", "Sqrt", "Sub"}
NCHWC = "com.microsoft.nchwc"
"""The domain of the operators that ONNX Runtime makes for its blocked layout."""
LARGE = 256 << 20
"""Bytes of weights that are too many to be written down for a few reorders, up to four times where they have signs apart."""

FEW = 1 << 16
"""Cells that are divided for a sample, of which fewer do not make up for a session's making."""
FREE = 64
"""What an extent counts that only the input decides."""

NAME = "blocked_arithmetic"
OPTIMIZATIONS[NAME] = "Images are divided and added in the layout that convolutions leave them in: ResNet50 with LRP takes 7 to 12 % less time."


def applies(graph: onnx.GraphProto, nbytes: int) -> bool:
    """Whether a session for a graph with so many bytes of weights should be made this way: where large images are divided."""
    images = shapes_of(graph)
    divided = [images[n.output[0]][1:] for n in graph.node if n.op_type == "Div" and n.output[0] in images]
    cells = sum(prod(d if isinstance(d, int) else FREE for d in extents) for extents in divided)
    return NAME not in SWITCHED_OFF.get() and cells > FEW and nbytes <= LARGE


def session(model: bytes, shapes: Mapping[str, Shape], first: ort.SessionOptions, then: ort.SessionOptions, disabled: Sequence[str]) -> ort.InferenceSession:
    """A CPU session whose elementwise operators work in blocks: made with `then` of what one made with `first` writes down."""
    with TemporaryDirectory(prefix="onnxplain-", ignore_cleanup_errors=True) as folder:
        path = Path(folder, "graph.onnx")
        first.optimized_model_filepath = str(path)
        first.add_session_config_entry("session.optimized_model_external_initializers_file_name", "weights")
        first.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "1024")
        first.add_session_config_entry("session.disable_prepacking", "1")  # it is never run
        ort.InferenceSession(model, first, providers=["CPUExecutionProvider"], disabled_optimizers=list(disabled))
        written = onnx.load(path, load_external_data=False)
        keep_blocks(written.graph, shapes)
        then.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        then.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)
        return ort.InferenceSession(written.SerializeToString(), then, providers=["CPUExecutionProvider"])


def keep_blocks(graph: onnx.GraphProto, shapes: Mapping[str, Shape]) -> None:
    """Move reorders behind elementwise operators of images of one shape, in place; those that nobody needs then go."""
    numbers = {t.name for t in graph.initializer if prod(t.dims) == 1}
    blocks: dict[str, tuple[str, int]] = {}  # an image in rows → the same in blocks, and its channels
    same: dict[str, str] = {}
    nodes = []
    for n in graph.node:
        inputs, images = [same.get(i, i) for i in n.input], [i for i in n.input if i in blocks]
        if n.op_type == "ReorderOutput" and (channels := _channels(n)) % BLOCK == 0:
            blocks[n.output[0]] = inputs[0], channels
        elif n.op_type == "ReorderInput" and images and not _last(n):
            same[n.output[0]] = blocks[images[0]][0]
            continue
        elif n.op_type in ELEMENTWISE and images and _alike([i for i in n.input if i not in numbers], blocks, shapes):
            y, channels = f"{n.output[0]}/blocks", blocks[images[0]][1]
            blocks[n.output[0]] = y, channels
            nodes.append(_with(n, [i if i in numbers else blocks[i][0] for i in n.input], [y]))
            nodes.append(helper.make_node("ReorderOutput", [y], n.output, domain=NCHWC, channels=channels))
            continue
        nodes.append(_with(n, inputs, n.output))
    needed, kept = {o.name for o in graph.output}, []
    for n in reversed(nodes):
        if not needed.isdisjoint(n.output):
            needed.update(n.input, captures(*subgraphs(n)))
            kept.append(n)
    del graph.node[:]
    graph.node.extend(kept[::-1])


def shapes_of(graph: onnx.GraphProto) -> dict[str, Shape]:
    """The shapes of images whose extents are all known, by number or name."""
    known = {v.name: tuple(d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim) for v in graph.value_info}
    return {name: shape for name, shape in known.items() if len(shape) == 4 and all(shape)}


def _alike(images: Sequence[str], blocks: Mapping[str, object], shapes: Mapping[str, Shape]) -> bool:
    """Whether images lie in blocks and have one shape: nothing is broadcast."""
    return all(i in blocks and i in shapes for i in images) and len({shapes[i] for i in images}) == 1


def _with(node: onnx.NodeProto, inputs: Sequence[str], outputs: Sequence[str]) -> onnx.NodeProto:
    own = onnx.NodeProto()
    own.CopyFrom(node)
    del own.input[:], own.output[:]
    own.input.extend(inputs)
    own.output.extend(outputs)
    return own


def _channels(reorder: onnx.NodeProto) -> int:
    """How many channels a reorder puts in rows; 1, which is no whole block, where it puts them last."""
    return 1 if _last(reorder) else next(a.i for a in reorder.attribute if a.name == "channels")


def _last(reorder: onnx.NodeProto) -> bool:
    return any(a.name == "channels_last" and a.i for a in reorder.attribute)
