from .campaign import Campaign
from .results import INITIAL_ROUND, RoundResult

__all__ = ["INITIAL_ROUND", "Campaign", "RoundResult"]
