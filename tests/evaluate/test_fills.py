"""What stands in the place of what is taken away."""

import numpy as np
import pytest
from helpers import draw, parse

from onnxplain import evaluate
from onnxplain.evaluate.case import Units
from onnxplain.evaluate.fills import FILLS
from onnxplain.evaluate.study import Study
from onnxplain.model import load
from onnxplain.tensors import Tensors

from .known import FLAT, IMAGES


def case(x=IMAGES, seed=0):
    study = Study(load(FLAT), "random", {}, seed=seed)
    (piece,) = study.pieces(x, 0)
    return study.case(piece, "random")


def replaced(fill, gone, x=IMAGES, region=1, seed=0):
    """The points with some places of the 4 × 6 images gone, [N, C, H, W]."""
    c = case(x, seed)
    units = Units.of(c, region)
    return c.replaced(units, fill)(np.broadcast_to(gone.ravel(), (1, len(x), gone.size)))["x"][0]


GONE = np.zeros((4, 6), bool)
GONE[1:3, 2:5] = True


@pytest.mark.parametrize("fill", [0.5, "mean", "blur", "noise", "inpaint", np.full((2, 4, 6), 0.25, np.float32)])
def test_what_is_left_stays(fill):
    got = replaced(fill, GONE)
    np.testing.assert_array_equal(got[..., ~GONE], IMAGES[..., ~GONE])
    assert np.abs(got[..., GONE] - IMAGES[..., GONE]).max() > 0.01
    assert got.dtype == np.float32


def test_values():
    assert (replaced(0.5, GONE)[..., GONE] == 0.5).all()
    mean = np.broadcast_to(IMAGES.mean((2, 3), keepdims=True), IMAGES.shape)
    np.testing.assert_allclose(replaced("mean", GONE)[..., GONE], mean[..., GONE], atol=1e-6)
    own = draw(2, 4, 6, seed=3)
    np.testing.assert_allclose(replaced(own, GONE)[..., GONE], np.broadcast_to(own, IMAGES.shape)[..., GONE])


def test_noise_is_seeded_and_each_samples_own():
    everything = np.ones((4, 6), bool)
    first, again, other = (replaced("noise", everything, seed=s) for s in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1
    twins = replaced("noise", everything, IMAGES[[0, 0]])
    assert np.abs(twins[0] - twins[1]).max() > 0.1
    last = Study(load(FLAT), "random", {})
    pieces = list(last.pieces([IMAGES[:3], IMAGES[3:]], 0))
    c = last.case(pieces[1], "random")
    np.testing.assert_array_equal(c.replaced(Units.of(c, 1), "noise")(np.ones((1, 1, 24), bool))["x"][0], first[3:])


def test_inpaint_averages_what_is_near():
    """A hole in a picture of two flat halves takes the half it lies in; a ramp is met within its steps."""
    halves = np.zeros((1, 2, 4, 6), np.float32)
    halves[..., 3:] = 1
    gone = np.zeros((4, 6), bool)
    gone[1, 0] = gone[2, 5] = True
    got = replaced("inpaint", gone, halves)
    np.testing.assert_allclose(got, halves, atol=1e-6)
    ramp = np.broadcast_to(np.arange(6, dtype=np.float32), (1, 2, 4, 6)).copy()
    inner = np.zeros((4, 6), bool)
    inner[1, 2] = True
    assert abs(replaced("inpaint", inner, ramp)[0, 0, 1, 2] - 2) <= 1
    assert np.isfinite(replaced("inpaint", np.ones((4, 6), bool), ramp)).all()


def test_inpaint_by_hand():
    """4 × 6 with the top left 2 × 2 gone: nothing is known at half the resolution there, so a quarter decides: the mean of 4 × 4's known blocks."""
    x = draw(1, 2, 4, 6, seed=2)
    gone = np.zeros((4, 6), bool)
    gone[:2, :2] = True
    blocks = [x[0, 0, :2, 2:4], x[0, 0, 2:, :2], x[0, 0, 2:, 2:4]]
    np.testing.assert_allclose(replaced("inpaint", gone, x)[0, 0, :2, :2], np.mean([b.mean() for b in blocks]), atol=1e-6)


def test_sums_over_units():
    c = case()
    units = Units.of(c, (2, 3))
    assert units.count == 4
    np.testing.assert_allclose(
        units.sums(Tensors({"x": IMAGES.sum(1)})), [[i[:, r : r + 2, k : k + 3].sum() for r in (0, 2) for k in (0, 3)] for i in IMAGES], atol=1e-5
    )


@pytest.mark.parametrize("fill", [*FILLS, 0.5])
def test_fills_in_16_bits(fill):
    model = parse("g (float16[N,1,4,6] x) => (float16[N,1] y) { y = ReduceSum<keepdims=0>(x, axes) }", axes=np.array([2, 3]))
    (row,) = evaluate.compare(model, draw(1, 1, 4, 6), "magnitude", {"deletion_auc": {"fill": fill}})
    assert np.isfinite(row["value"])


def test_fills_have_names():
    assert set(evaluate.FILLS) == {"mean", "blur", "noise", "inpaint"}
