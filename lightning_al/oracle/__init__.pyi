from .answers import Answers, sort_answers
from .base import DATASET, Oracle, costs
from .people import AwaitTell, Entry, LabelFiles, Reading, read_labels, write_labels
from .simulated import DatasetOracle, NoisyOracle
from .skip import SKIP

__all__ = [
    "DATASET",
    "SKIP",
    "Answers",
    "AwaitTell",
    "DatasetOracle",
    "Entry",
    "LabelFiles",
    "NoisyOracle",
    "Oracle",
    "Reading",
    "costs",
    "read_labels",
    "sort_answers",
    "write_labels",
]
