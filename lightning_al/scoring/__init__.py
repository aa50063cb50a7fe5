"""Samples looked at and picked by an acquisition, in a campaign or without one."""

from lightning_al.scoring.acquisition_check import check_acquisition
from lightning_al.scoring.race_result import RaceResult
from lightning_al.scoring.scores import Scores
from lightning_al.scoring.without_campaign import score

__all__ = ["RaceResult", "Scores", "check_acquisition", "score"]
