"""A report as one HTML file that needs nothing from elsewhere."""

from .report import DEFAULT_METHODS, report

__all__ = ["DEFAULT_METHODS", "report"]
