from .answers import Answers, sort_answers
from .base import DATASET, Oracle, Unreachable, costs
from .people import AwaitTell, LabelStudio
from .question import OpenQuestion, Prediction
from .simulated import DatasetOracle, NoisyOracle
from .skip import SKIP

__all__ = [
    "DATASET",
    "SKIP",
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
