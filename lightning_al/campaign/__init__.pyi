from .campaign import Campaign
from .history import History
from .results import INITIAL_ROUND, RoundResult
from .standing import Sample, Standing
from .told import NeedsProject, Problems, Told, tell_campaign

__all__ = [
    "INITIAL_ROUND",
    "Campaign",
    "History",
    "NeedsProject",
    "Problems",
    "RoundResult",
    "Sample",
    "Standing",
    "Told",
    "tell_campaign",
]
