"""One attribution: what is drawn, and what happens at the edges."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from onnxplain.errors import InputError
from onnxplain.plot import KINDS, VISUALS, show
from onnxplain.plot.draw import drawing_of
from onnxplain.plot.images import borders
from onnxplain.plot.visuals import Blend

from .samples import explanation, of


def lines_of(ax):
    return [t.get_text() for t in ax.get_yticklabels()]


# ---- images ----


def test_a_heat_map_is_signed_and_symmetric():
    e = explanation()
    ax = show(e, sample=1)
    assert isinstance(ax, Axes)
    (image,) = ax.images
    assert image.norm.vmin == -image.norm.vmax < 0
    np.testing.assert_allclose(image.get_array(), e.attribution[1, 0], rtol=1e-6)
    assert ax.get_title() == "gradient\nclass 0"
    assert show(e, labels=["cat", "dog"]).get_title() == "gradient\ndog"


def test_the_full_colour_can_be_chosen():
    assert show(explanation(), limit=0.25).images[0].norm.vmax == 0.25
    a = np.abs(explanation().attribution[0])
    assert show(explanation(), percentile=50).images[0].norm.vmax == pytest.approx(np.median(a))
    with pytest.raises(InputError, match="limit must be a positive number, got 0"):
        show(explanation(), limit=0)


def test_signals_are_projected_by_default():
    a = of(np.ones((3, 4, 4)), np.ones((3, 4, 4)), method="pattern_net")
    assert show(a).images[0].get_array().shape == (4, 4, 3)
    assert show(a, visual="heatmap").images[0].get_array().shape == (4, 4)
    many = of(np.ones((7, 5, 5)), np.ones((7, 5, 5)), method="pattern_net")
    assert show(many).images[0].get_array().shape == (5, 5)


def test_a_layer_is_drawn_over_the_models_image():
    e = of(np.ones((1, 7, 7)), np.random.default_rng(0).random((3, 28, 42)), name="conv")
    (blend,) = show(e, visual=Blend(blur=0)).images
    assert blend.get_array().shape == (28, 42, 3)
    (heat,) = show(e).images
    assert heat.get_array().shape == (7, 7)
    assert heat.get_extent() == [-0.5, 41.5, 27.5, -0.5]  # in the image's own pixels
    given = np.random.default_rng(0).random((56, 84, 3))
    assert show(e, visual="blend", picture=given).images[0].get_array().shape == (56, 84, 3)


def test_channels_of_either_layout_and_order():
    x, a = np.random.default_rng(0).random((2, 3, 5, 6))
    first = show(of(a, x), visual="projection").images[0].get_array()
    last = show(of(np.moveaxis(a, 0, -1), np.moveaxis(x, 0, -1)), visual="projection", layout="NHWC").images[0].get_array()
    np.testing.assert_array_equal(first, last)
    turned = show(of(a[::-1], x[::-1]), visual="projection", color="BGR").images[0].get_array()
    np.testing.assert_array_equal(first, turned)


def test_a_layers_layout_is_not_the_inputs():
    e = of(np.ones((16, 7, 7)), np.ones((28, 28, 3)), name="conv")
    assert show(e, layout="NHWC").images[0].get_array().shape == (7, 7)


def test_a_colour_bar_stands_for_numbers():
    e = explanation((1, 3, 8, 8), target=[1])
    bars = {name: len(show(e, visual=name, colorbar=True).figure.axes) - 1 for name in VISUALS}
    assert bars == {"heatmap": 1, "graymap": 1, "scaled_input": 0, "masked_input": 0, "blend": 1, "projection": 0, "input": 0}
    heat, gray = (show(e, visual=v, colorbar=True, limit=2).figure.axes[1].get_ylim() for v in ("heatmap", "graymap"))
    assert (heat, gray) == ((-2, 2), (0, 2))


def test_boxes_and_contours_lie_in_the_inputs_pixels():
    mask = np.zeros((4, 4), bool)
    mask[1:3, 1:] = True
    ax = show(explanation(), boxes=[[1, 2, 5, 4], [0, 0, 8, 8]], contours=mask)
    assert [p.get_bbox().bounds for p in ax.patches] == [(0.5, 1.5, 4, 2), (-0.5, -0.5, 8, 8)]
    ends = np.concatenate(ax.collections[0].get_segments())
    assert (ends.min(0).tolist(), ends.max(0).tolist()) == ([1.5, 1.5], [7.5, 5.5])  # cells of two pixels
    assert not show(explanation(), boxes=[]).patches
    for bad in ([1, 2, 3], [[5, 5, 1, 1]], [[0, 0, np.nan, 1]]):
        with pytest.raises(InputError, match="left, top, right, bottom"):
            show(explanation(), boxes=bad)
    with pytest.raises(InputError, match="mask or labels"):
        show(explanation(), contours=np.ones((8, 8)))


def test_borders_surround_each_region_once():
    assert len(borders(np.zeros((5, 5), int))) == 0
    assert len(borders(np.ones((2, 3), int))) == 2 * (2 + 3)
    assert len(borders(np.array([[1, 2]]))) == 7  # the line between them is shared


# ---- other kinds ----


@pytest.mark.parametrize(
    ("shape", "options", "kind"),
    [
        ((1, 8, 8), {}, "ImageDrawing"),
        ((8, 8), {}, "ImageDrawing"),
        ((1, 1, 1), {}, "ImageDrawing"),
        ((3, 1, 1), {}, "ImageDrawing"),
        ((1, 9, 8, 7), {}, "VolumeDrawing"),
        ((9, 8, 7), {"kind": "volume"}, "VolumeDrawing"),
        ((1, 1, 8, 7), {}, "ImageDrawing"),
        ((30, 17), {"features": [str(i) for i in range(17)]}, "SeriesDrawing"),
        ((1, 40, 90), {"layout": "FT"}, "SeriesDrawing"),
        ((500,), {}, "SignalDrawing"),
        ((1, 1, 500), {}, "SignalDrawing"),
        ((12, 1000), {}, "SignalDrawing"),
        ((1000, 2), {"features": ["left", "right"]}, "SignalDrawing"),
        ((7,), {}, "BarsDrawing"),
        ((), {}, "BarsDrawing"),
        ((500,), {"features": [str(i) for i in range(500)]}, "BarsDrawing"),
        ((5,), {"tokens": list("abcde")}, "Tokens"),
    ],
)
def test_the_kind_is_seen_from_the_sample(shape, options, kind):
    a = np.ones(shape)
    drawing = drawing_of(of(a, a), **options)
    assert type(drawing).__name__ == kind
    drawing.paint(Figure().add_subplot(), 1.0)


def test_a_table_is_bars():
    r = of([0.5, -2, 1], [30, 1, 7.25])
    bars = show(r, features=["age", "sex", "fare"])
    assert lines_of(bars) == ["age = 30", "sex = 1", "fare = 7.25"]
    assert [p.get_width() for p in bars.patches] == [0.5, -2, 1]
    assert bars.patches[0].get_facecolor() == bars.patches[2].get_facecolor() != bars.patches[1].get_facecolor()
    with pytest.raises(InputError, match="2 feature names were given for 3"):
        show(r, features=["a", "b"])


def test_long_tables_show_the_largest_and_the_sum_of_the_others():
    a = np.arange(1.0, 51) * (-1) ** np.arange(50)
    bars = show(of(a), kind="table", top=3)
    assert lines_of(bars) == ["49", "48", "47", "47 others, summed"]
    assert [p.get_width() for p in bars.patches] == [-50, 49, -48, a[:47].sum()]
    assert len(show(of(a), kind="table").patches) == 21
    with pytest.raises(InputError, match="top must be an integer of at least 1, got 0"):
        show(of(a), kind="table", top=0)


def test_a_signal_is_a_line_over_its_attribution():
    x, a = np.random.default_rng(0).normal(size=(2, 1, 500))
    ax = show(of(a, x))
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), x[0])
    strip = ax.images[0].get_array()
    assert strip.shape == (1, 250)
    np.testing.assert_allclose(strip[0, :2], [a[0, :2].mean(), a[0, 2:4].mean()])
    assert ax.images[0].norm.vmin == -ax.images[0].norm.vmax
    hidden = show(of(a[0], name="conv"))
    np.testing.assert_array_equal(hidden.lines[0].get_ydata(), a[0])


def test_channels_of_a_signal_lie_under_each_other():
    x = np.stack([np.sin(np.arange(600) / 9), np.full(600, 5.0)])
    for values in (x, x.T):
        ax = show(of(values, values), features=["wave", "flat"])
        assert lines_of(ax) == ["wave", "flat"]
        np.testing.assert_allclose(ax.images[0].get_array(), x.reshape(2, 200, 3).mean(-1))
        assert np.abs(ax.lines[0].get_ydata()).max() <= 0.5
        np.testing.assert_allclose(ax.lines[1].get_ydata(), 1)
    with pytest.raises(InputError, match="1 names were given for 2 channels"):
        show(of(x, x), features=["wave"])


def test_a_series_has_time_to_the_right():
    a = np.arange(20 * 6.0).reshape(20, 6)
    names = [f"sensor {i}" for i in range(6)]
    ax = show(of(a, a), features=names)
    assert lines_of(ax) == names
    np.testing.assert_allclose(ax.images[0].get_array(), a.T)
    assert ax.images[0].origin == "lower"
    spectrogram = show(of(a[None], a[None]), kind="series")
    np.testing.assert_allclose(spectrogram.images[0].get_array(), a)
    assert (spectrogram.get_xlabel(), spectrogram.get_ylabel()) == ("time", "frequency")
    with pytest.raises(InputError, match="5 feature names"):
        show(of(a, a), kind="series", features=names[:5])


def test_a_volume_is_its_slices():
    a = np.arange(10 * 4 * 5.0).reshape(1, 10, 4, 5)
    ax = show(of(a, a), slices=4)
    assert [t.get_text() for t in ax.texts] == ["0", "3", "6", "9"]
    np.testing.assert_allclose(ax.images[0].get_array()[4:, 5:], a[0, 9])
    assert show(of(a, a), visual="blend").images[0].get_array().shape == (12, 15, 3)


def test_embeddings_are_one_value_a_token():
    e = of(np.ones((5, 16)), name="embedded")
    assert [p.get_width() for p in show(e).patches] == [16] * 5
    assert [p.get_width() for p in show(e, channels="norm").patches] == [4] * 5


# ---- edges ----


def test_a_map_of_zeros_says_so():
    for e in (of(np.zeros((3, 8, 8)), np.ones((3, 8, 8))), of(np.zeros(5)), of(np.zeros(500))):
        assert [t.get_text() for t in show(e).texts] == ["all zero"]
    for name in VISUALS.keys() - {"input"}:
        ax = show(of(np.zeros((3, 8, 8)), np.ones((3, 8, 8))), visual=name)
        assert np.ptp(ax.images[0].get_array()) == 0
        assert ax.texts[0].get_text() == "all zero"


def test_one_pixel():
    for name in VISUALS:
        assert show(of(np.ones((3, 1, 1)), np.zeros((3, 1, 1))), visual=name).images


def test_huge_images_are_drawn_small():
    r = np.random.default_rng(0)
    e = of(r.normal(size=(1, 3000, 1100)).astype(np.float32), r.random((1, 3000, 1100)).astype(np.float32))
    for name in ("heatmap", "blend"):
        (image,) = show(e, visual=name).images
        assert image.get_array().shape[:2] == (1000, 550)
        assert image.get_extent() == [-0.5, 1099.5, 2999.5, -0.5]


def test_very_long_images_are_widened():
    assert show(explanation((1, 3, 2, 900), target=[1])).get_aspect() == "auto"
    assert show(explanation((1, 3, 20, 90), target=[1])).get_aspect() == 1


def test_what_a_batch_shares_is_drawn_whole():
    shared = explanation((2, 3), attributions={"rate": np.array(1.5), "table": np.arange(5.0)}, inputs={})
    assert [p.get_width() for p in show(shared, sample=1).patches] == [1.5]
    assert [p.get_width() for p in show(shared, sample=1, tensor="table").patches] == [0, 1, 2, 3, 4]


def test_numbers_that_are_none_are_refused():
    broken = np.zeros((1, 8, 8))
    broken[0, 0, :2] = np.nan, np.inf
    with pytest.raises(InputError, match=r"'x' holds NaN or infinity \(2 of 64 values of sample 0\)"):
        show(of(broken))
    blind = of(np.ones((1, 8, 8)), broken)
    show(blind)
    with pytest.raises(InputError, match="give picture="):
        show(blind, visual="blend")


@pytest.mark.parametrize(
    ("e", "options", "why"),
    [
        (explanation(), {"sample": 2}, "sample 2 is out of range: there are 2, 0 to 1"),
        (explanation(), {"sample": -1}, "sample -1 is out of range"),
        (explanation(), {"sample": "a"}, "sample must be an integer, got 'a'"),
        (explanation(), {"sample": 1.0}, "sample must be an integer, got 1.0"),
        (explanation(), {"limit": "a"}, "limit must be a positive number, got 'a'"),
        (explanation(), {"percentile": None}, "percentile must be above 0 and at most 100, got None"),
        (explanation(), {"boxes": [["a", 1, 2, 3]]}, "boxes must be rows of left, top, right, bottom"),
        (explanation(), {"boxes": [[1, 2], [1]]}, "boxes must be rows of left, top, right, bottom"),
        (explanation(), {"boxes": [4, 1, 2, 3]}, r"boxes must be rows of .*, got \[\[4.0, 1.0, 2.0, 3.0\]\]"),
        (explanation(), {"contours": [[1], [1, 2]]}, "contours must be a mask or labels"),
        (explanation(), {"picture": [["a"]]}, "picture must be an array of numbers"),
        (explanation((2, 1, 4, 5, 6)), {"slices": "all"}, "slices must be a positive integer or a list of indices, got 'all'"),
        (explanation((2, 3)), {"top": "a"}, "top must be an integer of at least 1, got 'a'"),
        (explanation(), {"tensor": "z"}, "unknown tensor"),
        (explanation(), {"kind": "tabel"}, "did you mean 'table'"),
        (explanation(), {"kind": "table"}, r"one value, or one embedding, for each feature or token; got \[1, 8, 8\]"),
        (explanation((2, 2, 8, 8)), {"kind": "signal"}, "a signal has channels and steps"),
        (explanation((2, 3)), {"kind": "image"}, "wanted 2 axes, or 3 with channels"),
        (explanation((2, 3)), {"kind": "text"}, "a text needs tokens="),
        (explanation((2, 3)), {"visual": "blend"}, r"visual='blend' draws maps; this sample of shape \[3\] is drawn as a table"),
        (explanation((2, 3)), {"blur": 3}, "unknown option of a table 'blur'"),
        (explanation(), {"vsual": "blend"}, "unknown parameter of the visual heatmap 'vsual'"),
        (explanation(), {"visual": Blend(), "blur": 3}, "unknown option beside Blend"),
        (explanation((2, 2, 3, 4, 5, 6)), {}, "cannot be drawn"),
        (explanation((2, 3, 0, 5)), {}, r"'x' is empty \(shape \[3, 0, 5\] a sample\)"),
        (explanation((0, 3)), {}, "sample 0 is out of range: there are 0$"),
    ],
)
def test_what_does_not_fit_is_one_clear_error(e, options, why):
    with pytest.raises(InputError, match=why):
        show(e, **options)


def test_every_kind_is_explained():
    assert all(f'"{kind}"' in show.__doc__ for kind in KINDS)


def test_a_dollar_sign_begins_no_formula():
    ax = show(explanation((2, 3)), labels=["$a$", "$b_$"], features=["$x_$", "y", "z"])
    ax.figure.canvas.draw()
    assert ax.get_title() == "gradient\n$b_$"
    assert not ax.title.get_parse_math()


def test_axes_that_are_given_are_drawn_on():
    ax = Figure().add_subplot()
    assert show(explanation(), ax=ax, title="mine") is ax
    assert ax.get_title() == "mine"


def test_figures_show_themselves_in_notebooks():
    assert show(explanation()).figure._repr_png_().startswith(b"\x89PNG")


def test_no_window_and_no_global_state():
    code = "import sys, numpy, onnxplain.plot; e = onnxplain.Explanation({'x': numpy.ones((1, 9))}, {}, numpy.zeros(1), 'm'); "
    code += "e.plot(colorbar=True); e._repr_html_(); sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_explanation_plot():
    assert isinstance(explanation().plot(visual="graymap"), Axes)
