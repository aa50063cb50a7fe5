"""Maximally perturbed losses of what is labelled and what is not (SAAL, Fig. 4, 11)."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from lightning_al import functional as F_al
from lightning_al.checks import check_count, check_flag
from lightning_al.distributed.randomness import generator
from lightning_al.functional.scores.perturbation import check_perturbation
from lightning_al.functional.scores.saal import LossFn, TargetFn
from lightning_al.gradients.balls import BALLS
from lightning_al.inference.calling import Forward
from lightning_al.report.diagnostics.campaign import KeptCampaign, checked
from lightning_al.report.diagnostics.curvature import Batches, mean_loss
from lightning_al.report.diagnostics.diagnosis import Diagnosis
from lightning_al.report.diagnostics.pictures import Panel, add_point, curves


def perturbed_loss(
    model: nn.Module,
    batches: Batches,
    *,
    rho: float = 0.05,
    perturbation: str = "sam",
    shared: bool = False,
    forward: Forward | None = None,
    target_fn: TargetFn | None = None,
    loss_fn: LossFn | None = None,
) -> float:
    r"""The maximally perturbed loss of a set of samples.

    Eq. 5-7 of Kim et al. (SAAL, ICML 2023) perturb the mean loss of the set once, :math:`\max_\epsilon \frac1N \sum_i
    \ell_i(\theta + \epsilon)`: ``shared=True``. Its acquisition perturbs each sample by itself, and the mean of these
    losses, the default, is an upper bound of that. Both to first order. (The paper does not say which it shows.)

    Args:
        model: Looked at in ``eval()`` and left as it was.
        batches: Pairs of inputs and targets; None in their place: the model's own labels.
        rho: Radius of the perturbation, > 0.
        perturbation: ``"sam"`` or ``"asam"``.
        shared: Whether all samples share one perturbation.
        forward: ``forward(model, inputs) -> outputs``. Default: ``model(inputs)``.
        target_fn: ``target_fn(outputs) -> targets``. Default: the argmax over dimension 1.
        loss_fn: ``loss_fn(outputs, targets) -> (B,)``. Default: cross-entropy in nats.

    Raises:
        ValueError: If an option is out of range, or there are no samples.

    Example:
        >>> model, samples = nn.Linear(2, 3), [(torch.randn(5, 2), None), (torch.randn(3, 2), None)]
        >>> perturbed_loss(model, samples, rho=0.2) >= perturbed_loss(model, samples, rho=0.2, shared=True) - 1e-3
        True
    """
    check_perturbation(rho, perturbation, 2.0)
    check_flag("shared", shared)
    how: dict[str, Any] = {"forward": forward, "target_fn": target_fn, "loss_fn": loss_fn}
    if shared:
        with mean_loss(model, batches, **how) as loss:
            step = BALLS[perturbation](rho).perturbation(loss.weights, loss.gradient())
            moved = [w + e for w, e in zip(loss.weights, step, strict=True)]
            return loss.values([moved])[0]
    scores = [F_al.saal(model, x, rho=rho, perturbation=perturbation, targets=y, **how) for x, y in batches]
    if not scores:
        raise ValueError("There are no samples to take a mean loss of.")
    return float(torch.cat(scores).double().mean())


def losses(
    campaigns: Sequence[KeptCampaign], *, samples: int = 2000, rho: float = 0.05, perturbation: str = "sam"
) -> list[Diagnosis]:
    """The maximally perturbed losses of L, labelled, under its labels; of U, unlabelled, under the model's; of both.

    The last is ``π_L · L + π_U · U``, with their shares of all samples; each sample perturbed by itself, and, "shared",
    all of a set together.

    Args:
        campaigns: Open ones.
        samples: At most how many of each are looked at, drawn at random.
        rho: Radius of the perturbation.
        perturbation: ``"sam"`` or ``"asam"``.
    """
    check_count("samples", samples)
    header = ["campaign", "round", "labels", *(f"{s}{way}" for way in ("", " shared") for s in ("L", "U", "L∪U"))]
    rows: list[list[Any]] = []
    panels: dict[str, Panel] = {column: {} for column in header[3:]}
    for campaign in checked(campaigns, "A perturbed loss", "logits", "gradients"):
        for round in campaign.rounds:
            model, trained_on = campaign.at(round), campaign.trained_on(round)
            draw = torch.randperm(len(trained_on), generator=generator("labelled", round.number))[:samples]
            labelled = campaign.batches(trained_on[draw.sort().values], labels=True)
            unlabelled = campaign.batches(round.candidates[:samples], labels=False)
            share = len(trained_on) / (len(trained_on) + len(round.candidates))
            values: list[float] = []
            for shared in (False, True):
                how: dict[str, Any] = {"rho": rho, "perturbation": perturbation, "shared": shared, **campaign.how}
                known = perturbed_loss(model, labelled, loss_fn=campaign.loss_of(labelled), **how)
                others = 0.0
                if len(round.candidates):
                    others = perturbed_loss(model, unlabelled, loss_fn=campaign.task.loss, **how)
                values += [known, others, share * known + (1 - share) * others]
            rows.append([campaign.name, round.number, round.count, *values])
            for column, value in zip(header[3:], values, strict=True):
                add_point(panels[column], campaign.name, round.count, value)
    note = (
        f"L: labelled samples, under their labels; U: unlabelled ones, under the model's; of each at most {samples}. "
        "Each sample under its own perturbation; shared: one for all of a set."
    )
    return [Diagnosis("losses", "Maximally perturbed losses", header, rows, curves(panels, x="labels"), note)]
