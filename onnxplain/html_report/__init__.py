"""A report as one HTML file that needs nothing from elsewhere."""

from .report import METHODS, report

__all__ = ["METHODS", "report"]
