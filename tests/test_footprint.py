"""What sessions leave out, and that nothing else changes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from helpers import draw
from networks import Net

import onnxplain
from onnxplain import footprint
from onnxplain.session import Session

WIDE = 1024


def wide() -> onnx.ModelProto:
    """Convolutions, and a dense layer of a million weights behind them."""
    n = Net(seed=1)
    n.shape = ["N", 3, 8, 8]
    h = n.add("Relu", n.add("Gemm", n.add("Flatten", n.relu_conv("x", 3, 16)), n.weight(WIDE, WIDE, fan=WIDE), transB=1))
    n.add("Gemm", h, n.weight(WIDE, 5, fan=WIDE), name="y")
    return n.model()


def graph(model, method="gradient", **params) -> onnx.GraphProto:
    return onnxplain.Explainer(model, method, providers=["CPUExecutionProvider"], **params)._runner.writer.plain(False).proto.graph


@pytest.mark.parametrize(("rows", "count"), [(2, 0), (100_000, 1)])
def test_weights_are_left_where_convolutions_outweigh_them(rows, count):
    assert len(footprint.unpacked(graph(wide()), rows)) == count


def test_a_single_row_counts_as_more(monkeypatch):
    monkeypatch.setattr(footprint, "SINGLE", 100_000)
    assert [len(footprint.unpacked(graph(wide()), rows)) for rows in (1, 2)] == [1, 0]


def test_without_convolutions_all_is_packed():
    n = Net(seed=1)
    n.shape = ["N", WIDE]
    n.add("Gemm", "x", n.weight(WIDE, WIDE, fan=WIDE), name="y")
    assert footprint.unpacked(graph(n.model()), 10**9) == set()


def test_a_weight_that_something_is_computed_from_is_packed():
    assert footprint.unpacked(graph(wide(), "lrp", rules=[{"kind": "dense", "rule": "z_plus"}]), 10**9) == set()


@pytest.mark.parametrize("method", ["gradient", "lrp"])
def test_the_numbers_are_the_same(method, monkeypatch):
    x = draw(3, 3, 8, 8)
    expected = onnxplain.explain(wide(), x, method, target=1)
    monkeypatch.setattr(footprint, "MULTIPLICATIONS", 0)
    explainer = onnxplain.Explainer(wide(), method)
    got = explainer.explain(x, 1)
    (session,) = explainer._runner._sessions.values()
    assert len(session._fed) == 1
    assert session.inputs == ["x", "target"]
    np.testing.assert_allclose(got.attribution, expected.attribution, atol=1e-5 * np.abs(expected.attribution).max())


def test_elsewhere_than_on_the_cpu_nothing_is_fed(monkeypatch):
    monkeypatch.setattr(footprint, "MULTIPLICATIONS", 0)
    monkeypatch.setattr("onnxplain.session.cpu_only", lambda providers: False)
    emitted = onnxplain.Explainer(wide(), "gradient")._runner.writer.plain(False)
    assert Session(emitted, ["CPUExecutionProvider"], 8)._fed == {}


@pytest.mark.parametrize(("rows", "expected"), [(1, False), (1 << 14, True)])
def test_large_images_are_not_kept(rows, expected):
    assert footprint.streams(graph(wide()), rows) is expected  # 16 channels of 8 × 8 floats are 4 KiB


def test_the_numbers_are_the_same_where_nothing_is_kept(monkeypatch):
    x = draw(3, 3, 8, 8)
    expected = onnxplain.explain(wide(), x, "gradient", target=1).attribution
    monkeypatch.setattr(footprint, "LARGE_IMAGE", 0)
    np.testing.assert_array_equal(onnxplain.explain(wide(), x, "gradient", target=1).attribution, expected)
