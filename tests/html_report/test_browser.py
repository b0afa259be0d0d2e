"""The report in a browser: run with -m slow where Playwright and Chromium are installed."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onnxplain.html_report import report

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    x = np.stack([np.asarray(Image.open(ROOT / "models" / "digits" / f"{k}.png"), np.float32)[None] / 255 for k in (3, 5)])
    path = tmp_path_factory.mktemp("report") / "report.html"
    methods = ["gradient", {"method": "lrp", "composite": "epsilon"}, "lrp"]
    path.write_text(report(ROOT / "models" / "digits.onnx", x, methods, title="long" * 40, command="onnxplain " + "x" * 300), encoding="utf-8")
    return path.as_uri()


@pytest.fixture
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as p:
        yield p.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])


@pytest.mark.parametrize(("width", "scheme"), [(320, "light"), (390, "dark"), (1280, "light")])
def test_keys_switch_maps_and_nothing_overflows(browser, address, width, scheme):
    page = browser.new_context(viewport={"width": width, "height": 700}, color_scheme=scheme, offline=True).new_page()
    said = []
    page.on("console", lambda m: said.append(m.text))
    page.on("pageerror", lambda e: said.append(str(e)))
    page.on("request", lambda r: said.append(r.url) if r.url.startswith("http") else None)
    page.goto(address)
    shown = lambda: page.evaluate("[...document.querySelectorAll('[data-method]')].filter(e => e.checkVisibility()).map(e => e.dataset.method)")
    assert shown() == ["gradient"] * 2
    page.keyboard.press("Tab")  # the list of nodes
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowDown")
    assert shown() == ["lrp, composite = epsilon"] * 2
    page.keyboard.press("Tab")
    page.keyboard.press("Home")
    assert page.evaluate("getComputedStyle(document.querySelector('.map')).opacity") == "0"
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    light = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert light == (scheme == "light")
    assert said == []


def test_without_scripts_all_maps_are_shown(browser, address):
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto(address)
    assert page.locator("figure[data-method]:visible").count() == 6
