"""What a row is: from Python and from text."""

from __future__ import annotations

import numpy as np
import pytest

from onnxplain import InputError
from onnxplain.comparison.specs import methods_of, rows_of, split, varied, visual_of


def test_parts_between_commas_outside_of_brackets_and_quotes():
    assert split('a(b=1,c=[2,3]), d("x,y)") ,,e') == ["a(b=1,c=[2,3])", 'd("x,y)")', "e"]
    assert split("lrp(rules={}):heatmap", ":") == ["lrp(rules={})", "heatmap"]
    assert split("") == []


def test_methods_from_text():
    found = methods_of(["gradient,smoothgrad(samples=3, abs=true)", "lrp(composite=epsilon):graymap"], ["samples=9", "lrp.epsilon=0.5"])
    assert [label for label, _ in found] == ["gradient", "smoothgrad\nsamples = 3\nabs = true", "lrp\ncomposite = epsilon"]
    methods = [m for _, m in found]
    assert methods[:2] == [{"method": "gradient"}, {"method": "smoothgrad", "samples": 3, "abs": True}]
    assert {k: methods[2][k] for k in ("composite", "epsilon")} == {"composite": "epsilon", "epsilon": 0.5}
    assert methods[2]["visual"].name == "graymap"


def test_a_parameter_that_varies():
    assert varied("smoothgrad(abs=true).noise_scale=0.05,.1,1") == ({"method": "smoothgrad", "abs": True}, "noise_scale", [0.05, ".1", 1])
    assert varied("integrated_gradients.baseline=0,[1,2]")[1:] == ("baseline", [0, [1, 2]])


def test_techniques_with_parameters():
    assert visual_of("masked_input(keep=0.5)").keep == 0.5


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: methods_of(["gradeint"]), "unknown method 'gradeint'"),
        (lambda: methods_of(["lrp(epsilom=1)"]), "did you mean 'epsilon'"),
        (lambda: methods_of(["lrp(1)"]), r"wanted NAME or NAME\(KEY=VALUE"),
        (lambda: methods_of(["lrp(composite=epsilon"]), r"wanted NAME or NAME\(KEY=VALUE"),
        (lambda: methods_of(["lrp:a:b"]), "either with :TECHNIQUE"),
        (lambda: methods_of(["lrp:graymapp"]), "unknown visual 'graymapp'"),
        (lambda: methods_of([" , "]), "no method was named"),
        (lambda: varied("smoothgrad=1"), "wanted METHOD.KEY=VALUE"),
        (lambda: varied("smoothgrad.noise=1,2.foo=3"), "wanted NAME"),
        (lambda: varied("gradient.noise_scale=1"), "unknown parameter of gradient 'noise_scale'"),
        (lambda: rows_of("lrp"), "methods must be a list"),
        (lambda: rows_of([]), "methods must be a list"),
        (lambda: rows_of({}), "methods must be a list"),
        (lambda: rows_of(5), "methods must be a list"),
    ],
)
def test_refusals(call, said):
    with pytest.raises(InputError, match=said):
        call()


def test_rows_are_methods_times_techniques_and_equal_methods_are_one():
    methods = ["gradient", {"method": "lrp", "visual": "blend"}, {"method": "lrp", "epsilon": np.ones(2)}, {"method": "lrp", "epsilon": np.ones(2)}]
    chosen, rows = rows_of(methods, ["heatmap", "graymap"])
    assert list(chosen) == ["gradient", "lrp", "lrp\nepsilon = [1.0, 1.0]"]
    assert chosen["lrp"] == {"method": "lrp"}
    assert [(r.method.split("\n")[0], r.visual) for r in rows[:3]] == [("gradient", "heatmap"), ("gradient", "graymap"), ("lrp", "blend")]
    assert rows[0].label == "heatmap\nof gradient"


def test_unlike_methods_of_one_label_are_told_apart():
    long = [{"method": "lrp", "epsilon": np.full(99, k)} for k in range(3)]
    assert list(rows_of(long)[0]) == [f"lrp\nepsilon = array [99]{n}" for n in ("", " 2", " 3")]


def test_a_technique_is_labelled_with_what_is_not_its_default():
    assert rows_of([{"method": "lrp", "visual": visual_of("masked_input(keep=0.5)")}])[1][0].label == "masked input\nkeep = 0.5\nof lrp"
