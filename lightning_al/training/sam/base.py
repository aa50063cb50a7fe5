"""The base class of ``SAMMixin`` and ``AutoSAMMixin``: it wraps the user's hooks and runs each batch again at θ + ε."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from lightning_al.training.losses.image_losses import ImageLosses
from lightning_al.training.losses.logits import WatchedLogits
from lightning_al.training.losses.sample_losses import SampleLosses
from lightning_al.training.mixing_in import around, check_order, check_wrapped, choose_options, with_loss, wrap_hooks
from lightning_al.training.sam.options import SAMOptions, check_left_to_trainer
from lightning_al.training.sam.past import Past, averages_of, past_of
from lightning_al.training.sam.schedules import Monitor
from lightning_al.training.sam.second_pass import RandomState, left_unchanged
from lightning_al.training.sam.step import second_gradient
from lightning_al.training.sam.strategies import check_strategy, unsynced
from lightning_al.training.sam.variants import SAM, STEPS
from lightning_al.training.sam.window import MicroBatch, loss_of

_Base: type = LightningModule if TYPE_CHECKING else object
_CHECKPOINT = "sam"
"""Key of a checkpoint for what outlives an epoch and belongs to no optimizer."""


@dataclass
class _SAMState:
    """The options of a model, and where it is in its present step."""

    options: SAMOptions
    sam_pass: int = 0
    window: list[MicroBatch] = field(default_factory=list)
    monitors: list[Monitor] = field(default_factory=list)
    plateau_due: int = 0  # batches of this epoch at a step that schedulers watching a metric have not had yet
    rule: SAM | None = None
    """Of the present step, of variants that change the step."""
    past: Past | None = None
    """What outputs were a while ago, of variants that hold them there."""
    seed: int = 0

    def begin_fit(self) -> None:
        """Forget the window of a fit that was interrupted, and what outputs were in it."""
        self.window.clear()
        self.rule, self.past = None, past_of(self.options)


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
        """0 in the first pass (and outside of training), 1 in others: at θ + ε, or by averaged weights (MESA)."""
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

    # ---- what variants need to know of samples

    def losses_per_sample(self, caught: Tensor | None, output: Any, *args: Any, **kwargs: Any) -> Tensor:
        """Return the loss of each sample in a training batch, (B,), for ``"esam"``. Override it if it is not caught.

        Args:
            caught: What torch's loss functions, called in ``training_step``, gave for each sample; ``None`` where none
                of them counts in the loss.
            output: What ``training_step`` returned.
            *args: What ``training_step`` was called with: the batch first.
            **kwargs: The same by keyword.

        Raises:
            MisconfigurationException: If none were caught.
        """
        return _needed(self, caught, "losses_per_sample", "the loss of each sample, (B,)")

    def logits_per_sample(self, caught: Tensor | None, output: Any, *args: Any, **kwargs: Any) -> Tensor:
        """Return the logits of a training batch, (B, C, ...), for ``"saf"`` and ``"mesa"``. Override as needed.

        Args:
            caught: What ``training_step`` called ``cross_entropy`` or ``nll_loss`` on; ``None`` if it called neither,
                or on the outputs of several heads.
            output: What ``training_step`` returned.
            *args: What ``training_step`` was called with: the batch first.
            **kwargs: The same by keyword.

        Raises:
            MisconfigurationException: If none were caught.
        """
        return _needed(self, caught, "logits_per_sample", "the logits with their graph, (B, C, ...)")

    def sample_ids(self, *args: Any, **kwargs: Any) -> Tensor | None:
        """Return a number for each sample of a training batch that is its own in every epoch, (B,), for ``"saf"``.

        ``None`` (the default): they are asked of the sampler, as is possible in campaigns, on several ranks, and
        without shuffling.

        Args:
            *args: What ``training_step`` was called with: the batch first.
            **kwargs: The same by keyword.
        """
        return None

    # ---- the two passes

    def _sam_noise(self) -> RandomState | None:
        return RandomState(self.device) if self._sam.options.same_noise else None

    def _sam_begin(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> MicroBatch:
        """Begin a step if this is the first batch of its window; keep the batch if it is to be run again."""
        state = self._sam
        if not state.window:
            state.rule = self._sam_rule()
        is_run_again = state.rule.looks() if state.rule is not None else bool(averages_of(state.past, self.trainer))
        return MicroBatch.before(args, kwargs, self._sam_noise()) if is_run_again else MicroBatch()

    def _sam_rule(self) -> SAM | None:
        state, optimizer = self._sam, self.trainer.optimizers[0]
        if state.options.variant not in STEPS:
            return None
        weights = [w for group in optimizer.param_groups for w in group["params"]]
        return STEPS[state.options.variant](state.options, optimizer, weights, state.seed)

    def _sam_first(self, call: Callable[..., Any], micro_batch: MicroBatch, args: Any, kwargs: Any) -> Any:
        """The first pass over a batch: at θ, with what the variant watches in it and adds to the loss."""
        state = self._sam
        if state.rule is not None and state.rule.selects:
            output, micro_batch.losses = self._sam_with_losses(call, args, kwargs)
            return output
        if state.past is None:
            return call(*args, **kwargs)
        before = self._sam_averaged(call, micro_batch)
        with WatchedLogits() as watched:
            output = call(*args, **kwargs)
        loss = loss_of(output, self.trainer)
        if loss is None:
            return output
        logits = self.logits_per_sample(watched.logits, output, *args, **kwargs)
        term = state.past.term(self, logits, before, self.sample_ids(*args, **kwargs))
        return output if term is None else with_loss(output, loss + state.options.trajectory_weight * term)

    def _sam_averaged(self, call: Callable[..., Any], micro_batch: MicroBatch) -> Tensor | None:
        """The logits of a batch by the averaged weights, if the variant has them and they count already."""
        state = self._sam
        averages = averages_of(state.past, self.trainer)
        if averages is None:
            return None
        noise = RandomState(self.device)  # what `training_step` mixes or augments at random, it must mix alike
        args, kwargs = micro_batch.args, micro_batch.kwargs
        try:
            with left_unchanged(self, buffers=True), averages.in_place(self), WatchedLogits() as watched:
                state.sam_pass = 1
                output = call(*args, **kwargs)
                return self.logits_per_sample(watched.logits, output, *args, **kwargs).detach()
        finally:
            state.sam_pass = 0
            noise.restore()

    def _sam_with_losses(self, step: Callable[..., Any], args: Any, kwargs: Any) -> tuple[Any, Tensor | None]:
        """What a step over a batch returned, and the loss of each sample; None of one that skipped the batch."""
        with SampleLosses() as watched, ImageLosses(self) as of_images:
            output = step(*args, **kwargs)
        loss = loss_of(output, self.trainer)
        if loss is None:
            return output, None
        caught = of_images.of(loss)
        caught = watched.of(loss) if caught is None else caught
        return output, self.losses_per_sample(caught, output, *args, **kwargs).detach()

    def _sam_direction(
        self, zero_grad: Callable[[], Any], step: Callable[..., Any], backward: Callable[[Tensor], Any], n: int
    ) -> None:
        """Make the gradient at θ of a window what is stepped along; run the window again for it, if this step does."""
        state, rule = self._sam, self._sam.rule
        if rule is not None and rule.looks():
            with self._sam_second(rule):
                zero_grad()
                self._sam_replay(step, backward, n)
            return
        state.window.clear()
        if rule is not None:
            rule.reuse()

    def _sam_stepped(self) -> None:
        """After the optimizer's step."""
        state = self._sam
        if state.rule is not None:
            state.rule.stepped()
        if state.past is not None:
            state.past.stepped(self)

    @contextmanager
    def _sam_second(self, rule: SAM) -> Iterator[None]:
        """Inside: θ + ε, ``sam_pass`` 1, nothing logged. After: all as before but the gradients."""
        state, options = self._sam, self._sam.options
        names = {id(w): n for n, w in self.named_parameters()} if options.scope == "weights" else {}
        adaptive = [options.scope == "all" or "weight" in names.get(id(w), "") for w in rule.weights]
        noise = self._sam_noise()
        try:
            with (
                left_unchanged(self, buffers=options.running_stats == "first"),
                second_gradient(rule, adaptive),
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
            if micro_batch.losses is not None:
                micro_batch = self._sam_selected(step, micro_batch, micro_batch.losses)
            if micro_batch.noise is not None:
                micro_batch.noise.restore()
            with unsynced(self.trainer.strategy, block=i + 1 < len(window)):
                loss = loss_of(step(*micro_batch.args, **micro_batch.kwargs), self.trainer)
                if loss is not None:
                    backward(loss / n)

    def _sam_selected(self, step: Callable[..., Any], micro_batch: MicroBatch, losses: Tensor) -> MicroBatch:
        """The samples of a batch whose loss rose most from θ to θ + ε."""
        trial = MicroBatch.before(micro_batch.args, micro_batch.kwargs, micro_batch.noise)
        if trial.noise is not None:
            trial.noise.restore()
        with unsynced(self.trainer.strategy, block=True):
            _, raised = self._sam_with_losses(step, trial.args, trial.kwargs)
        if raised is None:
            return micro_batch
        if raised.shape != losses.shape:
            raise MisconfigurationException(
                f"{type(self).__name__}.training_step gave {len(losses)} losses in the first pass and {len(raised)} of "
                'the same batch in the second. With `variant="esam"` it must give as many.'
            )
        return micro_batch.selection(raised - losses, self._sam.options.gamma)

    # ---- hooks

    @around("configure_callbacks")
    def _around_configure_callbacks(self, call: Callable[..., Any]) -> Any:
        """The first hook of a fit: refuse what would train wrongly or not at all."""
        trainer = self.trainer
        if trainer.state.fn == TrainerFn.FITTING:
            self._sam.begin_fit()
            check_strategy(trainer.strategy, self._sam.options)
            check_wrapped(self, self._sam_mixin, self._sam_must_be_wrapped)
            self._sam_check_trainer(trainer)
        return call()

    @around("on_train_start")
    def _around_on_train_start(self, call: Callable[..., Any]) -> Any:
        """The first hook that the train loader is known in, and the other ranks."""
        state = self._sam
        state.seed = self.trainer.strategy.broadcast(torch.initial_seed())
        if state.past is not None:
            state.past.begin(self, has_own_ids=type(self).sample_ids is not SAMBase.sample_ids)
        return call()

    @around("on_train_epoch_end")
    def _around_on_train_epoch_end(self, call: Callable[..., Any]) -> None:
        call()
        self._sam_after_epoch()

    @around("on_save_checkpoint")
    def _around_on_save_checkpoint(self, call: Callable[..., Any], checkpoint: dict[str, Any]) -> None:
        call(checkpoint)
        if self._sam.past is not None:
            checkpoint[_CHECKPOINT] = self._sam.past.state_dict()

    @around("on_load_checkpoint")
    def _around_on_load_checkpoint(self, call: Callable[..., Any], checkpoint: dict[str, Any]) -> None:
        call(checkpoint)
        if self._sam.past is not None and _CHECKPOINT in checkpoint:
            self._sam.past.load_state_dict(checkpoint[_CHECKPOINT])

    def _sam_after_epoch(self) -> None:
        if self._sam.past is not None:
            self._sam.past.end_epoch(self)

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


def _needed(module: Any, caught: Tensor | None, method: str, what: str) -> Tensor:
    if caught is None:
        name, variant = type(module).__name__, module._sam.options.variant
        raise MisconfigurationException(
            f'`variant="{variant}"` needs {what}, and {name}.training_step calls no loss function of torch that tells '
            f"it. Override `{method}(self, caught, output, batch, batch_idx)` to return it; `output` is what "
            "training_step returned, and a dict may have anything in it."
        )
    return caught


def _drives_itself(cls: type) -> str:
    return (
        f"{cls.__name__} sets `automatic_optimization`, which the SAM mixin decides. If the module steps its optimizer"
        " itself, call `lightning_al.training.sam_step` in its training_step; if not, remove the line."
    )
