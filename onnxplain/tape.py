"""Write ONNX graphs as formulas.

`op.Relu(x @ w + b)` writes three nodes on the tape of `x` and returns a `Var`. Every node is type-inferred by ONNX's own
schema as it is written, so a mistake raises on the line that made it. Equal expressions are one node, so a rule may repeat
itself; what nobody reads is dropped when the model is built. Weights are held by reference: never copied, never hashed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx import helper, numpy_helper
from onnx.shape_inference import InferenceError, infer_node_outputs

from .errors import InvalidModelError, UnsupportedModelError, one_line

OPSET = 21
"""The one opset that the emitted graphs use: newer ones lose kernels on several ONNX Runtime providers."""
IR_VERSION = 10
SMALL = 1024
"""Constants up to so many elements are stored in the graph and known while writing; larger ones go by reference."""

RANDOM = {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial"}
"""What answers otherwise at every node, but where a seed says what."""

RANK_OF = {"Reshape": 1, "ConstantOfShape": 0}
"""The inputs that are shapes."""
SHAPE_KEPT = ("GroupNormalization", "MeanVarianceNormalization")
"""Operators whose result has the shape of their first input, which ONNX does not see: it knows them by a body that computes shapes."""

Dim = int | str | None


@dataclass(frozen=True, eq=False)
class Type:
    """Element type and shape of a tensor; `shape` is None where not even the rank is known."""

    dtype: np.dtype | None
    shape: tuple[Dim, ...] | None
    proto: onnx.TypeProto

    @classmethod
    def of(cls, proto: onnx.TypeProto) -> Type:
        tensor = proto.tensor_type
        if not proto.HasField("tensor_type") or not tensor.elem_type:
            return cls(None, None, proto)
        dims = tensor.shape.dim if tensor.HasField("shape") else None
        shape = None if dims is None else tuple(_dim(d) for d in dims)
        return cls(_np_dtype(tensor.elem_type), shape, proto)

    @classmethod
    def tensor(cls, dtype: Any, shape: Sequence[Dim] | None) -> Type:
        dtype = np.dtype(dtype)
        return cls(dtype, None if shape is None else tuple(shape), helper.make_tensor_type_proto(helper.np_dtype_to_tensor_dtype(dtype), shape))

    @property
    def is_float(self) -> bool:
        return self.dtype is not None and is_float(self.dtype)

    def __str__(self) -> str:
        shape = "?" if self.shape is None else ", ".join("?" if d is None else str(d) for d in self.shape)
        return f"{self.dtype or 'not a tensor'}[{shape}]"


def is_float(dtype: np.dtype) -> bool:
    """Also true of bfloat16, which NumPy itself does not count as floating."""
    return dtype.kind == "f" or dtype.name == "bfloat16"


def _dim(d: onnx.TensorShapeProto.Dimension) -> Dim:
    kind = d.WhichOneof("value")
    if kind == "dim_value":
        return d.dim_value if d.dim_value >= 0 else None
    return (d.dim_param or None) if kind else None


@cache
def _np_dtype(elem_type: int) -> np.dtype:
    return np.dtype(helper.tensor_dtype_to_np_dtype(elem_type))


_schema = cache(onnx.defs.get_schema)


@cache
def _imports(opset: int) -> list[onnx.OperatorSetIdProto]:
    return [helper.make_opsetid("", opset)]


def output_types(node: onnx.NodeProto, types: Mapping[str, Type], data: Mapping[str, onnx.TensorProto], opset: int = OPSET) -> dict[str, Type]:
    """What ONNX's schema says of a node's outputs, from the types of its inputs and the small constants among them."""
    if node.domain not in ("", "ai.onnx"):
        return {}
    given, schema, imports = {n: t.proto for n, t in types.items()}, _schema(node.op_type, opset, node.domain), _imports(opset)
    try:
        inferred = infer_node_outputs(schema, node, given, dict(data), opset_imports=imports, ir_version=IR_VERSION)
    except (InferenceError, ValueError) as error:
        listed = ", ".join(f"{n!r} is {t}" for n, t in types.items())
        raise InvalidModelError(f"{node.op_type} {node.name or node.output[0]!r} cannot work on its inputs ({listed}): {one_line(error)}") from None
    found = {n: Type.of(t) for n, t in inferred.items()}
    if node.op_type in RANK_OF and len(node.input) > (k := RANK_OF[node.op_type]) and (length := types[node.input[k]].shape):
        # A shape that is computed at run time still tells the rank by its length.
        for n, t in found.items():
            if t.shape is None and t.dtype is not None and isinstance(length[0], int):
                found[n] = Type.tensor(t.dtype, [None] * length[0])
    return dict.fromkeys(found, types[node.input[0]]) if node.op_type in SHAPE_KEPT else found


@dataclass(frozen=True, eq=False)
class Var:
    """A value of the graph being written. `value` holds small constants, known while writing."""

    tape: Tape
    name: str
    type: Type
    value: np.ndarray | None = None

    @property
    def dtype(self) -> np.dtype:
        assert self.type.dtype is not None, f"{self.name} is not a tensor"
        return self.type.dtype

    @property
    def shape(self) -> tuple[Dim, ...]:
        if self.type.shape is None:
            raise UnsupportedModelError(
                f"the rank of {self.name!r} is not known to ONNX's shape inference, and a rule needs it. "
                "Remedy: export with known ranks, or explain a tensor behind it."
            )
        return self.type.shape

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def is_static(self) -> bool:
        """Whether every dimension is a known number."""
        return self.type.shape is not None and all(isinstance(d, int) for d in self.type.shape)

    def shaped(self, shape: Sequence[Dim]) -> Var:
        """The same value, whose shape is known better."""
        self.tape.shapes[self.name] = Type.tensor(self.dtype, shape)
        return replace(self, type=self.tape.shapes[self.name])

    # fmt: off
    def __add__(x, y): return op.Add(x, y)
    def __sub__(x, y): return op.Sub(x, y)
    def __mul__(x, y): return op.Mul(x, y)
    def __truediv__(x, y): return op.Div(x, y)
    def __pow__(x, y): return op.Pow(x, y)
    def __matmul__(x, y): return op.MatMul(x, y)
    def __radd__(x, y): return op.Add(y, x)
    def __rsub__(x, y): return op.Sub(y, x)
    def __rmul__(x, y): return op.Mul(y, x)
    def __rtruediv__(x, y): return op.Div(y, x)
    def __neg__(x): return op.Neg(x)
    def __gt__(x, y): return op.Greater(x, y)
    def __lt__(x, y): return op.Less(x, y)
    def __ge__(x, y): return op.GreaterOrEqual(x, y)
    def __le__(x, y): return op.LessOrEqual(x, y)
    def __and__(x, y): return op.And(x, y)
    def __or__(x, y): return op.Or(x, y)
    def __invert__(x): return op.Not(x)
    def __bool__(x): raise TypeError("a Var has no value while the graph is written; use op.Where(condition, a, b)")
    # fmt: on

    __array_ufunc__ = None  # NumPy operands defer to us


Operand = Var | np.ndarray | Sequence[int] | int | float | bool | None


class _Op:
    """`op.Conv(x, w, strides=[2, 2])`: inputs are positional, attributes are keywords, names are ONNX's."""

    def __getattr__(self, op_type: str):
        def emit(*inputs: Operand, outputs: int = 1, **attributes: Any) -> Any:
            tape = max((v.tape for v in inputs if isinstance(v, Var)), key=lambda t: t.depth)
            attributes = {k: v for k, v in attributes.items() if v is not None}
            narrow = inputs[0] if op_type in SUMS_IN_FLOAT32 else None
            if isinstance(narrow, Var) and narrow.type.is_float and narrow.dtype.itemsize == 2:
                wide = [tape.emit("Cast", [v], attributes={"to": onnx.TensorProto.FLOAT}) if isinstance(v, Var) and v.type.is_float else v for v in inputs]
                return tape.emit("Cast", [tape.emit(op_type, wide, 1, attributes)], attributes={"to": helper.np_dtype_to_tensor_dtype(narrow.dtype)})
            for name, rewrite in PEEPHOLES.get(op_type, {}).items():
                if name not in SWITCHED_OFF.get() and (better := rewrite(*inputs, **attributes)) is not None:
                    return better
            return tape.emit(op_type, inputs, outputs, attributes)

        return emit


PEEPHOLES: dict[str, dict[str, Callable[..., Any]]] = {}
"""operator → what may be written in its place, by name; `onnxplain.optimize` fills it."""
FINISHERS: dict[str, Callable[[Any, list[onnx.NodeProto]], list[onnx.NodeProto]]] = {}
"""What is done to a tape's nodes when all of them are known, by name; filled there too."""
SWITCHED_OFF: ContextVar[frozenset[str]] = ContextVar("SWITCHED_OFF", default=frozenset())
"""Those that are not used, in this thread."""


SUMS_IN_FLOAT32 = {"ScatterElements", "ScatterND"}
"""What ONNX Runtime's CPU provider cannot add in 16 bits, and what loses digits there anyway."""

op = _Op()


@dataclass(frozen=True, eq=False)
class Formula:
    """What was asked for: an operator of operands, with attributes."""

    op_type: str
    operands: Sequence[Operand]
    attributes: Mapping[str, Any] | Sequence[onnx.AttributeProto]


@dataclass(eq=False)
class Tape:
    """The graph being written."""

    inputs: dict[str, Var] = field(default_factory=dict)
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: dict[str, ir.TensorProtocol | np.ndarray] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    reserved: set[str] = field(default_factory=set)
    claimed: set[str] = field(default_factory=set)
    """Names that the model's own values are going to have: no other value takes them."""
    portable: bool = True
    """Whether the graph may run elsewhere than on ONNX Runtime's CPU provider."""
    saved: bool = True
    """Whether it becomes a file, which browsers may run too."""
    rows: int = 1
    """How many samples a run is expected to have: some rewrites pay with many."""
    meant: dict[str, Formula] = field(default_factory=dict)
    """What every value was asked for as, by its name; what was written for it may be something better."""
    blocked: dict[str, bool] = field(default_factory=dict)
    """Whether ONNX Runtime holds an image in its blocked layout, as far as somebody asked."""
    shapes: dict[str, Type] = field(default_factory=dict)
    """The known types of what was written, better ones that formulas tell included."""
    outer: Tape | None = None
    """The tape that holds the node whose body this one is: formulas here may read what is written there."""
    imports: dict[str, int] = field(default_factory=dict)
    """The versions of the domains beside ai.onnx."""
    _small: dict[str, onnx.TensorProto] = field(default_factory=dict)
    _memo: dict[Any, Any] = field(default_factory=dict)

    def inner(self) -> Tape:
        """A tape for the body of an If, Loop or Scan."""
        return Tape(names=self.names, claimed=self.claimed, portable=self.portable, saved=self.saved, rows=self.rows, outer=self, imports=self.imports)

    @property
    def depth(self) -> int:
        return 0 if self.outer is None else self.outer.depth + 1

    def name(self, wanted: str, own: bool = False) -> str:
        """`wanted`, or the first free name made from it; `own` is one that the model gave."""
        free, k = wanted, 1
        while free in self.names or (not own and free in self.claimed):
            free, k = f"{wanted}_{k}", k + 1
        self.names.add(free)
        return free

    def reserve(self, names: Iterable[str]) -> None:
        """Keep public names free for `build`."""
        self.reserved.update(names)
        self.names.update(names)

    def input(self, name: str, type: Type) -> Var:
        """A new graph input; the name is taken as it is."""
        self.names.add(name)
        self.inputs[name] = Var(self, name, type)
        return self.inputs[name]

    def constant(self, value: Any, like: Var | None = None, name: str | None = None) -> Var:
        """A constant. Python numbers and float arrays take the dtype of `like`; lists of integers are int64."""
        is_number = isinstance(value, (bool, int, float))
        is_axes = isinstance(value, (list, tuple)) and not value
        value = np.asarray(value, np.int64 if is_axes else None)
        value = value.astype(object) if value.dtype.kind in "SU" else value
        if (is_number and like is not None) or (like is not None and is_float(value.dtype) and like.type.is_float):
            value = value.astype(like.dtype)
        if value.size > SMALL:
            return self.weight(name or "constant", value)
        key = ("constant", value.dtype.str, value.dtype.name, value.shape, str(value.tolist()) if value.dtype == object else value.tobytes())
        if key not in self._memo:
            unique = self.name(name or f"c{len(self._small)}")
            self._small[unique] = numpy_helper.from_array(np.ascontiguousarray(value).reshape(value.shape), unique)
            self._memo[key] = Var(self, unique, Type.tensor(value.dtype, value.shape), value)
        return self._memo[key]

    def weight(self, name: str, tensor: ir.TensorProtocol | np.ndarray) -> Var:
        """A constant of any size, by reference; the same object again is the same Var."""
        if self.outer is not None:
            return self.outer.weight(name, tensor)
        key = ("weight", id(tensor))
        if key not in self._memo:
            dtype = tensor.dtype if isinstance(tensor, np.ndarray) else tensor.dtype.numpy()
            if int(np.prod(tensor.shape)) <= SMALL:
                value = np.asarray(tensor if isinstance(tensor, np.ndarray) else tensor.numpy())
                self._memo[key] = tensor, self.constant(value, name=name)
            else:
                unique = self.name(name)
                self.weights[unique] = tensor
                self._memo[key] = tensor, Var(self, unique, Type.tensor(dtype, [int(d) for d in tensor.shape]))
        return self._memo[key][1]

    def emit(
        self,
        op_type: str,
        inputs: Iterable[Operand],
        outputs: int = 1,
        attributes: Mapping[str, Any] | Sequence[onnx.AttributeProto] = (),
        *,
        names: Sequence[str] | None = None,
        types: Sequence[Type | None] | None = None,
        domain: str = "",
    ) -> Any:
        """Write one node; returns its output Var, or a tuple of them where `outputs` > 1.

        `names` are kept where free; `types` that are already known save an inference.
        """
        inputs = list(inputs)
        like = next((v for v in inputs if isinstance(v, Var) and v.type.dtype != np.bool_), None)
        args = [v if v is None or isinstance(v, Var) else self.constant(v, like) for v in inputs]
        while args and args[-1] is None:
            args.pop()
        arg_names = tuple("" if v is None else v.name for v in args)
        if isinstance(attributes, Mapping):
            attributes = [helper.make_attribute(k, v) for k, v in sorted(attributes.items()) if v is not None]
        has_graph = any(a.HasField("g") or a.graphs for a in attributes)
        key = (op_type, domain, arg_names, *(() if has_graph else spelled(attributes)))
        apart = has_graph or (op_type in RANDOM and not any(a.name == "seed" for a in attributes))
        node, known = (None, ()) if apart else self._memo.get(key, (None, ()))
        if node is None or not all(node.output):
            known = ()
            node = onnx.NodeProto(op_type=op_type, domain=domain, input=arg_names)
            node.attribute.extend(attributes)
            self.nodes.append(node)
        if len(known) < outputs:  # a node that is there already gets further outputs
            wanted = names or [f"{op_type}_{len(self.nodes)}" + (f"_{k}" if k else "") for k in range(outputs)]
            node.output.extend(self.name(n, own=names is not None) if n else "" for n in wanted[len(known) :])
            if types is None or any(t is None or t.shape is None for t, n in zip(types, node.output) if n):
                inferred = self._infer(node, args)
                types = [_better(types[k] if types else None, inferred.get(n)) for k, n in enumerate(node.output)]
            new = [(n, t) for n, t in zip(node.output, types)][len(known) :]
            self.shapes.update((n, t) for n, t in new if n and t)
            self.meant.update((n, Formula(op_type, args, attributes)) for n, _ in new if n)
            unknown = Type(None, None, onnx.TypeProto())
            known = (*known, *(Var(self, n, t or unknown) for n, t in new))
            self._memo[id(node) if apart else key] = node, known
        return known[:outputs] if outputs > 1 else next(iter(known))

    def has(self, op_type: str, *inputs: Var) -> bool:
        """Whether such a node is written, without attributes."""
        return (op_type, "", tuple(v.name for v in inputs)) in self._memo

    def _small_constant(self, name: str) -> onnx.TensorProto | None:
        return self._small.get(name) or (self.outer._small_constant(name) if self.outer is not None else None)

    def _infer(self, node: onnx.NodeProto, args: Sequence[Var | None]) -> dict[str, Type]:
        known = [v for v in args if v is not None]
        data = {v.name: t for v in known if (t := self._small_constant(v.name)) is not None}
        return output_types(node, {v.name: v.type for v in known}, data)

    def build(self, outputs: Mapping[str, Var], *, name: str = "onnxplain", metadata: Mapping[str, str] | None = None) -> Emitted:
        """The model that computes `outputs`; nodes that they do not need are left out."""
        final, wanted = [], {}
        for public, v in outputs.items():
            wanted[public] = v
            if v.name != public:
                assert public in self.reserved or public not in self.names, f"the name {public!r} is taken inside the graph"
                final.append(helper.make_node("Identity", [v.name], [public]))
        kept = needed(self.nodes, [v.name for v in wanted.values()]) + final
        for rewrite, finish in FINISHERS.items():
            kept = finish(self, kept) if rewrite not in SWITCHED_OFF.get() else kept
        need = {v.name for v in wanted.values()}.union(*map(_reads, kept))
        initializers, weights = [t for n, t in self._small.items() if n in need], {}
        for n, tensor in self.weights.items():
            if n in need:
                weights[n] = tensor
                initializers.append(_placeholder(n, tensor))
        made = [(n, self.shapes.get(n)) for node in kept for n in node.output if n not in wanted]
        graph = helper.make_graph(
            kept,
            name,
            [helper.make_value_info(v.name, v.type.proto) for v in self.inputs.values()],
            [helper.make_value_info(public, v.type.proto) for public, v in wanted.items()],
            initializers,
            value_info=[helper.make_value_info(n, t.proto) for n, t in made if t is not None and _image(t)],
        )
        others = [helper.make_opsetid(domain, version) for domain, version in self.imports.items()]
        model = helper.make_model(graph, opset_imports=[*_imports(OPSET), *others], ir_version=IR_VERSION, producer_name="onnxplain")
        helper.set_model_props(model, dict(metadata or {}))
        return Emitted(model, weights)

    def body(self, outputs: Sequence[Var], name: str) -> onnx.GraphProto:
        """The subgraph that computes `outputs`; every other value that it reads is captured."""
        own: set[str] = set()
        made = {o for n in self.nodes for o in n.output}
        final = []
        for v in outputs:
            fresh = v.name in made and v.name not in own
            final.append(v if fresh else self._copy(v))
            own.add(v.name)
        kept = needed(self.nodes, [v.name for v in final])
        need = {v.name for v in final}.union(*map(_reads, kept))
        infos = [[helper.make_value_info(v.name, v.type.proto) for v in values] for values in (self.inputs.values(), final)]
        return helper.make_graph(kept, name, *infos, [t for n, t in self._small.items() if n in need])

    def _copy(self, v: Var) -> Var:
        self.nodes.append(helper.make_node("Identity", [v.name], [self.name(f"{v.name}_out")]))
        return Var(self, self.nodes[-1].output[0], v.type)


def needed(nodes: Sequence[onnx.NodeProto], wanted: Iterable[str]) -> list[onnx.NodeProto]:
    """The nodes that the values of these names need, in order."""
    need, kept = set(wanted), []
    for node in reversed(nodes):
        if not need.isdisjoint(node.output):
            need.update(_reads(node))
            kept.append(node)
    return kept[::-1]


def _better(known: Type | None, inferred: Type | None) -> Type | None:
    """The one of two types of a value that says more."""
    return known if inferred is None or (inferred.shape is None and known is not None and known.shape is not None) else inferred


def spelled(attributes: Iterable[onnx.AttributeProto]) -> list[bytes]:
    """Attributes as what tells nodes apart, in whatever order they come."""
    return sorted(a.SerializeToString(deterministic=True) for a in attributes)


def _image(t: Type) -> bool:
    """Whether ONNX Runtime should know the shape: it keeps products and sums of images in its blocked layout only where it sees that they fit."""
    return t.is_float and t.shape is not None and len(t.shape) == 4 and None not in t.shape


def _reads(node: onnx.NodeProto) -> set[str]:
    """All names that a node reads, those of its subgraphs included."""
    names = set(node.input)
    for attribute in node.attribute:
        for graph in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else ())):
            for inner in graph.node:
                names |= _reads(inner)
            names.update(o.name for o in graph.output)
    return names


def _placeholder(name: str, tensor: ir.TensorProtocol | np.ndarray) -> onnx.TensorProto:
    """A tensor whose data is marked as external: ONNX Runtime receives it by reference."""
    elem = helper.np_dtype_to_tensor_dtype(tensor.dtype) if isinstance(tensor, np.ndarray) else int(tensor.dtype)
    proto = onnx.TensorProto(name=name, data_type=elem, dims=[int(d) for d in tensor.shape], data_location=onnx.TensorProto.EXTERNAL)
    for key, value in (("location", "weights"), ("offset", "0"), ("length", str(tensor.nbytes))):
        proto.external_data.add(key=key, value=value)
    return proto


@dataclass(frozen=True, eq=False)
class Emitted:
    """A written model: a small ModelProto, and beside it the weights that it names, by reference."""

    proto: onnx.ModelProto
    weights: Mapping[str, ir.TensorProtocol | np.ndarray]

    def array(self, name: str) -> np.ndarray:
        """The weight as an array: a view wherever it can be one."""
        tensor = self.weights[name]
        return tensor if isinstance(tensor, np.ndarray) else tensor.numpy()

    @property
    def nbytes(self) -> int:
        return sum(t.nbytes for t in self.weights.values())

    def to_proto(self) -> onnx.ModelProto:
        """One self-contained ModelProto, weights copied in."""
        model = onnx.ModelProto()
        model.CopyFrom(self.proto)
        for tensor in model.graph.initializer:
            if tensor.name in self.weights:
                tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(self.array(tensor.name)), tensor.name))
        return model
