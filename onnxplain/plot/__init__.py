"""Draw explanations: `show` one attribution, `grid` inputs × methods, `html` and `terminal` for texts, `save` the figure."""

from .draw import KINDS, show
from .grid import check_name, grid, save
from .text import html, terminal
from .visuals import VISUALS, Visual, visuals

__all__ = ["KINDS", "VISUALS", "Visual", "check_name", "grid", "html", "save", "show", "terminal", "visuals"]
