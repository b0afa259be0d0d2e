"""The explainer: what comes in, what comes out, what is saved, and what is made only once."""

import hashlib
import json
import pickle
import tracemalloc

import numpy as np
import onnx
import pytest
from helpers import cnn, draw, fixed, mlp, parse, plain, sequence, time_major, tokens, two_inputs

import onnxplain
from onnxplain import Explainer, InputError, runner
from onnxplain.optimize import switched_off

METHODS = {
    "gradient": {},
    "saliency": {},
    "input_x_gradient": {},
    "integrated_gradients": {"steps": 5, "baseline": 0.1},
    "smoothgrad": {"noise": 0.1 * draw(4, 1, 3, seed=7)},
    "vargrad": {"noise": 0.1 * draw(4, 1, 3, seed=7)},
    "expected_gradients": {"baselines": draw(4, 3, seed=8), "alphas": np.linspace(0.1, 0.9, 4)},
    "guided_backprop": {},
    "deconvnet": {},
}


@pytest.mark.parametrize("method", METHODS)
def test_a_saved_file_gives_what_explain_gives(method, tmp_path):
    known = mlp(relu=True)
    explainer = Explainer(known.model, method, **METHODS[method])
    explainer.save(tmp_path / "explainer.onnx")
    saved = onnx.load(tmp_path / "explainer.onnx")
    onnx.checker.check_model(saved, full_check=True)
    assert saved.ir_version == 10
    assert {o.domain: o.version for o in saved.opset_import} == {"": 21}
    assert {n.domain for n in saved.graph.node} <= {"", "ai.onnx"}
    made = [o for n in saved.graph.node for o in n.output if o]
    assert len(made) == len(set(made))
    assert [i.name for i in saved.graph.input] == ["x", "target"]
    assert [o.name for o in saved.graph.output] == ["y", "attribution"]
    session = plain(saved)
    for target, given in (([-1] * 5, None), ([0, 1, 2, 3, 0], [0, 1, 2, 3, 0])):
        y, attribution = session.run(None, {"x": known.x, "target": np.array(target)})
        expected = explainer.explain(known.x, given)
        np.testing.assert_allclose(attribution, expected.attribution, atol=1e-5)
        np.testing.assert_allclose(y, expected.output["y"], atol=1e-6)
    summed = session.run(None, {"x": known.x, "target": np.full(5, -2)})[1]
    if method in ("gradient", "integrated_gradients", "smoothgrad"):
        np.testing.assert_allclose(summed, explainer.explain(known.x, np.ones((5, 4), np.float32)).attribution, atol=1e-4)
    facts = {p.key: p.value for p in saved.metadata_props}
    assert facts["onnxplain.method"] == method
    assert set(json.loads(facts["onnxplain.params"])) == set(explainer.method.params)
    assert facts["onnxplain.source_sha256"] == hashlib.sha256(known.model.SerializeToString(deterministic=True)).hexdigest()
    assert facts["onnxplain.target_input"] == "target"
    assert facts["onnxplain.wrt"] == '["x"]'
    assert facts["onnxplain.version"]


def test_saved_files_of_other_models():
    known = sequence()
    explainer = Explainer(known.model, "gradient")
    saved = plain(explainer.model)
    for target, given in (([[3, 1], [0, -2]], [(3, 1), (0, None)]), ([[-1, -1]] * 2, None), ([[-2, 1]] * 2, (None, 1))):
        got = saved.run(["attribution"], {"x": known.x, "target": np.array(target)})[0]
        np.testing.assert_allclose(got, explainer.explain(known.x, given).attribution, atol=1e-6)
    known = fixed()
    explainer = Explainer(known.model, steps=4)
    got = plain(explainer.model).run(["attribution"], {"x": known.x[:2], "target": np.array([1, 2])})[0]
    np.testing.assert_allclose(got, explainer.explain(known.x[:2], [1, 2]).attribution, atol=1e-6)
    known = time_major()
    explainer = Explainer(known.model, steps=4)
    got = plain(explainer.model).run(["attribution"], {"x": known.x, "target": np.array([1, 0, 1])})[0]
    np.testing.assert_allclose(got, explainer.explain(known.x, [1, 0, 1]).attribution, atol=1e-6)
    explainer = Explainer(two_inputs(), steps=4)
    feeds = {"a": draw(2, 3), "b": draw(2, 4), "rate": np.array(0.5, np.float32)}
    session = plain(explainer.model)
    names = [o.name for o in session.get_outputs()]
    assert names == ["y", "attribution:a", "attribution:b", "attribution:rate"]
    expected = explainer.explain(feeds, 3).attributions
    for name, got in zip(names[1:], session.run(names[1:], feeds | {"target": np.array([3, 3])})):
        np.testing.assert_allclose(got, expected[name.partition(":")[2]], atol=1e-6)
    ids = np.array([[1, 2, 3]])
    explainer = Explainer(tokens(), "gradient")
    np.testing.assert_allclose(plain(explainer.model).run(["attribution"], {"ids": ids, "target": np.array([1])})[0], explainer.explain(ids, 1).attribution)


def test_a_saved_smoothgrad_draws_noise_of_the_right_size():
    model = parse("g (float[N,40] x) => (float[N,40] y) { s = Mul(x, x)\n y = Mul(s, half) }", half=np.float32(0.5))
    x = draw(2, 40)
    saved = plain(Explainer(model, "vargrad", samples=800, noise_sigma=0.5).model)
    var = saved.run(["attribution"], {"x": x, "target": np.full(2, -2)})[0]
    np.testing.assert_allclose(var, np.full_like(x, 0.25), rtol=0.3)


def test_names_that_the_model_has_already():
    x = draw(2, 3)
    for text in (
        "g (float[N,3] x) => (float[N,3] y) { target = Tanh(x)\n attribution = Exp(target)\n y = Mul(attribution, target) }",
        "g (float[N,3] target) => (float[N,3] attribution) { a = Tanh(target)\n attribution = Exp(a) }",
    ):
        model = parse(text)
        explainer = Explainer(model, "gradient")
        name = model.graph.input[0].name
        onnx.checker.check_model(explainer.model, full_check=True)
        facts = {p.key: p.value for p in explainer.model.metadata_props}
        got = plain(explainer.model).run(None, {name: x, facts["onnxplain.target_input"]: np.array([0, 1])})
        expected = explainer.explain(x, [0, 1])
        np.testing.assert_allclose(got[0], next(iter(expected.output.values())), atol=1e-6)
        np.testing.assert_allclose(got[1], expected.attribution, atol=1e-6)


def test_an_explainer_can_be_explained():
    """The derivative of (gradient of class 1, element 2), against differences of the gradient."""
    known = mlp()
    inner = Explainer(known.model, "gradient")
    feeds = {"x": known.x, "target": np.full(5, 1)}
    got = onnxplain.explain(inner.model, feeds, "gradient", output="attribution", target=2).attribution
    expected = np.zeros_like(known.x)
    for k in range(3):
        step = np.zeros(3)
        step[k] = 1e-4
        up, down = (known.slope(known.x + s * step, known.one_hot([1] * 5)) for s in (1, -1))
        expected[:, k] = (up - down)[:, 2] / 2e-4
    np.testing.assert_allclose(got, expected, atol=1e-4)


# ---- made once ----


def test_one_session_serves_any_number_of_calls(monkeypatch):
    made = []
    session = runner.Session
    monkeypatch.setattr(runner, "Session", lambda *a: made.append(1) or session(*a))
    for method, most in (("gradient", 1), ("integrated_gradients", 3), ("smoothgrad", 2)):
        made.clear()
        explainer = Explainer(mlp().model, method, batch_size=64, **({"steps": 3} if method == "integrated_gradients" else {}))
        for n in (1, 2, 500, 1000):
            assert explainer.explain(draw(n, 3)).attribution.shape == (n, 3)
            explainer.explain(draw(n, 3), 1)
        assert 1 <= len(made) <= most


def test_big_weights_are_neither_copied_nor_serialised():
    w = draw(1500, 1500)
    model = parse("g (float[N,1500] x) => (float[N,1500] y) { h = MatMul(x, w)\n r = Relu(h)\n y = MatMul(r, v) }", w=w, v=w)
    loaded = onnxplain.load(model)
    tracemalloc.start()
    try:
        explainer = Explainer(loaded, "integrated_gradients", steps=20)
        emitted = explainer._runner.writer.piece(False)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < w.nbytes
    assert len(emitted.proto.SerializeToString()) < 100_000
    known = explainer.question.graph.constants
    assert all(np.shares_memory(emitted.array(n), known[n].numpy()) for n in emitted.weights if n in known)


# ---- what comes in ----


def test_inputs_are_checked():
    explainer = Explainer(two_inputs(), "gradient")
    good = {"a": draw(2, 3), "b": draw(2, 4), "rate": 1.0}
    explainer.explain(good)
    for change, word in (
        ({"a": draw(2, 4)}, "wanted"),
        ({"a": draw(3, 3)}, "batch sizes differ"),
        ({"a": draw(0, 3), "b": draw(0, 4)}, "empty"),
        ({"a": np.full((2, 3), np.nan)}, "NaN"),
        ({"a": np.array([["a"] * 3] * 2)}, "dtype"),
        ({"c": 1}, "none of them"),
        ({"a": [[1, 2, 3], [1, 2]]}, "regular"),
    ):
        with pytest.raises(InputError, match=word):
            explainer.explain(good | change)
    with pytest.raises(InputError, match="missing"):
        explainer.explain({"a": draw(2, 3)})
    with pytest.raises(InputError, match="3 inputs"):
        explainer.explain(draw(2, 3))
    with pytest.raises(InputError, match="dtype"):
        Explainer(tokens(), "gradient").explain(np.array([[0.5]]))


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"method": "gradeint"}, "gradient"),
        ({"step": 3}, "steps"),
        ({"batch_size": 0}, "batch_size"),
        ({"wrt": "nothing"}, "unknown tensor"),
        ({"output": "zz"}, "unknown tensor"),
        ({"providers": ["Nowhere"]}, "Nowhere"),
        ({"wrt": "y", "output": "z"}, "does not depend"),
    ],
)
def test_wrong_options(options, word):
    with pytest.raises(InputError, match=word):
        Explainer(mlp().model, **options).explain(draw(2, 3))


def test_integers_and_float64_become_what_the_model_takes():
    known = mlp()
    ints = np.ones((2, 3), np.int64)
    np.testing.assert_array_equal(
        onnxplain.explain(known.model, ints, "gradient").attribution, onnxplain.explain(known.model, ints.astype(np.float64), "gradient").attribution
    )


def test_the_explanation_tells_everything():
    known = cnn()
    explainer = Explainer(known.model, "integrated_gradients", steps=6)
    result = explainer(known.x, [0, 1, 2])
    assert result.method == "integrated_gradients"
    assert result.params["steps"] == 6
    assert result.target.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(result.inputs["x"], known.x)
    e = np.exp(known.forward(known.x))
    np.testing.assert_allclose(result.output["p"], e / e.sum(1, keepdims=True), atol=1e-4)
    with pytest.raises(InputError, match="learns nothing"):
        explainer.fit(known.x)


def test_tensors_inside_whose_first_axis_is_the_batch_times_something():
    """[N, 3, 4] flattened to [3 N, 4]: cut and joined as whole samples."""
    w = draw(4, 5)
    for batch in ("N", 2):
        text = f"""g (float[{batch},3,4] x) => (float[{batch},5] y) {{
            r = Reshape(x, flat)
            h = Tanh(r)
            k = MatMul(h, w)
            q = Reshape(k, back)
            y = ReduceSum<keepdims=0>(q, one) }}"""
        model = parse(text, w=w, flat=np.array([-1, 4]), back=np.array([-1, 3, 5]), one=np.array([1]))
        x = draw(3, 3, 4)
        for method in ("gradient", "integrated_gradients", "smoothgrad"):
            got = onnxplain.explain(model, x, method, wrt="h", target=1, batch_size=2)
            expected = np.broadcast_to(w[:, 1], (9, 4)) * (np.tanh(x).reshape(9, 4) if method == "integrated_gradients" else 1)
            np.testing.assert_allclose(got.attribution, expected, atol=1e-5)
            if got.delta is not None:
                assert got.delta.shape == (3,)


def test_what_the_batch_shares_is_not_split():
    feeds = {"a": draw(5, 3), "b": draw(5, 4), "rate": np.float32(2)}
    whole, split = (onnxplain.explain(two_inputs(), feeds, "gradient", target=0, batch_size=b).attributions for b in (100, 2))
    np.testing.assert_allclose(split["rate"], whole["rate"], rtol=1e-6)
    t = np.tanh(feeds["a"] @ draw(3, 4, seed=70))
    np.testing.assert_allclose(whole["rate"], (t * feeds["b"])[:, 0].sum(), rtol=1e-5)


def test_pickled_before_and_after_its_first_use():
    known = mlp()
    asked = {"lrp": {"composite": "epsilon"}, "excitation_backprop": {}, "integrated_gradients": {"inner": "excitation_backprop", "steps": 3}}
    tables = [onnxplain.Explainer(known.model, method, **params) for method, params in asked.items()]
    for made in (onnxplain.Explainer(known.model, "gradient"), onnxplain.Explainers(known.model, ["gradient", "saliency"]), *tables):
        first = made.explain(known.x, target=1)
        again = pickle.loads(pickle.dumps(made)).explain(known.x, target=1)
        pairs = [(first[k], again[k]) for k in first] if isinstance(first, dict) else [(first, again)]
        for a, b in pairs:
            np.testing.assert_array_equal(a.attribution, b.attribution)


@pytest.mark.parametrize("extent", [12, 13, "H"])
def test_a_pool_whose_last_window_is_cut_off(extent):
    model = parse(
        f"g (float[N,2,{extent},13] x) => (float[N,2,1,1] y) {{ p = MaxPool<kernel_shape=[2,2], strides=[2,2], ceil_mode=1>(x)\n y = GlobalAveragePool(p) }}"
    )
    x = draw(2, 2, extent if isinstance(extent, int) else 9, 13)
    padded = np.pad(x, [(0, 0), (0, 0), (0, x.shape[2] % 2), (0, 1)], constant_values=-np.inf)
    windows = padded.reshape(2, 2, padded.shape[2] // 2, 2, 7, 2)
    won = (windows == windows.max((3, 5), keepdims=True)).reshape(padded.shape)[:, :, : x.shape[2], :13] / (windows.shape[2] * 7)
    got = onnxplain.explain(model, x, "gradient", target=(1, 0, 0)).attribution
    np.testing.assert_allclose(got[:, 1], won[:, 1], rtol=1e-6)
    assert onnxplain.explain(model, x, "deeplift", target=(1, 0, 0)).attribution.any()


def test_a_pool_whose_last_window_is_dropped_before_the_output():
    """Inference of that time counts the window, in the declared output too."""
    model = parse(
        "g (float[1,1,7,6] x) => (float[1,12] y) { p = AveragePool<kernel_shape=[2,2], strides=[3,3], pads=[1,1,1,1], ceil_mode=1>(x)\n y = Flatten(p) }"
    )
    got = onnxplain.explain(model, draw(1, 1, 7, 6), "gradient", target=4)
    assert got.output["y"].shape == (1, 9)
    np.testing.assert_allclose(got.attribution[0, 0, 2:4, 2:4], 0.25)
    np.testing.assert_allclose(got.attribution.sum(), 1)


@pytest.mark.parametrize(
    "text",
    [
        "y = LeakyRelu<alpha = 0.1>(x)",
        "y = PRelu(x, slope)",
        "y = Mish(x)",
        "y = Softplus(x)",
        "a = Add(x, three)\n c = Clip(a, zero, six)\n m = Mul(x, c)\n y = Div(m, six)",
    ],
)
def test_float64_where_kernels_of_the_emitted_opset_take_none(text):
    numbers = {"slope": 0.3, "three": 3.0, "zero": 0.0, "six": 6.0}
    model = parse(f"g (double[N,3] x) => (double[N,3] y) {{ {text} }}", **{k: np.float64(v) for k, v in numbers.items() if k in text})
    x = np.random.default_rng(0).standard_normal((2, 3)) * 2
    got = onnxplain.explain(model, x, "gradient", target=1)
    wide = lambda v: onnxplain.explain(model, v, "gradient", target=1).output["y"][:, 1]
    step = np.eye(3)[1] * 1e-6
    np.testing.assert_allclose(got.attribution[:, 1], (wide(x + step) - wide(x - step)) / 2e-6, rtol=1e-5)


def test_labels_as_texts():
    model = parse(
        "g (float[N,3] x) => (float[N,3] y, string[N] label) { y = Tanh(x)\n i = ArgMax<axis=1, keepdims=0>(y)\n label = Gather(names, i) }",
        names=np.array(["a", "b", "cc"], object),
    )
    got = onnxplain.explain(model, np.eye(3, dtype=np.float32), "gradient")
    assert got.output["label"].tolist() == ["a", "b", "cc"]


@pytest.mark.parametrize("bounds", [(-1e-20, 1e20), (0.0, 3e38), (0.0, 6.0)])
def test_clips_with_any_bounds(bounds):
    model = parse(
        "g (float[N,3,8,8] x) => (float[N,16,8,8] y) { c = Conv<pads=[1,1,1,1]>(x, w)\n d = Clip(c, low, high)\n y = Conv(d, v) }",
        w=draw(16, 3, 3, 3),
        v=draw(16, 16, 1, 1),
        low=np.float32(bounds[0]),
        high=np.float32(bounds[1]),
    )
    x = draw(2, 3, 8, 8)
    got = onnxplain.explain(model, x, "gradient", target=(0, 4, 4), providers=["CPUExecutionProvider"]).attribution
    with switched_off():
        plainly = onnxplain.explain(model, x, "gradient", target=(0, 4, 4), providers=["CPUExecutionProvider"]).attribution
    np.testing.assert_allclose(got, plainly, atol=1e-5)


def test_what_is_not_finite_is_said():
    model = parse("g (float[N,3] x) => (float[N,3] y) { y = Log(x) }")
    with pytest.warns(UserWarning, match="1 of 3 elements of the attribution of 'x' are not finite"):
        onnxplain.explain(model, np.float32([[0, 1, 4]]), "gradient", target=np.ones((1, 3), np.float32))


@pytest.mark.parametrize(("method", "params"), [("feature_ablation", {}), ("lime", {"samples": 8}), ("rise", {"samples": 4}), ("occlusion", {"window": 1})])
def test_several_rows_for_each_sample_are_not_perturbed(method, params):
    model = parse("g (float[N,2,3] x) => (float[N,6] y) { h = Reshape(x, rows) r = Relu(h) y = Reshape(r, back) }", rows=[-1, 3], back=[-1, 6])
    x = draw(2, 2, 3)
    assert onnxplain.explain(model, x, "gradient", wrt="h").attribution.shape == (4, 3)
    with pytest.raises(InputError, match=f"{method} changes a tensor sample by sample, and 'h' has 4 for 2 samples on axis 0"):
        onnxplain.explain(model, x, method, wrt="h", **params)


def test_a_target_that_does_not_fit_the_score_is_told_which_that_is():
    model = parse("g (float[N,2,3] x) => (float[N,6] y) { a = Neg(x) p = Softmax(a) y = Reshape(p, flat) }", flat=[-1, 6])
    with pytest.raises(InputError, match=r"target 5 does not tell .*; the output here is 'a', float32\[N, 2, 3\]: output= names another"):
        onnxplain.explain(model, draw(2, 2, 3), "gradient", target=5)
    assert onnxplain.explain(model, draw(2, 2, 3), "gradient", target=5, output="y").attribution.shape == (2, 2, 3)


def test_maps_from_labels_are_cut_where_a_fixed_batch_was_padded():
    model = parse("g (float[4,3] x) => (float[4,3] p) { p = Softmax(x)\n m = ReduceMean(p) }")
    model.graph.node.append(onnx.helper.make_node("ZipMap", ["p"], ["z"], domain="ai.onnx.ml", classlabels_int64s=[0, 1, 2]))
    model.opset_import.append(onnx.helper.make_opsetid("ai.onnx.ml", 1))
    labelled = onnx.helper.make_map_type_proto(onnx.TensorProto.INT64, onnx.helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, []))
    model.graph.output.append(onnx.helper.make_value_info("z", onnx.helper.make_sequence_type_proto(labelled)))
    model.graph.output.append(onnx.helper.make_tensor_value_info("m", onnx.TensorProto.FLOAT, [1, 1]))
    explanation = onnxplain.explain(model, draw(3, 3), "gradient")
    assert len(explanation.output["z"]) == len(explanation.attribution) == 3


def test_a_saved_mean_over_points_keeps_the_shape():
    model = onnxplain.Explainer(mlp().model, "integrated_gradients", steps=3).model
    shape = next(o for o in model.graph.output if o.name == "attribution").type.tensor_type.shape
    assert [d.dim_value or d.dim_param for d in shape.dim] == [d.dim_value or d.dim_param for d in model.graph.input[0].type.tensor_type.shape.dim]
