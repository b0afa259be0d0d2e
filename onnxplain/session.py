"""Run emitted models in ONNX Runtime: sessions are made once, weights are handed over by reference."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
from onnx import helper

from . import blocks
from .device import check_taken, cpu_only, resolved, runs
from .errors import InputError, SessionError, one_line
from .footprint import streams, unpacked
from .tape import Emitted
from .widen import BFLOAT16, is_bfloat16, to_float32


def options() -> ort.SessionOptions:
    """Session options that every session of onnxplain starts from; the environment's ONNXPLAIN_THREADS says how many threads a run takes."""
    o = ort.SessionOptions()
    if threads := os.environ.get("ONNXPLAIN_THREADS"):
        if not threads.isdecimal() or int(threads) < 1:
            raise InputError(f"ONNXPLAIN_THREADS must be a positive integer, got {threads!r}")
        o.intra_op_num_threads = int(threads)
    o.log_severity_level = 3
    # An explanation may take several sessions in turn, and threads that spin after a run of one keep the next from the processor.
    o.add_session_config_entry("session.force_spinning_stop", "1")
    return o


class Session:
    """One emitted model, loaded; `rows` is how many points its runs are expected to have."""

    def __init__(self, emitted: Emitted, providers: Sequence[Any] | None = None, rows: int = 1) -> None:
        self.rows = rows
        chosen = resolved(providers)
        proto, self._handed = onnx.ModelProto(), {}
        proto.CopyFrom(emitted.proto)
        narrow = {t.name for t in proto.graph.initializer if t.data_type == onnx.TensorProto.BFLOAT16}
        self._narrow = {v.name for v in (*proto.graph.input, *proto.graph.output) if is_bfloat16(v)}
        to_float32(proto.graph)
        fed = unpacked(proto.graph, rows) if cpu_only(chosen) else set()
        self._fed = {n: np.require(emitted.array(n), requirements=["C", "A"]) for n in fed}
        for t in [t for t in proto.graph.initializer if t.name in emitted.weights]:
            tensor = emitted.weights[t.name]
            if t.name in fed:
                proto.graph.input.append(helper.make_tensor_value_info(t.name, t.data_type, t.dims))
                proto.graph.initializer.remove(t)
                continue
            if t.name in narrow:
                self._handed[t.name] = _ort_value(emitted.array(t.name).astype(np.float32), t.data_type)
            elif isinstance(tensor, ir.ExternalTensor) and os.name == "posix":
                _map(t, tensor)
            else:
                self._handed[t.name] = _ort_value(np.require(emitted.array(t.name), requirements=["C", "A"]), t.data_type)
        try:
            self._session = self._made(proto, emitted, chosen)
        except Exception as error:
            raise SessionError(f"ONNX Runtime could not load the emitted graph: {one_line(error)}") from error
        _trim()
        self.inputs = [i.name for i in self._session.get_inputs() if i.name not in fed]
        self.dtypes = {i.name: helper.tensor_dtype_to_np_dtype(i.type.tensor_type.elem_type) for i in proto.graph.input}
        self.outputs = [o.name for o in self._session.get_outputs()]
        self.providers = self._session.get_providers()
        check_taken(chosen, self.providers)
        self._runs = runs(self._session, chosen)

    def _made(self, proto: onnx.ModelProto, emitted: Emitted, chosen: Sequence[Any]) -> ort.InferenceSession:
        """ONNX Runtime's session, with arithmetic in blocks where that pays."""
        keep, disabled = not streams(emitted.proto.graph, self.rows), _crashing(proto.graph)

        def bare() -> ort.SessionOptions:
            o = options()
            o.enable_mem_pattern = o.enable_mem_reuse = keep
            return o

        def with_weights() -> ort.SessionOptions:
            o = bare()
            if self._handed:
                o.add_external_initializers(list(self._handed), list(self._handed.values()))
            o.add_session_config_entry("session.model_external_initializers_file_folder_path", os.sep)
            return o

        if cpu_only(chosen) and blocks.applies(proto.graph, emitted.nbytes):
            with suppress(Exception):  # whatever goes wrong there, such as a full disk, the session as it comes is right, only slower
                return blocks.session(proto, with_weights(), bare(), disabled)
        return ort.InferenceSession(proto.SerializeToString(), with_weights(), providers=chosen, disabled_optimizers=disabled)

    def place(self, feeds: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """What stays the same for several runs, as `run` takes it: on the device, where there is one."""
        return {**feeds, **self._runs.place({n: self._cast(n, feeds[n]) for n in self.inputs if n in feeds})}

    def _cast(self, name: str, value: Any) -> Any:
        return value.astype(np.float32, copy=False) if name in self._narrow and isinstance(value, np.ndarray) else value

    def run(self, feeds: Mapping[str, Any], outputs: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """Run once; all outputs, or those named."""
        names = list(outputs or self.outputs)
        try:
            values = self._runs.run(names, self._fed | {n: self._cast(n, feeds[n]) for n in self.inputs})
        except Exception as error:
            raise SessionError(f"ONNX Runtime failed to run the graph: {one_line(error)}") from error
        return {n: v.astype(BFLOAT16) if n in self._narrow else v for n, v in zip(names, values)}  # pyright: ignore  (only tensors are fetched)


def _map(t: onnx.TensorProto, tensor: ir.ExternalTensor) -> None:
    """Let ONNX Runtime map the file itself: what is handed over it copies. It wants paths below a folder, which is the root."""
    del t.external_data[:]
    for key, value in (("location", os.path.relpath(tensor.path, os.sep)), ("offset", tensor.offset), ("length", tensor.length)):
        t.external_data.add(key=key, value=str(value))


def _ort_value(array: np.ndarray, elem_type: int) -> ort.OrtValue:
    """An array as ONNX Runtime's own value, without a copy."""
    if array.dtype.kind in "fiub":
        return ort.OrtValue.ortvalue_from_numpy(array)
    return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(array, elem_type)


def _crashing(graph: onnx.GraphProto) -> list[str]:
    """The optimizer of ONNX Runtime that ends the process over Transpose, Cast and MatMul, as it writes them itself for 16 bits (seen with 1.31)."""
    halves = any(t.data_type == onnx.TensorProto.FLOAT16 for t in graph.initializer)
    return ["MatmulTransposeFusion"] if halves else []


def _trim() -> None:
    """Give the system back what making a session freed, where glibc holds it: 190 MiB of VGG16's."""
    with suppress(AttributeError, OSError, TypeError):  # other systems have no such function
        ctypes.CDLL(None).malloc_trim(0)
