"""Class activation maps against their papers' formulas in NumPy, with gradients from differences of the network's head."""

import warnings

import networks
import numpy as np
import pytest
from helpers import conv, draw, mlp, parse, plain, run
from PIL import Image

import onnxplain
from onnxplain.methods.places import last_layer, resized
from onnxplain.question import default_score

W1, B1, W2, B2, W3 = (draw(*s, seed=k).astype(np.float64) for k, s in enumerate([(4, 2, 3, 3), (4,), (3, 4, 3, 3), (3,), (18, 3)]))
X = draw(3, 2, 5, 4, seed=9)
TARGET = [0, 2, 1]
FORMULAS = ["grad_cam", "grad_cam_plus_plus", "x_grad_cam", "layer_cam", "hires_cam"]
EVERY = [*FORMULAS, "eigen_cam", "score_cam", "ablation_cam"]


def network(batch: str | int = "N", layout: str = "NCHW"):
    """x → Conv → Relu (a) → Conv → Tanh (b) → Flatten → y; as "NHWC" the input is turned before, and a is turned there (ahwc) and back."""
    there, back = "Transpose<perm=[0,3,1,2]>", "Transpose<perm=[0,2,3,1]>"
    shape, start = ("2,5,4", "") if layout == "NCHW" else ("5,4,2", f"xt = {there}(x)\n")
    first, turned = ("x", "") if layout == "NCHW" else ("xt", f"ahwc = {back}(a)\n at = {there}(ahwc)\n")
    text = f"""g (float[{batch},{shape}] x) => (float[{batch},3] y) {{
        {start} c = Conv<pads=[1,1,1,1]>({first}, w1, b1)\n a = Relu(c)\n {turned}
        d = Conv({"at" if turned else "a"}, w2, b2)\n b = Tanh(d)\n v = Flatten(b)\n y = MatMul(v, w3) }}"""
    weights = {"w1": W1, "b1": B1, "w2": W2, "b2": B2, "w3": W3}
    return parse(text, **{k: v.astype(np.float32) for k, v in weights.items()})


def head(a):
    """The scores by the layer's values."""
    return np.tanh(conv(a, W2, B2, pad=0)).reshape(len(a), -1) @ W3


def inner(b):
    return b.reshape(len(b), -1) @ W3


def values():
    return np.maximum(conv(X.astype(np.float64), W1, B1), 0)


def chosen(y):
    return y[np.arange(len(y)), TARGET]


def gradients(a, step=1e-6):
    g = np.zeros_like(a)
    for i in np.ndindex(*a.shape[1:]):
        up, down = a.copy(), a.copy()
        up[:, *i] += step
        down[:, *i] -= step
        g[:, *i] = chosen(head(up) - head(down)) / (2 * step)
    return g


def plus_plus(a, g):
    """By the second and third derivatives of exp(score), whose common factor is left out; where the gradient is 0 so is the weight."""
    second, third = g**2, g**3
    alpha = second / np.where(g == 0, 1, 2 * second + a.sum((2, 3), keepdims=True) * third)
    return (alpha * np.maximum(g, 0)).sum((2, 3), keepdims=True)


PAPERS = {
    "grad_cam": lambda a, g: g.mean((2, 3), keepdims=True),
    "grad_cam_plus_plus": plus_plus,
    "x_grad_cam": lambda a, g: (a / a.sum((2, 3), keepdims=True) * g).sum((2, 3), keepdims=True),
    "layer_cam": lambda a, g: np.maximum(g, 0),
    "hires_cam": lambda a, g: g,
}


def enlarged(a, size):
    """Linearly, by another library."""
    return np.stack(
        [np.asarray(Image.fromarray(m.astype(np.float32)).resize(size[::-1], Image.Resampling.BILINEAR)) for m in a.reshape(-1, *a.shape[-2:])]
    ).reshape(*a.shape[:-2], *size)


def expected(method, relu=False):
    a = values()
    if method in PAPERS:
        map = (PAPERS[method](a, gradients(a)) * a).sum(1, keepdims=True)
    elif method == "eigen_cam":
        map = eigen(a)
    elif method == "ablation_cam":
        map = (ablated(a) * a).sum(1, keepdims=True)
    else:
        map = (masked(a) * a).sum(1, keepdims=True)
    return np.maximum(map, 0) if relu else map


def eigen(a):
    maps = []
    for sample in a:
        rows = sample.reshape(len(sample), -1).T
        component = rows @ np.linalg.svd(rows, full_matrices=False)[2][0]
        maps.append((component * np.sign(component.sum())).reshape(1, *a.shape[2:]))
    return np.stack(maps)


def ablated(a):
    whole = chosen(head(a))
    weights = np.zeros(a.shape[:2])
    for k in range(a.shape[1]):
        without = a.copy()
        without[:, k] = 0
        weights[:, k] = (whole - chosen(head(without))) / np.abs(whole)
    return weights[..., None, None]


def masked(a, softmax=True, baseline=0.0):
    """Algorithm 1, channel by channel and sample by sample."""
    weights = np.zeros(a.shape[:2])
    for n, k in np.ndindex(*a.shape[:2]):
        mask = enlarged(a[n, k], X.shape[2:])
        mask = (mask - mask.min()) / (mask.max() - mask.min())
        scores = [
            run(network(), x=x[None].astype(np.float32))["y"][0, TARGET[n]] for x in (X[n] * mask + baseline * (1 - mask), np.full(X.shape[1:], baseline))
        ]
        weights[n, k] = scores[0] - scores[1]
    if softmax:
        weights = np.exp(weights) / np.exp(weights).sum(1, keepdims=True)
    return weights[..., None, None]


def close(got, wanted, tolerance=2e-5):
    assert got.shape == wanted.shape
    np.testing.assert_allclose(got, wanted, atol=tolerance * np.abs(wanted).max())


@pytest.mark.parametrize("method", EVERY)
def test_the_papers_formulas(method):
    wanted = expected(method)
    for batch_size in (None, 2):
        for relu in (False, True):
            got = onnxplain.explain(network(), X, method, target=TARGET, layer="a", relu=relu, batch_size=batch_size)
            assert list(got.attributions) == ["a"]
            close(got.attribution, np.maximum(wanted, 0) if relu else wanted)
    assert (wanted < 0).any() == (method in ("grad_cam", "x_grad_cam", "hires_cam", "ablation_cam"))


@pytest.mark.parametrize("method", [*FORMULAS, "eigen_cam"])
def test_the_saved_file(method):
    saved = onnxplain.Explainer(network(), method, layer="a", relu=False, upsample="linear").model
    a = expected(method)
    got = plain(saved).run(["attribution"], {"x": X, "target": np.array(TARGET)})[0]
    close(got, enlarged(a, X.shape[2:]))


@pytest.mark.parametrize("method", EVERY)
def test_scaled_to_the_input(method):
    """b has 3 × 2 places, the input 5 × 4."""
    plain_map = onnxplain.explain(network(), X, method, target=TARGET, relu=False).attribution
    assert plain_map.shape == (3, 1, 3, 2)
    for layout, x in (("NCHW", X), ("NHWC", np.ascontiguousarray(np.moveaxis(X, 1, 3)))):
        got = [onnxplain.explain(network(layout=layout), x, method, target=TARGET, relu=False, upsample=how).attribution for how in ("linear", "nearest")]
        close(got[0], enlarged(plain_map, (5, 4)))
        close(got[1], plain_map[:, :, [0, 0, 1, 1, 2]][..., [0, 0, 1, 1]])


@pytest.mark.parametrize("method", EVERY)
def test_channels_on_another_axis(method):
    x = np.ascontiguousarray(np.moveaxis(X, 1, 3))
    got = onnxplain.explain(network(layout="NHWC"), x, method, target=TARGET, layer="ahwc", channel_axis=-1, relu=False)
    assert list(got.attributions) == ["ahwc"]
    close(got.attribution, expected(method))


@pytest.mark.parametrize("method", EVERY)
def test_a_model_bound_to_its_batch(method):
    close(onnxplain.explain(network(batch=1), X, method, target=TARGET, layer="a", relu=False).attribution, expected(method))


@pytest.mark.parametrize("layer", ["a", "b"])
def test_score_cam_without_softmax_and_with_a_baseline(layer):
    """Of a layer with values of either sign too."""
    a = values() if layer == "a" else np.tanh(conv(values(), W2, B2, pad=0))
    for softmax, baseline in ((False, 0.0), (False, 0.5), (True, 0.5)):
        wanted = (masked(a, softmax, baseline) * a).sum(1, keepdims=True)
        close(onnxplain.explain(network(), X, "score_cam", target=TARGET, layer=layer, relu=False, softmax=softmax, baseline=baseline).attribution, wanted)


def test_ablation_cam_keeps_its_direction_where_scores_are_negative():
    assert (chosen(head(values())) < 0).any()
    with pytest.raises(onnxplain.InputError, match="ablation_cam takes one layer, got a, b"):
        onnxplain.explain(network(), X, "ablation_cam", layer=["a", "b"])


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("interpolation", ["linear", "nearest"])
def test_guided_grad_cam(interpolation, layout):
    x = X if layout == "NCHW" else np.ascontiguousarray(np.moveaxis(X, 1, 3))
    map = onnxplain.explain(network(), X, "grad_cam", target=TARGET).attribution
    scaled = enlarged(map, (5, 4)) if interpolation == "linear" else map[:, :, [0, 0, 1, 1, 2]][..., [0, 0, 1, 1]]
    guided = onnxplain.explain(network(layout=layout), x, "guided_backprop", target=TARGET).attribution
    explainer = onnxplain.Explainer(network(layout=layout), "guided_grad_cam", interpolation=interpolation)
    got = explainer.explain(x, TARGET)
    assert list(got.attributions) == ["x"]
    close(got.attribution, guided * (scaled if layout == "NCHW" else np.moveaxis(scaled, 1, 3)))
    named = onnxplain.explain(network(layout=layout), x, "guided_grad_cam", target=TARGET, layer="b", interpolation=interpolation)
    close(named.attribution, got.attribution)
    close(plain(explainer.model).run(["attribution"], {"x": x, "target": np.array(TARGET)})[0], got.attribution)
    with pytest.warns(UserWarning, match="plain gradient"):
        onnxplain.Explainer(network(), "guided_grad_cam", wrt="a", layer="b")


@pytest.mark.parametrize("method", ["grad_cam", "score_cam", "ablation_cam", "guided_grad_cam"])
def test_the_input_that_leads_to_the_layer_is_the_picture(method):
    """Beside it comes a mask of another size, and a vector."""
    text = """g (float[N,1,3,3] m, float[N,2,5,4] x, float[N,3] v) => (float[N,3] y) {
        c = Conv<pads=[1,1,1,1]>(x, w1, b1)\n a = Relu(c)\n d = Conv(a, w2, b2)\n b = Tanh(d)\n f = Flatten(b)\n s = MatMul(f, w3)
        k = GlobalAveragePool(m)\n l = Flatten(k)\n t = Mul(s, l)\n y = Add(t, v) }"""
    model = parse(text, **{k: v.astype(np.float32) for k, v in {"w1": W1, "b1": B1, "w2": W2, "b2": B2, "w3": W3}.items()})
    inputs = {"m": np.ones((3, 1, 3, 3), np.float32), "x": X, "v": np.zeros((3, 3), np.float32)}
    where = {"wrt": "x"} if method == "guided_grad_cam" else {"upsample": "linear"}
    alone = onnxplain.explain(network(), X, method, target=TARGET, layer="a", **({} if method == "guided_grad_cam" else where))
    close(onnxplain.explain(model, inputs, method, target=TARGET, layer="a", **where).attribution, alone.attribution)
    if method == "guided_grad_cam":
        with pytest.raises(onnxplain.InputError, match=r"'v' is .* name the input with wrt="):
            onnxplain.explain(model, inputs, method, target=TARGET, layer="a")


def test_several_layers():
    both = onnxplain.explain(network(), X, "grad_cam", target=TARGET, layer=["a", "b"], relu=False).attributions
    close(both["a"], expected("grad_cam"))
    close(both["b"], onnxplain.explain(network(), X, "grad_cam", target=TARGET, wrt="b", relu=False).attribution)
    scored = onnxplain.explain(network(), X, "score_cam", target=TARGET, layer=["a", "b"], relu=False).attributions
    close(scored["a"], expected("score_cam"))
    assert scored["b"].shape == (3, 1, 3, 2)


def test_averaged_over_noise_at_the_layer():
    noise = 0.1 * draw(4, 3, 4, 5, 4, seed=11)
    for where in ({"layer": "a"}, {}):
        got = onnxplain.explain(
            network(), X, "smoothgrad", target=TARGET, noise=noise, inner="grad_cam", inner_params={**where, "relu": False}, **({} if where else {"wrt": "a"})
        )
        a = values() + noise
        close(got.attribution, np.mean([(gradients(v).mean((2, 3), keepdims=True) * v).sum(1, keepdims=True) for v in a], 0))


# ---- tokens ----


def vision_transformer(extra):
    """Patches of 2 × 2 as tokens behind `extra` others (t: [N, extra + 4, 3]), attention, the mean, a linear head."""
    text = """g (float[N,2,4,4] x) => (float[N,3] y) {
        c = Conv<strides=[2,2]>(x, w)\n p = Relu(c)\n f = Reshape(p, flat)\n e = Transpose<perm=[0,2,1]>(f)\n s = Pad(e, pads, one)
        t = LayerNormalization(s, scale, shift)\n k = Transpose<perm=[0,2,1]>(t)\n q = MatMul(t, k)\n z = Softmax(q)\n o = MatMul(z, t)
        r = Add(o, s)\n n = LayerNormalization(r, scale, shift)\n m = ReduceMean<keepdims=0>(n, axes)\n h = Tanh(m)\n y = MatMul(h, v) }"""
    constants = {"flat": np.array([0, 3, 4]), "pads": np.array([0, extra, 0, 0, 0, 0]), "one": np.float32(1), "axes": np.array([1])}
    return parse(text, w=draw(3, 2, 2, 2), scale=draw(3, seed=1), shift=draw(3, seed=2), v=draw(3, 3, seed=3), **constants)


@pytest.mark.parametrize("extra", [0, 1, 2])
def test_tokens_on_a_grid(extra):
    model, x = vision_transformer(extra), draw(2, 2, 4, 4, seed=4)
    t, g = (onnxplain.explain(model, x, m, wrt="t", target=1).attribution for m in ("input_x_gradient", "gradient"))
    t = t / g
    on_grid = lambda v: v[:, extra:].transpose(0, 2, 1).reshape(2, 3, 2, 2)
    wanted = (on_grid(g).mean((2, 3), keepdims=True) * on_grid(t)).sum(1, keepdims=True)
    for grid in [(2, 2), [2, 2]] + ["auto"] * (extra < 2):
        got = onnxplain.explain(model, x, "grad_cam", target=1, grid=grid, relu=False)
        assert list(got.attributions) == ["t"]
        close(got.attribution, wanted, 1e-4)
    close(onnxplain.explain(model, x, "eigen_cam", layer="t", grid=(2, 2)).attribution, eigen(on_grid(t).astype(np.float64)), 1e-4)
    scores = lambda v: onnxplain.explain(model, x, "ablation_cam", target=1, grid=(2, 2), upsample=v, relu=False).attribution
    close(scores("linear"), enlarged(scores(False), (4, 4)))
    f = onnxplain.Explainer(model, "gradient", wrt="t").probe(x, 1)
    lost = f.score - f.scores(3, lambda steps: {"t": 1 - np.eye(3)[steps][:, None, None]}, {"t": np.zeros((1, 1, 1))})
    close(scores(False), np.einsum("nchw,cn->nhw", on_grid(t), lost / np.abs(f.score))[:, None], 1e-4)
    assert onnxplain.explain(model, x, "guided_grad_cam", target=1, grid=(2, 2)).attribution.shape == x.shape if extra else True


def test_tokens_that_are_on_no_grid():
    with pytest.raises(onnxplain.InputError, match="tokens go through attention to 'y': give grid='auto'"):
        onnxplain.Explainer(vision_transformer(1), "grad_cam")
    cases = {
        "a square of tokens, alone or after one class token, got 6": (2, {"grid": "auto"}),
        r"grid=\(3, 3\) has 9 places, the layer 5 tokens": (1, {"grid": (3, 3)}),
        r"grid=\(1, 2\) has 2 places, the layer 5 tokens": (1, {"grid": (1, 2)}),
        "layer 'p' is .* wanted .* tokens on a grid": (1, {"grid": "auto", "layer": "p"}),
    }
    for message, (extra, params) in cases.items():
        for method in ("grad_cam", "ablation_cam"):
            with pytest.raises(onnxplain.InputError, match=message):
                onnxplain.explain(vision_transformer(extra), draw(2, 2, 4, 4), method, **params)
    back_to_maps = """g (float[N,3,2,2] x) => (float[N,3] y) {
        s = Conv(x, w)\n f = Reshape(s, flat)\n t = LayerNormalization(f, scale, shift)\n k = Transpose<perm=[0,2,1]>(t)\n q = MatMul(t, k)
        z = Softmax(q)\n o = MatMul(z, t)\n i = Reshape(o, grid)\n m = Conv(i, w)\n p = GlobalAveragePool(m)\n y = Flatten(p) }"""
    shapes = {"flat": np.array([0, 3, 4]), "grid": np.array([0, 3, 2, 2])}
    model = parse(back_to_maps, w=draw(3, 3, 1, 1), scale=draw(4, seed=1), shift=draw(4, seed=2), **shapes)
    assert onnxplain.Explainer(model, "grad_cam").question.wrt == ("m",)
    with pytest.raises(onnxplain.InputError, match="no normalised tokens"):
        onnxplain.Explainer(network(), "grad_cam", grid="auto")


# ---- the layer found by itself ----


@pytest.mark.parametrize(
    ("name", "op", "shape"),
    [
        ("vgg", "Relu", (12, 4, 4)),
        ("resnet", "Relu", (48, 4, 4)),
        ("densenet", "Relu", (16, 2, 2)),
        ("inception", "Concat", (18, 4, 4)),
        ("mobilenet", "Clip", (48, 4, 4)),
    ],
)
def test_the_last_map_before_it_is_pooled(name, op, shape):
    graph = onnxplain.load(networks.build(name)).graph(frozenset())
    (found,) = last_layer(graph, default_score(graph), tokens=False)
    assert graph.producer[found].op_type == op
    assert graph.types[found].shape[1:] == shape
    got = onnxplain.explain(networks.build(name), draw(1, 3, 8, 8), "grad_cam", target=1)
    assert got.attributions[found].shape == (1, 1, *shape[1:])


def test_behind_a_gate_and_before_the_score_itself():
    gated = """g (float[N,2,4,4] x) => (float[N,3] y) {
        a = Conv(x, w)\n p = GlobalAveragePool(a)\n e = Conv(p, v)\n s = Sigmoid(e)\n m = Mul(a, s)\n q = MaxPool<kernel_shape=[2,2]>(m)
        f = GlobalAveragePool(q)\n y = Flatten(f) }"""
    w, v = draw(3, 2, 1, 1), draw(3, 3, 1, 1)
    assert onnxplain.Explainer(parse(gated, w=w, v=v), "grad_cam").question.wrt == ("m",)
    segmenter = "g (float[N,2,4,4] x) => (float[N,3,8,8] y) { a = Conv(x, w)\n r = Relu(a)\n s = Conv(r, v)\n y = Resize(s, , scales) }"
    model = parse(segmenter, w=w, v=v, scales=np.array([1, 1, 2, 2], np.float32))
    assert onnxplain.Explainer(model, "grad_cam").question.wrt == ("r",)
    with pytest.raises(onnxplain.InputError, match=r"no convolution's output .* leads to 'y': name a layer with layer="):
        onnxplain.Explainer(mlp().model, "grad_cam")


@pytest.mark.parametrize("space", [(7,), (5, 4), (4, 3, 5)], ids=["1-d", "2-d", "3-d"])
@pytest.mark.parametrize("method", EVERY)
def test_signals_and_volumes(method, space):
    """Kernels of one place and a head that sums: the network at every place by itself."""
    ones = ",".join(["1"] * len(space))
    text = f"""g (float[N,2,{",".join(map(str, space))}] x) => (float[N,3] y) {{
        c = Conv<kernel_shape=[{ones}], strides=[{",".join(["2"] * len(space))}]>(x, w)
        a = Relu(c)\n p = GlobalAveragePool(a)\n f = Flatten(p)\n y = MatMul(f, v) }}"""
    w, v = draw(4, 2, *[1] * len(space)), draw(4, 3, seed=1)
    x = draw(2, 2, *space, seed=2)
    a = np.maximum(np.einsum("nc...,oc->no...", x[:, :, *[slice(None, None, 2)] * len(space)], w.reshape(4, 2)), 0)
    got = onnxplain.explain(parse(text, w=w, v=v), x, method, target=1, relu=False).attribution
    assert got.shape == (2, 1, *a.shape[2:])
    places = np.prod(a.shape[2:])
    if method in ("grad_cam", "x_grad_cam", "hires_cam"):  # all the same where the gradient is
        close(got, np.einsum("no...,o->n...", a, v[:, 1])[:, None] / places)
    wide = onnxplain.explain(parse(text, w=w, v=v), x, method, target=1, relu=False, upsample="linear").attribution
    assert wide.shape == (2, 1, *space)
    for axis, new in enumerate(space, 2):  # linear between the centres of cells, level beyond the outer ones
        old = got.shape[axis]
        at = (np.arange(new) + 0.5) * old / new - 0.5
        got = np.stack([np.interp(at, np.arange(old), m) for m in np.moveaxis(got, axis, -1).reshape(-1, old)])
        got = np.moveaxis(got.reshape(2, 1, *wide.shape[2:axis], *a.shape[axis + 1 :], new), -1, axis)
    close(wide, got)


def test_an_array_is_scaled_as_a_graph_does_it():
    a = draw(2, 3, 5, 7)
    for size in ((9, 8), (5, 7), (4, 3)):
        linear = run(parse('g (float[2,3,5,7] x, int64[4] s) => (float[a,b,c,d] y) { y = Resize<mode="linear">(x, , , s) }'), x=a, s=np.array([2, 3, *size]))[
            "y"
        ]
        close(resized(a, size, "linear"), linear)
        assert np.array_equal(resized(a, size, "nearest"), a[:, :, np.arange(size[0]) * 5 // size[0]][..., np.arange(size[1]) * 7 // size[1]])


POINTWISE = "c = Conv(x, w)\n a = Relu(c)\n p = GlobalAveragePool(a)\n f = Flatten(p)\n y = MatMul(f, v) }"


@pytest.mark.parametrize("side", [2, 4], ids=["fewer places than channels", "more"])
def test_the_first_component_of_values_of_either_sign(side):
    model = parse(f"g (float[N,2,{side},{side}] x) => (float[N,3] y) {{ {POINTWISE}", w=draw(6, 2, 1, 1), v=draw(6, 3))
    x = draw(20, 2, side, side, seed=1)
    values = np.einsum("ncij,oc->noij", x, draw(6, 2, 1, 1)[..., 0, 0]).astype(np.float64)
    got = onnxplain.explain(model, x, "eigen_cam", layer="c").attribution
    close(got, eigen(values))
    assert (got.sum((1, 2, 3)) > 0).all()


@pytest.mark.parametrize("method", [*EVERY, "guided_grad_cam"])
def test_extents_that_only_the_input_tells(method):
    weights = {"w": draw(4, 2, 1, 1), "v": draw(4, 3)}
    x, params = draw(2, 2, 5, 6), {} if method == "guided_grad_cam" else {"upsample": "linear"}
    known, unknown = (
        onnxplain.explain(parse(f"g (float[N,2,{space}] x) => (float[N,3] y) {{ {POINTWISE}", **weights), x, method, target=1, **params).attribution
        for space in ("5,6", "H,W")
    )
    assert known.any()
    close(unknown, known)


def test_what_holds_nothing_gives_an_empty_map():
    """A layer of zeros: no method divides by it."""
    model = parse(f"g (float[N,2,4,4] x) => (float[N,3] y) {{ {POINTWISE}", w=draw(3, 2, 1, 1), v=draw(3, 3))
    for method in EVERY:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert not onnxplain.explain(model, np.zeros((2, 2, 4, 4), np.float32), method, target=1).attribution.any()


def test_parameters_that_do_not_fit():
    cases = [
        ("grad_cam", "upsample must be one of", {"upsample": "cubic"}),
        ("grad_cam", "upsample must be one of", {"upsample": True}),
        ("grad_cam", "grid must be 'auto' or the extents", {"grid": "square"}),
        ("grad_cam", "grid must be 'auto' or the extents", {"grid": 14}),
        ("guided_grad_cam", "grid must be 'auto' or the extents", {"grid": (0, 2)}),
        ("guided_grad_cam", "interpolation must be one of", {"interpolation": "cubic"}),
        ("grad_cam", "layer 'v' is .*; for tokens", {"layer": "v"}),
        ("grad_cam", "channel_axis 4 is none of 'b'", {"channel_axis": 4}),
        ("grad_cam", "channel_axis 0 is none of 'b'", {"channel_axis": 0}),
        ("grad_cam", "layer='a' and wrt='b'", {"layer": "a", "wrt": "b"}),
        ("grad_cam", "unknown tensor 'q'", {"layer": "q"}),
        ("guided_grad_cam", "unknown tensor 'q'", {"layer": "q"}),
    ]
    for method, message, params in cases:
        with pytest.raises(onnxplain.InputError, match=message):
            onnxplain.explain(network(), X, method, **params)
    flat = parse(
        "g (float[N,8] x) => (float[N,2] y) { r = Reshape(x, s)\n c = Conv(r, w)\n a = Relu(c)\n p = GlobalAveragePool(a)\n y = Flatten(p) }",
        s=np.array([0, 2, 2, 2]),
        w=draw(2, 2, 1, 1),
    )
    for method, params in (("grad_cam", {"upsample": "linear"}), ("score_cam", {})):
        with pytest.raises(onnxplain.InputError, match="no input has the layer's 2 spatial axes"):
            onnxplain.explain(flat, draw(2, 8), method, **params)
    with pytest.raises(onnxplain.InputError, match=r"'x' is .* the layer's 2 spatial axes; name the input with wrt="):
        onnxplain.explain(flat, draw(2, 8), "guided_grad_cam")


def test_eigen_cam_needs_no_derivatives():
    text = """g (float[N,2,4,4] x) => (float[N,3] y) {
        c = Conv(x, w)\n a = Relu(c)\n s = Sigmoid(a)\n q = Bernoulli(s)\n p = GlobalAveragePool(q)\n y = Flatten(p) }"""
    model, x = parse(text, w=draw(3, 2, 1, 1)), draw(2, 2, 4, 4, seed=1)
    a = np.maximum(np.einsum("ncij,oc->noij", x, draw(3, 2, 1, 1)[..., 0, 0]), 0)
    close(onnxplain.explain(model, x, "eigen_cam", layer="a").attribution, eigen(a.astype(np.float64)))
    with pytest.raises(onnxplain.UnsupportedModelError, match="Bernoulli"):
        onnxplain.Explainer(model, "grad_cam", layer="a")
