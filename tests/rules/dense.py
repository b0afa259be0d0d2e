"""Layers as dense matrices, and the papers' formulas on them: float64 NumPy that shares nothing with the product.

Weights, inputs and relevances are multiples of 1/4: sums of their products are exact in float32, so that zeros are exact zeros
and the references need no tolerance but that of one division.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

Arrays = Mapping[str, np.ndarray]


def quarters(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return (rng.integers(-6, 7, shape) / 4).astype(np.float32)


def model(nodes: Sequence[onnx.NodeProto], inputs: Mapping[str, Sequence], outputs: Mapping[str, Any], weights: Arrays) -> onnx.ModelProto:
    info = lambda n, s: helper.make_tensor_value_info(n, TensorProto.FLOAT, s)
    tensors = [numpy_helper.from_array(v, n) for n, v in weights.items()]
    graph = helper.make_graph(list(nodes), "g", [info(n, s) for n, s in inputs.items()], [info(n, s) for n, s in outputs.items()], tensors)
    return onnx.shape_inference.infer_shapes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10))


def run(proto: onnx.ModelProto, feeds: Arrays) -> list[np.ndarray]:
    return session(proto).run(None, dict(feeds))


def session(proto: onnx.ModelProto) -> ort.InferenceSession:
    return ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])


@dataclass(frozen=True, eq=False)
class Layer:
    """One node with active inputs `x0`, `x1`, … where `shapes` has one, and parameters elsewhere; `bias` is the position of its bias."""

    op_type: str
    shapes: tuple[Any, ...]
    attributes: dict[str, Any] = field(default_factory=dict)
    bias: int | None = None
    parameters: tuple[Any, ...] | None = None

    def __str__(self) -> str:
        told = [f"{k}={v}" for k, v in self.attributes.items()]
        return " ".join([self.op_type, *("x".join(map(str, np.shape(s) if isinstance(s, np.ndarray) else s)) for s in self.shapes), *told]).replace(" ", "-")

    @cached_property
    def active(self) -> dict[str, tuple[int, ...]]:
        return {f"x{k}": s for k, s in enumerate(self.shapes) if isinstance(s, X)}

    @cached_property
    def weights(self) -> dict[str, np.ndarray]:
        if self.parameters is not None:
            return dict(zip([f"w{k}" for k, s in enumerate(self.shapes) if not isinstance(s, X)], self.parameters))
        rng = np.random.default_rng(sum(map(ord, str(self))))
        return {f"w{k}": s if isinstance(s, np.ndarray) else quarters(rng, *s) for k, s in enumerate(self.shapes) if not isinstance(s, X)}

    def nodes(self, before: str = "") -> list[onnx.NodeProto]:
        names = [(f"x{k}{before}" if isinstance(s, X) else f"w{k}") for k, s in enumerate(self.shapes)]
        return [helper.make_node(self.op_type, names, ["y"], **self.attributes)]

    def model(self, rectified: bool = False) -> onnx.ModelProto:
        """The layer, behind a ReLU or not."""
        relus = [helper.make_node("Relu", [n], [f"{n}/relu"]) for n in self.active] if rectified else []
        return model([*relus, *self.nodes("/relu" if rectified else "")], self.active, {"y": None}, self.weights)

    # ---- probing ----

    def _probe(self, weights: Arrays) -> np.ndarray:
        """[outputs, inputs]: what the layer with these weights makes of unit vectors, minus what it makes of zeros."""
        ask = session(replace(self, parameters=tuple(weights.values())).model())
        zeros = {n: np.zeros(s, np.float32) for n, s in self.active.items()}
        columns = [ask.run(None, zeros)[0]]
        for n, s in self.active.items():
            for i in range(int(np.prod(s))):
                unit = np.zeros(s, np.float32)
                unit.reshape(-1)[i] = 1
                columns.append(ask.run(None, zeros | {n: unit})[0])
        flat = np.array([c.reshape(-1) for c in columns], np.float64)
        return (flat[1:] - flat[0]).T

    @cached_property
    def W(self) -> np.ndarray:
        return self._probe({n: v * 0 if n == f"w{self.bias}" else v for n, v in self.weights.items()})

    @cached_property
    def connected(self) -> np.ndarray:
        """Which input reaches which output, whatever the weight; an average keeps its own weights, which are no parameters."""
        if not any(v.dtype.kind == "f" for v in self.weights.values()):
            return np.abs(self.W)
        real = {n: np.ones_like(v) if v.dtype.kind == "f" else v for n, v in self.weights.items()}
        if self.op_type == "BatchNormalization":
            return self.W != 0
        return self._probe({n: v * 0 if n == f"w{self.bias}" else v for n, v in real.items()}) != 0

    @cached_property
    def squared(self) -> np.ndarray:
        return self.W**2 if any(v.dtype.kind == "f" for v in self.weights.values()) else np.abs(self.W)

    @cached_property
    def zero(self) -> np.ndarray:
        """The output at zero."""
        return run(self.model(), {n: np.zeros(s, np.float32) for n, s in self.active.items()})[0]

    @property
    def b(self) -> np.ndarray:
        return self.zero.reshape(-1).astype(np.float64)


class X(tuple):
    """The shape of an active input."""

    def __new__(cls, *shape: int):
        return super().__new__(cls, shape)


# ---- the formulas: each gives the messages R_{i←j} as matrices [outputs, inputs], to be summed over j ----


def stabilised(z: np.ndarray, shape: Sequence[int], epsilon=1e-6, clip=False, norm_scale=False, zeros_only=False) -> np.ndarray:
    sign = np.where(z < 0, -1.0, 1.0)
    if zeros_only:
        return np.where(z == 0, epsilon, z)
    if norm_scale:
        per_sample = z.reshape(shape[0], -1)
        epsilon = np.broadcast_to(epsilon * np.sqrt((per_sample**2).mean(1, keepdims=True)), per_sample.shape).reshape(-1)
    return sign * np.maximum(np.abs(z), epsilon) if clip else z + sign * epsilon


p, n = (lambda v: np.maximum(v, 0)), (lambda v: np.minimum(v, 0))
Reference = Callable[..., list[np.ndarray]]


def divide(c: np.ndarray, z: np.ndarray, R: np.ndarray, s: Callable) -> np.ndarray:
    """c_ij / z_j · R_j."""
    return c * (R / s(z))[:, None]


def z(x, l, R, s, bias=True):
    c = l.W * x
    return [divide(c, c.sum(1) + bias * l.b, R, s)]


def z_plus(x, l, R, s, bias=True):
    return alpha_beta(x, l, R, s, 1, 0, bias)


def z_plus_fast(x, l, R, s):
    c = p(l.W) * x
    return [divide(c, c.sum(1), R, s)]


def alpha_beta(x, l, R, s, alpha=2, beta=1, bias=True, whole_bias=False):
    c = l.W * x
    up, down = (l.b, l.b) if whole_bias else (p(l.b), n(l.b))
    raising = divide(p(c), p(c).sum(1) + bias * up, R, s)
    return [alpha * raising, -beta * divide(n(c), n(c).sum(1) + bias * down, R, s)] if beta else [alpha * raising]


def alpha_beta_x(x, l, R, s, alpha=(2, 0), beta=(1, 0), bias=True):
    parts = [(alpha[0], p(x), p), (alpha[1], n(x), n), (-beta[0], p(x), n), (-beta[1], n(x), p)]
    return [k * divide(m(l.W) * u, (m(l.W) * u).sum(1) + bias * m(l.b), R, s) for k, u, m in parts]


def gamma(x, l, R, s, gamma=0.25, bias=True):
    c = l.W * x
    y = c.sum(1) + l.b
    favoured = np.where(y[:, None] > 0, p(c), n(c)) * gamma + c
    b = np.where(y > 0, p(l.b), n(l.b)) * gamma + l.b
    return [divide(favoured, favoured.sum(1) + bias * b, R * (y != 0), s)]


def w_square(x, l, R, s, bias=True):
    return [divide(l.squared, l.squared.sum(1) + bias * l.b**2, R, s)]


def flat(x, l, R, s):
    c = l.connected.astype(float)
    return [divide(c, c.sum(1), R, s)]


def z_box(x, l, R, s, low=-1.0, high=1.0):
    full = lambda v: np.broadcast_to(v, next(iter(l.active.values()))).reshape(-1)
    c = l.W * x - p(l.W) * full(low) - n(l.W) * full(high)
    return [divide(c, c.sum(1), R, s)]
