"""What users get wrong: each mistake is an error of ours, in one line that says what was wanted and what came."""

import os
import re
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import pytest
from onnx import TensorProto, numpy_helper

import onnxplain
from onnxplain import InputError, InvalidModelError, OnnxplainError, UnsupportedModelError

X = np.ones((2, 4), np.float32)


def parsed(text: str, header: str = 'ir_version: 8, opset_import: ["": 17]') -> onnx.ModelProto:
    return onnx.parser.parse_model(f"<{header}>\n{text}")


def good() -> onnx.ModelProto:
    model = parsed("g (float[N, 4] x) => (float[N, 3] y) { h = MatMul (x, w)  y = Relu (h) }")
    model.graph.initializer.append(numpy_helper.from_array(np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3), "w"))
    return model


def table() -> onnx.ModelProto:
    model = parsed("g (int64[N] x) => (int64[N, 3] y) { y = Gather (w, x) }")
    model.graph.initializer.append(numpy_helper.from_array(np.arange(12).reshape(4, 3), "w"))
    return model


# ---- models ----


def written(data: bytes | None = None, name: str = "m.onnx"):
    def make(folder: Path) -> Path:
        path = folder / name
        if data is not None:
            path.write_bytes(data)
        return path

    return make


def locked(folder: Path) -> Path:
    path = written(good().SerializeToString())(folder)
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("root reads everything")
    return path


def changed(change, base=good):
    def make(folder: Path) -> onnx.ModelProto:
        model = base()
        change(model)
        return model

    return make


def external(location: str = "w.bin", length: str = "4800", data: int | None = 4800, form=lambda path: path):
    """A model whose weight is at `location`, with a file of `data` bytes beside it."""

    def make(folder: Path):
        inside = folder / "inside"
        inside.mkdir()
        for place in (folder, inside):
            if data is not None:
                (place / "w.bin").write_bytes(bytes(data))
        model = parsed("g (float[N, 40] x) => (float[N, 30] y) { y = MatMul (x, w) }")
        tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[40, 30], data_location=TensorProto.EXTERNAL)
        for key, value in (("location", location.format(folder=folder)), ("length", length)):
            tensor.external_data.add(key=key, value=value)
        model.graph.initializer.append(tensor)
        (inside / "m.onnx").write_bytes(model.SerializeToString())
        return form(inside / "m.onnx")

    return make


def as_ir(path: Path) -> ir.Model:
    model = ir.load(path)
    os.unlink(path.parent / "w.bin")
    return model


BIG = parsed("g (float[N, 100] x) => (float[N, 100] y) { y = MatMul (x, w) }")
BIG.graph.initializer.append(numpy_helper.from_array(np.ones((100, 100), np.float32), "w"))

MODELS = {
    "a missing file": (written(), InvalidModelError, "cannot read .*m.onnx: No such file"),
    "a folder": (lambda folder: folder, InvalidModelError, "is a folder, wanted an .onnx file"),
    "no permission": (locked, InvalidModelError, "cannot read .*m.onnx: Permission denied"),
    "an empty file": (written(b""), InvalidModelError, "m.onnx is not an ONNX model.* 0 bytes"),
    "a text file": (written(b"Dear reader,\nthis is no model, but a letter of many words.\n"), InvalidModelError, "m.onnx is not an ONNX model"),
    "a zip file": (written(b"PK\x03\x04" + bytes(range(256))), InvalidModelError, "m.onnx is not an ONNX model"),
    "a truncated file": (written(good().SerializeToString()[:-30]), InvalidModelError, "not an ONNX model, or is cut off"),
    "truncated in a weight": (written(BIG.SerializeToString()[:20000]), InvalidModelError, "cut off: .* bytes more"),
    "a name in no alphabet": (
        lambda folder: good().SerializeToString().replace(b"MatMul", b"Mat\xff\xfeu"),
        InvalidModelError,
        r"the name b'Mat\\xff\\xfeu' is not UTF-8",
    ),
    "bytes of something else": (lambda folder: b"hello", InvalidModelError, "a string of 5 bytes is not an ONNX model"),
    "an empty proto": (lambda folder: onnx.ModelProto(), InvalidModelError, "fails ONNX's checker"),
    "another object": (lambda folder: np.zeros(3), InputError, "model must be a path, bytes, onnx.ModelProto or onnx_ir.Model, got ndarray"),
    "an unknown operator": (lambda folder: parsed("g (float[N] x) => (float[N] y) { y = Foo (x) }"), InvalidModelError, "checker: No Op registered for Foo"),
    "an unknown domain": (
        lambda folder: parsed("g (float[N] x) => (float[N] y) { y = my.Foo (x) }", 'ir_version: 8, opset_import: ["": 17, "my": 1]'),
        UnsupportedModelError,
        "no rule for 1 node: my:Foo 'y'. Remedy",
    ),
    "a domain nobody imports": (lambda folder: parsed("g (float[N] x) => (float[N] y) { y = my.Foo (x) }"), InvalidModelError, "opset_import .*my"),
    "an input nobody makes": (changed(lambda m: m.graph.node[0].input.append("z")), InvalidModelError, "fails ONNX's checker"),
    "a name twice": (changed(lambda m: m.graph.node[1].output.__setitem__(0, "h")), InvalidModelError, "fails ONNX's checker"),
    "an opset of the stone age": (
        changed(lambda m: setattr(m.opset_import[0], "version", 6)),
        UnsupportedModelError,
        "has opset 6; onnxplain takes 7 and newer",
    ),
    "missing external data": (external(data=None), InvalidModelError, "external data are missing: tensor 'w' is in 'w.bin'"),
    "truncated external data": (external(data=4000), InvalidModelError, "cut off: tensor 'w' wants 4800 bytes at 0 of 'w.bin', which has 4000"),
    "external data of another size": (external(length="4000"), InvalidModelError, "tensor 'w' has 4000 bytes at 0 of 'w.bin', wanted 4800"),
    "external data at no number": (external(length="many"), InvalidModelError, "'w' has an offset or a length .* that is no number"),
    "external data above": (external("../w.bin"), InvalidModelError, r"'w' refers to '\.\./w.bin', outside of the model's folder: refused"),
    "external data above, deeper": (external("sub/../../w.bin"), InvalidModelError, "outside of the model's folder: refused"),
    "external data above, on Windows": (external("sub\\..\\..\\w.bin"), InvalidModelError, "outside of the model's folder: refused"),
    "external data elsewhere": (external("{folder}/w.bin"), InvalidModelError, "outside of the model's folder: refused"),
    "external data nowhere": (external(""), InvalidModelError, "outside of the model's folder: refused"),
    "bytes with external data": (external(form=Path.read_bytes), InvalidModelError, "'w' is in the external file 'w.bin': give the model's path"),
    "a proto with external data": (external(form=lambda p: onnx.load(p, load_external_data=False)), InvalidModelError, "give the model's path"),
    "an onnx_ir.Model with lost data": (external(form=as_ir), InvalidModelError, "external data are missing: tensor 'w'"),
    "integers in, integers out": (lambda folder: table(), UnsupportedModelError, "no output of the model is a float tensor: y is int64"),
}


@pytest.mark.parametrize(("make", "error", "words"), MODELS.values(), ids=MODELS.keys())
def test_models(make, error, words, tmp_path):
    check(lambda: onnxplain.Explainer(make(tmp_path), "gradient"), error, words)


# ---- questions and inputs ----


def explain(x=X, target=None, **options):
    return lambda folder: onnxplain.explain(good(), x, **{"method": "gradient", "target": target, **options})


CALLS = {
    "an unknown method": (explain(method="gradientt"), InputError, "unknown method 'gradientt': did you mean 'gradient'"),
    "a method that is no name": (explain(method=3), InputError, "unknown method 3"),
    "an unknown parameter": (explain(method="integrated_gradients", step=3), InputError, "'step'.*did you mean 'steps'"),
    "a parameter of another method": (explain(steps=3), InputError, "'steps'"),
    "a parameter out of range": (explain(method="integrated_gradients", steps=0), InputError, "steps .*got 0"),
    "an unknown output": (explain(output="Y"), InputError, "unknown tensor 'Y'"),
    "an unknown wrt": (explain(wrt=["x", "hh"]), InputError, "unknown tensor 'hh': did you mean 'h'"),
    "an output before wrt": (explain(output="h", wrt="y"), InputError, "'h' does not depend on 'y'"),
    "a pool of unknown rank": (
        lambda folder: onnxplain.explain(
            parsed("g (float[N, 16] x, int64[k] s) => (float[N, 4] y) { r = Reshape (x, s)  a = AveragePool <kernel_shape = [2, 2]> (r)  y = Flatten (a) }"),
            {"x": X.repeat(4, 1), "s": np.array([2, 1, 4, 4])},
            "gradient",
        ),
        UnsupportedModelError,
        "the rank of .* is not known",
    ),
    "an unknown provider": (explain(providers=["CUDAaExecutionProvider"]), InputError, "provider 'CUDAaExecutionProvider' .*CPUExecutionProvider"),
    "a batch_size of nothing": (explain(batch_size=0), InputError, "batch_size must be an integer of at least 1, got 0"),
    "one target for several": (
        lambda folder: onnxplain.Explainers(good(), ["gradient"]).explain_each(X, 3),
        InputError,
        "targets must be a list of targets, got 3",
    ),
    "a method without a name": (lambda folder: onnxplain.Explainers(good(), [{"metod": "lrp"}]), InputError, "lacks the key 'method'"),
    "one sample": (lambda folder: onnxplain.explain(good(), X[0], "gradient"), InputError, r"a single sample is a batch of one, x\[None\]"),
    "an array for a method": (lambda folder: onnxplain.explain(good(), X, np.zeros(10000)), InputError, "unknown method array"),
    "a batch_size of a half": (explain(batch_size=2.5), InputError, "batch_size must be an integer of at least 1, got 2.5"),
    "an unknown fuse": (explain(fuse="all"), InputError, "fuse must be True, False or 'two', got 'all'"),
    "a wrong input name": (explain({"image": X}), InputError, "inputs are 'x'; 'image' is none of them; 'x' is missing"),
    "an input too many": (explain({"x": X, "z": X}), InputError, "'z' is none of them"),
    "a wrong rank": (explain(X[0]), InputError, r"'x' has shape \[4\], wanted float32\[N, 4\]"),
    "a wrong shape": (explain(X[:, :3]), InputError, r"'x' has shape \[2, 3\], wanted float32\[N, 4\]"),
    "a string": (explain("cat.png"), InputError, "'x' has dtype <U7, wanted float32"),
    "nothing": (explain(None), InputError, "'x' has dtype object, wanted float32"),
    "complex numbers": (explain(X * 1j), InputError, "'x' has dtype complex64, wanted float32"),
    "objects": (explain(X.astype(object)), InputError, "'x' has dtype object, wanted float32"),
    "rows of different lengths": (explain([[1, 2, 3, 4], [1, 2]]), InputError, r"'x' is no regular array: wanted float32\[N, 4\]"),
    "integers that do not fit": (
        lambda folder: onnxplain.explain(parsed("g (uint8[N, 2] x) => (float[N, 2] y) { f = Cast<to=1> (x) y = Exp (f) }"), [[300, -1]], "gradient", wrt="f"),
        InputError,
        "'x' holds integers from -1 to 300, which uint8 cannot hold",
    ),
    "NaN": (explain(X * np.nan), InputError, "'x' holds NaN"),
    "infinity": (explain(X / 0), InputError, "'x' holds NaN or infinity"),
    "numbers too large": (explain(X.astype(float) * 1e300), InputError, "'x' holds NaN or infinity"),
    "an empty batch": (explain(X[:0]), InputError, "the batch is empty: wanted at least one sample"),
    "a target out of range": (explain(target=3), InputError, "target 3 is out of range: .* 3 elements, 0 to 2"),
    "a negative target": (explain(target=[0, -1]), InputError, "target -1 is negative"),
    "too many targets": (explain(target=[0, 1, 2]), InputError, r"target \[0, 1, 2\] does not fit: wanted an integer, 2 integers"),
    "a target of words": (explain(target="cat"), InputError, "target cat does not fit: wanted an integer"),
    "a target between classes": (explain(target=1.5), InputError, r"weighs the output's elements: wanted shape \[2, 3\], got \[\]"),
    "weights of a wrong shape": (explain(target=np.ones((2, 4))), InputError, r"wanted shape \[2, 3\], got \[2, 4\]"),
    "weights of NaN": (explain(target=np.full((2, 3), np.nan)), InputError, "weights hold NaN"),
    "a baseline of a wrong shape": (explain(method="integrated_gradients", baseline=np.ones(5)), InputError, "baseline .*5.*4"),
    "a baseline of words": (explain(method="integrated_gradients", baseline="black"), InputError, "baseline"),
    "a baseline of NaN": (explain(method="integrated_gradients", baseline=float("nan")), InputError, "baseline"),
    "several inputs without names": (
        lambda folder: onnxplain.explain(parsed("g (float[N] a, float[N] b) => (float[N] y) { y = Add (a, b) }"), X, "gradient"),
        InputError,
        "the model has 2 inputs: give a dict with 'a', 'b'",
    ),
    "batches that differ": (
        lambda folder: onnxplain.explain(parsed("g (float[N, 4] a, float[N, 4] b) => (float[N, 4] y) { y = Mul (a, b) }"), {"a": X, "b": X[:1]}, "gradient"),
        InputError,
        "batch sizes differ: a has 2, b has 1",
    ),
    "saving into a missing folder": (
        lambda folder: onnxplain.Explainer(good(), "gradient").save(folder / "no" / "e.onnx"),
        InputError,
        "cannot write .*e.onnx: no such folder",
    ),
    "saving onto a folder": (lambda folder: onnxplain.Explainer(good(), "gradient").save(folder), InputError, "cannot write .*: it is a folder"),
    "an explanation into a missing folder": (lambda folder: explain()(folder).save(folder / "no" / "e.npz"), InputError, "no such folder"),
    "a missing explanation": (lambda folder: onnxplain.Explanation.load(folder / "e.npz"), InputError, "no such file: .*e.npz"),
    "a model as an explanation": (lambda folder: onnxplain.Explanation.load(written(b"model")(folder)), InputError, "not an explanation"),
    "a VJP with respect to a stranger": (lambda folder: onnxplain.vjp(good(), wrt=["z"]), InputError, "unknown tensor 'z'"),
    "a VJP of a stranger": (lambda folder: onnxplain.vjp(good(), outputs=["z"]), InputError, "unknown tensor 'z'"),
}


PARAMETERS = [
    ("smoothgrad", {"noise_scale": "abc"}, "noise_scale must be a finite number, not negative, got 'abc'"),
    ("smoothgrad", {"noise_scale": None}, "noise_scale must be .* got None"),
    ("vargrad", {"noise_scale": np.inf}, "noise_scale must be .* got inf"),
    ("vargrad", {"noise_sigma": "a"}, "noise_sigma must be .* got 'a'"),
    ("smoothgrad", {"samples": 1.5}, "samples must be an integer of at least 1, got 1.5"),
    ("smoothgrad", {"noise": 5}, r"noise has shape \[\]: wanted at least one draw, on axis 0"),
    ("smoothgrad", {"noise": np.zeros((0, 2, 4))}, r"noise has shape \[0, 2, 4\]: wanted at least one draw"),
    ("smoothgrad", {"noise": np.zeros((3, 2, 7))}, r"noise for 'x' has shape \[3, 2, 7\]: wanted \[draws, \?, 4\]"),
    ("smoothgrad", {"noise": np.full((3, 2, 4), np.nan)}, "noise holds NaN or infinity"),
    ("smoothgrad", {"noise": {}}, "noise is an empty dict"),
    ("smoothgrad", {"inner_params": 5}, "inner_params must be a dict of the inner method's parameters, got 5"),
    ("smoothgrad", {"inner": "occlusion", "inner_params": {"window": 1}}, "inner must be a method that a graph can hold; occlusion asks the model again"),
    ("smoothgrad", {"inner": np.zeros(2)}, "unknown method"),
    ("expected_gradients", {"baselines": X, "samples": 0}, "samples must be an integer of at least 1, got 0"),
    ("expected_gradients", {"baselines": X, "samples": "a"}, "samples must be an integer of at least 1, got 'a'"),
    ("expected_gradients", {"baselines": X, "samples": 1.5}, "samples must be an integer of at least 1, got 1.5"),
    ("expected_gradients", {"baselines": 5}, r"baselines has shape \[\]: wanted at least one draw"),
    ("expected_gradients", {"baselines": X[:0]}, r"baselines has shape \[0, 4\]: wanted at least one draw"),
    ("expected_gradients", {"baselines": "black"}, "baselines must be an array of numbers, got 'black'"),
    ("expected_gradients", {"baselines": X[:, :3]}, r"baselines for 'x' has shape \[2, 3\]: wanted \[draws, 4\]"),
    ("expected_gradients", {"baselines": X, "alphas": 0.5}, r"alphas must be an array \[draws\] or \[draws, samples\], got shape \[\]"),
    ("expected_gradients", {"baselines": X, "alphas": ["a", "b"]}, "alphas must be numbers, got"),
    ("expected_gradients", {"baselines": X, "alphas": np.zeros((2, 1, 1))}, r"alphas must be an array .* got shape \[2, 1, 1\]"),
    ("expected_gradients", {"baselines": X, "alphas": [0.5]}, "baselines has 2 draws, alphas 1: wanted one baseline for each"),
    ("integrated_gradients", {"baseline": [1, [2]]}, "baseline for 'x' must be numbers"),
    ("integrated_gradients", {"steps": True}, "steps must be an integer of at least 1, got True"),
    ("deeplift", {"baseline": [1, [2]]}, "baseline for 'x' must be numbers"),
    ("deepshap", {"background": 5}, r"background has shape \[\]: wanted at least one draw"),
    ("deepshap", {"background": X[:0]}, r"background has shape \[0, 4\]: wanted at least one draw"),
    ("deepshap", {"background": "abc"}, "background must be an array of numbers, got 'abc'"),
    ("deepshap", {"background": X[:, :3]}, r"background for 'x' has shape \[2, 3\]: wanted \[draws, 4\]"),
    ("deepshap", {"background": X[0]}, r"background for 'x' has shape \[4\]: wanted \[draws, 4\]"),
    ("deepshap", {"background": X * np.nan}, "background holds NaN or infinity"),
    ("gradient", {"wrt": 5}, "wrt must be the name of a tensor or a list of names, got 5"),
    ("grad_cam", {"layer": 5}, "layer must be the name of a tensor or a list of names, got 5"),
    ("conductance", {"layer": 5}, "layer must be the name of a tensor or a list of names, got 5"),
    ("lrp", {"rules": 5}, "rules must be a list of rows, got 5"),
    (
        "smoothgrad",
        {"inner": {"method": "gradient"}, "inner_params": {"postprocess": "abs"}},
        "inner=.* has its own parameters: postprocess beside it would be",
    ),
    ("smoothgrad", {"abs": "False"}, "abs must be true or false, got 'False'"),
    ("kernel_shap", {"coalitions": np.eye(4), "weights": np.zeros(4)}, "weights must not all be zero"),
    ("lrp", {"composite": "z", "rules": [{"kind": "dense", "rule": "z_box", "low": np.zeros(3), "high": np.ones(3)}]}, "z_box must broadcast to 'x'"),
    ("gradient", {"providers": "CPUExecutionProvider"}, "providers must be a list of names or of pairs"),
    ("gradient", {"providers": ("CPUExecutionProvider", {})}, "providers must be a list of names or of pairs"),
    ("gradient", {"batch_size": True}, "batch_size must be an integer of at least 1, got True"),
    ("grad_cam", {"layer": "x", "grid": np.array([7.5, 7])}, "grid must be 'auto' or the extents of the grid"),
    ("gradient", {"postprocess": np.zeros(2)}, "postprocess must be one of None, 'abs', 'square', got array"),
]


@pytest.mark.parametrize(("method", "params", "words"), PARAMETERS, ids=[f"{m}-{','.join(p)}-{k}" for k, (m, p, _) in enumerate(PARAMETERS)])
def test_parameters(method, params, words):
    check(lambda: explain(method=method, **params)(None), InputError, words)


@pytest.mark.parametrize(("call", "error", "words"), CALLS.values(), ids=CALLS.keys())
def test_calls(call, error, words, tmp_path):
    check(lambda: call(tmp_path), error, words)
    assert [p for p in tmp_path.iterdir() if p.suffix != ".onnx"] == []  # nothing half-written


def check(call, error, words) -> None:
    with np.errstate(all="ignore"), pytest.raises(OnnxplainError) as caught:
        call()
    message = str(caught.value)
    assert caught.type is error, message
    assert re.search(words, message), message
    assert "\n" not in message
    assert len(message) < 1000
    assert caught.value.__cause__ is None  # no traceback from inside of other libraries
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
