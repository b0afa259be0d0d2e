"""Every VJP against finite differences, with known shapes and with symbolic ones."""

import importlib
import inspect

import onnx
import pytest
from harness import check

from onnxplain.ops import KINDS, OPS

FAMILIES = ["elementwise", "gather", "interpolation", "linear", "movement", "normalization", "pooling", "reduction"]
CASES = {}
for family in FAMILIES:
    CASES |= importlib.import_module(f"cases_{family}").CASES
ROWS = [c for rows in CASES.values() for c in rows]


def _home(name):
    return OPS[name].vjp.__module__.rpartition(".")[2]


@pytest.mark.parametrize("c", ROWS, ids=str)
def test_vjp_at_known_shapes(c):
    check(c)


@pytest.mark.parametrize("c", [c for c in ROWS if c.symbolic], ids=str)
def test_vjp_at_symbolic_shapes(c):
    check(c, symbolic=True)


def test_every_operator_has_rows():
    assert set(CASES) == {n for n, o in OPS.items() if o.kind != "zero" and _home(n) in FAMILIES}


@pytest.mark.parametrize("name", [n for n in OPS if _home(n) in FAMILIES])
def test_a_rule_takes_what_the_schema_says(name):
    schema, parameters = onnx.defs.get_schema(name), inspect.signature(OPS[name].vjp).parameters.values()
    assert OPS[name].kind in KINDS
    keywords = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY and not p.name.startswith("_")}
    assert OPS[name].kind == "zero" or any(p.kind is p.VAR_KEYWORD for p in parameters) or keywords <= set(schema.attributes)
    positional = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    if not any(p.kind is p.VAR_POSITIONAL for p in parameters):
        assert len(positional) - 2 == schema.max_input
    assert OPS[name].bias is None or OPS[name].bias < schema.max_input


@pytest.mark.parametrize("name", [n for n, o in OPS.items() if o.defaults and _home(n) in FAMILIES])
def test_a_rule_has_the_schema_s_defaults(name):
    for attribute, default in OPS[name].defaults.items():
        told = onnx.defs.get_schema(name).attributes.get(attribute)
        if told is not None and told.default_value.name:
            value = onnx.helper.get_attribute_value(told.default_value)
            value = value.decode() if isinstance(value, bytes) else value
            default = list(default) if isinstance(default, tuple) else default
            assert default == pytest.approx(value) if isinstance(value, float) else default == value, attribute
