"""One launch of a campaign: Algorithm 1 and its steps."""

from lightning_al.loop.loop import ActiveLearningLoop

__all__ = ["ActiveLearningLoop"]
