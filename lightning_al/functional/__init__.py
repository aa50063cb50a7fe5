"""The maths, in pure torch: tensors (or a model and tensors) in, tensors out. Larger score = more wanted."""

from lightning_al.functional.clusters import cluster_labels
from lightning_al.functional.gcn import core_gcn, gcn_loss, train_gcn, uncertain_gcn
from lightning_al.functional.gradient_norm import gradient_norm
from lightning_al.functional.graph import graph_adjacency
from lightning_al.functional.loss_prediction import loss_prediction_loss
from lightning_al.functional.perturbation import worst_case_perturbation
from lightning_al.functional.prob_cover import coverage_delta, prob_cover
from lightning_al.functional.probabilities import cross_entropy, log_probabilities
from lightning_al.functional.saal import saal
from lightning_al.functional.selection import badge, k_center_greedy, kmeans_plusplus, top_k
from lightning_al.functional.sharpness import SharpnessBound, sharpness_bound
from lightning_al.functional.typiclust import typiclust
from lightning_al.functional.uncertainty import entropy, least_confidence, margin

__all__ = [
    "SharpnessBound",
    "badge",
    "cluster_labels",
    "core_gcn",
    "coverage_delta",
    "cross_entropy",
    "entropy",
    "gcn_loss",
    "gradient_norm",
    "graph_adjacency",
    "k_center_greedy",
    "kmeans_plusplus",
    "least_confidence",
    "log_probabilities",
    "loss_prediction_loss",
    "margin",
    "prob_cover",
    "saal",
    "sharpness_bound",
    "top_k",
    "train_gcn",
    "typiclust",
    "uncertain_gcn",
    "worst_case_perturbation",
]
