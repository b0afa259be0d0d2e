"""Saved explainers in a browser, on WASM and on WebGPU.

Run with -m slow where Playwright and Chromium are installed, and ONNXRUNTIME_WEB names the folder `dist` of the npm package onnxruntime-web.
"""

from __future__ import annotations

import functools
import http.server
import os
import shutil
import threading
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from helpers import draw

import onnxplain

pytestmark = [pytest.mark.slow, pytest.mark.skipif("ONNXRUNTIME_WEB" not in os.environ, reason="ONNXRUNTIME_WEB is not set")]
DIGITS = Path(__file__).resolve().parents[1] / "models" / "digits.onnx"
METHODS = {"gradient": {}, "lrp": {}, "deeplift": {}, "integrated_gradients": {"steps": 3}, "grad_cam": {"upsample": "linear"}}
X = draw(2, 1, 28, 28)
SCRIPT = """async ([name, provider, x, target]) => {
    const ort = await import("/dist/ort.webgpu.bundle.min.mjs");
    ort.env.wasm.numThreads = 1;
    ort.env.wasm.wasmPaths = "/dist/";
    const session = await ort.InferenceSession.create(`/${name}.onnx`, {executionProviders: [provider]});
    const feeds = {image: new ort.Tensor("float32", new Float32Array(x), [2, 1, 28, 28]), target: new ort.Tensor("int64", target.map(BigInt), [2])};
    const {attribution} = await session.run(feeds, ["attribution"]);
    return Array.from(await attribution.getData());
}"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    playwright = pytest.importorskip("playwright.sync_api")
    folder = tmp_path_factory.mktemp("web")
    (folder / "index.html").write_text("<!doctype html><title>onnxplain</title>")
    (folder / "dist").symlink_to(Path(os.environ["ONNXRUNTIME_WEB"]).resolve())
    for name, params in METHODS.items():
        onnxplain.Explainer(DIGITS, name, **params).save(folder / f"{name}.onnx")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        extensions_map = http.server.SimpleHTTPRequestHandler.extensions_map | {".mjs": "text/javascript", ".wasm": "application/wasm"}

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with playwright.sync_playwright() as p:
            # Without a device, Chromium's own software renderer stands in for one.
            flags = ["--no-sandbox", "--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-unsafe-swiftshader"]
            page = p.chromium.launch(executable_path=shutil.which("chromium"), args=flags).new_page()
            page.goto(f"http://127.0.0.1:{server.server_port}/index.html")
            yield page, folder
        server.shutdown()


@pytest.mark.parametrize("provider", ["wasm", "webgpu"])
@pytest.mark.parametrize("method", METHODS)
def test_the_same_numbers_in_a_browser(page, method, provider):
    page, folder = page
    if provider == "webgpu" and not page.evaluate("async () => Boolean(await navigator.gpu?.requestAdapter())"):
        pytest.skip("no WebGPU adapter")
    session = ort.InferenceSession(folder / f"{method}.onnx", providers=["CPUExecutionProvider"])
    (wanted,) = session.run(["attribution"], {"image": X, "target": np.array([-1, 3])})
    got = page.evaluate(SCRIPT, [method, provider, X.ravel().tolist(), [-1, 3]])
    np.testing.assert_allclose(np.reshape(got, wanted.shape), wanted, atol=1e-5 * np.abs(wanted).max())
