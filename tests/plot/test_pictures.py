"""Every kind of picture against the one stored in `baseline`; ONNXPLAIN_BASELINE=1 stores them anew: look at them then.

Letters and the layout around them are left out, and pixels compared in blocks: there versions of Matplotlib differ by more than an error
would. What the letters say is tested beside this.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image

import onnxplain
from onnxplain.plot import VISUALS, grid, show
from onnxplain.preprocess import Preprocessing

from .samples import of, scene

BASELINE = Path(__file__).parent / "baseline"
MODELS = Path(__file__).resolve().parents[2] / "models"
BLOCK, TOLERANCE = 5, 5
"""Pixels are averaged over blocks; then the root mean square of the differences, of 0 to 255."""
PICTURES = {}


def picture(draw):
    """Registers a function that returns axes or a figure."""
    PICTURES[draw.__name__] = draw
    return draw


def coloured(**facts):
    x, a = scene()
    return of(a, x, **facts)


for _name in VISUALS:
    _more = {"segments": np.arange(48)[None] // 8 + np.arange(32)[:, None] // 8 * 6} if _name == "masked_input" else {}
    PICTURES[_name] = lambda name=_name, more=_more: show(coloured(), visual=name, **more)


@picture
def colour_bar():
    return show(coloured(), colorbar=True, cmap="PuOr_r", limit=2)


@picture
def norm_of_channels():
    return show(coloured(), channels="norm", colorbar=True)


@picture
def layer_with_boxes_and_contours():
    x, a = scene()
    layer = np.abs(a).reshape(3, 4, 8, 6, 8).mean((2, 4))
    inside = x[0] > 0.5
    return show(of(layer, x, name="conv"), visual="blend", contours=inside, boxes=[[6, 4, 33, 29]], colorbar=True)


@picture
def one_channel():
    x, a = scene()
    return show(of(a[:1], x[:1]), visual="blend")


@picture
def volume():
    z, y, x = np.mgrid[-1:1:12j, -1:1:20j, -1:1:16j]
    body = (1 - 0.3 * z) * np.exp(-((x**2 + y**2 + z**2) ** 2))
    a = np.exp(-((x - 0.2) ** 2 + y**2 + z**2) / 0.05)
    return show(of(a[None], body[None]), visual="blend", slices=6)


@picture
def spectrogram():
    f, t = np.mgrid[:40, :90]
    a = np.exp(-((f - 15) ** 2 + (t - 50) ** 2) / 60) - np.exp(-((f - 30) ** 2 + (t - 20) ** 2) / 30)
    return show(of(a[None], np.cos(f / 5 + t / 9)[None]), kind="series", colorbar=True)


@picture
def series():
    a = np.outer(np.linspace(0, 1, 20) ** 3, [1, -0.5, 0, 2])
    return show(of(a, a), features=["pressure", "speed", "load", "heat"])


def wave():
    t = np.arange(400)
    return np.sin(t / 15) * (1 + t / 200), np.exp(-(((t - 250) / 40) ** 2)) - 0.5 * np.exp(-(((t - 90) / 20) ** 2))


@picture
def signal():
    x, a = wave()
    return show(of(a[None], x[None]), colorbar=True)


@picture
def signal_of_channels():
    x, a = wave()
    return show(of(np.stack([a, -a, 0 * a]), np.stack([x, 5 + x, x**2])), features=["I", "II", "III"])


@picture
def table():
    return show(of([0.5, -1.25, 0.1, 0.75], [39, 1, 27.5, 110]), features=["age", "sex", "body mass index", "blood $pressure$"])


@picture
def top_of_a_table():
    return show(of(np.sin(np.arange(60.0)) * np.arange(60)), kind="table", top=5)


@picture
def text():
    tokens = re.findall(r"\S+", "the plot made no sense and the acting was awful, but I $loved$ the wonderful photography of the old town")
    values = [{"awful,": -1.0, "no": -0.5, "$loved$": 0.8, "wonderful": 1.0}.get(t, 0.02) for t in tokens]
    return show(of(values), tokens=tokens, colorbar=True)


@picture
def grid_of_digits():
    pixels = Preprocessing.of(onnxplain.load(MODELS / "digits.onnx").inputs["image"], MODELS / "digits.onnx")
    x = np.stack([pixels.array(pixels.picture(MODELS / "digits" / f"{k}.png"), np.dtype(np.float32)) for k in (3, 8)])
    found = [onnxplain.explain(MODELS / "digits.onnx", x, method) for method in ("input_x_gradient", "lrp")]
    return grid(found, names=["3.png", "8.png"], labels=pixels.labels, scale="row", colorbar=True)


@picture
def all_zero():
    return show(of(np.zeros((3, 32, 48)), scene()[0]), colorbar=True)


@picture
def one_pixel():
    return show(of(np.full((1, 1, 1), -2.0)), colorbar=True)


@picture
def very_long():
    return show(of(np.tile(np.exp(-(np.linspace(-4, 4, 300) ** 2)), (1, 4, 1))))


def blocks(path, size=None):
    """A picture coarsely: [h, w, 3] of 0 to 255, and its size."""
    with Image.open(path) as image:
        size = size or [d // BLOCK for d in image.size]
        return np.asarray(image.convert("RGB").resize(size, Image.Resampling.BOX), float), size


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_are_as_stored(name, tmp_path):
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        drawn = PICTURES[name]()
        figure = getattr(drawn, "figure", None) or drawn
        figure.set_layout_engine("none")
        for letters in figure.findobj(Text):
            letters.set_visible(False)
        path = (BASELINE if os.environ.get("ONNXPLAIN_BASELINE") else tmp_path) / f"{name}.png"
        figure.savefig(path, dpi=50, metadata={"Software": None})
    expected, size = blocks(BASELINE / path.name)
    difference = np.sqrt(((expected - blocks(path, size)[0]) ** 2).mean())
    assert difference < TOLERANCE, f"{path} differs from {BASELINE / path.name}"


def test_every_stored_picture_is_one_of_these():
    assert {p.stem for p in BASELINE.glob("*.png")} == set(PICTURES)
