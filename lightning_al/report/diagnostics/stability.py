"""Whether predictions survive their own worst-case perturbation, and by how much they do not (SAAL, Fig. 6, 7)."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lightning_al import functional as F_al
from lightning_al.checks import check_count
from lightning_al.functional.scores.saal import LossFn, TargetFn
from lightning_al.inference.calling import Forward, copies_for_model
from lightning_al.inference.mode import scoring_mode
from lightning_al.report.diagnostics.campaign import KeptCampaign, checked
from lightning_al.report.diagnostics.curvature import Batches
from lightning_al.report.diagnostics.diagnosis import Diagnosis, count_of
from lightning_al.report.diagnostics.pictures import Panel, add_point, curves
from lightning_al.report.diagnostics.rounds import check_some


class Stability(NamedTuple):
    """Of each sample, (N,) each.

    Attributes:
        kept: Whether its label is kept; of several decisions, the share that is.
        margin: δ, by how much another class is ahead; of several decisions, the mean.
        true_loss: The maximally perturbed loss under the true label; NaN where there is none.
    """

    kept: Tensor
    margin: Tensor
    true_loss: Tensor

    @property
    def kept_share(self) -> float:
        """ψ(ρ), the share of samples whose label is kept."""
        return float(self.kept.mean())

    @property
    def relative_margin(self) -> float:
        """r(ρ, δ), the mean of δ over the perturbed loss under the true label; 0/0 counts as 0."""
        nothing = (self.margin == 0) & (self.true_loss == 0)
        return float(torch.where(nothing, 0.0, self.margin / self.true_loss).mean())


def label_stability(
    model: nn.Module,
    batches: Batches,
    *,
    rho: float = 0.05,
    perturbation: str = "sam",
    forward: Forward | None = None,
    target_fn: TargetFn | None = None,
    loss_fn: LossFn | None = None,
    known_loss_fn: LossFn | None = None,
) -> Stability:
    r"""Whether each sample keeps its predicted label under its own worst-case perturbation, and its margin.

    .. math::
        \psi(\rho) = \frac1N \sum_x 1[\arg\max_j f_{\theta+\hat\epsilon}(x)_j = \hat y], \qquad
        \delta_x = [\max_j f_{\theta+\hat\epsilon}(x)_j - f_{\theta+\hat\epsilon}(x)_{\hat y}]_+, \qquad
        r = \frac1N \sum_x \frac{\delta_x}{\max_{\|\epsilon\| \le \rho} \ell(x, \bar y; \theta+\epsilon)}

    with :math:`\hat\epsilon` SAAL's perturbation under the predicted label :math:`\hat y`, and :math:`\bar y` the true
    one (Kim et al., SAAL, ICML 2023, Theorem 3.1, Proposition 3.2).

    Args:
        model: Looked at in ``eval()`` and left as it was.
        batches: Pairs of inputs and true labels; None in their place: there is no r then, NaN.
        rho: Radius of the perturbation, > 0.
        perturbation: ``"sam"`` or ``"asam"``.
        forward: ``forward(model, inputs) -> outputs``, (B, C, ...). Default: ``model(inputs)``.
        target_fn: ``target_fn(outputs) -> targets``. Default: the argmax over dimension 1.
        loss_fn: ``loss_fn(outputs, targets) -> (B,)``. Default: cross-entropy in nats.
        known_loss_fn: The same under true labels, of which some may stand for none. Default: ``loss_fn``.

    Example:
        >>> model, x = nn.Linear(2, 3), torch.randn(20, 2)
        >>> label_stability(model, [(x, torch.arange(20) % 3)], rho=1e-6).kept_share
        1.0
    """
    how: dict[str, Any] = {"rho": rho, "perturbation": perturbation, "forward": forward}
    columns: list[tuple[Tensor, Tensor, Tensor]] = []
    for inputs, targets in batches:
        with scoring_mode(model), torch.no_grad():
            plain = model(copies_for_model(inputs)) if forward is None else forward(model, copies_for_model(inputs))
        labels = plain.argmax(1, keepdim=True)
        moved = F_al.perturbed_outputs(model, inputs, target_fn=target_fn, loss_fn=loss_fn, **how)
        margins = (moved.amax(1, keepdim=True) - moved.gather(1, labels)).clamp(min=0)
        kept = (moved.argmax(1, keepdim=True) == labels).to(margins.dtype)
        true = torch.full((len(moved),), torch.nan, dtype=margins.dtype, device=margins.device)
        if targets is not None:
            known = known_loss_fn if known_loss_fn is not None else loss_fn
            true = F_al.saal(model, inputs, targets=targets, target_fn=target_fn, loss_fn=known, **how)
        columns.append((kept.flatten(1).mean(1), margins.flatten(1).mean(1), true))
    if not columns:
        raise ValueError("There are no samples to perturb.")
    return Stability(*(torch.cat(column).cpu() for column in zip(*columns, strict=True)))


def labels_kept(
    campaigns: Sequence[KeptCampaign],
    *,
    samples: int = 2000,
    radii: Sequence[float] = (0.01, 0.05, 0.1),
    perturbation: str = "sam",
) -> list[Diagnosis]:
    """The share ψ of unlabelled samples that keep their label, and their margin r, for several radii, over rounds.

    Args:
        campaigns: Open ones, simulated: r needs true labels.
        samples: At most how many unlabelled samples of each round.
        radii: ρ.
        perturbation: ``"sam"`` or ``"asam"``.
    """
    check_count("samples", samples)
    rows: list[list[Any]] = []
    counts: list[int] = []
    panels: dict[str, Panel] = {"ψ, labels kept": {}, "r, relative margin": {}}
    for campaign in checked(campaigns, "What keeps its label", "logits", "gradients"):
        for round in campaign.rounds:
            if len(round.candidates) == 0:
                continue
            model, batches = campaign.at(round), campaign.batches(round.candidates[:samples], labels=True)
            for rho in radii:
                found = label_stability(
                    model,
                    batches,
                    rho=rho,
                    perturbation=perturbation,
                    loss_fn=campaign.task.loss,
                    known_loss_fn=campaign.loss_of(batches),
                    **campaign.how,
                )
                values = found.kept_share, found.relative_margin
                mean = float(found.margin.mean())
                counts.append(len(round.candidates[:samples]))
                rows.append([campaign.name, round.number, round.count, rho, *values, mean])
                name = f"ρ={rho:g}" if len(campaigns) == 1 else f"{campaign.name}, ρ={rho:g}"
                for panel, value in zip(panels.values(), values, strict=True):
                    add_point(panel, name, round.count, value)
    check_some(rows, "has an unlabelled sample")
    header = ["campaign", "round", "labels", "ρ", "ψ", "r", "mean δ"]
    title = "Predictions under their own worst-case perturbation, unlabelled samples"
    note = (
        "ρ: radius; ψ: share that keeps its label; δ: by how much another class is ahead of the predicted one; r: "
        "mean over samples of δ / perturbed loss under the true label. "
        f"Of {count_of(counts, 'unlabelled samples')} in each round."
    )
    return [Diagnosis("labels_kept", title, header, rows, curves(panels, x="labels"), note)]
