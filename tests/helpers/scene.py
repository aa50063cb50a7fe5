"""What acquisitions pick from in the contract test: samples, a model, and what a campaign kept."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lightning_al.distributed.randomness import generator
from lightning_al.training import LossPredictionMixin
from tests.helpers.projects import Net, make_data

SIZE = 36


LABELLED = [4, 33, 17, 8, 25, 12, 1, 30, 21]


POOL = [i for i in torch.randperm(SIZE, generator=torch.Generator().manual_seed(1)).tolist() if i not in LABELLED]


def weights(seed: int, net: Net | None = None) -> dict[str, Tensor]:
    """Of a ``Net`` with BatchNorm, its buffers too."""
    g = torch.Generator().manual_seed(seed)
    net = Net(batch_norm=True) if net is None else net
    state = {name: torch.randn(t.shape, generator=g, dtype=torch.float64) for name, t in net.state_dict().items()}
    state["net.1.running_var"] = state["net.1.running_var"].square() + 0.1
    state["net.1.num_batches_tracked"] = torch.tensor(3)
    return state


def prepare(net: Net) -> Net:
    """Weights, buffers and all else that scoring must neither change nor be misled by, the same everywhere."""
    net.load_state_dict(weights(5, net))
    net.train()
    net.net[2].eval()  # a flag of the user's own
    net.net[0].weight.grad = torch.ones_like(net.net[0].weight)
    net.net[1].bias.requires_grad_(False)
    return net


class Learner(LossPredictionMixin, Net):
    """Learns to predict its loss, from what its last linear layer gets."""

    loss_width = 6


def learner() -> Learner:
    made = Learner(batch_norm=True, dropout=0.3)
    made.predict_losses(make_data(2)[0])
    return prepare(made).eval()


def encoder() -> nn.Module:
    """Trained elsewhere; would draw random numbers if it were not put in ``eval()``."""
    layers = [nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Dropout(0.5)]
    made = nn.Sequential(*layers).double()
    g = torch.Generator().manual_seed(6)
    for p in made.parameters():
        nn.init.normal_(p, generator=g)
    return made


@dataclass(frozen=True)
class Table:
    """The encoder's features, in the file of this kind that :func:`write_tables` writes."""

    suffix: str


def write_tables(folder: Path) -> None:
    """Before there are several processes, which map these files into memory."""
    table = features_of(encoder().eval(), make_data(SIZE)[0])
    np.save(folder / "features.npy", table.numpy())
    torch.save(table, folder / "features.pt")


MEMBERS = {True: "member_{}", False: "member_{}_not_redrawn"}


SNAPSHOT = "snapshot_{}_of_5"


KEPT = {
    name.format(i): weights(100 * seed + i)
    for seed, name in enumerate((*MEMBERS.values(), SNAPSHOT), start=1)
    for i in range(5)
}
"""What acquisitions find in the campaign's folder, as if it had been killed after they learnt it."""


@dataclass(frozen=True)
class Scene:
    """What is to be picked from, and how many."""

    candidates: Sequence[int]
    k: int
    seed: int = 0
    net: Net = field(default_factory=lambda: prepare(Net(batch_norm=True, dropout=0.3)).eval())

    def x(self, indices: Sequence[int]) -> Tensor:
        return make_data(SIZE)[0][list(indices)]

    def y(self, indices: Sequence[int]) -> Tensor:
        return make_data(SIZE)[1][list(indices)]

    def generator(self) -> torch.Generator:
        return generator(0, "contract", self.seed)

    def logits(self) -> Tensor:
        return features_of(self.net, self.x(self.candidates))

    def named(self, positions: Sequence[int]) -> list[int]:
        return [self.candidates[p] for p in positions]


def features_of(module: nn.Module, x: Tensor) -> Tensor:
    """One sample at a time."""
    with torch.no_grad():
        return torch.cat([module(x[i : i + 1]) for i in range(len(x))]) if len(x) else torch.zeros(0, 1)


def model_features(scene: Scene, indices: Sequence[int], layer: str | None = None) -> list[list[float]]:
    depth = 4 if layer is None else int(layer.removeprefix("net.")) + 1  # what the last linear layer gets
    return features_of(scene.net.net[:depth], scene.x(indices)).tolist()


SCENES = {
    "some": Scene(POOL[:25], 9),  # not divisible by the number of processes
    "some, with another seed": Scene(POOL[:25], 9, seed=1),
    "one": Scene(POOL[1:], 1),
    "all that is left": Scene(POOL, len(POOL)),
    "one of fewer than there are processes": Scene(POOL[3:5], 1),
    "the only one": Scene(POOL[5:6], 1),
}
