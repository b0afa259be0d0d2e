"""What a notebook shows of an explanation."""

from __future__ import annotations

import io
import re
from base64 import b64decode

import numpy as np
from PIL import Image

from .samples import explanation, of


def pictures(page):
    return [Image.open(io.BytesIO(b64decode(data))) for data in re.findall(r'src="data:image/png;base64,([^"]+)"', page)]


def test_facts_and_a_picture():
    page = explanation(params={"steps": 5, "baseline": None, "note": "<i>"}, delta=np.array([0.25, -0.5]))._repr_html_()
    assert "<b>gradient</b>, steps = 5, note = &quot;&lt;i&gt;&quot;, adds up to within 0.5" in page
    (image,) = pictures(page)
    assert image.size[1] > image.size[0] / 2  # two rows of two
    assert image.size[0] < 400


def test_the_first_samples_and_tensors_are_shown():
    long = explanation((9, 1, 8, 8), target=[0] * 9, output={"p": np.full((9, 2), 0.5)})
    assert "[9, 1, 8, 8], the first 4 samples" in long._repr_html_()
    many = explanation((2, 3), attributions={f"t{k}": np.ones((2, 3)) for k in range(5)})._repr_html_()
    assert len(pictures(many)) == 3
    assert "and 2 more tensors" in many


def test_what_cannot_be_drawn_is_said():
    page = of(np.full((1, 8, 8), np.nan))._repr_html_()
    assert "holds NaN or infinity" in page
    assert not pictures(page)
