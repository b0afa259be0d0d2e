"""Rules for ReLUs."""

from __future__ import annotations

from ..backward import Call
from ..tape import Var, op


def guided(g: Var, f: Call):
    """Only positive values, and only through active units (Springenberg et al. 2015)."""
    return f.vjp(op.Relu(g))


def deconvnet(g: Var, f: Call):
    """Only positive values, through every unit (Zeiler and Fergus 2014)."""
    return [op.Relu(g)]
