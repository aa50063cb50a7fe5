"""What an object alone holds, and what others hold too: counted, as Python's own garbage collector does."""

import functools
import sys
import types
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from lightning_al.inference.parts import parts_of

_ATOMS = (
    type(None), type(Ellipsis), bool, int, float, complex, str, bytes, range, slice,
    type, types.ModuleType, types.BuiltinFunctionType, types.CodeType,
)  # fmt: skip


def held_by_others(owner: Any, known: Mapping[int, Any]) -> dict[int, Any]:
    """Return what is reachable from ``owner`` and held by somebody else too, by ``id``.

    An object is held by others if there are more references to it than those from ``owner`` and what is reachable
    from it (cycles included), or if such an object leads to it. What is held weakly is not held.

    Args:
        owner: Any object with attributes. References to itself do not count.
        known: What others hold anyway, by ``id``: it is not looked into.

    Example:
        >>> class Curriculum:
        ...     def __init__(self, dataset):
        ...         self.dataset, self.levels = dataset, {"seen": []}
        >>> dataset = [1, 2]
        >>> list(held_by_others(Curriculum(dataset), {}).values())
        [[1, 2]]
    """
    reached, references = _reached(owner, known)
    # `reached` holds each once, and so does whoever counts: what these come to is seen on an object of our own.
    at_rest = _count({0: []}, 0)
    others = {number: reached[number] for number in reached if _count(reached, number) - at_rest > references[number]}
    waiting = list(others.values())
    while waiting:
        for part in _parts(waiting.pop()):
            if id(part) in reached and id(part) not in others:
                others[id(part)] = part
                waiting.append(part)
    return others


def _reached(owner: Any, known: Mapping[int, Any]) -> tuple[dict[int, Any], Counter[int]]:
    """Return what is reachable from an object, by ``id``, and how many references there are to each among these."""
    reached: dict[int, Any] = {}
    references: Counter[int] = Counter()
    waiting = [owner]
    while waiting:
        for part in _parts(waiting.pop()):
            number = id(part)
            references[number] += 1
            if number not in reached and number not in known and part is not owner:
                reached[number] = part
                waiting.append(part)
    return reached, references


def _count(reached: dict[int, Any], number: int) -> int:
    return sys.getrefcount(reached[number])


def _parts(value: Any) -> Iterator[Any]:
    """Yield what a value refers to directly, once for each reference, but for what cannot change."""
    return (part for part in _references(value) if not isinstance(part, _ATOMS))


def _references(value: Any) -> Iterable[Any]:
    if isinstance(value, types.FunctionType):  # not what it finds in its module
        return (*(value.__closure__ or ()), *(value.__defaults__ or ()), *vars(value).values())
    if isinstance(value, types.MethodType):
        return (value.__self__, value.__func__)
    if isinstance(value, types.CellType):
        return _content(value)
    called: tuple[Any, ...] = ()
    if isinstance(value, functools.partial):
        called = (value.func, *value.args, *value.keywords.values())
    return [*called, *parts_of(value)]


def _content(cell: types.CellType) -> tuple[Any, ...]:
    try:
        return (cell.cell_contents,)
    except ValueError:  # a name that is not bound yet
        return ()
