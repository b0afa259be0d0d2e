"""Where sessions run: execution providers, and what is copied to a device and when."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import onnxruntime as ort

from .checks import is_list, require, told
from .errors import InputError

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
DEFAULTS: Mapping[str, Mapping[str, str]] = {CUDA: {"use_tf32": "0"}}
"""Options of providers where the caller says nothing: TF32 would round every product to 10 bits."""
Value = np.ndarray | ort.OrtValue


@cache
def default_providers() -> tuple[str, ...]:
    """CUDA where ONNX Runtime has it and a device answers, else CPU."""
    return (CUDA, CPU) if CUDA in ort.get_available_providers() and _has_gpu() else (CPU,)


def _has_gpu() -> bool:
    return any(os.path.exists(p) for p in ("/dev/nvidia0", "/dev/dxg")) or (os.name == "nt" and "CUDA_PATH" in os.environ)


def resolved(providers: Sequence[Any] | None) -> list[tuple[str, dict[str, Any]]]:
    """Providers as names with options, ours where the caller gives none; refused where this ONNX Runtime lacks one."""
    known, pairs = ort.get_available_providers(), _pairs(providers)
    for name, _ in pairs:
        if name not in known:
            raise InputError(f"provider {name!r} is not in this ONNX Runtime, which has {', '.join(known)}")
    if any(name == CUDA for name, _ in pairs):
        ort.preload_dlls()
    return [(name, {**DEFAULTS.get(name, {}), **options}) for name, options in pairs]


def cpu_only(providers: Sequence[Any] | None = None) -> bool:
    """Whether sessions run on the CPU and nowhere else."""
    return all(name == CPU for name, _ in _pairs(providers))


def _pairs(providers: Sequence[Any] | None) -> list[tuple[str, dict[str, Any]]]:
    """The caller's providers, or ours."""
    given = default_providers() if providers is None else providers
    pairs = [(p, {}) if isinstance(p, str) else p for p in given] if is_list(given) else []
    fit = all(is_list(p) and len(p) == 2 and isinstance(p[0], str) and isinstance(p[1], Mapping) for p in pairs)
    require(bool(pairs) and fit, f"providers must be a list of names or of pairs (name, options), such as ['CPUExecutionProvider'], got {told(given)}")
    return [(name, dict(options)) for name, options in pairs]


def check_taken(asked: Sequence[tuple[str, Any]], taken: Sequence[str]) -> None:
    """Say aloud that ONNX Runtime, which only logs it, went on without a provider."""
    if missing := [name for name, _ in asked if name not in taken]:
        warnings.warn(f"{', '.join(missing)} could not be used, the session runs on {', '.join(taken)}: is there a device, with its driver?", stacklevel=4)


@dataclass(frozen=True, eq=False)
class Host:
    """Runs that take arrays from the host's memory."""

    session: ort.InferenceSession

    def place(self, feeds: Mapping[str, np.ndarray]) -> Mapping[str, Value]:
        """What stays the same for several runs, where they read it."""
        return feeds

    def run(self, outputs: Sequence[str], feeds: Mapping[str, Value]) -> list[np.ndarray]:
        """The outputs, in order."""
        return self.session.run(list(outputs), dict(feeds))  # pyright: ignore[reportReturnType]  (only tensors are asked for)


@dataclass(frozen=True, eq=False)
class Device(Host):
    """Runs on a device: what was placed there is not copied again."""

    kind: str

    def place(self, feeds: Mapping[str, np.ndarray]) -> Mapping[str, Value]:
        return {n: self._there(v) for n, v in feeds.items()}

    def run(self, outputs: Sequence[str], feeds: Mapping[str, Value]) -> list[np.ndarray]:
        binding = self.session.io_binding()
        for n, v in feeds.items():
            binding.bind_ortvalue_input(n, self._there(v))
        for n in outputs:
            binding.bind_output(n, "cpu")
        self.session.run_with_iobinding(binding)
        return binding.copy_outputs_to_cpu()

    def _there(self, v: Value) -> ort.OrtValue:
        return v if isinstance(v, ort.OrtValue) else ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(v), self.kind, 0)


class Recording(NamedTuple):
    """A run's number, and its buffers."""

    options: ort.RunOptions
    binding: Any
    given: dict[str, ort.OrtValue]
    results: list[ort.OrtValue]


@dataclass(frozen=True, eq=False)
class Graphs(Device):
    """Runs that a device records and repeats: a recording for each set of shapes, with buffers that stay where they are."""

    recorded: dict[Any, Recording] = field(default_factory=dict)

    def place(self, feeds: Mapping[str, np.ndarray]) -> Mapping[str, Value]:
        return feeds  # they are copied into the recording's own buffers

    def run(self, outputs: Sequence[str], feeds: Mapping[str, Value]) -> list[np.ndarray]:
        arrays = {n: np.ascontiguousarray(v) for n, v in feeds.items()}
        key = tuple(outputs), tuple((n, v.shape) for n, v in arrays.items())
        if key not in self.recorded:
            self.recorded[key] = self._bind(outputs, arrays)
        recording = self.recorded[key]
        for n, v in arrays.items():
            recording.given[n].update_inplace(v)
        self.session.run_with_iobinding(recording.binding, recording.options)
        return [np.array(r.numpy()) for r in recording.results]

    def _bind(self, outputs: Sequence[str], arrays: Mapping[str, np.ndarray]) -> Recording:
        """Buffers for these shapes; an unrecorded run tells the outputs'."""
        given = {n: self._there(v.copy()) for n, v in arrays.items()}
        first, binding = self.session.io_binding(), self.session.io_binding()
        for b in (first, binding):
            for n, v in given.items():
                b.bind_ortvalue_input(n, v)
        for n in outputs:
            first.bind_output(n, self.kind)
        self.session.run_with_iobinding(first, _numbered(-1))
        results = [ort.OrtValue.ortvalue_from_numpy(v, self.kind, 0) for v in first.copy_outputs_to_cpu()]
        for n, v in zip(outputs, results):
            binding.bind_ortvalue_output(n, v)
        return Recording(_numbered(len(self.recorded) + 1), binding, given, results)


def _numbered(number: int) -> ort.RunOptions:
    """Run under a recording's number; −1 records nothing."""
    options = ort.RunOptions()
    options.add_run_config_entry("gpu_graph_id", str(number))
    return options


def runs(session: ort.InferenceSession, asked: Sequence[tuple[str, Mapping[str, Any]]]) -> Host:
    """How to run a session: on CUDA by device memory, recorded if the provider's `enable_cuda_graph` is on."""
    if session.get_providers()[0] != CUDA:
        return Host(session)
    recorded = str(dict(asked)[CUDA].get("enable_cuda_graph", 0)).lower() in ("1", "true")
    return (Graphs if recorded else Device)(session, "cuda")
