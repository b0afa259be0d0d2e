"""Convolutions in tiles: the numbers of ConvTranspose for every size and cropping, and only where it pays."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import draw, names_its_batch

from onnxplain import winograd
from onnxplain.optimize import switched_off
from onnxplain.session import Session
from onnxplain.tape import Emitted, Tape, Type, op

CPU = ["CPUExecutionProvider"]


def written(size=(28, 28), *, channels=(256, 256), kernel=(3, 3), dtype=np.float32, portable=False, rows=1, **window) -> Emitted:
    """A ConvTranspose of g [N, C, H, W] as it is written."""
    tape = Tape(portable=portable, rows=rows)
    g = tape.input("g", Type.tensor(dtype, ["N", channels[0], *size]))
    w = tape.constant((draw(channels[0], channels[1] // window.get("group", 1), *kernel, seed=1) / np.sqrt(9 * channels[0])).astype(dtype))
    y = op.ConvTranspose(g, w, **{"strides": [1, 1], "pads": [1] * 4, "dilations": [1, 1], "group": 1} | window)
    tape.reserve(["y"])
    return tape.build({"y": y})


def tiled(emitted: Emitted) -> bool:
    return any(n.op_type == "MatMul" for n in emitted.proto.graph.node)


@pytest.mark.parametrize("pads", [[1, 1, 1, 1], [0, 0, 0, 0], [2, 2, 2, 2], [0, 1, 2, 0], [2, 0, 1, 2]], ids=str)
@pytest.mark.parametrize("size", [(4, 4), (5, 7), (8, 3), (14, 3), (6, 13)], ids=str)
def test_every_size_and_cropping(size, pads, monkeypatch):
    for bound, value in {"CHANNELS": 1, "PRODUCTS": 1, "PER_CELL": 0}.items():
        monkeypatch.setattr(winograd, bound, value)
    new = written(size, channels=(3, 5), pads=pads)
    with switched_off("winograd", "flipped_kernel"):
        old = written(size, channels=(3, 5), pads=pads)
    assert tiled(new) and not tiled(old)
    g = draw(2, 3, *size)
    got, expected = (Session(e, CPU).run({"g": g})["y"] for e in (new, old))
    np.testing.assert_allclose(got, expected, atol=1e-5 * np.abs(expected).max())


def test_large_images_of_many_channels():
    g = draw(2, 256, 28, 28)
    with switched_off("winograd"):
        old = written()
    assert tiled(written()) and not tiled(old)
    got, expected = (Session(e, CPU).run({"g": g})["y"] for e in (written(), old))
    np.testing.assert_allclose(got, expected, atol=1e-5 * np.abs(expected).max())


def test_small_images_of_many_samples():
    small = {"size": (14, 14), "channels": (256, 256)}
    assert tiled(written(**small, rows=4)) and not tiled(written(**small, rows=2))


def test_the_batch_keeps_its_name():
    assert names_its_batch(written())


REFUSED = [
    {"portable": True},
    {"dtype": np.float64},
    {"size": (28, 20)},
    {"size": (28, "W")},
    {"size": (28, 140), "rows": 64},
    {"channels": (96, 256), "rows": 64},
    {"channels": (256, 96), "rows": 64},
    {"channels": (512, 512), "size": (14, 14), "rows": 64},
    {"kernel": (3, 5)},
    {"kernel": (1, 1)},
    {"strides": [2, 2]},
    {"dilations": [2, 2]},
    {"group": 2},
    {"pads": [3, 1, 1, 1]},
]


@pytest.mark.parametrize("options", REFUSED, ids=str)
def test_other_convolutions_are_left_alone(options):
    with switched_off("pointwise_spread", "strided_kernel"):
        assert not tiled(written(**options))
