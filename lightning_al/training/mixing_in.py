"""How a mixin gets around the hooks and options of a user's class, wherever in it they are written."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn


def wrap_hook(cls: type, name: str, around: Callable[..., Any], *, mark: str, running: str) -> None:
    """Put ``around(self, call, *args, **kwargs)`` around the hook ``name`` of ``cls``, unless an inherited one has it.

    A hook of the user's class would hide a hook of the mixin; so each class gets the hook it has, its own or
    inherited, wrapped. On one call ``around`` runs once, however many ``super()`` lead to other wrapped hooks.

    Args:
        cls: A class that is being made.
        name: The hook.
        around: Runs in its place; ``call`` is the hook itself.
        mark: Attribute that wrapped hooks have.
        running: Attribute of instances with the set of the hooks that are on the stack.
    """
    own = vars(cls).get(name)
    target = getattr(cls, name)
    if own is None and hasattr(target, mark):
        return

    @functools.wraps(target)
    def hook(self: Any, *args: Any, **kwargs: Any) -> Any:
        call = own.__get__(self, type(self)) if own is not None else getattr(super(cls, self), name)
        stack: set[str] = getattr(self, running)
        if name in stack:
            return call(*args, **kwargs)
        stack.add(name)
        try:
            return around(self, call, *args, **kwargs)
        finally:
            stack.discard(name)

    # Lightning looks at the parameters one level below: it must see what it would have seen without us.
    hook.__wrapped__ = getattr(target, "__wrapped__", target)  # type: ignore[attr-defined]
    setattr(hook, mark, True)
    setattr(cls, name, hook)


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
