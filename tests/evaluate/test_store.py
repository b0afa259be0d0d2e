"""A run that is killed goes on where it was: nothing is lost and nothing is done twice."""

import csv
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from helpers import draw, parse

import onnxplain
from onnxplain import evaluate
from onnxplain.evaluate.store import Store, digest
from onnxplain.rules.conditions import kind
from onnxplain.rules.lrp import Epsilon, Flat, Stabilizer

from .known import LINEAR, B, W, X, values

RUN = """
import sys, time
import numpy as np
import onnxplain
from onnxplain import evaluate
from onnxplain.evaluate.metric import METRICS

model, data, path = sys.argv[1:]
slow = METRICS["sparseness"].formula
METRICS["sparseness"].formula = lambda case: (time.sleep(0.1), slow(case))[1]
batches = [row[None] for row in np.load(data)]
evaluate.compare(model, batches, ["gradient", "random"], ["sparseness", "deletion_auc"], target=0, store=path)
"""


@pytest.fixture
def files(tmp_path):
    import onnx

    onnx.save(LINEAR, tmp_path / "model.onnx")
    x = np.random.default_rng(0).standard_normal((10, 6)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    return tmp_path / "model.onnx", tmp_path / "x.npy", x


def test_killed_and_taken_up(files, tmp_path):
    model, data, x = files
    path = tmp_path / "results.csv"
    process = subprocess.Popen([sys.executable, "-c", RUN, model, data, path], stderr=subprocess.PIPE)
    while process.poll() is None and (not path.is_file() or path.read_bytes().count(b"\n") < 6):
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    _, err = process.communicate()
    assert process.returncode == -signal.SIGKILL, err.decode()
    before = path.read_bytes()
    assert 6 <= before.count(b"\n") < 41
    path.write_bytes(before + b"gradient,sparseness,9,0,0.12")  # cut off in the middle of a row

    asked = []
    with counted(asked):
        result = evaluate.compare(model, [row[None] for row in x], ["gradient", "random"], ["sparseness", "deletion_auc"], target=0, store=path)
    done = sum(r["metric"] == "sparseness" for r in csv.DictReader(before.decode().splitlines()))
    assert len(asked) == 20 - done
    check(result, model, x)
    kept = path.read_bytes()
    assert kept.startswith(before)
    assert kept.count(b"\n") == 41
    assert [p.name for p in tmp_path.glob("*results*")] == ["results.csv"]


def test_stopped_and_taken_up_in_parquet(files, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    model, _, x = files
    path = tmp_path / "results.parquet"
    run = lambda rows, **options: evaluate.compare(model, rows, ["gradient", "random"], ["sparseness", "deletion_auc"], target=0, store=path, **options)

    def stopping():
        yield from (row[None] for row in x[:4])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(stopping())
    assert not path.exists()
    assert (tmp_path / "results.parquet.csv").read_bytes().count(b"\n") == 17
    asked = []
    with counted(asked):
        result = run(x)
    assert len(asked) > 0
    check(result, model, x)
    assert parquet.read_table(path).num_rows == 40
    assert [p.name for p in tmp_path.glob("*results*")] == ["results.parquet"]
    with counted(asked := []):
        assert run(x).records == result.records
    assert not asked


@contextmanager
def counted(asked):
    """Note each sample whose sparseness is measured."""
    metric = evaluate.METRICS["sparseness"]
    formula = metric.formula
    metric.formula = lambda case: (asked.extend(case.samples), formula(case))[1]
    try:
        yield
    finally:
        metric.formula = formula


def check(result, model, x):
    """The same rows as those of a run that nothing stopped."""
    fresh = evaluate.compare(model, x, ["gradient", "random"], ["sparseness", "deletion_auc"], target=0)
    key = lambda r: (r["method"], r["metric"], r["sample"])
    assert sorted(map(key, result)) == sorted(map(key, fresh))
    expected = {key(r): r["value"] for r in fresh}
    np.testing.assert_allclose([r["value"] for r in result], [expected[key(r)] for r in result], rtol=1e-5)


def test_nothing_is_done_twice(tmp_path):
    path = tmp_path / "r.csv"
    first = evaluate.deletion(LINEAR, X, "gradient", target=0, store=path)
    text = path.read_bytes()
    again = evaluate.deletion(LINEAR, X, "gradient", target=0, store=path)
    assert path.read_bytes() == text
    assert again.records == first.records
    more = evaluate.deletion(LINEAR, X, ["gradient", "random"], target=0, store=path)
    assert path.read_bytes().startswith(text)
    assert len(more) == 10


@pytest.mark.parametrize("change", [{"target": 1}, {"seed": 1}, {"steps": 3}, {"probability": True}])
def test_other_settings_are_refused(tmp_path, change):
    path = tmp_path / "r.csv"
    evaluate.deletion(LINEAR, X, "gradient", target=0, store=path)
    with pytest.raises(onnxplain.InputError, match="holds method gradient, metric deletion_auc, sample 0, measured with another model, other data or"):
        evaluate.deletion(LINEAR, X, "gradient", **({"target": 0, "store": path} | change))


NORMALISED = parse(
    "g (float[N,6] x) => (float[N,3] y) { h = Gemm(x, w, b)\n n = BatchNormalization(h, s, t, m, v)\n y = Relu(n) }",
    w=W.astype(np.float32), b=B.astype(np.float32), **dict(zip("stmv", draw(4, 3, seed=7) ** 2 + 0.5)),
)  # fmt: skip


def fitted(method, data, **params):
    return onnxplain.Explainer(LINEAR, method, **params).fit(data)


def saved(path, data):
    fitted("pattern_net", data).patterns.save(path / "patterns.npz")
    return {"method": "pattern_net", "patterns": str(path / "patterns.npz")}


CLOSED = [np.zeros(6), np.ones(6)]
OTHERS = {
    "inputs": lambda path, k: {"X": X + k},
    "one of many samples": lambda path, k: {"X": np.concatenate([X[:1], X[1:] + k])},
    "a baseline": lambda path, k: {"methods": {"m": {"method": "integrated_gradients", "baseline": CLOSED[k]}}},
    "fuse": lambda path, k: {"model": NORMALISED, "methods": {"m": {"method": "lrp", "composite": "epsilon"}}, "fuse": bool(k)},
    "patterns": lambda path, k: {"methods": {"m": fitted("pattern_attribution", X + k)}},
    "patterns in a file": lambda path, k: {"methods": {"m": saved(path, X + k)}},
    "patterns of an inner method": lambda path, k: {"methods": {"m": {"method": "smoothgrad", "samples": 2, "inner": saved(path, X + k)}}},
    "a table": lambda path, k: {"methods": {"m": fitted("lime", X * (k + 1), sampling="gaussian")}},
    "training samples": lambda path, k: {"methods": {"m": fitted("prediction_difference", X * (k + 1), window=2)}},
    "a condition": lambda path, k: {"methods": {"m": {"method": "lrp", "rules": [(kind(["conv", "linear"][k]), Epsilon())]}}},
    "a rule": lambda path, k: {"methods": {"m": {"method": "lrp", "rules": [(kind("linear"), Epsilon(Stabilizer(0.1 + k)))]}}},
    "a function": lambda path, k: {"methods": {"m": {"method": "lrp", "composite": [lambda f, n: Epsilon(Stabilizer(0.1)), lambda f, n: Flat()][k]}}},
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_whatever_decides_a_row_is_part_of_its_settings(tmp_path, other):
    def run(k):
        given = {"model": LINEAR, "X": X, "methods": "gradient", "target": 0, "store": tmp_path / "r.csv"} | other(tmp_path, k)
        return evaluate.deletion(given.pop("model"), given.pop("X"), given.pop("methods"), steps=2, **given).records

    first = run(0)
    assert run(0) == first
    with pytest.raises(onnxplain.InputError, match="other data or other parameters"):
        run(1)


ANOTHER = """
import sys
import numpy as np
from onnxplain import evaluate
from onnxplain.rules.conditions import kind
from onnxplain.rules.lrp import Epsilon

model, data, path = sys.argv[1:]
rules = [(lambda flow, node: node.op_type in {"Conv", "ConvTranspose", "Einsum", "MatMul"}, Epsilon()), (kind("linear"), Epsilon())]
evaluate.deletion(model, np.load(data), {"lrp": {"method": "lrp", "rules": rules}}, target=0, steps=2, store=path)
"""


def test_another_process_goes_on(files, tmp_path):
    run = lambda: subprocess.run([sys.executable, "-c", ANOTHER, *files[:2], tmp_path / "r.csv"], capture_output=True, text=True)
    assert run().stderr == ""
    text = (tmp_path / "r.csv").read_bytes()
    assert run().stderr == ""
    assert (tmp_path / "r.csv").read_bytes() == text


def test_a_run_that_fails_leaves_no_file(tmp_path):
    with pytest.raises(onnxplain.InputError, match="steps must be an integer of at least 1"):
        evaluate.deletion(LINEAR, X, "gradient", steps=0, store=tmp_path / "r.csv")
    assert not list(tmp_path.iterdir())


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "r.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(onnxplain.InputError, match=r"cannot take up .*r.csv: it holds something else"):
        evaluate.deletion(LINEAR, X, "gradient", store=path)
    assert path.read_text() == "a,b\n1,2\n"
    path.write_text("no line's end")
    with pytest.raises(onnxplain.InputError, match="it holds something else"):
        evaluate.deletion(LINEAR, X, "gradient", store=path)
    assert path.read_text() == "no line's end"
    with pytest.raises(onnxplain.InputError, match="no such folder"):
        evaluate.deletion(LINEAR, X, "gradient", store=tmp_path / "no" / "r.csv")
    path.write_bytes(b"\xff\xfe\n")
    with pytest.raises(onnxplain.InputError, match="cannot take up"):
        evaluate.deletion(LINEAR, X, "gradient", store=path)


def test_numbers_come_back_as_they_were(tmp_path):
    rows = [{"key": f"k {i}\n, \"'", "value": v, "curve": [v, 0.1 + 0.2], "settings": "s"} for i, v in enumerate([1 / 3, np.inf, 1e-300, -0.0])]
    with Store(tmp_path / "r.csv", ["key"], ["key", "value", "curve"]) as store:
        store.add(rows)
    with Store(tmp_path / "r.csv", ["key"], ["key", "value", "curve"]) as store:
        for row in rows:
            assert store.has("s", key=row["key"])
            assert store.get(key=row["key"])["value"] == row["value"]
            assert store.get(key=row["key"])["curve"] == row["curve"]


def test_digests():
    def again(n):
        return again(n - 1) + CLOSED[0] if n else 0

    assert digest(again) == digest(again)
    assert digest([np.float32(0.5), (1, 2)]) == digest([0.5, [1, 2]])
    assert digest(np.zeros(2, np.float32)) != digest(np.zeros(1, np.float64))
    assert digest(np.array([None, "a"], object)) == digest(np.array([None, "a"], object))


def test_parquet_needs_pyarrow(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(onnxplain.InputError, match="needs pyarrow"):
        evaluate.deletion(LINEAR, X, "gradient", store=Path(tmp_path) / "r.parquet")


def test_in_memory():
    assert len(values(evaluate.deletion(LINEAR, X, "gradient"))) == 5
