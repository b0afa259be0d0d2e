"""What explainers write has a CUDA kernel, node by node: nothing of a saved explainer that handles images or tokens falls back to the CPU.

`cuda_kernels.json` is the provider's own registry. Integer nodes that compute shapes are meant to run on the CPU.
"""

from __future__ import annotations

import json
import pathlib

import numpy as np
import onnx
import pytest
from networks import NETWORKS, Net, build
from onnx import TensorProto, helper

import onnxplain

KERNELS = json.loads((pathlib.Path(__file__).parent / "cuda_kernels.json").read_text())["kernels"]
FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)


def transformer() -> onnx.ModelProto:
    """A vision transformer of one block: patches, attention of two heads, Gelu, layer normalisation."""
    n, width = Net(), 16
    ones, zeros = n.array(np.ones(width)), n.array(np.zeros(width))
    norm = lambda h: n.add("LayerNormalization", h, ones, zeros, axis=-1)
    linear = lambda h, i, o: n.add("Add", n.add("MatMul", h, n.weight(i, o, fan=i)), n.array(np.zeros(o)))
    patches = n.add("Conv", "x", n.weight(width, 3, 4, 4), strides=[4, 4])
    h = n.add("Transpose", n.add("Reshape", patches, n.array([0, width, -1], np.int64)), perm=[0, 2, 1])
    a, heads = norm(h), n.array([0, 0, 2, width // 2], np.int64)
    q, k, v = (n.add("Transpose", n.add("Reshape", linear(a, width, width), heads), perm=p) for p in ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]))
    weights = n.add("Softmax", n.add("Mul", n.add("MatMul", q, k), n.array(8**-0.5)), axis=-1)
    mixed = n.add("Reshape", n.add("Transpose", n.add("MatMul", weights, v), perm=[0, 2, 1, 3]), n.array([0, 0, width], np.int64))
    h = n.add("Add", h, linear(mixed, width, width))
    h = n.add("Add", h, linear(n.add("Gelu", linear(norm(h), width, 32)), 32, width))
    n.add("MatMul", n.add("ReduceMean", norm(h), n.array([1], np.int64), keepdims=0), n.weight(width, 5), name="y")
    return n.model()


MODELS = {**{name: (lambda name=name: build(name)) for name in NETWORKS}, "transformer": transformer}
METHODS = {
    "gradient": {"method": "gradient"},
    "guided_backprop": {"method": "guided_backprop"},
    "deconvnet": {"method": "deconvnet"},
    "integrated_gradients": {"method": "integrated_gradients", "steps": 3},
    "smoothgrad": {"method": "smoothgrad", "samples": 2},
    "epsilon_plus_flat": {"method": "lrp"},
    "epsilon_alpha2_beta1": {"method": "lrp", "composite": "epsilon_alpha2_beta1"},
    "epsilon_gamma_box": {"method": "lrp", "composite": "epsilon_gamma_box", "low": -3, "high": 3},
    "preset_a": {"method": "lrp", "composite": "preset_a", "convention": "innvestigate"},
    "attn_lrp": {"method": "lrp", "composite": "attn_lrp"},
    "deep_taylor": {"method": "deep_taylor"},
    "deeplift": {"method": "deeplift"},
}


def elem_types(model: onnx.ModelProto) -> dict[str, int]:
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    known = {v.name: v.type.tensor_type.elem_type for v in (*graph.input, *graph.output, *graph.value_info)}
    return known | {t.name: t.data_type for t in graph.initializer}


def arguments(formal, given) -> list[tuple[str, str]]:
    """Type constraints with the values that they bind; the last formal argument may take several."""
    last = len(formal) - 1
    return [(formal[min(k, last)].type_str, name) for k, name in enumerate(given) if name]


def without_kernel(model: onnx.ModelProto) -> list[str]:
    """The nodes that have no kernel, as "operator: constraint=type …"."""
    types, missing = elem_types(model), []
    for node in model.graph.node:
        schema = onnx.defs.get_schema(node.op_type, 21, node.domain)
        bound = {t: types[n] for t, n in (*arguments(schema.inputs, node.input), *arguments(schema.outputs, node.output)) if n in types}
        if not any(t in FLOATS for t in bound.values()):
            continue
        named = {t: helper.tensor_dtype_to_string(e).removeprefix("TensorProto.").lower() for t, e in bound.items()}
        if not any(all(named[t] in wanted for t, wanted in kernel.items() if t in named) for kernel in KERNELS.get(node.op_type, [])):
            missing.append(f"{node.op_type}: {' '.join(f'{t}={e}' for t, e in named.items())}")
    return missing


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("options", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize("name", MODELS)
def test_every_node_has_a_kernel(name, options):
    assert without_kernel(onnxplain.Explainer(MODELS[name](), **options).model) == []


def test_a_missing_kernel_is_noticed():
    node = [helper.make_node("Tan", ["x"], ["y"])]
    info = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N"]) for n in "xy"]
    assert without_kernel(helper.make_model(helper.make_graph(node, "g", info[:1], info[1:]), opset_imports=[helper.make_opsetid("", 21)])) == ["Tan: T=float"]
