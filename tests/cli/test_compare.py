"""`onnxplain compare`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "models" / "digits.onnx"
THREE, FIVE = (ROOT / "models" / "digits" / f"{k}.png" for k in (3, 5))
CELL = 1.75 * 130


def pixels(path):
    with Image.open(path) as image:
        return image.size


def test_methods_by_inputs(run, tmp_path):
    code, out, err = run("compare", MODEL, THREE, FIVE, "-m", "gradient,lrp(composite=epsilon)", "-m", "smoothgrad", "-p", "samples=2")
    assert (code, out, err) == (0, "wrote comparison.png\n", "")
    assert [p.name for p in tmp_path.iterdir()] == ["comparison.png"]
    width, height = pixels("comparison.png")
    assert 2 * CELL < width < 4 * CELL
    assert 4 * CELL < height < 5 * CELL


@pytest.mark.parametrize(
    ("ending", "more"),
    [
        ("png", ["-m", "gradient,lrp", "-c", "3", "-c", "5"]),
        ("svg", ["-m", "gradient,lrp", "--model", MODEL]),
        ("pdf", ["--vary", "smoothgrad(abs=true).samples=1,2"]),
        ("png", ["-m", "gradient", "--visual", "graymap,blend(opacity=0.5)", "--transpose"]),
    ],
    ids=["classes", "models", "values", "techniques"],
)
def test_the_other_tables(run, more, ending):
    code, out, err = run("compare", MODEL, THREE, *more, "-o", f"x.{ending}")
    assert (code, out, err) == (0, f"wrote x.{ending}\n", "")
    head = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[ending]
    assert Path(f"x.{ending}").read_bytes().startswith(head)


def test_settings_for_each_model_and_names_of_classes(run):
    Path("names.txt").write_text("\n".join(f"digit {k}" for k in range(10)))
    Path("a.json").write_text(json.dumps({"scale": 1 / 255}))
    assert run("compare", MODEL, THREE, "-m", "gradient", "-c", "digit 7", "--labels", "names.txt", "-o", "x.svg")[0] == 0
    assert run("compare", MODEL, THREE, "--model", MODEL, "--preprocess", "a.json", "--preprocess", "a.json", "-m", "gradient")[0] == 0


def test_progress_only_where_asked(run):
    assert "2 methods" not in run("compare", MODEL, THREE, "-m", "gradient,lrp,saliency")[2]
    err = run("compare", MODEL, THREE, "-m", "gradient,lrp,saliency", "--progress")[2]
    assert err.index("reading") < err.index("3 methods")


BAD = {
    "ends in one of": ["-o", "x.xyz"],
    "no such folder": ["-o", "no/x.png"],
    "compare either models": ["-c", "3", "--vary", "smoothgrad.samples=1"],
    "1 files were given for 2 models": ["--model", MODEL, "--preprocess", "a.json"],
    "--vary says methods": ["-m", "lrp", "--vary", "smoothgrad.samples=1"],
    "did you mean 'gradient'": ["-m", "gradeint"],
    "unknown visual": ["--visual", "headmap"],
    "blur must be a number": ["-m", "gradient:blend(blur=abc)"],
    "opacity must be above 0": ["-m", "gradient:blend(opacity=abc)"],
    "segments must be a positive integer": ["-m", "gradient:masked_input(segments=abc)"],
    "unknown channels 'mean'": ["--channels", "mean"],
    "values are compared for one input, got 2": [FIVE, "--vary", "integrated_gradients.steps=1,2"],
    "target 11 is out of range": ["-m", "gradient", "-c", "11"],
}


@pytest.mark.parametrize("said", BAD)
def test_bad_input_is_one_line_and_exit_status_two(run, tmp_path, said):
    code, out, err = run("compare", MODEL, THREE, *BAD[said])
    assert (code, out) == (2, "")
    assert err.startswith("onnxplain: error: ")
    assert said in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
