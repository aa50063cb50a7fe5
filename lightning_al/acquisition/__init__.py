"""Acquisitions: which samples to label next. Each is a Lightning callback."""

from lightning_al.acquisition.adversarial.sraal import SRAAL
from lightning_al.acquisition.adversarial.vaal import VAAL
from lightning_al.acquisition.badge import BADGE
from lightning_al.acquisition.base import Acquisition
from lightning_al.acquisition.committee import QueryByCommittee
from lightning_al.acquisition.diversity import CoreSet, ProbCover, TypiClust
from lightning_al.acquisition.gcn import CoreGCN, UncertainGCN
from lightning_al.acquisition.gradient_norm import EntropyGradNorm, ExpectedGradNorm
from lightning_al.acquisition.loss_prediction import LearningLoss, LPLGrad
from lightning_al.acquisition.mc_dropout import BALD, BatchBALD, MCDropout
from lightning_al.acquisition.random import Random
from lightning_al.acquisition.ripu import RIPU
from lightning_al.acquisition.risaal import RISAAL
from lightning_al.acquisition.saal import SAAL
from lightning_al.acquisition.uncertainty import Entropy, LeastConfidence, Margin

__all__ = [
    "BADGE",
    "BALD",
    "RIPU",
    "RISAAL",
    "SAAL",
    "SRAAL",
    "VAAL",
    "Acquisition",
    "BatchBALD",
    "CoreGCN",
    "CoreSet",
    "Entropy",
    "EntropyGradNorm",
    "ExpectedGradNorm",
    "LPLGrad",
    "LearningLoss",
    "LeastConfidence",
    "MCDropout",
    "Margin",
    "ProbCover",
    "QueryByCommittee",
    "Random",
    "TypiClust",
    "UncertainGCN",
]
