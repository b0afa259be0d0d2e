"""Pictures: what is drawn where, and what happens at the edges."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from onnxplain import Explanation
from onnxplain.errors import InputError
from onnxplain.plot import grid, save, show
from onnxplain.plot.maps import LARGEST, limit, picture_of, reduced, shrunk


def explanation(shape=(2, 1, 8, 8), seed=0, method="gradient", target=(1, 0), **facts):
    r = np.random.default_rng(seed)
    x, a = (r.normal(size=shape).astype(np.float32) for _ in range(2))
    given = {"attributions": {"x": a}, "output": {"p": np.array([[0.2, 0.8], [0.9, 0.1]], np.float32)}, "inputs": {"x": x}}
    return Explanation(target=np.array(target), method=method, **(given | facts))


# ---- numbers ----


def test_channels_become_one_value_by_sum_norm_or_largest():
    a = np.array([[[3.0, 1.0]], [[-4.0, 1.0]]])  # [C=2, H=1, W=2]
    np.testing.assert_allclose(reduced(a), [[-1, 2]])
    np.testing.assert_allclose(reduced(a, "norm"), [[5, np.sqrt(2)]])
    np.testing.assert_allclose(reduced(a, "max"), [[-4, 1]])
    with pytest.raises(InputError, match="did you mean 'norm'"):
        reduced(a, "nrom")


@pytest.mark.parametrize(
    ("shape", "layout", "map_shape"),
    [
        ((3, 6, 5), None, (6, 5)),
        ((6, 5, 3), None, (6, 5)),
        ((1, 6, 5), None, (6, 5)),
        ((6, 5, 1), None, (6, 5)),
        ((512, 6, 5), None, (6, 5)),
        ((6, 5, 512), "NHWC", (6, 5)),
        ((3, 6, 3), "NHWC", (3, 6)),
        ((1, 600), None, (600,)),
        ((784, 1), None, (784,)),
        ((7,), None, (7,)),
        ((), None, (1,)),
        ((30, 17), None, (30, 17)),
    ],
)
def test_layout_is_seen_from_the_shape(shape, layout, map_shape):
    assert reduced(np.ones(shape), layout=layout).shape == map_shape


def test_full_colour_is_robust_and_never_zero():
    a = np.ones(1000)
    a[0] = 1e6
    assert limit(a) < 2
    assert limit(np.zeros(4)) == 1
    lonely = np.zeros(10000)
    lonely[3] = -5
    assert limit(lonely) == 5
    with pytest.raises(InputError, match="percentile"):
        limit(a, 0)


def test_huge_maps_are_averaged_down():
    a = np.arange(4 * LARGEST * 30, dtype=float).reshape(4 * LARGEST, 30)
    small = shrunk(a)
    assert max(small.shape) <= LARGEST
    np.testing.assert_allclose(small.mean(), a[:, : small.shape[1] * (30 // small.shape[1])].mean())
    assert show(explanation((1, 3, 3000, 2500))).images[0].get_array().shape[0] <= LARGEST


def test_inputs_as_pictures():
    assert picture_of(np.ones((5, 5, 3))).shape == (5, 5, 3)
    assert picture_of(np.ones((1, 5, 4))).shape == (5, 4)
    assert picture_of(np.ones((20, 5, 5))) is None
    assert picture_of(np.ones(5)) is None
    full = picture_of(np.random.default_rng(0).normal(size=(3, 9, 9)))
    assert (full.min(), full.max()) == (0, 1)
    assert picture_of(np.full((4, 4, 3), 51, np.uint8)).max() == pytest.approx(0.2)


# ---- pictures ----


def test_a_heat_map_is_signed_and_symmetric():
    ax = show(explanation(), sample=1)
    assert isinstance(ax, Axes)
    (image,) = ax.images
    assert image.norm.vmin == -image.norm.vmax < 0
    assert ax.get_title() == "gradient\nclass 0"
    assert show(explanation(), labels=["cat", "dog"]).get_title() == "gradient\ndog"


def test_a_table_is_bars_and_a_signal_a_line():
    bars = show(explanation((2, 3)), features=["age", "sex", "fare"])
    assert [t.get_text() for t in bars.get_yticklabels()] == ["age", "sex", "fare"]
    assert len(bars.patches) == 3
    line = show(explanation((2, 1, 500)))
    assert len(line.collections) == 1
    assert len(line.collections[0].get_array()) == 499
    with pytest.raises(InputError, match="2 feature names were given for 3"):
        show(explanation((2, 3)), features=["a", "b"])


def test_embeddings_are_one_value_a_token():
    e = explanation((2, 5, 16), attributions={"embedded": np.ones((2, 5, 16), np.float32)})
    assert [p.get_width() for p in show(e).patches] == [16] * 5


def test_edges():
    zero = explanation(attributions={"x": np.zeros((2, 1, 8, 8))})
    assert show(zero).images[0].norm.vmax == 1
    broken = np.zeros((2, 1, 8, 8))
    broken[0, 0, 0, 0] = np.nan
    with pytest.raises(InputError, match="NaN or infinity"):
        show(explanation(attributions={"x": broken}))
    with pytest.raises(InputError, match="sample 2 is out of range"):
        show(explanation(), sample=2)
    with pytest.raises(InputError, match="unknown tensor"):
        show(explanation(), tensor="z")
    with pytest.raises(InputError, match="cannot be drawn"):
        show(explanation((2, 2, 3, 4, 5)))
    with pytest.raises(InputError, match="no explanations"):
        grid([])


def test_a_grid_has_inputs_at_left_and_methods_on_top():
    figure = grid([explanation(), explanation(method="smoothgrad", seed=1)], names=["a.png", "b.png"], labels=["cat", "dog"])
    assert isinstance(figure, Figure)
    titles = [ax.get_title() for ax in figure.axes]
    assert titles == ["a.png\ndog (80.0%)", "gradient", "smoothgrad", "b.png\ncat (90.0%)", "", ""]


def test_a_grid_says_what_is_explained_where_it_is_not_the_answer():
    figure = grid(explanation(target=(0, 0)), labels=["cat", "dog"])
    assert figure.axes[0].get_title() == "dog (80.0%)\nexplained: cat"
    logits = explanation(output={"y": np.array([[1.0, 12.345], [3, -1]], np.float32)})
    assert grid(logits).axes[0].get_title() == "class 1 (score 12.35)"
    boxes = explanation(output={"y": np.zeros((2, 5, 4), np.float32)}, target=((3, 2), (0, -2)))
    assert [grid(boxes).axes[i].get_title() for i in (0, 2)] == ["explained: 3, 2", "explained: 0, all"]


def test_tables_need_no_picture():
    figure = grid([explanation((2, 3))] * 2, samples=[1])
    assert len(figure.axes) == 2
    assert figure.axes[0].get_title() == "class 0 (90.0%)\ngradient"


def test_saving(tmp_path):
    figure = grid(explanation())
    save(figure, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert image.size[0] > 300
    for bad in ("a", "a.xyz"):
        with pytest.raises(InputError, match="ends in one of"):
            save(figure, tmp_path / bad)
    with pytest.raises(InputError, match="no such folder"):
        save(figure, tmp_path / "no" / "a.png")
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def test_no_window_and_no_global_state(tmp_path):
    import subprocess
    import sys

    code = "import sys, onnxplain.plot; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_explanation_plot():
    assert isinstance(explanation().plot(), Axes)
