"""What a notebook or a shell offers after a dot: what users need, and not what one room of the package is to others."""

from collections.abc import Iterable
from typing import ClassVar


class OffersLess:
    """Leaves names out of ``dir()``, and so out of tab completion; they work as ever.

    A class names its own in ``_not_offered``, separated by spaces; those of its bases are left out too.

    Example:
        >>> class Lamp(OffersLess):
        ...     _not_offered = "wire"
        ...     light = wire = 1
        >>> "light" in dir(Lamp()), "wire" in dir(Lamp()), Lamp().wire
        (True, False, 1)
    """

    _not_offered: ClassVar[str] = ""

    def __dir__(self) -> Iterable[str]:
        hidden = {name for base in type(self).__mro__ for name in vars(base).get("_not_offered", "").split()}
        return [name for name in super().__dir__() if name not in hidden]
