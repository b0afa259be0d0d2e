"""The search over methods and parameters, against measuring each by itself."""

import numpy as np
import pytest

import onnxplain
from onnxplain import evaluate

from .known import LINEAR, X, values

GRID = {"integrated_gradients": {"baseline": [0.0, 3.0], "steps": [5]}, "random": {}, "input_x_gradient": [{}]}


@pytest.fixture(scope="module")
def found():
    return evaluate.search(LINEAR, X, GRID, {"deletion_auc": {"steps": 6}}, target=0)


def test_all_combinations_are_measured(found):
    assert len(found.candidates_) == 4
    for label, candidate in found.candidates_.items():
        own = values(evaluate.deletion(LINEAR, X, candidate, target=0, steps=6))
        np.testing.assert_allclose(values(found.results_, method=label), own, rtol=1e-6)
    assert found.best_method_ in ("integrated_gradients", "input_x_gradient")  # the same on a linear model
    assert found.best_params_ in ({"baseline": 0.0, "steps": 5}, {})
    means = {label: values(found.results_, method=label).mean() for label in found.candidates_}
    assert found.best_score_ == pytest.approx(min(means.values()))
    assert str(found).endswith(f"best: {found.best_label_}")


def test_higher_is_better_where_it_is():
    found = evaluate.search(LINEAR, X, {"input_x_gradient": {}, "random": {}}, "insertion_auc", target=0)
    assert found.best_method_ == "input_x_gradient"
    assert found.best_params_ == {}


def test_plot_has_a_line_for_each_method(found):
    ax = found.plot()
    lines = {h.get_label(): h.lines[0].get_ydata().tolist() for h in ax.containers}
    means = found.results_.means("deletion_auc")
    assert lines["integrated_gradients"] == [means[label].value for label in found.candidates_ if label.startswith("integrated")]
    assert set(lines) == set(GRID)


def test_long_parameters_have_labels_of_their_own():
    baselines = [np.full((len(X), 6), v, np.float32) for v in (0, 1)]
    candidates = evaluate.search(LINEAR, X, {"integrated_gradients": {"baseline": baselines}}, "sparseness", target=0).candidates_
    assert len(candidates) == 2


@pytest.mark.parametrize(
    ("grid", "metric", "message"),
    [
        ({}, "deletion_auc", "search needs a method or more"),
        ("gradient", "deletion_auc", "methods must be a dict"),
        ({"lrp": {"epsilon": 3}}, "deletion_auc", "the values to try of lrp"),
        ({"smoothgrad": {"noise_sigma": [1]}, "gradient": {"samples": [3]}}, "deletion_auc", "unknown parameter of gradient 'samples'"),
        ({"gradient": {}}, ["deletion_auc", "sparseness"], "search goes by one metric"),
    ],
)
def test_refused(grid, metric, message):
    with pytest.raises(onnxplain.InputError, match=message):
        evaluate.search(LINEAR, X, grid, metric)
