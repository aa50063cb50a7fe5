"""Campaigns read back from disk: learning curves, tables, pictures."""

from lightning_al.report.compare import compare
from lightning_al.report.curves import Curve, Curves, load_curves, shared_labels
from lightning_al.report.plots import plot
from lightning_al.report.statistics import Spread, max_over_rounds, mean_over_curve, min_over_rounds, summarise
from lightning_al.report.tables import seconds_table, table

__all__ = [
    "Curve",
    "Curves",
    "Spread",
    "compare",
    "load_curves",
    "max_over_rounds",
    "mean_over_curve",
    "min_over_rounds",
    "plot",
    "seconds_table",
    "shared_labels",
    "summarise",
    "table",
]
