"""`onnxplain evaluate`: what a user types, reads and gets wrong."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pytest

import onnxplain
from onnxplain import cli, evaluate
from onnxplain.inputs import read
from onnxplain.model import load
from onnxplain.preprocess import Preprocessing

ROOT = Path(__file__).resolve().parent.parent.parent
MODEL = ROOT / "models" / "digits.onnx"
DIGITS = [str(ROOT / "models" / "digits" / f"{k}.png") for k in (3, 5)]
COMMANDS = ("deletion", "insertion", "measure", "agreement", "randomisation", "search", "boxes")


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """Run the command line in an empty folder: exit status, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        with pytest.raises(SystemExit) as stopped:
            cli.main(["evaluate", *map(str, arguments)])
        out, err = capsys.readouterr()
        return stopped.value.code, out, err

    return call


def inputs():
    model = load(MODEL)
    return model, next(iter(read(DIGITS, model, Preprocessing.of(model.inputs["image"], MODEL)).feeds.values()))


def rows(path):
    with open(path) as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(run, command):
    code, out, err = run(command, "--help")
    assert (code, err) == (0, "")
    assert re.search(r"Examples?:\s+onnxplain evaluate " + command, out)
    assert "--method" in out and "--out" in out


def test_commands_are_listed(run):
    out = run("--help")[1]
    assert all(re.search(rf"^  {c} ", out, re.MULTILINE) for c in COMMANDS)


def test_deletion_and_insertion(run):
    model, x = inputs()
    for command, metric, flags, params in (
        ("deletion", evaluate.deletion, ["--order", "least", "--fill", "0.5"], {"order": "least", "fill": 0.5}),
        ("insertion", evaluate.insertion, ["--fill", "blur", "--relative", "--probability"], {"fill": "blur", "relative": True, "probability": True}),
    ):
        code, out, err = run(
            command, MODEL, *DIGITS, "-m", "input_x_gradient,sobel", "--region", 4, "--steps", 5, "-o", f"{command}.csv", *flags, "--no-progress"
        )
        assert (code, err) == (0, "")
        expected = metric(model, x, ["input_x_gradient", "sobel"], region=4, steps=5, **params)
        own = {(r["method"], r["sample"]): float(r["value"]) for r in rows(f"{command}.csv")}
        assert len(own) == 4
        names = dict(zip("01", ("3.png", "5.png")))
        np.testing.assert_allclose([own[r["method"], names[r["sample"]]] for r in expected], [r["value"] for r in expected], rtol=1e-4)
        assert out.splitlines()[0].split()[:2] == ["method", f"{command}_auc"]
        assert out.splitlines()[-1] == f"wrote {command}.csv"


def test_parameters_and_pictures(run, tmp_path):
    code, out, err = run(
        "measure", MODEL, *DIGITS, "-m", "smoothgrad,gradient", "-p", "smoothgrad.samples=2", "--metric", "sensitivity_n,sparseness",
        "--metric-param", "sensitivity_n.subsets=5", "--metric-param", "region=7", "--plot", "p.png", "-t", "3", "--no-progress",
    )  # fmt: skip
    assert (code, err) == (0, "")
    model, x = inputs()
    methods = {"smoothgrad": {"method": "smoothgrad", "samples": 2}, "gradient": "gradient"}
    assert out.startswith(str(evaluate.compare(model, x, methods, {"sensitivity_n": {"subsets": 5, "region": 7}, "sparseness": {}}, target=3)))
    assert (tmp_path / "p.png").stat().st_size > 5000


def test_search_agreement_and_randomisation(run):
    code, out, err = run(
        "search", MODEL, *DIGITS, "-m", "random", "-g", "integrated_gradients.baseline=0,1", "-g", "integrated_gradients.steps=3", "--metric", "complexity"
    )
    assert (code, err) == (0, "")
    assert {"random", "integrated_gradients(baseline=0,", "integrated_gradients(baseline=1,"} <= {line.split()[0] for line in out.splitlines()}
    assert re.search(r"^best: ", out, re.MULTILINE)
    code, out, err = run("agreement", MODEL, *DIGITS, "-m", "gradient,saliency", "--similarity", "spearman,top_k", "-o", "a.csv")
    assert (code, err) == (0, "")
    assert "gradient, saliency" in out
    assert len(rows("a.csv")) == 4
    code, out, err = run("randomisation", MODEL, DIGITS[0], "-m", "gradient", "--mode", "independent")
    assert (code, err) == (0, "")
    assert len(out.splitlines()) == 1 + len(evaluate.layers(MODEL)) + 1


def test_boxes(run, tmp_path):
    (tmp_path / "boxes.csv").write_text("file,class,xmin,ymin,xmax,ymax\n3.png,3,4,0,24,28\n5.png,5,0,0,14,28\n")
    code, _, err = run(
        "boxes", MODEL, Path(DIGITS[0]).parent, "boxes.csv", "-m", "gradient", "--explain", "annotated", "-o", "r.csv", "--plot", "worst.png", "--count", 1
    )
    assert (code, err) == (0, "")
    model, x = inputs()
    a = np.abs(onnxplain.explain(model, x, "gradient", target=[3, 5]).attribution[:, 0])
    inside = np.zeros((2, 28, 28), bool)
    inside[0, :, 4:24] = inside[1, :, :14] = True
    written = {r["sample"]: r for r in rows("r.csv")}
    for k, name in enumerate(("3.png", "5.png")):
        assert float(written[name]["value"]) == pytest.approx(a[k][inside[k]].sum() / a[k][~inside[k]].sum(), rel=1e-4)
        assert written[name]["target"] == name[0]
    assert (tmp_path / "worst.png").stat().st_size > 3000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["deletion", MODEL, "nope.png"], "no such file: nope.png"),
        (["deletion", "nope.onnx", DIGITS[0]], "cannot read nope.onnx"),
        (["deletion", MODEL, DIGITS[0], "-m", "sobell"], "did you mean 'sobel'"),
        (["deletion", MODEL, DIGITS[0], "-m", "random", "--fill", "blurr"], "did you mean 'blur'"),
        (["deletion", MODEL, DIGITS[0], "-o", "r.txt"], ".csv or .parquet"),
        (["deletion", MODEL, DIGITS[0], "--plot", "r.txt"], "a picture's name ends in"),
        (["deletion", MODEL, DIGITS[0], "--plot", "no/r.png"], "no such folder"),
        (["measure", MODEL, DIGITS[0], "--metric", "sparsenes"], "did you mean 'sparseness'"),
        (["measure", MODEL, DIGITS[0], "--metric-param", "n"], "wanted KEY=VALUE"),
        (["measure", MODEL, DIGITS[0], "--metric", "sparseness", "--metric-param", "n=3"], "none of sparseness has a parameter 'n'"),
        (["search", MODEL, DIGITS[0], "-g", "smoothgrad"], "wanted METHOD.KEY=VALUE,VALUE"),
        (["search", MODEL, DIGITS[0]], "search needs a method or more"),
        (["search", MODEL, DIGITS[0], "-p", "samples=3", "-m", "smoothgrad"], "No such option"),
        (["boxes", MODEL, ".", "boxes.csv"], "no such file: boxes.csv"),
        (["boxes", MODEL, ".", "boxes.csv", "--count", "0"], "--count must be an integer of at least 1, got 0"),
        (["deletion", MODEL, DIGITS[0], "-m", "random", "--steps", "0", "-o", "z.csv"], "steps must be an integer of at least 1, got 0"),
        (["measure", MODEL, DIGITS[0], "-m", "random", "--metric", "pointing_game", "-o", "z.csv"], "metrics of localisation need inside="),
        (["agreement", MODEL, DIGITS[0], "-o", "r.parquet"], "agreement goes to a .csv file"),
        (["evaluate"], "No such command"),
    ],
)
def test_one_line_and_two(run, arguments, message):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("onnxplain: error: ") and err.count("\n") == 1
    assert message in err
    assert not Path("z.csv").exists()
