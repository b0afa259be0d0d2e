"""One operator, one row: its VJP in ONNX Runtime against central differences along random directions."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper
from onnx.reference import ReferenceEvaluator

import onnxplain

ort.set_default_logger_severity(4)


@dataclass
class Case:
    """A node at some inputs (None is left out). Float inputs are differentiated by, but for those at `settings`."""

    op_type: str
    inputs: Sequence[np.ndarray | None]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    outputs: int | Sequence[str] = 1
    settings: Sequence[int] = ()
    oracle: str | Callable = "reference"
    """What gives the values: "reference" or "ort" (in float64), "ort32", or a function of float64 inputs and attributes."""
    tolerance: float = 2e-3


def case(op_type: str, *inputs: np.ndarray | None, outputs=1, settings=(), oracle="reference", tolerance=2e-3, **attributes) -> Case:
    return Case(op_type, inputs, attributes, outputs, settings, oracle, tolerance)


def model_of(c: Case, *, symbolic: bool = False, wide: bool = False) -> onnx.ModelProto:
    names = ["" if x is None else f"x{k}" for k, x in enumerate(c.inputs)]
    outputs = [f"y{k}" for k in range(c.outputs)] if isinstance(c.outputs, int) else list(c.outputs)
    double = lambda a: np.dtype(np.float64) if wide and a.dtype == np.float32 else a.dtype
    info = []
    for n, x in zip(names, c.inputs):
        if x is not None:
            elem = helper.np_dtype_to_tensor_dtype(double(x))
            info.append(helper.make_tensor_value_info(n, elem, [f"{n}_{a}" if symbolic else d for a, d in enumerate(x.shape)]))
    elem = onnx.TensorProto.DOUBLE if wide else onnx.TensorProto.FLOAT
    node = helper.make_node(c.op_type, names, outputs, name="node", **c.attributes)
    graph = helper.make_graph([node], "case", info, [helper.make_tensor_value_info(o, elem, None) for o in outputs if o])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def session(model: onnx.ModelProto) -> ort.InferenceSession:
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def evaluator(c: Case) -> Callable[[Mapping[str, np.ndarray]], list[np.ndarray]]:
    if callable(c.oracle):
        return lambda feeds: c.oracle(*(feeds.get(f"x{k}") for k in range(len(c.inputs))), **c.attributes)
    wide = c.oracle != "ort32"
    runner = ReferenceEvaluator(model_of(c, wide=True)) if c.oracle == "reference" else session(model_of(c, wide=wide))
    narrow = lambda v: v if wide or v.dtype != np.float64 else v.astype(np.float32)
    return lambda feeds: [np.asarray(v, np.float64) for v in runner.run(None, {k: narrow(v) for k, v in feeds.items()})]


def check(c: Case, *, symbolic: bool = False, seed: int = 0) -> None:
    rng = np.random.default_rng([seed, zlib.crc32(c.op_type.encode())])
    feeds = {f"x{k}": x for k, x in enumerate(c.inputs) if x is not None}
    wrt = [f"x{k}" for k, x in enumerate(c.inputs) if x is not None and x.dtype == np.float32 and k not in c.settings]
    f, at = evaluator(c), {k: v.astype(np.float64) if v.dtype == np.float32 else v for k, v in feeds.items()}
    y = f(at)
    cotangents = [rng.standard_normal(np.shape(v)) for v in y]
    model = model_of(c, symbolic=symbolic)
    for info, v in zip(model.graph.output, y):  # ONNX's checker wants ranks
        info.type.tensor_type.shape.dim.extend(
            [onnx.TensorShapeProto.Dimension() if symbolic else onnx.TensorShapeProto.Dimension(dim_value=d) for d in np.shape(v)]
        )
        info.type.tensor_type.shape.SetInParent()
    built = onnxplain.vjp(model, wrt=wrt)
    assert built.ir_version == 10
    assert [(o.domain, o.version) for o in built.opset_import] == [("", 21)]
    seeds = {f"grad_{o.name}": g.astype(np.float32) for o, g in zip(model.graph.output, cotangents)}
    out = [o.name for o in model.graph.output]
    answers = session(built).run([*out, *(f"grad_{n}" for n in wrt)], {**feeds, **seeds})
    for n, got, want in zip(out, answers, y):
        np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-4, err_msg=f"{n}: the oracle and ONNX Runtime disagree")
    for n, g in zip(wrt, answers[len(out) :]):
        assert g.shape == feeds[n].shape, f"the cotangent of {n} has shape {g.shape}, not {feeds[n].shape}"
        for _ in range(2):
            compare(f, at, n, g, cotangents, rng, steps=(1e-3, 3e-3, 1e-2) if c.oracle == "ort32" else (1e-6, 1e-5, 1e-4), tolerance=c.tolerance)


class Inconclusive(AssertionError):  # noqa: N818
    """The central differences of different steps disagree: there is a kink, or rounding speaks."""


def compare(
    f: Callable[[Mapping[str, np.ndarray]], Sequence[np.ndarray]],
    at: Mapping[str, np.ndarray],
    n: str,
    g: np.ndarray,
    cotangents: Sequence[np.ndarray],
    rng: np.random.Generator,
    *,
    steps: Sequence[float],
    tolerance: float,
    eps: float = 0.0,
) -> None:
    """Assert that g, the cotangent of input n at `at`, is the slope of f's outputs along a random direction; f rounds to `eps`."""
    u = rng.standard_normal(g.shape)
    size = eps * sum(float(np.abs(v * s).sum()) for v, s in zip(f(at), cotangents)) if eps else 0.0
    slopes = []
    for h in steps:
        ends = [sum(float((v * s).sum()) for v, s in zip(f({**at, n: np.asarray(at[n] + e * h * u)}), cotangents)) for e in (1, -1)]
        slopes.append(((ends[0] - ends[1]) / (2 * h), size / h))
    gap, slope = min((abs(p - q) + r, q) for (p, _), (q, r) in pairwise(slopes))  # the neighbours that agree best see no kink
    scale, own = max(abs(slope), 0.1 * float(np.abs(g * u).sum()), 1e-3), float((g * u).sum())
    if not gap < 0.02 * scale:
        raise Inconclusive(f"the central difference by {n} says nothing: {slopes}")
    assert abs(own - slope) < tolerance * scale + 3 * gap, f"by {n}: {own}, not {slope}"
