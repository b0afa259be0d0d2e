"""Models with one foreign node, held against ONNX Runtime's own kernel: its values, and the differences of its values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from helpers import plain, rewritten, run
from onnx import helper, numpy_helper

import onnxplain

VERSIONS = {"com.microsoft": 1, "com.microsoft.nchwc": 1, "ai.onnx.ml": 3}


@dataclass(frozen=True)
class Free:
    """An input to differentiate by."""

    value: np.ndarray


@dataclass(frozen=True)
class Fed:
    """An input that is given when the model runs."""

    value: np.ndarray


def x(*shape: int, low: float = -1.0, high: float = 1.0, seed: int = 0) -> Free:
    return Free(np.random.default_rng([seed, *shape]).uniform(low, high, shape).astype(np.float32))


def weight(*shape: int, low: float = -1.0, high: float = 1.0, seed: int = 1) -> np.ndarray:
    return x(*shape, low=low, high=high, seed=seed).value


def fed(value: Any, dtype: Any) -> Fed:
    return Fed(np.asarray(value, dtype))


@dataclass(frozen=True)
class Case:
    """`inputs` are Free, Fed, arrays (initializers) or None (absent); `outputs` are the element types, None where absent, ... where unread."""

    op_type: str
    inputs: tuple[Any, ...]
    attributes: dict[str, Any] = field(default_factory=dict)
    outputs: tuple[Any, ...] = (np.float32,)
    domain: str = "com.microsoft"
    version: int = 21
    symbolic: bool = False
    """Whether the first axis of the inputs is a symbol."""

    @property
    def feeds(self) -> dict[str, np.ndarray]:
        return {f"x{k}": v.value for k, v in enumerate(self.inputs) if isinstance(v, (Free, Fed))}

    @property
    def free(self) -> list[str]:
        return [f"x{k}" for k, v in enumerate(self.inputs) if isinstance(v, Free)]

    def model(self) -> onnx.ModelProto:
        names = [f"x{k}" if v is not None else "" for k, v in enumerate(self.inputs)]
        weights = [numpy_helper.from_array(v, f"x{k}") for k, v in enumerate(self.inputs) if isinstance(v, np.ndarray)]
        shape = lambda v: ["N", *v.shape[1:]] if self.symbolic and v.shape else v.shape
        given = [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(v.dtype), shape(v)) for n, v in self.feeds.items()]
        made = [f"y{k}" if t is not None else "" for k, t in enumerate(self.outputs)]
        results = [
            helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(np.dtype(t)), None) for n, t in zip(made, self.outputs) if n and t is not ...
        ]
        node = helper.make_node(self.op_type, names, made, name="node", domain=self.domain, **self.attributes)
        imports = [helper.make_opsetid("", self.version), *([helper.make_opsetid(self.domain, VERSIONS[self.domain])] if self.domain else [])]
        return helper.make_model(helper.make_graph([node], "case", given, results, weights), opset_imports=imports, ir_version=10)


def case(
    op_type: str,
    *inputs: Any,
    outputs: tuple[Any, ...] = (np.float32,),
    domain: str = "com.microsoft",
    version: int = 21,
    symbolic: bool = False,
    **attributes: Any,
) -> Case:
    return Case(op_type, inputs, attributes, outputs, domain, version, symbolic)


def check(c: Case, *, atol: float = 2e-5, rtol: float = 5e-3, step: float = 1e-2, kept: bool = False) -> None:
    """Assert that what the node is spelled out as has its values, and its slopes along every element; `kept` beside it for some results."""
    model, rng = c.model(), np.random.default_rng(5)
    expected = run(model, **c.feeds)
    loaded = onnxplain.load(model)
    assert kept == any(n.domain for n in loaded.raw.nodes), [str(n) for n in loaded.raw.nodes]
    floats = [n for n, v in expected.items() if v.dtype.kind == "f"][: 1 if kept else None]
    seeds = {n: rng.standard_normal(expected[n].shape).astype(np.float32) for n in floats}
    if c.free:
        got = run(onnxplain.vjp(loaded, floats, c.free), **c.feeds, **{f"grad_{n}": s for n, s in seeds.items()})
    else:
        got = rewritten(model)[1](**c.feeds)
    for n, v in expected.items():
        assert (got[n].shape, got[n].dtype) == (v.shape, v.dtype), f"{n} is {got[n].dtype}{got[n].shape}"
        np.testing.assert_allclose(got[n], v, atol=atol, rtol=1e-5, err_msg=n)
    for n in c.free:
        before, behind = slopes(model, c.feeds, n, seeds, step)
        atol = rtol * max(1.0, float(np.abs(before).max(initial=0)))
        smooth = np.abs(before - behind) < 2 * atol  # elsewhere the step crosses a kink
        assert smooth.mean() > 0.5
        np.testing.assert_allclose(got[f"grad_{n}"][smooth], ((before + behind) / 2)[smooth], atol=atol, rtol=0, err_msg=f"slope along {n}")


def slopes(model: onnx.ModelProto, feeds: dict[str, np.ndarray], name: str, seeds: dict[str, np.ndarray], step: float) -> np.ndarray:
    """Differences of Σ seed · output to both sides, element by element, by the model as it was given."""
    session, outputs = plain(model), list(seeds)

    def score(v: np.ndarray) -> float:
        return sum(float(np.sum(y.astype(np.float64) * s)) for y, s in zip(session.run(outputs, {**feeds, name: v}), seeds.values()))

    here, found = score(feeds[name]), np.zeros((2, *feeds[name].shape))
    for side, h in enumerate((-step, step)):
        for i in np.ndindex(*feeds[name].shape):
            moved = feeds[name].copy()
            moved[i] += h
            found[side, *i] = (score(moved) - here) / (float(moved[i]) - float(feeds[name][i]))
    return found
