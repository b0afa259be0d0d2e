"""Run emitted models in ONNX Runtime: sessions are made once, weights are handed over by reference."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import onnxruntime as ort

from .errors import InputError, SessionError
from .tape import Emitted


@cache
def default_providers() -> tuple[str, ...]:
    """CUDA where ONNX Runtime has it and a device answers, else CPU."""
    available = ort.get_available_providers()
    if "CUDAExecutionProvider" in available and _has_gpu():
        ort.preload_dlls()
        return ("CUDAExecutionProvider", "CPUExecutionProvider")
    return ("CPUExecutionProvider",)


def _has_gpu() -> bool:
    return any(os.path.exists(p) for p in ("/dev/nvidia0", "/dev/dxg")) or os.name == "nt" and "CUDA_PATH" in os.environ


def options() -> ort.SessionOptions:
    """Session options that every session of onnxplain starts from."""
    o = ort.SessionOptions()
    o.log_severity_level = 3
    return o


class Session:
    """One emitted model, loaded."""

    def __init__(self, emitted: Emitted, providers: Sequence[Any] | None = None) -> None:
        chosen = list(providers) if providers else list(default_providers())
        known = ort.get_available_providers()
        for p in chosen:
            name = p[0] if isinstance(p, tuple) else p
            if name not in known:
                raise InputError(f"provider {name!r} is not in this ONNX Runtime, which has {', '.join(known)}")
        o = options()
        self._arrays = [np.ascontiguousarray(emitted.array(n)) for n in emitted.weights]
        if self._arrays:
            o.add_external_initializers(list(emitted.weights), [ort_value(a, int(_elem(emitted, n))) for n, a in zip(emitted.weights, self._arrays)])
        try:
            self._session = ort.InferenceSession(emitted.proto.SerializeToString(), o, providers=chosen)
        except Exception as error:
            raise SessionError(f"ONNX Runtime could not load the emitted graph: {_line(error)}") from error
        self.inputs = [i.name for i in self._session.get_inputs()]
        self.outputs = [o.name for o in self._session.get_outputs()]
        self.providers = self._session.get_providers()

    def run(self, feeds: Mapping[str, np.ndarray], outputs: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """Run once; all outputs, or those named."""
        names = list(outputs or self.outputs)
        try:
            values = self._session.run(names, {n: feeds[n] for n in self.inputs})
        except Exception as error:
            raise SessionError(f"ONNX Runtime failed to run the graph: {_line(error)}") from error
        return dict(zip(names, values))


def _elem(emitted: Emitted, name: str) -> int:
    return next(t.data_type for t in emitted.proto.graph.initializer if t.name == name)


def ort_value(array: np.ndarray, elem_type: int) -> ort.OrtValue:
    """An array as ONNX Runtime's own value, without a copy."""
    if array.dtype.kind in "fiub":
        return ort.OrtValue.ortvalue_from_numpy(array)
    return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(array, elem_type)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:400]
