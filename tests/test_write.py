"""The forms of the emitted model."""

import numpy as np
import onnx
import pytest
from helpers import cnn, draw, mlp, parse, two_inputs

import onnxplain
from onnxplain.session import Session
from onnxplain.write import SCORE, TARGET


def writer(known, method="integrated_gradients", **params):
    return onnxplain.Explainer(known.model, method, **params)._runner.writer


@pytest.mark.parametrize("form", ["plain", "forward", "shape", "piece", "scores"])
@pytest.mark.parametrize("weighted", [False, True])
def test_every_form_is_a_model(form, weighted):
    method = {"plain": "gradient"}.get(form, "integrated_gradients")
    proto = getattr(writer(cnn(), method), form)(weighted).to_proto()
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


def test_a_model_is_written_in_time_that_grows_linearly():
    """One node more costs what the one before cost: the number written grows in proportion."""
    counts = []
    for depth in (50, 100, 200):
        body = "\n".join(f"v{k + 1} = Tanh(v{k})" for k in range(depth))
        model = parse(f"g (float[N,3] v0) => (float[N,3] v{depth}) {{ {body} }}")
        counts.append(len(onnxplain.Explainer(model, "gradient").model.graph.node))
    assert counts[2] - counts[1] == 2 * (counts[1] - counts[0])
