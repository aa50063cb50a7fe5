"""How much a sample's absence would raise the test loss, and the bounds of it that gradient norms stand on."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lightning_al.checks import check_choice, check_count, check_number
from lightning_al.functional.scores.saal import LossFn, TargetFn
from lightning_al.functional.scores.sharpness import largest_eigenvalue
from lightning_al.inference.calling import Forward
from lightning_al.report.diagnostics.agreement import correlation, top_k_overlap
from lightning_al.report.diagnostics.campaign import KeptCampaign, checked
from lightning_al.report.diagnostics.curvature import Batches, MeanLoss, Vector, mean_loss
from lightning_al.report.diagnostics.diagnosis import Diagnosis, count_of
from lightning_al.report.diagnostics.norms import loss_gradient_norms, norms_of
from lightning_al.report.diagnostics.pictures import Panel, add_point, curves
from lightning_al.report.diagnostics.rounds import KeptRound, check_some


class Influence(NamedTuple):
    """The influence of each sample, and what it is made of.

    Attributes:
        target: The influence (N,), Eq. 2.
        norms: Of each sample's gradient (N,).
        test_norm: Of ``Σ_j H⁻¹ ∇ℓ(x_j)``.
        train_count: n.
        damping: That was added to the Hessian.
        residual: Of the linear system, relative: how far the conjugate gradients came.
    """

    target: Tensor
    norms: Tensor
    test_norm: float
    train_count: int
    damping: float
    residual: float

    def bounds(self, norms_before: Tensor | None = None) -> dict[str, Tensor]:
        """Return the target and its approximations, each an upper bound of the one before: Eq. 3, 4, 4, 5; (N,) each.

        Args:
            norms_before: Of the samples' gradients in the model that had not trained on them, for Eq. 5.
        """
        bounds = {"target": self.target, "approx-1": self.target.abs()}
        bounds["approx-2"] = self.norms * (self.test_norm / self.train_count)
        if norms_before is not None:
            bounds["approx-3"] = norms_before.to(self.norms) * (self.test_norm / self.train_count)
        return bounds


def influence(
    model: nn.Module,
    train: Batches,
    test: Batches,
    samples: Batches,
    *,
    damping: float | None = None,
    steps: int = 100,
    tolerance: float = 1e-4,
    forward: Forward | None = None,
    target_fn: TargetFn | None = None,
    loss_fn: LossFn | None = None,
) -> Influence:
    r"""How much the total test loss would rise if a sample were not trained on (Wang et al., AAAI 2022, Eq. 1-2).

    .. math:: \sum_j I(x, x_j) = \frac1n \Big(\sum_j \nabla\ell(x_j)\Big)^\top (H + \lambda I)^{-1} \nabla\ell(x),
        \qquad H = \nabla^2 \frac1n \sum_{i=1}^n \ell(x_i)

    after Koh & Liang (2017), whose influence of *adding* weight to a sample has the other sign. The inverse comes from
    conjugate gradients on Hessian-vector products, each a pass over the training samples; it takes a positive definite
    H + λI, which a network's Hessian is not by itself. For small models.

    Args:
        model: Looked at in ``eval()`` and left as it was.
        train: What it was trained on, pairs of inputs and targets.
        test: What the loss is of.
        samples: Whose influence is meant; None in place of targets: under the model's own labels.
        damping: λ. None: 0.01, and where the Hessian's smallest eigenvalue is negative, 1.5 times its size more.
        steps: At most how many conjugate gradients.
        tolerance: Stop at this relative residual.
        forward: ``forward(model, inputs) -> outputs``. Default: ``model(inputs)``.
        target_fn: ``target_fn(outputs) -> targets``. Default: the argmax over dimension 1.
        loss_fn: ``loss_fn(outputs, targets) -> (B,)``. Default: cross-entropy in nats.

    Raises:
        ValueError: If an option is out of range, or ``damping`` is too small for the Hessian to be positive definite,
            with what it would take.
    """
    check_number("damping", damping, least=0, optional=True)
    check_count("steps", steps)
    check_number("tolerance", tolerance, above=0)
    how: dict[str, Any] = {"forward": forward, "target_fn": target_fn, "loss_fn": loss_fn}
    with mean_loss(model, test, **how) as loss:
        of_test = loss.gradient(total=True)
    with mean_loss(model, train, **how) as loss:
        used = _damping(loss) if damping is None else damping
        solved, residual = solve(loss.hessian_product, of_test, damping=used, steps=steps, tolerance=tolerance)
        count = loss.count()
    with mean_loss(model, samples, **how) as loss:
        target = loss.slopes(solved) / count
    norms = loss_gradient_norms(model, samples, **how)
    return Influence(target.cpu(), norms, float(_dot(solved, solved).sqrt()), count, used, residual)


def solve(
    product: Callable[[Vector], Vector], right: Vector, *, damping: float, steps: int, tolerance: float
) -> tuple[Vector, float]:
    """Solve ``(A + damping) x = right`` by conjugate gradients; return x and its relative residual.

    Args:
        product: A symmetric operator.
        right: The right-hand side.
        damping: Added to the diagonal.
        steps: At most how many products.
        tolerance: Stop at this relative residual.

    Raises:
        ValueError: If a direction of negative curvature is met.

    Example:
        >>> matrix = torch.tensor([[3.0, 1.0], [1.0, 2.0]])
        >>> [x], _ = solve(lambda v: [matrix @ v[0]], [torch.tensor([5.0, 5.0])], damping=0.0, steps=5, tolerance=1e-6)
        >>> x
        tensor([1.0000, 2.0000])
    """
    x = [torch.zeros_like(r) for r in right]
    rest = [r.clone() for r in right]
    along = [r.clone() for r in rest]
    size = first = _dot(rest, rest)
    if float(first) == 0:
        return x, 0.0
    for _ in range(steps):
        moved = [a + damping * d for a, d in zip(product(along), along, strict=True)]
        curvature = _dot(along, moved)
        if float(curvature) <= 0:
            least = damping - float(curvature / _dot(along, along))
            raise ValueError(
                f"The Hessian with `damping={damping:g}` has a direction of negative curvature, where conjugate "
                f"gradients do not work. It takes more than {least:.3g}; `damping=None` looks for it."
            )
        step = size / curvature
        x = [a + step * d for a, d in zip(x, along, strict=True)]
        rest = [r - step * m for r, m in zip(rest, moved, strict=True)]
        new = _dot(rest, rest)
        if float((new / first).sqrt()) <= tolerance:
            size = new
            break
        along = [r + (new / size) * d for r, d in zip(rest, along, strict=True)]
        size = new
    return x, float((size / first).sqrt())


def _damping(loss: MeanLoss) -> float:
    """Return a damping that makes the Hessian positive definite."""

    def negative(v: Vector) -> Vector:
        return [-p for p in loss.hessian_product(v)]

    lowest = -float(largest_eigenvalue(negative, loss.weights, steps=20, tolerance=1e-2))
    return 0.01 + 1.5 * max(-lowest, 0.0)


def _dot(a: Vector, b: Vector) -> Tensor:
    return torch.stack([(x.double() * y.double()).sum() for x, y in zip(a, b, strict=True)]).sum()


def influences(
    campaigns: Sequence[KeptCampaign],
    *,
    samples: int = 500,
    held_out: int = 1000,
    k: int | None = None,
    loss: str = "true",
    damping: float | None = None,
    steps: int = 100,
) -> list[Diagnosis]:
    """What criterion picks as the influence would, and how the bounds of it compare, over rounds.

    Wang et al. (AAAI 2022): Table 2, the overlap of the K candidates of largest influence (Eq. 3, true labels) with
    those of each approximation and of the norms without labels (Eq. 6, 7); Fig. 3, the mean of each bound, where all
    losses are the entropy. The Hessian and the target are those of the next round's model, as there; Eq. 5 takes this
    round's norms.

    Args:
        campaigns: Open ones, simulated, with weights of consecutive rounds.
        samples: At most how many candidates.
        held_out: At most how many test samples.
        k: K. Default: how many the round picked, at most half of the candidates.
        loss: ``"true"``, the loss under true labels, or ``"entropy"`` in its place everywhere.
        damping: As of :func:`influence`.
        steps: At most how many conjugate gradients.
    """
    check_count("samples", samples)
    check_choice("loss", loss, ("true", "entropy"))
    overlaps: list[list[Any]] = []
    bounds: list[list[Any]] = []
    counts: list[int] = []
    shares: dict[str, Panel] = {}
    sizes: dict[str, Panel] = {}
    for campaign in checked(campaigns, "An influence", "logits", "gradients"):
        for now, then in campaign.followed:
            how: dict[str, Any] = {"loss": loss, "damping": damping, "steps": steps}
            made, found, others = _of_round(campaign, now, then, samples, held_out, **how)
            wanted = found["target"]
            count = max(1, min(k or len(now.picked), len(wanted) // 2))
            rivals = {name: value for name, value in {**found, **others}.items() if name != "target"}
            place = [campaign.name, now.number, now.count]
            counts.append(len(wanted))
            overlaps.append([*place, count, *(top_k_overlap(wanted, value, count) for value in rivals.values())])
            means = {name: float(value.double().mean()) for name, value in found.items()}
            correlations = [correlation(wanted, value) for value in rivals.values()]
            bounds.append([*place, *means.values(), *correlations, made.damping, made.residual])
            for table, values in (
                (shares, {name: top_k_overlap(wanted, value, count) for name, value in rivals.items()}),
                (sizes, means),
            ):
                for name, value in values.items():
                    add_point(table.setdefault(campaign.name, {}), name, now.count, value)
    check_some(overlaps, "picked anything and is followed by one that is looked at too")
    names, means_of = list(rivals), list(found)
    start = ["campaign", "round", "labels"]
    return [
        Diagnosis(
            "influence_overlap",
            "Share of the K samples of largest influence among the K of largest criterion",
            [*start, "K", *names],
            overlaps,
            curves(shares, x="labels"),
            note=f"K of {count_of(counts, 'candidates')}: by chance K over these. approx-1, -2: Eq. 4; approx-3: "
            "Eq. 5; entropy, expected_norm: without labels, Eq. 7, 6. In the approximations a negative influence, of a "
            "sample that does harm, counts as a large one.",
        ),
        Diagnosis(
            "influence_bounds",
            "Influence on the test loss and its upper bounds, mean over samples",
            [*start, *means_of, *(f"correlation {name}" for name in names), "damping", "residual"],
            bounds,
            curves(sizes, x="labels", log=[t for t, c in sizes.items() if min(min(y) for _, y in c.values()) > 0]),
            note=f"Of {count_of(counts, 'candidates')}. Damping: what was added to the Hessian's diagonal. Residual: "
            "how far the conjugate gradients were from their end.",
        ),
    ]


def _of_round(
    campaign: KeptCampaign,
    now: KeptRound,
    then: KeptRound,
    samples: int,
    held_out: int,
    *,
    loss: str,
    damping: float | None,
    steps: int,
) -> tuple[Influence, dict[str, Tensor], dict[str, Tensor]]:
    """Return the influence of the candidates of a round, its bounds, and the norms that need no labels."""
    indices = now.scored[:samples]
    model = campaign.at(now)
    before = {name: norms_of(campaign, model, indices, name) for name in ("true", "entropy", "expected_norm")}
    model = campaign.at(then)
    train = campaign.batches(campaign.trained_on(then), labels=True)
    test, some = campaign.held_out(held_out), campaign.batches(indices, labels=True)
    loss_fn = campaign.loss_of(train)
    if loss == "entropy":

        def loss_fn(outputs: Any, targets: Any) -> Tensor:
            return campaign.task.entropy(outputs)

    how: dict[str, Any] = {"loss_fn": loss_fn, "damping": damping, "steps": steps, **campaign.how}
    found = influence(model, train, test, some, **how)
    return found, found.bounds(before[loss]), {name: before[name] for name in ("entropy", "expected_norm")}
