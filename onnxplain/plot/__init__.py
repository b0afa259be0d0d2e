"""Draw explanations: `show` one attribution, `grid` inputs × methods, `save` the figure."""

from .draw import check_name, grid, save, show

__all__ = ["check_name", "grid", "save", "show"]
