"""Convolutions with strides by places: the numbers of ConvTranspose for every window and cropping, and only where a place has a tap."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import draw, names_its_batch

from onnxplain.optimize import switched_off
from onnxplain.session import Session
from onnxplain.tape import Emitted, Tape, Type, op

CPU = ["CPUExecutionProvider"]


def written(size=(5, 7), kernel=(3, 3), *, channels=(16, 32), dtype=np.float32, portable=False, **window) -> Emitted:
    """A ConvTranspose of g [N, C, H, W] as it is written."""
    tape = Tape(portable=portable)
    g = tape.input("g", Type.tensor(dtype, ["N", channels[0], *size]))
    w = tape.constant(draw(channels[0], channels[1] // window.get("group", 1), *kernel, seed=1).astype(dtype))
    y = op.ConvTranspose(g, w, **{"strides": [2, 2], "dilations": [1, 1], "group": 1} | window)
    tape.reserve(["y"])
    return tape.build({"y": y})


def woven(emitted: Emitted) -> bool:
    return not any(n.op_type == "ConvTranspose" for n in emitted.proto.graph.node)


WINDOWS = [  # kernel, strides, pads, output_padding
    ((3, 3), [2, 2], [1, 1, 1, 1], [1, 1]),
    ((3, 3), [2, 2], [1, 1, 1, 1], [0, 0]),
    ((3, 3), [2, 2], [0, 1, 1, 0], [0, 1]),
    ((4, 4), [2, 2], [1, 1, 1, 1], [0, 0]),
    ((7, 5), [2, 2], [3, 2, 3, 2], [1, 1]),
    ((11, 9), [4, 3], [2, 1, 2, 1], [0, 2]),
    ((3, 4), [1, 2], [1, 1, 1, 1], [0, 0]),
    ((5, 3), [3, 1], [2, 0, 1, 2], [2, 0]),
]


@pytest.mark.parametrize(("kernel", "strides", "pads", "more"), WINDOWS, ids=str)
@pytest.mark.parametrize("size", [(5, 7), (1, 4)], ids=str)
def test_every_window_and_cropping(size, kernel, strides, pads, more):
    how = {"strides": strides, "pads": pads, "output_padding": more}
    new = written(size, kernel, **how)
    with switched_off("strided_kernel"):
        old = written(size, kernel, **how)
    assert woven(new) and not woven(old)
    g = draw(2, 16, *size)
    got, expected = (Session(e, CPU).run({"g": g})["y"] for e in (new, old))
    np.testing.assert_allclose(got, expected, atol=1e-5 * np.abs(expected).max())
    assert got.shape == expected.shape


def test_the_batch_keeps_its_name():
    assert names_its_batch(written())


REFUSED = [
    {"portable": True},
    {"dtype": np.float64},
    {"size": (5, "W")},
    {"channels": (16, 24)},
    {"channels": (8, 16)},
    {"group": 2},
    {"dilations": [2, 2]},
    {"kernel": (2, 3)},
    {"kernel": (7, 7), "strides": [5, 2]},
    {"pads": [2, 1, 2, 1]},
]


@pytest.mark.parametrize("options", REFUSED, ids=str)
def test_other_convolutions_are_left_alone(options):
    assert not woven(written(**options))
