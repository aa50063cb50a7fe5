"""Where labels come from: a simulated oracle, or people."""

from lightning_al.oracle.answers import Answer, Answers, sort_answers
from lightning_al.oracle.base import DATASET, SKIP, Oracle, Unreachable, costs
from lightning_al.oracle.people import AwaitTell, LabelStudio
from lightning_al.oracle.question import OpenQuestion, Prediction
from lightning_al.oracle.simulated import DatasetOracle, NoisyOracle

__all__ = [
    "DATASET",
    "SKIP",
    "Answer",
    "Answers",
    "AwaitTell",
    "DatasetOracle",
    "LabelStudio",
    "NoisyOracle",
    "OpenQuestion",
    "Oracle",
    "Prediction",
    "Unreachable",
    "costs",
    "sort_answers",
]
