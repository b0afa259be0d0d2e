"""One-node models, their vector-Jacobian products, and finite differences to hold them against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper
from onnx.reference import ReferenceEvaluator

import onnxplain
from onnxplain.tape import IR_VERSION, OPSET


@dataclass(frozen=True)
class Varied:
    """A random input by which the operator is differentiated. `spread` keeps all values apart by at least 1 / size."""

    shape: tuple[int, ...]
    low: float = -1.0
    high: float = 1.0
    spread: bool = False

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        n = int(np.prod(self.shape))
        unit = (rng.permutation(n) + rng.uniform(0.3, 0.7, n)) / max(n, 1) if self.spread else rng.uniform(0, 1, n)
        return (self.low + (self.high - self.low) * unit).reshape(self.shape)


@dataclass(frozen=True)
class Fed:
    """An input of the model that stays as it is: not known while the graph is written."""

    value: np.ndarray


def x(*shape: int, low: float = -1.0, high: float = 1.0) -> Varied:
    return Varied(shape, low, high)


def apart(*shape: int) -> Varied:
    """No two values are near one another, so that small steps keep their order."""
    return Varied(shape, spread=True)


def fed(value: Any, dtype: Any = np.int64) -> Fed:
    return Fed(np.asarray(value, dtype))


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


@dataclass(frozen=True)
class Case:
    """`inputs` are Varied, Fed, arrays (initializers) or None (absent)."""

    op_type: str
    inputs: tuple[Any, ...]
    attributes: dict[str, Any]
    outputs: int = 1
    seeded: tuple[int, ...] = (0,)
    symbolic: bool = True
    """Whether it is also checked with unknown dimensions."""
    reference: bool = True
    """Whether onnx's reference evaluator takes the case and is right; if not, ONNX Runtime is asked instead."""
    rtol: float = 2e-3
    step: float = 1e-2
    """For the differences in float32. A linear map bears a large one."""

    def __str__(self) -> str:
        told = [f"{k}={v}" for k, v in self.attributes.items()]
        return " ".join([self.op_type, *map(_told, self.inputs), *told])

    def draw(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        return {f"x{k}": v.draw(rng) for k, v in enumerate(self.inputs) if isinstance(v, Varied)}

    @property
    def fed(self) -> dict[str, np.ndarray]:
        return {f"x{k}": v.value for k, v in enumerate(self.inputs) if isinstance(v, Fed)}

    def model(self, dtype: Any = np.float32, ranks: Sequence[int] | None = None, symbolic: bool = False) -> onnx.ModelProto:
        """The model with the operator alone; `symbolic` hides every dimension of its inputs. ONNX's checker wants `ranks` of outputs."""
        names, given, weights = [], [], []
        for k, v in enumerate(self.inputs):
            name = f"x{k}" if v is not None else ""
            names.append(name)
            if isinstance(v, np.ndarray):
                weights.append(onnx.numpy_helper.from_array(v.astype(dtype) if v.dtype == np.float64 else v, name))
            elif v is not None:
                shape, elem = (v.shape, np.dtype(dtype)) if isinstance(v, Varied) else (v.value.shape, v.value.dtype)
                dims = [f"{name}_{i}" for i in range(len(shape))] if symbolic else shape
                given.append(helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(elem), dims))
        outputs = [f"y{k}" for k in range(self.outputs)]
        node = helper.make_node(self.op_type, names, outputs, **self.attributes)
        elem = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        shapes = [None] * len(self.seeded) if ranks is None else [[None] * r for r in ranks]
        results = [helper.make_tensor_value_info(f"y{k}", elem, shape) for k, shape in zip(self.seeded, shapes)]
        graph = helper.make_graph([node], "case", given, results, weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def case(
    op_type: str,
    *inputs: Any,
    outputs: int = 1,
    seeded: tuple[int, ...] = (0,),
    symbolic: bool = True,
    reference: bool = True,
    rtol: float = 2e-3,
    step: float = 1e-2,
    **attributes: Any,
) -> Case:
    return Case(op_type, inputs, attributes, outputs, seeded, symbolic, reference, rtol, step)


def _told(v: Any) -> str:
    if isinstance(v, Varied):
        return "×".join(map(str, v.shape)) or "scalar"
    return "–" if v is None else str((v.value if isinstance(v, Fed) else v).tolist()).replace(" ", "")


def session(model: onnx.ModelProto) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def check(c: Case, symbolic: bool = False, seed: int = 0) -> None:
    """Assert that the VJP is right: against the reference evaluator in float64, and again in ONNX Runtime's float32."""
    rng = np.random.default_rng(seed)
    varied, told = c.draw(rng), c.fed
    outputs, wrt = [f"y{k}" for k in c.seeded], list(varied)
    single = {k: v.astype(np.float32) for k, v in varied.items()}
    forward = session(c.model())
    seeds = {f"grad_{n}": rng.standard_normal(v.shape) for n, v in zip(outputs, forward.run(outputs, {**single, **told}))}
    ranks = [v.ndim for v in seeds.values()]
    model = onnxplain.vjp(c.model(np.float32, ranks, symbolic), outputs, wrt)
    assert [o.version for o in model.opset_import] == [OPSET]
    names = [f"grad_{n}" for n in wrt]
    got = dict(zip(wrt, session(model).run(names, {**single, **told, **{k: v.astype(np.float32) for k, v in seeds.items()}})))
    for n, v in got.items():
        assert v.shape == varied[n].shape, f"{c}: the cotangent of {n} has shape {v.shape}"
    if c.reference:
        wide = onnxplain.vjp(c.model(np.float64, ranks, symbolic), outputs, wrt)
        tight(c, ReferenceEvaluator(wide), varied, told, seeds, got)
    else:
        loose(c, forward, single, told, seeds, got)


def tight(c: Case, pulled: ReferenceEvaluator, varied, told, seeds, got) -> None:
    """In float64 along random directions; then ONNX Runtime's result against that of the reference evaluator."""
    wide = ReferenceEvaluator(c.model(np.float64))
    exact = dict(zip(varied, pulled.run([f"grad_{n}" for n in varied], {**varied, **told, **seeds})))
    rng = np.random.default_rng(1)

    def score(**moved):
        ys = wide.run([n[5:] for n in seeds], {**varied, **told, **moved})
        return sum(float(np.sum(y * s)) for y, s in zip(ys, seeds.values()))

    for n, v in varied.items():
        assert (exact[n].shape, exact[n].dtype) == (v.shape, np.float64), f"{c}: in float64 the cotangent of {n} is {exact[n].dtype}{exact[n].shape}"
        for _ in range(2):
            u, h = rng.standard_normal(v.shape), 1e-5
            slope = (score(**{n: v + h * u}) - score(**{n: v - h * u})) / (2 * h)
            assert abs(float(np.sum(exact[n] * u)) - slope) <= 1e-6 * (np.sum(np.abs(exact[n] * u)) + 1), f"{c}: slope along {n}"
        scale = max(1.0, np.abs(exact[n]).max(initial=0))
        np.testing.assert_allclose(got[n], exact[n], atol=c.rtol * scale, rtol=0, err_msg=f"{c}: {n} in ONNX Runtime")


def loose(c: Case, forward, single, told, seeds, got) -> None:
    """In float32, each element by itself."""

    def score(**moved):
        ys = forward.run([n[5:] for n in seeds], {**single, **told, **moved})
        return sum(float(np.sum(y.astype(np.float64) * s)) for y, s in zip(ys, seeds.values()))

    for n, v in single.items():
        slopes = np.zeros(v.shape)
        for i in np.ndindex(*v.shape):
            up, down = v.copy(), v.copy()
            up[i] += c.step
            down[i] -= c.step
            slopes[i] = (score(**{n: up}) - score(**{n: down})) / (float(up[i]) - float(down[i]))
        scale = max(1.0, np.abs(slopes).max(initial=0))
        np.testing.assert_allclose(got[n], slopes, atol=c.rtol * scale, rtol=0, err_msg=f"{c}: {n}")
