"""Random models from the node patterns that exporters write, and from those that a rewrite must leave alone."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


class Builder:
    """Adds random nodes; `shape` follows the current tensor. Convolutions make `width` channels for each group."""

    def __init__(self, seed: int, batch: int | str = 4, width: int = 2) -> None:
        self.rng = np.random.default_rng(seed)
        self.batch, self.width = batch, width
        self.size = batch if isinstance(batch, int) else 4
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.values: list[tuple[str, tuple[int, ...]]] = []

    def weight(self, *shape: int, positive: bool = False) -> str:
        name = f"w{len(self.weights)}"
        value = self.rng.standard_normal(shape).astype(np.float32)
        self.weights.append(numpy_helper.from_array(np.abs(value) + 0.5 if positive else value, name))
        return name

    def ints(self, *values: int) -> str:
        self.weights.append(numpy_helper.from_array(np.array(values, np.int64), f"w{len(self.weights)}"))
        return self.weights[-1].name

    def node(self, op_type: str, inputs: list[str], shape: tuple[int, ...], **attributes) -> None:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, inputs, [name], **attributes))
        self.values.append((name, tuple(int(d) for d in shape)))

    @property
    def current(self) -> tuple[str, tuple[int, ...]]:
        """Mostly the last value, at times an older one, so that some have several users."""
        return self.values[-1] if self.rng.random() < 0.85 else self.values[self.rng.integers(len(self.values))]

    def step(self) -> None:
        kinds = [getattr(self, k) for k in dir(self) if k.startswith("add_")]
        before = len(self.nodes)
        while len(self.nodes) == before:
            x, shape = self.current
            if not shape:  # a scalar leads nowhere
                x, shape = self.values[0]
            kinds[self.rng.integers(len(kinds))](x, shape)

    # ---- what exporters write ----

    def add_conv(self, x, shape):
        if len(shape) == 4 and min(shape[2:]) >= 3:
            group = int(self.rng.choice([g for g in (1, 2) if shape[1] % g == 0]))
            out, pad = self.width * group, int(self.rng.integers(2))
            bias = [self.weight(out)] if self.rng.random() < 0.5 else []
            self.node(
                "Conv",
                [x, self.weight(out, shape[1] // group, 3, 3), *bias],
                (shape[0], out, *(d - 2 + 2 * pad for d in shape[2:])),
                group=group,
                pads=[pad] * 4,
            )

    def add_conv_transpose(self, x, shape):
        if len(shape) == 4 and max(shape[2:]) < 8:
            group = int(self.rng.choice([g for g in (1, 2) if shape[1] % g == 0]))
            out = self.width * group
            bias = [self.weight(out)] if self.rng.random() < 0.5 else []
            self.node("ConvTranspose", [x, self.weight(shape[1], self.width, 2, 2), *bias], (shape[0], out, *(d + 1 for d in shape[2:])), group=group)

    def add_batch_norm(self, x, shape):
        if len(shape) >= 2:
            c = shape[1]
            self.node("BatchNormalization", [x, self.weight(c), self.weight(c), self.weight(c), self.weight(c, positive=True)], shape, epsilon=0.01)

    add_batch_norm_often = add_batch_norm

    def add_matmul(self, x, shape):
        if len(shape) in (2, 3):
            n = int(self.rng.integers(1, 4))
            self.node("MatMul", [x, self.weight(shape[-1], n)], (*shape[:-1], n))
            if self.rng.random() < 0.7:
                k = n if n > 1 or self.rng.random() < 0.5 else 3
                bias = self.weight(*[(k,), (1, k), (1,)][self.rng.integers(3)])
                wide = k if numpy_helper.to_array(self.weights[-1]).shape[-1] == k else n
                name = self.values[-1][0]
                self.node("Add", [name, bias] if self.rng.random() < 0.5 else [bias, name], (*shape[:-1], max(wide, n)))

    def add_gemm(self, x, shape):
        if len(shape) == 2:
            turned, n = int(self.rng.integers(2)), 3
            w = self.weight(n, shape[1]) if turned else self.weight(shape[1], n)
            bias = [[], [self.weight(n)], [self.weight(1, n)], [self.weight(1)], [self.weight(shape[0], n)], [self.weight(shape[0], 1)]][self.rng.integers(6)]
            self.node("Gemm", [x, w, *bias], (shape[0], n), transB=turned, alpha=float(self.rng.choice([1.0, 0.5])), beta=float(self.rng.choice([1.0, 0.5])))

    def add_channels_last(self, x, shape):
        """Out of a layout, something there, and back or elsewhere."""
        if len(shape) < 2:
            return
        perm = self.rng.permutation(len(shape)).tolist()
        back = [perm.index(i) for i in range(len(perm))] if self.rng.random() < 0.8 else perm
        self.node("Transpose", [x], [shape[p] for p in perm], perm=perm)
        for _ in range(self.rng.integers(4)):
            kinds = [self.add_activation, self.add_prelu, self.add_constant_beside, self.add_residual, self.add_transpose]
            kinds[self.rng.choice(5, p=[0.3, 0.1, 0.4, 0.1, 0.1])](*self.values[-1])
        name, there = self.values[-1]
        self.node("Transpose", [name], [there[p] for p in back], perm=back)

    def add_conv_and_more(self, x, shape):
        """A convolution, perhaps seen through another layout, then a bias or a normalisation."""
        before = len(self.nodes)
        [self.add_conv, self.add_conv_transpose][self.rng.integers(2)](x, shape)
        if len(self.nodes) > before and self.rng.random() < 0.5:
            self.add_batch_norm(*self.values[-1])
        elif len(self.nodes) > before:
            if self.rng.random() < 0.5:
                self.add_transpose(*self.values[-1])
            name, there = self.values[-1]
            axis = int(self.rng.integers(len(there)))
            self.node("Add", [name, self.weight(*(d if i == axis else 1 for i, d in enumerate(there)))], there)

    def add_norm_and_more(self, x, shape):
        self.add_batch_norm(x, shape)
        if len(shape) >= 2:
            [self.add_conv, self.add_gemm][len(shape) == 2](*self.values[-1])

    def add_transpose(self, x, shape):
        if len(shape) < 2:
            return
        perm = self.rng.permutation(len(shape)).tolist() if self.rng.random() < 0.3 or len(shape) != 4 else [[0, 2, 3, 1], [0, 3, 1, 2]][self.rng.integers(2)]
        self.node("Transpose", [x], [shape[p] for p in perm], perm=perm)

    add_transpose_often = add_transpose

    def add_activation(self, x, shape):
        self.node(str(self.rng.choice(["Relu", "Tanh", "Sigmoid", "Identity", "LeakyRelu", "HardSwish", "Elu"])), [x], shape)

    add_activation_often = add_activation

    def add_prelu(self, x, shape):
        self.node("PRelu", [x, self.weight(shape[-1])], shape)

    def add_constant_beside(self, x, shape):
        rank = int(self.rng.integers(0, len(shape) + 1))
        beside = tuple(d if self.rng.random() < 0.5 else 1 for d in shape[len(shape) - rank :])
        args = [x, self.weight(*beside)]
        self.node(str(self.rng.choice(["Add", "Mul", "Sub", "Max"])), args if self.rng.random() < 0.7 else args[::-1], shape)

    add_constant_beside_often = add_constant_beside

    def add_residual(self, x, shape):
        others = [n for n, s in self.values if s == shape]
        self.node(str(self.rng.choice(["Add", "Mul", "Sub"])), [x, str(self.rng.choice(others))], shape)

    def add_pool(self, x, shape):
        if len(shape) == 4 and min(shape[2:]) >= 2:
            self.node(str(self.rng.choice(["MaxPool", "AveragePool"])), [x], (*shape[:2], *(d - 1 for d in shape[2:])), kernel_shape=[2, 2])

    def add_reshape(self, x, shape):
        total = int(np.prod(shape))
        options = [(shape[0], total // shape[0]), (shape[0], -1), (0, -1), (-1, shape[-1]), (total,), (total // shape[0], shape[0])]
        if len(shape) == 2 and shape[1] % 2 == 0:
            options += [(shape[0], 2, shape[1] // 2), (shape[0] * 2, shape[1] // 2)]
        if len(shape) == 3:
            options += [(*shape, 1), (shape[0], shape[2], shape[1])]
        to = options[self.rng.integers(len(options))]
        known = [shape[i] if d == 0 else d for i, d in enumerate(to)]
        final = [total // int(np.prod([k for k in known if k > 0])) if d == -1 else d for d in known]
        self.node("Reshape", [x, self.ints(*to)], final)

    def add_reduce(self, x, shape):
        axis, keep = int(self.rng.integers(len(shape))), int(self.rng.integers(2))
        out = [1 if i == axis else d for i, d in enumerate(shape) if keep or i != axis]
        self.node(str(self.rng.choice(["ReduceMean", "ReduceMax"])), [x, self.ints(axis if self.rng.random() < 0.5 else axis - len(shape))], out, keepdims=keep)

    def add_softmax(self, x, shape):
        self.node("Softmax", [x], shape, axis=int(self.rng.integers(-len(shape), len(shape))))

    def add_squeeze(self, x, shape):
        ones = [i for i, d in enumerate(shape) if d == 1]
        if ones and len(shape) > 1:
            axis = int(self.rng.choice(ones))
            self.node("Squeeze", [x, self.ints(axis)], [d for i, d in enumerate(shape) if i != axis])

    def add_unsqueeze(self, x, shape):
        if len(shape) < 4:
            axis = int(self.rng.integers(len(shape) + 1))
            self.node("Unsqueeze", [x, self.ints(axis)], (*shape[:axis], 1, *shape[axis:]))

    def add_gather(self, x, shape):
        axis = int(self.rng.integers(len(shape)))
        places = self.rng.integers(0, shape[axis], int(self.rng.integers(1, 4))).tolist()
        self.node("Gather", [x, self.ints(*places)], (*shape[:axis], len(places), *shape[axis + 1 :]), axis=axis)

    def add_slice(self, x, shape):
        axis = int(self.rng.integers(len(shape)))
        if shape[axis] > 1:
            self.node("Slice", [x, self.ints(0), self.ints(shape[axis] - 1), self.ints(axis)], [d - (i == axis) for i, d in enumerate(shape)])

    def add_concat(self, x, shape):
        axis = int(self.rng.integers(len(shape)))
        self.node("Concat", [x, x if self.rng.random() < 0.5 else self.weight(*shape)], [d * 2 if i == axis else d for i, d in enumerate(shape)], axis=axis)

    def add_gram(self, x, shape):
        if len(shape) in (2, 3):
            perm = [*range(len(shape) - 2), len(shape) - 1, len(shape) - 2]
            self.node("Transpose", [x], [shape[p] for p in perm], perm=perm)
            self.node("MatMul", [x, self.values[-1][0]], (*shape[:-1], shape[-2]))

    def add_left_product(self, x, shape):
        if len(shape) >= 2 and shape[-2] <= 8:
            self.node("MatMul", [self.weight(3, shape[-2]), x], (*shape[:-2], 3, shape[-1]))

    def add_vector_product(self, x, shape):
        if len(shape) >= 2:
            left = self.rng.random() < 0.5
            v = self.weight(shape[-2] if left else shape[-1])
            self.node("MatMul", [v, x] if left else [x, v], (*shape[:-2], shape[-1]) if left else shape[:-1])

    def add_layer_norm(self, x, shape):
        axis = int(self.rng.integers(len(shape)))
        self.node("LayerNormalization", [x, self.weight(*shape[axis:])], shape, axis=axis)

    def add_shape_arithmetic(self, x, shape):
        """x · its own batch size, and a flattening that asks for it: exporters' way."""
        name = f"{x}_shape{len(self.nodes)}"
        self.nodes.append(helper.make_node("Shape", [x], [name], start=0, end=1))
        self.nodes.append(helper.make_node("Concat", [name, self.ints(-1)], [f"{name}_to"], axis=0))
        self.node("Reshape", [x, f"{name}_to"], (shape[0], int(np.prod(shape[1:]))))

    def add_folded(self, x, shape):
        """Arithmetic on constants alone."""
        name = f"{x}_folded{len(self.nodes)}"
        self.nodes.append(helper.make_node("Exp", [self.weight(shape[-1])], [name]))
        self.node("Mul", [x, name], shape)


def random_model(seed: int, batch: int | str = 4, steps: int = 7, width: int = 2) -> tuple[onnx.ModelProto, dict[str, np.ndarray], list[str]]:
    """A model, an input, and the names of some tensors inside."""
    b = Builder(seed, batch, width)
    shape = [(b.size, 6), (b.size, 4, 5, 5), (b.size, 3, 4), (b.size, 2, 6, 6)][b.rng.integers(4)]
    b.values.append(("x", shape))
    for _ in range(steps):
        b.step()
        if int(np.prod(b.values[-1][1])) > 4000:
            break
    inside = [n for n, _ in b.values[1:]]
    outputs = [inside[-1], *([inside[b.rng.integers(len(inside))]] if b.rng.random() < 0.3 else [])]
    model = helper.make_model(
        helper.make_graph(
            b.nodes,
            "random",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, *shape[1:]])],
            [helper.make_tensor_value_info(o, TensorProto.FLOAT, None) for o in dict.fromkeys(outputs)],
            b.weights,
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=9,
    )
    needed = set(outputs)
    for node in b.nodes[::-1]:
        needed.update(node.input if not needed.isdisjoint(node.output) else ())
    keep = [n for n in inside if n in needed and b.rng.random() < 0.2]
    return model, {"x": b.rng.standard_normal(shape).astype(np.float32)}, keep
