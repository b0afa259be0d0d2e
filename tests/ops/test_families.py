"""Run the rows of the cases_*.py modules, at fixed and at symbolic shapes."""

import importlib

import pytest
from check_vjp import check

CASES = {}
for family in ("losses", "sampling", "signal", "quantized", "recurrent"):
    CASES |= importlib.import_module(f"cases_{family}").CASES


@pytest.mark.parametrize("symbolic", [False, True], ids=["fixed", "symbolic"])
@pytest.mark.parametrize("name", CASES)
def test_vjp(name, symbolic):
    check(CASES[name], symbolic=symbolic)
