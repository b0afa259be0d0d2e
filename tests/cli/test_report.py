"""`onnxplain report`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from onnxplain.cli.report import _vocabulary

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "models" / "digits.onnx"
THREE = ROOT / "models" / "digits" / "3.png"


def test_one_file_that_says_its_command(run, tmp_path):
    code, out, err = run("report", MODEL, THREE, "-m", "gradient,lrp(composite=epsilon):graymap", "--title", "A & B")
    assert (code, err) == (0, "")
    page = Path("report.html").read_text(encoding="utf-8")
    assert out == f"wrote report.html ({Path('report.html').stat().st_size:,} bytes)\n"
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    assert f"onnxplain report {MODEL} {THREE} -m &#x27;gradient,lrp(composite=epsilon):graymap&#x27; --title &#x27;A &amp; B&#x27;" in page
    assert "<h1>A &amp; B</h1>" in page
    assert "lrp, composite = epsilon" in page
    assert "3.png" in page


@pytest.mark.parametrize(
    ("name", "text"),
    [("v.json", json.dumps(["<PAD>", "a", "b"])), ("v.json", json.dumps({"a": 1, "b": 2, "[PAD]": 0})), ("v.txt", "<pad>\na\nb")],
)
def test_vocabularies(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    assert _vocabulary(tmp_path / name) == {0: "", 1: "a", 2: "b"}


BAD = {
    "no such folder": ["-o", "no/x.html"],
    "ends in .html": ["-o", "x.pdf"],
    "did you mean 'gradient'": ["-m", "gradeint"],
    "cannot read the vocabulary v.json": ["--vocabulary", "v.json"],
    "must be a list of tokens": ["--vocabulary", ROOT / "models" / "digits.json"],
    "target 11 is out of range": ["-m", "gradient", "-t", "11"],
    "unknown channels 'mean'": ["-m", "gradient", "--channels", "mean"],
}


@pytest.mark.parametrize("said", BAD)
def test_bad_input_is_one_line_and_exit_status_two(run, tmp_path, said):
    code, out, err = run("report", MODEL, THREE, *BAD[said])
    assert (code, out) == (2, "")
    assert err.startswith("onnxplain: error: ")
    assert said in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
