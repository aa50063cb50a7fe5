"""SAM and those of its family that change the step: which second gradient they take, and what they step along."""

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim import Optimizer

from lightning_al.distributed.randomness import derive_seed
from lightning_al.gradients.norms import cosine, total_norm
from lightning_al.training.sam.options import SAMOptions
from lightning_al.training.sam.tensors import Gradients, in_float32

STATE = "sam"
"""Key of ``optimizer.state``, and so of its ``state_dict()``, under which a variant keeps what outlives a step."""


class SAM:
    r"""SAM (Foret 2020): the step is along :math:`g' = \nabla L(\theta + \epsilon)`.

    The rule of one step; the others are subclasses. Gradients are changed in place.

    Args:
        options: What the variant is told.
        optimizer: The base optimizer, with whose state is kept what outlives the step.
        weights: The weights that are perturbed, in an order that stays.
        seed: What masks are drawn from, if they are; the first one that this optimizer was given counts.
    """

    keeps_first: ClassVar[bool] = False
    """Whether the gradient at θ is needed after the second pass."""
    selects: ClassVar[bool] = False
    """Whether the second gradient is of some of the samples only."""

    def __init__(self, options: SAMOptions, optimizer: Optimizer, weights: Sequence[Tensor], seed: int = 0) -> None:
        self.options = options
        self.optimizer = optimizer
        self.weights = list(dict.fromkeys(weights))  # one that is tied may be listed twice, and is moved once
        self.seed = seed

    @property
    def state(self) -> dict[str, Any]:
        """What outlives a step."""
        kept: dict[str, Any] = self.optimizer.state[STATE]  # type: ignore[index]  # torch keeps keys that are no tensors
        return kept

    @property
    def rho(self) -> float:
        """The radius of this step's perturbation."""
        return self.options.rho

    @property
    def masks(self) -> bool:
        """Whether :meth:`mask` changes anything."""
        return False

    def looks(self) -> bool:
        """Whether this step takes a second gradient, at θ + ε."""
        return True

    def mask(self, epsilons: Sequence[Tensor]) -> None:
        """Change the perturbation before the weights are moved."""

    def turn(self, first: Gradients, second: Gradients) -> None:
        """Make ``second``, the gradient at θ + ε, what is stepped along; ``first`` is the one at θ, of the same."""

    def reuse(self) -> None:
        """Make the gradient at θ, which the weights have, what is stepped along: in a step without a second one."""

    def stepped(self) -> None:
        """Take note that the optimizer stepped."""


class ESAM(SAM):
    r"""ESAM (Du 2021): a part of the weights is perturbed, and a part of the samples counts.

    :math:`\epsilon_i = m_i\, \rho g_i / (\beta \|g\|)` with :math:`m_i \sim \mathrm{Bernoulli}(\beta)` for each weight,
    so that its mean is SAM's (stochastic weight perturbation); the step is along the gradient at :math:`\theta +
    \epsilon` of the :math:`\lceil \gamma B \rceil` samples of the batch whose loss rose most from :math:`\theta` to
    :math:`\theta + \epsilon` (sharpness-sensitive data selection). The authors' code draws one :math:`m` for each
    tensor, takes :math:`\|g\|` over the tensors that it drew, and keeps the samples *above* the
    :math:`\lfloor \gamma B \rfloor`-th largest rise: one fewer, and none of a batch of one.
    """

    selects = True

    @property
    def masks(self) -> bool:
        """Whether not all weights are perturbed."""
        return self.options.beta < 1

    def mask(self, epsilons: Sequence[Tensor]) -> None:
        """Draw the share of the weights, by the number of the step."""
        beta, state = self.options.beta, self.state
        state.setdefault("seed", self.seed)
        seed = derive_seed(state["seed"], "esam", state.get("steps", 0))
        generators: dict[torch.device, torch.Generator] = {}
        for epsilon in epsilons:
            if epsilon.device not in generators:
                generators[epsilon.device] = torch.Generator(epsilon.device).manual_seed(seed)
            kept = torch.empty_like(epsilon).bernoulli_(beta, generator=generators[epsilon.device])
            epsilon.mul_(kept.div_(beta))

    def stepped(self) -> None:
        """Count the step."""
        self.state["steps"] = self.state.get("steps", 0) + 1


class GSAM(SAM):
    r"""GSAM (Zhuang 2022): the step is along :math:`g' - \alpha g_\perp`.

    :math:`g_\perp` is the part of :math:`g = \nabla L(\theta)` orthogonal to :math:`g'`, so that the gap
    :math:`L(\theta + \epsilon) - L(\theta)` shrinks while :math:`L(\theta + \epsilon)` falls as with SAM.
    The radius follows the learning rate:
    :math:`\rho_t = \rho_{min} + (\rho - \rho_{min}) (\eta_t - \eta_{min}) / (\eta_{max} - \eta_{min})`.
    """

    keeps_first = True

    @property
    def rho(self) -> float:
        """The radius that goes with the learning rate."""
        group, rho, least = self.optimizer.param_groups[0], super().rho, self.options.rho_min
        if least is None:
            return rho
        rate, low, high = float(group["lr"]), self.options.lr_min, self.options.lr_max
        if high is None:  # a schedule notes what it began with, one cycle's what it goes up to
            high = float(group.get("max_lr", group.get("initial_lr", rate)))
        share = (rate - low) / (high - low) if high > low else 1.0
        return least + (rho - least) * min(max(share, 0.0), 1.0)

    def turn(self, first: Gradients, second: Gradients) -> None:
        """Take from the gradient ahead what of the first is orthogonal to it."""
        alpha, g, g_ahead = self.options.alpha, list(first.values()), list(second.values())
        along = _part_along(g, g_ahead)  # g_⊥ = g - along · g'
        torch._foreach_mul_(g_ahead, 1 + alpha * along)
        torch._foreach_add_(g_ahead, g, alpha=-alpha)


class LookSAM(SAM):
    r"""LookSAM (Liu 2022): a second gradient in every k-th step only.

    There :math:`v`, the part of :math:`g'` orthogonal to :math:`g`, is kept, and the step is along :math:`g'`; in
    between the step is along :math:`g + \alpha\, (\|g\| / \|v\|)\, v`. Norms are over all weights together. :math:`v`
    is kept in float32 or better beside the optimizer's own state, one more copy of the weights.
    """

    keeps_first = True

    def __init__(self, options: SAMOptions, optimizer: Optimizer, weights: Sequence[Tensor], seed: int = 0) -> None:
        super().__init__(options, optimizer, weights, seed)
        self._next: dict[str, Any] = {}

    def looks(self) -> bool:
        """Whether it is the first of k steps, or nothing is kept of these weights."""
        kept = self.state.get("direction")
        fits = kept is not None and all(i < len(self.weights) and self.weights[i].shape == kept[i].shape for i in kept)
        return not fits or self.state["steps"] % self.options.every == 0

    def turn(self, first: Gradients, second: Gradients) -> None:
        """Keep v; the step is along the gradient ahead as it is."""
        g, g_ahead = list(first.values()), list(second.values())
        torch._foreach_mul_(g, -_part_along(g_ahead, g))
        torch._foreach_add_(g, g_ahead)  # v, in the memory of g
        norm = total_norm(g)
        if math.isfinite(norm):  # else an overflow, whose step a gradient scaler skips
            self._next = {"direction": first, "norm": norm, "steps": 1}

    def reuse(self) -> None:
        """Add v to the gradient, in proportion to its length."""
        state, direction = self.state, self.state["direction"]
        with in_float32({i: w.grad for i, w in enumerate(self.weights) if w.grad is not None}) as gradients:
            norm = total_norm(list(gradients.values())) if gradients else 0.0
            if not math.isfinite(norm):
                return
            self._next = {"steps": state["steps"] + 1}
            if state["norm"]:
                both = gradients.keys() & direction.keys()
                along = [direction[i].to(gradients[i]) for i in both]
                scale = self.options.alpha * norm / state["norm"]
                torch._foreach_add_([gradients[i] for i in both], along, alpha=scale)

    def stepped(self) -> None:
        """Count the step, unless its gradient had overflowed."""
        self.state.update(self._next)


STEPS: dict[str, type[SAM]] = {"sam": SAM, "esam": ESAM, "gsam": GSAM, "looksam": LookSAM}
"""The variants that have a second gradient, by name."""


def selected(rise: Tensor, gamma: float) -> Tensor:
    r"""The positions of the :math:`\lceil \gamma B \rceil` largest of ``rise`` (B,), in order; never none.

    Example:
        >>> selected(torch.tensor([0.1, 0.5, -0.2]), 0.5)
        tensor([0, 1])
    """
    count = max(1, math.ceil(gamma * len(rise) - 1e-9))  # 0.1 of 30 is 3.0000000000000004
    return torch.sort(rise, descending=True, stable=True).indices[:count].sort().values


def _part_along(a: Sequence[Tensor], b: Sequence[Tensor]) -> float:
    """The multiple of ``b`` that is the part of ``a`` along it."""
    norm_a, norm_b = total_norm(a), total_norm(b)
    return cosine(a, b, norm_a, norm_b) * norm_a / norm_b if norm_b else 0.0
