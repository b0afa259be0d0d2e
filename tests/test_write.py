"""The forms of the emitted model."""

import numpy as np
import onnx
import pytest
from helpers import cnn, draw, mlp, parse, plain, two_inputs

import onnxplain
from onnxplain.session import Session
from onnxplain.write import SCORE, TARGET


def writer(known, method="integrated_gradients", **params):
    return onnxplain.Explainer(known.model, method, **params)._runner.writer


METHOD = {"plain": "gradient", "trace": "gradient"} | dict.fromkeys(("values", "points", "mixed"), "feature_ablation")
"""What is written in a form, where not integrated gradients."""


@pytest.mark.parametrize("form", ["plain", "forward", "shape", "piece", "scores", "values", "points", "mixed", "trace"])
@pytest.mark.parametrize("weighted", [False, True])
def test_every_form_is_a_model(form, weighted):
    proto = getattr(writer(cnn(), METHOD.get(form, "integrated_gradients")), form)(weighted).to_proto()
    onnx.checker.check_model(proto, full_check=True)


def test_scores_and_targets():
    known = mlp()
    run = Session(writer(known).forward(False), ["CPUExecutionProvider"]).run({"x": known.x, "target": np.array([-1, 0, 1, 2, 3])})
    y = known.forward(known.x)
    wanted = [int(y[0].argmax()), 0, 1, 2, 3]
    np.testing.assert_allclose(run[SCORE], y[range(5), wanted], atol=1e-5)
    assert run[TARGET].ravel().tolist() == wanted
    weights = draw(5, 4)
    run = Session(writer(known).forward(True), ["CPUExecutionProvider"]).run({"x": known.x, "target": weights})
    np.testing.assert_allclose(run[SCORE], (weights * y).sum(1), atol=1e-5)
    assert TARGET not in run


def test_the_names_of_attributions():
    assert onnxplain.Explainer(two_inputs(), "gradient", wrt=["b"])._runner.writer.names == {"b": "attribution"}
    assert onnxplain.Explainer(two_inputs(), "gradient", wrt=["b", "a"])._runner.writer.names == {"b": "attribution:b", "a": "attribution:a"}


def test_the_nodes_written_grow_linearly():
    """One node more costs what the one before cost: the number written grows in proportion."""
    counts = []
    for depth in (50, 100, 200):
        body = "\n".join(f"v{k + 1} = Tanh(v{k})" for k in range(depth))
        model = parse(f"g (float[N,3] v0) => (float[N,3] v{depth}) {{ {body} }}")
        counts.append(len(onnxplain.Explainer(model, "gradient").model.graph.node))
    assert counts[2] - counts[1] == 2 * (counts[1] - counts[0])


@pytest.mark.parametrize("name", ["Mul_1", "Sigmoid_2", "c0", "constant"])
def test_outputs_may_be_called_what_nodes_are_called_here(name):
    model = parse(f"g (float[N,3] x) => (float[N,3] {name}) {{ s = Sigmoid(x)\n p = Mul(x, s)\n {name} = Exp(p) }}")
    for method in ("gradient", "lrp", "integrated_gradients"):
        got = onnxplain.explain(model, np.ones((2, 3), np.float32), method, target=0)
        assert list(got.output) == [name]
    assert name in {o.name for o in onnxplain.vjp(model).graph.output}


def test_names_inside_bodies_are_taken():
    model = parse("""g (float[N,3] x) => (float[N,3] y) {
        s = ReduceSum<keepdims=0>(x) zero = Constant<value = float {0.0}>() c = Greater(s, zero)
        y = If(c) <
            then_branch = t () => (float[N,3] target) { target = Tanh(x) },
            else_branch = e () => (float[N,3] attribution) { attribution = Neg(x) }>
    }""")
    x = np.ones((2, 3), np.float32)
    explainer = onnxplain.Explainer(model, "gradient")
    got = explainer.explain(x, target=1).attribution
    assert [i.name for i in explainer.model.graph.input] == ["x", "onnxplain_target"]
    saved = plain(explainer.model).run(["onnxplain_attribution"], {"x": x, "onnxplain_target": np.array([1, 1])})[0]
    np.testing.assert_array_equal(saved, got)


def test_random_nodes_are_drawn_one_by_one():
    model = parse("g (float[N,3] x) => (float[N,3] y) { a = RandomUniform<shape=[3]>()\n b = RandomUniform<shape=[3]>()\n d = Sub(a, b)\n y = Add(x, d) }")
    assert np.abs(onnxplain.explain(model, np.zeros((2, 3), np.float32), "gradient", target=0).output["y"]).min() > 0


def test_what_the_model_says_of_a_type_outlives_a_poorer_inference():
    model = parse("""g (float[N,4] x) => (float[N,4] y) {
        k0 = Constant<value = int64 {0}>() c = Constant<value = bool {1}>()
        h, k = Loop(, c, x, k0) <body = step (int64 i, bool ci, float[A,B] v, int64 n) => (bool co, float[A,B] vn, int64 nn) {
            one = Constant<value = int64 {1}>() two = Constant<value = int64 {2}>() vn = Tanh(v) nn = Add(n, one) co = Less(nn, two)
        }>
        y = Exp(h)
    }""")
    assert onnxplain.explain(model, np.ones((2, 4), np.float32), "gradient", target=0).attribution.shape == (2, 4)


@pytest.mark.parametrize(("method", "form", "params"), [("occlusion", "mixed", {"window": [2, 2, 2]}), ("integrated_gradients", "piece", {})])
def test_moved_points_have_a_batch_of_one_name(method, form, params):
    """ONNX Runtime adds in place only where it sees that shapes agree: a residual network takes a tenth more time where it does not."""
    graph = getattr(writer(cnn(), method, **params), form)(False).proto.graph
    batch = {v.name: v.type.tensor_type.shape.dim[0].dim_param for v in graph.value_info}
    convolutions = [n for n in graph.node if n.op_type == "Conv"]
    assert convolutions and all(batch[n.input[0]] == batch[n.output[0]] != "" for n in convolutions)
