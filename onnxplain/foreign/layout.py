"""The two places where channels may stand."""

from __future__ import annotations

from ..tape import Var, op


def first(x: Var) -> Var:
    """Channels from the last axis to the second."""
    return op.Transpose(x, perm=[0, x.rank - 1, *range(1, x.rank - 1)])


def last(x: Var) -> Var:
    """Channels from the second axis to the last."""
    return op.Transpose(x, perm=[0, *range(2, x.rank), 1])
