"""Oracles for labels that people give, one for each way in which their answers come in, and what several say."""

import lazy_loader

# Files of labels are read and written without waiting for torch.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
