from .answers import Answers, sort_answers
from .base import DATASET, Oracle, costs
from .people import AwaitTell
from .simulated import DatasetOracle, NoisyOracle
from .skip import SKIP

__all__ = ["DATASET", "SKIP", "Answers", "AwaitTell", "DatasetOracle", "NoisyOracle", "Oracle", "costs", "sort_answers"]
