"""The maths, in pure torch: tensors (or a model and tensors) in, tensors out. Larger score = more wanted."""

from lightning_al.functional.adversarial import adversarial_loss, discriminator_loss, state_uncertainty, vae_loss
from lightning_al.functional.bald import bald, mean_entropy, variation_ratio
from lightning_al.functional.batch_bald import batch_bald
from lightning_al.functional.clusters import cluster_labels
from lightning_al.functional.committee import consensus_kl, vote_entropy
from lightning_al.functional.gcn import core_gcn, gcn_loss, train_gcn, uncertain_gcn
from lightning_al.functional.gradient_norm import gradient_norm
from lightning_al.functional.graph import graph_adjacency
from lightning_al.functional.loss_prediction import loss_prediction_loss
from lightning_al.functional.mc_dropout import mc_dropout
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
    "adversarial_loss",
    "badge",
    "bald",
    "batch_bald",
    "cluster_labels",
    "consensus_kl",
    "core_gcn",
    "coverage_delta",
    "cross_entropy",
    "discriminator_loss",
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
    "mc_dropout",
    "mean_entropy",
    "prob_cover",
    "saal",
    "sharpness_bound",
    "state_uncertainty",
    "top_k",
    "train_gcn",
    "typiclust",
    "uncertain_gcn",
    "vae_loss",
    "variation_ratio",
    "vote_entropy",
    "worst_case_perturbation",
]
