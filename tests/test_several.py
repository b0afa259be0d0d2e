"""Explainers: the same numbers as one by one, from one graph."""

from __future__ import annotations

import json

import numpy as np
import onnxruntime as ort
import pytest
from helpers import cnn, draw, fixed, mlp, time_major, two_inputs

import onnxplain
from onnxplain import Explainers, InputError, several

pytestmark = pytest.mark.filterwarnings("ignore:lrp's default is flat")
SWEEPS = ["gradient", "guided_backprop", "deconvnet", "lrp", "deep_taylor", "input_x_gradient", "deeplift"]


def same(got, expected):
    assert got.method == expected.method
    assert got.attributions.keys() == expected.attributions.keys()
    for name, value in expected.attributions.items():
        np.testing.assert_allclose(got.attributions[name], value, atol=1e-6 * max(1, np.abs(value).max()))
    np.testing.assert_array_equal(got.target, expected.target)
    assert (got.delta is None) == (expected.delta is None)
    if expected.delta is not None:
        np.testing.assert_allclose(got.delta, expected.delta, atol=1e-5)
    for name, value in expected.output.items():
        np.testing.assert_allclose(got.output[name], value, atol=1e-6)


@pytest.mark.filterwarnings("ignore:deep_taylor", "ignore:guided_backprop", "ignore:deconvnet")
@pytest.mark.parametrize("make", [mlp, cnn, fixed, time_major])
@pytest.mark.parametrize("batch_size", [None, 2])
def test_each_method_says_what_it_says_alone(make, batch_size, monkeypatch):
    known = make()
    made = []
    session = several.Session
    monkeypatch.setattr(several, "Session", lambda *a: made.append(1) or session(*a))
    explainers = Explainers(known.model, SWEEPS, batch_size=batch_size)
    for target in (None, 1):
        got = explainers.explain(known.x, target)
        assert list(got) == SWEEPS
        for name in SWEEPS:
            same(got[name], onnxplain.explain(known.model, known.x, name, target=target, batch_size=batch_size))
    assert len(made) == 1


def test_methods_of_many_points_and_of_none_go_along():
    known = mlp()
    methods = {
        "grad": "gradient",
        "ig": {"method": "integrated_gradients", "steps": 5},
        "occ": {"method": "occlusion", "window": 1},
        "eps": {"method": "lrp", "composite": "epsilon"},
        "half": {"method": "deeplift", "baseline": draw(*known.x.shape, seed=4)},
    }
    got = Explainers(known.model, methods, batch_size=2).explain(known.x, [0, 1, 2, 3, 0])
    assert list(got) == list(methods)
    for label, given in methods.items():
        params = dict(given) if isinstance(given, dict) else {"method": given}
        same(got[label], onnxplain.explain(known.model, known.x, target=[0, 1, 2, 3, 0], **params))


@pytest.mark.parametrize("make", [mlp, fixed, time_major])
def test_several_targets_of_the_same_inputs(make):
    known = make()
    targets = [0, None, 1]
    got = Explainers(known.model, ["gradient", "lrp", "integrated_gradients"]).explain_each(known.x, targets)
    for name, each in got.items():
        for target, explanation in zip(targets, each, strict=True):
            same(explanation, onnxplain.explain(known.model, known.x, name, target=target))


def test_weights_and_indices_mixed():
    known = mlp()
    weights = draw(5, 4, seed=9)
    for targets in ([weights, weights * 2], [weights, 1]):
        got = Explainers(known.model, ["gradient", "input_x_gradient"]).explain_each(known.x, targets)
        for name, each in got.items():
            for target, explanation in zip(targets, each, strict=True):
                same(explanation, onnxplain.explain(known.model, known.x, name, target=target))


def test_layers_beside_inputs_in_one_graph(monkeypatch):
    known, made, session = cnn(), [], several.Session
    monkeypatch.setattr(several, "Session", lambda *a: made.append(1) or session(*a))
    got = Explainers(known.model, ["gradient", "grad_cam", {"method": "grad_cam", "relu": False}]).explain(known.x, 1)
    assert list(got) == ["gradient", "grad_cam", "grad_cam 2"]
    assert len(made) == 1
    same(got["grad_cam"], onnxplain.explain(known.model, known.x, "grad_cam", target=1))


def test_several_inputs():
    model = two_inputs()
    shapes = {i.name: [d.dim_value or 2 for d in i.type.tensor_type.shape.dim] for i in model.graph.input}
    x = {n: draw(*s, seed=k) for k, (n, s) in enumerate(shapes.items())}
    for name, explanation in Explainers(model, ["gradient", "lrp"]).explain(x, 0).items():
        same(explanation, onnxplain.explain(model, x, name, target=0))


def test_one_file_for_all(tmp_path):
    known = mlp()
    explainers = Explainers(known.model, {"g": "gradient", "ig": {"method": "integrated_gradients", "steps": 4}, "lrp": "lrp"})
    explainers.save(tmp_path / "all.onnx")
    session = ort.InferenceSession(tmp_path / "all.onnx", providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    assert names == ["y", "attribution:g", "attribution:ig", "attribution:lrp"]
    got = dict(zip(names, session.run(None, {"x": known.x, "target": np.array([0, 1, 2, 3, -1])})))
    for label, explanation in explainers.explain(known.x, [0, 1, 2, 3, int(got["y"][4].argmax())]).items():
        np.testing.assert_allclose(got[f"attribution:{label}"], explanation.attribution, atol=1e-5)
    facts = json.loads(session.get_modelmeta().custom_metadata_map["onnxplain.methods"])
    assert facts["ig"]["params"]["steps"] == 4


def test_what_cannot_be_together():
    model = mlp().model
    with pytest.raises(InputError, match="occlusion asks the model many times"):
        _ = Explainers(model, {"g": "gradient", "o": {"method": "occlusion", "window": 1}}).model
    for methods in ([], "gradient", {}):
        with pytest.raises(InputError, match="methods must be a list of names"):
            Explainers(model, methods)
    with pytest.raises(InputError, match="lacks the key 'method'"):
        Explainers(model, {"a": {"steps": 3}})
    with pytest.raises(InputError, match="unknown method 'gradeint'"):
        Explainers(model, ["gradeint"])
    with pytest.raises(InputError, match="targets is empty"):
        Explainers(model, ["gradient"]).explain_each(mlp().x, [])


def test_labels_may_be_numbers_and_methods_are_taken_whole():
    from onnxplain.methods import method

    known = mlp()
    explainers = Explainers(known.model, {1: "gradient", 2: {"method": "lrp", "composite": "epsilon"}})
    assert list(explainers.explain(known.x)) == ["1", "2"]
    whole = onnxplain.Explainer(known.model, {"method": "gradient", "postprocess": "abs"})
    assert whole.method.postprocess == "abs"
    with pytest.raises(InputError, match=r"method=.* has its own parameters: postprocess beside it would be ignored"):
        onnxplain.Explainer(known.model, method("gradient", {}), postprocess="abs")
