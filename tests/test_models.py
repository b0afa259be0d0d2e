"""The trained model that ships: as good as its results say, and the images beside it are what it was tested on."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from onnxplain.preprocess import Preprocessing
from onnxplain.tape import Type

ROOT = Path(__file__).resolve().parent.parent
MODEL = ROOT / "models" / "digits.onnx"


@pytest.fixture(scope="module")
def held_out() -> tuple[np.ndarray, np.ndarray]:
    spec = importlib.util.spec_from_file_location("train_digits", ROOT / "scripts" / "train_digits.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script.digits()[2:]


def test_accuracy_is_what_the_results_say(held_out):
    x, y = held_out
    results = json.loads((ROOT / "models" / "digits.results.json").read_text())
    logits = ort.InferenceSession(MODEL, providers=["CPUExecutionProvider"]).run(None, {"image": x})[0]
    right = int((logits.argmax(1) == y).sum())
    assert len(y) == results["held_out_images"]
    assert abs(right - results["right"]) <= 1  # another machine's rounding may turn the least sure one
    assert right / len(y) >= 0.985


def test_pictures_are_held_out_images_of_their_class(held_out):
    x, y = held_out
    preprocessing = Preprocessing.of(Type.tensor(np.float32, ["N", 1, 28, 28]), MODEL)
    for k in range(10):
        image = preprocessing.array(preprocessing.picture(ROOT / "models" / "digits" / f"{k}.png"), np.dtype(np.float32))
        same = np.isclose(image, x, atol=1e-6).all((1, 2, 3))
        assert same.sum() == 1
        assert y[same] == k


def test_file_is_small_whole_and_tells_nothing_of_where_it_was_made():
    model = onnx.load(MODEL, load_external_data=False)
    onnx.checker.check_model(model, full_check=True)
    assert MODEL.stat().st_size < 1_000_000
    assert not any(t.external_data for t in model.graph.initializer)
    assert {o.domain: o.version for o in model.opset_import} == {"": 18}
    assert [Type.of(v.type).shape for v in (*model.graph.input, *model.graph.output)] == [("N", 1, 28, 28), ("N", 10)]
    assert b"site-packages" not in MODEL.read_bytes()
