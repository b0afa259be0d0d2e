"""Comparisons: what stands where, and which numbers."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from helpers import draw, mlp, parse
from PIL import Image

import onnxplain
from onnxplain import InputError, several
from onnxplain.comparison import compare
from onnxplain.comparison.table import WIDTH

ROOT = Path(__file__).resolve().parents[2]
MODEL = str(ROOT / "models" / "digits.onnx")
FILES = [ROOT / "models" / "digits" / f"{k}.png" for k in (3, 5)]
X = np.stack([np.asarray(Image.open(f), np.float32)[None] / 255 for f in FILES])
LOGITS = ort.InferenceSession(MODEL, providers=["CPUExecutionProvider"]).run(None, {"image": X})[0]
P = np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True)


def texts(figure):
    """Everything that is written in a figure."""
    return [t for ax in figure.axes for t in (ax.get_title(), *(a.get_text() for a in ax.texts)) if t]


def maps(figure):
    """The numbers that are drawn, in the axes' order; pictures of three channels are left out."""
    arrays = [np.asarray(ax.images[0].get_array()) for ax in figure.axes if ax.images]
    return [a for a in arrays if a.ndim == 2]


def expected(method, target=None, x=X, **params):
    return onnxplain.explain(MODEL, x, method, target=target, **params).attribution.sum(1)


def test_methods_by_inputs(monkeypatch):
    made = []
    session = several.Session
    monkeypatch.setattr(several, "Session", lambda *a: made.append(1) or session(*a))
    figure = compare(MODEL, X, ["gradient", "lrp", "input_x_gradient"], names=["a $3", "b"], labels=[f"digit {k}" for k in range(10)])
    assert len(made) == 1  # one forward pass for all
    for got, want in zip(maps(figure), [m for name in ("gradient", "lrp", "input_x_gradient") for m in expected(name)], strict=True):
        np.testing.assert_allclose(got, want, atol=1e-5 * abs(want).max())
    said = texts(figure)
    assert {"a $3", "b", "gradient", "lrp", "input x gradient"} <= set(said)
    assert f"digit 3 ({P[0, 3]:.1%})\nscore {LOGITS[0, 3]:.4g}" in said
    assert f"digit 5 ({P[1, 5]:.1%})\nscore {LOGITS[1, 5]:.4g}" in said


def test_another_class_than_the_best_is_named():
    said = texts(compare(MODEL, X, ["gradient"], target=[3, 8]))
    assert f"class 5 ({P[1, 5]:.1%})\nexplained: class 8 ({P[1, 8]:.1%})\nscore {LOGITS[1, 8]:.4g}" in said


def test_methods_by_classes():
    figure = compare(MODEL, X[:1], ["gradient", "lrp"], targets=[2, 3, 8])
    want = [expected(name, k, X[:1])[0] for name in ("gradient", "lrp") for k in (2, 3, 8)]
    for got, w in zip(maps(figure), want, strict=True):
        np.testing.assert_allclose(got, w, atol=1e-5 * abs(w).max())
    said = texts(figure)
    assert all(f"class {k} ({P[0, k]:.1%})\nscore {LOGITS[0, k]:.4g}" in said for k in (2, 3, 8))
    assert f"class 3 ({P[0, 3]:.1%})" in said  # below the input


def test_methods_by_models():
    figure = compare({"one": MODEL, "two": MODEL}, {"one": X[:1], "two": X[1:]}, ["gradient", "lrp"])
    for got, w in zip(maps(figure), [expected(name)[k] for name in ("gradient", "lrp") for k in (0, 1)], strict=True):
        np.testing.assert_allclose(got, w, atol=1e-5 * abs(w).max())
    assert {"one", "two"} <= set(texts(figure))


def test_parameters_by_values():
    rows = [({"method": "smoothgrad", "samples": 2, "abs": True}, "noise_scale", [0.1, 0.5]), ("integrated_gradients", "steps", [1, 2, 3])]
    figure = compare(MODEL, X[:1], vary=rows)
    want = [expected("smoothgrad", x=X[:1], samples=2, abs=True, noise_scale=s)[0] for s in (0.1, 0.5)]
    want += [expected("integrated_gradients", x=X[:1], steps=s)[0] for s in (1, 2, 3)]
    for got, w in zip(maps(figure), want, strict=True):
        np.testing.assert_allclose(got, w, atol=1e-5 * abs(w).max())
    assert {"noise_scale = 0.5", "steps = 3", "smoothgrad\nsamples = 2\nabs = true"} <= set(texts(figure))


def test_techniques_by_inputs():
    figure = compare(MODEL, X, ["gradient"], visuals=["heatmap", "graymap"])
    signed, sizes = maps(figure)[:2], maps(figure)[2:]
    for s, m in zip(signed, sizes, strict=True):
        np.testing.assert_allclose(np.abs(s), m, rtol=1e-5)  # one channel
    assert {"heatmap\nof gradient", "graymap\nof gradient"} <= set(texts(figure))


def test_transposed():
    methods = ["gradient", "lrp"]
    flat, turned = (maps(compare(MODEL, X, methods, transpose=t)) for t in (False, True))
    np.testing.assert_array_equal(np.stack(turned), np.stack(flat).reshape(2, 2, 28, 28).transpose(1, 0, 2, 3).reshape(4, 28, 28))


@pytest.mark.filterwarnings("ignore:lrp's default is flat")
def test_tables_have_no_pictures_over_them():
    known = mlp()
    figure = compare(known.model, known.x[:2], ["gradient", "lrp"])
    assert len(figure.axes) == 4
    figure.draw_without_rendering()
    left = figure.axes[0]
    assert left.get_ylabel() == "gradient"
    assert not any(left.yaxis.label.get_window_extent().overlaps(t.get_window_extent()) for t in left.get_yticklabels())
    assert re.search(r"input 1\nclass \d \(\d+\.\d%\)\nscore ", "\n".join(texts(figure)))


@pytest.mark.parametrize("transpose", [False, True])
def test_nothing_is_cut_off_or_overlaps(transpose):
    long = {"integrated_gradients with a long name": "integrated_gradients", "gradient": "gradient"}
    figure = compare(MODEL, X, long, names=["an_input_with_a_very_long_name_indeed.png", "b"], transpose=transpose)
    figure.draw_without_rendering()
    whole = figure.bbox
    assert all(ax.get_window_extent().width > 0.85 * WIDTH * figure.dpi for ax in figure.axes)
    boxes = []
    for ax in figure.axes:
        for text in (ax.title, *ax.texts):
            if text.get_text():
                box = text.get_window_extent()
                assert whole.x0 <= box.x0
                assert box.x1 <= whole.x1
                assert whole.y0 <= box.y0
                assert box.y1 <= whole.y1
                boxes.append(box)
    assert not any(a.overlaps(b) for k, a in enumerate(boxes) for b in boxes[:k])


def test_refusals():
    with pytest.raises(InputError, match="do not fit into one picture"):
        compare(MODEL, np.repeat(X, 200, 0), ["gradient"])
    with pytest.raises(InputError, match="classes are compared for one input, got 2"):
        compare(MODEL, X, ["gradient"], targets=[1, 2])
    with pytest.raises(InputError, match="values are compared for one input, got 2"):
        compare(MODEL, X, vary=[("integrated_gradients", "steps", [1, 2])])
    with pytest.raises(InputError, match="models are compared for one input, got 2"):
        compare({"a": MODEL}, {"a": X}, ["gradient"])
    for what, given in {"names": ["a"], "pictures": [X[0, 0]]}.items():
        with pytest.raises(InputError, match=f"{what}: 1 were given for 2 inputs"):
            compare(MODEL, X, ["gradient"], **{what: given})
    with pytest.raises(InputError, match="no model was given"):
        compare({}, {}, ["gradient"])
    with pytest.raises(InputError, match="a batch for each of the models 'a'"):
        compare({"a": MODEL}, X, ["gradient"])
    with pytest.raises(InputError, match="compare either classes"):
        compare(MODEL, X, ["gradient"], targets=[1], vary=[("integrated_gradients", "steps", [1])])


def test_places_and_sums_over_axes_are_headed_by_their_indices():
    model = parse("g (float[N,1,4,4] x) => (float[N,2,4,4] y) { y = Conv(x, w) }", w=draw(2, 1, 1, 1))
    figure = compare(model, draw(1, 1, 4, 4), ["gradient"], targets=[(1, None, None), (0, 2, 3)])
    assert {"1, all, all", "0, 2, 3"} <= {line for text in texts(figure) for line in text.splitlines()}
