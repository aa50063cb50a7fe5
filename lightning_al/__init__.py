"""Active learning for PyTorch Lightning.

Keep your LightningModule, your LightningDataModule and your Trainer; add an acquisition callback, and write
``ActiveLearningLoop(model, datamodule, ...).run(trainer)`` where ``trainer.fit(model, datamodule)`` stood.
"""

import lazy_loader

__version__ = "0.1.0.dev0"

# Names are listed in `__init__.pyi` and imported when they are first used, so that `lightning-al --help` need not
# wait for torch.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
