"""Load: a path, bytes, a ModelProto or an onnx_ir.Model becomes a checked, shape-inferred model of one opset.

ONNX's own C++ tools do the work at the edge (check, inline, convert, infer); they are handed a light copy of the model whose
weights are named but absent, so that nothing big is ever copied or serialised.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError
from onnx import helper

from . import convert
from .errors import InputError, InvalidModelError
from .graph import Graph
from .tape import IR_VERSION, SMALL, Type

Source = "str | os.PathLike[str] | bytes | onnx.ModelProto | ir.Model | Model"


@dataclass(eq=False)
class Model:
    """A loaded model. `onnxplain.load` makes it; everything that takes a model takes this too."""

    source: ir.Model
    origin: Any = field(repr=False)
    fuse: bool | str = True
    rewrites: frozenset[str] | None = None
    name: str = "model"
    _graphs: dict[frozenset[str], Graph] = field(default_factory=dict, repr=False)

    @cached_property
    def inputs(self) -> dict[str, Type]:
        """The inputs that a caller has to give, by name."""
        return dict(self.raw.inputs)

    @cached_property
    def outputs(self) -> dict[str, Type]:
        return dict(self.raw.outputs)

    @cached_property
    def raw(self) -> Graph:
        """The graph as it was loaded: one opset, but no rewrites."""
        return Graph.of(self.source)

    def graph(self, keep: frozenset[str] = frozenset()) -> Graph:
        """The canonical graph, in which the tensors named by `keep` survive with their values."""
        from .canonical import canonicalise

        if keep not in self._graphs:
            self._graphs[keep] = canonicalise(self.source, keep, fuse=self.fuse, only=self.rewrites)
        return self._graphs[keep]

    @cached_property
    def sha256(self) -> str:
        """Digest of the file or of the serialised model that was given."""
        return _sha256(self.origin)


def load(model: Any, *, fuse: bool | str = True, rewrites: Any = None) -> Model:
    """Load a model for explanation.

    Parameters
    ----------
    model : path, bytes, onnx.ModelProto, onnx_ir.Model or Model
        Any opset from 7 on. External data are memory-mapped, never read as a whole.
    fuse : bool or "two", default True
        True merges batch normalisation into the linear layer before it, or into an unpadded one behind it; False keeps it as
        one linear layer of its own, "two" as two (centre, then scale).
    rewrites : iterable of str, optional
        Names of the rewrites to use; by default all of `onnxplain.canonical.REWRITES`.

    Returns
    -------
    Model

    Raises
    ------
    InvalidModelError
        What was given is no model that ONNX accepts, or its external data are missing or lie outside its folder.
    """
    if isinstance(model, Model):
        same = model.fuse == fuse and rewrites is None
        return model if same or fuse is True and rewrites is None else Model(model.source, model.origin, fuse, model.rewrites, model.name)
    if fuse not in (True, False, "two"):
        raise InputError(f"fuse must be True, False or 'two', got {fuse!r}")
    if rewrites is not None:
        from .canonical import REWRITES
        from .errors import choose

        rewrites = frozenset(choose("rewrite", r, REWRITES) for r in ([rewrites] if isinstance(rewrites, str) else rewrites))
    proto, weights, name = _parse(model)
    light = convert.to_opset(proto)
    return Model(_attach(light, weights), model, fuse, rewrites, name)


# ---- parse ----


def _parse(model: Any) -> tuple[onnx.ModelProto, dict[str, ir.TensorProtocol], str]:
    """The light ModelProto, its weights by name, and what to call it."""
    folder: Path | None = None
    if isinstance(model, (str, os.PathLike)):
        path = Path(model)
        if not path.is_file():
            raise InvalidModelError(f"no such file: {path}" if not path.is_dir() else f"{path} is a folder, wanted an .onnx file")
        proto, folder, name = _decode(path.read_bytes(), str(path)), path.parent, path.stem
    elif isinstance(model, (bytes, bytearray, memoryview)):
        proto, name = _decode(bytes(model), f"{len(model)} bytes"), "model"
    elif isinstance(model, onnx.ModelProto):
        proto, name = model, model.graph.name or "model"
    elif isinstance(model, ir.Model):
        return _from_ir(model)
    else:
        raise InputError(f"model must be a path, bytes, onnx.ModelProto or onnx_ir.Model, got {type(model).__name__}")
    return *_detach(proto, folder), name


def _decode(data: bytes, what: str) -> onnx.ModelProto:
    try:
        proto = onnx.ModelProto.FromString(data)
    except DecodeError as error:
        raise InvalidModelError(f"{what} is not an ONNX model, or is cut off: {len(data)} bytes that do not parse ({error})") from None
    if not proto.HasField("graph") or not proto.graph.output:
        raise InvalidModelError(f"{what} is not an ONNX model: it parses, but holds no graph with outputs")
    return proto


def _from_ir(model: ir.Model) -> tuple[onnx.ModelProto, dict[str, ir.TensorProtocol], str]:
    weights: dict[str, ir.TensorProtocol] = {}
    light = model.clone()
    for value in light.graph.initializers.values():
        tensor = value.const_value
        if tensor is not None and value.name and tensor.size > SMALL:
            weights[value.name] = tensor
            value.const_value = None
    for name in weights:
        value = light.graph.initializers.pop(name)
        if value not in light.graph.inputs:
            light.graph.inputs.append(value)
    return ir.to_proto(light), weights, model.graph.name or "model"


def _detach(proto: onnx.ModelProto, folder: Path | None) -> tuple[onnx.ModelProto, dict[str, ir.TensorProtocol]]:
    """Take the big weights out of a model: they become inputs of the light copy."""
    weights: dict[str, ir.TensorProtocol] = {}
    light = onnx.ModelProto()
    for f, value in proto.ListFields():
        if f.name != "graph":
            getattr(light, f.name).MergeFrom(value) if f.message_type or f.is_repeated else setattr(light, f.name, value)
    for f, value in proto.graph.ListFields():
        if f.name != "initializer":
            getattr(light.graph, f.name).MergeFrom(value) if f.message_type or f.is_repeated else setattr(light.graph, f.name, value)
    known = {i.name for i in light.graph.input}
    for tensor in proto.graph.initializer:
        external = tensor.data_location == onnx.TensorProto.EXTERNAL
        if int(np.prod(tensor.dims)) <= SMALL and not external:
            light.graph.initializer.append(tensor)
            if light.ir_version < 4 and tensor.name not in known:
                light.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
            continue
        weights[tensor.name] = _external(tensor, folder) if external else ir.serde.TensorProtoTensor(tensor)
        if tensor.name not in known:
            light.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    return light, weights


def _external(tensor: onnx.TensorProto, folder: Path | None) -> ir.ExternalTensor:
    """Memory-mapped data beside the model; symlinks are followed (caches use them), `..` in the reference is not."""
    entries = {e.key: e.value for e in tensor.external_data}
    location = entries.get("location", "")
    if folder is None:
        raise InvalidModelError(f"tensor {tensor.name!r} is in the external file {location!r}: give the model's path, not its bytes or proto")
    if os.path.isabs(location) or ".." in Path(location).parts or not location:
        raise InvalidModelError(f"tensor {tensor.name!r} refers to {location!r}, outside the model's folder: refused")
    real = Path(os.path.realpath(folder / location))
    if not real.is_file():
        raise InvalidModelError(f"external data are missing: tensor {tensor.name!r} is in {location!r}, wanted at {folder / location}")
    offset = int(entries.get("offset", 0))
    dtype = ir.DataType(tensor.data_type)
    needed = int(entries.get("length", 0)) or int(np.ceil(int(np.prod(tensor.dims)) * dtype.itemsize))
    if real.stat().st_size < offset + needed:
        raise InvalidModelError(f"external data are cut off: tensor {tensor.name!r} needs {needed} bytes at {offset} of {location!r}, which has {real.stat().st_size}")
    return ir.ExternalTensor(real.name, offset, needed, dtype, shape=ir.Shape(tensor.dims), name=tensor.name, base_dir=str(real.parent))


def _attach(light: onnx.ModelProto, weights: Mapping[str, ir.TensorProtocol]) -> ir.Model:
    """The in-memory model: what was taken out comes back, as references; initializers are no longer inputs."""
    model = ir.from_proto(light)
    model.ir_version = IR_VERSION
    graph = model.graph
    for value in [v for v in graph.inputs if v.name in weights or v.name in graph.initializers]:
        graph.inputs.remove(value)
        if value.name in weights:
            value.const_value = weights[value.name]
            graph.initializers[value.name] = value
    return model


def _sha256(origin: Any) -> str:
    digest = hashlib.sha256()
    if isinstance(origin, (str, os.PathLike)):
        with open(origin, "rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    elif isinstance(origin, (bytes, bytearray, memoryview)):
        digest.update(origin)
    else:
        proto = ir.to_proto(origin) if isinstance(origin, ir.Model) else origin
        digest.update(proto.SerializeToString(deterministic=True))
    return digest.hexdigest()
