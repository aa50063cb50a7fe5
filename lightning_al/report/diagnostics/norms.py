"""Gradient norms under the true labels: whether a method picks the largest, and whether they fall once it did."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lightning_al import functional as F_al
from lightning_al.checks import check_count
from lightning_al.functional.scores.probabilities import mean_cross_entropy, pseudo_labels
from lightning_al.functional.scores.saal import LossFn, TargetFn
from lightning_al.functional.selection import top_k
from lightning_al.inference.calling import Forward
from lightning_al.report.diagnostics.campaign import KeptCampaign, checked
from lightning_al.report.diagnostics.curvature import Batches
from lightning_al.report.diagnostics.diagnosis import Diagnosis, count_of
from lightning_al.report.diagnostics.pictures import Panel, add_point, curves
from lightning_al.report.diagnostics.rounds import KeptRound, check_some

SCHEMES = ("entropy", "expected_norm", "true")
"""Of which loss a norm is: without labels, by the entropy or all labels; or of the true label's."""


@dataclass(frozen=True)
class _WithTarget:
    """Calls the model on inputs, and hands the targets that come with them on beside its outputs."""

    forward: Forward | None

    def __call__(self, model: nn.Module, samples: Any) -> Any:
        inputs, targets = samples["inputs"], samples["targets"]
        return (model(inputs) if self.forward is None else self.forward(model, inputs)), targets


@dataclass(frozen=True)
class _Loss:
    """The loss of each sample, from outputs with or without targets beside them."""

    loss_fn: LossFn
    target_fn: TargetFn

    def known(self, pair: Any) -> Tensor:
        outputs, targets = pair
        return self.loss_fn(outputs, targets)

    def own(self, outputs: Any) -> Tensor:
        return self.loss_fn(outputs, self.target_fn(outputs))


def loss_gradient_norms(
    model: nn.Module,
    batches: Batches,
    *,
    norm: str = "global",
    forward: Forward | None = None,
    target_fn: TargetFn | None = None,
    loss_fn: LossFn | None = None,
) -> Tensor:
    r"""The norm :math:`\|\nabla_\theta \ell(x, y)\|` of each sample's loss under its label, (N,), in their order.

    Args:
        model: Looked at in ``eval()`` and left as it was.
        batches: Pairs of inputs and targets; None in their place: the model's own labels.
        norm: ``"global"``, or ``"tensor_sum"``, the sum over parameter tensors that the papers' code computes.
        forward: ``forward(model, inputs) -> outputs``. Default: ``model(inputs)``.
        target_fn: ``target_fn(outputs) -> targets``. Default: the argmax over dimension 1.
        loss_fn: ``loss_fn(outputs, targets) -> (B,)``. Default: cross-entropy in nats.

    Example:
        >>> model, x = nn.Linear(2, 3), torch.randn(4, 2)
        >>> own, worst = model(x).argmax(1), model(x).argmin(1)
        >>> norms = [loss_gradient_norms(model, [(x, labels)]) for labels in (own, worst, None)]
        >>> bool((norms[0] < norms[1]).all()), torch.allclose(norms[0], norms[2])
        (True, True)
    """
    find_targets = target_fn if target_fn is not None else pseudo_labels
    loss = _Loss(loss_fn if loss_fn is not None else mean_cross_entropy, find_targets)
    with_target, parts = _WithTarget(forward), []
    for inputs, targets in batches:
        if targets is None:
            parts.append(F_al.gradient_norm(model, inputs, loss=loss.own, norm=norm, forward=forward))
        else:
            samples = {"inputs": inputs, "targets": targets}
            parts.append(F_al.gradient_norm(model, samples, loss=loss.known, norm=norm, forward=with_target))
    return torch.cat(parts).cpu() if parts else torch.empty(0)


def norms_of(campaign: KeptCampaign, model: nn.Module, indices: Tensor, scheme: str, norm: str = "global") -> Tensor:
    """Return the gradient norms of samples of a campaign by one of the :data:`SCHEMES`, (N,)."""
    batches = campaign.batches(indices, labels=scheme == "true")
    if scheme == "true":
        return loss_gradient_norms(model, batches, norm=norm, loss_fn=campaign.loss_of(batches), **campaign.how)
    task = campaign.task
    parts = []
    for inputs, _ in batches:
        if scheme == "entropy":
            how: dict[str, Any] = {"loss": task.entropy, "forward": task.logits}
            parts.append(F_al.gradient_norm(model, inputs, norm=norm, **how))
        else:

            def scores(forward: Forward, some: Any) -> Tensor:
                how = {"loss": "expected_norm", "reduce": task.reduce, "forward": forward}
                return F_al.gradient_norm(model, some, norm=norm, **how)  # type: ignore[arg-type]

            parts.append(task.score_of_several(model, inputs, scores))
    return torch.cat(parts).cpu()


def norms(campaigns: Sequence[KeptCampaign], *, samples: int | None = None, norm: str = "global") -> list[Diagnosis]:
    """How many of the K largest true-label gradient norms among the candidates each round picked.

    Wang et al. (AAAI 2022, Table 1): K is how many were picked. "By chance" is what a uniform draw would pick.

    Args:
        campaigns: Open ones, simulated.
        samples: At most how many candidates are looked at, the picks and some of the others, drawn at random: among
            fewer, more of the picks are the largest, by chance too. None: all.
        norm: ``"global"`` or ``"tensor_sum"``.

    Raises:
        ValueError: If ``samples`` are no more than a round picked.
    """
    check_count("samples", samples, optional=True)
    picked = max((len(round.picked) for campaign in campaigns for round in campaign.rounds), default=0)
    if samples is not None and samples <= picked:
        raise ValueError(
            f"`samples` must be more than the {picked} picks of a round, which are compared with the others, got "
            f"{samples}."
        )
    rows: list[list[Any]] = []
    counts: list[int] = []
    panel: Panel = {}
    for campaign in checked(campaigns, "A gradient norm", "logits", "gradients"):
        for round in campaign.rounds:
            k = len(round.picked)
            if k == 0:
                continue
            some = _picks_and_others(round, samples)
            found = norms_of(campaign, campaign.at(round), some, "true", norm)
            hits = int(torch.isin(round.picked, some[top_k(found, k)]).sum())
            is_picked = torch.isin(some, round.picked)
            of_picks, of_others = (float(found[each].mean()) if each.any() else 0.0 for each in (is_picked, ~is_picked))
            left = len(round.scored) - k  # for whom the others stand that are looked at
            mean = (k * of_picks + left * of_others) / len(round.scored)
            chance = k * k / len(some)
            rows.append([campaign.name, round.number, round.count, k, hits, chance, hits / k, of_picks, mean])
            counts.append(len(some))
            add_point(panel, campaign.name, round.count, hits / k)
    check_some(rows, "picked anything")
    header = ["campaign", "round", "labels", "K", "hits", "hits by chance", "share", "mean of picks", "mean"]
    title = "Share of the largest true-label gradient norms that were picked"
    note = f"K of {count_of(counts, 'candidates')}. Share: hits over K."
    return [Diagnosis("norms", title, header, rows, curves({"share of the top K": panel}, x="labels"), note)]


def _picks_and_others(round: KeptRound, most: int | None) -> Tensor:
    """Return the picks, and as many of the other candidates that were scored, in their order."""
    scored, is_picked = round.scored, torch.isin(round.scored, round.picked)
    others = scored[~is_picked] if most is None else scored[~is_picked][: most - len(round.picked)]
    return scored[is_picked | torch.isin(scored, others)]


def falls(
    campaigns: Sequence[KeptCampaign], *, schemes: Sequence[str] = SCHEMES, norm: str = "global"
) -> list[Diagnosis]:
    """How many of a round's picks have no larger gradient norm after the next fit, which trained on them.

    Wang et al. (AAAI 2022, Tables 4, 5), by each scheme; of pairs of consecutive rounds that both have their weights.

    Args:
        campaigns: Open ones.
        schemes: Of :data:`SCHEMES`; ``"true"`` needs a simulated campaign.
        norm: ``"global"`` or ``"tensor_sum"``.
    """
    rows: list[list[Any]] = []
    panels: dict[str, Panel] = {scheme: {} for scheme in schemes}
    for campaign in checked(campaigns, "A gradient norm", "logits", "gradients"):
        for now, then in campaign.followed:
            before = {s: norms_of(campaign, campaign.at(now), now.picked, s, norm) for s in schemes}
            model = campaign.at(then)
            for scheme in schemes:
                after = norms_of(campaign, model, now.picked, scheme, norm)
                fell = int((after <= before[scheme]).sum())
                means = float(before[scheme].mean()), float(after.mean())
                rows.append([campaign.name, now.number, now.count, scheme, len(after), fell, fell / len(after), *means])
                add_point(panels[scheme], campaign.name, now.count, fell / len(after))
    check_some(rows, "picked anything and is followed by one that is looked at too")
    header = ["campaign", "round", "labels", "scheme", "picks", "fell", "share", "mean before", "mean after"]
    title = "Share of picks whose gradient norm fell in the next round"
    return [Diagnosis("falls", title, header, rows, curves(panels, x="labels"))]
