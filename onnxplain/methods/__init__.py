"""Explanation methods: each is its parameters and one formula."""

from . import (  # noqa: F401  (they fill METHODS)
    ablation,
    cam,
    deeplift,
    gradient,
    layer,
    lime,
    noise,
    occlusion,
    path,
    pattern,
    prediction_difference,
    rectified,
    relevance,
    rise,
    shapley,
)
from .average import Average
from .base import METHODS, Method, method, method_of
from .perturbation import Perturbation
from .point import Point

__all__ = ["METHODS", "Average", "Method", "Perturbation", "Point", "method", "method_of"]
