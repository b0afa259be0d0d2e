"""Whole models of ai.onnx.ml: what is explained by default, labels and maps beside it, trees, and coupled probabilities."""

import numpy as np
import pytest
from helpers import plain, rewritten, run
from onnx import TensorProto, helper, parser

import onnxplain
from onnxplain.errors import UnsupportedModelError

from .one_node import Free, case, weight
from .test_ml import KERNELS, MACHINE

HEAD = '<ir_version: 8, opset_import: ["" : 17, "ai.onnx.ml" : 3]>\n'
w, b = weight(3, 4), weight(3)
MODEL = """classify (float[N, 4] x) => (string[N] label, float[N, 3] p) {{
    label, s = ai.onnx.ml.LinearClassifier <coefficients = {w}, intercepts = {b}, classlabels_strings = ["a", "b", "c"], post_transform = "{post}"> (x)
    {rest}
}}"""
ZIPPED = 'q = ai.onnx.ml.Normalizer <norm = "L1"> (s)  p = ai.onnx.ml.ZipMap <classlabels_strings = ["a", "b", "c"]> (q)'


def classifier(post, rest="p = Identity (s)"):
    listed = lambda a: "[" + ", ".join(f"{v:.8f}" for v in a.ravel()) + "]"
    model = parser.parse_model(HEAD + MODEL.format(w=listed(w), b=listed(b), post=post, rest=rest))
    if "ZipMap" in rest:
        scores = helper.make_map_type_proto(TensorProto.STRING, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
        model.graph.output[1].type.CopyFrom(helper.make_sequence_type_proto(scores))
    return model


@pytest.mark.parametrize("post", ["SOFTMAX", "LOGISTIC"])
@pytest.mark.parametrize("rest", ["p = Identity (s)", ZIPPED])
def test_the_linear_score_is_explained_by_default(post, rest):
    x = weight(2, 4, seed=5)
    got = onnxplain.explain(classifier(post, rest), x, "gradient", target=[2, 0])
    np.testing.assert_allclose(got.attribution, w[[2, 0]], rtol=1e-6)


def test_labels_and_maps_are_the_models_own():
    model, x = classifier("SOFTMAX", ZIPPED), weight(2, 4, seed=5)
    expected = plain(model).run(None, {"x": x})
    pulled = onnxplain.vjp(model, ["q"], ["x"])
    assert {o.domain: o.version for o in pulled.opset_import}["ai.onnx.ml"] == 3
    names = [o.name for o in pulled.graph.output]
    got = dict(zip(names, plain(pulled).run(names, {"x": x, "grad_q": np.zeros((2, 3), np.float32)})))
    assert got["label"].tolist() == expected[0].tolist()
    assert [sorted(m) for m in got["p"]] == [["a", "b", "c"]] * 2
    np.testing.assert_allclose([list(m.values()) for m in got["p"]], [list(m.values()) for m in expected[1]], rtol=1e-5)


def test_every_part_of_a_batch_tells_its_labels_and_maps(tmp_path):
    model, x = classifier("SOFTMAX", ZIPPED), weight(5, 4, seed=5)
    expected = plain(model).run(None, {"x": x})
    got = onnxplain.explain(model, x, "feature_ablation", batch_size=2)
    got.save(tmp_path / "e.npz")
    for output in (got.output, onnxplain.Explanation.load(tmp_path / "e.npz").output):
        assert output["label"].tolist() == expected[0].tolist()
        np.testing.assert_allclose([list(m.values()) for m in output["p"]], [list(m.values()) for m in expected[1]], rtol=1e-5)


TREES = """trees (float[N, 2] x) => (float[a, b] y) {
    h = Mul (x, x)
    label, p = ai.onnx.ml.TreeEnsembleClassifier <classlabels_int64s = [0, 1], nodes_treeids = [0, 0, 0], nodes_nodeids = [0, 1, 2],
        nodes_featureids = [0, 0, 0], nodes_modes = ["BRANCH_LEQ", "LEAF", "LEAF"], nodes_values = [0.5, 0.0, 0.0], nodes_truenodeids = [1, 0, 0],
        nodes_falsenodeids = [2, 0, 0], class_treeids = [0, 0], class_nodeids = [1, 2], class_ids = [0, 1], class_weights = [1.0, 2.0]> (h)
    y = Neg (p)
}"""


def test_trees_run_and_are_named_where_a_derivative_is_wanted():
    model, x = parser.parse_model(HEAD.replace("17", "21").replace("3]", "1]") + TREES), np.float32([[0.1, 0.0], [0.9, 0.0]])
    graph, compute = rewritten(model)
    assert graph.types["p"].shape is not None and len(graph.types["p"].shape) == 2
    np.testing.assert_array_equal(compute(x=x)["y"], plain(model).run(None, {"x": x})[0])
    with pytest.raises(UnsupportedModelError, match=r"ai\.onnx\.ml:TreeEnsembleClassifier 'label' \(trees are constant almost everywhere"):
        onnxplain.explain(model, x, "gradient")


def test_encoders_send_nothing_back():
    text = """g (float[N, 1] x) => (float[N, 1] y) {
        c = Cast <to = 7> (x)
        e = ai.onnx.ml.OneHotEncoder <cats_int64s = [0, 1]> (c)
        a = Constant <value_ints = [2]> ()
        s = ReduceSum <keepdims = 0> (e, a)
        y = Add (s, x)
    }"""
    got = run(onnxplain.vjp(parser.parse_model(HEAD + text), ["y"], ["x"]), x=np.float32([[1.0]]), grad_y=np.float32([[3.0]]))
    np.testing.assert_array_equal(got["grad_x"], [[3]])


def coupled(x):
    """The probabilities of three classes by Wu, Lin and Weng (2004), eq. 20, in float64."""
    vectors, rho = np.reshape(MACHINE["support_vectors"], (6, 4)), MACHINE["rho"]
    coefficients, start, (gamma, *_) = np.reshape(MACHINE["coefficients"], (2, 6)), np.cumsum([0, 1, 3, 2]), KERNELS["RBF"]
    k = np.exp(-gamma * ((x[:, None] - vectors) ** 2).sum(-1))
    r = np.zeros((len(x), 3, 3))
    for n, (i, j) in enumerate([(0, 1), (0, 2), (1, 2)]):
        own, other = slice(start[i], start[i + 1]), slice(start[j], start[j + 1])
        d = k[:, own] @ coefficients[j - 1, own] + k[:, other] @ coefficients[i, other] + rho[n]
        r[:, i, j] = 1 / (1 + np.exp(-3.0 * d + 0.2))
        r[:, j, i] = 1 - r[:, i, j]
    p = np.zeros((len(x), 3))
    for n, s in enumerate(r):
        q = np.diag((s**2).sum(0)) - s * s.T
        p[n] = np.linalg.solve(np.block([[q, np.ones((3, 1))], [np.ones((1, 3)), 0]]), [0, 0, 0, 1])[:3]
    return p


def test_coupled_probabilities():
    x = np.float64(weight(3, 4, seed=8))
    attributes = {"kernel_type": "RBF", "kernel_params": KERNELS["RBF"], "prob_a": [-3.0] * 3, "prob_b": [0.2] * 3, "classlabels_ints": [0, 1, 2]}
    model = case("SVMClassifier", Free(np.float32(x)), domain="ai.onnx.ml", outputs=(..., np.float32), **MACHINE, **attributes).model()
    seed = weight(3, 3)
    got = run(onnxplain.vjp(model, ["y1"], ["x0"]), x0=np.float32(x), grad_y1=seed)
    np.testing.assert_allclose(got["y1"], coupled(x), atol=1e-5)
    np.testing.assert_allclose(got["y1"], plain(model).run(["y1"], {"x0": np.float32(x)})[0], atol=5e-3)  # it stops at 0.005 / classes
    for i in np.ndindex(*x.shape):
        up, down = x.copy(), x.copy()
        up[i] += 1e-5
        down[i] -= 1e-5
        assert abs(got["grad_x0"][i] - np.sum(seed * (coupled(up) - coupled(down))) / 2e-5) < 1e-3
