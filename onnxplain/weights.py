"""Where a model's big weights are, and how ONNX's tools get a copy of the model without them."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx import helper, numpy_helper

from . import wire
from .errors import InvalidModelError
from .graph import graphs_of, nodes_of
from .tape import SMALL

Weights = dict[str, ir.TensorProtocol]


@dataclass(frozen=True)
class Store:
    """Finds the data of a TensorProto: in itself, in what was left out of the light copy, or in a file beside the model."""

    folder: Path | None = None
    left_out: Sequence[memoryview | onnx.TensorProto | ir.TensorProtocol] = ()

    def tensor(self, proto: onnx.TensorProto, name: str) -> ir.TensorProtocol:
        """The tensor, by reference where it can be one: external data are memory-mapped."""
        dtype, dims = dtype_of(proto), list(proto.dims)
        index = wire.reference(proto)
        held: Any = proto if index is None or index >= len(self.left_out) else self.left_out[index]
        if isinstance(held, onnx.TensorProto):
            if held.data_location == onnx.TensorProto.EXTERNAL:
                return self._external(held, name, dtype, dims)
            if index is None and held.HasField("raw_data") and len(held.raw_data) != nbytes(dtype, dims):
                raise InvalidModelError(f"tensor {name!r} holds {len(held.raw_data)} bytes, wanted {nbytes(dtype, dims)} for {dtype.name} {dims}")
            return ir.LazyTensor(lambda: _value(held, name), dtype, ir.Shape(dims), cache=True, name=name)
        if isinstance(held, ir.ExternalTensor):
            return mapped(Path(held.path), held.offset, held.length, dtype, dims, name)
        if not isinstance(held, memoryview):
            return held
        data = np.frombuffer(held, np.uint8)
        if len(data) != (needed := nbytes(dtype, dims)):
            raise InvalidModelError(f"tensor {name!r} holds {len(data)} bytes, wanted {needed} for {dtype.name} {dims}")
        if dtype.bitwidth < 8:
            return ir.PackedTensor(data.copy(), dtype, shape=ir.Shape(dims), name=name)
        return ir.Tensor(data.copy().view(dtype.numpy()).reshape(dims), dtype, name=name)

    def inlined(self, proto: onnx.TensorProto) -> onnx.TensorProto:
        """The tensor with its data inside, whatever they were."""
        if proto.data_location != onnx.TensorProto.EXTERNAL:
            return proto
        data = self.tensor(proto, proto.name).tobytes()
        return onnx.TensorProto(name=proto.name, data_type=proto.data_type, dims=proto.dims, raw_data=data)

    def _external(self, proto: onnx.TensorProto, name: str, dtype: ir.DataType, dims: list[int]) -> ir.TensorProtocol:
        entries = {e.key: e.value for e in proto.external_data}
        location = entries.get("location", "")
        if self.folder is None:
            remedy = "give the model's path, as bytes and protos do not say in which folder that lies"
            raise InvalidModelError(f"tensor {name!r} is in the external file {location!r}: {remedy}")
        if os.path.isabs(location) or ".." in location.replace("\\", "/").split("/") or not location:
            raise InvalidModelError(f"tensor {name!r} refers to {location!r}, outside of the model's folder: refused")
        try:
            offset, length = (int(entries[k]) if entries.get(k) else None for k in ("offset", "length"))
        except ValueError:
            raise InvalidModelError(f"tensor {name!r} has an offset or a length in {location!r} that is no number") from None
        return mapped(self.folder / location, offset, length, dtype, dims, name)


def mapped(path: Path, offset: int | None, length: int | None, dtype: ir.DataType, dims: Sequence[int], name: str) -> ir.TensorProtocol:
    """Memory-mapped data of a file. Links are followed, as caches are made of them."""
    real, offset, needed = Path(os.path.realpath(path)), offset or 0, nbytes(dtype, dims)
    if not real.is_file():
        raise InvalidModelError(f"external data are missing: tensor {name!r} is in {path.name!r}, wanted at {path}")
    if not os.access(real, os.R_OK):
        raise InvalidModelError(f"external data cannot be read: tensor {name!r} is in {path}: permission denied")
    if offset < 0 or length not in (None, needed):
        raise InvalidModelError(f"tensor {name!r} has {length} bytes at {offset} of {path.name!r}, wanted {needed} for {dtype.name} {list(dims)}")
    if (size := real.stat().st_size) < offset + needed:
        raise InvalidModelError(f"external data are cut off: tensor {name!r} wants {needed} bytes at {offset} of {path.name!r}, which has {size}")
    tensor = ir.ExternalTensor(real, offset, needed, dtype, shape=ir.Shape(dims), name=name)
    aligned = dtype.bitwidth < 8 or offset % (dtype.bitwidth // 8) == 0
    return tensor if aligned else ir.Tensor(tensor.numpy().copy(), dtype, name=name)


def dtype_of(proto: onnx.TensorProto) -> ir.DataType:
    """The element type, of a tensor that has a possible one and a possible shape."""
    if proto.data_type not in onnx.TensorProto.DataType.values() or not proto.data_type:
        raise InvalidModelError(f"tensor {proto.name!r} has element type {proto.data_type}, which ONNX does not know")
    if any(d < 0 for d in proto.dims):
        raise InvalidModelError(f"tensor {proto.name!r} has shape {list(proto.dims)}")
    return ir.DataType(proto.data_type)


def nbytes(dtype: ir.DataType, dims: Iterable[int]) -> int:
    """How many bytes a tensor fills; elements of less than one are packed."""
    return -(-math.prod(dims) * dtype.bitwidth // 8)


def is_big(proto: onnx.TensorProto) -> bool:
    """Whether a tensor is kept apart. Strings never are: nothing computes with them."""
    return math.prod(proto.dims) > SMALL and dtype_of(proto) != ir.DataType.STRING


def _value(proto: onnx.TensorProto, name: str) -> ir.Tensor:
    try:
        return ir.Tensor(ir.serde.TensorProtoTensor(proto).numpy(), ir.DataType(proto.data_type), name=name)
    except (ValueError, TypeError) as error:
        raise InvalidModelError(f"tensor {name!r} does not hold what its shape {list(proto.dims)} wants: {error}") from None


# ---- the light copy ----


def detach(light: onnx.ModelProto, store: Store) -> Weights:
    """Take the big weights out of a model, which is changed: they become its inputs. Small external ones are read in.

    Constant nodes and subgraphs are searched too; in a subgraph an Identity then brings its weight in from outside.
    """
    weights: Weights = {}
    inputs = {i.name: i for i in light.graph.input}
    names = {v.name for g in graphs_of(light.graph) for v in (*g.input, *g.initializer)} | {o for n in nodes_of(light.graph) for o in n.output}

    def take(proto: onnx.TensorProto, name: str, inner: bool) -> onnx.NodeProto:
        outer = name
        if inner:
            outer = next(free for k in count() if (free := f"{name}_{k}") not in names)
            names.add(outer)
        weights[outer] = store.tensor(proto, outer)
        info = inputs[outer] if outer in inputs else light.graph.input.add()
        info.CopyFrom(helper.make_tensor_value_info(outer, proto.data_type, proto.dims))
        return helper.make_node("Identity", [outer], [name])

    for graph in graphs_of(light.graph):
        inner = graph is not light.graph
        graph.initializer.extend(_dense(t, t.values.name) for t in graph.sparse_initializer)
        graph.ClearField("sparse_initializer")
        for k in reversed(range(len(graph.node))):
            node = graph.node[k]
            for a in node.attribute:
                if a.HasField("sparse_tensor") and node.op_type == "Constant":
                    a.CopyFrom(helper.make_attribute("value", _dense(a.sparse_tensor, node.output[0])))
                if a.HasField("t") and node.op_type == "Constant" and is_big(a.t):
                    identity = take(a.t, node.output[0], inner)
                    if inner:
                        node.CopyFrom(identity)
                    else:
                        del graph.node[k]
                    break
                if a.HasField("t") and a.t.data_location == onnx.TensorProto.EXTERNAL:
                    a.t.CopyFrom(store.inlined(a.t))
        for k in reversed(range(len(graph.initializer))):
            proto = graph.initializer[k]
            if is_big(proto):
                identity = take(proto, proto.name, inner)
                if inner:
                    graph.node.insert(0, identity)
                del graph.initializer[k]
            elif proto.data_location == onnx.TensorProto.EXTERNAL:
                proto.CopyFrom(store.inlined(proto))
    if light.ir_version < 4:  # where every initializer is an input too
        light.graph.input.extend(helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in light.graph.initializer if t.name not in inputs)
    return weights


def _dense(sparse: onnx.SparseTensorProto, name: str) -> onnx.TensorProto:
    values, indices = numpy_helper.to_array(sparse.values), numpy_helper.to_array(sparse.indices)
    dense = np.zeros(list(sparse.dims), values.dtype)
    dense[tuple(indices.T) if indices.ndim == 2 else np.unravel_index(indices, dense.shape)] = values
    return numpy_helper.from_array(dense, name)
