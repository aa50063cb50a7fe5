"""What an object of any kind refers to directly."""

from collections import deque
from collections.abc import Iterable
from typing import Any


def parts_of(value: Any) -> Iterable[Any]:
    """Return what a container holds, or an object has for attributes, once for each reference; keys are not looked at.

    Example:
        >>> parts_of({"a": 1, "b": (2, 3)})
        [1, (2, 3)]
    """
    parts: list[Any] = []
    if isinstance(value, dict):
        parts += dict.values(value)
    elif isinstance(value, (list, tuple, set, frozenset, deque)):
        parts += value
    parts += getattr(value, "__dict__", {}).values()
    for base in type(value).__mro__:
        slots = vars(base).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                parts.append(getattr(value, name))
    return parts
