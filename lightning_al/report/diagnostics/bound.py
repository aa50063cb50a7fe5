"""The terms of SAAL's bound over rounds, and which scores go with them (Theorem 3.3; Fig. 1, Tables 7 to 9)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lightning_al import functional as F_al
from lightning_al.checks import check_count
from lightning_al.functional.scores.saal import LossFn, TargetFn
from lightning_al.functional.scores.uncertainty import entropies
from lightning_al.inference.calling import Forward
from lightning_al.inference.mode import scoring_mode
from lightning_al.report.diagnostics.agreement import correlation, top_k_overlap
from lightning_al.report.diagnostics.campaign import KeptCampaign, checked
from lightning_al.report.diagnostics.curvature import Batches
from lightning_al.report.diagnostics.diagnosis import Diagnosis, count_of
from lightning_al.report.diagnostics.pictures import clouds, curves
from lightning_al.report.diagnostics.rounds import KeptRound, check_some

TERMS = ("task loss", "gradient norm", "first eigenvalue")
SAAL = "SAAL"

ScoreOf = Callable[[nn.Module, Any], Tensor]
"""``score(model, inputs) -> (B,)``."""


class BoundTerms(NamedTuple):
    """The terms of each sample, (N,) each, and its scores by name."""

    loss: Tensor
    slope: Tensor
    curvature: Tensor
    eigenvalue: Tensor
    scores: dict[str, Tensor]

    def by_name(self) -> dict[str, Tensor]:
        """Return what scores are compared with, by the names in :data:`TERMS`."""
        return dict(zip(TERMS, (self.loss, self.slope, self.eigenvalue), strict=True))


def bound_terms(
    model: nn.Module,
    batches: Batches,
    *,
    rho: float = 0.05,
    perturbation: str = "sam",
    steps: int = 30,
    scores: Mapping[str, ScoreOf] | None = None,
    forward: Forward | None = None,
    target_fn: TargetFn | None = None,
    loss_fn: LossFn | None = None,
) -> BoundTerms:
    r"""The terms of Theorem 3.3 of Kim et al. (SAAL, ICML 2023), beside SAAL's score and others.

    See :func:`lightning_al.functional.sharpness_bound`; for ``"asam"`` gradient and Hessian are in scaled coordinates.

    Args:
        model: Looked at in ``eval()`` and left as it was.
        batches: Pairs of inputs and targets; None in their place: the model's own labels, as the theorem has it.
        rho: Radius of the perturbation, > 0.
        perturbation: ``"sam"`` or ``"asam"``.
        steps: At most how many Lanczos steps for each sample.
        scores: Others to compare with, by name.
        forward: ``forward(model, inputs) -> outputs``. Default: ``model(inputs)``.
        target_fn: ``target_fn(outputs) -> targets``. Default: the argmax over dimension 1.
        loss_fn: ``loss_fn(outputs, targets) -> (B,)``. Default: cross-entropy in nats.

    Example:
        >>> terms = bound_terms(nn.Linear(2, 3), [(torch.randn(5, 2), None)], rho=0.01)
        >>> list(terms.scores), bool((terms.scores["SAAL"] <= terms.loss + terms.slope + terms.curvature + 1e-3).all())
        (['SAAL'], True)
    """
    how: dict[str, Any] = {"rho": rho, "perturbation": perturbation}
    how |= {"forward": forward, "target_fn": target_fn, "loss_fn": loss_fn}
    columns: list[tuple[Tensor, ...]] = []
    by_name: dict[str, list[Tensor]] = {}
    for inputs, targets in batches:
        columns.append(tuple(F_al.sharpness_bound(model, inputs, steps=steps, targets=targets, **how)))
        by_name.setdefault(SAAL, []).append(F_al.saal(model, inputs, targets=targets, **how))
        for name, score in (scores or {}).items():
            with scoring_mode(model), torch.no_grad():
                by_name.setdefault(name, []).append(score(model, inputs))
    if not columns:
        raise ValueError("There are no samples to take the bound of.")
    terms = [torch.cat(column).cpu() for column in zip(*columns, strict=True)]
    loss, slope, curvature, eigenvalue = terms
    return BoundTerms(loss, slope, curvature, eigenvalue, {n: torch.cat(parts).cpu() for n, parts in by_name.items()})


def bound(
    campaigns: Sequence[KeptCampaign],
    *,
    samples: int = 200,
    rho: float = 0.05,
    perturbation: str = "sam",
    steps: int = 30,
    k: Sequence[int] = (20, 40, 60, 80, 100),
) -> list[Diagnosis]:
    """The terms over rounds; their correlations with scores and among each other; overlaps of the largest.

    Of the first ``samples`` candidates of each round; correlations and overlaps are means over rounds. The paper does
    not say which correlation: this is Pearson's.

    Args:
        campaigns: Open ones.
        samples: How many unlabelled samples; each takes up to ``steps`` backward passes.
        rho: Radius of the perturbation.
        perturbation: ``"sam"`` or ``"asam"``.
        steps: At most how many Lanczos steps.
        k: Sizes of selections for the overlaps; those that are all of the samples, or more, are left out.
    """
    check_count("samples", samples)
    found: dict[str, list[tuple[KeptRound, BoundTerms]]] = {}
    for campaign in checked(campaigns, "The bound", "logits", "gradients"):
        for round in campaign.rounds:
            if len(round.candidates) == 0:
                continue
            model, batches = campaign.at(round), campaign.batches(round.candidates[:samples], labels=False)
            terms = bound_terms(
                model,
                batches,
                rho=rho,
                perturbation=perturbation,
                steps=steps,
                scores=other_scores(campaign),
                loss_fn=campaign.task.loss,
                **campaign.how,
            )
            found.setdefault(campaign.name, []).append((round, terms))
    check_some(found, "has an unlabelled sample")
    return [_over_rounds(found), _with_scores(found), _among_terms(found), _overlaps(found, k)]


def other_scores(campaign: KeptCampaign) -> dict[str, ScoreOf]:
    """Return the scores of Table 7 beside SAAL's, where the task has what they need."""
    task = campaign.task

    def last_layer_norm(model: nn.Module, inputs: Any) -> Tensor:
        outputs, features = task.outputs_and_features(model, inputs)
        return torch.linalg.vector_norm(task.residuals(outputs), dim=1) * torch.linalg.vector_norm(features, dim=1)

    scores: dict[str, ScoreOf] = {"Entropy": lambda model, inputs: task.score(model, inputs, entropies)}
    return scores | ({"BADGE": last_layer_norm} if {"outputs", "features"} <= task.gives else {})


_Found = dict[str, list[tuple[KeptRound, BoundTerms]]]


def _over_rounds(found: _Found) -> Diagnosis:
    names = ("loss", "slope", "curvature", "eigenvalue", "SAAL")
    titles = ("task loss", "ρ · gradient norm", "½ρ² · first eigenvalue", "first eigenvalue", "SAAL score")
    means = {
        name: [[float(t.mean()) for t in (*terms[:4], terms.scores[SAAL])] for _, terms in rounds]
        for name, rounds in found.items()
    }
    rows: list[list[Any]] = [
        [name, round.number, round.count, *means[name][place]]
        for name, rounds in found.items()
        for place, (round, _) in enumerate(rounds)
    ]
    panels = {
        title: {
            name: ([round.count for round, _ in rounds], [values[column] for values in means[name]])
            for name, rounds in found.items()
        }
        for column, title in enumerate(titles)
    }
    draw = curves(panels, x="labels")
    title = "Terms of the bound of the perturbed loss, mean over unlabelled samples"
    note = f"Of {_samples(found)} in each round."
    return Diagnosis("bound", title, ["campaign", "round", "labels", *names], rows, draw, note)


def _with_scores(found: _Found) -> Diagnosis:
    rows: list[list[Any]] = []
    for name, rounds in found.items():
        for score in rounds[0][1].scores:
            values = [_mean(correlation(t.scores[score], t.by_name()[term]) for _, t in rounds) for term in TERMS]
            rows.append([name, score, *values])
    name, rounds = next(iter(found.items()))
    round, terms = rounds[-1]
    saal = terms.scores[SAAL]
    panels = {term: (values.tolist(), saal.tolist()) for term, values in terms.by_name().items()}
    notes = {term: f"correlation {correlation(saal, values):.3f}" for term, values in terms.by_name().items()}
    draw = clouds(panels, x="of one sample", y="SAAL score", notes=notes)
    return Diagnosis(
        "bound_scores",
        f"SAAL's score and the terms, {name}, {round.count} labels",
        ["campaign", "score", *TERMS],
        rows,
        draw,
        note=f"Pearson's correlation over {_samples(found)}, mean over rounds.",
    )


def _among_terms(found: _Found) -> Diagnosis:
    def row(rounds: Sequence[tuple[KeptRound, BoundTerms]], one: str) -> list[Any]:
        return [
            None if one == other else _mean(correlation(t.by_name()[one], t.by_name()[other]) for _, t in rounds)
            for other in TERMS
        ]

    rows: list[list[Any]] = [[name, one, *row(rounds, one)] for name, rounds in found.items() for one in TERMS]
    pairs = [(one, other) for place, one in enumerate(TERMS) for other in TERMS[place + 1 :]]
    panels = {
        f"{one}, {other}": {
            name: (
                [round.count for round, _ in rounds],
                [correlation(t.by_name()[one], t.by_name()[other]) for _, t in rounds],
            )
            for name, rounds in found.items()
        }
        for one, other in pairs
    }
    title = "Correlations among the terms of the bound"
    note = f"Pearson's correlation over {_samples(found)}, mean over rounds."
    return Diagnosis("bound_terms", title, ["campaign", "term", *TERMS], rows, curves(panels, x="labels"), note)


def _overlaps(found: _Found, sizes: Sequence[int]) -> Diagnosis:
    rows: list[list[Any]] = []
    panels: dict[str, dict[str, tuple[list[int], list[float]]]] = {}
    for name, rounds in found.items():
        fit = [size for size in sizes if size < min(len(t.loss) for _, t in rounds)]
        for term in TERMS:
            shares = [_mean(top_k_overlap(t.scores[SAAL], t.by_name()[term], s) for _, t in rounds) for s in fit]
            rows.append([name, term, *shares, *[None for _ in sizes[len(fit) :]]])
            panels.setdefault(term, {})[name] = fit, shares
    fewest = min(len(t.loss) for rounds in found.values() for _, t in rounds)
    by_chance = [f"{size / fewest:.2f} at k={size}" for size in sizes if size < fewest]
    chance = ", ".join(by_chance) or f"nothing to say, as no k is below {fewest}"
    return Diagnosis(
        "bound_overlap",
        "Share of the k samples of largest SAAL score among the k of largest term",
        ["campaign", "term", *(f"k={size}" for size in sizes)],
        rows,
        curves(panels, x="k"),
        note=f"Mean over rounds, of {_samples(found)}. By chance: {chance}.",
    )


def _samples(found: _Found) -> str:
    return count_of((len(terms.loss) for rounds in found.values() for _, terms in rounds), "unlabelled samples")


def _mean(values: Any) -> float:
    """Return the mean of those that are numbers; NaN if none is."""
    numbers = [value for value in values if value == value]
    return sum(numbers) / len(numbers) if numbers else float("nan")
