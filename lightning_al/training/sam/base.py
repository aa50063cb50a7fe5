"""The base class of ``SAMMixin`` and ``AutoSAMMixin``: it wraps the user's hooks and runs each batch again at θ + ε."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from lightning_al.training.mixing_in import around, check_order, check_wrapped, choose_options, wrap_hooks
from lightning_al.training.sam.options import SAMOptions, check_left_to_trainer
from lightning_al.training.sam.schedules import Monitor
from lightning_al.training.sam.second_pass import RandomState, left_unchanged
from lightning_al.training.sam.step import ascended
from lightning_al.training.sam.strategies import check_strategy, unsynced
from lightning_al.training.sam.window import MicroBatch, loss_of

_Base: type = LightningModule if TYPE_CHECKING else object


@dataclass
class _SAMState:
    """The options of a model, and where it is in its present step."""

    options: SAMOptions
    sam_pass: int = 0
    window: list[MicroBatch] = field(default_factory=list)
    monitors: list[Monitor] = field(default_factory=list)
    plateau_due: int = 0  # batches of this epoch at a step that schedulers watching a metric have not had yet


class SAMBase(_Base):
    """The base class of both mixins: it wraps the user's hooks and runs each batch again at θ + ε.

    A hook of the user's class would hide a hook of the mixin, and nothing would be trained. So ``__init_subclass__``
    puts the methods that are marked by ``around`` around whatever each subclass has, its own or inherited.
    """

    _sam_mixin: ClassVar[type]
    _sam_automatic: ClassVar[bool]
    _sam_left_to_trainer: ClassVar[tuple[str, ...]] = ()
    """Options that are no options of the mixin."""
    _sam_must_be_wrapped: ClassVar[tuple[str, ...]]
    """Hooks that must not be replaced after the class was made."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if SAMBase in cls.__bases__:
            cls._sam_mixin = cls
        if not issubclass(cls, LightningModule):
            return
        _check_class(cls)
        wrap_hooks(cls, cls._sam_mixin)

    # ---- what the user sees

    @property
    def sam_pass(self) -> int:
        """0 in the first pass (and outside of training), 1 in the second, at θ + ε."""
        return self._sam.sam_pass

    @property
    def automatic_optimization(self) -> bool:  # type: ignore[override]
        """Fixed by the mixin."""
        return self._sam_automatic

    @automatic_optimization.setter
    def automatic_optimization(self, automatic_optimization: bool) -> None:
        if not automatic_optimization:
            raise TypeError(_drives_itself(type(self)))

    def log(self, *args: Any, **kwargs: Any) -> None:
        """``LightningModule.log`` (which ``log_dict`` calls), silent in the second pass."""
        if self.sam_pass == 0:
            super().log(*args, **kwargs)

    # ---- options

    def _sam_configure(self, given: dict[str, Any]) -> dict[str, Any]:
        """Resolve the options, and return the given keywords that belong to the user's own ``__init__``."""
        check_left_to_trainer(type(self), self._sam_mixin, self._sam_left_to_trainer)
        options, theirs = choose_options(self, self._sam_mixin, SAMOptions, given)
        self._sam_state = _SAMState(options)
        return theirs

    @property
    def _sam(self) -> _SAMState:
        if "_sam_state" not in self.__dict__:  # an `__init__` that calls its parent by name goes past the mixin's
            self._sam_configure({})
        return self._sam_state

    # ---- the two passes

    def _sam_noise(self) -> RandomState | None:
        return RandomState(self.device) if self._sam.options.same_noise else None

    @contextmanager
    def _sam_second(self) -> Iterator[None]:
        """Inside: θ + ε, ``sam_pass`` 1, nothing logged. After: all as before but the gradients."""
        state, options = self._sam, self._sam.options
        params = [w for group in self.trainer.optimizers[0].param_groups for w in group["params"]]
        names = {id(w): n for n, w in self.named_parameters()} if options.scope == "weights" else {}
        adaptive = [options.scope == "all" or "weight" in names.get(id(w), "") for w in params]
        noise = self._sam_noise()
        try:
            with (
                left_unchanged(self, buffers=options.running_stats == "first"),
                ascended(
                    params,
                    rho=options.rho,
                    perturbation=options.perturbation,
                    p=options.p,
                    eta=options.eta,
                    adaptive=adaptive,
                ),
                torch.enable_grad(),
            ):
                state.sam_pass = 1
                yield
        finally:
            state.sam_pass = 0
            state.window.clear()
            if noise is not None:
                noise.restore()

    def _sam_replay(self, step: Callable[..., Any], backward: Callable[[Tensor], Any], n: int) -> None:
        """Run the window again and add up its gradients, in step with the other ranks only at the last batch."""
        window = list(self._sam.window)
        for i, micro_batch in enumerate(window):
            if micro_batch.noise is not None:
                micro_batch.noise.restore()
            with unsynced(self.trainer.strategy, block=i + 1 < len(window)):
                loss = loss_of(step(*micro_batch.args, **micro_batch.kwargs), self.trainer)
                if loss is not None:
                    backward(loss / n)

    # ---- hooks

    @around("configure_callbacks")
    def _around_configure_callbacks(self, call: Callable[..., Any]) -> Any:
        """The first hook of a fit: refuse what would train wrongly or not at all."""
        trainer = self.trainer
        if trainer.state.fn == TrainerFn.FITTING:
            self._sam.window.clear()  # of a fit that was interrupted
            check_strategy(trainer.strategy, self._sam.options.ascent)
            check_wrapped(self, self._sam_mixin, self._sam_must_be_wrapped)
            self._sam_check_trainer(trainer)
        return call()

    def _sam_check_trainer(self, trainer: Trainer) -> None:
        """Refuse Trainer options that the mixin has instead. Override where there are any."""


# ---- class creation


def _check_class(cls: Any) -> None:
    mro = cls.__mro__
    mixins = [c for c in mro if SAMBase in c.__bases__]
    if len(mixins) > 1:
        raise TypeError(f"{cls.__name__} has both {' and '.join(c.__name__ for c in mixins)}. Keep one.")
    [mixin] = mixins
    at = mro.index(mixin)
    check_order(cls, mixin)
    for c in mro:
        value = vars(c).get("automatic_optimization")
        if c not in (SAMBase, LightningModule) and value is not None and (value is not True or mro.index(c) < at):
            raise TypeError(_drives_itself(c))
    if "dataloader_iter" in inspect.signature(cls.training_step).parameters:
        raise TypeError(f"SAM runs each batch twice, which {cls.__name__}.training_step(dataloader_iter) cannot.")


def _drives_itself(cls: type) -> str:
    return (
        f"{cls.__name__} sets `automatic_optimization`, which the SAM mixin decides. If the module steps its optimizer"
        " itself, call `lightning_al.training.sam_step` in its training_step; if not, remove the line."
    )
