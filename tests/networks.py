"""Small networks in the manner of the well-known families, without biases: seeded, untrained."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

NETWORKS: dict[str, Callable[[Net], str]] = {}
CLASSES = 5


class Net:
    """Nodes and weights, gathered while the network is written down."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, np.ndarray] = {}
        self.shape: Sequence = ("N", 3, 8, 8)

    def weight(self, *shape: int, fan: int | None = None) -> str:
        """Weights of He's scale."""
        return self.array(self.rng.normal(size=shape) * np.sqrt(2 / (fan or np.prod(shape[1:]))))

    def array(self, values, dtype=np.float32) -> str:
        name = f"w{len(self.weights)}"
        self.weights[name] = np.asarray(values, dtype)
        return name

    def add(self, op_type: str, *inputs: str, name: str | None = None, **attributes) -> str:
        output = name or f"{op_type.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, list(inputs), [output], name=output, **attributes))
        return output

    def conv(self, x: str, i: int, o: int, k: int = 3, **attributes) -> str:
        group = attributes.get("group", 1)
        return self.add("Conv", x, self.weight(o, i // group, k, k), **{"pads": [k // 2] * 4, **attributes})

    def relu_conv(self, x: str, i: int, o: int, k: int = 3, **attributes) -> str:
        return self.add("Relu", self.conv(x, i, o, k, **attributes))

    def norm(self, x: str, c: int) -> str:
        """Batch normalisation that shifts nothing."""
        scale, var = self.rng.uniform(0.5, 1.5, c), self.rng.uniform(0.5, 1.5, c)
        return self.add("BatchNormalization", x, self.array(scale), self.array(np.zeros(c)), self.array(np.zeros(c)), self.array(var))

    def pool(self, kind: str, x: str, k: int = 2, s: int = 2, pad: int = 0) -> str:
        return self.add(kind, x, kernel_shape=[k, k], strides=[s, s], pads=[pad] * 4)

    def head(self, x: str, c: int) -> str:
        return self.add("Gemm", self.add("Flatten", x), self.weight(CLASSES, c), name="y", transB=1)

    def model(self, output: str = "y", out_shape: Sequence | None = ("N", CLASSES)) -> onnx.ModelProto:
        info = lambda n, s: helper.make_tensor_value_info(n, TensorProto.FLOAT, s and list(s))
        tensors = [numpy_helper.from_array(v, n) for n, v in self.weights.items()]
        graph = helper.make_graph(self.nodes, "g", [info("x", self.shape)], [info(output, out_shape)], tensors)
        return onnx.shape_inference.infer_shapes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10))


def network(function: Callable[[Net], str]) -> Callable[[Net], str]:
    NETWORKS[function.__name__] = function
    return function


def build(name: str, seed: int = 0) -> onnx.ModelProto:
    net = Net(seed)
    NETWORKS[name](net)
    return net.model()


@network
def vgg(n: Net) -> str:
    h = n.relu_conv(n.relu_conv("x", 3, 8), 8, 8)
    h = n.relu_conv(n.relu_conv(n.pool("MaxPool", h), 8, 12), 12, 12)
    h = n.add("Flatten", n.pool("MaxPool", h))
    h = n.add("Relu", n.add("Gemm", h, n.weight(16, 48), transB=1))
    return n.head(h, 16)


@network
def resnet(n: Net) -> str:
    h = n.add("Relu", n.norm(n.conv("x", 3, 32), 32))
    for i, o, stride in ((32, 32, 1), (32, 48, 2)):
        inner = n.add("Relu", n.norm(n.conv(h, i, o, strides=[stride] * 2), o))
        inner = n.norm(n.conv(inner, o, o), o)
        short = h if i == o else n.norm(n.conv(h, i, o, 1, strides=[stride] * 2), o)
        h = n.add("Relu", n.add("Add", inner, short))
    return n.head(n.add("GlobalAveragePool", h), 48)


@network
def densenet(n: Net) -> str:
    h, c = n.pool("MaxPool", n.relu_conv("x", 3, 8), 3, 2, 1), 8
    for block in range(2):
        for _ in range(2):
            new = n.add("Relu", n.norm(n.conv(n.add("Relu", n.norm(h, c)), c, 8, 1), 8))
            h, c = n.add("Concat", h, n.conv(new, 8, 4), axis=1), c + 4
        if block == 0:
            h, c = n.pool("AveragePool", n.conv(n.add("Relu", n.norm(h, c)), c, 8, 1)), 8
    return n.head(n.add("GlobalAveragePool", n.add("Relu", n.norm(h, c))), c)


@network
def inception(n: Net) -> str:
    h = n.pool("MaxPool", n.relu_conv("x", 3, 8))
    branches = [
        n.relu_conv(h, 8, 4, 1),
        n.relu_conv(n.relu_conv(h, 8, 4, 1), 4, 6),
        n.relu_conv(n.pool("MaxPool", h, 3, 1, 1), 8, 4, 1),
        n.relu_conv(n.pool("AveragePool", h, 3, 1, 1), 8, 4, 1),
    ]
    h = n.pool("AveragePool", n.add("Concat", *branches, axis=1))
    return n.head(h, 18 * 4)


@network
def mobilenet(n: Net) -> str:
    six = lambda v: n.add("Clip", v, n.array(0.0), n.array(6.0))
    h = six(n.norm(n.conv("x", 3, 24, strides=[2, 2]), 24))
    for _ in range(2):
        wide = six(n.norm(n.conv(h, 24, 96, 1), 96))
        deep = six(n.norm(n.conv(wide, 96, 96, 3, group=96), 96))
        h = n.add("Add", h, n.norm(n.conv(deep, 96, 24, 1), 24))
    return n.head(n.add("ReduceMean", six(n.conv(h, 24, 48, 1)), n.array([2, 3], np.int64), keepdims=1), 48)
