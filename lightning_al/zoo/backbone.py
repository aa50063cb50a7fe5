"""Networks of torchvision and timm, with a last layer for the classes at hand."""

import difflib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lightning_al.checks import check_choice
from lightning_al.extras import needs

_WITH_AUXILIARY_HEADS = ("googlenet", "inception_v3")


class ImageBackbone(nn.Module):
    """A network of torchvision's or timm's, by its name there.

    Args:
        num_classes: Number of logits.
        name: As ``torchvision.models.get_model`` or ``timm.create_model`` take it.
        weights: None: they begin at random, as the library draws them, and nothing is downloaded. (torchvision's
            ResNets begin with Kaiming's weights; the zoo's :class:`ResNet18` and :class:`ResNet50` as torch's layers
            do.) A file: a ``state_dict`` of this network, whose last layer may have other classes. Otherwise the name
            of torchvision's weights (``IMAGENET1K_V1``), or of timm's (``a1_in1k``), which are downloaded where they
            are not on this machine yet.
        library: ``"torchvision"`` or ``"timm"``, which must be installed.

    Raises:
        ImportError: If the library is missing.
        ValueError: If there is no such network, or weights are of another one.

    Example:
        >>> ImageBackbone(num_classes=3, name="resnet18").eval()(torch.zeros(2, 3, 64, 64)).shape
        torch.Size([2, 3])
    """

    def __init__(
        self, num_classes: int, name: str = "resnet18", weights: str | None = None, library: str = "torchvision"
    ) -> None:
        super().__init__()
        check_choice("library", library, ("torchvision", "timm"))
        from_file = None if weights is None else weights_in_file(weights)
        make = _of_torchvision if library == "torchvision" else _of_timm
        self.net, state = make(num_classes, name, weights if from_file is None else None)
        state = state if from_file is None else from_file
        if state is not None:
            load_but_for_the_head(self.net, state, of=f"`weights={weights!r}`")

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, 3, H, W) to logits (B, num_classes)."""
        logits: Tensor = self.net(x)
        return logits


def weights_in_file(weights: str) -> dict[str, Tensor] | None:
    """Return the weights that are in a file, None if this is the name of weights and not of a file.

    Raises:
        ValueError: If it looks like a file, and there is none.
    """
    path = Path(weights).expanduser()
    if path.is_file():
        state = torch.load(path, map_location="cpu", weights_only=True)
        return state.get("state_dict", state)
    if "/" in weights or path.suffix in (".pt", ".pth"):
        raise ValueError(f"`weights={weights!r}`: there is no such file.")
    return None


def torchvision_weights(name: str, weights: str) -> dict[str, Tensor]:
    """Return weights of torchvision's by their name, downloaded where they are not on this machine yet.

    Raises:
        ValueError: If there are none of this name.
    """
    from torchvision import models

    known = models.get_model_weights(name)
    if weights not in known.__members__:
        raise ValueError(_unknown("weights or file", weights, list(known.__members__)))
    return dict(known[weights].get_state_dict(check_hash=True, progress=False))


def load_but_for_the_head(net: nn.Module, state: dict[str, Tensor], *, of: str) -> None:
    """Load weights; a last layer of other classes stays as it is.

    Args:
        net: Takes them.
        state: Weights by name.
        of: What they are, for the error.

    Raises:
        ValueError: If they are of another network.
    """
    own = net.state_dict()
    last = list(own)[-1].rpartition(".")[0]
    head = {name for name in own if name.rpartition(".")[0] == last}
    other = [name for name in own if name not in head and (name not in state or state[name].shape != own[name].shape)]
    # What networks have in training alone, such as heads in their middle, is not needed.
    if other:
        raise ValueError(f"{of} are of another network: {other[0]!r} is missing, or has another shape.")
    fits = all(name in state and state[name].shape == own[name].shape for name in head)
    net.load_state_dict({name: state[name] if name not in head or fits else own[name] for name in own})


def _of_torchvision(num_classes: int, name: str, weights: str | None) -> tuple[nn.Module, Any]:
    with needs("`ImageBackbone`", "torchvision", "vision"):
        from torchvision import models
    names = models.list_models(module=models)
    if name not in names:
        raise ValueError(_unknown("network", name, names))
    state = None if weights is None else torchvision_weights(name, weights)
    options: dict[str, Any] = {"aux_logits": False, "init_weights": True} if name in _WITH_AUXILIARY_HEADS else {}
    return models.get_model(name, weights=None, num_classes=num_classes, **options), state


def _of_timm(num_classes: int, name: str, weights: str | None) -> tuple[nn.Module, None]:
    try:
        import timm
    except ImportError as error:
        raise ImportError("`library=timm` needs timm: `pip install timm`.") from error
    if not timm.is_model(name):
        raise ValueError(_unknown("network", name, timm.list_models()))
    full = name if weights is None else f"{name}.{weights}"
    return timm.create_model(full, pretrained=weights is not None, num_classes=num_classes), None


def _unknown(what: str, name: str, names: list[str]) -> str:
    near = difflib.get_close_matches(name, names, 5) or names[:5]
    return f"There is no {what} {name!r}; near it are {', '.join(near)}."
