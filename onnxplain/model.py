"""Load: a path, bytes, a ModelProto or an onnx_ir.Model becomes a checked, shape-inferred model of one opset.

ONNX's own C++ tools do the work at the edge (check, inline, convert, infer). They are handed a light copy, in which the big
weights are inputs, so that nothing big is parsed, serialised or hashed: a file's own weights are read once, external ones not.
"""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir

from . import convert, wire
from .errors import InputError, InvalidModelError, choose, one_line
from .graph import Graph, graphs_of
from .tape import SMALL, Type
from .weights import Store, Weights, detach, is_big
from .widen import wide


@dataclass(eq=False)
class Model:
    """A loaded model. `onnxplain.load` makes it; everything that takes a model takes this too."""

    source: ir.Model
    origin: Any = field(repr=False)
    fuse: bool | str = True
    rewrites: frozenset[str] | None = None
    name: str = "model"
    stamp: tuple[int, int] | None = field(default=None, repr=False)
    """Size and time of the file when it was loaded."""
    _graphs: dict[frozenset[str], Graph] = field(default_factory=dict, repr=False, init=False)

    @cached_property
    def inputs(self) -> dict[str, Type]:
        """The inputs that a caller has to give, by name."""
        return dict(self.raw.inputs)

    @cached_property
    def outputs(self) -> dict[str, Type]:
        """The model's outputs, by name."""
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
        """Digest of the file, its external data excepted, or of the serialised model that was given; made when it is first asked for."""
        if self.stamp != _stamp(self.origin):
            raise InvalidModelError(f"{self.origin} has changed since it was loaded, and its digest cannot be told. Remedy: load it again.")
        return _sha256(self.origin)


def load(model: Any, *, fuse: bool | str = True, rewrites: Any = None) -> Model:
    """Load a model for explanation.

    Parameters
    ----------
    model : path, bytes, onnx.ModelProto, onnx_ir.Model or Model
        Any opset from 7 on; bfloat16 is computed in float32. External data are memory-mapped, never read as a whole, and must lie
        in the model's folder (links are followed); a model of more than 2 GB has them. The file itself may be moved or overwritten
        once it is loaded, its external data may not; but saving an explainer, a report or an evaluation records the file's SHA-256,
        and needs it as it was. Weights of a ModelProto or an onnx_ir.Model are not copied: do not change them afterwards. A Model
        is taken as it is, or with another `fuse` or `rewrites` where they are given.
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
        What was given is no model that ONNX accepts, or its external data are missing, cut off or outside of its folder.
    UnsupportedModelError
        Its opset is older than 7, or opset 21 cannot say what one of its operators does.
    InputError
        `model`, `fuse` or `rewrites` is none of the above.
    """
    if fuse not in (True, False, "two"):
        raise InputError(f"fuse must be True, False or 'two', got {fuse!r}")
    if rewrites is not None:
        from .canonical import REWRITES

        rewrites = frozenset(choose("rewrite", r, REWRITES) for r in ([rewrites] if isinstance(rewrites, str) else rewrites))
    if isinstance(model, Model):
        if fuse in (True, model.fuse) and rewrites in (None, model.rewrites):
            return model
        return replace(model, fuse=fuse, rewrites=rewrites if rewrites is not None else model.rewrites)
    stamp = _stamp(model)
    light, weights, name = _parse(model)
    _name_dims(light, weights)
    origin = Path(model).absolute() if isinstance(model, (str, os.PathLike)) else model  # found again from any folder
    return Model(_attach(convert.to_opset(light, weights), weights), origin, fuse, rewrites, name, stamp)


# ---- parse: a light ModelProto, and the big weights by name ----


def _parse(model: Any) -> tuple[onnx.ModelProto, Weights, str]:
    """The light copy, its weights by name, and what to call the model."""
    if isinstance(model, (str, os.PathLike)):
        path = Path(model)
        with _opened(path) as data:
            return *_decoded(data, str(path), path.parent.absolute()), path.stem
    if isinstance(model, (bytes, bytearray, memoryview)):
        data = memoryview(model).cast("B")
        return *_decoded(data, f"a string of {len(data)} bytes", None), "model"
    if isinstance(model, onnx.ModelProto):
        light, left_out = _from_proto(model)
    elif isinstance(model, ir.Model):
        light, left_out = _from_ir(model)
    else:
        raise InputError(f"model must be a path, bytes, onnx.ModelProto or onnx_ir.Model, got {type(model).__name__}")
    return light, detach(light, Store(None, left_out)), light.graph.name or "model"


@contextmanager
def _opened(path: Path) -> Iterator[memoryview]:
    """The file's bytes, memory-mapped, as long as the block lasts."""
    if path.is_dir():
        raise InvalidModelError(f"{path} is a folder, wanted an .onnx file")
    try:
        with open(path, "rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if os.fstat(file.fileno()).st_size else b""
    except OSError as error:
        raise InvalidModelError(f"cannot read {path}: {error.strerror or error}") from None
    yield memoryview(data)


def _decoded(data: memoryview, what: str, folder: Path | None) -> tuple[onnx.ModelProto, Weights]:
    try:
        light, left_out = wire.parse(data)
    except (wire.CutOffError, wire.DecodeError) as error:
        raise InvalidModelError(f"{what} is not an ONNX model, or is cut off: {len(data)} bytes that do not parse ({one_line(error)})") from None
    if not light.graph.output:
        raise InvalidModelError(f"{what} is not an ONNX model: {len(data)} bytes without a graph that has outputs")
    for graph in graphs_of(light.graph):
        values = (v.name for v in (*graph.input, *graph.output, *graph.value_info, *graph.initializer))
        for name in (*values, *(s for n in graph.node for s in (n.name, n.op_type, n.domain, *n.input, *n.output))):
            if not isinstance(name, str):  # protobuf lets it pass, as bytes
                raise InvalidModelError(f"{what} is damaged: the name {name!r} is not UTF-8")
    return light, detach(light, Store(folder, left_out))


def _from_proto(model: onnx.ModelProto) -> tuple[onnx.ModelProto, list[onnx.TensorProto]]:
    """A copy of everything but the big weights."""
    light, left_out = onnx.ModelProto(), []
    _merge(light, model, but="graph")
    _merge(light.graph, model.graph, but="initializer")
    for t in model.graph.initializer:
        if is_big(t):
            light.graph.initializer.append(wire.refer(onnx.TensorProto(name=t.name, data_type=t.data_type, dims=t.dims), len(left_out)))
            left_out.append(t)
        else:
            light.graph.initializer.append(t)
    return light, left_out


def _merge(copy: Any, message: Any, but: str) -> None:
    """Copy a message, one field excepted."""
    for f, value in message.ListFields():
        if f.name != but:
            getattr(copy, f.name).MergeFrom(value) if f.message_type or f.is_repeated else setattr(copy, f.name, value)


def _from_ir(model: ir.Model) -> tuple[onnx.ModelProto, list[ir.TensorProtocol]]:
    """A ModelProto of everything but the initializers that are big or lie in files."""
    copy, left_out, references = model.clone(), [], []
    for name, value in list(copy.graph.initializers.items()):
        tensor = value.const_value
        if tensor is None:
            raise InvalidModelError(f"initializer {name!r} of the onnx_ir.Model has no value")
        if tensor.dtype != ir.DataType.STRING and (tensor.size > SMALL or isinstance(tensor, ir.ExternalTensor)):
            dims = tensor.shape.numpy()
            references.append(wire.refer(onnx.TensorProto(name=name, data_type=int(tensor.dtype), dims=dims), len(left_out)))
            left_out.append(tensor)
            copy.graph.initializers.pop(name)
    light = ir.to_proto(copy)
    light.graph.initializer.extend(references)
    return light, left_out


# ---- the inputs' shapes ----


def _name_dims(light: onnx.ModelProto, weights: Weights) -> None:
    """Give names to the unknown axes of the inputs, so that shapes can be inferred from them.

    Exporters write them as nothing, 0 or −1. Leading axes are the batch and share one name.
    """
    given = {*weights, *(t.name for t in light.graph.initializer)}
    shapes = {i.name: i.type.tensor_type.shape.dim for i in light.graph.input if i.name not in given}
    named = {d.dim_param for dims in shapes.values() for d in dims}
    leading = {dims[0].dim_param for dims in shapes.values() if dims} - {""}
    batch = leading.pop() if len(leading) == 1 else _free("batch", named)
    for name, dims in shapes.items():
        for axis, d in enumerate(dims):
            if not d.dim_param and d.dim_value <= 0:
                d.dim_param = batch if axis == 0 else _free(f"{name}_{axis}", named)


def _free(wanted: str, taken: set[str]) -> str:
    return next(name for k in count() if (name := f"{wanted}_{k}" if k else wanted) not in taken)


# ---- the in-memory model ----


def _attach(light: onnx.ModelProto, weights: Weights) -> ir.Model:
    """What was taken out comes back, as references; initializers are no longer inputs."""
    for v in (*light.graph.output, *light.graph.value_info):
        if _is_map(v.type):  # onnx_ir has no such type, and ONNX Runtime finds it out by itself
            v.ClearField("type")
    try:
        model = ir.from_proto(light)
    except Exception as error:
        raise InvalidModelError(f"onnx_ir cannot read the model: {one_line(error.__cause__ or error)}") from None
    graph = model.graph
    for value in graph.inputs:
        if value.name in weights:
            value.const_value = wide(weights[value.name])
    inputs = [v for v in graph.inputs if v.name not in weights and v.name not in graph.initializers]
    constants = [v for v in graph.inputs if v.name in weights]
    graph.inputs.clear()
    graph.inputs.extend(inputs)
    for value in constants:
        graph.register_initializer(value)
    return model


def _is_map(kind: onnx.TypeProto) -> bool:
    """Whether maps are what a value, or the elements of a sequence, are."""
    while (holder := kind.WhichOneof("value")) in ("sequence_type", "optional_type"):
        kind = getattr(kind, holder).elem_type
    return holder == "map_type"


def _stamp(origin: Any) -> tuple[int, int] | None:
    """What tells that a file is still the same."""
    if not isinstance(origin, (str, os.PathLike)) or not os.path.exists(origin):
        return None
    facts = os.stat(origin)
    return facts.st_size, facts.st_mtime_ns


def _sha256(origin: Any) -> str:
    digest = hashlib.sha256()
    if isinstance(origin, (str, os.PathLike)):
        with _opened(Path(origin)) as data:
            digest.update(data)
    elif isinstance(origin, (bytes, bytearray, memoryview)):
        digest.update(origin)
    else:
        proto = ir.to_proto(origin) if isinstance(origin, ir.Model) else origin
        digest.update(proto.SerializeToString(deterministic=True))
    return digest.hexdigest()
