"""Learning-rate schedules under manual optimization, stepped when automatic optimization would step them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities import rank_zero_warn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

_KEPT_BY_LIGHTNING = ("scheduler", "name", "interval", "frequency")
_KEPT_BY_US = ("monitor", "strict", "reduce_on_plateau")


@dataclass(frozen=True)
class Monitor:
    """The keys of a scheduler's dict that Lightning drops under manual optimization."""

    scheduler: Any
    monitor: str | None = None
    strict: bool = True
    reduce_on_plateau: bool = False


def take_monitors(configured: Any) -> tuple[Any, list[Monitor]]:
    """Split what ``configure_optimizers`` returned into what manual optimization accepts and what it would drop.

    Args:
        configured: Any of the forms that Lightning documents, with one optimizer.

    Returns:
        The same without the keys ``monitor``, ``strict`` and ``reduce_on_plateau``; and one :class:`Monitor` per
        scheduler.

    Raises:
        MisconfigurationException: If there is not exactly one optimizer, an interval is not "step" or "epoch", or a
            ``ReduceLROnPlateau`` has nothing to monitor.

    Example:
        >>> import torch
        >>> sgd = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))])
        >>> plateau = ReduceLROnPlateau(sgd)
        >>> kept, [monitor] = take_monitors({"optimizer": sgd, "lr_scheduler": plateau, "monitor": "val_loss"})
        >>> sorted(kept), monitor.monitor
        (['lr_scheduler', 'optimizer'], 'val_loss')
    """
    monitors: list[Monitor] = []
    if isinstance(configured, dict):
        return _split_dict(configured, monitors), monitors
    if not isinstance(configured, list | tuple):
        if configured is None:
            _refuse_count(0)
        return configured, monitors
    if len(configured) == 2 and isinstance(configured[0], list):
        optimizers, schedulers = configured
        _refuse_count(len(optimizers))
        schedulers = schedulers if isinstance(schedulers, list) else [schedulers]
        pairs = [_split(scheduler, None) for scheduler in schedulers]
        return (optimizers, [entry for entry, _ in pairs]), [monitor for _, monitor in pairs]
    _refuse_count(len(configured))
    return [_split_dict(c, monitors) if isinstance(c, dict) else c for c in configured], monitors


def _split_dict(configured: Mapping[str, Any], monitors: list[Monitor]) -> dict[str, Any]:
    """Return an optimizer's dict as Lightning may see it, and put the rest of its scheduler among the monitors."""
    accepted = {key: value for key, value in configured.items() if key != "monitor"}
    if "lr_scheduler" in accepted:
        accepted["lr_scheduler"], monitor = _split(accepted["lr_scheduler"], configured.get("monitor"))
        monitors.append(monitor)
    return accepted


def step_schedules(
    module: LightningModule, monitors: Sequence[Monitor], interval: str, *, plateau: bool, count: int
) -> None:
    """Step the schedulers of ``module`` that are due.

    Args:
        module: The module in training; its ``lr_scheduler_step`` hook does the step.
        monitors: From :func:`take_monitors`. A scheduler that is not among them (added by a callback, or by
            LightningCLI on the instance) is read from its own attributes.
        interval: ``"step"`` or ``"epoch"``.
        plateau: Whether the turn is that of the schedulers that watch a metric, or that of the others.
        count: Batches of this epoch, or epochs, so far; a scheduler is due when its frequency divides it.

    Raises:
        MisconfigurationException: If a watched metric was not logged and the scheduler is strict.
    """
    trainer = module.trainer
    for config in trainer.lr_scheduler_configs:
        known = [m for m in monitors if m.scheduler is config.scheduler]
        monitor = known[0] if known else _split(config.scheduler, None)[1]
        if monitor.reduce_on_plateau != plateau or config.interval != interval or count % config.frequency:
            continue
        value = None
        if monitor.reduce_on_plateau:
            watched = str(monitor.monitor)  # never None: `_split` refuses a plateau that watches nothing
            value = trainer.callback_metrics.get(watched)
            if value is None:
                message = (
                    f"ReduceLROnPlateau watches {watched!r}, which was not logged."
                    f" Logged are: {sorted(trainer.callback_metrics)}."
                )
                if monitor.strict:
                    raise MisconfigurationException(f"{message} Log it, or name another one as `monitor`.")
                rank_zero_warn(f"{message} The learning rate stays as it is.", category=RuntimeWarning)
                continue
        module.lr_scheduler_step(config.scheduler, value)


def _split(entry: Any, monitor: str | None) -> tuple[Any, Monitor]:
    """One scheduler, bare or in its dict, as Lightning may see it; and the rest. ``monitor``: of the outer dict."""
    options = dict(entry) if isinstance(entry, dict) else {"scheduler": entry}
    if "scheduler" not in options:
        raise MisconfigurationException(f'The lr scheduler dict has no key "scheduler", only {sorted(options)}.')
    if options.get("interval", "epoch") not in ("step", "epoch"):
        raise MisconfigurationException(
            f'The "interval" of an lr scheduler must be "step" or "epoch", got {options["interval"]!r}.'
        )
    unknown = sorted(options.keys() - set(_KEPT_BY_LIGHTNING) - set(_KEPT_BY_US))
    if unknown:
        rank_zero_warn(f"Unknown keys in the lr scheduler dict are ignored: {unknown}.", category=RuntimeWarning)
    scheduler = options["scheduler"]
    # LightningCLI's own ReduceLROnPlateau carries what it monitors.
    watched = options.get("monitor") or monitor or getattr(scheduler, "monitor", None)
    plateau = bool(options.get("reduce_on_plateau", isinstance(scheduler, ReduceLROnPlateau)))
    if plateau and watched is None:
        raise MisconfigurationException(
            "`configure_optimizers` returned a ReduceLROnPlateau and no metric for it. Return"
            ' {"optimizer": ..., "lr_scheduler": {"scheduler": ..., "monitor": "val_loss"}}.'
        )
    accepted = {k: v for k, v in options.items() if k in _KEPT_BY_LIGHTNING} if isinstance(entry, dict) else entry
    return accepted, Monitor(scheduler, watched, bool(options.get("strict", True)), plateau)


def _refuse_count(optimizers: int) -> None:
    if optimizers != 1:
        raise MisconfigurationException(
            f"SAM needs exactly one optimizer, `configure_optimizers` returned {optimizers}. Put all parameters"
            " into the groups of one, or drive several by hand with `lightning_al.training.sam_step`."
        )


def is_one_optimizer(optimizers: Any) -> bool:
    """Whether ``LightningModule.optimizers()`` returned one optimizer rather than a list."""
    return isinstance(optimizers, Optimizer)
