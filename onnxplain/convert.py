"""Bring any model to the one opset that rules and emitted graphs speak, with ONNX's own tools.

Every function here takes a light copy, whose big weights are inputs (see `onnxplain.model`), and may change it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from functools import cache
from typing import Any

import numpy as np
import onnx
import onnx.checker
import onnx.inliner
import onnx.parser
import onnx.shape_inference
import onnx.version_converter
from onnx import helper, numpy_helper

from . import foreign
from .branches import decide
from .errors import InvalidModelError, UnsupportedModelError, one_line
from .graph import attribute, graphs_of, nodes_of
from .tape import IR_VERSION, OPSET, SHAPE_KEPT
from .widen import widen

LOWEST = 7
STANDARD = ("", "ai.onnx.preview")
_NESTED = 8
_HOME = "onnxplain.expanded"


def to_opset(model: onnx.ModelProto, weights: Collection[str] = ()) -> onnx.ModelProto:
    """Check, inline functions, bring to `OPSET`, spell out operators of other domains, and infer shapes.

    `weights` are inputs that stand for constants.
    """
    _call_standard_empty(model)
    _call_early_foreign(model)
    _check(model)
    if model.functions:
        model = _edge("inline its functions", lambda: onnx.inliner.inline_local_functions(model, convert_version=True))
    widen(model, weights)
    version = next((o.version for o in model.opset_import if o.domain == ""), OPSET)
    if version < LOWEST:
        raise UnsupportedModelError(f"the model has opset {version}; onnxplain takes {LOWEST} and newer. Remedy: convert it with onnx.version_converter.")
    if version < OPSET:
        _declare_foreign(model)
        model = _raise(model, version)
    _spell_out_foreign(model)
    model = _expand(model)
    _relabel(model)
    _modernise(model)
    _unsign(model)
    _make_scalars(model)
    decide(model)
    return infer(model)


def _edge(what: str, action: Callable[[], Any]) -> Any:
    """Run one of ONNX's C++ tools; its exceptions become one clear line."""
    try:
        return action()
    except Exception as error:
        raise InvalidModelError(f"ONNX could not {what}: {one_line(error)}") from None


def _call_standard_empty(model: onnx.ModelProto) -> None:
    """Give ONNX's own domain its other name, by which the tools know it."""
    bodies = [f.node for f in model.functions]
    for named in (model.opset_import, *(f.opset_import for f in model.functions), nodes_of(model.graph), *bodies):
        for n in named:
            if n.domain == "ai.onnx":
                n.domain = ""


def _call_early_foreign(model: onnx.ModelProto) -> None:
    """ONNX Runtime writes some operators of ai.onnx into opsets that are older than they are."""
    version = next((o.version for o in model.opset_import if o.domain == ""), OPSET)
    if foreign.move_early(nodes_of(model.graph), version) and all(o.domain != foreign.MICROSOFT for o in model.opset_import):
        model.opset_import.append(helper.make_opsetid(foreign.MICROSOFT, 1))


def _check(model: onnx.ModelProto) -> None:
    unranked = [t for v in (*model.graph.input, *model.graph.output) if (t := v.type.tensor_type).elem_type and not t.HasField("shape")]
    for t in unranked:  # ONNX Runtime takes them, the checker does not
        t.shape.SetInParent()
    try:
        onnx.checker.check_model(model)
    except Exception as error:  # ValidationError, and others where strings are no UTF-8
        imported = {o.domain for o in model.opset_import} | set(STANDARD)
        unknown = sorted({n.domain for n in nodes_of(model.graph)} - imported)
        hint = f" (no opset_import names the domains {', '.join(unknown)})" if unknown else ""
        raise InvalidModelError(f"the model fails ONNX's checker: {one_line(error)}{hint}") from None
    for t in unranked:
        t.ClearField("shape")


def _set_version(model: onnx.ModelProto, version: int) -> None:
    others = [o for o in model.opset_import if o.domain not in (*STANDARD, _HOME)]
    del model.opset_import[:]
    model.opset_import.extend([helper.make_opsetid("", version), *others])


# ---- shapes ----


def infer(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with the types that follow from its inputs. What it declares itself only fills the gaps that remain.

    Declared shapes are often stale (traced at batch 1, then made symbolic at the inputs), and ONNX would believe them.
    """
    declared = {v.name: _copied(v.type) for g in graphs_of(model.graph) for v in (*g.value_info, *g.output) if v.type.HasField("tensor_type")}
    for g in graphs_of(model.graph):
        del g.value_info[:]
        for v in g.output:
            if v.type.HasField("tensor_type"):
                v.type.tensor_type.ClearField("shape")
    inferred = _infer(model)
    symbols = {d.dim_param for v in model.graph.input for d in v.type.tensor_type.shape.dim if not d.dim_value}
    found = types_of(inferred)
    gaps = {name: filled for name, told in declared.items() if (filled := _filled(found.get(name), told, symbols)) is not None}
    if not gaps:
        return inferred
    for g in graphs_of(model.graph):
        own = {v.name for v in g.output}
        for v in g.output:
            v.type.CopyFrom(gaps.get(v.name, v.type))
        made = [o for n in g.node for o in n.output if o in gaps and o not in own]
        g.value_info.extend(onnx.ValueInfoProto(name=o, type=gaps[o]) for o in made)
    return _infer(model)


def types_of(model: onnx.ModelProto) -> dict[str, onnx.TypeProto]:
    """The types that are known, subgraphs' included; to be asked of a model after `infer`."""
    types = {}
    for g in graphs_of(model.graph):
        types |= {t.name: helper.make_tensor_type_proto(t.data_type, t.dims) for t in g.initializer}
        types |= {v.name: v.type for v in (*g.input, *g.value_info, *g.output)}
    return types


def _infer(model: onnx.ModelProto) -> onnx.ModelProto:
    """What ONNX infers; operators that keep a shape without its knowing go by a name of which it knows."""
    op_types = [n.op_type for n in nodes_of(model.graph)]
    for n in nodes_of(model.graph):
        n.op_type = "Identity" if n.op_type in SHAPE_KEPT and not n.domain else n.op_type
    inferred = _edge("infer its shapes", lambda: onnx.shape_inference.infer_shapes(model, data_prop=True))
    for m in (model, inferred):
        for n, op_type in zip(nodes_of(m.graph), op_types):
            n.op_type = op_type
    return inferred


def _filled(found: onnx.TypeProto | None, told: onnx.TypeProto, symbols: set[str]) -> onnx.TypeProto | None:
    """`found` with its gaps filled from the declared type; None where that tells nothing new.

    A declared symbol is believed where an input has it, a declared number only where no input has a symbol.
    """
    filled, dims = _copied(told), told.tensor_type.shape.dim
    if found is None or not found.tensor_type.HasField("shape"):
        olds, news = [onnx.TensorShapeProto.Dimension()] * len(dims), found is None or told.tensor_type.HasField("shape")
    else:
        olds, news = found.tensor_type.shape.dim, False
    if len(olds) != len(dims):
        return None
    for old, d in zip(olds, filled.tensor_type.shape.dim):
        believed = d.dim_param in symbols if d.HasField("dim_param") else d.dim_value > 0 and not symbols
        if old.HasField("dim_value") or old.dim_param in symbols or not believed:
            d.CopyFrom(old)
        else:
            news = True
    return filled if news else None


# ---- operators of other domains ----


def _foreign_writer(model: onnx.ModelProto) -> foreign.Writer | None:
    """What writes the model's foreign operators as others, if it has any."""
    if not any(map(foreign.is_foreign, nodes_of(model.graph))):
        return None
    read = {i for n in nodes_of(model.graph) for i in n.input} | {o.name for g in graphs_of(model.graph) for o in g.output}
    return foreign.Writer(types_of(infer(_copied(model))), _constants(*graphs_of(model.graph)), read, list(model.opset_import))


def _spell_out_foreign(model: onnx.ModelProto) -> None:
    if (writer := _foreign_writer(model)) is not None:
        for g in graphs_of(model.graph):
            writer.spell_out(g)
        model.graph.initializer.extend(writer.initializers)


def _declare_foreign(model: onnx.ModelProto) -> None:
    """ONNX's converter needs the shapes of some nodes that may stand behind foreign ones."""
    if (writer := _foreign_writer(model)) is not None:
        for g in graphs_of(model.graph):
            for n in g.node:
                writer.nodes(n)
            writer.declare(g)


# ---- up ----


def _raise(model: onnx.ModelProto, version: int) -> onnx.ModelProto:
    nodes = [n for n in nodes_of(model.graph) if n.domain == ""]
    _refuse(nodes, "Hardmax", version < 13, "flattens its input")
    _refuse(nodes, "Scan", version < 9, "scans each sample of a batch apart")
    _refuse([n for n in nodes if attribute(n, "spatial", 1) == 0], "BatchNormalization", version < 9, "has statistics for each place (spatial = 0)")
    read = {i for n in nodes_of(model.graph) for i in n.input} | {o.name for g in graphs_of(model.graph) for o in g.output}
    for n in nodes:
        if n.op_type in ("Dropout", "BatchNormalization"):  # the converter stumbles over outputs of training, though nobody reads them
            while len(n.output) > 1 and n.output[-1] not in read:
                n.output.pop()
    _refuse([n for n in nodes if len(n.output) > 1], "Dropout", version < 12, "has a mask that is read")
    _refuse([n for n in nodes if len(n.output) > 1], "BatchNormalization", version < 14, "has outputs of training that are read")
    constants = _constants(*graphs_of(model.graph))
    rounded = {n.output[0]: _rounding(n, constants) for n in nodes if version < 11 and n.op_type in ("Upsample", "Resize")}
    _refuse([n for n in nodes if n.output[0] in rounded and rounded[n.output[0]] is None], "Resize", True, "shrinks one axis and stretches another")
    model = _edge(f"convert opset {version} to {OPSET}", lambda: onnx.version_converter.convert_version(model, OPSET))
    for n in nodes_of(model.graph):
        if n.op_type == "Resize" and n.output[0] in rounded:
            # The converter leaves half_pixel and round_prefer_floor, the newer defaults, where the old operators were asymmetric.
            old = {"mode": attribute(n, "mode", "nearest"), "coordinate_transformation_mode": "asymmetric", "nearest_mode": rounded[n.output[0]]}
            del n.attribute[:]
            n.attribute.extend(helper.make_attribute(k, v) for k, v in old.items())
    return model


def _modernise(model: onnx.ModelProto) -> None:
    """Say what ONNX Runtime warns of or refuses in words that it takes.

    TensorFlow's nearest neighbour, floor((x + ½) / scale), has a newer name. Batch normalisation in training mode has all its outputs.
    """
    for n in nodes_of(model.graph):
        if n.op_type == "BatchNormalization" and attribute(n, "training_mode", 0):
            n.output.extend(f"{n.output[0]}/running_{kind}" for kind in ("mean", "var")[len(n.output) - 1 :])
        if (
            n.op_type == "Resize"
            and attribute(n, "coordinate_transformation_mode", b"") == b"tf_half_pixel_for_nn"
            and attribute(n, "nearest_mode", b"") == b"floor"
        ):
            for a in n.attribute:
                if a.name in ("coordinate_transformation_mode", "nearest_mode"):
                    a.s = b"half_pixel" if a.name == "coordinate_transformation_mode" else b"round_prefer_ceil"


def _make_scalars(model: onnx.ModelProto) -> None:
    """Give Range scalars, as its schema wants: ONNX Runtime also runs it on one element of any rank, as long as nobody knows that rank."""
    if not any(n.op_type == "Range" for n in nodes_of(model.graph)):
        return
    types = types_of(infer(_copied(model)))
    for g in graphs_of(model.graph):
        for n in [n for n in g.node if n.op_type == "Range" and not n.domain]:
            for k, name in enumerate(n.input):
                tensor = types.get(name, onnx.TypeProto()).tensor_type
                if not tensor.HasField("shape") or tensor.shape.dim:
                    scalar = numpy_helper.from_array(np.zeros(0, np.int64), f"{n.output[0]}/{k}/shape")
                    n.input[k] = f"{n.output[0]}/{k}"
                    g.node.insert(list(g.node).index(n), helper.make_node("Reshape", [name, scalar.name], [n.input[k]]))
                    model.graph.initializer.append(scalar)


def _unsign(model: onnx.ModelProto) -> None:
    """Store what goes from QuantizeLinear to DequantizeLinear as uint8: int8 codes and zero points, both raised by 128, mean the same.

    ONNX Runtime does it itself on x86, but since opset 21 leaves an `output_dtype` that contradicts, and refuses the graph
    (https://github.com/microsoft/onnxruntime/issues/25526). Beside a zero point the attribute says nothing of its own.
    """
    signed = {name: t for name, t in _constants(model.graph).items() if t.data_type == onnx.TensorProto.INT8}
    reads = Counter([i for n in nodes_of(model.graph) for i in n.input] + [o.name for g in graphs_of(model.graph) for o in g.output])
    readers: dict[str, list[onnx.NodeProto]] = {}
    for n in model.graph.node:
        if n.op_type == "DequantizeLinear" and not n.domain:
            readers.setdefault(n.input[0], []).append(n)
    raised = {}
    for n in model.graph.node:
        if n.op_type != "QuantizeLinear" or n.domain or len(n.input) < 3:
            continue
        _drop_attributes(n, {"output_dtype"})
        pair = [n, *readers.get(n.output[0], [])]
        if reads[n.output[0]] == len(pair) - 1 and all(len(m.input) > 2 and m.input[2] in signed for m in pair):
            for m in pair:
                codes = numpy_helper.to_array(signed[m.input[2]]).view(np.uint8) ^ np.uint8(128)
                raised[m.input[2]] = numpy_helper.from_array(codes, f"{m.input[2]}/uint8")
                m.input[2] = raised[m.input[2]].name
    model.graph.initializer.extend(raised.values())


def _drop_attributes(n: onnx.NodeProto, names: Collection[str]) -> None:
    kept = [a for a in n.attribute if a.name not in names]
    del n.attribute[:]
    n.attribute.extend(kept)


def _rounding(n: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> str | None:
    """How the nearest place was found: ONNX Runtime takes the floor where it stretches, the ceiling where it shrinks."""
    if n.op_type == "Upsample" or n.input[1] not in constants or attribute(n, "mode", b"nearest") != b"nearest":
        return "floor"
    scales = numpy_helper.to_array(constants[n.input[1]])
    return "floor" if (scales >= 1).all() else "ceil" if (scales <= 1).all() else None


def _constants(*graphs: onnx.GraphProto) -> dict[str, onnx.TensorProto]:
    made = {n.output[0]: a.t for g in graphs for n in g.node if n.op_type == "Constant" for a in n.attribute if a.name == "value"}
    return made | {t.name: t for g in graphs for t in g.initializer}


def _refuse(nodes: list[onnx.NodeProto], op_type: str, applies: bool, why: str) -> None:
    """Say which nodes of an old opset have a meaning that newer ones cannot express."""
    named = [n.name or n.output[0] for n in nodes if n.op_type == op_type]
    if applies and named:
        remedy = "Remedy: export with opset 14 or newer."
        raise UnsupportedModelError(f"{op_type} of this old opset {why}, which opset {OPSET} cannot say: {', '.join(named)}. {remedy}")


# ---- down: newer operators by the bodies that define them, the others by name ----


def _expand(model: onnx.ModelProto) -> onnx.ModelProto:
    """Write the operators that `OPSET` lacks as those that it has.

    Newer opsets mostly added types: a node that the older schema also describes keeps its meaning under it.
    """
    for _ in range(_NESTED):  # a body may hold such operators again
        if all(map(_stays, nodes_of(model.graph))):
            return model
        model = _expand_once(model)
    raise UnsupportedModelError("the functions that define the operators of this model are nested too deeply")


def _relabel(model: onnx.ModelProto) -> None:
    """Call the opset `OPSET`; attributes that only newer schemas have stand at their defaults by now."""
    for n in nodes_of(model.graph):
        old = _schema(n.op_type, OPSET, n.domain)
        if old is not None:
            _drop_attributes(n, {a.name for a in n.attribute} - set(old.attributes))
    _set_version(model, OPSET)
    model.ir_version = IR_VERSION


def _expand_once(model: onnx.ModelProto) -> onnx.ModelProto:
    version = {o.domain: o.version for o in model.opset_import}
    types = types_of(infer(_copied(model)))
    stuck = []
    for n in [n for n in nodes_of(model.graph) if not _stays(n)]:
        if (body := _body(n, types, version)) is None:
            stuck.append(f"{n.op_type} {n.name or n.output[0]!r}")
        else:
            body.domain, body.name = n.domain, n.op_type = _HOME, f"{n.op_type}_{len(model.functions)}"
            model.functions.append(body)
    if stuck:
        remedy = f"Remedy: export with opset {OPSET} or lower."
        raise UnsupportedModelError(f"opset {OPSET} cannot say what these operators of opset {version.get('', OPSET)} do: {'; '.join(stuck)}. {remedy}")
    model.opset_import.append(helper.make_opsetid(_HOME, 1))
    for g in graphs_of(model.graph):  # the inliner knows the types of what is declared alone
        declared = {v.name for v in (*g.input, *g.value_info, *g.output)}
        told = dict.fromkeys(o for n in g.node for o in n.output if o in types and o not in declared)
        g.value_info.extend(onnx.ValueInfoProto(name=o, type=types[o]) for o in told)
        g.value_info.extend(helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in g.initializer)
    model = _edge("write newer operators as older ones", lambda: onnx.inliner.inline_local_functions(model, convert_version=True))
    _set_version(model, version.get("", OPSET))
    return model


def _copied(message: Any) -> Any:
    copy = type(message)()
    copy.CopyFrom(message)
    return copy


def _stays(n: onnx.NodeProto) -> bool:
    """Whether the schema of `OPSET` describes the node: same operator, its attributes, its number of inputs and outputs."""
    if n.domain not in STANDARD:
        return True
    old = _schema(n.op_type, OPSET, n.domain)
    if old is None:
        return False
    new = onnx.defs.get_schema(n.op_type, n.domain)
    for a in n.attribute:
        if a.name not in old.attributes:
            default = new.attributes[a.name].default_value if a.name in new.attributes else onnx.AttributeProto()
            if helper.get_attribute_value(a) != (helper.get_attribute_value(default) if default.name else None):
                return False
    return len(n.input) <= old.max_input and len(n.output) <= old.max_output


@cache
def _schema(op_type: str, version: int, domain: str) -> onnx.defs.OpSchema | None:
    try:
        return onnx.defs.get_schema(op_type, version, domain) if not domain else None
    except onnx.defs.SchemaError:
        return None


def _body(n: onnx.NodeProto, types: dict[str, onnx.TypeProto], version: dict[str, int]) -> onnx.FunctionProto | None:
    """What the node means, as a function of simpler operators; None where nothing simpler is known.

    ONNX's inliner can find it too, but not where an optional input in the middle is omitted.
    """
    known = types.get(n.input[0], onnx.TypeProto()).tensor_type if n.op_type in _BODIES else onnx.TypeProto.Tensor()
    if known.HasField("shape") and (text := _BODIES[n.op_type](n, known)) is not None:
        body = onnx.parser.parse_function(text)
    else:
        schema = onnx.defs.get_schema(n.op_type, version.get(n.domain, 1), n.domain)
        named = {a.name for a in n.attribute}
        n.attribute.extend(a.default_value for name, a in schema.attributes.items() if name not in named and a.default_value.name)
        if schema.has_context_dependent_function:
            given = [types.get(i, onnx.TypeProto()).SerializeToString() for i in n.input]
            data = _edge(f"expand {n.op_type} {n.name or n.output[0]!r}", lambda: schema.get_context_dependent_function(n.SerializeToString(), given))
            body = onnx.FunctionProto.FromString(data)
        elif schema.has_function:
            body = _copied(schema.function_body)
        else:
            return None
    model_opset = version.get("", OPSET)
    own = next((o.version for o in body.opset_import if o.domain == ""), model_opset)
    del body.opset_import[:]
    body.opset_import.append(helper.make_opsetid("", own if own <= OPSET else model_opset))
    return body


def _cumulative_product(n: onnx.NodeProto, x: onnx.TypeProto.Tensor) -> str:
    """All prefixes side by side along a new axis, ones behind each end, and their products. All ranks stay known."""
    rank = len(x.shape.dim)
    older, newer = ("j", "i") if not attribute(n, "reverse", 0) else ("i", "j")
    keep = f"Less({older}, {newer})" if attribute(n, "exclusive", 0) else f"LessOrEqual({older}, {newer})"
    return f"""<opset_import: ["": {OPSET}], domain: "{_HOME}">
    CumProd (x, axis) => (y) {{
        zero = Constant <value_int = 0> ()
        one = Constant <value_int = 1> ()
        first = Constant <value_ints = [0]> ()
        second = Constant <value_ints = [1]> ()
        rank = Constant <value_ints = [{rank}]> ()
        axes = Constant <value_ints = {list(range(rank + 1))}> ()
        given = Cast <to = 7> (axis)
        at = Reshape (given, second)
        negative = Less (at, first)
        shifted = Add (at, rank)
        a = Where (negative, shifted, at)
        a1 = Add (a, second)
        shape = Shape (x)
        extents = Concat <axis = 0> (shape, second)
        before = Less (axes, a)
        previous = Sub (axes, second)
        behind = Where (before, axes, previous)
        new = Equal (axes, a)
        sources = Where (new, rank, behind)
        x_shape = Gather (extents, sources)
        xs = Reshape (x, x_shape)
        n = Gather (shape, a)
        next = Equal (axes, a1)
        either = Or (new, next)
        mask_shape = Where (either, n, second)
        n0 = Squeeze (n, first)
        places = Range (zero, n0, one)
        i = Unsqueeze (places, second)
        j = Unsqueeze (places, first)
        keep = {keep}
        mask = Reshape (keep, mask_shape)
        neutral = CastLike (one, x)
        factors = Where (mask, xs, neutral)
        products = ReduceProd (factors, a1)
        y = Reshape (products, shape)
    }}"""


def _tensor_scatter(n: onnx.NodeProto, x: onnx.TypeProto.Tensor) -> str:
    """The update's places along the axis, from where each sample starts to write."""
    rank = len(x.shape.dim)
    axis, circular = attribute(n, "axis", -2), attribute(n, "mode", b"linear") == b"circular"
    start = "Reshape (write_indices, minus)" if len(n.input) > 2 and n.input[2] else "Identity (first)"
    return f"""<opset_import: ["": {OPSET}], domain: "{_HOME}">
    TensorScatter (past_cache, update, write_indices) => (present_cache) {{
        zero = Constant <value_int = 0> ()
        one = Constant <value_int = 1> ()
        first = Constant <value_ints = [0]> ()
        second = Constant <value_ints = [1]> ()
        minus = Constant <value_ints = [-1]> ()
        axis = Constant <value_ints = [{axis}]> ()
        given = {start}
        shape = Shape (update)
        rank = Constant <value_ints = [{rank}]> ()
        extents = Shape (past_cache)
        n = Gather (shape, axis)
        n0 = Squeeze (n, first)
        steps = Range (zero, n0, one)
        ones = Expand (second, rank)
        along = ScatterElements (ones, axis, minus)
        across = ScatterElements (ones, first, minus)
        places = Reshape (steps, along)
        starts = Reshape (given, across)
        linear = Add (starts, places)
        extent = Gather (extents, axis)
        indices = {"Mod (linear, extent)" if circular else "Identity (linear)"}
        wide = Expand (indices, shape)
        present_cache = ScatterElements <axis = {axis}> (past_cache, wide, update)
    }}"""


def _rms_norm(n: onnx.NodeProto, x: onnx.TypeProto.Tensor) -> str | None:
    """As exporters spell it, so that it is recognised; the schema's body asks for the rank."""
    rank = len(x.shape.dim)
    if x.elem_type != onnx.TensorProto.FLOAT or not rank:
        return None
    return f"""<opset_import: ["": {OPSET}], domain: "{_HOME}">
    RMSNormalization (x, scale) => (y) {{
        axes = Constant <value_ints = {list(range(attribute(n, "axis", -1) % rank, rank))}> ()
        epsilon = Constant <value_float = {attribute(n, "epsilon", 1e-5)}> ()
        square = Mul (x, x)
        mean = ReduceMean (square, axes)
        moved = Add (mean, epsilon)
        deviation = Sqrt (moved)
        unit = Div (x, deviation)
        y = Mul (unit, scale)
    }}"""


_BODIES: dict[str, Callable[[onnx.NodeProto, onnx.TypeProto.Tensor], str | None]] = {
    "CumProd": _cumulative_product,
    "TensorScatter": _tensor_scatter,
    "RMSNormalization": _rms_norm,
}
"""Operators whose schemas have no body, or none that can be read: it is written for the type of the first input."""
