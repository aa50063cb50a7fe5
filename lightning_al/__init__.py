"""Active learning for PyTorch Lightning.

Keep your LightningModule, your LightningDataModule and your Trainer; add an acquisition callback, and write
``ActiveLearningLoop(model, datamodule, ...).run(trainer)`` where ``trainer.fit(model, datamodule)`` stood.
"""

import lazy_loader

__version__ = "0.1.0.dev0"

# Names and rooms are listed in `__init__.pyi` and imported when they are first used, so that `lightning-al --help` need
# not wait for torch. A star brings the names alone.
__getattr__, __dir__, _listed = lazy_loader.attach_stub(__name__, __file__)
_ROOMS = ("acquisition", "campaign", "data", "functional", "gradients", "nn", "oracle", "report", "stopping", "tasks")
_ROOMS += ("training", "zoo")
__all__ = [name for name in _listed if name not in _ROOMS]
