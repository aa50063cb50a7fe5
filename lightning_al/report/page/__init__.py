"""Campaigns as one HTML file."""

from lightning_al.report.page.page import write_html

__all__ = ["write_html"]
