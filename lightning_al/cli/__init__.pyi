from .commands import main
from .run import ActiveLearningCLI, ActiveTrainer, SaveCampaignConfig

__all__ = ["ActiveLearningCLI", "ActiveTrainer", "SaveCampaignConfig", "main"]
