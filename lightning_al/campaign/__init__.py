"""The ledger on disk: events, labels, and states beside it."""

from lightning_al.campaign.campaign import INITIAL_ROUND, Campaign
from lightning_al.campaign.results import RoundResult

__all__ = ["INITIAL_ROUND", "Campaign", "RoundResult"]
