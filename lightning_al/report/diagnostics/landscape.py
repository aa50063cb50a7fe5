"""The loss of the training set around the weights, along two directions that all models share (SAAL, Fig. 5, 15)."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lightning_al.checks import check_count, check_number
from lightning_al.distributed.randomness import generator
from lightning_al.functional.scores.saal import LossFn, TargetFn
from lightning_al.inference.calling import Forward
from lightning_al.inference.compiled import unwrapped
from lightning_al.report.diagnostics.campaign import KeptCampaign, checked
from lightning_al.report.diagnostics.curvature import Batches, Vector, loss_eigenvalue, mean_loss
from lightning_al.report.diagnostics.diagnosis import Diagnosis
from lightning_al.report.diagnostics.pictures import surfaces

Direction = dict[str, Tensor]
"""A tensor for each trainable parameter, by name."""


class LossLandscape(NamedTuple):
    """A surface: places along each direction (P,), and the mean loss (P, P), the first direction along the rows."""

    places: Tensor
    losses: Tensor


def random_directions(model: nn.Module, *, seed: int = 0, count: int = 2) -> list[Direction]:
    """Raw Gaussian directions, which depend on the seed and on the names and shapes of the parameters alone.

    So models of one architecture have the same ones.

    Args:
        model: Whose trainable parameters are meant.
        seed: Of the draw.
        count: How many.
    """
    check_count("count", count)
    return [
        {
            name: torch.randn(p.shape, generator=generator(seed, number, name), dtype=torch.float64).to(p)
            for name, p in unwrapped(model).named_parameters()
            if p.requires_grad
        }
        for number in range(count)
    ]


def filter_normalised(model: nn.Module, direction: Direction) -> Direction:
    r"""A direction whose filters are as long as the model's, :math:`d_f \|\theta_f\| / \|d_f\|` (Li et al. 2018).

    A filter is a row of a weight of two or more dimensions. Biases and the scales of normalisation layers, which have
    one, do not move, as in that paper's code for its surfaces: networks that are the same but for the scale of their
    layers then look the same.

    Args:
        model: Whose weights say how long.
        direction: As :func:`random_directions` gives it.

    Example:
        >>> model = nn.Linear(2, 3)
        >>> [direction] = random_directions(model, count=1)
        >>> moved = filter_normalised(model, direction)
        >>> torch.allclose(moved["weight"].norm(dim=1), model.weight.norm(dim=1)), float(moved["bias"].abs().sum())
        (True, 0.0)
    """
    weights = dict(unwrapped(model).named_parameters())

    def normalised(name: str, d: Tensor) -> Tensor:
        if d.ndim < 2:
            return torch.zeros_like(d)
        rows = tuple(range(1, d.ndim))
        length = torch.linalg.vector_norm(weights[name].detach(), dim=rows, keepdim=True)
        own = torch.linalg.vector_norm(d, dim=rows, keepdim=True)
        return d * torch.where(own > 0, length / torch.where(own > 0, own, 1.0), 0.0)

    return {name: normalised(name, d) for name, d in direction.items()}


def loss_landscape(
    model: nn.Module,
    batches: Batches,
    directions: Sequence[Direction],
    *,
    span: float = 1.0,
    points: int = 21,
    forward: Forward | None = None,
    target_fn: TargetFn | None = None,
    loss_fn: LossFn | None = None,
) -> LossLandscape:
    r"""The mean loss :math:`g(\alpha, \beta) = \frac1n \sum_i \ell(f_{\theta + \alpha d_1 + \beta d_2}(x_i), y_i)`.

    Eq. 14 of Kim et al. (SAAL, ICML 2023, A.6); normalisation layers keep their running statistics. The samples are
    read once; ``points²`` forward passes over them are made.

    Args:
        model: Looked at in ``eval()`` and left as it was.
        batches: Pairs of inputs and targets.
        directions: Two, as :func:`filter_normalised` gives them.
        span: The farthest places along each direction, > 0.
        points: Places along each; odd, so that the model itself is one of them.
        forward: As of :func:`loss_eigenvalue`.
        target_fn: As of :func:`loss_eigenvalue`.
        loss_fn: As of :func:`loss_eigenvalue`.

    Raises:
        ValueError: If an option is out of range.
    """
    check_number("span", span, above=0)
    check_count("points", points, 3)
    if points % 2 == 0:
        raise ValueError(f"`points` must be odd, so that the model itself is one of them, got {points}.")
    if len(directions) != 2:
        raise ValueError(f"A surface is along two `directions`, got {len(directions)}.")
    places = torch.linspace(-span, span, points, dtype=torch.float64)
    places[points // 2] = 0.0
    with mean_loss(model, batches, forward=forward, target_fn=target_fn, loss_fn=loss_fn) as loss:
        along = [[d[name.removeprefix("model.")].to(w) for name, w in zip(loss.names, loss.weights, strict=True)]
                 for d in directions]  # fmt: skip

        def moved(alpha: float, beta: float) -> Vector:
            return [w + alpha * a + beta * b for w, a, b in zip(loss.weights, *along, strict=True)]

        totals = loss.values_at(moved, [(a, b) for a in places.tolist() for b in places.tolist()])
    return LossLandscape(places, torch.tensor(totals, dtype=torch.float64).reshape(points, points))


def landscape(
    campaigns: Sequence[KeptCampaign],
    *,
    samples: int = 2000,
    span: float = 1.0,
    points: int = 21,
    steps: int = 30,
    seed: int = 0,
) -> list[Diagnosis]:
    """The loss landscape of what was labelled in the last round looked at, with λ₁, along the same directions for all.

    Args:
        campaigns: Open ones, of one architecture.
        samples: At most how many labelled samples, the first ones.
        span: The farthest places along each direction.
        points: Places along each; odd.
        steps: At most how many Lanczos steps for λ₁.
        seed: Of the directions.
    """
    check_count("samples", samples)
    rows: list[list[Any]] = []
    panels = {}
    for campaign in checked(campaigns, "A loss landscape", "logits", "gradients"):
        round = campaign.rounds[-1]
        model, batches = campaign.at(round), campaign.batches(campaign.trained_on(round)[:samples], labels=True)
        how: dict[str, Any] = {**campaign.how, "loss_fn": campaign.loss_of(batches)}
        directions = [filter_normalised(model, d) for d in random_directions(model, seed=seed)]
        found = loss_landscape(model, batches, directions, span=span, points=points, **how)
        eigenvalue = loss_eigenvalue(model, batches, steps=steps, **how)
        centre = float(found.losses[points // 2, points // 2])
        around = [float(found.losses.mean()), float(found.losses.max())]
        rows.append([campaign.name, round.number, round.count, eigenvalue, centre, *around])
        panels[f"{campaign.name}, λ₁ = {eigenvalue:.3g}"] = found.places.tolist(), found.losses.tolist()
    return [
        Diagnosis(
            "landscape",
            "Loss of the labelled samples along two filter-normalised directions",
            ["campaign", "round", "labels", "λ₁", "loss", "mean around", "largest around"],
            rows,
            surfaces(panels),
            note=f"Around: at all places up to {span:g} filter lengths away along each direction.",
        )
    ]
