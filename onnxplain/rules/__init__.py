"""Propagation rules, and the tables that say which node takes which."""

from .composites import COMPOSITES, CONVENTIONS, Composite, Params, require_taken, row, stabilizer
from .lrp import RULES, Stabilizer

__all__ = ["COMPOSITES", "CONVENTIONS", "RULES", "Composite", "Params", "Stabilizer", "require_taken", "row", "stabilizer"]
