"""What is known of each operator, found by writing small models with it: the rules that LRP and DeepLIFT take, the kernels that its VJP asks for.

The models are the rows of the operators' own tests (`tests/ops/cases_*.py`), and those below. `kernels.json` says which operators
have a kernel in ONNX Runtime's execution providers, and where that was read.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import onnx
import onnx.defs
import onnx.parser

import onnxplain
from onnxplain.flow import Flow
from onnxplain.graph import Node, graphs_of
from onnxplain.ops import OPS
from onnxplain.rules import COMPOSITES, Composite, Params
from onnxplain.rules.deeplift import DeepLift
from onnxplain.tape import OPSET

ROOT = Path(__file__).resolve().parent.parent
KERNELS = {k: set(v) for k, v in json.loads((ROOT / "scripts" / "kernels.json").read_text())["kernels"].items()}
FAMILIES = [
    *("elementwise", "gather", "interpolation", "linear", "losses", "movement", "normalization", "pooling"),
    *("quantized", "recurrent", "reduction", "sampling", "signal"),
]
MODELS = {
    "Round": "(float[N, 3] x) => (float[N, 3] y) { y = Round(x) }",
    "Swish": "(float[N, 3] x) => (float[N, 3] y) { s = Sigmoid(x) y = Mul(x, s) }",
    "RMSNormalization": "(float[N, 3] x, float[3] s) => (float[N, 3] y) { y = RMSNormalization(x, s) }",
    "RotaryEmbedding": "(float[2, 2, 3, 4] x, float[5, 2] c, float[5, 2] s, int64[2, 3] p) => (float[2, 2, 3, 4] y) { y = RotaryEmbedding(x, c, s, p) }",
    "Attention": "(float[2, 2, 3, 4] x, float[2, 2, 5, 4] k, float[2, 2, 5, 4] v) => (float[2, 2, 3, 4] y) { y = Attention(x, k, v) }",
    "TensorScatter": "(float[2, 2, 5, 4] x, float[2, 2, 3, 4] u, int64[2] i) => (float[2, 2, 5, 4] y) { y = TensorScatter(x, u, i) }",
    "QuantizeLinear": "(float[N, 3] x, float s, uint8 z) => (float[N, 3] y) { q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z) }",
    "DynamicQuantizeLinear": "(float[N, 3] x) => (float[N, 3] y) { q, s, z = DynamicQuantizeLinear(x) y = DequantizeLinear(q, s, z) }",
    "MatMulInteger": """(float[N, 3] x, uint8[3, 4] w) => (float[N, 4] y) {
        q, s, z = DynamicQuantizeLinear(x) i = MatMulInteger(q, w, z) f = Cast<to = 1>(i) y = Mul(f, s)
    }""",
    "ConvInteger": """(float[N, 3, 5, 5] x, uint8[4, 3, 2, 2] w) => (float[N, 4, 4, 4] y) {
        q, s, z = DynamicQuantizeLinear(x) i = ConvInteger(q, w, z) f = Cast<to = 1>(i) y = Mul(f, s)
    }""",
    "QLinearMatMul": """(float[N, 3] x, float s, uint8 z, uint8[3, 4] w) => (float[N, 4] y) {
        q = QuantizeLinear(x, s, z) r = QLinearMatMul(q, s, z, w, s, z, s, z) y = DequantizeLinear(r, s, z)
    }""",
    "QLinearConv": """(float[N, 3, 5, 5] x, float s, uint8 z, uint8[4, 3, 2, 2] w) => (float[N, 4, 4, 4] y) {
        q = QuantizeLinear(x, s, z) r = QLinearConv(q, s, z, w, s, z, s, z) y = DequantizeLinear(r, s, z)
    }""",
    "If": """(float[N, 3] x, bool c) => (float[N, 3] y) {
        y = If(c) <then_branch = t () => (float[N, 3] p) { p = Tanh(x) }, else_branch = e () => (float[N, 3] r) { r = Sin(x) }>
    }""",
    "Loop": """(float[N, 3] x, int64 m, bool c) => (float[N, 3] y) {
        y = Loop(m, c, x) <body = b (int64 i, bool ci, float[N, 3] h) => (bool co, float[N, 3] n) { co = Identity(ci) n = Tanh(h) }>
    }""",
    "Scan": """(float[N, 3] x, float[T, N, 3] z) => (float[N, 3] y) {
        y = Scan<num_scan_inputs = 1, body = b (float[N, 3] h, float[N, 3] i) => (float[N, 3] n) { a = Add(h, i) n = Tanh(a) }>(x, z)
    }""",
} | dict.fromkeys(
    [
        *("ConcatFromSequence", "Optional", "OptionalGetElement", "SequenceAt", "SequenceConstruct", "SequenceEmpty"),
        *("SequenceErase", "SequenceInsert"),
        "SplitToSequence",
    ],
    """(float[2, 3] x) => (float[2, 3] y) {
        a = SequenceConstruct(x, x) b = SplitToSequence<axis = 1>(x) c = SequenceErase(b) d = SequenceEmpty() e = SequenceInsert(d, x)
        i = Constant<value = int64 {0}>() f = SequenceAt(a, i) g = SequenceAt(e, i) h = Optional(g) j = OptionalGetElement(h)
        l = SequenceAt(b, i) k = SequenceInsert(c, l) m = ConcatFromSequence<axis = 1>(k) n = Mul(f, j) y = Mul(n, m)
    }""",
)
"""Models for the operators without rows of their own; the first input is the one that is explained."""


@dataclass
class Facts:
    """What the models with one operator showed."""

    lrp: dict[str, None] = field(default_factory=dict)
    deeplift: dict[str, None] = field(default_factory=dict)
    """The rules, with one active operand and then with several."""
    emitted: set[str] = field(default_factory=set)
    """The operators that the backward half asks for."""

    def lacking(self, provider: str) -> list[str]:
        """Those without a kernel. What ONNX defines by other operators is inlined, an Identity dropped."""
        return sorted(n for n in self.emitted - KERNELS[provider] if n != "Identity" and not _is_function(n))


@cache
def facts() -> dict[str, Facts]:
    """By operator."""
    lrp, deeplift = Composite(tuple(COMPOSITES["epsilon_plus"](Params({})))), DeepLift()
    found: dict[str, Facts] = {}
    for op_type, model in models():
        mine = found.setdefault(op_type, Facts())
        floats = [i.name for i in model.graph.input if i.type.tensor_type.elem_type == onnx.TensorProto.FLOAT]
        loaded = onnxplain.load(model)
        graph = loaded.graph(frozenset(floats) | set(loaded.outputs))
        forward = {o for n in graph.nodes for o in n.outputs}
        mine.emitted |= {n.op_type for g in graphs_of(onnxplain.vjp(loaded, wrt=floats).graph) for n in g.node if forward.isdisjoint(n.output)}
        kind = OPS[op_type].kind if op_type in OPS else None
        for active in [floats[:1], floats] if kind in ("sum", "product") else [floats[:1]]:
            flow = Flow(graph, tuple(n for n, t in graph.outputs.items() if t.is_float), tuple(active))
            for node in flow.nodes:
                if node.op_type == op_type:
                    mine.lrp[_name(lrp, flow, node)] = None
                    mine.deeplift[_name(deeplift._rule, flow, node)] = None
    return found


def models() -> Iterator[tuple[str, onnx.ModelProto]]:
    """One-node models of the tests' rows, and those above."""
    sys.path.insert(0, str(ROOT / "tests" / "ops"))
    from check_vjp import model_of

    for family in FAMILIES:
        for rows in importlib.import_module(f"cases_{family}").CASES.values():
            for c in rows if isinstance(rows, list) else [rows]:
                yield c.op_type, c.model() if hasattr(c, "model") else model_of(c)
    for op_type, text in MODELS.items():
        version = max(OPSET, onnx.defs.get_schema(op_type).since_version)
        yield op_type, onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["": {version}]> g {text}')


def _name(rules: Callable[[Flow, Node], Any], flow: Flow, node: Node) -> str:
    try:
        rule = rules(flow, node)
    except onnxplain.UnsupportedModelError:
        return "refused"
    return getattr(rule, "name", None) or rule.__name__


@cache
def _is_function(op_type: str) -> bool:
    schema = onnx.defs.get_schema(op_type, OPSET)
    return schema.has_function or schema.has_context_dependent_function
