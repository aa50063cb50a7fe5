"""A score of a model by its layers' rules, where it is known how."""

import contextlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor

from lightning_al.gradients.layouts import Place, RowLayout
from lightning_al.gradients.network import Network
from lightning_al.gradients.scored_model import ScoredModel
from lightning_al.gradients.scorers import BatchScore
from lightning_al.gradients.tape import Tape
from lightning_al.inference.entries import batch_size_of


class Scored(NamedTuple):
    """What a pass by the rules gave.

    Attributes:
        scores: Of the samples.
        outputs: The tensors of the model's outputs.
    """

    scores: Tensor
    outputs: list[Tensor]


class RuleScore:
    """A score of a model by its layers' rules, for networks and layouts that are given.

    Args:
        model: The model.
        fast: The score of all groups of a recorded batch.
    """

    def __init__(self, model: ScoredModel, fast: BatchScore) -> None:
        self.model = model
        self.fast = fast
        self._networks: dict[frozenset[str], Network] = {}

    def network(self, elsewhere: frozenset[str], *, channels_last: bool = False) -> Network:
        """Return the model's network, made once for the same options."""
        if elsewhere not in self._networks:
            model = self.model
            self._networks[elsewhere] = Network(model.root, model.params, model.fixed, elsewhere=elsewhere)
        network = self._networks[elsewhere]
        return network.with_channels_last() if channels_last else network

    def __call__(self, network: Network, layouts: Mapping[Place, RowLayout], inputs: Any, group_size: int) -> Scored:
        """Score the groups of ``inputs``."""
        rows = batch_size_of(inputs)
        with contextlib.closing(Tape(network, rows // group_size, rows, layouts)) as tape:
            return self.on(tape, inputs)

    def on(self, tape: Tape, inputs: Any) -> Scored:
        """Score what a new tape is for."""
        scores = self.fast(tape, inputs)
        return Scored(scores, list(tape.outputs))
