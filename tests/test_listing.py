"""What there is, and what a model needs."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

import onnxplain
from onnxplain.errors import InputError
from onnxplain.methods import METHODS
from onnxplain.rules.composites import COMPOSITES


def model(*nodes, inputs=("x",), outputs=("y",), domains=()):
    shape = ["N", 4]
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info(i, TensorProto.FLOAT, shape) for i in inputs],
        [helper.make_tensor_value_info(o, TensorProto.FLOAT, shape) for o in outputs],
    )
    imports = [helper.make_opsetid("", 18), *(helper.make_opsetid(d, 1) for d in domains)]
    return helper.make_model(graph, opset_imports=imports, ir_version=9)


def test_everything_registered_is_listed_with_a_line():
    for listing, registered in ((onnxplain.methods(), METHODS), (onnxplain.composites(), COMPOSITES)):
        assert set(listing) == set(registered)
        assert all(line and "\n" not in line for line in listing.values())
    assert "gradient" in onnxplain.rules()
    assert all(onnxplain.rules().values())
    assert "integrated_gradients" in str(onnxplain.methods())
    assert len(str(onnxplain.methods()).splitlines()) == len(METHODS)


def test_a_covered_model():
    coverage = onnxplain.check(model(helper.make_node("Relu", ["x"], ["h"], name="first"), helper.make_node("Tanh", ["h"], ["y"])))
    assert coverage.output == "y"
    assert coverage.wrt == ("x",)
    assert [(n.name, n.op, n.kind, n.vjp) for n in coverage.nodes] == [("first", "Relu", "activation", True), ("y", "Tanh", "activation", True)]
    assert all(coverage.ok(m) for m in METHODS)
    assert coverage.missing == []
    assert "Relu" in str(coverage)
    with pytest.raises(InputError, match="did you mean 'gradient'"):
        coverage.ok("gradeint")


def test_what_is_missing_is_named_with_a_remedy_and_the_method_refuses_it_too():
    mystery = helper.make_node("Mystery", ["x"], ["h"], name="odd", domain="my.domain")
    custom = model(mystery, helper.make_node("Relu", ["h"], ["y"]), domains=["my.domain"])
    custom.graph.value_info.append(helper.make_tensor_value_info("h", TensorProto.FLOAT, ["N", 4]))
    coverage = onnxplain.check(custom)
    assert not coverage.ok("gradient")
    (node,) = coverage.missing
    assert (node.name, node.op, node.vjp) == ("odd", "my.domain:Mystery", False)
    forward_only = {name for name, method in METHODS.items() if not method.differentiates}
    assert set(node.lacking) == set(METHODS) - forward_only != set(METHODS)
    assert all(coverage.ok(m) for m in forward_only)
    assert "output=" in node.remedy
    assert "every method" in str(coverage)
    with pytest.raises(onnxplain.UnsupportedModelError, match="odd"):
        onnxplain.explain(custom, np.ones((1, 4), np.float32), "gradient")


def test_only_nodes_on_the_way_count():
    side = model(helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Sin", ["x"], ["z"]), outputs=("y", "z"))
    assert [n.op for n in onnxplain.check(side).nodes] == ["Relu"]
    assert [n.op for n in onnxplain.check(side, output="z").nodes] == ["Sin"]


def test_a_score_that_no_derivative_reaches_is_said():
    coverage = onnxplain.check(model(helper.make_node("Floor", ["x"], ["y"])))
    assert not coverage.reached
    assert not coverage.ok("gradient")
    assert "would be zero" in str(coverage)
