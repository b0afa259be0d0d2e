"""Networks of the usual sizes with random weights, written with onnx alone, for timing."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


class Builder:
    """Nodes and weights of one network."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def weight(self, *shape: int, scale: float) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(self.rng.standard_normal(shape, dtype=np.float32) * np.float32(scale), name))
        return name

    def node(self, op_type: str, *inputs: str, **attributes) -> str:
        name = f"{op_type.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, list(inputs), [name], name=name, **attributes))
        return name

    def conv(self, x: str, cin: int, cout: int, k: int, stride: int = 1, group: int = 1) -> str:
        w = self.weight(cout, cin // group, k, k, scale=(2 / (cin // group * k * k)) ** 0.5)
        b = self.weight(cout, scale=0.01)
        return self.node("Conv", x, w, b, kernel_shape=[k, k], strides=[stride, stride], pads=[k // 2] * 4, group=group)

    def dense(self, x: str, cin: int, cout: int) -> str:
        return self.node("Gemm", x, self.weight(cout, cin, scale=(2 / cin) ** 0.5), self.weight(cout, scale=0.01), transB=1)

    def token_dense(self, x: str, cin: int, cout: int) -> str:
        """A dense layer for each token of [N, T, cin]."""
        return self.node("Add", self.node("MatMul", x, self.weight(cin, cout, scale=cin**-0.5)), self.weight(cout, scale=0.01))

    def array(self, values: Any, dtype: Any = np.int64) -> str:
        name = f"c{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def batch_norm(self, x: str, c: int) -> str:
        one, zero = (self.array(np.full(c, v), np.float32) for v in (1, 0))
        return self.node("BatchNormalization", x, one, zero, zero, one)

    def layer_norm(self, x: str, c: int) -> str:
        return self.node("LayerNormalization", x, self.array(np.ones(c), np.float32), self.array(np.zeros(c), np.float32), axis=-1)

    def model(self, name: str, output: str, classes: int = 1000, shape: tuple[int, ...] = (3, 224, 224)) -> onnx.ModelProto:
        inputs = [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", *shape])]
        outputs = [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["N", classes])]
        graph = helper.make_graph(self.nodes, name, inputs, outputs, self.weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def vgg16() -> onnx.ModelProto:
    """Simonyan and Zisserman 2015, configuration D: 138 million parameters."""
    b, x, c = Builder(), "input", 3
    for width, depth in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(depth):
            x, c = b.node("Relu", b.conv(x, c, width, 3)), width
        x = b.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    x = b.node("Flatten", x)
    for cin, cout in ((25088, 4096), (4096, 4096)):
        x = b.node("Relu", b.dense(x, cin, cout))
    return b.model("vgg16", b.dense(x, 4096, 1000))


def resnet50() -> onnx.ModelProto:
    """He et al. 2016, batch normalisation folded: 25.6 million parameters."""
    b = Builder()
    x = b.node("Relu", b.conv("input", 3, 64, 7, 2))
    x = b.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    c = 64
    for stage, (width, depth) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3))):
        for k in range(depth):
            stride = 2 if stage and not k else 1
            y = b.node("Relu", b.conv(x, c, width, 1))
            y = b.node("Relu", b.conv(y, width, width, 3, stride))
            y = b.conv(y, width, 4 * width, 1)
            short = b.conv(x, c, 4 * width, 1, stride) if not k else x
            x, c = b.node("Relu", b.node("Add", y, short)), 4 * width
    x = b.node("Flatten", b.node("GlobalAveragePool", x))
    return b.model("resnet50", b.dense(x, 2048, 1000))


def mobilenet_v2() -> onnx.ModelProto:
    """Sandler et al. 2018."""
    b = Builder()
    low, high = (numpy_helper.from_array(np.float32(v), n) for v, n in ((0, "zero"), (6, "six")))
    b.weights += [low, high]
    relu6 = lambda v: b.node("Clip", v, "zero", "six")
    x, c = relu6(b.conv("input", 3, 32, 3, 2)), 32
    for expand, width, depth, stride in ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)):
        for k in range(depth):
            y, inner = (relu6(b.conv(x, c, c * expand, 1)), c * expand) if expand > 1 else (x, c)
            y = relu6(b.conv(y, inner, inner, 3, stride if not k else 1, group=inner))
            y = b.conv(y, inner, width, 1)
            x = b.node("Add", x, y) if k else y
            c = width
    x = relu6(b.conv(x, c, 1280, 1))
    return b.model("mobilenet_v2", b.dense(b.node("Flatten", b.node("GlobalAveragePool", x)), 1280, 1000))


def densenet121() -> onnx.ModelProto:
    """Huang et al. 2017; batch normalisation stands before the convolutions."""
    b = Builder()
    before = lambda v, c: b.node("Relu", b.batch_norm(v, c))
    x, c = before(b.conv("input", 3, 64, 7, 2), 64), 64
    x = b.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    for stage, depth in enumerate((6, 12, 24, 16)):
        if stage:
            x, c = b.node("AveragePool", b.conv(before(x, c), c, c // 2, 1), kernel_shape=[2, 2], strides=[2, 2]), c // 2
        for _ in range(depth):
            y = b.conv(before(x, c), c, 128, 1)
            x, c = b.node("Concat", x, b.conv(before(y, 128), 128, 32, 3), axis=1), c + 32
    return b.model("densenet121", b.dense(b.node("Flatten", b.node("GlobalAveragePool", before(x, c))), c, 1000))


def vit(name: str, width: int, heads: int, depth: int = 12) -> onnx.ModelProto:
    """Dosovitskiy et al. 2021, patches of 16 × 16; the class is read off the mean of the tokens."""
    b, tokens = Builder(), 196
    w = b.weight(width, 3, 16, 16, scale=768**-0.5)
    x = b.node("Conv", "input", w, kernel_shape=[16, 16], strides=[16, 16])
    x = b.node("Transpose", b.node("Reshape", x, b.array([0, width, tokens])), perm=[0, 2, 1])
    x = b.node("Add", x, b.weight(tokens, width, scale=0.02))
    apart, joined = b.array([0, tokens, heads, width // heads]), b.array([0, tokens, width])
    scale, half, one, root = (b.array(v, np.float32) for v in ((width // heads) ** -0.5, 0.5, 1, 2**0.5))
    for _ in range(depth):
        y = b.layer_norm(x, width)
        q, k, v = (b.node("Transpose", b.node("Reshape", b.token_dense(y, width, width), apart), perm=p) for p in ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]))
        y = b.node("MatMul", b.node("Softmax", b.node("Mul", b.node("MatMul", q, k), scale), axis=-1), v)
        x = b.node("Add", x, b.token_dense(b.node("Reshape", b.node("Transpose", y, perm=[0, 2, 1, 3]), joined), width, width))
        y = b.token_dense(b.layer_norm(x, width), width, 4 * width)
        y = b.node("Mul", b.node("Mul", y, half), b.node("Add", b.node("Erf", b.node("Div", y, root)), one))
        x = b.node("Add", x, b.token_dense(y, 4 * width, width))
    return b.model(name, b.dense(b.node("ReduceMean", b.layer_norm(x, width), axes=[1], keepdims=0), width, 1000))


def lstm() -> onnx.ModelProto:
    """One layer of 256 units over 200 steps of 64 features; the class is read off the last state."""
    b, features, hidden = Builder(), 64, 256
    w, r = b.weight(1, 4 * hidden, features, scale=features**-0.5), b.weight(1, 4 * hidden, hidden, scale=hidden**-0.5)
    x = b.node("Transpose", "input", perm=[1, 0, 2])
    b.nodes.append(helper.make_node("LSTM", [x, w, r, b.weight(1, 8 * hidden, scale=0.01)], ["", "last"], name="lstm", hidden_size=hidden))
    return b.model("lstm", b.dense(b.node("Squeeze", "last", b.array([0])), hidden, 10), 10, SHAPES["lstm"])


NETWORKS = {
    "vgg16": vgg16,
    "resnet50": resnet50,
    "mobilenet_v2": mobilenet_v2,
    "densenet121": densenet121,
    "vit_b16": lambda: vit("vit_b16", 768, 12),
    "vit_s16": lambda: vit("vit_s16", 384, 6),
    "lstm": lstm,
}
SHAPES = dict.fromkeys(NETWORKS, (3, 224, 224)) | {"lstm": (200, 64)}
"""A sample's shape."""
