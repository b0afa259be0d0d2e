"""Execution providers, and runs by bound memory. The CPU stands in for a device: bound runs are the same there."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest
from helpers import draw
from networks import build

import onnxplain
from onnxplain import InputError, device
from onnxplain.session import Session
from onnxplain.tape import Tape, Type, op

NO_DEVICE = device.CUDA in ort.get_available_providers() and not device._has_gpu()


def emitted():
    tape = Tape()
    x, w = (tape.input(n, Type.tensor(np.float32, ["N", 3])) for n in "xw")
    return tape.build({"y": x * w, "z": op.Neg(x)})


def test_providers():
    assert device.default_providers()[-1] == device.CPU
    assert Session(emitted()).providers[-1] == device.CPU
    with pytest.raises(InputError, match=r"'Nowhere'.*CPUExecutionProvider"):
        Session(emitted(), ["Nowhere"])


def test_products_are_not_rounded_unless_the_caller_says_so(monkeypatch):
    monkeypatch.setattr(ort, "get_available_providers", lambda: [device.CUDA, device.CPU])
    monkeypatch.setattr(ort, "preload_dlls", lambda: None)
    assert device.resolved([device.CUDA, device.CPU]) == [(device.CUDA, {"use_tf32": "0"}), (device.CPU, {})]
    assert device.resolved([(device.CUDA, {"use_tf32": 1, "device_id": 1})]) == [(device.CUDA, {"use_tf32": 1, "device_id": 1})]


def test_cpu_only():
    assert device.cpu_only([device.CPU])
    assert not device.cpu_only([(device.CUDA, {}), device.CPU])


@pytest.mark.skipif(not NO_DEVICE, reason="wants CUDA's provider, and no device")
def test_what_could_not_be_used_is_said_aloud(capfd):
    with pytest.warns(UserWarning, match="CUDAExecutionProvider could not be used, the session runs on CPUExecutionProvider"):
        session = Session(emitted(), [device.CUDA])
    assert session.providers == [device.CPU]
    assert isinstance(session._runs, device.Host)


def test_how_a_session_runs(monkeypatch):
    class Fake:
        def get_providers(self) -> list[str]:
            return [device.CUDA, device.CPU]

    assert type(device.runs(Fake(), [(device.CUDA, {})])) is device.Device
    assert type(device.runs(Fake(), [(device.CUDA, {"enable_cuda_graph": "1"})])) is device.Graphs


@pytest.fixture(params=[device.Device, device.Graphs])
def bound(request, monkeypatch):
    """Sessions that run by bound memory."""
    monkeypatch.setattr("onnxplain.session.runs", lambda session, asked: request.param(session, "cpu"))
    return request.param


def test_bound_runs_answer_the_same(bound):
    session = Session(emitted(), [device.CPU])
    assert type(session._runs) is bound
    for n in (2, 2, 5):
        x, w = draw(n, 3, seed=n), draw(n, 3, seed=n + 1)
        placed = session.place({"x": x, "other": w})
        for factor in (w, 2 * w):
            got = session.run(placed | {"w": factor})
            np.testing.assert_array_equal(got["y"], x * factor)
            np.testing.assert_array_equal(got["z"], -x)
        assert list(session.run(placed | {"w": w}, ["z"])) == ["z"]


def test_recordings_keep_their_buffers(bound):
    if bound is not device.Graphs:
        pytest.skip("only recordings have them")
    session = Session(emitted(), [device.CPU])
    kept = [session.run({"x": draw(2, 3, seed=k), "w": draw(2, 3)})["y"] for k in (1, 2)]
    np.testing.assert_array_equal(kept[0], draw(2, 3, seed=1) * draw(2, 3))  # an answer is not overwritten by the next run
    session.run({"x": draw(4, 3), "w": draw(4, 3)})
    assert len(session._runs.recorded) == 2


@pytest.mark.parametrize("options", [{"method": "integrated_gradients", "steps": 5}, {"method": "occlusion", "window": [4, 4]}], ids=lambda o: o["method"])
def test_methods_of_many_runs(bound, options):
    x = draw(2, 3, 8, 8)
    got = onnxplain.explain(build("vgg"), x, target=1, batch_size=3, **options).attribution
    with pytest.MonkeyPatch.context() as undone:
        undone.setattr("onnxplain.session.runs", lambda session, asked: device.Host(session))
        expected = onnxplain.explain(build("vgg"), x, target=1, batch_size=3, **options).attribution
    np.testing.assert_array_equal(got, expected)
