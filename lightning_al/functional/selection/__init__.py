"""From scores or features to a batch: which positions to take."""

from lightning_al.functional.selection.badge import badge
from lightning_al.functional.selection.batch_bald import batch_bald
from lightning_al.functional.selection.clusters import cluster_labels
from lightning_al.functional.selection.gcn import core_gcn, gcn_loss, train_gcn, uncertain_gcn
from lightning_al.functional.selection.k_center import k_center_greedy
from lightning_al.functional.selection.kmeans_plusplus import kmeans_plusplus
from lightning_al.functional.selection.prob_cover import coverage_delta, prob_cover
from lightning_al.functional.selection.regions import (
    asked_pixels,
    asked_superpixels,
    blocked_centres,
    pick_squares,
    pick_superpixels,
)
from lightning_al.functional.selection.top_k import top_k
from lightning_al.functional.selection.typiclust import typiclust

__all__ = [
    "asked_pixels",
    "asked_superpixels",
    "badge",
    "batch_bald",
    "blocked_centres",
    "cluster_labels",
    "core_gcn",
    "coverage_delta",
    "gcn_loss",
    "k_center_greedy",
    "kmeans_plusplus",
    "pick_squares",
    "pick_superpixels",
    "prob_cover",
    "top_k",
    "train_gcn",
    "typiclust",
    "uncertain_gcn",
]
