"""The numbers behind the pictures."""

from __future__ import annotations

import numpy as np
import pytest

from onnxplain.errors import InputError
from onnxplain.plot.maps import LARGEST, channels_last, chosen_slices, given_picture, limit, montage, picture_of, reduced, resized, shrunk


def test_channels_become_one_value_by_sum_norm_or_largest():
    a = np.array([[[3.0, -4.0], [1.0, 1.0]]])  # [H=1, W=2, C=2]
    np.testing.assert_allclose(reduced(a, "sum"), [[-1, 2]])
    np.testing.assert_allclose(reduced(a, "norm"), [[5, np.sqrt(2)]])
    np.testing.assert_allclose(reduced(a, "max"), [[-4, 1]])
    with pytest.raises(InputError, match="did you mean 'norm'"):
        reduced(a, "nrom")


@pytest.mark.parametrize(
    ("shape", "layout", "last"),
    [
        ((3, 6, 5), None, (6, 5, 3)),
        ((6, 5, 3), None, (6, 5, 3)),
        ((1, 6, 5), None, (6, 5, 1)),
        ((6, 5, 1), None, (6, 5, 1)),
        ((512, 6, 5), None, (6, 5, 512)),
        ((512, 7, 7), None, (7, 7, 512)),
        ((7, 7, 512), None, (7, 7, 512)),
        ((6, 5, 512), "NHWC", (6, 5, 512)),
        ((3, 6, 3), None, (6, 3, 3)),
        ((3, 6, 3), "NHWC", (3, 6, 3)),
        ((30, 17), None, (30, 17, 1)),
        ((1, 1, 6, 5), None, (6, 5, 1)),
    ],
)
def test_layout_is_seen_from_the_shape(shape, layout, last):
    a = np.arange(np.prod(shape)).reshape(shape)
    moved = channels_last(a, 2, layout)
    assert moved.shape == last
    assert moved[0, 0].tolist() == (a[0, 0].tolist() if shape == last else np.atleast_1d(a.squeeze()[..., 0, 0]).tolist())


def test_what_is_no_image_is_refused():
    with pytest.raises(InputError, match=r"shape \[2, 3, 4, 5\] cannot be drawn: wanted 2 axes, or 3 with channels"):
        channels_last(np.ones((2, 3, 4, 5)), 2)
    with pytest.raises(InputError, match="unknown layout 'HWC'"):
        channels_last(np.ones((2, 3, 4)), 2, "HWC")


def test_full_colour_is_robust_and_never_zero():
    a = np.ones(1000)
    a[0] = 1e6
    assert limit(a) < 2
    assert limit(np.zeros(4)) == 1
    lonely = np.zeros(10000)
    lonely[3] = -5
    assert limit(lonely) == 5
    for bad in (0, 101, np.nan, "a", None):
        with pytest.raises(InputError, match="percentile"):
            limit(a, bad)


def test_huge_maps_are_averaged_down():
    a = np.arange(4 * LARGEST * 30, dtype=float).reshape(4 * LARGEST, 30)
    small = shrunk(a)
    assert small.shape == (LARGEST, 30)
    np.testing.assert_allclose(small[1], a[4:8].mean(0))
    both = shrunk(a[:9, :8], 4)  # blocks of 3 × 2
    np.testing.assert_allclose(both[2, 3], a[6:9, 6:8].mean())
    assert both.shape == (3, 4)
    assert shrunk(small) is small


def test_inputs_as_pictures():
    assert picture_of(np.ones((5, 4, 1))).shape == (5, 4, 3)
    assert picture_of(np.ones((5, 4, 20))) is None
    assert picture_of(np.full((5, 4, 3), np.nan)) is None
    full = picture_of(np.random.default_rng(0).normal(size=(9, 9, 3)))
    assert (full.min(), full.max()) == (0, 1)
    assert picture_of(np.full((4, 4, 3), 51, np.uint8)).max() == pytest.approx(0.2)
    red = np.zeros((1, 2, 3))
    red[0, 0, 2] = 1
    np.testing.assert_array_equal(picture_of(red, "BGR")[0, 0], [1, 0, 0])
    with pytest.raises(InputError, match="unknown color 'GBR'"):
        picture_of(red, "GBR")


def test_given_pictures_are_checked():
    np.testing.assert_allclose(given_picture(np.full((4, 6), 51), None), np.full((4, 6, 3), 0.2))
    np.testing.assert_allclose(given_picture(np.full((4, 6, 4), 0.5), (8, 12)), np.full((4, 6, 3), 0.5))
    assert given_picture(np.zeros((427, 640, 3)), (224, 336)).shape == (427, 640, 3)
    for bad, why in [(np.zeros((3, 8, 9)), "with 1, 3 or 4 channels"), (np.full((8, 8), 1.5), "from 0 to 1"), (np.full((8, 8), -1), "from 0 to 255")]:
        with pytest.raises(InputError, match=why):
            given_picture(bad, None)
    with pytest.raises(InputError, match="480 × 640, the attribution 224 × 224: give the picture that the model saw"):
        given_picture(np.zeros((480, 640, 3)), (224, 224))


def test_layers_are_brought_to_the_picture_linearly():
    ramp = np.tile(np.arange(4.0), (3, 1))
    wide = resized(ramp, (3, 8))
    np.testing.assert_allclose(wide[0], np.interp((np.arange(8) + 0.5) / 2 - 0.5, np.arange(4), np.arange(4)))
    assert resized(ramp, (3, 4)) is ramp


def test_slices_of_volumes():
    assert chosen_slices(20, 3) == [0, 10, 19]
    assert chosen_slices(2, 9) == [0, 1]
    assert chosen_slices(20, [4, 2]) == [4, 2]
    for bad in ([], [20], 0, 2.5, None, [0, "a"], [0.5], [[0]]):
        with pytest.raises(InputError, match="slices"):
            chosen_slices(20, bad)
    volume = np.arange(5 * 2 * 3).reshape(5, 2, 3, 1)
    tiles = montage(volume, [0, 2, 4])
    assert tiles.shape == (4, 6, 1)
    np.testing.assert_array_equal(tiles[:2, 3:], volume[2])
    np.testing.assert_array_equal(tiles[2:, :3], volume[4])
    assert not tiles[2:, 3:].any()
