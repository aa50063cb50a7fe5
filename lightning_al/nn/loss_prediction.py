"""The network that predicts the loss of a sample from what another network makes of it."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_al.nn.positions import average


class LossPrediction(nn.Module):
    r"""Predicts each sample's loss from feature maps (Yoo & Kweon, CVPR 2019, Fig. 2).

    Each map is averaged over its positions, whatever their number, and goes through a linear layer and a ReLU; what
    comes of all is concatenated, and a last linear layer makes one number of it:
    :math:`\hat\ell = w^\top [\mathrm{ReLU}(W_k \, \mathrm{mean}(h_k) + b_k)]_k + b`.

    Args:
        maps: Channels of each map with the channels second, (B, C, ...), in any number of dimensions; by name, which is
            that of the layer whose output it is.
        sequences: The same of token sequences and whatever else has its channels last, (B, T, C).
        width: Outputs of each map's linear layer.

    Raises:
        ValueError: If there is no map at all, or a name is among both.

    Example:
        >>> module = LossPrediction({"net.layer1": 8, "net.layer2": 16}, {"net.blocks": 12})
        >>> features = {
        ...     "net.layer1": torch.zeros(5, 8, 6, 6),
        ...     "net.layer2": torch.zeros(5, 16, 3, 3),
        ...     "net.blocks": torch.zeros(5, 7, 12),
        ... }
        >>> module(features).shape
        torch.Size([5])
    """

    def __init__(
        self,
        maps: Mapping[str, int] | None = None,
        sequences: Mapping[str, int] | None = None,
        *,
        width: int = 128,
    ) -> None:
        super().__init__()
        maps, sequences = maps or {}, sequences or {}
        both = sorted(maps.keys() & sequences.keys())
        if both or not (maps or sequences):
            seen = f"{both[0]!r} is among both" if both else "there are none"
            raise ValueError(f"`maps` and `sequences` must name the features to predict the loss from; {seen}.")
        self.maps = nn.ModuleDict({_key(name): nn.Linear(channels, width) for name, channels in maps.items()})
        self.sequences = nn.ModuleDict({_key(name): nn.Linear(channels, width) for name, channels in sequences.items()})
        self.head = nn.Linear(width * (len(maps) + len(sequences)), 1)

    @property
    def layers(self) -> list[str]:
        """The names of the features, in the order of the concatenation."""
        return [_name(key) for key in (*self.maps, *self.sequences)]

    def pool(self, name: str, feature: Tensor, padding: Tensor | None = None) -> Tensor:
        """Average the feature of this name over its positions, to (B, C).

        Args:
            name: Of the feature.
            feature: As it comes.
            padding: (B, T), True where a sequence has ended; these positions of features (B, C, T) or (B, T, C) are
                passed over.
        """
        return average(feature, 1 if self.has_channels_second(name) else -1, padding)

    def has_channels_second(self, name: str) -> bool:
        """Whether the feature of this name is among the maps, (B, C, ...)."""
        return _key(name) in self.maps

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """Features by name, as they come or as :meth:`pool` made them, to predicted losses (B,)."""
        hidden = []
        for key, linear in (*self.maps.items(), *self.sequences.items()):
            pooled = self.pool(_name(key), features[_name(key)])
            hidden.append(F.relu(linear(pooled.to(self.head.weight.dtype))))
        predicted: Tensor = self.head(torch.cat(hidden, 1))
        return predicted.squeeze(1)

    @classmethod
    def like(cls, state: Mapping[str, Tensor]) -> "LossPrediction":
        """Return a module whose layers have the names and sizes of those in a state dict, with weights of its own."""
        channels: dict[str, dict[str, int]] = {"maps": {}, "sequences": {}}
        width = 0
        for place, value in state.items():
            kind, _, rest = place.partition(".")
            if kind in channels and rest.endswith(".weight"):
                width, channels[kind][_name(rest.removesuffix(".weight"))] = value.shape
        return cls(**channels, width=width).to(state["head.weight"].dtype)


# A ModuleDict takes no dots in its keys, nor the names of its own methods.


def _key(name: str) -> str:
    return "/" + name.replace(".", "/")


def _name(key: str) -> str:
    return key[1:].replace("/", ".")
