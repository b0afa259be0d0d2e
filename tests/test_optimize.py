"""Rewrites for speed: each changes what is written and nothing of what comes out."""

from __future__ import annotations

import collections
from contextlib import nullcontext

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from helpers import draw, halved
from networks import Net, build

import onnxplain
from onnxplain import InputError, blocks
from onnxplain.ops.shapes import cast
from onnxplain.optimize import switched_off
from onnxplain.session import Session
from onnxplain.tape import FINISHERS, PEEPHOLES, Tape, Type, op
from onnxplain.write import together

X = draw(2, 3, 8, 8)


def pools():
    """Pooling with and without overlap, a strided pointwise and a strided 3×3 convolution, enough channels to be worth flipping."""
    n = Net(seed=3)
    n.shape = ["N", 3, 16, 16]
    h = n.pool("MaxPool", n.relu_conv("x", 3, 16))
    h = n.add("Relu", n.conv(h, 16, 16, 1, strides=[2, 2], pads=[0] * 4))
    h = n.pool("MaxPool", n.relu_conv(h, 16, 16, strides=[1, 1]), 3, 1, 1)
    n.head(n.relu_conv(h, 16, 16, strides=[2, 2]), 64)
    return n.model()


def residual():
    """Two residual blocks, one of them with a strided shortcut, ended by a global mean: neither's cotangent is a convolution's."""
    n = Net(seed=5)
    n.shape = ["N", 3, 16, 16]
    h = n.relu_conv("x", 3, 16)
    h = n.add("Relu", n.add("Add", n.conv(n.relu_conv(h, 16, 16), 16, 16), h))
    h = n.add("Relu", n.add("Add", n.conv(n.relu_conv(h, 16, 16), 16, 16, strides=[2, 2]), n.conv(h, 16, 16, 1, strides=[2, 2])))
    n.head(n.add("GlobalAveragePool", h), 16)
    return n.model()


def biased():
    """A chain of convolutions with biases, pooled on the way."""
    n = Net(seed=7)
    n.shape = ["N", 3, 16, 16]
    h = "x"
    for i in (3, 16, 16):
        h = n.add("Relu", n.add("Conv", h, n.weight(16, i, 3, 3), n.array(draw(16, seed=i)), pads=[1] * 4))
        h = n.pool("MaxPool", h) if i == 3 else h
    n.head(h, 16 * 64)
    return n.model()


def depthwise():
    """A strided convolution of each channel by itself."""
    n = Net(seed=8)
    n.shape = ["N", 3, 16, 16]
    h = n.add("Clip", n.conv("x", 3, 16), n.array(0.0), n.array(6.0))
    n.head(n.add("Relu", n.conv(n.relu_conv(h, 16, 16, group=16, strides=[2, 2]), 16, 16, 1)), 16 * 64)
    return n.model()


def strided():
    """A strided convolution of 16 channels."""
    n = Net(seed=3)
    n.shape = ["N", 3, 16, 16]
    n.head(n.relu_conv(n.relu_conv("x", 3, 16), 16, 16, strides=[2, 2]), 16 * 64)
    return n.model()


def wide(size=28):
    """Two convolutions with 256 channels of size × size."""
    n = Net(seed=2)
    n.shape = ["N", 3, size, size]
    n.head(n.add("GlobalAveragePool", n.relu_conv(n.relu_conv("x", 3, 256), 256, 256)), 256)
    return n.model()


def attention():
    """One block of a transformer on 48 tokens of 16 numbers."""
    n = Net(seed=9)
    n.shape = ["N", 3, 16, 16]
    dense = lambda v, i, o: n.add("Add", n.add("MatMul", v, n.weight(i, o, fan=i)), n.array(0.1 * draw(o, seed=o)))
    heads = lambda v, perm: n.add("Transpose", n.add("Reshape", v, n.array([0, 48, 2, 8], np.int64)), perm=perm)
    layer_norm = lambda v: n.add("LayerNormalization", v, n.array(1 + 0.1 * draw(16, seed=1)), n.array(0.1 * draw(16, seed=2)), axis=-1)
    x = n.add("Reshape", "x", n.array([0, 48, 16], np.int64))
    q, k, v = (heads(dense(h, 16, 16), p) for h, p in zip([layer_norm(x)] * 3, ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3])))
    mixed = n.add("MatMul", n.add("Softmax", n.add("MatMul", q, k), axis=-1), v)
    h = n.add("Add", x, n.add("Reshape", n.add("Transpose", mixed, perm=[0, 2, 1, 3]), n.array([0, 48, 16], np.int64)))
    h = n.add("Add", h, dense(n.add("Gelu", dense(layer_norm(h), 16, 32)), 32, 16))
    n.head(n.add("Relu", h), 48 * 16)
    return n.model()


def emitted(model, method="gradient", *, saved=False, **params) -> collections.Counter:
    explainer = onnxplain.Explainer(model, method, providers=["CPUExecutionProvider"], **params)
    proto = explainer.model if saved else explainer._runner.writer.plain(False).proto
    return collections.Counter(n.op_type for n in proto.graph.node)


EPSILON = {"method": "lrp", "composite": "epsilon"}
ALPHA_BETA = {"method": "lrp", "composite": "epsilon_alpha2_beta1"}
WITH = [  # rewrite, model, method, operators that it brings, operators that it spares, what hides it
    ("steep_step", pools, {}, ["HardSigmoid"], ["Greater"], []),
    ("flipped_kernel", pools, {}, ["Slice"], ["ConvTranspose"], []),
    ("winograd", wide, {}, ["MatMul"], ["Slice"], []),
    ("pointwise_spread", pools, {}, ["Mul"], ["ConvTranspose"], []),
    ("strided_kernel", strided, {}, ["Concat"], ["ConvTranspose"], []),
    ("blocked_mask", pools, {}, ["FusedConv"], [], []),
    ("blocked_product", pools, {}, ["Conv"], [], []),
    ("blocked_sum", residual, {}, ["Conv"], [], ["blocked_product"]),  # a product behind a sum would bring it there too
    ("common_factor", residual, EPSILON, [], ["Mul"], []),
    ("share_of_relu", biased, EPSILON, [], ["HardSigmoid"], []),
    ("band_mask", depthwise, {}, [], ["Mul"], []),
    ("mask_before_relu", pools, {"method": "guided_backprop"}, [], ["FusedConv"], []),
    ("depthwise_spread", depthwise, {}, ["Mul"], ["ConvTranspose"], []),
    ("transposed_factor", attention, {}, ["FusedMatMul"], ["Transpose"], []),
]


@pytest.mark.parametrize(("name", "model", "options", "brings", "spares", "others"), WITH, ids=[row[0] for row in WITH])
def test_each_changes_what_is_written(name, model, options, brings, spares, others):
    with switched_off(*others) if others else nullcontext():
        on = emitted(model(), **options)
    with switched_off(name, *others):
        off = emitted(model(), **options)
    for op_type in brings:
        assert on[op_type] > off[op_type], op_type
    for op_type in spares:
        assert on[op_type] < off[op_type], op_type


def nodes_of(model, method="gradient", **params) -> list[onnx.NodeProto]:
    return list(onnxplain.Explainer(model, method, providers=["CPUExecutionProvider"], **params)._runner.writer.plain(False).proto.graph.node)


@pytest.mark.parametrize(("name", "method"), [("mask_before_unpooling", "gradient"), ("relu_before_unpooling", "deconvnet")])
def test_what_is_done_to_an_unpooled_map_is_done_to_its_winners(name, method):
    def readers() -> set[str]:
        nodes = nodes_of(pools(), method)
        (unpooled,) = (n.output[0] for n in nodes if n.op_type == "MaxUnpool")
        return {n.op_type for n in nodes if unpooled in n.input}

    with switched_off("blocked_product"):
        on = readers()
    with switched_off("blocked_product", name):
        off = readers()
    assert on.isdisjoint(["Mul", "Relu"])
    assert not off.isdisjoint(["Mul", "Relu"])


def readers(nodes, made: str, op_type: str) -> int:
    """How many nodes of one operator read what another makes."""
    values = {o for n in nodes if n.op_type == made for o in n.output}
    return sum(n.op_type == op_type and not values.isdisjoint(n.input) for n in nodes)


def test_alpha_and_beta_multiply_kernels():
    with switched_off("scaled_kernel"):
        assert readers(nodes_of(biased(), **ALPHA_BETA), "Div", "Mul") == 7
    assert readers(nodes_of(biased(), **ALPHA_BETA), "Div", "Mul") == 1  # the dense layer's


@pytest.mark.parametrize("stabilizer", [0.0, 0.1, {"clip": True, "epsilon": 0.1}, {"zeros_only": True}, {"norm_scale": True, "epsilon": 0.1}], ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_units_that_are_off_get_nothing_whatever_keeps_zero_away(stabilizer, dtype):
    """Where a ReLU's z is negative its relevance is 0 / z, and must not become 0 / 0."""
    x, options = draw(2, 3, 16, 16), EPSILON | {"epsilon": stabilizer}
    model = biased() if dtype == np.float32 else halved(biased())
    with switched_off():
        expected = onnxplain.explain(model, x.astype(dtype), target=1, **options).attribution
    got = onnxplain.explain(model, x.astype(dtype), target=1, **options).attribution
    assert np.isfinite(expected).all()
    np.testing.assert_allclose(got, expected, atol=np.abs(expected).max() * (1e-5 if dtype == np.float32 else 1e-2))


@pytest.mark.parametrize("model", [strided, wide])
def test_what_is_woven_or_in_tiles_is_rectified_before_it_is_transposed(model):
    with switched_off("relu_before_transposition"):
        assert readers(nodes_of(model(), "deconvnet"), "Transpose", "Relu") == 1
    assert readers(nodes_of(model(), "deconvnet"), "Transpose", "Relu") == 0


def test_softmax_sums_what_the_values_weigh():
    weighed = lambda nodes: readers(nodes, "Softmax", "Mul")
    with switched_off("rows_of_product"):
        assert weighed(nodes_of(attention())) == 2
    assert weighed(nodes_of(attention())) == 1


def test_masks_are_made_early():
    """Each behind what it is made of, before any cotangent is."""
    nodes = nodes_of(residual())
    made = {o: k for k, n in enumerate(nodes) for o in n.output}
    masks = [(k, n) for k, n in enumerate(nodes) if n.op_type == "FusedConv"]
    assert len(masks) == 5
    assert all(nodes[k - 1].op_type == "FusedConv" or made[n.input[0]] == k - 1 for k, n in masks)
    with switched_off("early_mask"):
        nodes = nodes_of(residual())
    assert min(k for k, n in enumerate(nodes) if n.op_type == "FusedConv") > max(k for k, n in enumerate(nodes) if n.op_type == "Gemm")


def test_a_pool_that_is_asked_for_its_winners_runs_once():
    assert emitted(pools())["MaxPool"] == 2
    assert emitted(pools(), saved=True)["MaxPool"] == 2


def test_an_unpooled_map_keeps_no_pooled_tensor_alive():
    """What the forward pass leaves behind a pool can be freed: nothing on the way back reads it, for its shape or anything else."""
    nodes = nodes_of(pools())
    (pool,) = (n for n in nodes if n.op_type == "MaxPool" and n.output[1] in next(u for u in nodes if u.op_type == "MaxUnpool").input)
    assert [n.op_type for n in nodes if pool.input[0] in n.input] == ["MaxPool"]


def test_ties_go_to_the_first_cell_and_zeros_get_nothing():
    """Whole windows of one value: the rewritten graph sends to the same cells as the unwritten one."""
    n = Net(seed=3)
    n.shape = ["N", 16, 4, 4]
    n.head(n.pool("MaxPool", n.add("Relu", "x")), 64)
    x = np.zeros((2, 16, 4, 4), np.float32)
    x[0], x[1, ::2] = 1, -1
    got = onnxplain.explain(n.model(), x, "gradient", target=1).attribution
    with switched_off():
        expected = onnxplain.explain(n.model(), x, "gradient", target=1).attribution
    np.testing.assert_array_equal(got, expected)
    assert (np.count_nonzero(got[0].reshape(16, 2, 2, 2, 2), axis=(2, 4)) == 1).all()
    assert not got[1].any()


def test_what_may_run_elsewhere_has_no_blocked_operands():
    for name in ("blocked_mask", "blocked_product", "blocked_sum"):
        on = emitted(residual(), saved=True)
        with switched_off(name):
            assert on == emitted(residual(), saved=True)


def test_what_may_run_elsewhere_scatters_and_what_runs_here_unpools():
    assert emitted(pools())["MaxUnpool"] == 1  # the windows of the other pooling overlap
    assert emitted(pools(), saved=True)["MaxUnpool"] == 0
    assert emitted(pools(), saved=True)["ScatterElements"] == 2


OPTIONS = [
    {"method": "gradient"},
    {"method": "guided_backprop"},
    {"method": "deconvnet"},
    EPSILON,
    ALPHA_BETA,
    {"method": "integrated_gradients", "steps": 4},  # several points of each sample share the batch axis: shapes must not promise otherwise
    {"method": "deepshap", "background": draw(3, 3, 16, 16, seed=1)},
]


@pytest.fixture
def applied(monkeypatch) -> set[str]:
    """The names of the rewrites that were applied since, and of those of whole graphs: switched off, the others change nothing."""
    names = {*FINISHERS, "blocked_arithmetic"}
    monkeypatch.setattr(blocks, "FEW", 0)

    def watched(name, rewrite):
        def answer(*operands, **attributes):
            better = rewrite(*operands, **attributes)
            names.update([] if better is None else [name])
            return better

        return answer

    for table in PEEPHOLES.values():
        for name, rewrite in list(table.items()):
            monkeypatch.setitem(table, name, watched(name, rewrite))
    return names


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: o.get("composite", o["method"]))
@pytest.mark.parametrize("model", [pools, residual, biased, depthwise, strided, attention])
def test_none_changes_a_number(options, model, applied):
    def explained() -> np.ndarray:
        return onnxplain.explain(model(), draw(3, 3, 16, 16), target=1, **options).attribution

    with switched_off():
        expected = explained()
    got = {"with all": explained()}
    for name in sorted(applied):
        with switched_off(name):
            got[f"without {name}"] = explained()
    assert len(got) > 2 + len(FINISHERS)
    for which, attribution in got.items():
        np.testing.assert_allclose(attribution, expected, atol=1e-5 * np.abs(expected).max(), err_msg=which)


@pytest.mark.parametrize("options", [{"method": "guided_backprop"}, EPSILON, ALPHA_BETA], ids=str)
def test_tiles_change_no_number(options):
    x = draw(2, 3, 28, 28)
    got = onnxplain.explain(wide(), x, target=1, **options).attribution
    with switched_off():
        expected = onnxplain.explain(wide(), x, target=1, **options).attribution
    np.testing.assert_allclose(got, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(
    "make", [onnxplain.Explainer, lambda model, method, **options: onnxplain.Explainers(model, [method], **options)], ids=["one", "several"]
)
@pytest.mark.parametrize(("n", "tiles"), [(1, False), (4, True)])
def test_the_first_batch_decides_whether_tiles_pay(n, tiles, make, monkeypatch):
    written = []
    for module in ("runner", "several"):
        monkeypatch.setattr(f"onnxplain.{module}.Session", lambda emitted, *a: written.append(emitted) or Session(emitted, *a))
    make(wide(14), "gradient", providers=["CPUExecutionProvider"]).explain(draw(n, 3, 14, 14), target=1)
    assert any(k.op_type == "MatMul" for k in written[-1].proto.graph.node) is tiles


@pytest.mark.parametrize("name", ["vgg", "resnet", "mobilenet"])
def test_the_saved_file_says_the_same(name, tmp_path):
    explainer = onnxplain.Explainer(build(name), "gradient")
    explainer.save(tmp_path / "e.onnx")
    session = ort.InferenceSession(tmp_path / "e.onnx", providers=["CPUExecutionProvider"])
    (got,) = session.run(["attribution"], {"x": X, "target": np.array([1, 1])})
    expected = explainer.explain(X, 1).attribution
    np.testing.assert_allclose(got, expected, atol=1e-5 * np.abs(expected).max())


def test_onnx_runtime_sees_shapes_and_stays_in_its_blocked_layout(tmp_path):
    """Products and sums of images are made where convolutions left them: fewer reorders than convolutions."""
    n = Net(seed=4)
    h = n.relu_conv("x", 3, 16)
    for _ in range(4):
        h = n.relu_conv(h, 16, 16)
    n.head(h, 1024)
    proto = onnxplain.Explainer(n.model(), "gradient")._runner.writer.plain(False).to_proto()
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    counts = []
    for strip in (False, True):
        if strip:
            del proto.graph.value_info[:]
        ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
        optimised = onnx.load(tmp_path / "optimised.onnx")
        counts.append(sum(node.op_type.startswith("Reorder") for node in optimised.graph.node))
    assert counts[0] < counts[1] or not any(counts)  # some processors have no blocked layout


def test_unknown_names_are_refused():
    with pytest.raises(InputError, match="unknown optimization 'steep_stp': did you mean 'steep_step'"), switched_off("steep_stp"):
        pass


COMPARED = {"Greater": np.greater, "Less": np.less, "GreaterOrEqual": np.greater_equal, "LessOrEqual": np.less_equal}


@pytest.mark.parametrize("op_type", COMPARED)
@pytest.mark.parametrize("threshold", [0.0, 6.0, -1.0, 0.1, 1e-20, -3e7, 1e30])
def test_a_steep_step_is_exact_next_to_its_threshold(op_type, threshold):
    c = np.float32(threshold)
    x = np.array([-np.inf, -3e38, -7, c, np.nextafter(c, np.float32(np.inf)), np.nextafter(c, np.float32(-np.inf)), 0, 1e-30, 7, 3e38, np.inf], np.float32)
    x = x[(np.abs(x) > 1e-37) | (x == 0)]  # the smallest numbers have no full precision
    tape = Tape()
    v = tape.input("x", Type.tensor(np.float32, ["N"]))
    y = cast(getattr(op, op_type)(v, c), v)
    tape.reserve(["y"])
    emitted = tape.build({"y": y})
    assert next(n.op_type for n in emitted.proto.graph.node) == "HardSigmoid"
    got = Session(emitted, ["CPUExecutionProvider"]).run({"x": x})["y"]
    np.testing.assert_array_equal(got, COMPARED[op_type](x, c))


@pytest.mark.parametrize(("low", "high"), [(0.0, 6.0), (-1.0, 1.0), (0.1, 0.3), (-3e4, -2e4), (1.0, 1.0), (2.0, 1.0)])
def test_a_band_is_exact_next_to_its_bounds(low, high):
    n = Net()
    n.shape = ["N", 16, 1, 11]
    bounds = [n.array(low), n.array(high)]
    n.head(n.add("Clip", n.add("Conv", "x", n.array(np.eye(16)[:, :, None, None])), *bounds), 176)
    ends = [np.nextafter(np.float32(c), np.float32(side)) for c in (low, high) for side in (-np.inf, np.inf)]
    values = np.array([low, high, *ends, (low + high) / 2, 2 * low - high, 2 * high - low, 1e-20, 1e5], np.float32)
    values[(values != 0) & (np.abs(values) < 1e-28)] = 1e-28  # smaller numbers pass in part where the lower bound is zero
    x = np.broadcast_to(values, (1, 16, 1, 11)).copy()
    spared = emitted(n.model())["Mul"]
    with switched_off("band_mask"):
        spared = emitted(n.model())["Mul"] - spared
    assert spared == (low < high)
    got = onnxplain.explain(n.model(), x, "gradient", target=1).attribution
    with switched_off():
        expected = onnxplain.explain(n.model(), x, "gradient", target=1).attribution
    np.testing.assert_array_equal(got, expected)
    assert low >= high or expected.any()


@pytest.mark.parametrize(("high", "one"), [(6.0, True), (7.0, True), (3.0, False)])
def test_a_band_ends_no_lower_than_what_is_clipped(high, one):
    tape = Tape(portable=False)
    x = tape.input("x", Type.tensor(np.float32, ["N", 16, 4, 4]))
    y = op.Clip(op.Conv(x, tape.constant(np.eye(16, dtype=np.float32)[:, :, None, None])), 0.0, 6.0)
    tape.reserve(["dx"])
    emitted = tape.build({"dx": x * cast(y > 0, y) * cast(y < high, y)})
    assert sum(n.op_type == "Mul" for n in emitted.proto.graph.node) == (1 if one else 2)
    values = 8 * draw(2, 16, 4, 4)
    got = Session(emitted, ["CPUExecutionProvider"]).run({"x": values})["dx"]
    np.testing.assert_array_equal(got, values * ((values > 0) & (np.clip(values, 0, 6) < high)))


def test_methods_that_differ_in_a_bias_share_the_product():
    """z_plus with and without bias: one convolution of the positive weights for both, in either order; each as when it is alone."""
    n = Net(seed=6)
    n.shape = ["N", 3, 16, 16]
    bias = [n.array(draw(16, seed=k)) for k in (1, 2)]
    h = n.add("Relu", n.add("Conv", "x", n.weight(16, 3, 3, 3), bias[0], pads=[1] * 4))
    n.head(n.add("Relu", n.add("Conv", h, n.weight(16, 16, 3, 3), bias[1], pads=[1] * 4)), 16 * 256)
    x = np.abs(draw(2, 3, 16, 16))
    rule = lambda **params: {"method": "lrp", "rules": [{"kind": "conv", "rule": "z_plus", **params}]}
    alone = {str(b): onnxplain.explain(n.model(), x, target=1, **rule(bias=b)).attribution for b in (True, False)}
    for order in ([True, False], [False, True]):
        explainers = onnxplain.Explainers(n.model(), {str(b): rule(bias=b) for b in order})
        found = explainers.explain(x, 1)
        for label, expected in alone.items():
            np.testing.assert_allclose(found[label].attribution, expected, atol=1e-5 * np.abs(expected).max())
        count = convolutions(explainers)
        with switched_off("shared_product"):
            assert convolutions(onnxplain.Explainers(n.model(), {str(b): rule(bias=b) for b in order})) > count


def convolutions(explainers: onnxplain.Explainers) -> int:
    emitted = together({label: r.writer for label, r in explainers._runners.items()}, False, 1)
    return sum(node.op_type == "Conv" for node in emitted.proto.graph.node)


def test_what_is_switched_off_here_stays_on_in_other_threads():
    from concurrent.futures import ThreadPoolExecutor

    from onnxplain.tape import SWITCHED_OFF

    with ThreadPoolExecutor(1) as pool, switched_off("winograd"):
        assert SWITCHED_OFF.get() == {"winograd"}
        assert pool.submit(SWITCHED_OFF.get).result() == frozenset()
    assert SWITCHED_OFF.get() == frozenset()
