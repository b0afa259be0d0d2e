"""Measure explanations: which method, and which of its parameters, to trust for a model."""

from .agreeing import SIMILARITIES, agreement
from .baselines import BASELINES
from .boxes import Boxes
from .comparing import compare
from .conciseness import complexity, sparseness
from .faithfulness import completeness, deletion, infidelity, insertion, relevance_gain, sensitivity_n
from .fills import FILLS
from .localisation import box_ratio, pointing_game, relevance_mass, relevance_rank
from .metric import METRICS, Metric
from .randomising import layers, randomisation, redrawn
from .result import Result
from .robustness import max_sensitivity
from .searching import Search, search

__all__ = [
    "BASELINES",
    "FILLS",
    "METRICS",
    "SIMILARITIES",
    "Boxes",
    "Metric",
    "Result",
    "Search",
    "agreement",
    "box_ratio",
    "compare",
    "completeness",
    "complexity",
    "deletion",
    "infidelity",
    "insertion",
    "layers",
    "max_sensitivity",
    "pointing_game",
    "randomisation",
    "redrawn",
    "relevance_gain",
    "relevance_mass",
    "relevance_rank",
    "search",
    "sensitivity_n",
    "sparseness",
]
