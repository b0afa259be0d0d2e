"""Explanation methods: each is its parameters and one formula."""

from . import deeplift, gradient, noise, path, pattern, rectified, relevance  # noqa: F401  (they fill METHODS)
from .base import METHODS, Average, Method, Point, method

__all__ = ["METHODS", "Average", "Method", "Point", "method"]
