"""Where labels come from: a simulated oracle, or people."""

from lightning_al.oracle.answers import Answers, sort_answers
from lightning_al.oracle.base import DATASET, SKIP, Oracle, costs
from lightning_al.oracle.people import AwaitTell
from lightning_al.oracle.simulated import DatasetOracle, NoisyOracle

__all__ = ["DATASET", "SKIP", "Answers", "AwaitTell", "DatasetOracle", "NoisyOracle", "Oracle", "costs", "sort_answers"]
