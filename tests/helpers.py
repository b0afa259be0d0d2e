"""Small models, each with the same function written in NumPy's float64: what the tests hold onnxplain against."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, numpy_helper, parser

import onnxplain
from onnxplain.session import Session
from onnxplain.tape import Tape

HEAD = '<ir_version: 9, opset_import: ["" : 18]>\n'


def parse(text: str, **weights) -> onnx.ModelProto:
    """A model from ONNX's own text form; the weights are added to it."""
    model = parser.parse_model(HEAD + text)
    for name, value in weights.items():
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    onnx.checker.check_model(model)
    return model


def halved(model: onnx.ModelProto) -> onnx.ModelProto:
    """The float16 twin of a float32 model."""
    half = onnx.ModelProto()
    half.CopyFrom(model)
    for t in half.graph.initializer:
        if t.data_type == TensorProto.FLOAT:
            t.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(t).astype(np.float16), t.name))
    del half.graph.value_info[:]
    for v in (*half.graph.input, *half.graph.output):
        v.type.tensor_type.elem_type = TensorProto.FLOAT16
    return half


def plain(model: onnx.ModelProto) -> ort.InferenceSession:
    """ONNX Runtime by itself."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def run(model: onnx.ModelProto, **feeds) -> dict[str, np.ndarray]:
    return dict(zip([o.name for o in model.graph.output], plain(model).run(None, feeds)))


def rewritten(model: onnx.ModelProto, *, rewrites=None, keep=(), fuse=True):
    """The canonical graph, and what it computes: a function from feeds to the outputs and the tensors kept."""
    graph = onnxplain.load(model, rewrites=rewrites, fuse=fuse).graph(frozenset(keep))
    tape = Tape()
    env = graph.write(tape, {n: tape.input(n, t) for n, t in graph.inputs.items()})
    names = [*graph.outputs, *keep]
    tape.reserve(f"out/{n}" for n in names)
    session = Session(tape.build({f"out/{n}": env[n] for n in names}), ["CPUExecutionProvider"])
    return graph, lambda **feeds: {k.removeprefix("out/"): v for k, v in session.run(feeds).items()}


def unchanged(model: onnx.ModelProto, feeds: dict[str, np.ndarray], *, rewrites=None, keep=(), atol=1e-5):
    """Assert that rewriting changes no output and no tensor kept; the graph."""
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    known = {o.name for o in model.graph.output}
    watched.graph.output.extend(onnx.ValueInfoProto(name=n) for n in keep if n not in known)
    expected = run(watched, **feeds)
    graph, compute = rewritten(model, rewrites=rewrites, keep=keep)
    got = compute(**feeds)
    assert set(got) == set(expected)
    for name, value in expected.items():
        assert got[name].shape == value.shape, f"{name} of {list(graph.rewrites)}"
        np.testing.assert_allclose(got[name], value, atol=atol * max(1, np.abs(value).max(initial=0)), rtol=0, err_msg=f"{name} after {list(graph.rewrites)}")
    return graph


def draw(*shape: int, seed: int = 0, dtype=np.float32) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


@dataclass(frozen=True)
class Known:
    """A model and its function in NumPy: `forward(x)` is its score tensor."""

    model: onnx.ModelProto
    forward: Callable[[np.ndarray], np.ndarray]
    x: np.ndarray

    def slope(self, x: np.ndarray, weights: np.ndarray, step: float = 1e-6) -> np.ndarray:
        """The gradient of Σ weights · forward(x), element by element, from differences in float64."""
        x = np.asarray(x, np.float64)
        out = np.zeros_like(x)
        for i in np.ndindex(*x.shape):
            up, down = x.copy(), x.copy()
            up[i] += step
            down[i] -= step
            out[i] = np.sum(weights * (self.forward(up) - self.forward(down))) / (2 * step)
        return out

    def one_hot(self, target: list[int], x: np.ndarray | None = None) -> np.ndarray:
        """Weights that pick one class of each sample."""
        y = self.forward(self.x if x is None else x)
        return np.eye(y.shape[1])[np.asarray(target)]


def mlp(relu: bool = False) -> Known:
    """3 → 6 → 4, Tanh or Relu."""
    w1, b1, w2, b2 = draw(3, 6, seed=1), draw(6, seed=2), draw(6, 4, seed=3), draw(4, seed=4)
    act = "Relu" if relu else "Tanh"
    model = parse(f"g (float[N,3] x) => (float[N,4] y) {{ z = Gemm(x, w1, b1)\n h = {act}(z)\n y = Gemm(h, w2, b2) }}", w1=w1, b1=b1, w2=w2, b2=b2)
    f = (lambda z: np.maximum(z, 0)) if relu else np.tanh
    return Known(model, lambda x: f(np.asarray(x, np.float64) @ w1 + b1) @ w2.astype(np.float64) + b2, draw(5, 3, seed=5))


def conv(x: np.ndarray, w: np.ndarray, b: np.ndarray, pad: int = 1) -> np.ndarray:
    """A convolution with stride 1, tap by tap."""
    x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    height, width = x.shape[2] - w.shape[2] + 1, x.shape[3] - w.shape[3] + 1
    taps = np.ndindex(*w.shape[2:])
    return sum(np.einsum("nchw,oc->nohw", x[:, :, i : i + height, j : j + width], w[:, :, i, j]) for i, j in taps) + b[:, None, None]


def cnn() -> Known:
    """Conv + BatchNormalization + Relu, a residual block, MaxPool with overlapping windows, Gemm, Softmax."""
    wide = lambda v: v.astype(np.float64)
    w1, b1, w2, b2, w3, b3 = (draw(*s, seed=k) for k, s in enumerate([(4, 2, 3, 3), (4,), (4, 4, 3, 3), (4,), (16, 3), (3,)], 10))
    scale, shift, mean, var = (draw(4, seed=k) for k in range(20, 24))
    var = np.abs(var) + 0.5
    model = parse(
        """g (float[N,2,5,5] x) => (float[N,3] p) {
            c = Conv<pads=[1,1,1,1]>(x, w1, b1)
            n = BatchNormalization<epsilon=0.001>(c, scale, shift, mean, var)
            r = Relu(n)
            d = Conv<pads=[1,1,1,1]>(r, w2, b2)
            s = Add(d, r)
            q = Relu(s)
            m = MaxPool<kernel_shape=[3,3],strides=[2,2]>(q)
            v = Flatten(m)
            y = Gemm(v, w3, b3)
            p = Softmax(y) }""",
        w1=w1,
        b1=b1,
        w2=0.3 * w2,
        b2=b2,
        w3=w3,
        b3=b3,
        scale=scale,
        shift=shift,
        mean=mean,
        var=var,
    )

    def forward(x):
        k = wide(scale) / np.sqrt(wide(var) + 0.001)
        c = conv(wide(np.asarray(x)), wide(w1), wide(b1))
        r = np.maximum((c - wide(mean)[:, None, None]) * k[:, None, None] + wide(shift)[:, None, None], 0)
        q = np.maximum(conv(r, wide(np.float32(0.3) * w2), wide(b2)) + r, 0)
        m = np.stack([q[:, :, i : i + 3, j : j + 3].max((2, 3)) for i in (0, 2) for j in (0, 2)], -1)
        return m.reshape(len(m), -1) @ wide(w3) + wide(b3)

    return Known(model, forward, draw(3, 2, 5, 5, seed=30))


def sequence() -> Known:
    """[N, S, 3] → [N, S, 2], S symbolic: an output of rank 3."""
    w = draw(3, 2, seed=40)
    model = parse("g (float[N,S,3] x) => (float[N,S,2] y) { h = Tanh(x)\n y = MatMul(h, w) }", w=w)
    return Known(model, lambda x: np.tanh(np.asarray(x, np.float64)) @ w.astype(np.float64), draw(2, 4, 3, seed=41))


def time_major() -> Known:
    """[S, N, 3] → [N, 2]: the batch is on axis 1 of the input."""
    w = draw(3, 2, seed=50)
    model = parse(
        "g (float[4,N,3] x) => (float[N,2] y) { h = Tanh(x)\n m = MatMul(h, w)\n t = Tanh(m)\n y = ReduceSum<keepdims=0>(t, axes) }", w=w, axes=np.array([0])
    )
    return Known(model, lambda x: np.tanh(np.tanh(np.asarray(x, np.float64)) @ w.astype(np.float64)).sum(0), draw(4, 3, 3, seed=51))


def fixed() -> Known:
    """Bound to batches of 2: nothing says that Hardmax along a merged axis keeps samples apart, though it does no harm here."""
    w = draw(3, 4, seed=60)
    text = """g (float[2,3] x) => (float[2,4] y) { a = Reshape(x, flat)\n b = Tanh(a)\n c = Reshape(b, back)\n y = Gemm(c, w) }"""
    model = parse(text, w=w, flat=np.array([6]), back=np.array([2, 3]))
    return Known(model, lambda x: np.tanh(np.asarray(x, np.float64)) @ w.astype(np.float64), draw(5, 3, seed=61))


def two_inputs() -> onnx.ModelProto:
    """y = Tanh(a · w) + rate · b: two batched inputs, and a scalar that the batch shares."""
    text = "g (float[N,3] a, float[N,4] b, float rate) => (float[N,4] y) { z = MatMul(a, w)\n t = Tanh(z)\n s = Mul(b, rate)\n y = Mul(t, s) }"
    return parse(text, w=draw(3, 4, seed=70))


def tokens() -> onnx.ModelProto:
    """Token ids through an embedding: the mean of Tanh of each token's vector, then a linear layer."""
    text = "g (int64[N,S] ids) => (float[N,2] y) { e = Gather(table, ids)\n t = Tanh(e)\n m = ReduceMean<keepdims=0>(t, axes)\n y = Gemm(m, w) }"
    return parse(text, table=draw(10, 3, seed=80), w=draw(3, 2, seed=81), axes=np.array([1]))


def names_its_batch(emitted) -> bool:
    """Whether what the last Transpose reads has the batch "N": ONNX Runtime takes the shapes behind it from there, and adds in place where they agree."""
    graph = emitted.proto.graph
    named = {v.name for v in graph.value_info if v.type.tensor_type.shape.dim[0].dim_param == "N"}
    return [n for n in graph.node if n.op_type == "Transpose"][-1].input[0] in named
