"""Looks inside campaigns that kept their weights: what the papers draw beside accuracies.

Each is a function of a model and samples, and one of open campaigns (:func:`open_campaign`), which returns tables and
pictures (:class:`Diagnosis`). ``lightning-al diagnose`` runs them on folders.
"""

from lightning_al.report.diagnostics.accuracy import Predictions, classes, confidence, gap, predictions
from lightning_al.report.diagnostics.agreement import correlation, top_k_overlap
from lightning_al.report.diagnostics.bound import BoundTerms, bound, bound_terms
from lightning_al.report.diagnostics.campaign import KeptCampaign
from lightning_al.report.diagnostics.curvature import loss_eigenvalue
from lightning_al.report.diagnostics.diagnosis import Diagnosis
from lightning_al.report.diagnostics.influence import Influence, influence, influences
from lightning_al.report.diagnostics.landscape import (
    LossLandscape,
    filter_normalised,
    landscape,
    loss_landscape,
    random_directions,
)
from lightning_al.report.diagnostics.norms import falls, loss_gradient_norms, norms
from lightning_al.report.diagnostics.opening import open_campaign
from lightning_al.report.diagnostics.perturbed import losses, perturbed_loss
from lightning_al.report.diagnostics.rounds import KeptRound
from lightning_al.report.diagnostics.seconds import seconds, seconds_of
from lightning_al.report.diagnostics.stability import Stability, label_stability, labels_kept
from lightning_al.report.diagnostics.transfer import transfer
from lightning_al.report.diagnostics.tsne import embedding, tsne

__all__ = [
    "BoundTerms",
    "Diagnosis",
    "Influence",
    "KeptCampaign",
    "KeptRound",
    "LossLandscape",
    "Predictions",
    "Stability",
    "bound",
    "bound_terms",
    "classes",
    "confidence",
    "correlation",
    "embedding",
    "falls",
    "filter_normalised",
    "gap",
    "influence",
    "influences",
    "label_stability",
    "labels_kept",
    "landscape",
    "loss_eigenvalue",
    "loss_gradient_norms",
    "loss_landscape",
    "losses",
    "norms",
    "open_campaign",
    "perturbed_loss",
    "predictions",
    "random_directions",
    "seconds",
    "seconds_of",
    "top_k_overlap",
    "transfer",
    "tsne",
]
