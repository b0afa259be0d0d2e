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


@pytest.mark.parametrize("kernel", [(3, 3), (1, 1)])
def test_the_batch_keeps_its_name(kernel):
    assert names_its_batch(written(kernel=kernel))


SPREAD = [  # size, channels, kernel, how
    ((5, 7), (16, 32), (1, 1), {"strides": [2, 3], "output_padding": [1, 0]}),
    ((5, 7), (16, 16), (1, 1), {"strides": [1, 3], "output_padding": [0, 2], "group": 2}),
    ((5,), (16, 16), (1,), {"strides": [2], "output_padding": [1], "dilations": [1]}),
    ((2, 3, 4), (8, 8), (1, 1, 1), {"strides": [2, 1, 3], "output_padding": [1, 0, 1], "dilations": [1] * 3}),
    ((5, 7), (16, 16), (3, 3), {"pads": [1] * 4, "output_padding": [1, 1], "group": 16}),
    ((5, 7), (16, 16), (3, 5), {"strides": [3, 1], "pads": [0, 2, 1, 2], "output_padding": [2, 0], "group": 16}),
    ((5,), (16, 16), (4,), {"strides": [2], "pads": [1, 0], "output_padding": [0], "dilations": [2], "group": 16}),
]


@pytest.mark.parametrize(("size", "channels", "kernel", "how"), SPREAD, ids=str)
@pytest.mark.parametrize("portable", [False, True])
def test_cells_are_spread_before_pointwise_and_depthwise_kernels(size, channels, kernel, how, portable):
    new = written(size, kernel, channels=channels, portable=portable, **how)
    with switched_off("pointwise_spread", "depthwise_spread", "strided_kernel"):
        old = written(size, kernel, channels=channels, portable=portable, **how)
    assert sum(n.op_type == "Mul" for n in new.proto.graph.node) == 1
    assert not any(n.op_type == "Mul" for n in old.proto.graph.node)
    g = draw(2, channels[0], *size)
    got, expected = (Session(e, CPU).run({"g": g})["y"] for e in (new, old))
    np.testing.assert_allclose(got, expected, atol=1e-5 * np.abs(expected).max())
    assert got.shape == expected.shape


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
