"""What a batch means: inputs, targets, outputs, losses."""

import lazy_loader

# What people say of samples is read without waiting for torch.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
