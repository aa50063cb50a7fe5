"""What both SAM mixins share: the wrapping of the user's hooks, and the second pass."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy, FSDPStrategy, ParallelStrategy, Strategy
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from lightning_al.training.mixing_in import check_module, check_order, init_parameters, wrap_hook
from lightning_al.training.sam.options import SAMOptions, class_options
from lightning_al.training.sam.schedules import Monitor
from lightning_al.training.sam.second_pass import RandomState, left_unchanged
from lightning_al.training.sam.step import ascended

_Base: type = LightningModule if TYPE_CHECKING else object


@dataclass
class MicroBatch:
    """The arguments of one ``training_step``, to run it again at θ + ε."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    noise: RandomState | None


@dataclass
class _State:
    options: SAMOptions
    sam_pass: int = 0
    window: list[MicroBatch] = field(default_factory=list)
    running: set[str] = field(default_factory=set)  # hooks on the stack, so that their `super()` is left alone
    monitors: list[Monitor] = field(default_factory=list)
    plateau_due: int = 0  # batches of this epoch at a step that schedulers watching a metric have not had yet


class SAMBase(_Base):
    """What both mixins share: options, wrapping of the user's hooks, the second pass.

    A hook of the user's class would hide a hook of the mixin, and nothing would be trained. So ``__init_subclass__``
    puts ``_around_<hook>`` around whatever each subclass has, its own or inherited.
    """

    _sam_mixin: ClassVar[type]
    _sam_hooks: ClassVar[tuple[str, ...]]
    _sam_automatic: ClassVar[bool]
    _sam_names: ClassVar[tuple[str, ...]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if SAMBase in cls.__bases__:
            cls._sam_mixin = cls
        if not issubclass(cls, LightningModule):
            return
        _check_class(cls)
        for name in cls._sam_hooks:
            around = getattr(cls, f"_around_{name}")
            wrap_hook(cls, name, around, mark="_sam_around", running="_sam_running")

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
        cls = type(self)
        check_module(self, self._sam_mixin)
        given = {k: v for k, v in given.items() if v is not None}
        theirs = {k: v for k, v in given.items() if k in init_parameters(cls, self._sam_mixin)}
        chosen = class_options(cls, self._sam_mixin, self._sam_names)
        chosen.update((k, v) for k, v in given.items() if k not in theirs)
        self._sam_state = _State(SAMOptions(**chosen))
        return theirs

    @property
    def _sam(self) -> _State:
        if "_sam_state" not in self.__dict__:  # an `__init__` that calls its parent by name goes past the mixin's
            self._sam_configure({})
        return self._sam_state

    @property
    def _sam_running(self) -> set[str]:
        return self._sam.running

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

    def _around_configure_callbacks(self, call: Callable[..., Any]) -> Any:
        """The first hook of a fit: refuse what would train wrongly or not at all."""
        trainer = self.trainer
        if trainer.state.fn == TrainerFn.FITTING:
            self._sam.window.clear()  # of a fit that was interrupted
            _check_strategy(trainer.strategy, self._sam.options.ascent)
            for name in self._sam_hooks:
                if not hasattr(getattr(self, name), "_sam_around") and name != "configure_optimizers":
                    raise MisconfigurationException(
                        f"`{name}` was replaced on the instance or on the class, past the SAM mixin. Define it in the"
                        f" body of {type(self).__name__} or of a class before it."
                    )
            self._sam_check_trainer(trainer)
        return call()

    def _sam_check_trainer(self, trainer: Trainer) -> None:
        """Refuse Trainer options that the mixin has instead."""


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


# ---- training


def _check_strategy(strategy: Strategy, ascent: str) -> None:
    name = type(strategy).__name__
    if isinstance(strategy, FSDPStrategy) or strategy.handles_gradient_accumulation:
        raise MisconfigurationException(
            f"SAM needs the gradients of the parameters between two backward passes, which {name} keeps to itself."
            " Use ModelParallelStrategy (FSDP2) or DDPStrategy."
        )
    if ascent == "per_rank" and isinstance(strategy, ParallelStrategy) and not isinstance(strategy, DDPStrategy):
        raise MisconfigurationException(
            f'`ascent="per_rank"` needs gradients that are not yet averaged, which only DDPStrategy has, not {name}.'
            ' Use `ascent="global"`.'
        )


@contextmanager
def unsynced(strategy: Strategy, *, block: bool) -> Iterator[None]:
    """Keep this rank's gradient to itself if ``block``."""
    model = strategy.model
    if block and isinstance(model, DistributedDataParallel) and model.static_graph:
        raise MisconfigurationException(
            "DDPStrategy(static_graph=True) averages gradients in every backward pass, so it allows neither"
            ' `ascent="per_rank"` nor accumulation with SAM. Leave `static_graph` out.'
        )
    with strategy.block_backward_sync() if block and isinstance(strategy, ParallelStrategy) else nullcontext():
        yield


def is_last_batch(trainer: Trainer) -> bool:
    """Whether the batch in training is the last of its epoch."""
    return trainer.is_last_batch or trainer.fit_loop.batch_idx + 1 == trainer.num_training_batches


def loss_of(output: Any, trainer: Trainer) -> Tensor | None:
    """The loss in what ``training_step`` returned, ``None`` for a batch to be skipped."""
    if output is None:
        if trainer.world_size > 1:
            raise RuntimeError(
                "`training_step` returned None on one of several ranks, and the others would wait for its gradient."
                " Return a loss of 0 that depends on the parameters instead."
            )
        return None
    loss = output.get("loss") if isinstance(output, Mapping) else output
    if not isinstance(loss, Tensor):
        raise MisconfigurationException(
            '`training_step` must return a Tensor, a dict with the Tensor under "loss", or None; got'
            f" {f'a dict with the keys {sorted(output)}' if isinstance(output, Mapping) else type(output).__name__}."
        )
    return loss
