"""Attributes of an object or class, such as methods, that are others for a while."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

_NONE = object()


def replaced(owner: Any, name: str, value: Any) -> contextlib.ExitStack:
    """Set ``owner.name`` to ``value`` now, and take it back where the ``with`` block ends, or on ``close()``.

    What the owner had of its own comes back; what it had only from its class shows again. Until it is taken back,
    others may put their own in place of the value.

    Args:
        owner: An object, or a class.
        name: A plain attribute or a method, no property.
        value: What stands in its place. A method of an object gets no ``self``.

    Example:
        >>> class Model:
        ...     def setup(self):
        ...         return "its own"
        >>> model = Model()
        >>> with replaced(model, "setup", lambda: "another"):
        ...     model.setup()
        'another'
        >>> model.setup(), vars(model)
        ('its own', {})
    """
    has_own = name in vars(owner)
    before = vars(owner).get(name)

    def take_back() -> None:
        if has_own:
            setattr(owner, name, before)
        elif name in vars(owner):
            delattr(owner, name)

    taking_back = contextlib.ExitStack()
    taking_back.callback(take_back)
    setattr(owner, name, value)
    return taking_back


@contextlib.contextmanager
def replaced_in_each(name: str, values: Mapping[Any, Any]) -> Iterator[None]:
    """Give each of many objects a value of its own for ``name`` inside, as :func:`replaced` does, in less time.

    Args:
        name: A plain attribute or a method, no property.
        values: By object; no class.

    Example:
        >>> class Model:
        ...     def setup(self):
        ...         return "its own"
        >>> models = [Model(), Model()]
        >>> with replaced_in_each("setup", {models[0]: lambda: "another"}):
        ...     [model.setup() for model in models]
        ['another', 'its own']
        >>> models[0].setup(), vars(models[0])
        ('its own', {})
    """
    attributes = [vars(owner) for owner in values]
    before = [own.get(name, _NONE) for own in attributes]
    try:
        for own, value in zip(attributes, values.values(), strict=True):
            own[name] = value
        yield
    finally:
        for own, old in zip(attributes, before, strict=True):
            if old is not _NONE:
                own[name] = old
            else:
                own.pop(name, None)


@contextlib.contextmanager
def kept(owner: Any, *names: str) -> Iterator[None]:
    """Give ``owner`` the values of these attributes back that they have now, whoever sets them inside.

    Args:
        owner: An object.
        *names: Attributes, or properties that can be set.

    Example:
        >>> class Model:
        ...     epoch = 1
        >>> model = Model()
        >>> with kept(model, "epoch"):
        ...     model.epoch = 2
        >>> model.epoch
        1
    """
    before = {name: getattr(owner, name) for name in names}
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(owner, name, value)
