"""Sharpness-aware minimization inside automatic optimization, with the Trainer's windows, clipping and schedules."""

from collections.abc import Callable
from typing import Any, Literal

from lightning_al.training.mixing_in import around, training_trainer
from lightning_al.training.sam.base import SAMBase
from lightning_al.training.sam.options import MANUAL_ONLY, OPTIONS
from lightning_al.training.sam.strategies import unsynced
from lightning_al.training.sam.window import loss_of


class AutoSAMMixin(SAMBase):
    r"""Trains a LightningModule with SAM inside automatic optimization: ``class Net(AutoSAMMixin, MyModule)``.

    As :class:`SAMMixin`, but accumulation and clipping are the Trainer's
    (``Trainer(accumulate_grad_batches=4, gradient_clip_val=1.0)``), and so are the schedulers. The closure that
    Lightning hands to ``optimizer_step`` gives the gradient at :math:`\theta`; all batches of the window are then run
    again at :math:`\theta + \epsilon`. An ``optimizer_step`` of the user's keeps working if it passes its
    ``optimizer_closure`` on, or calls it.

    Args:
        *args: Go to the module's own ``__init__``.
        variant: ``"sam"``, ``"esam"``, ``"gsam"``, ``"looksam"``, ``"saf"`` or ``"mesa"``, as in
            :class:`SAMMixin`, like all that follow.
        rho: Radius of the perturbation.
        perturbation: ``"sam"`` or ``"asam"``.
        p: Norm of the ball for ``"sam"``.
        eta: Added to ``|θ|`` for ``"asam"``.
        scope: ``"all"`` or ``"weights"``, for ``"asam"``.
        ascent: ``"global"`` or ``"per_rank"``.
        running_stats: ``"first"`` or ``"both"``.
        same_noise: Draw the same dropout masks in both passes.
        alpha: Of ``"gsam"`` and ``"looksam"``.
        beta: Of ``"esam"``.
        gamma: Of ``"esam"``.
        every: Of ``"looksam"``.
        rho_min: Of ``"gsam"``.
        lr_min: Of ``"gsam"``.
        lr_max: Of ``"gsam"``.
        trajectory_weight: Of ``"saf"`` and ``"mesa"``.
        temperature: Of ``"saf"`` and ``"mesa"``.
        start_epoch: Of ``"saf"`` and ``"mesa"``.
        lag: Of ``"saf"``.
        decay: Of ``"mesa"``.
        **kwargs: Go to the module's own ``__init__``.

    Raises:
        TypeError: If the module drives its optimizer itself, or stands before the mixin in the class statement.
        ValueError: If an option is out of range, or not one of the variant.

    Example:
        >>> from lightning.pytorch.demos.boring_classes import BoringModel
        >>> class Net(AutoSAMMixin, BoringModel):
        ...     perturbation = "asam"
        >>> Net(rho=0.5).automatic_optimization
        True
    """

    _sam_automatic = True
    _sam_left_to_trainer = MANUAL_ONLY
    _sam_must_be_wrapped = ("training_step", "configure_callbacks", "optimizer_step")

    def __init__(
        self,
        *args: Any,
        variant: Literal["sam", "esam", "gsam", "looksam", "saf", "mesa"] | None = None,
        rho: float | None = None,
        perturbation: Literal["sam", "asam"] | None = None,
        p: float | None = None,
        eta: float | None = None,
        scope: Literal["all", "weights"] | None = None,
        ascent: Literal["global", "per_rank"] | None = None,
        running_stats: Literal["first", "both"] | None = None,
        same_noise: bool | None = None,
        alpha: float | None = None,
        beta: float | None = None,
        gamma: float | None = None,
        every: int | None = None,
        rho_min: float | None = None,
        lr_min: float | None = None,
        lr_max: float | None = None,
        trajectory_weight: float | None = None,
        temperature: float | None = None,
        start_epoch: int | None = None,
        lag: int | None = None,
        decay: float | None = None,
        **kwargs: Any,
    ) -> None:
        local = locals()
        names = [name for name in OPTIONS if name not in MANUAL_ONLY]
        kwargs.update(self._sam_configure({name: local[name] for name in names}))
        super().__init__(*args, **kwargs)

    @around("training_step")
    def _around_training_step(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Remember the batch for the second pass."""
        trainer, state = training_trainer(self), self._sam
        if trainer is None or state.sam_pass == 1:
            return call(*args, **kwargs)
        if trainer.fit_loop.batch_idx % trainer.accumulate_grad_batches == 0:
            state.window.clear()  # of an epoch that was cut short
        micro_batch = self._sam_begin(args, kwargs)
        output = self._sam_first(call, micro_batch, args, kwargs)
        if loss_of(output, trainer) is not None:
            state.window.append(micro_batch)
        return output

    @around("optimizer_step")
    def _around_optimizer_step(
        self,
        call: Callable[..., Any],
        epoch: int,
        batch_idx: int,
        optimizer: Any,
        optimizer_closure: Callable[[], Any] | None = None,
    ) -> Any:
        trainer, state = training_trainer(self), self._sam
        if trainer is None or optimizer_closure is None:
            return call(epoch, batch_idx, optimizer, optimizer_closure)
        strategy, raw_optimizer = trainer.strategy, trainer.optimizers[0]

        def closure() -> Any:
            with unsynced(strategy, block=state.options.ascent == "per_rank"):
                loss = optimizer_closure()
            if state.window:
                self._sam_direction(
                    lambda: self.optimizer_zero_grad(epoch, batch_idx, raw_optimizer),
                    strategy.training_step,
                    lambda loss: strategy.backward(loss, raw_optimizer),
                    trainer.accumulate_grad_batches,
                )
            return loss

        output = call(epoch, batch_idx, optimizer, closure)
        self._sam_stepped()
        return output
