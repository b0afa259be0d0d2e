"""The techniques, against the formulas of the chapter (Alber, appendix A.5)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from onnxplain.errors import InputError
from onnxplain.plot.visuals import VISUALS, Scene, colors_of, visual, visuals

from .samples import scene

PICTURE, A = (np.moveaxis(v, 0, -1) for v in scene())
SCENE = Scene(A, PICTURE)
E_SIGNED, E_ABSOLUTE = A.sum(-1), np.abs(A).sum(-1)


def drawn(name, scene=SCENE, top=None, **params):
    """The picture with the full colour at the largest value, as in the chapter."""
    v = visual(name, params)
    values = v.values(scene)
    return v.image(values / (np.abs(values).max() if top is None else top), scene)


def test_there_are_the_six_of_the_chapter():
    assert list(VISUALS) == ["heatmap", "graymap", "scaled_input", "masked_input", "blend", "projection", "input"]
    assert all(line.endswith(".") for line in visuals().values())
    page = (Path(__file__).resolve().parents[2] / "docs" / "plotting.md").read_text(encoding="utf-8")
    assert all(f'visual="{name}"' in page for name in VISUALS)


def test_heatmap_is_the_signed_sum():
    np.testing.assert_allclose(drawn("heatmap"), E_SIGNED / np.abs(E_SIGNED).max())


def test_graymap_is_the_sum_of_magnitudes():
    np.testing.assert_allclose(drawn("graymap"), E_ABSOLUTE / E_ABSOLUTE.max())


def test_magnitudes_are_taken_before_channels_are_reduced():
    pair = Scene(np.array([[[3.0, -3.0]]]), None)
    assert visual("heatmap", {}).values(pair) == 0
    assert visual("graymap", {}).values(pair) == 6
    assert visual("graymap", {}).values(Scene(pair.a, None, "max")) == 3


def test_scaled_input():
    np.testing.assert_allclose(drawn("scaled_input"), PICTURE * (E_ABSOLUTE / E_ABSOLUTE.max())[..., None])
    np.testing.assert_array_equal(drawn("scaled_input", top=1e-9)[E_ABSOLUTE > 1e-8], PICTURE[E_ABSOLUTE > 1e-8])


def test_masked_input_keeps_the_best_segments():
    quarters = np.arange(2)[:, None].repeat(16, 0) * 2 + np.arange(2).repeat(24)
    means = [E_ABSOLUTE[quarters == k].mean() for k in range(4)]
    image = drawn("masked_input", segments=quarters, keep=0.25)
    best = quarters == int(np.argmax(means))
    np.testing.assert_array_equal(image[best], PICTURE[best])
    assert (image[~best] == 0.5).all()
    kept = [(drawn("masked_input", keep=keep) != 0.5).any(-1).mean() for keep in (0.1, 0.25, 0.6)]
    assert 0.1 <= kept[0] < 0.16
    assert 0.25 <= kept[1] < 0.31
    assert 0.6 <= kept[2] < 0.66


def test_masked_input_hides_what_has_no_attribution():
    zero = Scene(np.zeros_like(A), PICTURE)
    assert (drawn("masked_input", zero, top=1) == 0.5).all()


def test_blend_is_a_blurred_map_over_the_input():
    e = gaussian_filter(E_ABSOLUTE, 2)
    e = (e / e.max())[..., None]
    np.testing.assert_allclose(drawn("blend", blur=2, opacity=1, cmap="jet"), (1 - e) * PICTURE + e * colors_of("jet")(e[..., 0])[..., :3])
    np.testing.assert_allclose(drawn("blend", Scene(np.zeros_like(A), PICTURE), top=1), PICTURE)


def test_layers_are_blended_at_the_resolution_of_the_picture():
    layer = Scene(np.pad(np.ones((1, 1, 5)), ((2, 1), (3, 2), (0, 0))), PICTURE)  # 5 channels at [2, 3] of 4 × 6 cells
    e = visual("blend", {"blur": 0}).values(layer)
    assert e.shape == PICTURE.shape[:2]
    inside = (slice(16, 24), slice(24, 32))
    assert e[inside].min() > 0
    assert e.max() == pytest.approx(5 * (15 / 16) ** 2)  # a pixel's centre is 1/16 of a cell away from the cell's
    assert e[:8].max() == 0


def test_projection_is_around_mid_gray():
    np.testing.assert_allclose(drawn("projection"), 0.5 + A / np.abs(A).max() / 2)
    gray = drawn("projection", Scene(A[..., :1], None))
    assert gray.shape == (32, 48, 3)
    assert (gray == gray[..., :1]).all()
    with pytest.raises(InputError, match="1 or 3 channels as gray or colours, got 5"):
        drawn("projection", Scene(np.ones((2, 2, 5)), None))


@pytest.mark.parametrize("name", ["scaled_input", "masked_input", "blend", "input"])
def test_what_draws_over_the_input_needs_it(name):
    with pytest.raises(InputError, match="give picture="):
        drawn(name, Scene(A, None))


@pytest.mark.parametrize(
    ("name", "params", "why"),
    [
        ("blnd", {}, "unknown visual 'blnd': did you mean 'blend'"),
        ("blend", {"blr": 1}, "unknown parameter of the visual blend 'blr': did you mean 'blur'"),
        ("blend", {"blur": -1}, "blur must be a number, not negative, got -1"),
        ("blend", {"blur": "abc"}, "blur must be a number, not negative, got 'abc'"),
        ("blend", {"blur": np.inf}, "blur must be a number, not negative, got inf"),
        ("blend", {"opacity": "abc"}, "opacity must be above 0 and at most 1, got 'abc'"),
        ("blend", {"opacity": 2}, "opacity must be above 0 and at most 1, got 2"),
        ("blend", {"cmap": "virids"}, "unknown colour map 'virids': did you mean 'viridis'"),
        ("masked_input", {"keep": 0}, "keep must be above 0 and at most 1"),
        ("masked_input", {"keep": [0.5]}, "keep must be above 0 and at most 1"),
        ("masked_input", {"segments": 0}, "segments must be a positive integer"),
        ("masked_input", {"segments": "abc"}, "segments must be a positive integer or an array"),
        ("masked_input", {"segments": [[0, 1]]}, "segments must be a positive integer or an array"),
        ("masked_input", {"segments": np.zeros((2, 2), int)}, r"segments must be integers \[32, 48\] as the picture"),
    ],
)
def test_wrong_parameters(name, params, why):
    with pytest.raises(InputError, match=why):
        drawn(name, **params)


def test_the_default_colours_are_symmetric_and_told_apart_by_the_colour_blind():
    """Machado, Oliveira and Fernandes 2009: the two ends under full protanopia, deuteranopia and tritanopia."""
    kinds = {
        "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
        "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    }
    colors = visual("heatmap", {}).colors
    for_it, nothing, against = (np.array(colors(v)[:3]) for v in (0.85, 0.5, 0.15))
    assert nothing.min() > 0.95
    for matrix in kinds.values():
        assert np.abs(np.array(matrix) @ (for_it - against)).max() > 0.3
