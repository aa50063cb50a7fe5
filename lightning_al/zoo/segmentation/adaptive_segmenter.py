"""A segmenter that learns a target domain beside a labelled source, in one run that goes on from round to round."""

from typing import Any

import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn

from lightning_al.checks import Findings, check_count, check_number, check_that
from lightning_al.zoo.segmentation.adaptation_losses import local_consistency_loss, negative_learning_loss
from lightning_al.zoo.segmentation.domains import TARGET
from lightning_al.zoo.segmentation.segmenter import Segmenter, pixel_loss


class AdaptiveSegmenter(Segmenter):
    """Training as in RIPU's code (Xie et al., CVPR 2022), over samples ``(image, mask, domain)``.

    The loss is the sum of four: cross-entropy of the source's pixels; that of the target's pixels that were told;
    ``local_consistency`` times :func:`~lightning_al.zoo.segmentation.adaptation_losses.local_consistency_loss` of the
    source; and ``negative_learning`` times
    :func:`~lightning_al.zoo.segmentation.adaptation_losses.negative_learning_loss` of the target's images. The last
    needs no labels: until some were told it takes the images beside the batch,
    ``TwoDomainsDataModule(target_batch_size=...)``.

    The steps are counted over the rounds, in a buffer that is saved with the weights. The rate falls as ``(1 - steps /
    poly_steps) ** poly_power``, and a round ends when the count comes to a number of ``rounds_end_at``: run the loop
    with ``reset="continue"`` and the Trainer with more epochs than it ever needs, so that all is one run that is never
    restarted.

    Args:
        net: Images (B, 3, H, W) to logits (B, num_classes, H, W).
        num_classes: Number of classes.
        ignore_index: The target of pixels that do not count.
        also_over: As of :class:`Segmenter`.
        local_consistency: Weight of this loss; 0 leaves it out.
        negative_learning: Weight of this loss; 0 leaves it out.
        negative_below: The probability below which a class is unlikely.
        optimizer: Groups of weights to optimizer. Default: SGD as published.
        head: Name of the part of ``net`` that learns at a rate of its own.
        head_rate: The rate of this part, in those of the rest.
        poly_steps: Steps over which the rate falls to 0. None: it is constant.
        poly_power: See above.
        rounds_end_at: Steps, counted from the first round on, after which a round ends; ascending. None: rounds end as
            the Trainer says.

    Raises:
        ValueError: If an option is out of range, or ``net`` has no such part.

    Example:
        >>> model = AdaptiveSegmenter(nn.ModuleDict({"classifier": nn.Conv2d(3, 5, 1)}), num_classes=5)
        >>> [group["lr"] for group in model.configure_optimizers().param_groups]
        [0.0025]
    """

    def __init__(
        self,
        net: nn.Module,
        num_classes: int,
        ignore_index: int = 255,
        also_over: dict[str, list[int]] | None = None,
        local_consistency: float = 0.1,
        negative_learning: float = 1.0,
        negative_below: float = 0.05,
        # A lambda, since jsonargparse reads its source.
        optimizer: OptimizerCallable = lambda params: torch.optim.SGD(
            params, lr=2.5e-4, momentum=0.9, weight_decay=5e-4
        ),
        head: str = "classifier",
        head_rate: float = 10.0,
        poly_steps: int | None = None,
        poly_power: float = 0.9,
        rounds_end_at: list[int] | None = None,
    ) -> None:
        with Findings() as findings:
            with findings.of_block():
                super().__init__(net, num_classes, ignore_index=ignore_index, also_over=also_over, optimizer=optimizer)
            findings.of(check_number, "local_consistency", local_consistency, least=0)
            findings.of(check_number, "negative_learning", negative_learning, least=0)
            findings.of(check_number, "negative_below", negative_below, above=0, most=1)
            findings.of(check_number, "head_rate", head_rate, above=0)
            findings.of(check_count, "poly_steps", poly_steps, optional=True)
            findings.of(check_number, "poly_power", poly_power, above=0)
            ends = rounds_end_at or []
            ascending = all(end > before for before, end in zip([0, *ends], ends, strict=False))
            findings.of(check_that, ascending, "rounds_end_at", rounds_end_at, "steps, ascending from 1 on")
            parts = [name for name, part in net.named_modules() if name and any(True for _ in part.parameters())]
            findings.refuse_if(
                head not in parts,
                f"`head={head!r}` is no part of {type(net).__name__} with weights; there are "
                f"{', '.join(parts[:5]) or 'none'}{', ...' * (len(parts) > 5)}.",
            )
        self.local_consistency = local_consistency
        self.negative_learning = negative_learning
        self.negative_below = negative_below
        self.head = head
        self.head_rate = head_rate
        self.poly_steps = poly_steps
        self.poly_power = poly_power
        self.rounds_end_at = ends
        self.trained_steps: Tensor
        self.register_buffer("trained_steps", torch.zeros((), dtype=torch.long))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Return the sum of the four losses."""
        beside = None
        if isinstance(batch, dict):
            batch, beside = batch["labelled"], batch["target"]
        images, targets, domains = batch
        of_target = domains == TARGET
        if beside is None or of_target.any():
            logits = self(images)
            unlabelled = logits[of_target]
        else:  # nothing was told yet
            logits, unlabelled = self(torch.cat([images, beside])).split([len(images), len(beside)])
        losses = self._losses(logits, targets, of_target, unlabelled)
        for name, loss in losses.items():
            self.log(f"train_{name}", loss, batch_size=len(images))
        return torch.stack(list(losses.values())).sum()

    def _losses(self, logits: Tensor, targets: Tensor, of_target: Tensor, unlabelled: Tensor) -> dict[str, Tensor]:
        source = logits[~of_target], targets[~of_target], self.ignore_index
        losses = {"source": pixel_loss(*source)}
        losses["target"] = pixel_loss(logits[of_target], targets[of_target], self.ignore_index)
        if self.local_consistency:
            losses["consistency"] = self.local_consistency * local_consistency_loss(*source)
        if self.negative_learning:
            losses["negative"] = self.negative_learning * negative_learning_loss(unlabelled, self.negative_below)
        return losses

    def configure_optimizers(self) -> Any:
        """A new optimizer, the head at its own rate, and the schedule by the steps of all rounds."""
        head = {id(p) for p in self.net.get_submodule(self.head).parameters()}
        parts = [[p for p in self.parameters() if (id(p) in head) == in_head] for in_head in (False, True)]
        optimizer = self.optimizer([{"params": part} for part in parts if part])  # type: ignore[arg-type]
        optimizer.param_groups[-1]["lr"] *= self.head_rate
        if self.poly_steps is None:
            return optimizer
        # By the count of all rounds, whatever the scheduler, which begins anew in each round, has counted.
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: self.rate_left())
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def rate_left(self) -> float:
        """Return the share of the first rate that is left after the steps so far."""
        return (1 - min(int(self.trained_steps) / (self.poly_steps or 1), 1.0)) ** self.poly_power

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, count it, and end the round when it has had its steps."""
        super().optimizer_step(*args, **kwargs)
        self.trained_steps += 1
        # Not at the end of a batch: of accumulated gradients the next round has some before its first step.
        if int(self.trained_steps) in self.rounds_end_at:
            self.trainer.should_stop = True
