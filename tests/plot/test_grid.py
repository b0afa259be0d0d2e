"""Many explanations side by side, and figures as files."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from onnxplain.errors import InputError
from onnxplain.explanation import Explanation
from onnxplain.plot import grid, save

from .samples import explanation


def titles(figure):
    return [ax.get_title() for ax in figure.axes]


def test_a_grid_has_inputs_at_left_and_methods_on_top():
    figure = grid([explanation(), explanation(method="smoothgrad", seed=1)], names=["a.png", "b.png"], labels=["cat", "dog"])
    assert isinstance(figure, Figure)
    assert titles(figure) == ["a.png\ndog (80.0%)", "gradient", "smoothgrad", "b.png\ncat (90.0%)", "", ""]
    x = explanation().inputs["x"][1, 0]
    np.testing.assert_allclose(figure.axes[3].images[0].get_array()[..., 0], (x - x.min()) / np.ptp(x), atol=1e-6)


def test_a_grid_says_what_is_explained_where_it_is_not_the_answer():
    figure = grid(explanation(target=(0, 0)), labels=["cat", "dog"])
    assert figure.axes[0].get_title() == "dog (80.0%)\nexplained: cat"
    logits = explanation(output={"y": np.array([[1.0, 12.345], [3, -1]], np.float32)})
    assert grid(logits).axes[0].get_title() == "class 1 (score 12.35)"
    boxes = explanation(output={"y": np.zeros((2, 5, 4), np.float32)}, target=((3, 2), (0, -2)))
    assert [grid(boxes).axes[i].get_title() for i in (0, 2)] == ["explained: 3, 2", "explained: 0, all"]


def test_tables_need_no_picture():
    assert titles(grid([explanation((2, 3))] * 2, samples=[1])) == ["class 0 (90.0%)\ngradient"] * 2


def loud(factor, method="gradient"):
    return explanation(attributions={"x": factor * np.ones((2, 1, 8, 8)) * [[[[1]]], [[[10]]]]}, method=method)


@pytest.mark.parametrize(
    ("scale", "tops", "bars"),
    [
        ("own", [1, 5, 10, 50], 4),
        ("row", [5, 5, 50, 50], 2),
        ("column", [10, 50, 10, 50], 2),
        ("all", [50, 50, 50, 50], 1),
    ],
)
def test_scales_are_shared_by_rows_by_columns_or_by_all(scale, tops, bars):
    figure = grid([loud(1), loud(5)], scale=scale, colorbar=True)
    maps = [ax.images[0] for ax in figure.axes if ax.images and ax.images[0].get_array().ndim == 2]
    assert [m.norm.vmax for m in maps] == pytest.approx(tops)
    assert len(figure.axes) == 6 + bars
    figure._repr_png_()


def test_a_limit_is_for_all_and_signals_keep_their_own_scale():
    figure = grid([loud(1), loud(5)], scale="row", limit=3)
    assert figure.axes[1].images[0].norm.vmax == figure.axes[5].images[0].norm.vmax == 3
    mixed = grid([loud(1), loud(1e9, "pattern_net")], scale="all", colorbar=True)
    assert mixed.axes[1].images[0].norm.vmax == 10
    assert len(mixed.axes) == 7


def test_what_is_given_for_each_sample_goes_to_it():
    pictures = [np.zeros((8, 8, 3), np.uint8), np.full((8, 8, 3), 255, np.uint8)]
    figure = grid(explanation(), pictures=pictures, boxes=[[], [[1, 1, 2, 2]]], samples=[1])
    assert (figure.axes[0].images[0].get_array() == 1).all()
    assert [len(ax.patches) for ax in figure.axes] == [1, 1]
    texts = grid(explanation((2, 3)), tokens=[["a", "b", ""], ["c", "", ""]])
    assert [len(ax.patches) for ax in texts.axes] == [4, 2]
    with pytest.raises(InputError, match="picture: 1 were given, sample 1 has none"):
        grid(explanation(), pictures=pictures[:1])
    with pytest.raises(InputError, match="names: 1 were given, sample 1 has none"):
        grid(explanation(), names=["a"])


def test_nothing_to_draw_is_an_error():
    with pytest.raises(InputError, match="no explanations"):
        grid([])
    with pytest.raises(InputError, match="no samples"):
        grid(explanation(), samples=[])
    with pytest.raises(InputError, match="unknown scale 'rows': did you mean 'row'"):
        grid(explanation(), scale="rows")


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


def test_names_of_bars_do_not_overlap():
    e = Explanation({"x": np.linspace(-1, 1, 26).reshape(2, 13)}, {}, np.zeros(2, int), "gradient")
    figure = grid([e])
    figure.canvas.draw()
    for ax in figure.axes:
        boxes = sorted((t.get_window_extent() for t in ax.get_yticklabels()), key=lambda b: b.y0)
        assert len(boxes) == 13
        assert all(below.y1 <= above.y0 for below, above in pairwise(boxes))
