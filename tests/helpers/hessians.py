"""Losses of a small network as plain functions of one flat vector of weights: gradients and Hessians written out."""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from tests.helpers.models import randn, seeded


def net():
    return seeded(lambda: nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 3)))


def samples(n: int = 11, seed: int = 1) -> tuple[Tensor, Tensor]:
    return randn(n, 4, seed=seed), torch.arange(n) % 3


def in_batches(x: Tensor, y: Tensor | None, size: int = 4) -> list[tuple[Tensor, Tensor | None]]:
    return [(x[i : i + size], None if y is None else y[i : i + size]) for i in range(0, len(x), size)]


def flat(model: nn.Module) -> Tensor:
    return parameters_to_vector(model.parameters()).detach()


def at(model: nn.Module, weights: Tensor) -> nn.Module:
    moved = copy.deepcopy(model).eval()
    vector_to_parameters(weights, moved.parameters())
    return moved


def losses_of(model: nn.Module, x: Tensor, y: Tensor):
    """``losses(weights) -> (N,)``, for autograd to differentiate."""
    own = copy.deepcopy(model).eval()
    shapes = [(name, p.shape) for name, p in own.named_parameters()]

    def losses(weights: Tensor) -> Tensor:
        parts, start = {}, 0
        for name, shape in shapes:
            parts[name] = weights[start : start + shape.numel()].view(shape)
            start += shape.numel()
        return F.cross_entropy(torch.func.functional_call(own, parts, (x,)), y, reduction="none")

    return losses


def gradients(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """(N, weights)."""
    return torch.autograd.functional.jacobian(losses_of(model, x, y), flat(model))


def hessian(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Of the mean loss."""
    losses = losses_of(model, x, y)
    return torch.autograd.functional.hessian(lambda w: losses(w).mean(), flat(model))


def own_labels(model: nn.Module, x: Tensor) -> Tensor:
    return copy.deepcopy(model).eval()(x).argmax(1)
