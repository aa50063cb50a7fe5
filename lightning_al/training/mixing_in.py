"""How a mixin gets around the hooks and options of a user's class, wherever in it they are written."""

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import Any, TypeVar

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

Method = TypeVar("Method", bound=Callable[..., Any])
Options = TypeVar("Options")

_RUNNING = "_mixin_hooks_running"
"""Attribute of a module with the set of the hooks that are on the stack, so that their ``super()`` is left alone."""


def around(name: str) -> Callable[[Method], Method]:
    """Mark a method of a mixin as one that runs around the hook ``name``: ``method(self, call, *args, **kwargs)``.

    ``call`` is the hook itself. :func:`wrap_hooks` puts the method there.
    """

    def mark(method: Method) -> Method:
        method.runs_around = name  # type: ignore[attr-defined]
        return method

    return mark


def wrap_hooks(cls: type, mixin: type) -> None:
    """Put the methods of ``mixin`` that are marked by :func:`around` around the hooks of ``cls``, a class being made.

    A hook of the user's class would hide a hook of the mixin; so each class gets the hook it has, its own or
    inherited, wrapped, unless an inherited one is. On one call a method runs once, however many ``super()`` lead to
    other wrapped hooks.
    """
    for c in mixin.__mro__:
        for method in list(vars(c).values()):
            if hasattr(method, "runs_around"):
                _wrap_hook(cls, mixin, method.runs_around, method)


def _wrap_hook(cls: type, mixin: type, name: str, method: Callable[..., Any]) -> None:
    written = vars(cls).get(name)  # in the body of this class
    target = getattr(cls, name)
    if written is None and is_wrapped(target, mixin):
        return
    key = f"{mixin.__name__}: {name}"

    @functools.wraps(target)
    def hook(self: Any, *args: Any, **kwargs: Any) -> Any:
        call = written.__get__(self, type(self)) if written is not None else getattr(super(cls, self), name)
        running: set[str] = vars(self).setdefault(_RUNNING, set())
        if key in running:
            return call(*args, **kwargs)
        running.add(key)
        try:
            return method(self, call, *args, **kwargs)
        finally:
            running.discard(key)

    # Lightning looks at the parameters one level below: it must see what it would have seen without us.
    hook.__wrapped__ = getattr(target, "__wrapped__", target)  # type: ignore[attr-defined]
    hook.wrapped_by = (*getattr(target, "wrapped_by", ()), mixin)  # type: ignore[attr-defined]
    setattr(cls, name, hook)


def is_wrapped(hook: Any, mixin: type) -> bool:
    """Whether a method of ``mixin`` runs around a hook."""
    return mixin in getattr(hook, "wrapped_by", ())


def check_wrapped(module: LightningModule, mixin: type, names: Iterable[str]) -> None:
    """Refuse hooks that were replaced after the class was made, so that nothing of ``mixin`` runs around them.

    Raises:
        MisconfigurationException: With the name of the hook, and where to define it.
    """
    for name in names:
        if not is_wrapped(getattr(module, name), mixin):
            raise MisconfigurationException(
                f"`{name}` was replaced on the instance or on the class, past {mixin.__name__}. Define it in the body "
                f"of {type(module).__name__} or of a class before it."
            )


def choose_options(
    module: Any, mixin: type, options: Callable[..., Options], given: Mapping[str, Any]
) -> tuple[Options, dict[str, Any]]:
    """Return the options of a module, and those of the given keywords that belong to its own ``__init__``.

    An option is the keyword that was given, else the class attribute, else the default.

    Args:
        module: What is made.
        mixin: Whose options they are.
        options: Their dataclass, which refuses what is out of range.
        given: Keywords of the mixin's ``__init__``, None where they were not given. One that the user's own
            ``__init__`` takes too goes there.

    Raises:
        TypeError: If ``module`` is no LightningModule.
    """
    check_module(module, mixin)
    cls = type(module)
    names = tuple(f.name for f in fields(options))  # type: ignore[arg-type]
    present = {name: value for name, value in given.items() if value is not None}
    theirs = {name: value for name, value in present.items() if name in init_parameters(cls, mixin)}
    chosen = {name: value for name, (_, value) in class_attributes(cls, mixin, names).items()}
    chosen.update((name, value) for name, value in present.items() if name not in theirs)
    return options(**chosen), theirs


def class_attributes(cls: type, mixin: type, names: tuple[str, ...]) -> dict[str, tuple[type, Any]]:
    """Those of ``names`` set in the bodies of the classes in front of ``mixin``, and where; those behind are theirs."""
    ahead = cls.__mro__[: cls.__mro__.index(mixin)]
    return {name: (c, vars(c)[name]) for c in reversed(ahead) for name in names if name in vars(c)}


def init_parameters(cls: type, mixin: type) -> set[str]:
    """The names that the ``__init__`` behind ``mixin`` takes, as far as keywords reach."""
    names: set[str] = set()
    for c in cls.__mro__[cls.__mro__.index(mixin) + 1 :]:
        if c is LightningModule:
            break
        if "__init__" in vars(c):
            parameters = inspect.signature(vars(c)["__init__"]).parameters.values()
            names |= {q.name for q in parameters if q.kind in (q.POSITIONAL_OR_KEYWORD, q.KEYWORD_ONLY)}
            if not any(q.kind is q.VAR_KEYWORD for q in parameters):
                break
    return names


def check_order(cls: type, mixin: type) -> None:
    """Refuse a module that stands before the mixin in the class statement, and would hide it.

    Raises:
        TypeError: With the statement to write.
    """
    ahead = cls.__mro__[: cls.__mro__.index(mixin)]
    first = [c for c in ahead if issubclass(c, LightningModule) and not issubclass(c, mixin)]
    if first:
        name = first[0].__name__
        raise TypeError(f"{name} stands before the mixin. Write `class {cls.__name__}({mixin.__name__}, {name})`.")


def check_module(module: Any, mixin: type) -> None:
    """Refuse a mixin that is mixed into nothing.

    Raises:
        TypeError: With the statement to write.
    """
    if not isinstance(module, LightningModule):
        name = type(module).__name__
        raise TypeError(
            f"{name} is not a lightning.pytorch.LightningModule (pytorch_lightning is another package). Write"
            f" `class Net({mixin.__name__}, YourModule)`."
        )


def with_loss(output: Any, loss: Tensor) -> Any:
    """Return what a ``training_step`` returned with another loss in it."""
    return {**output, "loss": loss} if isinstance(output, Mapping) else loss


def training_trainer(module: LightningModule) -> Trainer | None:
    """The Trainer if it is training right now; ``training_step`` may also be called from a test or a validation."""
    trainer = fitting_trainer(module)
    return trainer if trainer is not None and trainer.training else None


def fitting_trainer(module: LightningModule) -> Trainer | None:
    """The Trainer if it is in a fit, which validates too."""
    if module.fabric is not None:
        return None
    try:
        trainer = module.trainer
    except RuntimeError:
        return None
    return trainer if trainer.state.fn == TrainerFn.FITTING else None
