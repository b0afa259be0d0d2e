"""The result, kept in a file."""

import json

import numpy as np
import pytest
from helpers import mlp, two_inputs

import onnxplain
from onnxplain.explanation import BFLOAT16, jsonable


def test_saved_and_loaded(tmp_path):
    known = mlp()
    for params in ({"steps": 3, "baseline": np.zeros(3)}, {"method": "gradient"}):
        result = onnxplain.explain(known.model, known.x, **params)
        result.save(tmp_path / "result")
        again = onnxplain.Explanation.load(tmp_path / "result.npz")
        np.testing.assert_array_equal(again.attribution, result.attribution)
        np.testing.assert_array_equal(again.target, result.target)
        np.testing.assert_array_equal(again.inputs["x"], known.x)
        np.testing.assert_array_equal(again.output["y"], result.output["y"])
        assert again.method == result.method
        assert set(again.params) == set(result.params)
        if result.delta is None:
            assert again.delta is None
        else:
            np.testing.assert_array_equal(again.delta, result.delta)


def test_several_attributions(tmp_path):
    feeds = {"a": np.ones((2, 3), np.float32), "b": np.ones((2, 4), np.float32), "rate": 1.0}
    result = onnxplain.explain(two_inputs(), feeds, "gradient")
    result.save(tmp_path / "result.npz")
    assert list(onnxplain.Explanation.load(tmp_path / "result.npz").attributions) == ["a", "b", "rate"]
    with pytest.raises(onnxplain.InputError, match="3 attributions"):
        _ = result.attribution


def test_what_is_no_explanation(tmp_path):
    (tmp_path / "text.npz").write_text("no archive")
    np.savez(tmp_path / "other.npz", a=np.ones(2))
    np.savez(tmp_path / "facts.npz", facts=np.array("[]"))
    np.save(tmp_path / "array.npy", np.ones(2))
    (tmp_path / "empty.npz").write_bytes(b"")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "other.npz").read_bytes()[:-40])
    for name in ("text.npz", "other.npz", "facts.npz", "array.npy", "empty.npz", "cut.npz"):
        with pytest.raises(onnxplain.InputError, match="not an explanation"):
            onnxplain.Explanation.load(tmp_path / name)


def test_a_name_without_npz_is_completed_both_ways(tmp_path):
    explained = onnxplain.Explanation({"x": np.ones((1, 2))}, {}, np.zeros(1, np.int64), "gradient")
    explained.save(tmp_path / "e")
    np.testing.assert_array_equal(onnxplain.Explanation.load(tmp_path / "e").attribution, explained.attribution)
    with pytest.raises(onnxplain.InputError, match=r"no such file: .*other\.npz"):
        onnxplain.Explanation.load(tmp_path / "other")


def test_parameters_as_json():
    assert json.loads(json.dumps([np.float32(0.5), np.arange(3), np.zeros(100), slice(1)], default=jsonable)) == [
        0.5,
        [0, 1, 2],
        "array [100]",
        "slice(None, 1, None)",
    ]


def test_outputs_that_are_texts_or_maps(tmp_path):
    texts, maps = np.array(["a", "bc"], object), [{"a": 0.25, "bc": 0.75}, {"a": 1.0, "bc": 0.0}]
    numbers = {"x": np.zeros((2, 1), np.float32)}
    onnxplain.Explanation(numbers, {"label": texts, "p": maps, "q": [{3: 0.5}, {3: 1.0}]}, np.zeros(2, np.int64), "occlusion").save(tmp_path / "e.npz")
    again = onnxplain.Explanation.load(tmp_path / "e.npz")
    assert again.output["label"].tolist() == ["a", "bc"]
    assert again.output["p"] == maps
    assert again.output["q"] == [{3: 0.5}, {3: 1.0}]


def test_bfloat16_survives(tmp_path):
    brain = np.arange(3).astype(BFLOAT16)
    onnxplain.Explanation({"x": brain}, {"y": brain}, np.zeros(3, np.int64), "gradient").save(tmp_path / "e.npz")
    again = onnxplain.Explanation.load(tmp_path / "e.npz")
    assert again.attribution.dtype == BFLOAT16
    np.testing.assert_array_equal(again.attribution.astype(np.float32), [0, 1, 2])
