"""Where labels come from: a simulated oracle, or people."""

import lazy_loader

# Files of labels are read and written without waiting for torch.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
