"""Explanations side by side: methods × inputs, classes, models or values of a parameter, in one figure."""

from .compare import DEFAULT_METHODS, compare

__all__ = ["DEFAULT_METHODS", "compare"]
