"""Layers that fold or keep something in ``eval()``, each with a twin that never does."""

import copy
import functools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.helpers.models import C

WIDTH = 5


class LowRank(nn.Module):
    """A frozen linear layer with a low-rank update, computed beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(WIDTH, WIDTH) / 2, requires_grad=False)
        self.a, self.b = nn.Parameter(torch.randn(2, WIDTH) / 2), nn.Parameter(torch.randn(WIDTH, 2) / 2)
        self.folds, self.merged = True, False

    def fold(self, sign: int) -> None:
        raise NotImplementedError

    def train(self, mode: bool = True) -> "LowRank":
        super().train(mode)
        if self.folds and mode == self.merged:
            self.fold(-1 if mode else 1)
            self.merged = not mode
        return self

    def forward(self, x: Tensor) -> Tensor:
        y = F.linear(x, self.weight)
        return y if self.merged else y + x @ self.a.T @ self.b.T


class FoldedByAddition(LowRank):
    def fold(self, sign: int) -> None:
        self.weight.data += sign * (self.b @ self.a).data


class FoldedByNewMemory(LowRank):
    def fold(self, sign: int) -> None:
        self.weight.data = self.weight.data + sign * (self.b @ self.a).data


class FoldedByNewParameter(LowRank):
    def fold(self, sign: int) -> None:
        self.weight = nn.Parameter(self.weight.data + sign * (self.b @ self.a).data, requires_grad=False)


class FoldedByTheFlag(LowRank):
    """Goes by ``training`` itself, not by what it noted."""

    def fold(self, sign: int) -> None:
        self.weight.data += sign * (self.b @ self.a).data

    def forward(self, x: Tensor) -> Tensor:
        y = F.linear(x, self.weight)
        return y if self.folds and not self.training else y + x @ self.a.T @ self.b.T


class Table(nn.Module):
    """Adds rows of a table, by an index."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(3))
        self.register_buffer("index", torch.tensor([0, 1, 2, 1, 0]), persistent=False)
        self.folds = True

    def rows(self) -> Tensor:
        return self.table[self.index]

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x + self.rows())


class KeptInADict(Table):
    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[str, Tensor] = {}

    def train(self, mode: bool = True) -> "KeptInADict":
        self.kept = {}
        return super().train(mode)

    def rows(self) -> Tensor:
        if self.training or not self.folds:
            return self.table[self.index]
        if "cpu" not in self.kept:
            self.kept["cpu"] = self.table[self.index]
        return self.kept["cpu"]


class MadeByEval(Table):
    """Computed in ``train(False)`` itself, without a graph."""

    kept: Tensor | None = None

    def train(self, mode: bool = True) -> "MadeByEval":
        self.kept = None if mode else self.table.detach()[self.index]
        return super().train(mode)

    def rows(self) -> Tensor:
        return self.table[self.index] if self.training or not self.folds else self.kept


class KeptWithoutTrain(Table):
    """Kept from the first forward in ``eval()``, let go of by the next in training mode."""

    kept: Tensor | None = None

    def rows(self) -> Tensor:
        if self.training or not self.folds:
            self.kept = None
            return self.table[self.index]
        if self.kept is None:
            self.kept = self.table[self.index]
        return self.kept


class CachedProperty(Table):
    @functools.cached_property
    def made(self) -> Tensor:
        return self.table[self.index]

    def rows(self) -> Tensor:
        return self.made if self.folds else self.table[self.index]


class Frozen(nn.Module):
    """Keeps its normalisation in ``eval()``, as many fine-tuned models do."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.norm, self.drop = nn.Linear(WIDTH, WIDTH), nn.BatchNorm1d(WIDTH), nn.Dropout(0.5)
        self.norm.running_mean.normal_()
        self.folds = True

    def train(self, mode: bool = True) -> "Frozen":
        super().train(mode)
        self.norm.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(self.drop(self.norm(self.linear(x))), 0.3, self.training)


def spectral_norm_of_old() -> nn.Module:
    return nn.utils.spectral_norm(nn.Linear(WIDTH, WIDTH))


def weight_norm() -> nn.Module:
    return nn.utils.parametrizations.weight_norm(nn.Linear(WIDTH, WIDTH))


def spectral_norm() -> nn.Module:
    return nn.utils.parametrizations.spectral_norm(nn.Linear(WIDTH, WIDTH))


LAYERS = {
    layer.__name__: layer
    for layer in (
        *(FoldedByAddition, FoldedByNewMemory, FoldedByNewParameter, FoldedByTheFlag),
        *(KeptInADict, MadeByEval, KeptWithoutTrain, CachedProperty, Frozen),
        *(spectral_norm_of_old, weight_norm, spectral_norm),
    )
}


class Folding(nn.Module):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.first, self.layer, self.head = nn.Linear(4, WIDTH), LAYERS[name](), nn.Linear(WIDTH, C)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.layer(torch.tanh(self.first(x)))))


def plain_twin(net: Folding) -> Folding:
    """The same function of the same weights, which folds and keeps nothing. ``net`` must not have folded yet."""
    if isinstance(net.layer, CachedProperty):
        net.layer.__dict__.pop("made", None)
    twin = copy.deepcopy(net)
    twin.layer.folds = False
    return twin
