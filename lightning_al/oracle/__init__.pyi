from .answers import Answers, sort_answers
from .base import Oracle, Unreachable, costs
from .people import AwaitTell, Entry, LabelFiles, LabelStudio, Reading, read_labels, write_labels
from .question import OpenQuestion, Prediction
from .simulated import DatasetOracle, NoisyOracle
from .skip import DATASET, SKIP

__all__ = [
    "DATASET",
    "SKIP",
    "Answers",
    "AwaitTell",
    "DatasetOracle",
    "Entry",
    "LabelFiles",
    "LabelStudio",
    "NoisyOracle",
    "OpenQuestion",
    "Oracle",
    "Prediction",
    "Reading",
    "Unreachable",
    "costs",
    "read_labels",
    "sort_answers",
    "write_labels",
]
