"""Layers drawn anew: which, how, and what becomes of explanations."""

import numpy as np
import onnx
import pytest
from helpers import cnn, draw, mlp, parse, run

import onnxplain
from onnxplain import evaluate

from .known import values


def weights(model):
    return {n: t.numpy() for n, t in onnxplain.load(model).raw.constants.items()}


def test_layers_from_the_output_to_the_input():
    assert list(evaluate.layers(cnn().model).values()) == [["w3", "b3"], ["w2", "b2"], ["scale", "shift", "mean", "var"], ["w1", "b1"]]
    assert list(evaluate.layers(mlp().model).values()) == [["w2", "b2"], ["w1", "b1"]]


def test_quantised_and_transposed_weights_are_found():
    model = parse(
        """g (float[N,4] x) => (float[N,3] y) {
            d = DequantizeLinear(q, s, z)
            t = Transpose<perm=[1,0]>(d)
            h = MatMul(x, t)
            k = Reshape(h, shape)
            y = MatMul(k, w) }""",
        q=np.arange(20, dtype=np.int8).reshape(5, 4),
        s=np.float32(0.1),
        z=np.int8(0),
        shape=np.array([-1, 5]),
        w=draw(5, 3),
    )
    assert list(evaluate.layers(model).values()) == [["w"], ["q"]]
    drawn = weights(evaluate.redrawn(model, ["q"]))
    assert sorted(drawn["q"].ravel()) == list(range(20))
    assert drawn["q"].tolist() != np.arange(20).reshape(5, 4).tolist()


def test_redrawn_keeps_moments_or_values():
    model, before = cnn().model, weights(cnn().model)
    after = weights(evaluate.redrawn(model, ["w2", "b2", "var"], seed=3))
    for name, w in before.items():
        assert after[name].dtype == w.dtype and after[name].shape == w.shape
        assert np.array_equal(after[name], w) == (name not in ("w2", "b2", "var")), name
    assert sorted(after["var"]) == sorted(before["var"])
    assert sorted(after["b2"]) == sorted(before["b2"])
    assert abs(after["w2"].std() - before["w2"].std()) < 0.2 * before["w2"].std()
    again, other, alone = (weights(evaluate.redrawn(model, names, seed=s))["w2"] for names, s in ((["w2"], 3), (["w2"], 4), (["w1", "w2"], 3)))
    np.testing.assert_array_equal(again, after["w2"])
    np.testing.assert_array_equal(alone, after["w2"])
    assert np.abs(other - after["w2"]).max() > 0.1
    with pytest.raises(onnxplain.InputError, match="unknown initializer 'w9'"):
        evaluate.redrawn(model, ["w9"])


def rebuilt(model, names, seed):
    """The same in an onnx.ModelProto, for ONNX Runtime alone."""
    drawn, copy = weights(evaluate.redrawn(model, names, seed)), onnx.ModelProto()
    copy.CopyFrom(model)
    for tensor in copy.graph.initializer:
        if tensor.name in drawn:
            tensor.CopyFrom(onnx.numpy_helper.from_array(drawn[tensor.name].copy(), tensor.name))
    return copy


def test_what_is_explained_is_the_redrawn_network():
    known = mlp()
    model = evaluate.redrawn(known.model, ["w1"], seed=1)
    got = onnxplain.explain(model, known.x, "gradient", target=0)
    np.testing.assert_allclose(got.output["y"], run(rebuilt(known.model, ["w1"], 1), x=known.x)["y"], rtol=1e-5)


@pytest.mark.parametrize("mode", ["cascading", "independent"])
def test_similarities_layer_by_layer(mode):
    from scipy.stats import spearmanr

    known = mlp()
    result = evaluate.randomisation(known.model, known.x, ["gradient", "magnitude"], mode=mode, seed=2)
    best = onnxplain.explain(known.model, known.x, "gradient")
    drawn = [["w2", "b2"], ["w2", "b2", "w1", "b1"] if mode == "cascading" else ["w1", "b1"]]
    for depth, names in enumerate(drawn, 1):
        other = onnxplain.explain(rebuilt(known.model, names, 2), known.x, "gradient", target=best.target)
        expected = [spearmanr(a, b).statistic for a, b in zip(best.attribution, other.attribution)]
        np.testing.assert_allclose(values(result.where(depth=depth), method="gradient"), expected, rtol=1e-5)
    np.testing.assert_allclose(values(result, method="magnitude"), 1)  # edges and the like pass no sanity check
    assert len({r["layer"] for r in result}) == 2
    table = str(result).splitlines()
    assert table[0].split() == ["layer", "gradient", "magnitude"] and len(table) == 4
    line = result.plot().containers[0].lines[0]
    assert line.get_ydata()[0] == pytest.approx(np.mean(values(result.where(depth=1), method="gradient")))


def test_taken_up(tmp_path):
    known, path = mlp(), tmp_path / "r.csv"
    first = evaluate.randomisation(known.model, known.x, "gradient", store=path)
    text = path.read_bytes()
    again = evaluate.randomisation(known.model, known.x, "gradient", store=path)
    assert path.read_bytes() == text
    assert again.records == first.records
    with pytest.raises(onnxplain.InputError, match="measured with another model, other data or other parameters"):
        evaluate.randomisation(known.model, known.x, "gradient", mode="independent", store=path)


@pytest.mark.parametrize(
    ("model", "methods", "options", "message"),
    [
        (mlp().model, "gradient", {"mode": "all"}, "mode must be one of"),
        (mlp().model, "gradient", {"similarity": "ssmi"}, "did you mean 'ssim'"),
        (mlp().model, {"a": draw(5, 3)}, {}, "was explained before, and more has to be explained"),
        (parse("g (float[N,3] x) => (float[N,3] y) { y = Tanh(x) }"), "gradient", {}, "no layer with weights"),
    ],
)
def test_refused(model, methods, options, message):
    with pytest.raises(onnxplain.InputError, match=message):
        evaluate.randomisation(model, draw(5, 3), methods, **options)
