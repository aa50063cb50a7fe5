"""Acquisitions: which samples to label next. Each is a Lightning callback."""

from lightning_al.acquisition.badge import BADGE
from lightning_al.acquisition.base import Acquisition
from lightning_al.acquisition.diversity import CoreSet, ProbCover, TypiClust
from lightning_al.acquisition.gcn import CoreGCN, UncertainGCN
from lightning_al.acquisition.gradient_norm import EntropyGradNorm, ExpectedGradNorm
from lightning_al.acquisition.loss_prediction import LearningLoss, LPLGrad
from lightning_al.acquisition.random import Random
from lightning_al.acquisition.saal import SAAL
from lightning_al.acquisition.uncertainty import Entropy, LeastConfidence, Margin

__all__ = [
    "BADGE",
    "SAAL",
    "Acquisition",
    "CoreGCN",
    "CoreSet",
    "Entropy",
    "EntropyGradNorm",
    "ExpectedGradNorm",
    "LPLGrad",
    "LearningLoss",
    "LeastConfidence",
    "Margin",
    "ProbCover",
    "Random",
    "TypiClust",
    "UncertainGCN",
]
