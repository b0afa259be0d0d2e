"""Tokens on coloured ground: on axes, as HTML, and for a terminal."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib import colormaps

from onnxplain.errors import InputError
from onnxplain.plot import html, show, terminal

from .samples import of

E = of([1.0, -0.5, 0.0, 0.25])
TOKENS = ["good", "<b>", "$5 & $6", ""]


def ground(value):
    return "#" + "".join(f"{round(255 * c):02x}" for c in colormaps["RdBu_r"](0.5 + value / 2)[:3])


class Spans(HTMLParser):
    """The spans of a page: their attributes and their texts."""

    def __init__(self, page):
        super().__init__()
        self.spans, self.texts = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.spans += [dict(attrs)] if tag == "span" else []

    def handle_data(self, data):
        self.texts += [data.strip()] if data.strip() else []


def test_html_has_a_span_for_each_token():
    page = Spans(html(E, TOKENS, limit=1))
    assert page.texts == TOKENS[:3]
    assert [s["title"] for s in page.spans] == ["1", "-0.5", "0"]
    assert [re.search("background:(#......)", s["style"])[1] for s in page.spans] == [ground(1), ground(-0.5), ground(0)]
    assert ["color:white" in s["style"] for s in page.spans] == [True, False, False]


def test_html_has_no_tag_of_a_token():
    assert "<script" not in html(of([1.0]), ["<script>alert()</script>"])
    assert html(of([1.0, 2.0]), ["a\n", "b"]).count("<br>") == 1


def test_a_terminal_gets_24_bit_colours():
    text = terminal(E, TOKENS, limit=1, separator="|")
    assert re.sub("\x1b.*?m", "", text) == "good|<b>|$5 & $6"
    red, green, blue = (round(255 * c) for c in colormaps["RdBu_r"](1.0)[:3])
    assert text.startswith(f"\x1b[48;2;{red};{green};{blue};97mgood\x1b[0m|")
    assert terminal(of([1.0]), ["\x1b[2Jx"]).count("\x1b") == 2  # a token brings no codes of its own


def test_letters_keep_within_their_boxes():
    ax = show(of(np.linspace(-1, 1, 40)), tokens=["word" * (1 + k % 3) for k in range(40)])
    boxes, letters = ax.patches[::2], ax.patches[1::2]
    assert len(boxes) == 40
    for box, text in zip(boxes, letters):
        inner, outer = text.get_path().get_extents(), box.get_bbox()
        assert outer.x0 < inner.x0 < inner.x1 < outer.x1
        assert outer.y0 < inner.y0 < inner.y1 < outer.y1
    assert len({box.get_y() for box in boxes}) > 3  # several lines


@pytest.mark.parametrize("draw", [html, terminal])
@pytest.mark.parametrize(("options", "why"), [({"limit": -1}, "limit must be"), ({"limit": "a"}, "limit must be"), ({"percentile": "a"}, "percentile must be")])
def test_the_scale_is_checked(draw, options, why):
    with pytest.raises(InputError, match=why):
        draw(of(np.array([1.0, -1.0])), ["a", "b"], **options)


def test_embeddings_are_summed_and_lengths_checked():
    page = Spans(html(of(np.array([[1.0, 2.0], [-4.0, 1.0]]), name="embedded"), ["a", "b"]))
    assert [s["title"] for s in page.spans] == ["3", "-3"]
    with pytest.raises(InputError, match="1 tokens were given for 4 positions of 'x': give one for each, '' for padding"):
        html(E, ["good"])
    show(E, tokens=[""] * 4).figure.canvas.draw()
