"""Campaigns read back from disk: learning curves, comparisons, tables, pictures."""

from typing import TYPE_CHECKING, Any

from lightning_al.report.alignment import Aligned, align, split_full_data
from lightning_al.report.compare import compare
from lightning_al.report.comparison import Difference, Reach, differences, labels_saved, pairwise_of
from lightning_al.report.curves import Curve, Curves, load_curves, shared_labels
from lightning_al.report.page import write_html
from lightning_al.report.plots import plot, plot_pairwise
from lightning_al.report.statistics import (
    Pairwise,
    Spread,
    holm,
    labels_to_reach,
    last_round,
    max_over_rounds,
    mean_over_curve,
    min_over_rounds,
    paired_t,
    pairwise,
    summarise,
    t_interval,
    wilcoxon,
)
from lightning_al.report.tables import seconds_table, table

if TYPE_CHECKING:
    from lightning_al.report.log_pictures import LogPictures

__all__ = [
    "Aligned",
    "Curve",
    "Curves",
    "Difference",
    "LogPictures",
    "Pairwise",
    "Reach",
    "Spread",
    "align",
    "compare",
    "differences",
    "holm",
    "labels_saved",
    "labels_to_reach",
    "last_round",
    "load_curves",
    "max_over_rounds",
    "mean_over_curve",
    "min_over_rounds",
    "paired_t",
    "pairwise",
    "pairwise_of",
    "plot",
    "plot_pairwise",
    "seconds_table",
    "shared_labels",
    "split_full_data",
    "summarise",
    "t_interval",
    "table",
    "wilcoxon",
    "write_html",
]


def __getattr__(name: str) -> Any:
    """Import the callback where it is asked for: tables and curves are read without waiting for torch."""
    if name == "LogPictures":
        from lightning_al.report.log_pictures import LogPictures

        return LogPictures
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
