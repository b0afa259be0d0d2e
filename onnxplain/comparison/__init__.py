"""Explanations side by side: methods × inputs, classes, models or values of a parameter, in one figure."""

from .compare import METHODS, compare

__all__ = ["METHODS", "compare"]
