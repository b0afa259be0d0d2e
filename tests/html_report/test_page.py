"""The report: its numbers are the explanations' own, and nothing in it comes from elsewhere or runs by accident."""

from __future__ import annotations

import re
from base64 import b64decode
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from helpers import draw, mlp, parse, tokens
from PIL import Image

import onnxplain
from onnxplain.html_report import report
from onnxplain.html_report.markup import Html, joined, tag

ROOT = Path(__file__).resolve().parents[2]
MODEL = str(ROOT / "models" / "digits.onnx")
X = np.stack([np.asarray(Image.open(ROOT / "models" / "digits" / f"{k}.png"), np.float32)[None] / 255 for k in (3, 5)])
LOGITS = ort.InferenceSession(MODEL, providers=["CPUExecutionProvider"]).run(None, {"image": X})[0]
TARGET = [8, 5]
VOID = {"img", "input", "meta"}


class Page(HTMLParser):
    """Elements with their attributes, tables as rows of texts, and the text that a reader sees."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.tables, self.text, self.open, self.method = [], {}, "", [], None
        self.feed(text)
        assert not self.open, self.open

    def handle_starttag(self, name, attributes):
        self.elements.append((name, dict(attributes)))
        if name not in VOID:
            self.open.append(name)
        if name == "table":
            self.rows, self.caption = [], ""
        elif name == "tr":
            self.rows.append([])
        elif name in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, name):
        assert self.open.pop() == name
        if name == "table":
            self.tables.setdefault(self.caption, []).append(self.rows[1:])

    def handle_data(self, data):
        inside = self.open[-1] if self.open else ""
        if "td" in self.open or "th" in self.open:
            self.rows[-1][-1] += data
        if inside == "caption":
            self.caption += data
        if inside not in ("style", "script"):
            self.text += data

    def all(self, name, /, **wanted):
        return [a for n, a in self.elements if n == name and all(a.get(k) == v for k, v in wanted.items())]


def picture(attributes):
    head, _, data = attributes["src"].partition(",")
    assert head == "data:image/png;base64"
    return Image.open(BytesIO(b64decode(data, validate=True)))


@pytest.fixture(scope="module")
def digits():
    return Page(report(MODEL, X, ["gradient", "lrp"], target=TARGET, names=["a", "b"], labels=[f"digit {k}" for k in range(10)], command="onnxplain x"))


@pytest.fixture(scope="module")
def explained():
    return {name: onnxplain.explain(MODEL, X, name, target=TARGET) for name in ("gradient", "lrp")}


# ---- content ----


def test_maps_hold_the_attributions(digits, explained):
    for name, e in explained.items():
        for sample, called in enumerate("ab"):
            (found,) = digits.all("img", alt=f"{name} for {called}")
            with picture(found) as image:
                assert image.size == (28, 28)
                steps = np.asarray(image)
                colors = np.array(image.getpalette()).reshape(-1, 3)
            a = e.attribution[sample, 0]
            relative = np.clip(a / np.percentile(np.abs(a), 99.5), -1, 1)
            np.testing.assert_allclose(steps / 255 * 2 - 1, relative, atol=1.01 / 255)
            assert colors[255, 0] > 2 * colors[255, 2]  # red speaks for
            assert colors[0, 2] > 2 * colors[0, 0]  # blue against


def test_inputs_lie_below_the_maps(digits):
    grounds = digits.all("img", alt="the input")
    assert len(grounds) == 4
    with picture(grounds[0]) as image:
        np.testing.assert_allclose(np.asarray(image)[..., 0] / 255, X[0, 0] / X[0].max(), atol=1 / 255)


def test_predictions_and_sums(digits, explained):
    p = np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True)
    for sample, rows in enumerate(digits.tables["The best classes"]):
        best = np.argsort(-LOGITS[sample])[:5]
        assert rows == [[f"digit {k}", f"{p[sample, k]:.2%}", f"{LOGITS[sample, k]:.4g}"] for k in best]
    for sample, target in enumerate(TARGET):
        (rows,) = digits.tables[f"Sums; the explained score is {LOGITS[sample, target]:.4g}"]
        for name, total, residual in rows:
            np.testing.assert_allclose(float(total), explained[name].attribution[sample].sum(), rtol=2e-3)
            delta = explained[name].delta
            assert residual == ("–" if delta is None else f"{delta[sample]:.3g}")
    assert f"explained: digit 8 ({p[0, 8]:.1%})" in digits.text


def test_conservation_names_the_nodes_that_absorb(digits):
    trace = onnxplain.Explainer(MODEL, "lrp").trace(X[:1], TARGET[0])
    absorbed = {s.node: float(s.absorbed.sum()) for s in trace.steps}
    (rows,) = digits.tables["lrp: where the first sample's relevance stays"]
    assert rows[0][0] == max(absorbed, key=lambda n: abs(absorbed[n]))
    for node, _, _, _, part in rows:
        np.testing.assert_allclose(float(part.rstrip("%")) / 100, absorbed[node] / abs(LOGITS[0, TARGET[0]]), atol=1e-4)
    assert "All relevance is finite." in digits.text


def test_curves_are_those_of_the_evaluation(digits):
    from onnxplain.evaluate import compare

    result = compare(MODEL, X, ["gradient", "lrp"], {"deletion_auc": {"region": 2, "steps": 10}}, target=TARGET)
    (rows,) = digits.tables["Areas: mean ± standard error over the inputs"]
    assert {row[0]: row[1] for row in rows} == {k: str(m) for k, m in result.means("deletion_auc").items()}
    lines = digits.all("polyline")
    assert len(lines) == 4
    curve = np.mean([r["curve"] for r in result.where(method="gradient").records], 0)
    y = np.array([float(point.split(",")[1]) for point in lines[0]["points"].split()])
    assert np.corrcoef(y, -curve)[0, 1] > 0.9999


def test_facts_command_and_versions(digits):
    assert "float32[N, 1, 28, 28]" in digits.text
    assert onnxplain.load(MODEL).sha256 in digits.text
    assert digits.all("pre", **{"class": "command"})
    assert "onnxplain x" in digits.text
    assert re.search(r"numpy +\d", digits.text)


# ---- other inputs ----


def test_a_table_is_a_table():
    known = mlp()
    page = Page(report(known.model, known.x[:2], ["gradient"], features=["age", "fare", "rooms"], curves=False))
    a = onnxplain.explain(known.model, known.x[:2], "gradient").attribution
    (rows,) = page.tables["gradient for input 1"]
    assert [row[0] for row in rows] == [f"{n} = {float(v):.4g}" for n, v in zip(("age", "fare", "rooms"), known.x[1])]
    assert [row[1] for row in rows] == [f"{float(v):.4g}" for v in a[1]]
    assert not page.all("input", id="opacity")
    assert not page.all("svg")


def test_a_model_of_one_number_a_sample_has_curves():
    model = parse("g (float[N,3] x) => (float[N] y) { h = MatMul(x, w)\n y = ReduceSum<keepdims=0>(h, a) }", w=draw(3, 2, seed=1), a=np.array([1]))
    page = Page(report(model, draw(4, 3, seed=2), ["gradient"]))
    assert len(page.all("polyline")) == 2
    assert "There are no curves" not in page.text
    assert "explained: output · score" in page.text


def test_tokens_are_text_and_padding_is_left_out():
    model, ids = tokens(), np.array([[1, 4, 2, 0], [3, 2, 2, 1]])
    words = {int(i): f"<w{i}>" for i in np.unique(ids)}
    words[int(ids[0, -1])] = ""
    page = Page(report(model, ids, ["gradient"], vocabulary=words, curves=False))
    e = onnxplain.explain(model, ids, "gradient")
    spans = [a["title"] for a in page.all("span") if "title" in a]
    shown = [f"{float(v):.4g}" for row, a in zip(ids, e.attribution.sum(2)) for i, v in zip(row, a) if words[int(i)]]
    assert spans == shown
    assert all(word in page.text for word in words.values())


# ---- a page that works anywhere ----


def test_it_needs_nothing_from_elsewhere_and_fits_a_phone(digits):
    for _, attributes in digits.elements:
        for name in ("src", "href", "action"):
            assert attributes.get(name, "data:").startswith("data:")
    assert digits.all("meta", name="viewport", content="width=device-width, initial-scale=1")
    assert digits.elements[0] == ("html", {"lang": "en"})
    ids = [a["id"] for _, a in digits.elements if "id" in a]
    assert len(ids) == len(set(ids))
    assert all(a.get("alt") for a in digits.all("img"))
    assert [a["value"] for a in digits.all("option")] == ["gradient", "lrp"]
    assert {a["data-method"] for a in digits.all("figure") if "data-method" in a} == {"gradient", "lrp"}
    css = (ROOT / "onnxplain" / "html_report" / "style.css").read_text()
    assert "prefers-color-scheme: dark" in css
    assert not re.search(r"url\(|@import", css)


def test_what_comes_from_outside_is_escaped():
    evil = '"><script>alert(1)</script>'
    labels = [evil] * 10
    page = Page(report(MODEL, X[:1], {evil: "gradient"}, names=[evil], labels=labels, title=evil, command=evil, curves=False))
    assert len(page.all("script")) == 1
    assert page.text.count(evil) >= 6


def test_tags():
    assert tag("p", "a < b", Html("<b>"), class_="x", data_y='"', hidden=True, id=None) == '<p class="x" data-y="&quot;" hidden>a &lt; b<b></p>'
    assert tag("img", alt="") == '<img alt="">'
    assert joined("&", Html("&")) == "&amp;&"


def test_a_curve_that_cannot_be_drawn_is_said(monkeypatch):
    from onnxplain.html_report import diagnostics

    def refused(*_, **__):
        raise onnxplain.InputError("no <places>")

    monkeypatch.setattr(diagnostics, "compare", refused)
    assert "There are no curves: no <places>" in Page(report(MODEL, X[:1], ["gradient"])).text


def test_methods_given_whole_and_fewer_samples_than_a_fixed_batch():
    from onnxplain.methods import method

    model = parse("g (float[4,3] x) => (float[4,2] y) { m = ReduceMean(x)\n h = Sub(x, m)\n y = Gemm(h, w) }", w=draw(3, 2))
    html = report(model, draw(3, 3), [method("lrp", {})], target=[0, 1, 0], curves=False)
    assert "where the first sample&#x27;s relevance stays" in html or "where the first sample's relevance stays" in html
