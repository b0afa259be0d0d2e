"""On a real device: nothing but shapes falls to the CPU, and the numbers are the CPU's. Skipped where no device answers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from helpers import draw
from test_placement import METHODS, MODELS

import onnxplain
from onnxplain import device, session

pytestmark = pytest.mark.skipif(device.default_providers()[0] != device.CUDA, reason="wants CUDA's provider and a device")
ON = {"providers": [device.CUDA, device.CPU]}
HOST = {"providers": [device.CPU]}


@pytest.fixture
def profiled(monkeypatch, tmp_path):
    """Sessions that write down where each node ran."""
    plain = session.options

    def options():
        o = plain()
        o.enable_profiling, o.profile_file_prefix = True, str(tmp_path / "run")
        return o

    monkeypatch.setattr(session, "options", options)


def floats_on_the_cpu(explainer: onnxplain.Explainer) -> list[str]:
    """The nodes of an explainer that has run that took or gave floats on the CPU."""
    found = []
    for s in explainer._runner._sessions.values():
        events = json.loads(Path(s._session.end_profiling()).read_text())
        for told in (e["args"] for e in events if e["cat"] == "Node" and e["args"].get("provider") == device.CPU):
            types = {t for shapes in (*told["input_type_shape"], *told["output_type_shape"]) for t in shapes}
            if types & {"float", "float16", "double"}:
                found.append(f"{told['op_name']} {told['input_type_shape']}")
    return found


def close(got: np.ndarray, wanted: np.ndarray) -> None:
    np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=1e-4 * np.abs(wanted).max())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("options", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize("name", MODELS)
def test_explaining_stays_on_the_device(profiled, name, options):
    x = draw(3, 3, 8, 8)
    explainer = onnxplain.Explainer(MODELS[name](), **options, **ON)
    got = explainer.explain(x, target=1).attribution
    assert floats_on_the_cpu(explainer) == []
    close(got, onnxplain.explain(MODELS[name](), x, target=1, **options, **HOST).attribution)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("options", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize("name", ["vgg", "transformer"])
def test_recorded_runs_answer_the_same(name, options):
    recorded = onnxplain.Explainer(MODELS[name](), **options, providers=[(device.CUDA, {"enable_cuda_graph": "1"}), device.CPU])
    plain = onnxplain.Explainer(MODELS[name](), **options, **ON)
    for n, seed in ((3, 0), (3, 1), (2, 2)):
        x = draw(n, 3, 8, 8, seed=seed)
        close(recorded.explain(x, target=1).attribution, plain.explain(x, target=1).attribution)
