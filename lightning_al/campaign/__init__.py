"""The ledger on disk: events, labels, and states beside it."""

import lazy_loader

# Tables and curves read results alone, without waiting for torch.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
