"""Explain the predictions of any neural network from its ONNX file, with no training framework."""

from .differentiate import vjp
from .errors import InputError, InvalidModelError, OnnxplainError, SessionError, UnsupportedModelError
from .explainer import Explainer, explain
from .explanation import Explanation
from .listing import Coverage, check, composites, methods, rules
from .model import Model, load
from .several import Explainers

__all__ = [
    "Coverage",
    "Explainer",
    "Explainers",
    "Explanation",
    "InputError",
    "InvalidModelError",
    "Model",
    "OnnxplainError",
    "SessionError",
    "UnsupportedModelError",
    "check",
    "composites",
    "explain",
    "load",
    "methods",
    "rules",
    "vjp",
]
