"""Read a serialised model without its big weights.

Protobuf would copy every weight as it parses. Here the few message types that lead to a tensor's `raw_data` are walked on the
wire; big ones are left out, and the tensor says which, so that what protobuf parses is small.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx
from google.protobuf.message import DecodeError

__all__ = ["BIG", "CutOffError", "DecodeError", "parse", "refer", "reference"]

BIG = 8192
"""Raw data of more bytes are left out."""
_KEY = "onnxplain.left_out"
_RAW_DATA = 9
_MESSAGES: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph"},
    "graph": {1: "node", 5: "tensor"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 11: "graph"},
    "tensor": {_RAW_DATA: ""},
}
"""Field numbers of onnx.proto: those that lead on, and to what."""


class CutOffError(ValueError):
    """The bytes end in the middle of a field, or are no protobuf message."""


def parse(data: memoryview) -> tuple[onnx.ModelProto, list[memoryview]]:
    """The model, with `raw_data` of more than `BIG` bytes left out, and these; `reference` says whose they are."""
    left_out: list[memoryview] = []
    return onnx.ModelProto.FromString(_light(data, "model", left_out)), left_out


def refer(tensor: onnx.TensorProto, index: int) -> onnx.TensorProto:
    """Let a tensor say that its data are left out."""
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key=_KEY, value=str(index))
    return tensor


def reference(tensor: onnx.TensorProto) -> int | None:
    """Which of what was left out is this tensor's; None if it has its own data."""
    return next((int(e.value) for e in tensor.external_data if e.key == _KEY and e.value.isdecimal()), None)


def _light(data: memoryview, message: str, left_out: list[memoryview]) -> bytes:
    """The message without big raw data, which are appended to `left_out`."""
    children, parts, at, copied = _MESSAGES[message], [], 0, 0
    while at < len(data):
        start = at
        tag, at = _varint(data, at)
        field, wire = tag >> 3, tag & 7
        if wire == 2:
            length, at = _varint(data, at)
            body, at = data[at : at + length], at + length
            if length > BIG and field in children and at <= len(data):
                parts.append(data[copied:start])
                copied = at
                if field == _RAW_DATA:
                    parts.append(refer(onnx.TensorProto(), len(left_out)).SerializeToString())
                    left_out.append(body)
                else:
                    light = _light(body, children[field], left_out)
                    parts += [_encoded(tag), _encoded(len(light)), light]
        elif wire in (0, 1, 5):
            at = _varint(data, at)[1] if wire == 0 else at + (8 if wire == 1 else 4)
        else:
            raise CutOffError(f"no protobuf message: wire type {wire} at byte {start}")
        if at > len(data):
            raise CutOffError(f"cut off: a field of {message} wants {at - len(data)} bytes more")
    parts.append(data[copied:])
    return b"".join(parts)


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """The number that starts at a byte, and where it ends."""
    value = shift = 0
    while at < len(data) and shift < 70:
        byte = data[at]
        value |= (byte & 127) << shift
        at += 1
        if byte < 128:
            return value, at
        shift += 7
    raise CutOffError("cut off in the middle of a number")


def _encoded(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)
