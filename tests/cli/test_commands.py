"""The command line: what a user types, reads and gets wrong."""

from __future__ import annotations

import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from PIL import Image

import onnxplain
from onnxplain import cli, facts
from onnxplain.cli.explain import ROWS
from onnxplain.methods import METHODS

ROOT = Path(__file__).resolve().parents[2]
MODEL = str(ROOT / "models" / "digits.onnx")
THREE, FIVE = (str(ROOT / "models" / "digits" / f"{k}.png") for k in (3, 5))


def size(path):
    with Image.open(path) as image:
        return image.size


# ---- help ----


@pytest.mark.parametrize("command", [[], *([name] for name in ("inspect", "explain", "fit", "compile", "compare", "report", "bench", "env"))])
def test_help_has_an_example(run, command):
    code, out, err = run(*command, "--help")
    assert (code, err) == (0, "")
    assert "Usage: onnxplain" in out
    assert re.search(r"Try:|Examples?:", out)


def test_no_arguments_is_help_and_version_is_a_line(run):
    assert "Usage" in run()[1]
    assert re.fullmatch(r"onnxplain \d+\.\d+\.\d+\S*\n", run("--version")[1])


def test_the_entry_point_works():
    done = subprocess.run([sys.executable, "-c", "from onnxplain.cli import main; main()", "--version"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("onnxplain ")


# ---- inspect, env ----


def test_inspect_says_what_is_in_it(run):
    code, out, err = run("inspect", MODEL)
    assert (code, err) == (0, "")
    for line in ("opset ai.onnx 18; IR 10; producer: pytorch", "image  float32[N, 1, 28, 28]", "logits  float32[N, 10]", "score     logits"):
        assert line in out
    assert re.search(r"Conv +6 +linear", out)
    assert all(m in out for m in METHODS)
    assert "node_conv2d " in run("inspect", MODEL, "--nodes")[1]


def test_env(run, monkeypatch):
    code, out, _ = run("env")
    assert code == 0
    assert "onnxruntime" in out
    assert "CPUExecutionProvider" in out
    versions = {"onnxruntime": "1.0", "onnxruntime-gpu": "1.1"}
    monkeypatch.setattr(facts, "version", lambda name: versions.get(name, "not installed"))
    assert "onnxruntime 1.0 and onnxruntime-gpu 1.1 are installed over each other" in run("env")[1]


# ---- explain ----


def test_explain_writes_a_picture_and_prints_the_best_classes(run, tmp_path):
    code, out, err = run("explain", MODEL, THREE, FIVE, "-m", "gradient,guided_backprop", "-m", "input_x_gradient")
    assert (code, err) == (0, "")
    assert re.search(r"^3\.png: 3 \(score .*\), \d \(score", out, re.M)
    assert re.search(r"^5\.png: 5 ", out, re.M)
    assert "wrote explanation.png" in out
    w, h = size("explanation.png")
    assert w > 4 * 200
    assert h > 2 * 200
    assert [p.name for p in tmp_path.iterdir()] == ["explanation.png"]


def test_explain_saves_the_numbers_that_the_library_gives(run, tmp_path):
    code, out, _ = run("explain", MODEL, THREE, "-m", "integrated_gradients", "-p", "steps=4", "-t", "8", "--save", "e.npz")
    assert code == 0
    assert [p.name for p in tmp_path.iterdir()] == ["e.npz"]
    saved = onnxplain.Explanation.load("e.npz")
    with Image.open(THREE) as image:
        x = np.asarray(image, np.float32)[None, None] / 255
    expected = onnxplain.explain(MODEL, x, "integrated_gradients", target=8, steps=4)
    np.testing.assert_allclose(saved.attribution, expected.attribution, atol=1e-5)
    assert saved.target.tolist() == [8]
    assert "add up" in out


def test_several_methods_save_a_file_each(run, tmp_path):
    run("explain", MODEL, THREE, "-m", "gradient,smoothgrad", "-p", "smoothgrad.samples=2", "--save", "e.npz", "-o", "e.png")
    assert {p.name for p in tmp_path.iterdir()} == {"e.gradient.npz", "e.smoothgrad.npz", "e.png"}


def test_targets_by_name_by_sample_and_by_part_of_a_name(run, tmp_path):
    names = [f"digit {k}" for k in range(10)]
    names[7] = "seven, the lucky one"
    Path("names.txt").write_text("\n".join(names))
    assert "3.png: digit 3" in run("explain", MODEL, THREE, "--labels", "names.txt", "-t", "lucky", "-m", "gradient", "--save", "e.npz")[1]
    assert onnxplain.Explanation.load("e.npz").target.tolist() == [7]
    run("explain", MODEL, THREE, FIVE, "-t", "1", "-t", "2", "-m", "gradient", "--save", "e.npz")
    assert onnxplain.Explanation.load("e.npz").target.tolist() == [1, 2]
    code, _, err = run("explain", MODEL, THREE, "--labels", "names.txt", "-t", "digit", "-m", "gradient")
    assert code == 2
    assert "class 'digit' may be 0 (digit 0), 1 (digit 1)" in err


def test_arrays_in_and_a_layer_explained(run):
    np.save("x.npy", np.random.default_rng(0).random((3, 1, 28, 28), dtype=np.float32))
    code, out, err = run("explain", MODEL, "x.npy", "-m", "gradient", "--wrt", "max_pool2d", "--output", "relu_6", "--batch-size", "2")
    assert (code, err) == (0, "")
    assert out.startswith("x.npy[0]: ")


def test_progress_only_where_asked(run):
    assert run("explain", MODEL, THREE, "-m", "gradient")[2] == ""
    assert "gradient" in run("explain", MODEL, THREE, "-m", "gradient", "--progress")[2]


def test_a_long_table_is_drawn_in_part(run):
    np.save("x.npy", np.zeros((ROWS + 1, 1, 28, 28), np.float32))
    code, _, err = run("explain", MODEL, "x.npy", "-m", "gradient")
    assert code == 0
    assert f"first {ROWS} of {ROWS + 1}" in err


def test_parameters_may_be_arrays(run):
    np.save("black.npy", np.zeros((1, 28, 28), np.float32))
    assert run("explain", MODEL, THREE, "-p", "baseline=@black.npy", "-p", "steps=2", "--save", "a.npz")[0] == 0
    run("explain", MODEL, THREE, "-p", "steps=2", "--save", "b.npz")
    np.testing.assert_array_equal(*(onnxplain.Explanation.load(f).attribution for f in ("a.npz", "b.npz")))


# ---- compile ----


def test_compile_writes_what_plain_onnxruntime_runs(run):
    code, out, err = run("compile", MODEL, "-m", "input_x_gradient", "-o", "explainer.onnx")
    assert (code, err) == (0, "")
    assert "target  int64[N]" in out
    assert "attribution  float32[N, 1, 28, 28]" in out
    session = ort.InferenceSession("explainer.onnx", providers=["CPUExecutionProvider"])
    x = np.random.default_rng(0).random((2, 1, 28, 28), dtype=np.float32)
    logits, attribution = session.run(None, {"image": x, "target": np.array([-1, 4])})
    expected = onnxplain.explain(MODEL, x, "input_x_gradient", target=[int(logits[0].argmax()), 4])
    np.testing.assert_allclose(attribution, expected.attribution, atol=1e-5)


# ---- bad input ----

BAD = {
    "nope.onnx": ["inspect", "nope.onnx"],
    "not an ONNX model": ["inspect", THREE],
    "no such file: nope.png": ["explain", MODEL, "nope.png"],
    "not an image": ["explain", MODEL, ROOT / "models" / "digits.json"],
    "did you mean 'gradient'": ["explain", MODEL, THREE, "-m", "gradeint"],
    "did you mean 'steps'": ["explain", MODEL, THREE, "-p", "stepz=3"],
    "wanted KEY=VALUE": ["explain", MODEL, THREE, "-p", "steps"],
    "parameters are given apart": ["explain", MODEL, THREE, "-m", "lrp(composite=epsilon)"],
    "unknown method in --param": ["explain", MODEL, THREE, "-p", "smoothgrad.samples=3"],
    "steps must be an integer of at least 1, got 'many'": ["explain", MODEL, THREE, "-p", "steps=many"],
    "noise_scale must be a finite number": ["explain", MODEL, THREE, "-m", "smoothgrad", "-p", "noise_scale=abc"],
    "noise has shape []": ["explain", MODEL, THREE, "-m", "smoothgrad", "-p", "noise=5"],
    "background has shape []": ["explain", MODEL, THREE, "-m", "deepshap", "-p", "background=5"],
    "baselines must be an array of numbers": ["explain", MODEL, THREE, "-m", "expected_gradients", "-p", "baselines=black"],
    "inner must be a method that a graph can hold": ["explain", MODEL, THREE, "-m", "smoothgrad", "-p", "inner=rise"],
    "rules must be a list of rows": ["explain", MODEL, THREE, "-m", "lrp", "-p", "rules=5"],
    "gamma of the rule gamma must be": ["explain", MODEL, THREE, "-m", "lrp", "-p", "composite=gamma", "-p", "gamma=-1"],
    "bounds must be None or (low, high)": ["explain", MODEL, THREE, "-m", "deep_taylor", "-p", "bounds=5"],
    "layer must be the name of a tensor": ["explain", MODEL, THREE, "-m", "grad_cam", "-p", "layer=5"],
    "patches must be what fit(X) learned": ["explain", MODEL, THREE, "-m", "prediction_difference", "-p", "window=4", "-p", "patches=5"],
    "'max_pool2d' is computed from 'image'": ["explain", MODEL, THREE, "-m", "occlusion", "-p", "window=4", "--wrt", "image", "--wrt", "max_pool2d"],
    "no such file: nope.npy": ["explain", MODEL, THREE, "-p", "baseline=@nope.npy"],
    "target 11 is out of range": ["explain", MODEL, THREE, "-t", "11"],
    "unknown class 'cat'": ["explain", MODEL, THREE, "-t", "cat"],
    "unknown tensor 'foo'": ["explain", MODEL, THREE, "--output", "foo"],
    "ends in one of": ["explain", MODEL, THREE, "-o", "x.xyz"],
    "no such folder": ["explain", MODEL, THREE, "-o", "no/x.png"],
    "ends in .npz": ["explain", MODEL, THREE, "--save", "x.zip"],
    "batch_size must be": ["explain", MODEL, THREE, "--batch-size", "0"],
    "--batch-size": ["explain", MODEL, THREE, "--batch-size", "few"],
    "did you mean 'cpu'": ["explain", MODEL, THREE, "--provider", "tpu"],
    "wanted height and width": ["explain", MODEL, THREE, "--size", "big"],
    "--scale '1/0'": ["explain", MODEL, THREE, "--scale", "1/0"],
    "mean must be": ["explain", MODEL, THREE, "--mean", "1,2"],
    "--scale '1/2/3'": ["explain", MODEL, THREE, "--scale", "1/2/3"],
    "unknown channels": ["explain", MODEL, THREE, "-m", "gradient", "--channels", "mean", "-o", "x.png", "--save", "x.npz"],
    "unknown tensor 'nope'": ["inspect", MODEL, "--output", "nope"],
    "unknown tensor 'nowhere'": ["inspect", MODEL, "--wrt", "nowhere"],
    "--fit: gradient learns nothing from data": ["explain", MODEL, THREE, "-m", "gradient", "--fit", THREE],
    "--fit: gradient, saliency learn nothing from data": ["explain", MODEL, THREE, "-m", "gradient,saliency", "--fit", THREE],
    "--out p.txt: wanted a name that ends in .npz": ["fit", MODEL, THREE, "-o", "p.txt"],
    "Missing argument 'INPUT'": ["explain", MODEL],
    "No such command": ["explian", MODEL],
    "No such option": ["env", "--foo"],
    "Missing option": ["compile", MODEL],
    "cannot write": ["compile", MODEL, "-o", "no/x.onnx"],
    "holds one method": ["compile", MODEL, "-m", "gradient,saliency", "-o", "x.onnx"],
}


@pytest.mark.parametrize("said", BAD)
def test_bad_input_is_one_line_and_exit_status_two(run, tmp_path, said):
    code, out, err = run(*BAD[said])
    assert code == 2
    assert out == ""
    assert err.startswith("onnxplain: error: ")
    assert said in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_warning_is_one_line(run, tmp_path):
    from onnx import TensorProto, helper, save

    types = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", 3]) for n in "xy"]
    graph = helper.make_graph([helper.make_node("Tanh", ["x"], ["y"])], "g", types[:1], types[1:])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), "tanh.onnx")
    Path("x.csv").write_text("age,fare,class\n1,2,3\n")
    code, _, err = run("explain", "tanh.onnx", "x.csv", "-m", "guided_backprop")
    assert code == 0
    assert re.fullmatch(r"onnxplain: warning: guided_backprop .*\n", err)


@pytest.mark.parametrize(("kind", "said"), [(UserWarning, "onnxplain: warning: old\n"), (DeprecationWarning, "")])
def test_deprecations_are_not_for_users(run, monkeypatch, kind, said):
    monkeypatch.setattr(facts, "env", lambda: warnings.warn("old", kind, stacklevel=2) or "")
    assert run("env") == (0, "\n", said)


def test_a_bug_is_said_to_be_one(run, monkeypatch):
    def broken(*_):
        raise RuntimeError("two\nlines")

    monkeypatch.setattr(facts, "env", broken)
    assert run("env")[::2] == (1, "onnxplain: internal error: RuntimeError: two lines; ONNXPLAIN_DEBUG=1 shows where. Please report it.\n")
    monkeypatch.setenv("ONNXPLAIN_DEBUG", "1")
    with pytest.raises(RuntimeError):
        cli._run(["env"])


# ---- fit ----


def test_fit_writes_what_explain_takes(run, tmp_path):
    code, out, err = run("fit", MODEL, THREE, FIVE, "-o", "p.npz", "-m", "pattern_net")
    assert (code, err) == (0, "")
    assert out.startswith("wrote p.npz with patterns of ")
    for extra in (["-p", "patterns=@p.npz"], ["--fit", THREE, "--fit", FIVE]):
        assert run("explain", MODEL, THREE, "-m", "pattern_net", *extra, "--save", "e.npz", "--target", 3)[0] == 0
        got = onnxplain.Explanation.load(tmp_path / "e.npz")
        x = got.inputs[next(iter(got.inputs))]
        data = np.concatenate([x, onnxplain.Explanation.load(_saved(run, tmp_path, FIVE)).inputs[next(iter(got.inputs))]])
        expected = onnxplain.Explainer(MODEL, "pattern_net").fit(data).explain(x, 3)
        np.testing.assert_allclose(got.attribution, expected.attribution, atol=1e-5 * np.abs(expected.attribution).max())


def _saved(run, tmp_path, picture):
    run("explain", MODEL, picture, "-m", "gradient", "--save", "other.npz")
    return tmp_path / "other.npz"


def test_what_learns_nothing_is_refused(run):
    code, out, err = run("fit", MODEL, THREE, "-o", "p.npz", "-m", "gradient")
    assert (code, out) == (2, "")
    assert "gradient learns nothing from data" in err
    code, out, err = run("fit", MODEL, THREE, "-o", "p.npz", "-m", "prediction_difference", "-p", "window=2")
    assert (code, out) == (2, "")
    assert "prediction_difference keeps what it learns to itself: use `onnxplain explain --fit`" in err
    code, _, err = run("fit", MODEL, THREE, "-o", "nowhere/p.npz")
    assert code == 2
    assert "no such folder nowhere" in err


def test_what_is_read_is_not_written_over(run, tmp_path):
    for name, file in {"m.onnx": MODEL, "3.png": THREE}.items():
        (tmp_path / name).write_bytes(Path(file).read_bytes())
    np.savez("x.npz", image=np.zeros((1, 1, 28, 28), np.float32))
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    for words in (
        "compile m.onnx -m gradient -o m.onnx", "explain m.onnx 3.png -o 3.png", "explain m.onnx x.npz --save x.npz", "fit m.onnx x.npz -o ./x.npz",
        "compare m.onnx 3.png -o 3.png",
    ):  # fmt: skip
        code, _, err = run(*words.split())
        assert (code, err.count("\n")) == (2, 1), words
        assert "it is read by the same command" in err
    assert "ends in .onnx" in run("compile", "m.onnx", "-o", "x.txt")[2]
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_labels_that_are_not_the_model_s(run):
    Path("three.txt").write_text("a\nb\nc")
    code, _, err = run("explain", MODEL, THREE, "--labels", "three.txt", "-t", "c", "-m", "gradient")
    assert code == 2
    assert "there are 3 labels, and the model has 10 classes: class 'c' is not certain, give its number" in err
    code, _, err = run("explain", MODEL, THREE, "--labels", "three.txt", "-m", "gradient")
    assert (code, err) == (0, "onnxplain: warning: there are 3 labels for 10 classes, and none is shown\n")
    assert run("compare", MODEL, THREE, "--labels", "three.txt", "-m", "gradient")[::2] == (code, err)
    assert run("explain", MODEL, THREE, "-m", "gradient", "-t", 8, "--save", "e.npz")[1].splitlines()[0].endswith("; explained: 8")


def test_a_whole_name_counts_more_than_a_part(run):
    names = ["n01234567 cup", "n01234568 cupboard, press", "crane", "n01234569 crane, lift", *(f"digit {k}" for k in range(4, 10))]
    Path("names.txt").write_text("\n".join(names))
    for text, index in {"cup": 0, "Press": 1, "lift": 3, "digit 7": 7, "n01234567 cup": 0}.items():
        assert run("explain", MODEL, THREE, "--labels", "names.txt", "-t", text, "-m", "gradient", "--save", "e.npz")[0] == 0
        assert onnxplain.Explanation.load("e.npz").target.tolist() == [index], text
    assert (
        "class 'crane' may be 2 (crane), 3 (n01234569 crane, lift): give its number"
        in run("explain", MODEL, THREE, "--labels", "names.txt", "-t", "crane", "-m", "gradient")[2]
    )


def test_attributions_that_do_not_add_up_are_said(run):
    assert "attributions do not add up: " in run("explain", MODEL, THREE, "-m", "integrated_gradients", "-p", "steps=1")[1]
    assert "attributions add up to the score's difference within" in run("explain", MODEL, THREE, "-m", "integrated_gradients", "-p", "steps=30")[1]
