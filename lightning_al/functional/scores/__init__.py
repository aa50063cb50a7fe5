"""A value for each sample: how much its label is wanted."""

from lightning_al.functional.scores.disagreement import bald, consensus_kl, mean_entropy, variation_ratio, vote_entropy
from lightning_al.functional.scores.gradient_norm import gradient_norm
from lightning_al.functional.scores.mc_dropout import mc_dropout
from lightning_al.functional.scores.perturbation import worst_case_perturbation
from lightning_al.functional.scores.perturbed_outputs import perturbed_outputs
from lightning_al.functional.scores.probabilities import cross_entropy, log_probabilities
from lightning_al.functional.scores.real_values import model_change, prediction_variance
from lightning_al.functional.scores.regions import (
    region_impurity,
    ripu_map,
    superpixel_impurity,
    superpixel_mean,
    window_mean,
)
from lightning_al.functional.scores.saal import perturbed_pixel_losses, saal
from lightning_al.functional.scores.sharpness import SharpnessBound, sharpness_bound
from lightning_al.functional.scores.uncertainty import entropy, least_confidence, margin

__all__ = [
    "SharpnessBound",
    "bald",
    "consensus_kl",
    "cross_entropy",
    "entropy",
    "gradient_norm",
    "least_confidence",
    "log_probabilities",
    "margin",
    "mc_dropout",
    "mean_entropy",
    "model_change",
    "perturbed_outputs",
    "perturbed_pixel_losses",
    "prediction_variance",
    "region_impurity",
    "ripu_map",
    "saal",
    "sharpness_bound",
    "superpixel_impurity",
    "superpixel_mean",
    "variation_ratio",
    "vote_entropy",
    "window_mean",
    "worst_case_perturbation",
]
