"""Timing on the user's machine: what is measured, how it is put together, and what the command says."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

import onnxplain
from onnxplain import bench
from onnxplain.bench import Cost, Costs, Task, bars, fresh_peak, in_turns, peak_memory, random_inputs

MODEL = str(Path(__file__).resolve().parent.parent / "models" / "digits.onnx")
COSTS = Costs([Cost("forward pass", 0.1, (2.0, 1.0, 4.0), 3 << 20), Cost("gradient", 0.25, (5.0, 2.0, 12.0)), Cost("lrp", 0.5, (3.0, 3.0, 3.0))], 4)


class Bar:
    def __init__(self):
        self.count = 0

    def update(self):
        self.count += 1


# ---- rounds and ratios ----


def test_rounds_are_turned_round_and_the_first_does_not_count():
    order, bar = [], Bar()

    def action(name):
        order.append(name)
        return float(len(order))

    found = in_turns({n: lambda n=n: action(n) for n in "abc"}, 2, bar)
    assert "".join(order) == "abc" + "cba" + "abc"
    assert found == {"a": [6.0, 7.0], "b": [5.0, 8.0], "c": [4.0, 9.0]}
    assert bar.count == 9


def test_ratios_are_to_the_forward_pass_of_the_same_round():
    np.testing.assert_allclose(COSTS.ratios(COSTS.rows[1]), [2.5, 2, 3])
    gradient = COSTS.records[1]
    assert (gradient["ratio"], gradient["ratio_low"], gradient["ratio_high"]) == (2.5, 2.0, 3.0)
    assert (gradient["run_s"], gradient["setup_s"], gradient["memory_bytes"], gradient["repeats"]) == (5.0, 0.25, None, 3)


def test_the_table_says_times_ratios_and_memory():
    forward, gradient, _ = str(COSTS).splitlines()[1:]
    assert forward.split() == ["forward", "pass", "100", "ms", "2", "s", "1.00", "1.00–1.00", "3", "MiB"]
    assert gradient.split() == ["gradient", "250", "ms", "5", "s", "2.50", "2.00–3.00", "–"]


def test_the_picture_has_a_bar_for_each_time_on_a_logarithmic_scale():
    (ax,) = COSTS.figure().axes
    assert ax.get_xscale() == "log"
    assert [[b.get_width() for b in c] for c in ax.containers] == [[0.1, 0.25, 0.5], [2, 5, 3]]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["forward pass", "gradient", "lrp"]
    (ax,) = bars({"setup": {"a": 1.0}, "run": {"a": 2.0, "b": 3.0}}).axes
    assert [t.get_text() for t in ax.texts] == ["1 s", "2 s", "3 s"]


# ---- measuring ----


def test_every_method_is_run_as_often_as_the_forward_pass(monkeypatch):
    done = []
    explain = onnxplain.Explainer.explain
    monkeypatch.setattr(onnxplain.Explainer, "explain", lambda self, x: done.append(self.method.name) or explain(self, x))
    x = np.zeros((2, 1, 28, 28))  # of another dtype than the model's
    costs = bench.bench(MODEL, {"image": x}, {"a": {"method": "gradient"}, "b": {"method": "integrated_gradients", "steps": 2}}, repeats=2, memory=False)
    assert [r.name for r in costs.rows] == ["forward pass", "a", "b"]
    assert done == ["gradient", "integrated_gradients", "integrated_gradients", "gradient", "gradient", "integrated_gradients"]
    assert all(len(r.runs) == 2 and min(r.runs) > 0 and r.setup > 0 and r.memory is None for r in costs.rows)
    assert costs.batch == 2


def test_setup_makes_every_session_that_a_run_needs():
    task = Task(MODEL, {"image": np.zeros((1, 1, 28, 28), np.float32)}, {"method": "integrated_gradients", "steps": 2})
    first = task.ready()
    first()
    assert {form for form, *_ in first.forms} == {"forward", "piece", "scores"}
    again = task.ready(first.forms)
    assert again.forms == first.forms


def test_memory_is_that_of_a_fresh_process():
    mine = np.ones(300 << 17)  # 300 MiB that the other process has not
    assert peak_memory() > mine.nbytes
    small, large = (fresh_peak(Task(MODEL, {"image": np.zeros((n, 1, 28, 28), np.float32)})) for n in (1, 512))
    activations = 512 * 28 * 28 * 16 * 4  # one of the first layers', at least
    assert 0 < small < 60 << 20  # what the imports take is more
    assert large - small > activations


def test_a_process_that_fails_has_no_memory_to_report():
    assert fresh_peak(Task("nowhere.onnx", {})) is None


# ---- random inputs ----


def ids_model():
    def info(name, kind, shape):
        return helper.make_tensor_value_info(name, kind, shape)

    nodes = [helper.make_node("Gather", ["table", "ids"], ["e"]), helper.make_node("Mul", ["e", "mask"], ["m"])]
    nodes.append(helper.make_node("ReduceMean", ["m"], ["y"], axes=[0], keepdims=0))
    table = helper.make_tensor("table", TensorProto.FLOAT, [5, 3], np.arange(15.0))
    inputs = [info("ids", TensorProto.INT64, ["T", "N"]), info("mask", TensorProto.FLOAT, ["T", "N", 1])]
    graph = helper.make_graph(nodes, "g", inputs, [info("y", TensorProto.FLOAT, ["N", 3])], [table])
    return onnxplain.load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))


def test_random_inputs_have_the_models_shapes():
    feeds = random_inputs(ids_model(), 2, {"T": 7})
    assert {n: v.shape for n, v in feeds.items()} == {"ids": (7, 2), "mask": (7, 2, 1)}
    assert feeds["ids"].dtype == np.int64 and (feeds["ids"] == 1).all()
    assert feeds["mask"].dtype == np.float32 and feeds["mask"].std() > 0.3


def test_an_axis_of_unknown_extent_is_asked_for():
    with pytest.raises(onnxplain.InputError, match=r"'ids' is int64\[T, N\]: say how long T is, with --dim T=N, or give inputs"):
        random_inputs(ids_model(), 2, {})
    with pytest.raises(onnxplain.InputError, match="unknown symbolic axis 'S'"):
        random_inputs(ids_model(), 2, {"S": 3})


# ---- the command ----


def test_help_has_an_example(run):
    code, out, err = run("bench", "--help")
    assert (code, err) == (0, "")
    assert "onnxplain bench models/digits.onnx" in out


def test_the_command_prints_a_table_and_writes_files(run, tmp_path):
    code, out, err = run(
        "bench", MODEL, "-m", "gradient,lrp(composite=epsilon)", "--batch", 2, "--repeats", 1, "--no-memory", "--out", "t.csv", "--plot", "t.png"
    )
    assert (code, err) == (0, "")
    assert "image [2, 1, 28, 28]; medians of 1 rounds" in out
    rows = list(csv.DictReader((tmp_path / "t.csv").read_text().splitlines()))
    assert [r["method"] for r in rows] == ["forward pass", "gradient", "lrp, composite = epsilon"]
    assert all(r["method"] in out for r in rows)
    assert float(rows[0]["ratio"]) == 1
    assert (tmp_path / "t.png").stat().st_size > 5000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.onnx"], "cannot read nowhere.onnx"),
        ([MODEL, "--dim", "N"], "--dim 'N': wanted AXIS=N"),
        ([MODEL, "--dim", "N=0"], "--dim 'N=0': wanted AXIS=N"),
        ([MODEL, "-m", "gradientt"], "unknown method 'gradientt'"),
        ([MODEL, "-m", "gradient:heatmap"], "leave out what stands after the colon"),
        ([MODEL, "--out", "t.txt"], "wanted a name that ends in .csv"),
        ([MODEL, "--plot", "away/t.png"], "no such folder away"),
        ([MODEL, "--repeats", "0"], "Invalid value for '--repeats'"),
    ],
)
def test_what_is_wrong_is_one_line(run, arguments, message):
    code, out, err = run("bench", *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
