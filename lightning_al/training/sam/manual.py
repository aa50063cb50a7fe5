"""Sharpness-aware minimization by manual optimization, with windows, clipping and schedules of its own."""

from collections.abc import Callable
from typing import Any, Literal

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer

from lightning_al.training.mixing_in import around, training_trainer
from lightning_al.training.sam.base import SAMBase
from lightning_al.training.sam.options import OPTIONS
from lightning_al.training.sam.schedules import is_one_optimizer, step_schedules, take_monitors
from lightning_al.training.sam.step import check_steps_alone
from lightning_al.training.sam.strategies import unsynced
from lightning_al.training.sam.window import is_last_batch, loss_of


class SAMMixin(SAMBase):
    r"""Trains a LightningModule with SAM by manual optimization: ``class Net(SAMMixin, MyModule)``.

    ``variant=`` chooses one of SAM's family, which SAAL's authors name as the way to less time. Costs in plain steps:

    * ``"sam"`` (Foret 2020, default): 2.
    * ``"esam"`` (Du 2021): 1 and a forward pass and the share ``gamma`` of 1; ε is on a random share ``beta`` of the
      weights, scaled by ``1 / beta``, and the second pass is over the :math:`\lceil \gamma B \rceil` samples of the
      batch whose loss rose most. It needs the loss of each sample, caught where ``training_step`` calls torch's loss
      functions; else override :meth:`losses_per_sample`.
    * ``"gsam"`` (Zhuang 2022): 2; along :math:`g' - \alpha g_\perp`, with :math:`g_\perp` the part of the gradient
      :math:`g` at :math:`\theta` orthogonal to :math:`g'`, that at :math:`\theta + \epsilon`; the radius follows the
      learning rate if ``rho_min`` is given.
    * ``"looksam"`` (Liu 2022): :math:`1 + 1/k`; :math:`g'` in every k-th step (``every``) only, whose part :math:`v`
      orthogonal to :math:`g` is kept; in between along :math:`g + \alpha (\|g\| / \|v\|) v`.
    * ``"saf"`` (Du 2022): 1; no :math:`\epsilon`, but :math:`\lambda\,\mathrm{KL}(\mathrm{softmax}(z_{old} / \tau) \|
      \mathrm{softmax}(z / \tau))` in the loss, with the sample's own logits of ``lag`` epochs ago, from ``start_epoch``
      on. Their memory is ``lag`` times the logits of the training set, in RAM; see :meth:`sample_ids`.
    * ``"mesa"``, its form without memory: 1 and a forward pass; :math:`z_{old}` of a moving average of the weights.

    What they keep from step to step is in the optimizer's state, what from epoch to epoch in the checkpoint, so that a
    fit that is resumed goes on as it was. Each option belongs to some of them, and is refused with others.

    ``MyModule`` stays as written for automatic optimization, with one optimizer. Its ``training_step`` runs at
    :math:`\theta` and again at :math:`\theta + \epsilon`; the optimizer steps from exactly :math:`\theta` with the
    second gradient, once per batch (or window of batches), so ``global_step`` and ``max_steps`` mean what they
    always mean. Schedulers are stepped as automatic optimization would. The second pass logs nothing and leaves
    torchmetrics, and by default all buffers (BatchNorm's running statistics), as the first left them; what else
    should not happen twice, guard with ``if self.sam_pass == 0``. It gets the batch as the first got it, whatever
    ``training_step`` did to that (``x.sub_(mean)``, ``batch.pop("label")``): a copy of each batch of the window, which
    costs its memory once more during the first pass. ``on_after_backward`` runs in both passes. A window
    in which every ``training_step`` returned ``None`` makes no step.

    Every option may also be a class attribute: ``class Net(SAMMixin, MyModule): rho = 0.1``. A keyword that
    ``MyModule``'s own ``__init__`` takes too goes to ``MyModule``; set SAM's as a class attribute then.

    Args:
        *args: Go to the module's own ``__init__``.
        variant: As above.
        rho: Radius of the perturbation, > 0. Default 0.05.
        perturbation: ``"sam"`` (Foret 2020, default) or ``"asam"`` (Kwon 2021).
        p: Norm of the ball for ``"sam"``, > 1. Default 2.
        eta: Added to ``|θ|`` for ``"asam"``. Default 0.
        scope: For ``"asam"``: ``"all"`` (default) scales every parameter by ``T = |θ| + η``; ``"weights"`` takes
            ``T = 1`` where the name does not contain "weight", as the ASAM authors' code.
        ascent: ``"global"`` (default): one direction from the gradient of all ranks; ``"per_rank"``: each rank its own
            (m-sharpness), under DDP.
        running_stats: ``"first"`` (default): only the first pass updates BatchNorm's statistics and other buffers;
            ``"both"``: both do.
        same_noise: Draw the same dropout masks in both passes. Default ``False``.
        alpha: How much of :math:`g_\perp` (``"gsam"``, default 0.4) or of :math:`v` (``"looksam"``, default 0.7), >= 0.
        beta: ``"esam"``: the share of the weights that is perturbed, in (0, 1]. Default 0.5.
        gamma: ``"esam"``: the share of the samples in the second pass, in (0, 1]. Default 0.5.
        every: ``"looksam"``: k, >= 1. Default 5.
        rho_min: ``"gsam"``: the radius where the learning rate is ``lr_min``; ``rho`` is that at ``lr_max``. Default
            ``None``: ``rho`` throughout.
        lr_min: ``"gsam"``: the lower end of the learning rate. Default 0.
        lr_max: ``"gsam"``: the upper end. Default: what the schedule of the first group began with, or goes up to.
        trajectory_weight: :math:`\lambda`, >= 0. Default 0.3 for ``"saf"``, 0.8 for ``"mesa"``. The authors' code has a
            factor :math:`\tau^2` more than the paper: multiply by it for theirs.
        temperature: :math:`\tau`, > 0, for ``"saf"`` and ``"mesa"``. Default 5.
        start_epoch: From which epoch on, counted from 0, for ``"saf"`` and ``"mesa"``. Default 5.
        lag: ``"saf"``: how many epochs ago. Default 3.
        decay: ``"mesa"``: how much of the average stays at each step, in (0, 1). Default 0.9995, which is meant for
            thousands of steps.
        accumulate_grad_batches: Batches per step; both passes see the whole window. Default 1. The Trainer does not
            know of it: divide ``trainer.estimated_stepping_batches`` by it where a schedule counts steps.
        gradient_clip_val: Clips the second gradient; ``None`` (default) or 0: not.
        gradient_clip_algorithm: ``"norm"`` (default) or ``"value"``.
        **kwargs: Go to the module's own ``__init__``.

    Raises:
        TypeError: If the module drives its optimizer itself, or stands before the mixin in the class statement; at
            the first batch, if the optimizer needs a closure (``LBFGS``): :class:`AutoSAMMixin` takes it.
        ValueError: If an option is out of range, or not one of the variant.

    Example:
        >>> from lightning.pytorch.demos.boring_classes import BoringModel
        >>> class Net(SAMMixin, BoringModel):
        ...     rho = 0.1
        >>> Net().automatic_optimization, Net(perturbation="asam", gradient_clip_val=1.0).sam_pass
        (False, 0)
    """

    _sam_automatic = False
    # `configure_optimizers` may be replaced, as the command line does.
    _sam_must_be_wrapped = (
        "training_step",
        "configure_callbacks",
        "on_before_optimizer_step",
        "on_train_epoch_end",
        "on_validation_model_zero_grad",
    )

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
        accumulate_grad_batches: int | None = None,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: Literal["norm", "value"] | None = None,
        **kwargs: Any,
    ) -> None:
        local = locals()
        kwargs.update(self._sam_configure({name: local[name] for name in OPTIONS}))
        super().__init__(*args, **kwargs)

    @around("training_step")
    def _around_training_step(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        trainer, state = training_trainer(self), self._sam
        if trainer is None:
            return call(*args, **kwargs)
        self._sam_step_plateaus()
        n, batch_idx = state.options.accumulate_grad_batches, trainer.fit_loop.batch_idx
        if batch_idx % n == 0:
            state.window.clear()  # of an epoch that was cut short
        steps = (batch_idx + 1) % n == 0 or is_last_batch(trainer)
        optimizer: Any = self.optimizers()
        if not is_one_optimizer(optimizer):
            raise MisconfigurationException(f"SAM needs exactly one optimizer, got {len(optimizer)}.")
        check_steps_alone(optimizer.optimizer)

        micro_batch = self._sam_begin(args, kwargs)
        with unsynced(trainer.strategy, block=not steps or state.options.ascent == "per_rank"):
            output = self._sam_first(call, micro_batch, args, kwargs)
            loss = loss_of(output, trainer)
            if loss is not None:
                if not state.window:
                    optimizer.zero_grad()
                self.manual_backward(loss / n)
                state.window.append(micro_batch)
        if steps and state.window:
            self._sam_direction(optimizer.zero_grad, call, self.manual_backward, n)
            optimizer.step()
            self._sam_stepped()
            step_schedules(self, state.monitors, "step", plateau=False, count=batch_idx + 1)
            state.plateau_due = batch_idx + 1
        if is_last_batch(trainer):
            step_schedules(self, state.monitors, "epoch", plateau=False, count=trainer.current_epoch + 1)
        return output

    @around("configure_optimizers")
    def _around_configure_optimizers(self, call: Callable[..., Any]) -> Any:
        state = self._sam
        configured, state.monitors = take_monitors(call())
        state.plateau_due = 0
        return configured

    @around("on_before_optimizer_step")
    def _around_on_before_optimizer_step(self, call: Callable[..., Any], optimizer: Any) -> None:
        """Clip after the user's hook and after the scaler has unscaled, as automatic optimization does."""
        call(optimizer)
        options = self._sam.options
        if options.gradient_clip_val:
            self.clip_gradients(optimizer, options.gradient_clip_val, options.gradient_clip_algorithm)

    @around("on_validation_model_zero_grad")
    def _around_on_validation_model_zero_grad(self, call: Callable[..., Any]) -> None:
        """Keep what a window has gathered when a validation comes in between; Lightning does not know our window."""
        if not self._sam.window:
            call()

    def _sam_after_epoch(self) -> None:
        super()._sam_after_epoch()
        self._sam_step_plateaus()
        trainer = self.trainer
        if is_last_batch(trainer) and not trainer.fit_loop.restarting:
            step_schedules(self, self._sam.monitors, "epoch", plateau=True, count=trainer.current_epoch + 1)

    def _sam_step_plateaus(self) -> None:
        """Step the schedulers that watch a metric at steps: before the next batch, after a validation in between."""
        state = self._sam
        if state.plateau_due:
            count, state.plateau_due = state.plateau_due, 0
            step_schedules(self, state.monitors, "step", plateau=True, count=count)

    def _sam_check_trainer(self, trainer: Trainer) -> None:
        for name, off in (("gradient_clip_val", (None, 0)), ("accumulate_grad_batches", (1,))):
            value = getattr(trainer, name)
            if value not in off:
                raise MisconfigurationException(
                    f"SAMMixin optimizes manually, where Lightning does not support Trainer({name}={value}). Write"
                    f" `{type(self).__name__}({name}={value})` instead, or use AutoSAMMixin."
                )
