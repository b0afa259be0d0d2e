"""Bring any model to the one opset that rules and emitted graphs speak, with ONNX's own tools."""

from __future__ import annotations

import onnx
import onnx.checker
import onnx.inliner
import onnx.shape_inference
import onnx.version_converter
from onnx import helper

from .errors import InvalidModelError, UnsupportedModelError
from .graph import subgraphs
from .tape import IR_VERSION, OPSET

LOWEST = 7


def to_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    """Check, inline functions, convert to `OPSET`, and infer shapes; the model is a light copy and may be changed."""
    _check(model)
    if model.functions:
        model = _edge("inline its functions", lambda: onnx.inliner.inline_local_functions(model, convert_version=True))
    version = _version(model)
    if version < LOWEST:
        raise UnsupportedModelError(f"the model has opset {version}; onnxplain takes {LOWEST} and newer: convert it with onnx.version_converter")
    if version > OPSET:
        _lower(model, version)
    elif version < OPSET:
        model = _raise(model, version)
    model.ir_version = IR_VERSION
    return _edge("infer its shapes", lambda: onnx.shape_inference.infer_shapes(model, data_prop=True))


def _edge(what: str, action):
    """Run one of ONNX's C++ tools; its exceptions become one clear line."""
    try:
        return action()
    except Exception as error:
        raise InvalidModelError(f"ONNX could not {what}: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__


def _check(model: onnx.ModelProto) -> None:
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        unknown = {n.domain for n in model.graph.node} - {o.domain for o in model.opset_import} - {"", "ai.onnx"}
        hint = f" (domains without an opset_import: {', '.join(sorted(unknown))})" if unknown else ""
        raise InvalidModelError(f"the model fails ONNX's checker: {_first_line(error)}{hint}") from None


def _version(model: onnx.ModelProto) -> int:
    return next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), OPSET)


def _set_version(model: onnx.ModelProto, version: int) -> None:
    others = [o for o in model.opset_import if o.domain not in ("", "ai.onnx")]
    del model.opset_import[:]
    model.opset_import.extend([helper.make_opsetid("", version), *others])


# ---- up ----


def _raise(model: onnx.ModelProto, version: int) -> onnx.ModelProto:
    hardmax = [n.name or n.output[0] for n in _nodes(model.graph) if version < 13 and n.op_type == "Hardmax"]
    if hardmax:
        raise UnsupportedModelError(f"Hardmax of opset {version} flattens its input, which cannot be converted: {', '.join(hardmax)}. Remedy: re-export at opset 13 or newer.")
    asymmetric = {n.output[0] for n in _nodes(model.graph) if version < 11 and _is_linear_resize(n)}
    model = _edge(f"convert opset {version} to {OPSET}", lambda: onnx.version_converter.convert_version(model, OPSET))
    for n in _nodes(model.graph):
        if n.op_type == "Resize" and n.output[0] in asymmetric:
            # The converter leaves half_pixel, the newer default, where the old operators were asymmetric.
            kept = [a for a in n.attribute if a.name != "coordinate_transformation_mode"]
            del n.attribute[:]
            n.attribute.extend([*kept, helper.make_attribute("coordinate_transformation_mode", "asymmetric")])
    return model


def _is_linear_resize(n: onnx.NodeProto) -> bool:
    mode = next((a.s for a in n.attribute if a.name == "mode"), b"nearest")
    return n.op_type in ("Upsample", "Resize") and mode != b"nearest"


def _nodes(graph: onnx.GraphProto):
    """All nodes, those of subgraphs included."""
    for n in graph.node:
        yield n
        for g in subgraphs(n):
            yield from _nodes(g)


# ---- down: newer operators by their own function bodies, the others by name ----


def _lower(model: onnx.ModelProto, version: int) -> None:
    """Newer opsets mostly added types: a node that the older schema also describes keeps its meaning under it."""
    born_later = sorted({n.op_type for n in _nodes(model.graph) if n.domain in ("", "ai.onnx") and not _fits(n)})
    for _ in range(8):  # a body may hold functions again
        born_later = sorted({n.op_type for n in _nodes(model.graph) if n.domain in ("", "ai.onnx") and not _fits(n)})
        if not born_later:
            break
        ids = [("", op_type) for op_type in born_later]
        try:
            inlined = onnx.inliner.inline_selected_functions(model, ids, exclude=False, inline_schema_functions=True)
        except Exception:
            break
        if inlined.SerializeToString() == model.SerializeToString():
            break
        model.CopyFrom(inlined)
    if born_later:
        raise UnsupportedModelError(f"the model has opset {version}, and these operators cannot be written in opset {OPSET}: {', '.join(born_later)}. Remedy: export with opset {OPSET} or lower.")
    _set_version(model, OPSET)


def _fits(n: onnx.NodeProto) -> bool:
    """Whether the schema of `OPSET` describes the node: same operator, its attributes, its number of inputs and outputs."""
    try:
        old = onnx.defs.get_schema(n.op_type, OPSET, "")
    except onnx.defs.SchemaError:
        return False
    new = onnx.defs.get_schema(n.op_type, "")
    for a in n.attribute:
        if a.name not in old.attributes:
            default = new.attributes[a.name].default_value if a.name in new.attributes else None
            if default is None or helper.get_attribute_value(a) != (helper.get_attribute_value(default) if default.name else None):
                return False
    return len(n.input) <= old.max_input and len(n.output) <= old.max_output
