"""How many points go into one run."""

import numpy as np
import pytest
from helpers import cnn, mlp

import onnxplain
from onnxplain import memory
from onnxplain.methods import method
from onnxplain.session import Session


@pytest.fixture
def question():
    return onnxplain.Explainer(cnn().model, "gradient").question


def points(question, free, monkeypatch, name="integrated_gradients", **params):
    monkeypatch.setattr(memory, "free_memory", lambda: free)
    return memory.points_per_run(question, {"x": cnn().x}, method(name, params))


def test_more_memory_more_points_within_bounds(question, monkeypatch):
    assert points(question, 0, monkeypatch) == 1
    assert points(question, 1 << 60, monkeypatch) == memory.MOST
    counts = [points(question, free, monkeypatch) for free in (40_000, 80_000, 160_000)]
    assert counts == sorted(counts)
    assert 1 < counts[1] < memory.MOST
    assert abs(counts[2] - 2 * counts[1]) <= 1


def test_weights_do_not_count_twice_but_points_inside_do(question, monkeypatch):
    monkeypatch.setattr(memory, "MOST", 100)
    alone = points(question, 300_000, monkeypatch)
    nested = points(question, 300_000, monkeypatch, "smoothgrad", inner="integrated_gradients", inner_params={"steps": 5})
    twice = points(
        question,
        300_000,
        monkeypatch,
        "smoothgrad",
        inner={"method": "smoothgrad", "samples": 2, "inner": "integrated_gradients", "inner_params": {"steps": 5}},
    )
    assert nested == max(1, alone // 5)
    assert twice == max(1, alone // 10)


def test_free_memory_is_a_number():
    assert memory.free_memory() > 1 << 20


def test_a_batch_size_bounds_each_run(monkeypatch):
    known = mlp()
    explainer = onnxplain.Explainer(known.model, "smoothgrad", samples=6, batch_size=12, inner="integrated_gradients", inner_params={"steps": 3})
    steps, run = [], Session.run

    def counted(self, feeds, outputs=None):
        steps.extend(len(v) for k, v in feeds.items() if k.startswith("draw"))
        return run(self, feeds, outputs)

    monkeypatch.setattr(Session, "run", counted)
    assert np.isfinite(explainer.explain(known.x[:2]).attribution).all()
    assert sum(steps) == 6
    assert max(steps) * 2 * 3 <= 12
