"""One launch of a campaign: the loop, its rounds, and each step of a round."""

from lightning_al.loop.loop import ActiveLearningLoop

__all__ = ["ActiveLearningLoop"]
