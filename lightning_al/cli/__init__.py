"""The commands of ``lightning-al``, each in a file of its own. What a command needs is imported when it runs."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
